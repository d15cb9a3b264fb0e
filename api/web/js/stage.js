/** Where a picture is looked at: its place on the screen, and light upon it. */

import { el } from "./dom.js";
import { paintLit } from "./lit.js";

/** @typedef {import("./rle.js").Mask} Mask */
/** @typedef {{x: number, y: number}} Place in pixels of the upright picture */

const LARGER = 2.5; // small pictures are enlarged so far
const DRAG_PX = 7;
const VEIL = "rgba(10, 9, 8, 0.62)";

/**
 * What a pointer does on the stage; places may lie outside of the picture for `moved` only.
 * @typedef {object} StageEvents
 * @property {(place: Place|null) => void} moved null: it left the picture
 * @property {(place: Place, isNegative: boolean) => void} clicked
 * @property {(box: [number, number, number, number]) => void} boxed
 * @property {(step: number, event: WheelEvent) => void} turned
 * @property {() => void} resized
 */

export class Stage {
  /** @param {HTMLElement} root @param {StageEvents} events */
  constructor(root, events) {
    this.root = root;
    this.events = events;
    this.image = el("img", { class: "stage-image", alt: "", draggable: "false" });
    this.overlay = el("img", { class: "stage-overlay", alt: "", draggable: "false", hidden: true });
    this.light = el("canvas", { class: "stage-light", "aria-hidden": "true" });
    this.frame = el("div", { class: "stage-frame" }, this.image, this.overlay, this.light);
    this.band = el("div", { class: "stage-band", hidden: true });
    this.frame.append(this.band);
    root.append(this.frame);
    this.size = { width: 1, height: 1 };
    /** @type {{mask: Mask, outline: string}|null} */
    this.lit = null;
    /** @type {{x: number, y: number}|null} */
    this.pressed = null;
    new ResizeObserver(() => this.layOut()).observe(root);
    this.listen();
  }

  /** @param {number} width @param {number} height of the upright picture
   * @param {string} src @param {string} alt @param {() => void} failed */
  show(width, height, src, alt, failed) {
    this.size = { width, height };
    this.frame.classList.remove("is-shown");
    this.image.onload = () => this.frame.classList.add("is-shown");
    this.image.onerror = failed;
    this.image.alt = alt;
    this.image.src = src;
    this.shine(null);
    this.layOut();
  }

  /** Show another picture over this one while nothing is lit. @param {string} src "" for none */
  cover(src) {
    this.overlay.hidden = !src;
    if (src) this.overlay.src = src;
  }

  layOut() {
    const { clientWidth: wide, clientHeight: high } = this.root;
    if (!wide || !high) return;
    const { width, height } = this.size;
    this.scale = Math.min(wide / width, high / height, LARGER);
    this.width = width * this.scale;
    this.height = height * this.scale;
    this.frame.style.width = `${this.width}px`;
    this.frame.style.height = `${this.height}px`;
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.light.width = Math.round(this.width * ratio);
    this.light.height = Math.round(this.height * ratio);
    this.paint();
    this.events.resized();
  }

  /** Light a mask, or none. @param {Mask|null} mask @param {string} [outline] its color */
  shine(mask, outline = "#fff") {
    this.lit = mask ? { mask, outline } : null;
    this.paint();
  }

  paint() {
    const { lit, light } = this;
    light.classList.toggle("is-on", lit !== null);
    if (!lit) return; // it fades out as it is
    const rect = { x: 0, y: 0, width: light.width, height: light.height };
    const thickness = Math.max(1.5, light.width / Math.max(1, this.width ?? 1)) * 1.6;
    paintLit(light, [lit.mask], rect, { veil: VEIL, outline: lit.outline, thickness });
  }

  /** @param {number} clientX @param {number} clientY @returns {Place} */
  placeAt(clientX, clientY) {
    const { left, top } = this.frame.getBoundingClientRect();
    const scale = this.scale ?? 1;
    return { x: (clientX - left) / scale, y: (clientY - top) / scale };
  }

  /** @param {Place} place @returns {boolean} */
  holds({ x, y }) {
    return x >= 0 && y >= 0 && x < this.size.width && y < this.size.height;
  }

  /** Where a place of the picture lies, from the corner of the stage.
   * @param {Place} place @returns {{x: number, y: number}} */
  fromPlace({ x, y }) {
    const [frame, root] = [this.frame.getBoundingClientRect(), this.root.getBoundingClientRect()];
    const scale = this.scale ?? 1;
    return { x: frame.left - root.left + x * scale, y: frame.top - root.top + y * scale };
  }

  listen() {
    this.root.addEventListener("pointermove", (event) => this.onMove(event));
    this.root.addEventListener("pointerleave", () => this.events.moved(null));
    this.root.addEventListener("pointerdown", (event) => this.onDown(event));
    this.root.addEventListener("pointerup", (event) => this.onUp(event));
    this.root.addEventListener("pointercancel", () => this.letGo());
    this.root.addEventListener("contextmenu", (event) => {
      if (this.frame.contains(/** @type {Node} */ (event.target))) event.preventDefault();
    });
    this.root.addEventListener(
      "wheel",
      (event) => this.events.turned(Math.sign(event.deltaY), event),
      { passive: false },
    );
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    const place = this.placeAt(event.clientX, event.clientY);
    if (this.pressed) return this.stretch(event);
    if (event.pointerType !== "touch") this.events.moved(this.holds(place) ? place : null);
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    if (!this.frame.contains(/** @type {Node} */ (event.target))) return;
    if (/** @type {HTMLElement} */ (event.target).closest("button")) return;
    this.pressed = { x: event.clientX, y: event.clientY };
    this.root.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    const { pressed } = this;
    if (!pressed) return;
    const isBox = !this.band.hidden;
    this.letGo();
    if (isBox)
      return this.events.boxed(this.boxBetween(pressed, { x: event.clientX, y: event.clientY }));
    const place = this.placeAt(event.clientX, event.clientY);
    const isNegative = event.button === 2 || event.altKey || (event.ctrlKey && event.button === 0);
    if (this.holds(place)) this.events.clicked(place, isNegative);
  }

  letGo() {
    this.pressed = null;
    this.band.hidden = true;
  }

  /** Draw the box while it is dragged. @param {PointerEvent} event */
  stretch(event) {
    const from = /** @type {{x: number, y: number}} */ (this.pressed);
    if (this.band.hidden && Math.hypot(event.clientX - from.x, event.clientY - from.y) < DRAG_PX)
      return;
    this.band.hidden = false;
    this.events.moved(null);
    this.showBand(this.boxBetween(from, { x: event.clientX, y: event.clientY }));
  }

  /** @param {[number, number, number, number]} box */
  showBand([x, y, w, h]) {
    const scale = this.scale ?? 1;
    Object.assign(this.band.style, {
      left: `${x * scale}px`,
      top: `${y * scale}px`,
      width: `${w * scale}px`,
      height: `${h * scale}px`,
    });
  }

  /** The box between two corners on the screen, in pixels of the picture and within it.
   * @param {{x: number, y: number}} a @param {{x: number, y: number}} b
   * @returns {[number, number, number, number]} */
  boxBetween(a, b) {
    const { width, height } = this.size;
    const [one, two] = [this.placeAt(a.x, a.y), this.placeAt(b.x, b.y)];
    const within = (/** @type {number} */ value, /** @type {number} */ length) =>
      Math.min(Math.max(value, 0), length - 1);
    const [x0, x1] = [one.x, two.x].map((x) => within(x, width)).sort((m, n) => m - n);
    const [y0, y1] = [one.y, two.y].map((y) => within(y, height)).sort((m, n) => m - n);
    return [x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
  }
}
