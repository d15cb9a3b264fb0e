/** The tiles of search results, with their buttons to refine the search. */

import { go, stateOf } from "../router.js";
import { photoUrl } from "../shared/api.js";
import { el } from "../shared/dom.js";
import { countLabel, fileLabel, percentLabel } from "../shared/format.js";
import { showImage, showSegmentTile, whenSettled } from "../shared/images.js";
import { iconButton } from "../shared/messages.js";
import { isSameExample, photoExample, segmentExample } from "./examples.js";
import { drawPhotoWithHits, hitsNearBest } from "./group-canvas.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("./examples.js").Example} Example */
/** @typedef {import("./examples.js").Side} Side */
/** @typedef {() => State} GetState the search that is shown */

export const TILE_PX = 220;
export const GROUP_PX = 300;
const PHOTO_PX = 220; // long side of a whole photo; the cell shows its middle square

/** @param {import("../shared/api.js").Hit} hit @param {GetState} getState @returns {HTMLElement} */
export function hitTile(hit, getState) {
  const image = el("img", { alt: "", class: "thumb is-segment", draggable: "false" });
  whenSettled(image, () => showSegmentTile(image, hit.segment_id, TILE_PX));
  const share = percentLabel(hit.area_fraction);
  const link = el(
    "a",
    {
      href: `/photo/${hit.photo_id}?segment=${hit.segment_id}`,
      class: "cell-link",
      title: fileLabel(hit.path),
      "aria-label": `Segment of ${fileLabel(hit.path)}, ${share} of it, ${scoreLabel(hit)}`,
      data: { route: "", focus: "", segment: hit.segment_id },
    },
    image,
  );
  const example = segmentExample(hit.segment_id);
  return el("div", { class: "cell tile" }, link, scoreBadge(hit), refineButtons(example, getState));
}

/** @param {import("../shared/api.js").PhotoGroup} group @param {GetState} getState
 * @returns {HTMLElement} */
export function groupTile(group, getState) {
  const hits = hitsNearBest(group.hits);
  const [best] = hits;
  const canvas = el("canvas", { class: "thumb", "aria-hidden": "true" });
  whenSettled(canvas, () => drawPhotoWithHits(canvas, group.photo_id, hits, GROUP_PX));
  const name = fileLabel(group.path);
  const count = countLabel(hits.length, "segment");
  const link = el(
    "a",
    {
      href: `/photo/${group.photo_id}?segment=${best.segment_id}`,
      class: "cell-link",
      "aria-label": `${name}: ${count}, best ${scoreLabel(best)}`,
      data: { route: "", focus: "", segment: best.segment_id },
    },
    canvas,
  );
  const caption = el(
    "p",
    { class: "caption" },
    el("span", { text: name }),
    hits.length > 1 && el("span", { class: "count", text: String(hits.length), title: count }),
  );
  const buttons = refineButtons(segmentExample(best.segment_id), getState);
  return el("div", { class: "cell tile" }, link, scoreBadge(best), buttons, caption);
}

/** @param {import("../shared/api.js").WholePhoto} photo @param {GetState} getState
 * @returns {HTMLElement} */
export function photoTile(photo, getState) {
  const image = el("img", { alt: "", class: "thumb", draggable: "false" });
  whenSettled(image, () => showImage(image, photoUrl(photo.photo_id, PHOTO_PX)));
  const name = fileLabel(photo.path);
  const link = el(
    "a",
    {
      href: `/photo/${photo.photo_id}`,
      class: "cell-link",
      title: name,
      "aria-label": `${name}, whole photo, not segmented yet, ${scoreLabel(photo)}`,
      data: { route: "", focus: "", photo: photo.photo_id },
    },
    image,
  );
  const buttons = refineButtons(photoExample(photo.photo_id), getState);
  return el("div", { class: "cell tile" }, link, scoreBadge(photo), buttons);
}

/** @param {Example} example @param {GetState} getState @returns {HTMLElement} */
function refineButtons(example, getState) {
  const refineButton = (/** @type {Side} */ side, /** @type {string} */ label) => {
    const isUsed = getState()[side].some((used) => isSameExample(used, example));
    return iconButton(side, label, () => refine(getState(), example, side), {
      "aria-pressed": String(isUsed),
    });
  };
  return el(
    "div",
    { class: "tools" },
    refineButton("plus", "More like this"),
    refineButton("minus", "Less like this"),
  );
}

/** @param {{score: number}} hit @returns {string} */
const scoreLabel = ({ score }) => `score ${score.toFixed(2)}`;

/** @param {{score: number}} hit @returns {HTMLElement} */
const scoreBadge = ({ score }) =>
  el("span", { class: "score", "aria-hidden": "true", text: score.toFixed(2) });

/**
 * Add an example to a search, or remove it where it was on that side already.
 * @param {State} state
 * @param {Example} example
 * @param {Side} side
 * @returns {State}
 */
export function refinedState(state, example, side) {
  const without = (/** @type {Example[]} */ examples) =>
    examples.filter((used) => !isSameExample(used, example));
  const next = {
    ...state,
    view: /** @type {const} */ ("search"),
    plus: without(state.plus),
    minus: without(state.minus),
  };
  const wasUsed = next[side].length < state[side].length;
  return wasUsed ? next : { ...next, [side]: [...next[side], example] };
}

/** Search again, refined. @param {State} state @param {Example} example @param {Side} side */
export const refine = (state, example, side) => go(stateOf(refinedState(state, example, side)));
