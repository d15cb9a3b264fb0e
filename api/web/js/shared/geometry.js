/** Geometry of boxes, crops and points. */

/** @typedef {import("./api.js").BoxXywh} BoxXywh */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {Point & {width: number, height: number}} Rect */

const MIN_CROP = 0.35; // of the photo's shorter side: less shows no surroundings

/** @param {number} value @param {number} min @param {number} max @returns {number} */
export const clamp = (value, min, max) => Math.min(Math.max(value, min), max);

/**
 * Return the square crop of a photo around a box.
 * @param {BoxXywh} boxXywh in pixels of the photo
 * @param {number} width of the photo @param {number} height of the photo
 * @param {number} [scale] size relative to the box. At 1 the crop lies within the photo, and a box
 *   longer than its shorter side is cut off; above 1 such a crop extends beyond the photo's edges
 * @returns {Rect} in pixels of the photo
 */
export function squareCrop([x, y, w, h], width, height, scale = 1.7) {
  const shorter = Math.min(width, height);
  const most = scale > 1 ? Math.max(w, h, shorter) : shorter;
  const side = Math.min(Math.max(Math.max(w, h) * scale, shorter * MIN_CROP), most);
  const start = (/** @type {number} */ center, /** @type {number} */ length) =>
    side >= length ? (length - side) / 2 : clamp(center - side / 2, 0, length - side);
  return { x: start(x + w / 2, width), y: start(y + h / 2, height), width: side, height: side };
}

/**
 * Return the box between two opposite corners, clipped to the photo and at least one pixel in size.
 * @param {Point} a @param {Point} b in pixels of the photo, in any order
 * @param {number} width of the photo @param {number} height of the photo
 * @returns {BoxXywh}
 */
export function boxFromCorners(a, b, width, height) {
  const [x0, x1] = [a.x, b.x].map((x) => clamp(x, 0, width - 1)).sort((m, n) => m - n);
  const [y0, y1] = [a.y, b.y].map((y) => clamp(y, 0, height - 1)).sort((m, n) => m - n);
  return [x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
}
