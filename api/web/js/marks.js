/** The clicks and the box of a prompt, drawn on the picture. */

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";

/** @param {number} value @param {number} whole */
const share = (value, whole) => `${(value / whole) * 100}%`;

/**
 * Draw a prompt.
 * @param {HTMLElement} root as large as the picture
 * @param {import("./prompts.js").Prompt} prompt
 * @param {{width: number, height: number}} size of the picture
 */
export function drawMarks(root, { points, box }, { width, height }) {
  const marks = points.map(({ x, y, label }) => {
    const mark = el(
      "span",
      { class: label ? "mark" : "mark is-outside" },
      icon(label ? "plus" : "minus"),
    );
    Object.assign(mark.style, { left: share(x, width), top: share(y, height) });
    return mark;
  });
  if (box) {
    const [x, y, w, h] = box;
    const frame = el("span", { class: "mark-box" });
    Object.assign(frame.style, {
      left: share(x, width),
      top: share(y, height),
      width: share(w, width),
      height: share(h, height),
    });
    marks.push(frame);
  }
  fill(root, ...marks);
}
