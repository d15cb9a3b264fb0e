/** Markers for the points and the box of a prompt, drawn over the photo. */

import { el, fill } from "../shared/dom.js";
import { icon } from "../shared/icons.js";

/** @param {number} px @param {number} lengthPx */
const percent = (px, lengthPx) => `${(px / lengthPx) * 100}%`;

/**
 * @param {HTMLElement} root as large as the photo on the screen
 * @param {import("../search/prompts.js").Prompt} prompt
 * @param {{width: number, height: number}} size of the photo, in pixels
 */
export function drawPromptMarkers(root, { points, box }, { width, height }) {
  const markers = points.map(({ x, y, label }) => {
    const className = label ? "mark" : "mark is-background";
    const marker = el("span", { class: className }, icon(label ? "plus" : "minus"));
    marker.style.left = percent(x, width);
    marker.style.top = percent(y, height);
    return marker;
  });
  if (box) {
    const [x, y, w, h] = box;
    const frame = el("span", { class: "mark-box" });
    Object.assign(frame.style, {
      left: percent(x, width),
      top: percent(y, height),
      width: percent(w, width),
      height: percent(h, height),
    });
    markers.push(frame);
  }
  fill(root, ...markers);
}
