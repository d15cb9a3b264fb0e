/** From what the page shows to what the API is asked. */

import { exampleForApi } from "./examples.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./router.js").Filter} Filter */

/**
 * Sizes by the share of the photo that a segment covers: 2% is a seventh of its width by a seventh of
 * its height (a cup on a table), 15% two fifths by two fifths (the one thing that it shows).
 * @type {Record<string, {label: string, hint: string, min?: number, max?: number}>}
 */
export const SIZES = {
  small: { label: "Small", hint: "up to 2% of the photo", max: 0.02 },
  medium: { label: "Medium", hint: "2% to 15%", min: 0.02, max: 0.15 },
  large: { label: "Large", hint: "15% and more", min: 0.15 },
};

/**
 * Return when a day begins by the photos' own clocks, moved by some days.
 * @param {string} day YYYY-MM-DD
 * @param {number} [later] days
 * @returns {string|undefined} without an offset from UTC; undefined if it is no day.
 */
export function startOfDay(day, later = 0) {
  const [year, month, date] = day.split("-").map(Number);
  const start = new Date(Date.UTC(year, month - 1, date + later));
  return Number.isNaN(start.getTime()) ? undefined : start.toISOString().slice(0, 19);
}

/**
 * Return the part of a filter that is about photos, as /v1/photos and /v1/facets take it.
 * @param {Filter} filter
 * @returns {Record<string, string>}
 */
export function photoFilter(filter) {
  /** @type {Record<string, string|undefined>} */
  const fields = {
    folder: filter.folder,
    camera: filter.camera,
    taken_from: filter.from && startOfDay(filter.from),
    taken_before: filter.to && startOfDay(filter.to, 1),
    undated: filter.undated && "true",
  };
  const given = Object.entries(fields).filter(([, value]) => value);
  return /** @type {Record<string, string>} */ (Object.fromEntries(given));
}

/** @param {Filter} filter @returns {object} */
function segmentFilter(filter) {
  const { min, max } = SIZES[filter.size] ?? {};
  return {
    ...photoFilter(filter),
    ...(min ? { min_area_fraction: min } : {}),
    ...(max ? { max_area_fraction: max } : {}),
  };
}

/**
 * Return the search that a state asks for, without its page.
 * @param {State} state
 * @returns {Promise<object>}
 */
export async function searchRequest(state) {
  const [positive, negative] = await Promise.all(
    [state.plus, state.minus].map((side) => Promise.all(side.map(exampleForApi))),
  );
  return {
    ...(state.words ? { text: state.words } : {}),
    positive,
    negative,
    filter: segmentFilter(state.filter),
    group_by_photo: state.byPhoto,
    distinct: !state.byPhoto, // a thing once, not with each of its parts
    with_masks: state.byPhoto, // a photo's hits are lit together, here
  };
}

/** Say whether there is something to look for. @param {State} state @returns {boolean} */
export const looksForSomething = (state) => Boolean(state.words || state.plus.length);

/**
 * Split what was typed into wanted and unwanted words: `mug -wood -"dark wood"`.
 * @param {string} typed
 * @returns {{words: string, unwanted: string[]}}
 */
export function splitWords(typed) {
  /** @type {string[]} */
  const unwanted = [];
  const words = typed.replace(/(^|\s)-(?:"([^"]+)"|(\S+))/g, (_, space, quoted, plain) => {
    unwanted.push(quoted ?? plain);
    return space;
  });
  return { words: words.replace(/\s+/g, " ").trim(), unwanted };
}
