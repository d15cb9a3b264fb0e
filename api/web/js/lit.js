/** Light on what is meant: masks painted over a picture as a veil with holes, outlined. */

import { pixelsFromMask } from "./rle.js";

/** @typedef {import("./rle.js").Mask} Mask */
/** A rectangle in pixels of a canvas.
 * @typedef {{x: number, y: number, width: number, height: number}} Rect */
/** Colors, and how thick outlines are, in pixels of the canvas.
 * @typedef {{veil: string, outline: string, thickness: number}} Look */
/** A mask's own part of its picture, white inside, and where that part lies (shares of 1).
 * @typedef {{canvas: HTMLCanvasElement} & Rect} Shape */

const LONG_SIDE_PX = 1024; // SAM's masks know no more
const SMALLEST_PART = 0.35; // of a picture's shorter side: less shows no surroundings
const OUTLINE_STEPS = 16; // directions in which the shape is moved to draw its outline

/** @type {WeakMap<Mask, Shape>} */
const shapes = new WeakMap();

/**
 * Return the shape of a mask; the second time it costs nothing.
 * @param {Mask} mask
 * @returns {Shape}
 */
export function shapeOf(mask) {
  let shape = shapes.get(mask);
  if (!shape) shapes.set(mask, (shape = drawShape(mask)));
  return shape;
}

/** @param {Mask} mask @returns {Shape} */
function drawShape(mask) {
  const scale = Math.min(1, LONG_SIDE_PX / Math.max(mask.width, mask.height));
  const width = Math.max(1, Math.round(mask.width * scale));
  const height = Math.max(1, Math.round(mask.height * scale));
  const pixels = pixelsFromMask(mask, width, height);
  const [left, top, right, bottom] = edgesOf(pixels, width, height);
  const canvas = document.createElement("canvas");
  canvas.width = right - left;
  canvas.height = bottom - top;
  const pen = pen2d(canvas);
  const image = pen.createImageData(canvas.width, canvas.height);
  const words = new Uint32Array(image.data.buffer);
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at++) words[at] = pixels[y * width + x] ? 0xffffffff : 0;
  }
  pen.putImageData(image, 0, 0);
  return {
    canvas,
    x: left / width,
    y: top / height,
    width: canvas.width / width,
    height: canvas.height / height,
  };
}

/** Left, top, right and bottom of what is inside; nothing inside gives one pixel.
 * @param {Uint8Array} pixels @param {number} width @param {number} height */
function edgesOf(pixels, width, height) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!pixels[at]) continue;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      bottom = y + 1;
    }
  }
  return right ? [left, top, right, bottom] : [0, 0, 1, 1];
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
export function pen2d(canvas) {
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("this browser can't draw");
  return pen;
}

/** @param {CanvasRenderingContext2D} pen @param {Shape} shape @param {Rect} rect of the whole picture
 * @param {number} [dx] @param {number} [dy] */
function put(pen, shape, rect, dx = 0, dy = 0) {
  pen.drawImage(
    shape.canvas,
    rect.x + shape.x * rect.width + dx,
    rect.y + shape.y * rect.height + dy,
    shape.width * rect.width,
    shape.height * rect.height,
  );
}

/**
 * Veil a canvas, but not where masks are; outline those.
 * @param {HTMLCanvasElement} canvas it is cleared first
 * @param {Mask[]} masks
 * @param {Rect} rect where the whole picture lies on the canvas
 * @param {Look} look
 */
export function paintLit(canvas, masks, rect, look) {
  const pen = pen2d(canvas);
  const lit = masks.map(shapeOf);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!lit.length) return;
  pen.fillStyle = look.veil;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "destination-out";
  lit.forEach((shape) => put(pen, shape, rect));
  pen.globalCompositeOperation = "source-over";
  pen.drawImage(outlineOf(canvas, lit, rect, look.outline, look.thickness), 0, 0);
}

/** One canvas for all outlines: it is drawn on and copied from within one call. */
const spare = document.createElement("canvas");

/** @param {HTMLCanvasElement} canvas @param {Shape[]} lit @param {Rect} rect
 * @param {string} color @param {number} thickness */
function outlineOf(canvas, lit, rect, color, thickness) {
  spare.width = canvas.width; // clears it too
  spare.height = canvas.height;
  const pen = pen2d(spare);
  for (const shape of lit) {
    for (let step = 0; step < OUTLINE_STEPS; step++) {
      const angle = (step / OUTLINE_STEPS) * 2 * Math.PI;
      put(pen, shape, rect, Math.cos(angle) * thickness, Math.sin(angle) * thickness);
    }
  }
  pen.globalCompositeOperation = "destination-out";
  lit.forEach((shape) => put(pen, shape, rect));
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = color;
  pen.fillRect(0, 0, spare.width, spare.height);
  pen.globalCompositeOperation = "source-over";
  return spare;
}

/**
 * Return the square of a picture that shows a box with some of its surroundings.
 * @param {number[]} boxXywh in pixels of the picture
 * @param {number} width of the picture @param {number} height of the picture
 * @param {number} [room] how much larger than the box; 1 cuts off what a square within the picture
 *   can't hold, more lets the square stand over the picture's edges instead
 * @returns {Rect}
 */
export function squareAround([x, y, w, h], width, height, room = 1.7) {
  const shorter = Math.min(width, height);
  const most = room > 1 ? Math.max(w, h, shorter) : shorter;
  const side = Math.min(Math.max(Math.max(w, h) * room, shorter * SMALLEST_PART), most);
  const start = (/** @type {number} */ middle, /** @type {number} */ length) =>
    side >= length ? (length - side) / 2 : Math.min(Math.max(middle - side / 2, 0), length - side);
  return { x: start(x + w / 2, width), y: start(y + h / 2, height), width: side, height: side };
}

/**
 * Draw one part of a picture on a canvas, its masks lit.
 * @param {HTMLCanvasElement} canvas filled wholly
 * @param {CanvasImageSource} image
 * @param {Rect} part in shares of the picture (0..1)
 * @param {Mask[]} masks
 * @param {Look} look
 */
export function drawLitPart(canvas, image, part, masks, look) {
  const rect = {
    x: (-part.x / part.width) * canvas.width,
    y: (-part.y / part.height) * canvas.height,
    width: canvas.width / part.width,
    height: canvas.height / part.height,
  };
  const veil = document.createElement("canvas");
  veil.width = canvas.width;
  veil.height = canvas.height;
  paintLit(veil, masks, rect, look);
  const pen = pen2d(canvas);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, rect.x, rect.y, rect.width, rect.height);
  pen.drawImage(veil, 0, 0);
}
