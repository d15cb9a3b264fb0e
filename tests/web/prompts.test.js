import assert from "node:assert/strict";
import test from "node:test";
import {
  emptyPrompt,
  isEmptyPrompt,
  promptForApi,
  promptFromText,
  textFromPrompt,
} from "../../api/web/js/search/prompts.js";

const PROMPT = {
  points: [
    { x: 120, y: 80, label: 1 },
    { x: 3, y: 4, label: 0 },
  ],
  box: [10, 20, 30, 40],
};

test("a prompt is written and read", () => {
  assert.equal(textFromPrompt(PROMPT), "120,80;3,4,0;b10,20,30,40");
  assert.deepEqual(promptFromText("120,80;3,4,0;b10,20,30,40"), PROMPT);
});

test("coordinates are rounded", () => {
  const prompt = { points: [{ x: 1.5, y: 2.4, label: 1 }], box: [0.6, 0.4, 9.5, 9.4] };
  assert.equal(textFromPrompt(prompt), "2,2;b1,0,10,9");
});

test("no prompt is empty text, and the reverse", () => {
  for (const none of [null, undefined, emptyPrompt()]) assert.equal(textFromPrompt(none), "");
  for (const none of [null, undefined, "", ";"]) {
    assert.deepEqual(promptFromText(none), { points: [], box: null });
  }
});

test("parts that are malformed are left out", () => {
  const malformed = "5,;,5;5;a,b;1,2,3,4;b1,2,3;b;b1,2,3,x;Infinity,2;7,8";
  assert.deepEqual(promptFromText(malformed), { points: [{ x: 7, y: 8, label: 1 }], box: null });
});

test("any label but 0 is foreground", () => {
  const { points } = promptFromText("1,2,0;1,2,1;1,2,7");
  assert.deepEqual(
    points.map(({ label }) => label),
    [0, 1, 1],
  );
});

test("a prompt with points or a box is not empty", () => {
  assert.equal(isEmptyPrompt(emptyPrompt()), true);
  assert.equal(isEmptyPrompt(null), true);
  assert.equal(isEmptyPrompt({ points: [], box: [0, 0, 1, 1] }), false);
  assert.equal(isEmptyPrompt({ points: [{ x: 0, y: 0, label: 0 }], box: null }), false);
});

test("the API gets a box only if there is one", () => {
  assert.deepEqual(promptForApi(PROMPT), { points: PROMPT.points, box_xywh: [10, 20, 30, 40] });
  assert.deepEqual(promptForApi(emptyPrompt()), { points: [] });
});
