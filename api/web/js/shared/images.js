/** Loading photos and tiles into the page. */

import { tileUrl } from "./api.js";

const SETTLE_MS = 70; // what is scrolled past sooner is never requested

/**
 * Call a function for an element unless it leaves the page at once.
 * @param {Element} node
 * @param {() => void} callback
 */
export function whenSettled(node, callback) {
  setTimeout(() => node.isConnected && callback(), SETTLE_MS);
}

/**
 * Load an image; the classes is-shown and is-missing tell the style sheet how it went.
 * @param {HTMLImageElement} image
 * @param {string} src
 */
export function showImage(image, src) {
  image.addEventListener("load", () => image.classList.add("is-shown"), { once: true });
  image.addEventListener("error", () => image.classList.add("is-missing"), { once: true });
  image.src = src;
}

/**
 * Show a segment highlighted in its surroundings.
 * @param {HTMLImageElement} image
 * @param {string} segmentId
 * @param {number} size side in CSS pixels
 */
export function showSegmentTile(image, segmentId, size) {
  showImage(image, tileUrl(segmentId, size));
}

/** @param {string} src @returns {Promise<HTMLImageElement>} decoded */
export function loadImage(src) {
  const image = new Image();
  image.src = src;
  return image.decode().then(() => image);
}
