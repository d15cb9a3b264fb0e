import assert from "node:assert/strict";
import test from "node:test";
import {
  exampleForApi,
  exampleFromText,
  exampleLabel,
  isSameExample,
  photoExample,
  segmentExample,
  textFromExample,
} from "../../api/web/js/search/examples.js";
import { refinedState } from "../../api/web/js/search/result-tiles.js";
import { stateOf } from "../../api/web/js/router.js";

const PART = {
  kind: "photo",
  id: "7",
  prompt: { points: [{ x: 120, y: 80, label: 1 }], box: null },
};

test("examples are written and read", () => {
  const texts = { "s:1": segmentExample("1"), "p:2": photoExample("2"), "p:7@120,80": PART };
  for (const [text, example] of Object.entries(texts)) {
    assert.equal(textFromExample(example), text);
    assert.deepEqual(exampleFromText(text), example);
  }
});

test("words may hold any character", () => {
  const words = { kind: "words", id: "mail: me@home" };
  assert.deepEqual(exampleFromText(textFromExample(words)), words);
});

test("text that is no example gives null", () => {
  for (const text of ["", "s", "s:", "q:1", "s1", "p:@1,2", "constructor"]) {
    assert.equal(exampleFromText(text), null, text);
  }
});

test("the API gets words, ids, and the prompt of a part", async () => {
  assert.deepEqual(await exampleForApi({ kind: "words", id: "wood" }), { text: "wood" });
  assert.deepEqual(await exampleForApi(segmentExample("1")), { segment_id: "1" });
  assert.deepEqual(await exampleForApi(photoExample("2")), { photo_id: "2" });
  const part = { photo_id: "7", prompt: { points: [{ x: 120, y: 80, label: 1 }] } };
  assert.deepEqual(await exampleForApi(PART), part);
});

test("a picture that is not in this browser can't be sent", async () => {
  await assert.rejects(exampleForApi({ kind: "picture", id: "0" }), /Drop the picture here again/);
});

test("a part is labeled as one", () => {
  assert.equal(exampleLabel(segmentExample("1")), "a segment");
  assert.equal(exampleLabel(PART), "part of a photo");
  assert.equal(exampleLabel({ kind: "words", id: "wood" }), "wood");
});

test("examples are the same if kind, id and prompt are", () => {
  assert.equal(isSameExample(segmentExample("1"), segmentExample("1")), true);
  assert.equal(isSameExample(segmentExample("1"), photoExample("1")), false);
  assert.equal(isSameExample(PART, photoExample("7")), false);
});

test("refining adds an example, moves it to the other side, and removes it", () => {
  const [one, two] = [segmentExample("1"), segmentExample("2")];
  const start = stateOf({ words: "red", plus: [two] });
  const added = refinedState(start, one, "plus");
  assert.deepEqual([added.view, added.words, added.plus], ["search", "red", [two, one]]);
  const moved = refinedState(added, one, "minus");
  assert.deepEqual([moved.plus, moved.minus], [[two], [one]]);
  const removed = refinedState(moved, one, "minus");
  assert.deepEqual([removed.plus, removed.minus], [[two], []]);
  assert.deepEqual(start.plus, [two]); // it is not changed
});
