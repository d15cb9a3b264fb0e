/** Every state of the page has a URL; this parses, writes and follows them. */

import { exampleFromText, textFromExample } from "./search/examples.js";
import { emptyPrompt, promptFromText, textFromPrompt } from "./search/prompts.js";

/** @typedef {import("./search/examples.js").Example} Example */
/** @typedef {import("./search/prompts.js").Prompt} Prompt */
/**
 * Which photos and segments are shown; "" does not filter. Dates are YYYY-MM-DD, both ends
 * included; undated is "1" for photos without a date.
 * @typedef {{from: string, to: string, undated: string, camera: string, folder: string, size:
 *   string}} Filter
 */
/**
 * What the page shows.
 * @typedef {object} State
 * @property {"library"|"search"|"photo"|"picture"} view
 * @property {string} id of the photo or picture
 * @property {string} words of the search
 * @property {Example[]} plus positive examples
 * @property {Example[]} minus negative examples
 * @property {boolean} byPhoto whether results are grouped by photo
 * @property {boolean} scores whether scores are shown
 * @property {Filter} filter
 * @property {string} segment id of the selected segment in a photo
 * @property {Prompt} prompt of a new segment in a photo or picture
 * @property {number} candidate index of the selected candidate for the prompt
 */
/** @typedef {"push"|"replace"|"pop"} Navigation pop: back or forward */

const FILTER_FIELDS = /** @type {const} */ (["from", "to", "undated", "camera", "folder", "size"]);
const LAST_CANDIDATE = 2; // the API returns three
/** @type {Record<string, string>} characters that need no escape in a query string */
const UNESCAPED = { "%3A": ":", "%2C": ",", "%40": "@", "%3B": ";", "%2F": "/" };

/** @returns {Filter} */
export const emptyFilter = () => ({
  from: "",
  to: "",
  undated: "",
  camera: "",
  folder: "",
  size: "",
});

/** @param {Filter} filter @returns {boolean} */
export const hasFilter = (filter) => FILTER_FIELDS.some((name) => filter[name]);

/** @param {Partial<State>} parts @returns {State} with defaults for the other parts */
export function stateOf(parts) {
  return {
    view: "library",
    id: "",
    words: "",
    plus: [],
    minus: [],
    byPhoto: false,
    scores: false,
    filter: emptyFilter(),
    segment: "",
    prompt: emptyPrompt(),
    candidate: 0,
    ...parts,
  };
}

/**
 * Parse a URL; malformed parts are left out.
 * @param {{pathname: string, search: string}} url
 * @returns {State}
 */
export function stateFromUrl({ pathname, search }) {
  const fields = new URLSearchParams(search);
  const [, first, id = ""] = pathname.split("/").map(decodePart);
  const view = first === "search" || first === "photo" || first === "picture" ? first : "library";
  const filter = emptyFilter();
  for (const name of FILTER_FIELDS) filter[name] = fields.get(name) ?? "";
  const examples = (/** @type {"plus"|"minus"} */ side) =>
    fields.getAll(side).flatMap((text) => exampleFromText(text) ?? []);
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
    prompt: promptFromText(fields.get("prompt")),
    candidate: candidateFromText(fields.get("candidate")),
  });
}

/** @param {string} part of a path @returns {string} as it is if its escapes are malformed */
function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string|null} text from 1 @returns {number} from 0 */
function candidateFromText(text) {
  const number = Math.trunc(Number(text)) || 1;
  return Math.min(LAST_CANDIDATE, Math.max(0, number - 1));
}

/** @param {State} state @returns {string} path and query, without what is at its default */
export function urlFromState(state) {
  const fields = new URLSearchParams();
  const put = (/** @type {string} */ name, /** @type {string} */ value) => {
    if (value) fields.append(name, value);
  };
  const isViewer = state.view === "photo" || state.view === "picture";
  if (isViewer) {
    put("segment", state.segment);
    put("prompt", textFromPrompt(state.prompt));
    put("candidate", state.candidate ? String(state.candidate + 1) : "");
  } else {
    if (state.view === "search") {
      put("q", state.words);
      state.plus.forEach((example) => put("plus", textFromExample(example)));
      state.minus.forEach((example) => put("minus", textFromExample(example)));
      put("by", state.byPhoto ? "photo" : "");
      put("scores", state.scores ? "1" : "");
    }
    for (const name of FILTER_FIELDS) put(name, state.filter[name]);
  }
  const path = isViewer
    ? `/${state.view}/${encodeURIComponent(state.id)}`
    : state.view === "search"
      ? "/search"
      : "/";
  const query = fields.toString().replace(/%(3A|2C|40|3B|2F)/g, (escape) => UNESCAPED[escape]);
  return query ? `${path}?${query}` : path;
}

/** @type {(state: State, navigation: Navigation) => void} */
let onNavigate = () => {};

/** @returns {State} that of the address bar */
export const currentState = () => stateFromUrl(location);

/**
 * Call a function with the current state, and with every state from then on.
 * @param {(state: State, navigation: Navigation) => void} show
 */
export function startRouter(show) {
  history.scrollRestoration = "manual";
  onNavigate = show;
  addEventListener("popstate", () => onNavigate(currentState(), "pop"));
  show(currentState(), "pop");
}

/**
 * Navigate to a state: a new history entry, or in place of the current one.
 * @param {State} state
 * @param {{replace?: boolean}} [options]
 */
export function go(state, { replace = false } = {}) {
  const url = urlFromState(state);
  if (replace || url === location.pathname + location.search) {
    history.replaceState(history.state, "", url);
    onNavigate(state, "replace");
  } else {
    saveScroll(scrollY);
    history.pushState({ depth: (history.state?.depth ?? 0) + 1 }, "", url);
    onNavigate(state, "push");
  }
}

/** Put a state that the page shows already into the address bar. @param {State} state */
export function replaceUrl(state) {
  history.replaceState(history.state, "", urlFromState(state));
}

/** Go back; from the first entry, to the library. */
export function goBack() {
  if (history.state?.depth) history.back();
  else go(stateOf({}), { replace: true });
}

/** Save the scroll position of the current history entry. @param {number} y */
export function saveScroll(y) {
  history.replaceState({ ...history.state, scroll: y }, "");
}

/** @returns {number} the scroll position of the current history entry */
export const savedScroll = () => history.state?.scroll ?? 0;
