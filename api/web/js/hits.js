/** The tiles of what was found, and refining a search with them. */

import { photoUrl } from "./api.js";
import { el } from "./dom.js";
import { photoExample, sameExample, segmentExample } from "./examples.js";
import { iconButton } from "./message.js";
import { counted, fileName, shareName } from "./names.js";
import { go, stateOf } from "./router.js";
import { drawGroup, lightTile, nearlyBest, onceSettled, showImage } from "./tiles.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./examples.js").Example} Example */

export const TILE_PX = 220;
export const GROUP_PX = 300;
const WHOLE_PX = 220; // long side of a whole photo: its square is cut out of that

/**
 * Make the tile of a segment that was found.
 * @param {any} hit
 * @param {() => State} state the search that is shown
 * @returns {HTMLElement}
 */
export function hitTile(hit, state) {
  const image = el("img", { alt: "", class: "thumb is-lit", draggable: "false" });
  onceSettled(image, () => lightTile(image, hit.segment_id, TILE_PX));
  const share = shareName(hit.area_fraction);
  const link = el(
    "a",
    {
      href: `/photo/${hit.photo_id}?segment=${hit.segment_id}`,
      class: "cell-link",
      title: hit.path ? fileName(hit.path) : "The file of this photo is out of reach",
      "aria-label": `Segment of ${fileName(hit.path)}, ${share} of it, score ${hit.score.toFixed(2)}`,
      data: { route: "", focus: "", segment: hit.segment_id },
    },
    image,
  );
  return el(
    "div",
    { class: "cell tile" },
    link,
    scoreOf(hit),
    tools(segmentExample(hit.segment_id), state),
  );
}

/**
 * Make the tile of a photo in which segments were found.
 * @param {{photo_id: string, path: string|null, hits: any[]}} group
 * @param {() => State} state the search that is shown
 * @returns {HTMLElement}
 */
export function groupTile(group, state) {
  const hits = nearlyBest(group.hits);
  const [best] = hits;
  const canvas = el("canvas", { class: "thumb", "aria-hidden": "true" });
  onceSettled(canvas, () => drawGroup(canvas, group.photo_id, hits, GROUP_PX));
  const things = counted(hits.length, "segment");
  const link = el(
    "a",
    {
      href: `/photo/${group.photo_id}?segment=${best.segment_id}`,
      class: "cell-link",
      "aria-label": `${fileName(group.path)}: ${things}, best score ${best.score.toFixed(2)}`,
      data: { route: "", focus: "", segment: best.segment_id },
    },
    canvas,
  );
  const caption = el(
    "p",
    { class: "caption" },
    el("span", { text: fileName(group.path) }),
    hits.length > 1 && el("span", { class: "count", text: String(hits.length), title: things }),
  );
  return el(
    "div",
    { class: "cell tile" },
    link,
    scoreOf(best),
    tools(segmentExample(best.segment_id), state),
    caption,
  );
}

/**
 * Make the tile of a photo that was found as a whole.
 * @param {any} photo
 * @param {() => State} state the search that is shown
 * @returns {HTMLElement}
 */
export function wholeTile(photo, state) {
  const image = el("img", { alt: "", class: "thumb", draggable: "false" });
  onceSettled(image, () => showImage(image, photoUrl(photo.photo_id, WHOLE_PX)));
  const link = el(
    "a",
    {
      href: `/photo/${photo.photo_id}`,
      class: "cell-link",
      title: photo.path ? fileName(photo.path) : "The file of this photo is out of reach",
      "aria-label": `${fileName(photo.path)}, whole, not cut yet, score ${photo.score.toFixed(2)}`,
      data: { route: "", focus: "", photo: photo.photo_id },
    },
    image,
  );
  const more = tools(photoExample(photo.photo_id), state);
  return el("div", { class: "cell tile" }, link, scoreOf(photo), more);
}

/** Plus and minus. @param {Example} example @param {() => State} state @returns {HTMLElement} */
function tools(example, state) {
  const isIn = (/** @type {any[]} */ side) => side.some((one) => sameExample(one, example));
  const tool = (
    /** @type {string} */ sign,
    /** @type {string} */ label,
    /** @type {"plus"|"minus"} */ side,
  ) =>
    iconButton(sign, label, () => refine(state(), example, side), {
      "aria-pressed": String(isIn(state()[side])),
    });
  return el(
    "div",
    { class: "tools" },
    tool("plus", "More like this", "plus"),
    tool("minus", "Less like this", "minus"),
  );
}

/** @param {{score: number}} hit @returns {HTMLElement} */
const scoreOf = (hit) =>
  el("span", { class: "score", "aria-hidden": "true", text: hit.score.toFixed(2) });

/**
 * Search on with one more example, or without it if it was on that side already.
 * @param {State} state
 * @param {Example} example
 * @param {"plus"|"minus"} side
 */
export function refine(state, example, side) {
  const without = (/** @type {any[]} */ examples) =>
    examples.filter((one) => !sameExample(one, example));
  const wasThere = without(state[side]).length < state[side].length;
  const next = {
    ...state,
    view: /** @type {const} */ ("search"),
    plus: without(state.plus),
    minus: without(state.minus),
  };
  if (!wasThere) next[side] = [...next[side], example];
  go(stateOf(next));
}
