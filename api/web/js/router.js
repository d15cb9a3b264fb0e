/** Every state of the page has an address; this reads, writes and follows them. */

import { exampleFromText, textFromExample } from "./examples.js";
import { promptFromText, textFromPrompt } from "./prompts.js";

/** @typedef {import("./examples.js").Example} Example */
/** @typedef {import("./prompts.js").Prompt} Prompt */
/**
 * Which photos, and which of their segments; "" is no wish. Dates are YYYY-MM-DD, both ends included;
 * "1" as undated means the photos without one.
 * @typedef {{from: string, to: string, undated: string, camera: string, folder: string, size: string}} Filter
 */
/**
 * What the page shows.
 * @typedef {object} State
 * @property {"library"|"search"|"photo"|"picture"} view
 * @property {string} id of the photo or picture that is shown
 * @property {string} words
 * @property {Example[]} plus
 * @property {Example[]} minus
 * @property {boolean} byPhoto
 * @property {boolean} scores
 * @property {Filter} filter
 * @property {string} segment that is chosen in a photo
 * @property {Prompt} cut
 * @property {number} pick which of the cut's candidates is meant, from 0
 */

const FILTER_FIELDS = /** @type {const} */ (["from", "to", "undated", "camera", "folder", "size"]);
/** @type {Record<string, string>} */
const PLAIN = { "%3A": ":", "%2C": ",", "%40": "@", "%3B": ";", "%2F": "/" };

/** @returns {Filter} */
export const noFilter = () => ({
  from: "",
  to: "",
  undated: "",
  camera: "",
  folder: "",
  size: "",
});

/** @param {Filter} filter @returns {boolean} */
export const hasFilter = (filter) => FILTER_FIELDS.some((name) => filter[name]);

/**
 * Complete a state.
 * @param {Partial<State>} parts
 * @returns {State}
 */
export function stateOf(parts) {
  return {
    view: "library",
    id: "",
    words: "",
    plus: [],
    minus: [],
    byPhoto: false,
    scores: false,
    filter: noFilter(),
    segment: "",
    cut: { points: [], box: null },
    pick: 0,
    ...parts,
  };
}

/**
 * Read an address.
 * @param {{pathname: string, search: string}} address
 * @returns {State}
 */
export function stateFromAddress({ pathname, search }) {
  const fields = new URLSearchParams(search);
  const [, first, id = ""] = pathname.split("/").map(decodeURIComponent);
  const view = first === "search" || first === "photo" || first === "picture" ? first : "library";
  const filter = noFilter();
  for (const name of FILTER_FIELDS) filter[name] = fields.get(name) ?? "";
  const examples = (/** @type {string} */ name) =>
    fields.getAll(name).flatMap((text) => exampleFromText(text) ?? []);
  return stateOf({
    view,
    id,
    filter,
    words: fields.get("q") ?? "",
    plus: examples("plus"),
    minus: examples("minus"),
    byPhoto: fields.get("by") === "photo",
    scores: fields.has("scores"),
    segment: fields.get("segment") ?? "",
    cut: promptFromText(fields.get("cut")),
    pick: Math.min(2, Math.max(0, Number(fields.get("pick") ?? 1) - 1 || 0)),
  });
}

/**
 * Write an address; only what differs from the plain view is in it.
 * @param {State} state
 * @returns {string}
 */
export function addressFromState(state) {
  const fields = new URLSearchParams();
  const put = (/** @type {string} */ name, /** @type {any} */ value) =>
    value && fields.append(name, value);
  const isLooking = state.view === "photo" || state.view === "picture";
  if (isLooking) {
    put("segment", state.segment);
    put("cut", textFromPrompt(state.cut));
    put("pick", state.pick && state.pick + 1);
  } else {
    if (state.view === "search") {
      put("q", state.words);
      state.plus.forEach((example) => put("plus", textFromExample(example)));
      state.minus.forEach((example) => put("minus", textFromExample(example)));
      put("by", state.byPhoto && "photo");
      put("scores", state.scores && "1");
    }
    for (const name of FILTER_FIELDS) put(name, state.filter[name]);
  }
  const path = isLooking
    ? `/${state.view}/${encodeURIComponent(state.id)}`
    : state.view === "search"
      ? "/search"
      : "/";
  const query = fields.toString().replace(/%(3A|2C|40|3B|2F)/g, (code) => PLAIN[code]);
  return query ? `${path}?${query}` : path;
}

/** @type {(state: State, how: "push"|"replace"|"pop") => void} */
let follow = () => {};

/** @returns {State} */
export const here = () => stateFromAddress(location);

/**
 * Call a function with every state from now on, the present one first.
 * @param {(state: State, how: "push"|"replace"|"pop") => void} show
 */
export function followAddress(show) {
  history.scrollRestoration = "manual";
  follow = show;
  addEventListener("popstate", () => follow(here(), "pop"));
  show(here(), "pop");
}

/**
 * Go to a state: a new entry of the history, or in place of the present one.
 * @param {State} state
 * @param {{replace?: boolean}} [options]
 */
export function go(state, { replace = false } = {}) {
  const address = addressFromState(state);
  if (replace || address === location.pathname + location.search) {
    history.replaceState(history.state, "", address);
    follow(state, "replace");
  } else {
    rememberScroll(scrollY);
    history.pushState({ depth: (history.state?.depth ?? 0) + 1 }, "", address);
    follow(state, "push");
  }
}

/** Write an address for the present state without showing anything anew. @param {State} state */
export function note(state) {
  history.replaceState(history.state, "", addressFromState(state));
}

/** Go back; where there is no way back, to the library. */
export function goBack() {
  if (history.state?.depth) history.back();
  else go(stateOf({}), { replace: true });
}

/** Remember how far down the present state is scrolled. @param {number} y */
export function rememberScroll(y) {
  history.replaceState({ ...history.state, scroll: y }, "");
}

/** @returns {number} how far down the present state was scrolled */
export const rememberedScroll = () => history.state?.scroll ?? 0;
