/**
 * Masks in COCO's compressed run-length encoding.
 *
 * Runs go down the columns, alternately background and foreground, background first. In the string,
 * each run is one or more characters of six bits (offset 48): five bits of value, lowest first, and
 * a bit that says whether more follow; the last character's highest value bit is the sign. From the
 * fourth run on, the value is the difference to the run two before (rleFrString in pycocotools).
 */

/**
 * `ends[i]` is the number of pixels, column by column, up to the end of run i.
 * @typedef {{width: number, height: number, ends: Uint32Array}} Mask
 */

const OFFSET = 48;
const VALUE_BITS = 31;
const SIGN_BIT = 16;
const MORE_BIT = 32;

/**
 * Decode the string of a mask.
 * @param {string} counts
 * @returns {number[]} lengths of the runs
 * @throws {Error} if it is malformed
 */
export function runsFromCounts(counts) {
  /** @type {number[]} */
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0;
    let place = 1; // a power of 32; multiplied, since shifts hold 32 bits and a value may need 35
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - OFFSET; // NaN past the end
      if (!(bits >= 0 && bits < 64)) throw new Error("the RLE of a mask is malformed");
      value += (bits & VALUE_BITS) * place;
      place *= 32;
      more = (bits & MORE_BIT) !== 0;
      if (!more && bits & SIGN_BIT) value -= place;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** @param {import("./api.js").MaskRle} rle @returns {Mask} */
export function maskFromRle({ size: [height, width], counts }) {
  const runs = runsFromCounts(counts);
  const ends = new Uint32Array(runs.length);
  let end = 0;
  runs.forEach((run, i) => (ends[i] = end += run));
  return { width, height, ends };
}

/** The index of the run that holds a pixel, by bisection: the first that ends after it.
 * @param {Uint32Array} ends @param {number} pixel @returns {number} */
function runAt(ends, pixel) {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > pixel) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Whether a point lies in the foreground; points beyond the edges don't.
 * @param {Mask} mask @param {number} x @param {number} y in pixels of the mask
 * @returns {boolean}
 */
export function isInside(mask, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || row < 0 || column >= mask.width || row >= mask.height) return false;
  return runAt(mask.ends, column * mask.height + row) % 2 === 1;
}

/**
 * Return a point inside a mask and away from its edges: the middle of a long run in a column near
 * the centroid's.
 * @param {Mask} mask
 * @returns {[x: number, y: number]} in pixels of the mask; [0, 0] without foreground
 */
export function pointInside({ ends, height }) {
  let [area, sum] = [0, 0];
  for (let run = 1; run < ends.length; run += 2) {
    const length = ends[run] - ends[run - 1];
    area += length;
    sum += length * columnOf(ends, run, height);
  }
  const center = area ? sum / area : 0;
  let best = { score: -Infinity, x: 0, y: 0 };
  for (let run = 1; run < ends.length; run += 2) {
    const x = columnOf(ends, run, height);
    const top = Math.max(ends[run - 1], x * height); // a run may go on into the next column
    const bottom = Math.min(ends[run], (x + 1) * height);
    const score = bottom - top - 4 * Math.abs(x - center);
    if (score > best.score) best = { score, x, y: Math.floor((top + bottom) / 2) - x * height };
  }
  return [best.x, best.y];
}

/** The column in which the middle of a run lies.
 * @param {Uint32Array} ends @param {number} run @param {number} height */
const columnOf = (ends, run, height) => Math.floor((ends[run] + ends[run - 1]) / 2 / height);

/**
 * Decode a mask to pixels, resampled to any size by nearest neighbor.
 * @param {Mask} mask @param {number} [width] @param {number} [height]
 * @returns {Uint8Array} (height * width), row by row, 1 in the foreground
 */
export function pixelsFromMask(mask, width = mask.width, height = mask.height) {
  const pixels = new Uint8Array(width * height);
  for (let x = 0; x < width; x++) {
    const start = Math.floor(((x + 0.5) * mask.width) / width) * mask.height;
    let run = runAt(mask.ends, start);
    for (let y = 0; y < height; y++) {
      const pixel = start + Math.floor(((y + 0.5) * mask.height) / height);
      while (run < mask.ends.length && mask.ends[run] <= pixel) run++;
      pixels[y * width + x] = run % 2;
    }
  }
  return pixels;
}
