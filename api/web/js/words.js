/** What is said below and upon a photo. */

import { sentence } from "./message.js";

const CLICK = matchMedia("(hover: none)").matches ? "tap" : "click";
const HINTS = {
  pick: `Point at a thing and ${CLICK} it. Drag a box around what is no segment yet.`,
  none: `No segments here yet: ${CLICK} a thing to cut it out.`,
  cut:
    CLICK === "tap"
      ? "Tap what you mean, or drag a box around it."
      : "Click what you mean. Right-click what does not belong to it. Or drag a box around it.",
  busy: "Cutting…",
  nothing: "Nothing could be cut out there. Try another point, or drag a box around it.",
  choose: `Choose the one you mean. Another ${CLICK} makes it better.`,
};

export const NOT_HERE = {
  title: "This picture is not in this browser",
  text: ["Pictures that you bring along stay where you dropped them. Drop it here again."],
};
export const OUT_OF_REACH = {
  title: "The file of this photo is out of reach",
  text: ["Its disk may be unplugged, or it was moved. Its segments can still be searched for."],
};

/**
 * Say what can be done now.
 * @param {import("./cutter.js").Cutter} cutter
 * @param {boolean} isCutting
 * @param {any} isKnown whether the picture has segments, or is no photo that could have some
 * @returns {string}
 */
export function hintFor(cutter, isCutting, isKnown) {
  if (cutter.error) return sentence(cutter.error.message);
  if (cutter.isBusy) return HINTS.busy;
  if (!isCutting) return HINTS.pick;
  if (cutter.isEmpty) return isKnown ? HINTS.cut : HINTS.none;
  return cutter.candidates.length ? HINTS.choose : HINTS.nothing;
}
