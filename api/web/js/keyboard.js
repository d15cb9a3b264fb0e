/** The keyboard in a photo: everything that the pointer can do. */

import { takesText } from "./dom.js";
import { goBack } from "./router.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

const STEP = 0.03; // of the picture's longer side, for each press
const FINE = 0.005;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Keyboard {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    /** @type {{x: number, y: number}|null} where the cross is, in pixels of the picture */
    this.place = null;
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const { viewer } = this;
    if (viewer.root.hidden || event.defaultPrevented || takesText(event.target)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"))
      return;
    const isOnButton =
      event.target instanceof HTMLElement && event.target.closest("button, a") !== null;
    if (isOnButton && (event.key === "Enter" || event.key === " ")) return;
    if (this.act(event)) event.preventDefault();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key means something here */
  act(event) {
    const { viewer } = this;
    if (ARROWS[event.key]) return this.arrow(event);
    if (viewer.isCutting && this.cut(event.key)) return true;
    switch (event.key) {
      case "Escape":
        this.escape();
        return true;
      case "Enter":
        if (viewer.meant) viewer.find();
        else if (!viewer.hasPhoto) viewer.findWhole();
        return true;
      case "[":
      case "]":
        viewer.turn(event.key === "[" ? -1 : 1);
        return true;
      case "+":
      case "-":
        viewer.refine(event.key === "+" ? "plus" : "minus");
        return true;
      case "a":
        viewer.showAll(!viewer.showsAll);
        return true;
      case "c":
        if (viewer.hasPhoto) viewer.setCutting(!viewer.isCutting);
        if (viewer.isCutting) this.moveCross(0, 0, 0);
        return true;
      default:
        return false;
    }
  }

  /** Keys that only mean something while cutting. @param {string} key @returns {boolean} */
  cut(key) {
    const { cutter } = this.viewer;
    if (["1", "2", "3"].includes(key)) cutter.pick(Number(key) - 1);
    else if (key === "u" || key === "Backspace") cutter.undo();
    else if ((key === " " || key === "x") && this.place) {
      cutter.click(this.place.x, this.place.y, key === "x");
    } else return false;
    return true;
  }

  escape() {
    const { viewer } = this;
    if (viewer.isCutting && !viewer.cutter.isEmpty) viewer.stopCutting();
    else if (viewer.isCutting && viewer.picker.segments.length) viewer.setCutting(false);
    else if (viewer.picker.chosen) viewer.choose(null, false);
    else goBack();
  }

  /** @param {KeyboardEvent} event @returns {boolean} */
  arrow(event) {
    const { viewer } = this;
    const [dx, dy] = ARROWS[event.key];
    if (viewer.isCutting) this.moveCross(dx, dy, event.shiftKey ? FINE : STEP);
    else if (event.target === viewer.stage.root) viewer.picker.focus();
    else if (dx) viewer.step(dx);
    return true;
  }

  /** @param {number} dx @param {number} dy @param {number} step */
  moveCross(dx, dy, step) {
    const { stage, cross } = this.viewer;
    const { width, height } = stage.size;
    const far = step * Math.max(width, height);
    const from = this.place ?? { x: width / 2, y: height / 2 };
    const within = (/** @type {number} */ value, /** @type {number} */ length) =>
      Math.min(Math.max(value, 0), length - 1);
    this.place = { x: within(from.x + dx * far, width), y: within(from.y + dy * far, height) };
    cross.hidden = false;
    cross.style.left = `${(this.place.x / width) * 100}%`;
    cross.style.top = `${(this.place.y / height) * 100}%`;
  }

  hideCross() {
    this.place = null;
    this.viewer.cross.hidden = true;
  }
}
