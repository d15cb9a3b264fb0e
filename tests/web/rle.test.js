/** The strings are those of pycocotools.mask.encode() for the masks that are drawn beside them. */

import assert from "node:assert/strict";
import test from "node:test";
import {
  isInside,
  maskFromRle,
  pixelsFromMask,
  pointInside,
  runsFromCounts,
} from "../../api/web/js/shared/rle.js";

const ENCODED = [
  { counts: "52203", rows: ["....", ".##.", ".##.", "...."] },
  { counts: "06", rows: ["###", "###"] },
  { counts: "6", rows: ["...", "..."] },
  { counts: "0170", rows: ["#..", "...", "..#"] },
  { counts: "063LNO0124", rows: ["#####", "#...#", "#.#.#", "#...#", "#####"] },
  { counts: "032N0000", rows: ["#...", "#...", "####"] },
];

const maskOf = ({ counts, rows }) => maskFromRle({ size: [rows.length, rows[0].length], counts });
const drawn = (mask, width = mask.width, height = mask.height) => {
  const pixels = [...pixelsFromMask(mask, width, height)].map((pixel) => (pixel ? "#" : "."));
  return Array.from({ length: height }, (_, y) =>
    pixels.slice(y * width, (y + 1) * width).join(""),
  );
};

test("masks are decoded as pycocotools encoded them", () => {
  for (const encoded of ENCODED) assert.deepEqual(drawn(maskOf(encoded)), encoded.rows);
});

test("from the fourth run on, values are differences to the run two before", () => {
  assert.deepEqual(runsFromCounts("063LNO0124"), [0, 6, 3, 2, 1, 1, 1, 2, 3, 6]);
});

test("runs of millions of pixels are decoded", () => {
  assert.deepEqual(runsFromCounts("PXRj3PcPd7Pm3"), [4_000_000, 7_996_000, 4_000]);
});

test("no characters are no runs, and such a mask has no foreground", () => {
  assert.deepEqual(runsFromCounts(""), []);
  assert.deepEqual(drawn(maskFromRle({ size: [1, 2], counts: "" })), [".."]);
});

test("a string that ends within a number, or has other characters, is malformed", () => {
  for (const counts of ["T", "52 03", "5~", "5é"]) {
    assert.throws(() => runsFromCounts(counts), /malformed/);
  }
});

test("a point is inside where its pixel is, and never beyond the edges", () => {
  const square = maskOf(ENCODED[0]);
  assert.equal(isInside(square, 1, 1), true);
  assert.equal(isInside(square, 2.99, 2.99), true);
  assert.equal(isInside(square, 3, 2), false);
  assert.equal(isInside(square, 0.99, 1), false);
  const full = maskOf(ENCODED[1]);
  assert.equal(isInside(full, 0, 0), true);
  for (const [x, y] of [
    [-0.1, 0],
    [0, -1],
    [3, 0],
    [0, 2],
  ]) {
    assert.equal(isInside(full, x, y), false);
  }
});

test("the point inside of a mask lies in its foreground, of a ring too", () => {
  for (const encoded of ENCODED.filter(({ rows }) => rows.join("").includes("#"))) {
    const mask = maskOf(encoded);
    const [x, y] = pointInside(mask);
    assert.equal(isInside(mask, x, y), true, encoded.rows.join("\n"));
  }
});

test("the point inside of a rectangle is its center", () => {
  // 20 by 20 pixels, from (5, 10) to (25, 30), in a photo of 30 by 40
  const mask = maskFromRle({ size: [40, 30], counts: `b6d0d0${"0".repeat(37)}n5` });
  const [x, y] = pointInside(mask);
  assert.ok(Math.abs(x - 14.5) <= 1, `x is ${x}`);
  assert.equal(y, 20);
});

test("the point inside of a run over several columns is in the column of its middle", () => {
  const band = maskFromRle({ size: [6, 4], counts: "6<6" }); // columns 1 and 2 in one run
  const [x, y] = pointInside(band);
  assert.equal(isInside(band, x, y), true);
  assert.equal(y, 3);
});

test("a mask without foreground has its point in the corner", () => {
  assert.deepEqual(pointInside(maskOf(ENCODED[2])), [0, 0]);
});

test("a mask is resampled by nearest neighbor", () => {
  const corners = maskOf(ENCODED[3]);
  assert.deepEqual(drawn(corners, 6, 6), [
    "##....",
    "##....",
    "......",
    "......",
    "....##",
    "....##",
  ]);
  assert.deepEqual(drawn(maskOf(ENCODED[4]), 1, 1), ["#"]); // the pixel in the middle of the ring
});
