import assert from "node:assert/strict";
import test from "node:test";
import {
  emptyFilter,
  hasFilter,
  stateFromUrl,
  stateOf,
  urlFromState,
} from "../../api/web/js/router.js";

const stateFrom = (url) => stateFromUrl(new URL(url, "http://127.0.0.1"));

test("the plain library is at /", () => {
  assert.equal(urlFromState(stateOf({})), "/");
  assert.deepEqual(stateFrom("/"), stateOf({}));
});

test("a search with all that it can have is written and read", () => {
  const state = stateOf({
    view: "search",
    words: "red mug",
    plus: [{ kind: "segment", id: "1" }],
    minus: [{ kind: "words", id: "wood" }],
    byPhoto: true,
    scores: true,
    filter: { ...emptyFilter(), from: "2024-01-01", folder: "root/sub dir", size: "small" },
  });
  const url =
    "/search?q=red+mug&plus=s:1&minus=w:wood&by=photo&scores=1" +
    "&from=2024-01-01&folder=root/sub+dir&size=small";
  assert.equal(urlFromState(state), url);
  assert.deepEqual(stateFrom(url), state);
});

test("a photo with a prompt and its second candidate is written and read", () => {
  const prompt = { points: [{ x: 5, y: 6, label: 1 }], box: [1, 2, 3, 4] };
  const state = stateOf({ view: "photo", id: "7", prompt, candidate: 1 });
  assert.equal(urlFromState(state), "/photo/7?prompt=5,6;b1,2,3,4&candidate=2");
  assert.deepEqual(stateFrom("/photo/7?prompt=5,6;b1,2,3,4&candidate=2"), state);
});

test("a photo's URL holds no search, and a library's none either", () => {
  const parts = { words: "red", plus: [{ kind: "segment", id: "1" }], scores: true };
  assert.equal(urlFromState(stateOf({ ...parts, view: "photo", id: "7" })), "/photo/7");
  assert.equal(urlFromState(stateOf(parts)), "/");
});

test("words survive every character that a URL escapes", () => {
  for (const words of ["a&b=c", "50%", "a+b", "?#/", "café ☕", "%3A", "a;b,c:d@e/f"]) {
    const state = stateOf({ view: "search", words });
    assert.equal(stateFrom(urlFromState(state)).words, words);
  }
});

test("an id with a slash stays one id", () => {
  const state = stateOf({ view: "picture", id: "a/b" });
  assert.equal(urlFromState(state), "/picture/a%2Fb");
  assert.equal(stateFrom("/picture/a%2Fb").id, "a/b");
});

test("a path with malformed escapes is read as it is", () => {
  assert.equal(stateFromUrl({ pathname: "/photo/%E0%A4", search: "" }).id, "%E0%A4");
});

test("an unknown path is the library", () => {
  assert.equal(stateFrom("/elsewhere/7").view, "library");
});

test("a candidate is one of three", () => {
  const candidates = [
    "",
    "?candidate=1",
    "?candidate=3",
    "?candidate=9",
    "?candidate=0",
    "?candidate=-4",
    "?candidate=2.7",
    "?candidate=x",
  ];
  assert.deepEqual(
    candidates.map((query) => stateFrom(`/photo/7${query}`).candidate),
    [0, 0, 2, 2, 0, 0, 1, 0],
  );
});

test("malformed examples are left out", () => {
  assert.deepEqual(stateFrom("/search?plus=s:1&plus=nonsense&plus=").plus, [
    { kind: "segment", id: "1" },
  ]);
});

test("a filter counts as one if any of its fields is set", () => {
  assert.equal(hasFilter(emptyFilter()), false);
  for (const name of Object.keys(emptyFilter())) {
    assert.equal(hasFilter({ ...emptyFilter(), [name]: "1" }), true, name);
  }
});
