import assert from "node:assert/strict";
import test from "node:test";
import {
  ApiError,
  isAborted,
  onUnauthorized,
  request,
  withQuery,
} from "../../api/web/js/shared/http.js";

/** Answer requests with these responses in turn; returns what was sent. */
function answerWith(t, ...responses) {
  const sent = [];
  t.mock.method(globalThis, "fetch", async (url, options) => {
    sent.push({ url, ...options });
    const response = responses.shift();
    if (response instanceof Error) throw response;
    return response;
  });
  return sent;
}

test("a query leaves out fields that are empty, but not zero or false", () => {
  const query = { a: null, b: undefined, c: "", d: 0, e: false, f: "x y" };
  assert.equal(withQuery("/v1/photos", query), "/v1/photos?d=0&e=false&f=x+y");
  assert.equal(withQuery("/v1/photos", { a: null }), "/v1/photos");
  assert.equal(withQuery("/v1/photos"), "/v1/photos");
});

test("a body is sent as JSON", async (t) => {
  const sent = answerWith(t, Response.json({ hits: [] }));
  assert.deepEqual(await request("POST", "/v1/search", { body: { text: "mug" } }), { hits: [] });
  assert.equal(sent[0].body, '{"text":"mug"}');
  assert.deepEqual(sent[0].headers, { "Content-Type": "application/json" });
});

test("an answer without content is null", async (t) => {
  answerWith(t, new Response(null, { status: 204 }));
  assert.equal(await request("DELETE", "/v1/jobs/1"), null);
});

test("a problem becomes an error with its detail and status", async (t) => {
  answerWith(t, Response.json({ detail: "no such photo" }, { status: 404 }));
  await assert.rejects(request("GET", "/v1/photos/1"), new ApiError(404, "no such photo"));
});

test("an answer that is no problem document says its status", async (t) => {
  const listed = Response.json({ detail: [{ loc: "body" }] }, { status: 422 });
  answerWith(t, new Response("<h1>Bad gateway</h1>", { status: 502 }), listed);
  await assert.rejects(request("GET", "/v1/library"), { message: "The server answered 502." });
  await assert.rejects(request("GET", "/v1/library"), { message: "The server answered 422." });
});

test("no answer at all is an error that says so", async (t) => {
  answerWith(t, new TypeError("fetch failed"));
  await assert.rejects(request("GET", "/v1/library"), (error) => error.isOffline);
});

test("a request that is aborted is neither offline nor a problem", async (t) => {
  const abort = new AbortController();
  abort.abort();
  answerWith(t, abort.signal.reason);
  const aborted = request("GET", "/v1/library", { signal: abort.signal });
  await assert.rejects(aborted, (error) => isAborted(error));
  assert.equal(isAborted(new TypeError("other")), false);
  assert.equal(isAborted(null), false);
});

test("after a 401 the user signs in and the same request is sent again", async (t) => {
  const refused = () => Response.json({ detail: "a key is needed" }, { status: 401 });
  const sent = answerWith(t, refused(), refused(), Response.json({ photos: 3 }));
  let signIns = 0;
  onUnauthorized(async () => void signIns++);
  assert.deepEqual(await request("GET", "/v1/library"), { photos: 3 });
  assert.equal(signIns, 2);
  assert.deepEqual(
    sent.map(({ url }) => url),
    Array(3).fill("/v1/library"),
  );
});

test("a wrong key at the sign-in itself is an error", async (t) => {
  answerWith(t, Response.json({ detail: "wrong key" }, { status: 401 }));
  await assert.rejects(request("POST", "/v1/session", { body: { key: "x" } }), { status: 401 });
});
