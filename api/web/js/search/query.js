/** From the state of the page to the requests of the API. */

import { startOfDay } from "../filters/dates.js";
import { exampleForApi } from "./examples.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../router.js").Filter} Filter */

/**
 * Segment sizes by the share of the photo that they cover: 2% is a seventh of its width by a
 * seventh of its height (a cup on a table), 15% two fifths by two fifths (the subject of the
 * photo).
 * @type {Record<string, {label: string, hint: string, min?: number, max?: number}>}
 */
export const SIZES = {
  small: { label: "Small", hint: "up to 2% of the photo", max: 0.02 },
  medium: { label: "Medium", hint: "2% to 15%", min: 0.02, max: 0.15 },
  large: { label: "Large", hint: "15% and more", min: 0.15 },
};

/**
 * Return the part of a filter that is about photos, as /v1/photos and /v1/facets take it.
 * @param {Filter} filter
 * @returns {Record<string, string>}
 */
export function photoFilter({ folder, camera, from, to, undated }) {
  const fields = {
    folder,
    camera,
    taken_from: startOfDay(from),
    taken_before: startOfDay(to, 1),
    undated: undated && "true",
  };
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => (value ? [[name, value]] : [])),
  );
}

/** @param {Filter} filter @returns {object} SearchFilter of the API */
function segmentFilter(filter) {
  const { min, max } = Object.hasOwn(SIZES, filter.size) ? SIZES[filter.size] : {};
  return {
    ...photoFilter(filter),
    ...(min ? { min_area_fraction: min } : {}),
    ...(max ? { max_area_fraction: max } : {}),
  };
}

/**
 * @param {State} state
 * @returns {Promise<object>} SearchRequest of the API, without limit and cursor
 */
export async function searchRequest(state) {
  const [positive, negative] = await Promise.all(
    [state.plus, state.minus].map((examples) => Promise.all(examples.map(exampleForApi))),
  );
  return {
    ...(state.words ? { text: state.words } : {}),
    positive,
    negative,
    filter: segmentFilter(state.filter),
    group_by_photo: state.byPhoto,
    distinct: !state.byPhoto, // a photo's hits are drawn together, overlapping ones too
    with_masks: state.byPhoto, // drawn here; other tiles come from the server as images
  };
}

/** Whether a state is a search that the API can answer. @param {State} state @returns {boolean} */
export const hasQuery = (state) => Boolean(state.words || state.plus.length);

/**
 * Split typed words from excluded ones: `mug -wood -"dark wood"`.
 * @param {string} typed
 * @returns {{words: string, excluded: string[]}}
 */
export function splitWords(typed) {
  /** @type {string[]} */
  const excluded = [];
  const words = typed.replace(/(^|\s)-(?:"([^"]+)"|(\S+))/g, (_, space, quoted, word) => {
    excluded.push(quoted ?? word);
    return space;
  });
  return { words: words.replace(/\s+/g, " ").trim(), excluded };
}
