/** Pictures of what was found: a segment lit in its surroundings, a photo with its hits lit. */

import { photoUrl, tileUrl } from "./api.js";
import { drawLitPart, shapeOf } from "./lit.js";
import { maskFromRle } from "./rle.js";

const SETTLED_MS = 70; // what is scrolled past sooner is never asked for
const VEIL = "rgba(14, 12, 10, 0.58)";
const OUTLINE = "rgba(255, 255, 255, 0.9)";
const NEARLY_BEST = 0.85; // of a photo's hits, those with this share of the best score are lit

/**
 * Do something for an element unless it leaves the page at once.
 * @param {Element} node
 * @param {() => void} act
 */
export function onceSettled(node, act) {
  setTimeout(() => node.isConnected && act(), SETTLED_MS);
}

/**
 * Mark an image as loading, shown or out of reach, for the style sheet.
 * @param {HTMLImageElement} image
 * @param {string} src
 */
export function showImage(image, src) {
  image.addEventListener("load", () => image.classList.add("is-shown"), { once: true });
  image.addEventListener("error", () => image.classList.add("is-missing"), { once: true });
  image.src = src;
}

/**
 * Show a segment lit inside its photo.
 * @param {HTMLImageElement} image
 * @param {string} segmentId
 * @param {number} size side in CSS pixels
 */
export function lightTile(image, segmentId, size) {
  showImage(image, tileUrl(segmentId, size));
}

/** @param {string} src @returns {Promise<HTMLImageElement>} */
export function loadImage(src) {
  const image = new Image();
  image.src = src;
  return image.decode().then(() => image);
}

/**
 * Return the hits of a photo that are about as good as its best one.
 * @template {{score: number}} T
 * @param {T[]} hits best first
 * @returns {T[]}
 */
export const nearlyBest = (hits) =>
  hits.filter(
    (hit, i) => i === 0 || (hits[0].score > 0 && hit.score >= hits[0].score * NEARLY_BEST),
  );

/**
 * Draw a photo with its hits lit, as a square around them.
 * @param {HTMLCanvasElement} canvas
 * @param {string} photoId
 * @param {{bbox_xywh: number[], mask: any}[]} hits with masks
 * @param {number} size side in CSS pixels
 */
export async function drawGroup(canvas, photoId, hits, size) {
  const image = await loadImage(photoUrl(photoId, Math.round(size * 1.5))).catch(() => null);
  if (!image) {
    canvas.classList.add("is-missing");
    return;
  }
  canvas.width = canvas.height = Math.round(size * Math.min(2, devicePixelRatio || 1));
  const masks = hits.flatMap((hit) => (hit.mask ? [maskFromRle(hit.mask)] : []));
  const part = squareOfMasks(image.naturalWidth, image.naturalHeight, masks);
  const thickness = Math.max(1, canvas.width / 200);
  drawLitPart(canvas, image, part, masks, { veil: VEIL, outline: OUTLINE, thickness });
  canvas.classList.add("is-shown");
}

/** The largest square of a photo, as near to the middle of its masks as it can be, in shares of 1.
 * @param {number} width @param {number} height @param {import("./rle.js").Mask[]} masks */
function squareOfMasks(width, height, masks) {
  const side = Math.min(width, height);
  const shapes = masks.map(shapeOf);
  const middle = (/** @type {number[]} */ places) =>
    places.length ? (Math.min(...places) + Math.max(...places)) / 2 : 0.5;
  const start = (/** @type {number} */ share, /** @type {number} */ length) =>
    Math.min(Math.max(share * length - side / 2, 0), length - side) / length;
  return {
    x: start(middle(shapes.flatMap((shape) => [shape.x, shape.x + shape.width])), width),
    y: start(middle(shapes.flatMap((shape) => [shape.y, shape.y + shape.height])), height),
    width: side / width,
    height: side / height,
  };
}
