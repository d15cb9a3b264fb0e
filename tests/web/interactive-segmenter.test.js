import assert from "node:assert/strict";
import test from "node:test";
import { InteractiveSegmenter } from "../../api/web/js/viewer/interactive-segmenter.js";
import { hintText } from "../../api/web/js/viewer/hints.js";

globalThis.matchMedia = () => ({ matches: false }); // a mouse, not a finger

const candidate = (predicted_iou) => ({
  segmentation: { size: [2, 3], counts: "06" },
  bbox_xywh: [0, 0, 3, 2],
  predicted_iou,
});
const THREE = { candidates: [candidate(0.9), candidate(0.8), candidate(0.7)] };

/** A segmenter of the photo "7", and the bodies that it sent. */
function segmenterWith(answer = async () => THREE) {
  const sent = [];
  const segmenter = new InteractiveSegmenter(
    () => {},
    async (body, signal) => {
      sent.push(body);
      return answer(body, signal);
    },
  );
  segmenter.reset(async () => ({ photo_id: "7" }));
  return { segmenter, sent };
}

test("points and a box are sent together, in whole pixels", async () => {
  const { segmenter, sent } = segmenterWith();
  await segmenter.addPoint(1.4, 2.6, false);
  await segmenter.addPoint(5, 5, true);
  await segmenter.setBox([0.2, 0.4, 2.5, 1.5]);
  const points = [
    { x: 1, y: 3, label: 1 },
    { x: 5, y: 5, label: 0 },
  ];
  assert.deepEqual(sent.at(-1), {
    photo_id: "7",
    prompt: { points, box_xywh: [0, 0, 3, 2] },
  });
});

test("the best candidate is selected, and another can be", async () => {
  const { segmenter } = segmenterWith();
  await segmenter.addPoint(1, 1, false);
  assert.equal(segmenter.current.predicted_iou, 0.9);
  segmenter.select(2);
  assert.equal(segmenter.current.predicted_iou, 0.7);
  segmenter.select(3); // there is none
  assert.equal(segmenter.current.predicted_iou, 0.7);
});

test("undo goes back prompt by prompt, and then to none", async () => {
  const { segmenter, sent } = segmenterWith();
  await segmenter.addPoint(1, 1, false);
  await segmenter.addPoint(2, 1, false);
  await segmenter.undo();
  assert.deepEqual(sent.at(-1).prompt.points, [{ x: 1, y: 1, label: 1 }]);
  segmenter.undo();
  assert.deepEqual([segmenter.isEmpty, segmenter.current], [true, null]);
  assert.equal(sent.length, 3);
});

test("an answer that a later prompt has overtaken is dropped", async () => {
  const answers = [];
  const { segmenter } = segmenterWith(() => new Promise((resolve) => answers.push(resolve)));
  const first = segmenter.addPoint(1, 1, false);
  const second = segmenter.addPoint(2, 1, false);
  await new Promise(setImmediate);
  answers[1]({ candidates: [candidate(0.5)] });
  await second;
  answers[0](THREE);
  await first;
  assert.deepEqual(
    segmenter.candidates.map(({ predicted_iou: iou }) => iou),
    [0.5],
  );
});

test("an answer that comes after clear() is dropped", async () => {
  let answer;
  const { segmenter } = segmenterWith(() => new Promise((resolve) => (answer = resolve)));
  const asked = segmenter.addPoint(1, 1, false);
  await new Promise(setImmediate);
  segmenter.clear();
  answer(THREE);
  await asked;
  assert.deepEqual([segmenter.candidates, segmenter.isBusy], [[], false]);
});

test("a failure is kept until the next prompt, and said", async () => {
  let fails = true;
  const { segmenter } = segmenterWith(async () => {
    if (fails) throw new Error("out of memory");
    return THREE;
  });
  await segmenter.addPoint(1, 1, false);
  assert.equal(hintText(segmenter, true, false), "Out of memory.");
  assert.equal(segmenter.isBusy, false);
  fails = false;
  await segmenter.addPoint(2, 1, false);
  assert.equal(segmenter.error, null);
});

test("a search is given the prompt, or the box of another candidate than the best", async () => {
  const { segmenter } = segmenterWith();
  await segmenter.addPoint(1, 1, false);
  const points = [{ x: 1, y: 1, label: 1 }];
  assert.deepEqual(segmenter.searchPrompt, { points, box: null });
  segmenter.select(1);
  assert.deepEqual(segmenter.searchPrompt, { points, box: [0, 0, 3, 2] });
});
