/** Drawing masks over a photo: everything else is dimmed, the masks are outlined. */

import { pixelsFromMask } from "./rle.js";

/** @typedef {import("./rle.js").Mask} Mask */
/** @typedef {import("./geometry.js").Rect} Rect */
/**
 * @typedef {{dimColor: string, outlineColor: string, outlinePx: number}} MaskStyle outlinePx in
 *   pixels of the canvas
 */
/** The bounding box of a mask as an image, white where the mask is, and its place in shares of the
 * photo (0 to 1).
 * @typedef {{canvas: HTMLCanvasElement} & Rect} MaskImage */

const LONG_SIDE_PX = 1024; // the resolution at which SAM sees a photo
const OUTLINE_STEPS = 16; // directions in which a mask is shifted to draw its outline
const WHITE = 0xffffffff; // RGBA

/** @type {WeakMap<Mask, MaskImage>} */
const maskImages = new WeakMap();

/** @param {Mask} mask @returns {MaskImage} drawn once per mask */
export function maskImageOf(mask) {
  let image = maskImages.get(mask);
  if (!image) maskImages.set(mask, (image = drawMaskImage(mask)));
  return image;
}

/** @param {Mask} mask @returns {MaskImage} */
function drawMaskImage(mask) {
  const scale = Math.min(1, LONG_SIDE_PX / Math.max(mask.width, mask.height));
  const width = Math.max(1, Math.round(mask.width * scale));
  const height = Math.max(1, Math.round(mask.height * scale));
  const pixels = pixelsFromMask(mask, width, height);
  const { left, top, right, bottom } = boundsOf(pixels, width, height);
  const canvas = createCanvas(right - left, bottom - top);
  const context = context2d(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const rgba = new Uint32Array(image.data.buffer);
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at++) rgba[at] = pixels[y * width + x] ? WHITE : 0;
  }
  context.putImageData(image, 0, 0);
  return {
    canvas,
    x: left / width,
    y: top / height,
    width: canvas.width / width,
    height: canvas.height / height,
  };
}

/** The bounds of the pixels that are set; one pixel if none is.
 * @param {Uint8Array} pixels @param {number} width @param {number} height */
function boundsOf(pixels, width, height) {
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
  return right ? { left, top, right, bottom } : { left: 0, top: 0, right: 1, bottom: 1 };
}

/** @param {number} width @param {number} height @returns {HTMLCanvasElement} */
function createCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
export function context2d(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser can't draw on a canvas");
  return context;
}

/**
 * Dim a canvas except for masks, and outline those.
 * @param {HTMLCanvasElement} canvas it is cleared first; without masks it stays clear
 * @param {Mask[]} masks
 * @param {Rect} photoRect the whole photo, in pixels of the canvas
 * @param {MaskStyle} style
 */
export function paintMasks(canvas, masks, photoRect, style) {
  const context = context2d(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!masks.length) return;
  const images = masks.map(maskImageOf);
  context.fillStyle = style.dimColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "destination-out";
  images.forEach((image) => drawShifted(context, image, photoRect));
  context.globalCompositeOperation = "source-over";
  context.drawImage(outlinesOf(canvas, images, photoRect, style), 0, 0);
}

/** @type {HTMLCanvasElement|undefined} reused: it is drawn on and copied from within one call */
let outlineCanvas;

/** @param {HTMLCanvasElement} canvas gives the size @param {MaskImage[]} images
 * @param {Rect} photoRect @param {MaskStyle} style @returns {HTMLCanvasElement} */
function outlinesOf(canvas, images, photoRect, { outlineColor, outlinePx }) {
  outlineCanvas ??= createCanvas(1, 1);
  outlineCanvas.width = canvas.width; // clears it, too
  outlineCanvas.height = canvas.height;
  const context = context2d(outlineCanvas);
  for (const image of images) {
    for (let step = 0; step < OUTLINE_STEPS; step++) {
      const angle = (step / OUTLINE_STEPS) * 2 * Math.PI;
      const [dx, dy] = [Math.cos(angle) * outlinePx, Math.sin(angle) * outlinePx];
      drawShifted(context, image, photoRect, dx, dy);
    }
  }
  context.globalCompositeOperation = "destination-out";
  images.forEach((image) => drawShifted(context, image, photoRect));
  context.globalCompositeOperation = "source-in";
  context.fillStyle = outlineColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  return outlineCanvas;
}

/** @param {CanvasRenderingContext2D} context @param {MaskImage} image @param {Rect} photoRect
 * @param {number} [dx] @param {number} [dy] */
function drawShifted(context, image, photoRect, dx = 0, dy = 0) {
  context.drawImage(
    image.canvas,
    photoRect.x + image.x * photoRect.width + dx,
    photoRect.y + image.y * photoRect.height + dy,
    image.width * photoRect.width,
    image.height * photoRect.height,
  );
}

/**
 * Draw a crop of a photo with its masks highlighted.
 * @param {HTMLCanvasElement} canvas filled wholly
 * @param {CanvasImageSource} photo
 * @param {Rect} crop in shares of the photo, 0 to 1
 * @param {Mask[]} masks
 * @param {MaskStyle} style
 */
export function drawMaskedCrop(canvas, photo, crop, masks, style) {
  const photoRect = {
    x: (-crop.x / crop.width) * canvas.width,
    y: (-crop.y / crop.height) * canvas.height,
    width: canvas.width / crop.width,
    height: canvas.height / crop.height,
  };
  const overlay = createCanvas(canvas.width, canvas.height);
  paintMasks(overlay, masks, photoRect, style);
  const context = context2d(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(photo, photoRect.x, photoRect.y, photoRect.width, photoRect.height);
  context.drawImage(overlay, 0, 0);
}
