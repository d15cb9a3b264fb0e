/** Drawing a photo with the segments that a search found in it. */

import { photoUrl } from "../shared/api.js";
import { loadImage } from "../shared/images.js";
import { drawMaskedCrop, maskImageOf } from "../shared/mask-canvas.js";
import { maskFromRle } from "../shared/rle.js";

/** @typedef {import("../shared/rle.js").Mask} Mask */

const STYLE = { dimColor: "rgba(14, 12, 10, 0.58)", outlineColor: "rgba(255, 255, 255, 0.9)" };
const OUTLINE_SHARE = 1 / 200; // thickness, of the canvas's width
const NEAR_BEST = 0.85; // share of the best score from which a hit is highlighted

/**
 * Return the hits of a photo whose score is near that of its best.
 * @template {{score: number}} T
 * @param {T[]} hits best first
 * @returns {T[]} the best alone where its score is not positive
 */
export const hitsNearBest = (hits) =>
  hits.filter((hit, i) => i === 0 || (hits[0].score > 0 && hit.score >= hits[0].score * NEAR_BEST));

/**
 * Draw the largest square crop of a photo around its hits, with their masks highlighted.
 * @param {HTMLCanvasElement} canvas
 * @param {string} photoId
 * @param {{mask: import("../shared/api.js").MaskRle|null}[]} hits
 * @param {number} size side in CSS pixels
 */
export async function drawPhotoWithHits(canvas, photoId, hits, size) {
  const image = await loadImage(photoUrl(photoId, Math.round(size * 1.5))).catch(() => null);
  if (!image) {
    canvas.classList.add("is-missing");
    return;
  }
  canvas.width = canvas.height = Math.round(size * Math.min(2, devicePixelRatio || 1));
  const masks = hits.flatMap((hit) => (hit.mask ? [maskFromRle(hit.mask)] : []));
  const crop = squareCropAroundMasks(image.naturalWidth, image.naturalHeight, masks);
  const outlinePx = Math.max(1, canvas.width * OUTLINE_SHARE);
  drawMaskedCrop(canvas, image, crop, masks, { ...STYLE, outlinePx });
  canvas.classList.add("is-shown");
}

/** The largest square crop, centered on the masks as far as the photo's edges allow.
 * @param {number} width @param {number} height @param {Mask[]} masks
 * @returns {import("../shared/geometry.js").Rect} in shares of the photo, 0 to 1 */
function squareCropAroundMasks(width, height, masks) {
  const side = Math.min(width, height);
  const images = masks.map(maskImageOf);
  const center = (/** @type {number[]} */ edges) =>
    edges.length ? (Math.min(...edges) + Math.max(...edges)) / 2 : 0.5;
  const start = (/** @type {number} */ share, /** @type {number} */ length) =>
    Math.min(Math.max(share * length - side / 2, 0), length - side) / length;
  return {
    x: start(center(images.flatMap(({ x, width: w }) => [x, x + w])), width),
    y: start(center(images.flatMap(({ y, height: h }) => [y, y + h])), height),
    width: side / width,
    height: side / height,
  };
}
