/** Picking a segment of a photo: under the pointer, nested ones too, and by key. */

import { el } from "./dom.js";
import { shareName } from "./names.js";
import { isInside, maskFromRle, middleOf } from "./rle.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./stage.js").Place} Place */
/**
 * A segment as the API has it, with its mask read and a place well inside of it.
 * @typedef {{segment_id: string, area_px: number, area_fraction: number,
 *   mask: import("./rle.js").Mask, middle: Place}} Segment
 */

const DOTS = 48; // so many segments, the largest, show a dot; all can be reached by key

export class Picker {
  /**
   * @param {Stage} stage
   * @param {() => void} changed another one is lit
   * @param {(segment: Segment) => void} picked by key, or by a screen reader's click
   */
  constructor(stage, changed, picked) {
    this.stage = stage;
    this.changed = changed;
    this.picked = picked;
    this.dots = el("div", {
      class: "dots",
      role: "group",
      "aria-label": "Segments, largest first",
    });
    stage.frame.append(this.dots);
    /** @type {Segment[]} largest first */
    this.segments = [];
    /** @type {Segment[]} those at one place, smallest first */
    this.stack = [];
    this.level = 0; // of the stack
    this.isTurned = false; // the level was chosen, and is kept while it lies under the pointer
    /** @type {Segment|null} */
    this.chosen = null;
  }

  /** @param {any[]} segments as the API sends them, with masks */
  show(segments) {
    this.segments = segments
      .filter((segment) => segment.mask)
      .map((segment) => this.read(segment))
      .sort((a, b) => b.area_px - a.area_px);
    this.stack = [];
    this.level = 0;
    this.chosen = null;
    this.buttons = this.segments.map((segment, i) => this.dot(segment, i));
    this.dots.replaceChildren(...this.buttons);
  }

  /** @param {any} segment @returns {Segment} */
  read(segment) {
    const mask = maskFromRle(segment.mask);
    const [x, y] = middleOf(mask);
    const { width, height } = this.stage.size;
    const middle = { x: ((x + 0.5) * width) / mask.width, y: ((y + 0.5) * height) / mask.height };
    return { ...segment, mask, middle };
  }

  /** @param {Segment} segment @param {number} i @returns {HTMLButtonElement} */
  dot(segment, i) {
    const share = shareName(segment.area_fraction);
    const dot = el("button", {
      type: "button",
      class: i < DOTS ? "dot" : "dot is-small",
      tabindex: i ? "-1" : "0",
      "aria-label": `Segment ${i + 1} of ${this.segments.length}, ${share} of the photo`,
      on: {
        focus: () => this.reach(segment),
        click: () => this.picked(segment),
        keydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event, i),
      },
    });
    const { width, height } = this.stage.size;
    const { x, y } = segment.middle;
    dot.style.left = `${(x / width) * 100}%`;
    dot.style.top = `${(y / height) * 100}%`;
    return dot;
  }

  /** Give the focus to a segment, else to the one that is lit, else to the largest.
   * @param {Segment|null} [segment] */
  focus(segment = this.current) {
    const at = segment ? this.segments.indexOf(segment) : 0;
    this.buttons?.[Math.max(0, at)]?.focus();
  }

  /** The segment that is lit. @returns {Segment|null} */
  get current() {
    return this.chosen ?? this.stack[this.level] ?? null;
  }

  /** Light the smallest segment at a place; the one that was lit stays if it lies there too.
   * @param {Place|null} place @returns {Segment|null} */
  point(place) {
    if (this.chosen) return this.chosen;
    const before = this.current;
    this.stack = place ? this.at(place) : [];
    const same = this.isTurned && before ? this.stack.indexOf(before) : -1;
    if (same < 0) this.isTurned = false;
    this.level = Math.max(0, same);
    if (this.current !== before) this.changed();
    return this.current;
  }

  /** The segments at a place, smallest first. @param {Place} place @returns {Segment[]} */
  at({ x, y }) {
    const { width, height } = this.stage.size;
    return this.segments
      .filter(({ mask }) => isInside(mask, (x * mask.width) / width, (y * mask.height) / height))
      .reverse();
  }

  /** Go to the next larger (1) or smaller (-1) one at the same place. @param {number} step
   * @returns {boolean} whether there was one */
  turn(step) {
    const next = Math.min(this.stack.length - 1, Math.max(0, this.level + step));
    if (next === this.level || next < 0) return false;
    this.isTurned = true;
    this.level = next;
    if (this.chosen) this.chosen = this.stack[next];
    this.changed();
    return true;
  }

  /** Light a segment that was reached by key, and know what else lies there. @param {Segment} segment */
  reach(segment) {
    this.stack = this.at(segment.middle);
    if (!this.stack.includes(segment)) this.stack = [segment];
    this.level = this.stack.indexOf(segment);
    this.isTurned = true;
    this.chosen = null;
    this.changed();
  }

  /** Choose a segment, or none. @param {Segment|null} segment */
  choose(segment) {
    if (segment && !this.stack.includes(segment)) {
      this.stack = this.at(segment.middle);
      if (!this.stack.includes(segment)) this.stack = [segment];
    }
    this.chosen = segment;
    if (segment) this.level = this.stack.indexOf(segment);
    this.changed();
  }

  /** @param {string} segmentId @returns {Segment|null} */
  find(segmentId) {
    return this.segments.find((segment) => segment.segment_id === segmentId) ?? null;
  }

  /** @param {KeyboardEvent} event @param {number} i */
  onKey(event, i) {
    const last = this.segments.length - 1;
    const to = {
      ArrowRight: Math.min(last, i + 1),
      ArrowDown: Math.min(last, i + 1),
      ArrowLeft: Math.max(0, i - 1),
      ArrowUp: Math.max(0, i - 1),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.buttons?.forEach((dot, at) => (dot.tabIndex = at === to ? 0 : -1));
    this.buttons?.[to].focus();
  }
}
