import assert from "node:assert/strict";
import test from "node:test";
import { Pager } from "../../api/web/js/shared/pager.js";

const PAGES = [
  { entries: [1, 2], cursor: "b", total: 5 },
  { entries: [3, 4], cursor: "c", total: 5 },
  { entries: [5], cursor: null, total: 5 },
];

/** A pager over the pages, and the cursors that it asked for. */
function pagerOver(pages, onChange) {
  const cursors = [];
  const pager = new Pager(async (cursor) => {
    cursors.push(cursor);
    const page = pages[cursors.length - 1];
    if (page instanceof Error) throw page;
    return page;
  }, onChange);
  return { pager, cursors };
}

test("only so many pages are loaded as are asked for", async () => {
  const { pager, cursors } = pagerOver(PAGES);
  await pager.loadUntil(3);
  assert.deepEqual(pager.entries, [1, 2, 3, 4]);
  assert.deepEqual(cursors, [null, "b"]);
  assert.equal(pager.isDone, false);
  await pager.loadUntil(2);
  assert.equal(cursors.length, 2);
});

test("after the last page nothing more is asked for", async () => {
  const { pager, cursors } = pagerOver(PAGES);
  await pager.loadUntil(100);
  await pager.loadUntil(200);
  assert.deepEqual(pager.entries, [1, 2, 3, 4, 5]);
  assert.equal(pager.isDone, true);
  assert.equal(cursors.length, 3);
});

test("calls at the same time share one request a page", async () => {
  const { pager, cursors } = pagerOver(PAGES);
  await Promise.all([pager.loadUntil(1), pager.loadUntil(4)]);
  assert.deepEqual(pager.entries, [1, 2, 3, 4]);
  assert.deepEqual(cursors, [null, "b"]);
});

test("the first page is kept with all that came along", async () => {
  const { pager } = pagerOver(PAGES);
  await pager.loadUntil(5);
  assert.equal(pager.firstPage.total, 5);
});

test("a failure stops loading until it is cleared, and keeps what is here", async () => {
  const failure = new Error("no");
  const changes = [];
  const { pager, cursors } = pagerOver([PAGES[0], failure, PAGES[1]], () =>
    changes.push(pager.error),
  );
  await pager.loadUntil(4);
  await pager.loadUntil(4);
  assert.deepEqual([pager.entries, pager.error, cursors.length], [[1, 2], failure, 2]);
  pager.clearError();
  await pager.loadUntil(4);
  assert.deepEqual(pager.entries, [1, 2, 3, 4]);
  assert.deepEqual(cursors, [null, "b", "b"]);
  assert.deepEqual(changes, [null, failure, null]);
});

test("a pager that is stopped ends without an error", async () => {
  const pager = new Pager(
    (_, signal) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  );
  const loading = pager.loadUntil(1);
  pager.stop();
  await loading;
  assert.deepEqual([pager.isDone, pager.error], [true, null]);
});
