import assert from "node:assert/strict";
import test from "node:test";
import { folderLabel, isChildFolder } from "../../api/web/js/filters/facets.js";
import { jobProgress, jobSummary } from "../../api/web/js/library/library-update.js";
import { hitsNearBest } from "../../api/web/js/search/group-canvas.js";
import { coverageLabel } from "../../api/web/js/search/unsegmented.js";
import {
  asSentence,
  countLabel,
  errorLabel,
  fileLabel,
  percentLabel,
} from "../../api/web/js/shared/format.js";

const ROOTS = [
  { root_id: "a", path: "/home/me/Photos/" },
  { root_id: "b", path: "C:\\Pictures\\Old" },
];

test("counts have a plural and groups of thousands", () => {
  const counts = [0, 1, 2, 12345].map((count) => countLabel(count, "photo"));
  assert.deepEqual(counts, ["0 photos", "1 photo", "2 photos", "12,345 photos"]);
});

test("shares are whole percents, and never 0%", () => {
  assert.deepEqual([0, 0.0099, 0.01, 0.155, 1].map(percentLabel), [
    "under 1%",
    "under 1%",
    "1%",
    "16%",
    "100%",
  ]);
});

test("a file is labeled by the last part of its path, of Windows too", () => {
  assert.equal(fileLabel("/home/me/a b.jpg"), "a b.jpg");
  assert.equal(fileLabel("C:\\Pictures\\x.jpg"), "x.jpg");
  assert.equal(fileLabel(null), "unavailable file");
});

test("a sentence starts with a capital letter and ends with a full stop", () => {
  assert.equal(asSentence(" a key is needed "), "A key is needed.");
  assert.equal(asSentence("Really?"), "Really?");
  assert.equal(asSentence("  "), "");
  assert.equal(errorLabel(new Error("no space left")), "No space left.");
  assert.equal(errorLabel("odd"), "Odd.");
});

test("a folder is labeled by its name, a root by that of its path", () => {
  assert.equal(folderLabel("a", ROOTS), "Photos");
  assert.equal(folderLabel("b", ROOTS), "Old");
  assert.equal(folderLabel("a/2024/May", ROOTS), "May");
  assert.equal(folderLabel("unknown", ROOTS), "Photos");
});

test("the children of a folder are directly in it", () => {
  const folders = ["a", "a/x", "a/x/y", "b", "b/x", "ab/x"];
  const childrenOf = (parent, roots) =>
    folders.filter((folder) => isChildFolder(folder, parent, roots));
  assert.deepEqual(childrenOf("a", ROOTS), ["a/x"]);
  assert.deepEqual(childrenOf("a/x", ROOTS), ["a/x/y"]);
  assert.deepEqual(childrenOf("", ROOTS), ["a", "b"]);
  assert.deepEqual(childrenOf("", ROOTS.slice(0, 1)), ["a/x"]); // the only root holds all photos
});

test("coverage says what is segmented, and which files are not read", () => {
  const coverage = (photos, photos_segmented, files_waiting) =>
    coverageLabel({ photos, photos_segmented, files_waiting });
  assert.equal(
    coverage(16, 4, 0),
    "4 of 16 photos are segmented so far; the others are found as whole photos.",
  );
  assert.equal(
    coverage(1, 0, 2),
    "0 of 1 photo is segmented so far; until then, photos are found as a whole. 2 files not read yet.",
  );
  assert.equal(coverage(16, 16, 1), "16 of 16 photos are segmented so far. 1 file not read yet.");
  assert.equal(coverage(0, 0, 3), "3 files not read yet.");
});

const JOB = {
  state: "running",
  photos_seen: 1200,
  photos_through: 600,
  photos_new: 0,
  photos_whole: 0,
  photos_ingested: 30,
  segments: 900,
  seconds: 20,
  message: null,
};

test("progress counts photos; the pace only those that took time", () => {
  assert.deepEqual(jobProgress(JOB), { done: 600, total: 1200, text: "600 of 1,200, 1.5/s" });
});

test("progress says when whole photos are embedded first", () => {
  const job = { ...JOB, photos_through: 0, photos_new: 40, photos_whole: 30, seconds: 5 };
  assert.deepEqual(jobProgress(job), {
    done: 30,
    total: 40,
    text: "Whole photos: 30 of 40, 6.0/s",
  });
  const done = { ...job, photos_whole: 40 };
  assert.equal(jobProgress(done).text, "0 of 1,200, 6.0/s");
});

test("progress without a total looks for photos, and at first has no pace", () => {
  assert.equal(jobProgress({ ...JOB, photos_seen: 0 }).text, "Looking for photos…");
  assert.equal(jobProgress({ ...JOB, seconds: 1 }).text, "600 of 1,200");
});

test("the summary of a job says what was added, or why nothing was", () => {
  const summary = (parts) => jobSummary({ ...JOB, ...parts });
  assert.equal(summary({ state: "done" }), "30 photos added, 900 segments.");
  assert.equal(summary({ state: "done", photos_ingested: 0 }), "Everything is up to date.");
  assert.equal(summary({ state: "cancelled" }), "Stopped. 30 photos added, 900 segments.");
  assert.equal(summary({ state: "cancelled", photos_ingested: 0 }), "Stopped.");
  assert.equal(
    summary({ state: "failed", message: "the disk is full" }),
    "The update failed. The disk is full.",
  );
  assert.equal(summary({ state: "failed" }), "The update failed.");
});

test("of a photo's hits those near the best are highlighted", () => {
  const hits = (...scores) => scores.map((score) => ({ score }));
  assert.deepEqual(hitsNearBest(hits(1, 0.85, 0.84)), hits(1, 0.85));
  assert.deepEqual(hitsNearBest(hits(-0.1, -0.1)), hits(-0.1));
  assert.deepEqual(hitsNearBest([]), []);
});
