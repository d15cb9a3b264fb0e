/** Selecting one of a photo's segments: by pointer, nested ones too, or by keyboard. */

import { el } from "../shared/dom.js";
import { percentLabel } from "../shared/format.js";
import { clamp } from "../shared/geometry.js";
import { isInside, maskFromRle, pointInside } from "../shared/rle.js";

/** @typedef {import("../shared/geometry.js").Point} Point */
/** @typedef {import("../shared/api.js").Segment} Segment */
/**
 * A segment with its mask decoded and a point inside of it, in pixels of the photo.
 * @typedef {Omit<Segment, "mask"> & {mask: import("../shared/rle.js").Mask, center: Point}}
 *   MaskedSegment
 */

const VISIBLE_DOTS = 48; // the largest segments; the others have dots for the keyboard only

export class SegmentPicker {
  /**
   * @param {import("./stage.js").Stage} stage
   * @param {() => void} onHighlight another segment is highlighted
   * @param {(segment: MaskedSegment) => void} onSelect by keyboard or by a screen reader's click
   */
  constructor(stage, onHighlight, onSelect) {
    this.stage = stage;
    this.onHighlight = onHighlight;
    this.onSelect = onSelect;
    this.root = el("div", {
      class: "dots",
      role: "group",
      "aria-label": "Segments, largest first",
    });
    stage.frame.append(this.root);
    /** @type {MaskedSegment[]} largest first */
    this.segments = [];
    /** @type {HTMLButtonElement[]} one a segment */
    this.dots = [];
    /** @type {MaskedSegment[]} those at one point, smallest first */
    this.stack = [];
    this.level = 0; // index in the stack of the highlighted one
    this.isLevelKept = false; // while the pointer stays on the segment that the user changed to
    /** @type {MaskedSegment|null} */
    this.selected = null;
  }

  /** @param {Segment[]} segments */
  show(segments) {
    this.segments = segments
      .flatMap((segment) => this.withMask(segment) ?? [])
      .sort((a, b) => b.area_px - a.area_px);
    this.stack = [];
    this.level = 0;
    this.selected = null;
    this.dots = this.segments.map((segment, i) => this.createDot(segment, i));
    this.root.replaceChildren(...this.dots);
  }

  /** @param {Segment} segment @returns {MaskedSegment|null} */
  withMask(segment) {
    if (!segment.mask) return null;
    const mask = maskFromRle(segment.mask);
    const [x, y] = pointInside(mask);
    const { width, height } = this.stage.size;
    const center = { x: ((x + 0.5) * width) / mask.width, y: ((y + 0.5) * height) / mask.height };
    return { ...segment, mask, center };
  }

  /** @param {MaskedSegment} segment @param {number} i @returns {HTMLButtonElement} */
  createDot(segment, i) {
    const share = percentLabel(segment.area_fraction);
    const dot = el("button", {
      type: "button",
      class: i < VISIBLE_DOTS ? "dot" : "dot is-small",
      tabindex: i ? "-1" : "0",
      "aria-label": `Segment ${i + 1} of ${this.segments.length}, ${share} of the photo`,
      on: {
        focus: () => this.highlight(segment),
        click: () => this.onSelect(segment),
        keydown: (event) => this.onKey(event, i),
      },
    });
    const { width, height } = this.stage.size;
    dot.style.left = `${(segment.center.x / width) * 100}%`;
    dot.style.top = `${(segment.center.y / height) * 100}%`;
    return dot;
  }

  /** Focus the dot of a segment: by default of the highlighted one, or else of the largest.
   * @param {MaskedSegment|null} [segment] */
  focus(segment = this.current) {
    const at = segment ? this.segments.indexOf(segment) : 0;
    this.dots[Math.max(0, at)]?.focus();
  }

  /** @returns {MaskedSegment|null} the highlighted one */
  get current() {
    return this.selected ?? this.stack[this.level] ?? null;
  }

  /**
   * Highlight the smallest segment at a point; keep the one that the user changed to if it is
   * there.
   * @param {Point|null} point
   * @returns {MaskedSegment|null}
   */
  pointAt(point) {
    if (this.selected) return this.selected;
    const before = this.current;
    this.stack = point ? this.segmentsAt(point) : [];
    const kept = this.isLevelKept && before ? this.stack.indexOf(before) : -1;
    this.isLevelKept = kept >= 0;
    this.level = Math.max(0, kept);
    if (this.current !== before) this.onHighlight();
    return this.current;
  }

  /** @param {Point} point @returns {MaskedSegment[]} smallest first */
  segmentsAt({ x, y }) {
    const { width, height } = this.stage.size;
    return this.segments
      .filter(({ mask }) => isInside(mask, (x * mask.width) / width, (y * mask.height) / height))
      .reverse();
  }

  /** Go to the next larger (1) or smaller (-1) segment at the same point. @param {number} step
   * @returns {boolean} whether there is one */
  changeLevel(step) {
    if (!this.stack.length) return false;
    const next = clamp(this.level + step, 0, this.stack.length - 1);
    if (next === this.level) return false;
    this.isLevelKept = true;
    this.level = next;
    if (this.selected) this.selected = this.stack[next];
    this.onHighlight();
    return true;
  }

  /** Highlight a segment that the keyboard has reached. @param {MaskedSegment} segment */
  highlight(segment) {
    this.putOnStack(segment);
    this.isLevelKept = true;
    this.selected = null;
    this.onHighlight();
  }

  /** @param {MaskedSegment|null} segment null: none */
  select(segment) {
    if (segment && this.stack.includes(segment)) this.level = this.stack.indexOf(segment);
    else if (segment) this.putOnStack(segment);
    this.selected = segment;
    this.onHighlight();
  }

  /** Stack the segments at the center of one. @param {MaskedSegment} segment */
  putOnStack(segment) {
    this.stack = this.segmentsAt(segment.center);
    if (!this.stack.includes(segment)) this.stack = [segment];
    this.level = this.stack.indexOf(segment);
  }

  /** @param {string} segmentId @returns {MaskedSegment|null} */
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
    this.dots.forEach((dot, at) => (dot.tabIndex = at === to ? 0 : -1));
    this.dots[to].focus();
  }
}
