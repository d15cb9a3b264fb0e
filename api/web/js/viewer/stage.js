/** The stage: a photo scaled to the window, a highlighted mask over it, and the pointer on it. */

import { el } from "../shared/dom.js";
import { boxFromCorners } from "../shared/geometry.js";
import { paintMasks } from "../shared/mask-canvas.js";

/** @typedef {import("../shared/rle.js").Mask} Mask */
/** @typedef {import("../shared/geometry.js").Point} Point */
/** @typedef {import("../shared/api.js").BoxXywh} BoxXywh */

const MAX_SCALE = 2.5; // of small photos
const DRAG_PX = 7; // a pointer that moves less makes a click
const DIM_COLOR = "rgba(10, 9, 8, 0.62)";
const OUTLINE_PX = 1.6; // CSS pixels

/**
 * What the pointer does; points and boxes are in pixels of the upright photo and lie within it.
 * @typedef {object} StageEvents
 * @property {(point: Point|null) => void} onMove null: it left the photo
 * @property {(point: Point, isBackground: boolean) => void} onClick
 * @property {(box: BoxXywh) => void} onDrag
 * @property {(step: 1|-1, event: WheelEvent) => void} onWheel
 * @property {() => void} onResize
 */

export class Stage {
  /** @param {HTMLElement} root @param {StageEvents} events */
  constructor(root, events) {
    this.root = root;
    this.events = events;
    this.image = el("img", { class: "stage-image", alt: "", draggable: "false" });
    this.overlay = el("img", { class: "stage-overlay", alt: "", draggable: "false", hidden: true });
    this.canvas = el("canvas", { class: "stage-masks", "aria-hidden": "true" });
    this.band = el("div", { class: "stage-band", hidden: true }); // the box while it is dragged
    this.frame = el(
      "div",
      { class: "stage-frame" },
      this.image,
      this.overlay,
      this.canvas,
      this.band,
    );
    root.append(this.frame);
    this.size = { width: 1, height: 1 }; // of the photo
    this.scale = 1; // CSS pixels per pixel of the photo
    /** @type {{mask: Mask, outlineColor: string}|null} */
    this.highlighted = null;
    /** @type {Point|null} where the pointer was pressed, in CSS pixels of the window */
    this.pressed = null;
    new ResizeObserver(() => this.layOut()).observe(root);
    this.listen();
  }

  /** @param {{width: number, height: number, src: string, title: string}} source
   * @param {() => void} onError */
  show({ width, height, src, title }, onError) {
    this.size = { width, height };
    this.frame.classList.remove("is-shown");
    this.image.onload = () => this.frame.classList.add("is-shown");
    this.image.onerror = onError;
    this.image.alt = title;
    this.image.src = src;
    this.highlight(null);
    this.layOut();
  }

  /**
   * Show another image over the photo while no mask is highlighted.
   * @param {string} src "": none
   */
  showOverlay(src) {
    this.overlay.hidden = !src;
    if (src) this.overlay.src = src;
  }

  layOut() {
    const { clientWidth, clientHeight } = this.root;
    if (!clientWidth || !clientHeight) return;
    const { width, height } = this.size;
    this.scale = Math.min(clientWidth / width, clientHeight / height, MAX_SCALE);
    const [widthPx, heightPx] = [width * this.scale, height * this.scale];
    this.frame.style.width = `${widthPx}px`;
    this.frame.style.height = `${heightPx}px`;
    const pixelRatio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(widthPx * pixelRatio);
    this.canvas.height = Math.round(heightPx * pixelRatio);
    this.paint();
    this.events.onResize();
  }

  /** Dim all but a mask. @param {Mask|null} mask null: none @param {string} [outlineColor] */
  highlight(mask, outlineColor = "#fff") {
    this.highlighted = mask ? { mask, outlineColor } : null;
    this.paint();
  }

