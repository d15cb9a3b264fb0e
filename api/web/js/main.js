/** The entry point: creates the parts of the page and shows what the URL says. */

import { clearFacets } from "./filters/facets.js";
import { FilterBar } from "./filters/filter-bar.js";
import { LibraryUpdate } from "./library/library-update.js";
import { LibraryView } from "./library/library.js";
import { go, savedScroll, saveScroll, startRouter, stateFromUrl, stateOf } from "./router.js";
import { photoExample, segmentExample } from "./search/examples.js";
import { listenForPictures } from "./search/picture-input.js";
import { refine } from "./search/result-tiles.js";
import { ResultsView } from "./search/results.js";
import { SearchBar } from "./search/search-bar.js";
import { showShortcuts, signIn } from "./shared/dialogs.js";
import { find, isTextField } from "./shared/dom.js";
import { focusLastUsed } from "./shared/grid.js";
import { onUnauthorized } from "./shared/http.js";
import { icon, isIconName } from "./shared/icons.js";
import { closePopover } from "./shared/popover.js";
import { Viewer } from "./viewer/viewer.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./router.js").Navigation} Navigation */

const SCROLL_SAVED_MS = 150; // after scrolling ends
const HEADER_LINE_PX = 4; // scrolled further, the header gets a line below

/** The library or search that is shown, perhaps behind a photo. */
let base = stateOf({});
let isViewing = false;

/** @param {State} state @param {Navigation} navigation */
async function show(state, navigation) {
  closePopover();
  isViewing = state.view === "photo" || state.view === "picture";
  for (const selector of [".skip", "#top", "#main"]) find(selector).inert = isViewing;
  if (isViewing) return viewer.show(state);
  if (viewer.hide()) focusLastUsed();
  const isSearch = state.view === "search";
  const section = find(isSearch ? "#results" : "#library");
  const isSameView = state.view === base.view && !section.hidden;
  base = state;
  document.title = titleOf(state);
  searchBar.show(state);
  filterBar.show(state);
  find("#library").hidden = isSearch;
  find("#results").hidden = !isSearch;
  if (navigation === "push") scrollTo(0, 0);
  const y = savedScroll();
  await (isSearch ? results : library).show(state);
  if (base !== state || isViewing) return; // the user went on meanwhile
  if (navigation === "pop" && (!isSameView || y)) scrollTo(0, y);
}

/** @param {State} state @returns {string} */
function titleOf({ view, words }) {
  if (view !== "search") return "segsearch";
  return `${words || "Similar segments"} · segsearch`;
}

/** Load everything again: the library has other photos than before. */
function reload() {
  clearFacets();
  results.clearCache();
  library.reload();
  if (base.view === "search" && !isViewing) results.show(base);
  filterBar.show(base);
}

/** Follow links within the page without loading it again. @param {MouseEvent} event */
function onClick(event) {
  const target = event.target instanceof Element ? event.target : null;
  const link = target?.closest("a[data-route], a.skip");
  if (!(link instanceof HTMLAnchorElement) || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.className === "skip") find("#main").focus();
  else go(stateFromUrl(new URL(link.href)));
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (isTextField(event.target) || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?" && !document.querySelector("dialog[open]")) return showShortcuts();
  if (event.key !== "+" && event.key !== "-") return;
  const { segment, photo } = event.target instanceof HTMLElement ? event.target.dataset : {};
  const side = event.key === "+" ? "plus" : "minus";
  if (segment) refine(base, segmentExample(segment), side);
  else if (photo) refine(base, photoExample(photo), side);
}

/** @type {number|undefined} */
let savingScroll;

function onScroll() {
  find("#top").classList.toggle("is-scrolled", scrollY > HEADER_LINE_PX);
  clearTimeout(savingScroll);
  savingScroll = setTimeout(() => !isViewing && saveScroll(scrollY), SCROLL_SAVED_MS);
}

onUnauthorized(signIn);
for (const place of document.querySelectorAll("[data-icon]")) {
  const name = place instanceof HTMLElement ? place.dataset.icon : undefined;
  if (isIconName(name)) place.prepend(icon(name));
}
const library = new LibraryView(find("#library"));
const results = new ResultsView(find("#results"), () => libraryUpdate.start());
const filterBar = new FilterBar(find("#filters"));
const searchBar = new SearchBar(() => base);
const viewer = new Viewer(find("#viewer"), {
  getBase: () => base,
  photoIdsAround: (id) => (base.view === "search" ? results.photoIdsAround(id) : library.photoIds),
});
addEventListener("scroll", onScroll, { passive: true });
document.addEventListener("click", onClick);
document.addEventListener("keydown", onKey);
find("#help").addEventListener("click", showShortcuts);
listenForPictures();
startRouter(show);
const libraryUpdate = new LibraryUpdate(find("#jobs"), {
  changed: reload,
  running: (isRunning) => results.setUpdating(isRunning),
});
