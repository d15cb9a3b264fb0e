/** The page: puts its parts together and shows what the address says. */

import { onKeyNeeded } from "./api.js";
import { showKeys, signIn } from "./dialogs.js";
import { find, takesText } from "./dom.js";
import { takePictures } from "./dropping.js";
import { forgetCounts } from "./facets.js";
import { FilterBar } from "./filters.js";
import { focusLeft } from "./grid.js";
import { icon } from "./icons.js";
import { Jobs } from "./jobs.js";
import { Library } from "./library.js";
import { closePopover } from "./popover.js";
import { refine } from "./hits.js";
import { Results } from "./results.js";
import {
  followAddress,
  go,
  rememberScroll,
  rememberedScroll,
  stateFromAddress,
  stateOf,
} from "./router.js";
import { SearchBar } from "./searchbar.js";
import { photoExample, segmentExample } from "./examples.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("./router.js").State} State */

const SCROLL_NOTED_MS = 150;

onKeyNeeded(signIn);
document.querySelectorAll("[data-icon]").forEach((place) => {
  place.prepend(icon(/** @type {HTMLElement} */ (place).dataset.icon ?? ""));
});

/** @type {State} the library or search that is shown, or was when a photo was opened */
let base = stateOf({});
let isViewing = false;

const library = new Library(find("#library"));
const results = new Results(find("#results"), () => jobs.begin());
const filters = new FilterBar(find("#filters"));
const searchBar = new SearchBar(() => base);
const viewer = new Viewer(find("#viewer"), {
  base: () => base,
  photoIds: (id) => (base.view === "search" ? results.photoIdsAround(id) : library.photoIds),
});

/** @param {State} state @param {"push"|"replace"|"pop"} how */
async function show(state, how) {
  closePopover();
  isViewing = state.view === "photo" || state.view === "picture";
  for (const id of [".skip", "#top", "#main"]) find(id).inert = isViewing;
  if (isViewing) return viewer.show(state);
  if (viewer.hide()) focusLeft();
  const isSame =
    state.view === base.view &&
    find(state.view === "search" ? "#results" : "#library").hidden === false;
  base = state;
  document.title = state.words
    ? `${state.words} · segsearch`
    : state.view === "search"
      ? "Things like this · segsearch"
      : "segsearch";
  searchBar.show(state);
  filters.show(state);
  find("#library").hidden = state.view !== "library";
  find("#results").hidden = state.view !== "search";
  if (how === "push") scrollTo(0, 0);
  const y = rememberedScroll();
  await (state.view === "search" ? results : library).show(state);
  if (base !== state || isViewing) return; // one went on meanwhile
  if (how === "pop" && (!isSame || y)) scrollTo(0, y);
}

/** The library has other photos than before. */
function changed() {
  forgetCounts();
  results.forget();
  library.refresh();
  if (base.view === "search" && !isViewing) results.show(base);
  filters.show(base);
}

/** Links within the page change its state instead of loading it anew. @param {MouseEvent} event */
function follow(event) {
  const link =
    event.target instanceof Element ? event.target.closest("a[data-route], a.skip") : null;
  if (
    !(link instanceof HTMLAnchorElement) ||
    event.button ||
    event.ctrlKey ||
    event.metaKey ||
    event.shiftKey ||
    event.altKey
  )
    return;
  event.preventDefault();
  if (link.className === "skip") find("#main").focus();
  else go(stateFromAddress(new URL(link.href)));
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (
    takesText(event.target) ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.defaultPrevented
  )
    return;
  if (event.key === "?" && !document.querySelector("dialog[open]")) return showKeys();
  const { segment, photo } = event.target instanceof HTMLElement ? event.target.dataset : {};
  const side = { "+": /** @type {const} */ ("plus"), "-": /** @type {const} */ ("minus") }[
    event.key
  ];
  if (side && segment) refine(base, segmentExample(segment), side);
  else if (side && photo) refine(base, photoExample(photo), side);
}

/** @type {number|undefined} */
let noting;
addEventListener(
  "scroll",
  () => {
    find("#top").classList.toggle("is-scrolled", scrollY > 4);
    clearTimeout(noting);
    noting = setTimeout(() => !isViewing && rememberScroll(scrollY), SCROLL_NOTED_MS);
  },
  { passive: true },
);
document.addEventListener("click", follow);
document.addEventListener("keydown", onKey);
find("#help").addEventListener("click", showKeys);
takePictures();
followAddress(show);
const jobs = new Jobs(find("#jobs"), {
  changed,
  running: (isRunning) => results.setUpdating(isRunning),
});
