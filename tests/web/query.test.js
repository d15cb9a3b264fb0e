import assert from "node:assert/strict";
import test from "node:test";
import { hasQuery, photoFilter, searchRequest, splitWords } from "../../api/web/js/search/query.js";
import { emptyFilter, stateOf } from "../../api/web/js/router.js";

const SEGMENT = { kind: "segment", id: "1" };

test("an empty filter asks for nothing", () => {
  assert.deepEqual(photoFilter(emptyFilter()), {});
});

test("the last day of a filter is included: photos are taken before the day after", () => {
  const filter = { ...emptyFilter(), from: "2024-12-31", to: "2024-12-31", folder: "root/sub" };
  assert.deepEqual(photoFilter(filter), {
    folder: "root/sub",
    taken_from: "2024-12-31T00:00:00",
    taken_before: "2025-01-01T00:00:00",
  });
});

test("undated photos are asked for by true, and malformed days are not asked for", () => {
  const filter = { ...emptyFilter(), undated: "1", from: "soon" };
  assert.deepEqual(photoFilter(filter), { undated: "true" });
});

test("a search sends words, examples and the filter", async () => {
  const state = stateOf({
    view: "search",
    words: "mug",
    plus: [SEGMENT],
    minus: [{ kind: "words", id: "wood" }],
    filter: { ...emptyFilter(), camera: "Norrvik N2", size: "medium" },
  });
  assert.deepEqual(await searchRequest(state), {
    text: "mug",
    positive: [{ segment_id: "1" }],
    negative: [{ text: "wood" }],
    filter: { camera: "Norrvik N2", min_area_fraction: 0.02, max_area_fraction: 0.15 },
    group_by_photo: false,
    distinct: true,
    with_masks: false,
  });
});

test("a search by photo asks for masks, and for segments that overlap", async () => {
  const request = await searchRequest(stateOf({ plus: [SEGMENT], byPhoto: true }));
  assert.deepEqual(
    [request.group_by_photo, request.distinct, request.with_masks, "text" in request],
    [true, false, true, false],
  );
});

test("an unknown size is no filter", async () => {
  for (const size of ["huge", "constructor"]) {
    const state = stateOf({ words: "mug", filter: { ...emptyFilter(), size } });
    assert.deepEqual((await searchRequest(state)).filter, {});
  }
});

test("negative examples alone are no query", () => {
  assert.equal(hasQuery(stateOf({ minus: [SEGMENT] })), false);
  assert.equal(hasQuery(stateOf({ plus: [SEGMENT] })), true);
  assert.equal(hasQuery(stateOf({ words: "mug" })), true);
});

test("a minus before a word excludes it", () => {
  const cases = {
    "mug -wood": { words: "mug", excluded: ["wood"] },
    '  mug   -"dark wood"  red ': { words: "mug red", excluded: ["dark wood"] },
    "-wood": { words: "", excluded: ["wood"] },
    "-a -b c": { words: "c", excluded: ["a", "b"] },
    "": { words: "", excluded: [] },
  };
  for (const [typed, expected] of Object.entries(cases)) {
    assert.deepEqual(splitWords(typed), expected, typed);
  }
});

test("a hyphen in a word, or by itself, excludes nothing", () => {
  assert.deepEqual(splitWords("t-shirt - red"), { words: "t-shirt - red", excluded: [] });
});
