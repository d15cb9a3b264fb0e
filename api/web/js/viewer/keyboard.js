/** Keyboard control of the viewer: everything that the pointer can do. */

import { goBack } from "../router.js";
import { isTextField } from "../shared/dom.js";
import { clamp } from "../shared/geometry.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("../shared/geometry.js").Point} Point */

const STEP = 0.03; // of the photo's longer side, a key press
const FINE_STEP = 0.005;
/** @type {Map<string, [dx: 1|0|-1, dy: 1|0|-1]>} */
const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);

export class Keyboard {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    /** @type {Point|null} the crosshair, in pixels of the photo; null while it is hidden */
    this.crosshair = null;
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (this.viewer.root.hidden || event.defaultPrevented || isTextField(event.target)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const isOnControl = event.target instanceof HTMLElement && event.target.closest("button, a");
    if (isOnControl && (event.key === "Enter" || event.key === " ")) return;
    if (this.handle(event)) event.preventDefault();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key has a function here */
  handle(event) {
    const { viewer } = this;
    const arrow = ARROWS.get(event.key);
    if (arrow) return this.onArrow(event, ...arrow);
    if (viewer.isSegmenting && this.handleSegmenting(event.key)) return true;
    switch (event.key) {
      case "Escape":
        this.escape();
        return true;
      case "Enter":
        if (viewer.currentExample) viewer.search();
        else if (!viewer.isPhoto) viewer.searchWhole();
        return true;
      case "[":
      case "]":
        viewer.changeLevel(event.key === "[" ? -1 : 1);
        return true;
      case "+":
      case "-":
        viewer.refine(event.key === "+" ? "plus" : "minus");
        return true;
      case "a":
        viewer.showAll(!viewer.showsAll);
        return true;
      case "c":
        if (viewer.isPhoto) viewer.setSegmenting(!viewer.isSegmenting);
        if (viewer.isSegmenting) this.moveCrosshair(0, 0, 0);
        return true;
      default:
        return false;
    }
  }

  /** Keys for making a new segment. @param {string} key @returns {boolean} */
  handleSegmenting(key) {
    const { segmenter } = this.viewer;
    if (["1", "2", "3"].includes(key)) segmenter.select(Number(key) - 1);
    else if (key === "u" || key === "Backspace") segmenter.undo();
    else if ((key === " " || key === "x") && this.crosshair) {
      segmenter.addPoint(this.crosshair.x, this.crosshair.y, key === "x");
    } else return false;
    return true;
  }

  escape() {
    const { viewer } = this;
    if (viewer.isSegmenting && !viewer.segmenter.isEmpty) viewer.startOver();
    else if (viewer.isSegmenting && viewer.picker.segments.length) viewer.setSegmenting(false);
    else if (viewer.picker.selected) viewer.select(null, false);
    else goBack();
  }

  /** @param {KeyboardEvent} event @param {1|0|-1} dx @param {1|0|-1} dy @returns {boolean} */
  onArrow(event, dx, dy) {
    const { viewer } = this;
    if (viewer.isSegmenting) this.moveCrosshair(dx, dy, event.shiftKey ? FINE_STEP : STEP);
    else if (event.target === viewer.stage.root) viewer.picker.focus();
    else if (dx) viewer.step(dx);
    return true;
  }

  /** @param {number} dx @param {number} dy @param {number} step of the photo's longer side */
  moveCrosshair(dx, dy, step) {
    const { stage, crosshair } = this.viewer;
    const { width, height } = stage.size;
    const stepPx = step * Math.max(width, height);
    const from = this.crosshair ?? { x: width / 2, y: height / 2 };
    const x = clamp(from.x + dx * stepPx, 0, width - 1);
    const y = clamp(from.y + dy * stepPx, 0, height - 1);
    this.crosshair = { x, y };
    crosshair.hidden = false;
    crosshair.style.left = `${(x / width) * 100}%`;
    crosshair.style.top = `${(y / height) * 100}%`;
  }

  hideCrosshair() {
    this.crosshair = null;
    this.viewer.crosshair.hidden = true;
  }
}
