/** The hint below a photo, and messages in place of it. */

import { errorLabel } from "../shared/format.js";

/** @typedef {import("./interactive-segmenter.js").InteractiveSegmenter} InteractiveSegmenter */

const isTouch = () => matchMedia("(hover: none)").matches;

export const PICTURE_MISSING = {
  title: "This picture is not in this browser",
  text: [
    "Pictures that you search with stay in the browser where you chose them. Drop it here again.",
  ],
};
export const FILE_MISSING = {
  title: "The file of this photo is not available",
  text: ["Its disk may be disconnected, or it was moved. Its segments can still be searched for."],
};

/**
 * Say what can be done now.
 * @param {InteractiveSegmenter} segmenter
 * @param {boolean} isSegmenting whether clicks are prompts for a new segment
 * @param {boolean} isUnsegmented whether this is a photo without segments
 * @returns {string}
 */
export function hintText(segmenter, isSegmenting, isUnsegmented) {
  const click = isTouch() ? "tap" : "click";
  if (segmenter.error) return errorLabel(segmenter.error);
  if (segmenter.isBusy) return "Segmenting…";
  if (!isSegmenting) return `Point at a segment and ${click} it. Drag a box to make a new one.`;
  if (segmenter.candidates.length) return `Choose a candidate. Another ${click} refines it.`;
  if (!segmenter.isEmpty) return "No segment was found there. Try another point, or drag a box.";
  if (isUnsegmented) return `No segments here yet: ${click} a thing to make one.`;
  return isTouch()
    ? "Tap a thing, or drag a box around it."
    : "Click a thing, or drag a box around it. Right-click what does not belong to it.";
}
