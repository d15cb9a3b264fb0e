import assert from "node:assert/strict";
import test from "node:test";
import { boxFromCorners, clamp, squareCrop } from "../../api/web/js/shared/geometry.js";

test("a value is clamped to both ends", () => {
  assert.deepEqual(
    [-1, 0, 3, 5, 6].map((value) => clamp(value, 0, 5)),
    [0, 0, 3, 5, 5],
  );
});

test("a crop is 1.7 times as large as the box, around its center", () => {
  const crop = squareCrop([400, 300, 200, 100], 1000, 800);
  assert.deepEqual(crop, { x: 330, y: 180, width: 340, height: 340 });
});

test("a crop around a small box shows 35% of the shorter side", () => {
  const crop = squareCrop([500, 400, 10, 10], 1000, 800);
  assert.deepEqual(crop, { x: 365, y: 265, width: 280, height: 280 });
});

test("a crop is moved into the photo", () => {
  assert.deepEqual(squareCrop([0, 0, 200, 200], 1000, 800), {
    x: 0,
    y: 0,
    width: 340,
    height: 340,
  });
  const crop = squareCrop([800, 600, 200, 200], 1000, 800);
  assert.deepEqual(crop, { x: 660, y: 460, width: 340, height: 340 });
});

test("at scale 1 a crop lies within the photo, however long the box is", () => {
  const crop = squareCrop([0, 0, 1000, 100], 1000, 800, 1);
  assert.deepEqual(crop, { x: 100, y: 0, width: 800, height: 800 });
});

test("above scale 1 a crop holds a box longer than the shorter side, beyond the edges", () => {
  const crop = squareCrop([0, 0, 1000, 100], 1000, 800, 1.3);
  assert.deepEqual(crop, { x: 0, y: -100, width: 1000, height: 1000 });
});

test("a box is the same from any two opposite corners", () => {
  const corners = [
    [
      { x: 10, y: 20 },
      { x: 40, y: 60 },
    ],
    [
      { x: 40, y: 60 },
      { x: 10, y: 20 },
    ],
    [
      { x: 10, y: 60 },
      { x: 40, y: 20 },
    ],
  ];
  for (const [a, b] of corners) assert.deepEqual(boxFromCorners(a, b, 100, 80), [10, 20, 30, 40]);
});

test("a box is clipped to the photo and never without a size", () => {
  assert.deepEqual(boxFromCorners({ x: -5, y: -5 }, { x: 500, y: 500 }, 100, 80), [0, 0, 99, 79]);
  assert.deepEqual(boxFromCorners({ x: 7, y: 7 }, { x: 7, y: 7 }, 100, 80), [7, 7, 1, 1]);
});
