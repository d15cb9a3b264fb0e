/**
 * Masks in COCO's compressed run-length encoding.
 *
 * Runs go down the columns, beginning with what is outside. In the text a number is a few characters
 * of six bits: five of value, lowest first, and one that says that more follow; from the fourth
 * number on, each is a difference to the one two before it (rleFrString of pycocotools).
 */

/**
 * A mask: `ends[i]` is how many pixels, column by column, lie before the end of run i.
 * @typedef {{width: number, height: number, ends: Uint32Array}} Mask
 */

/**
 * Decode the text of a mask to run lengths.
 * @param {string} counts
 * @returns {number[]}
 */
export function runsFromCounts(counts) {
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0;
    let place = 1; // 32 to the power of the character's position: no bit operator holds 36 bits
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - 48;
      if (!(bits >= 0 && bits < 64)) throw new Error("the text of a mask is damaged");
      value += (bits & 31) * place;
      place *= 32;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) value -= place;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/**
 * Read a mask as the API sends it.
 * @param {{size: [number, number], counts: string}} rle size is [height, width]
 * @returns {Mask}
 */
export function maskFromRle(rle) {
  const runs = runsFromCounts(rle.counts);
  const ends = new Uint32Array(runs.length);
  let end = 0;
  runs.forEach((run, i) => (ends[i] = end += run));
  return { width: rle.size[1], height: rle.size[0], ends };
}

/** The run that holds a pixel: the first that ends behind it.
 * @param {Uint32Array} ends @param {number} pixel @returns {number} */
function runOf(ends, pixel) {
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
 * Say whether a pixel of the mask is inside; beyond its edges nothing is.
 * @param {Mask} mask @param {number} x @param {number} y
 * @returns {boolean}
 */
export function isInside(mask, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || row < 0 || column >= mask.width || row >= mask.height) return false;
  return runOf(mask.ends, column * mask.height + row) % 2 === 1;
}

/**
 * Return a place well inside a mask: the middle of the longest run in the column of its centre, or in
 * the nearest column that has one.
 * @param {Mask} mask
 * @returns {[number, number]} x, y in pixels of the mask
 */
export function middleOf({ ends, height }) {
  let [area, sum] = [0, 0];
  for (let run = 1; run < ends.length; run += 2) {
    const length = ends[run] - ends[run - 1];
    area += length;
    sum += length * Math.floor((ends[run] + ends[run - 1]) / 2 / height);
  }
  const center = area ? sum / area : 0;
  let best = { score: -Infinity, x: 0, y: 0 };
  for (let run = 1; run < ends.length; run += 2) {
    const x = Math.floor((ends[run] + ends[run - 1]) / 2 / height);
    const top = Math.max(ends[run - 1], x * height); // a run may go on into the next column
    const bottom = Math.min(ends[run], (x + 1) * height);
    const score = bottom - top - 4 * Math.abs(x - center);
    if (score > best.score) best = { score, x, y: Math.floor((top + bottom) / 2) - x * height };
  }
  return [best.x, best.y];
}

/**
 * Draw a mask as rows of pixels at any size, by its nearest pixels.
 * @param {Mask} mask @param {number} [width] @param {number} [height]
 * @returns {Uint8Array} width * height values, 1 inside, row by row.
 */
export function pixelsFromMask(mask, width = mask.width, height = mask.height) {
  const pixels = new Uint8Array(width * height);
  for (let x = 0; x < width; x++) {
    const start = Math.floor(((x + 0.5) * mask.width) / width) * mask.height;
    let run = runOf(mask.ends, start);
    for (let y = 0; y < height; y++) {
      const pixel = start + Math.floor(((y + 0.5) * mask.height) / height);
      while (run < mask.ends.length && mask.ends[run] <= pixel) run++;
      pixels[y * width + x] = run % 2;
    }
  }
  return pixels;
}