  paint() {
    const { highlighted, canvas, scale, size } = this;
    canvas.classList.toggle("is-on", highlighted !== null);
    if (!highlighted) return; // the style sheet fades out what is painted
    const photoRect = { x: 0, y: 0, width: canvas.width, height: canvas.height };
    const pixelRatio = canvas.width / Math.max(1, size.width * scale);
    paintMasks(canvas, [highlighted.mask], photoRect, {
      dimColor: DIM_COLOR,
      outlineColor: highlighted.outlineColor,
      outlinePx: Math.max(1.5, pixelRatio) * OUTLINE_PX,
    });
  }

  /**
   * @param {{clientX: number, clientY: number}} event
   * @returns {Point} in pixels of the photo, perhaps outside of it
   */
  toPhoto({ clientX, clientY }) {
    const { left, top } = this.frame.getBoundingClientRect();
    return { x: (clientX - left) / this.scale, y: (clientY - top) / this.scale };
  }

  /** @param {Point} point in pixels of the photo @returns {Point} in CSS pixels of the stage */
  toStage({ x, y }) {
    const [frame, root] = [this.frame.getBoundingClientRect(), this.root.getBoundingClientRect()];
    return {
      x: frame.left - root.left + x * this.scale,
      y: frame.top - root.top + y * this.scale,
    };
  }

  /** @param {Point} point in pixels of the photo @returns {boolean} */
  contains({ x, y }) {
    return x >= 0 && y >= 0 && x < this.size.width && y < this.size.height;
  }

  listen() {
    this.root.addEventListener("pointermove", (event) => this.onPointerMove(event));
    this.root.addEventListener("pointerleave", () => this.events.onMove(null));
    this.root.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    this.root.addEventListener("pointerup", (event) => this.onPointerUp(event));
    this.root.addEventListener("pointercancel", () => this.release());
    this.root.addEventListener("contextmenu", (event) => {
      if (event.target instanceof Node && this.frame.contains(event.target)) event.preventDefault();
    });
    this.root.addEventListener(
      "wheel",
      (event) => event.deltaY && this.events.onWheel(event.deltaY > 0 ? 1 : -1, event),
      { passive: false },
    );
  }

  /** @param {PointerEvent} event */
  onPointerMove(event) {
    if (this.pressed) return this.drag(this.pressed, event);
    const point = this.toPhoto(event);
    if (event.pointerType !== "touch") this.events.onMove(this.contains(point) ? point : null);
  }

  /** @param {PointerEvent} event */
  onPointerDown(event) {
    const { target } = event;
    if (!(target instanceof Element) || !this.frame.contains(target)) return;
    if (target.closest("button")) return;
    this.pressed = { x: event.clientX, y: event.clientY };
    this.root.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  onPointerUp(event) {
    const { pressed } = this;
    if (!pressed) return;
    const isDrag = !this.band.hidden;
    this.release();
    if (isDrag) return this.events.onDrag(this.boxTo(pressed, event));
    const point = this.toPhoto(event);
    const isBackground =
      event.button === 2 || event.altKey || (event.ctrlKey && event.button === 0);
    if (this.contains(point)) this.events.onClick(point, isBackground);
  }

  release() {
    this.pressed = null;
    this.band.hidden = true;
  }

  /** Draw the box while it is dragged. @param {Point} pressed @param {PointerEvent} event */
  drag(pressed, event) {
    const distance = Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y);
    if (this.band.hidden && distance < DRAG_PX) return;
    this.band.hidden = false;
    this.events.onMove(null);
    const [x, y, w, h] = this.boxTo(pressed, event);
    Object.assign(this.band.style, {
      left: `${x * this.scale}px`,
      top: `${y * this.scale}px`,
      width: `${w * this.scale}px`,
      height: `${h * this.scale}px`,
    });
  }

  /**
   * @param {Point} pressed
   * @param {PointerEvent} event
   * @returns {BoxXywh} in pixels of the photo
   */
  boxTo(pressed, event) {
    const corner = this.toPhoto({ clientX: pressed.x, clientY: pressed.y });
    return boxFromCorners(corner, this.toPhoto(event), this.size.width, this.size.height);
  }
}
