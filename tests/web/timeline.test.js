import assert from "node:assert/strict";
import test from "node:test";
import { restrictFilter, sectionsFromFacets, Timeline } from "../../api/web/js/library/timeline.js";
import { emptyFilter } from "../../api/web/js/router.js";

const FACETS = {
  cameras: [],
  folders: [],
  months: [
    { value: "2023-09", count: 2 },
    { value: "2024-05", count: 3 },
    { value: "2023-10", count: 1 },
  ],
};

test("months are newest first, and their date ranges leave no gap", () => {
  const sections = sectionsFromFacets({ ...FACETS, undated: 4 });
  assert.deepEqual(
    sections.map(({ section }) => [section.id, section.title, section.count]),
    [
      ["2024-05", "May 2024", 3],
      ["2023-10", "October 2023", 1],
      ["2023-09", "September 2023", 2],
      ["undated", "Undated", 4],
    ],
  );
  assert.deepEqual(
    sections.map(({ fields }) => fields),
    [
      { taken_from: "2024-05-01T00:00:00", undated: "false" },
      {
        taken_from: "2023-10-01T00:00:00",
        taken_before: "2024-05-01T00:00:00",
        undated: "false",
      },
      { taken_before: "2023-10-01T00:00:00", undated: "false" },
      { undated: "true" },
    ],
  );
});

test("one month alone has no limits, and no photos give no sections", () => {
  const [only] = sectionsFromFacets({ ...FACETS, months: [{ value: "2024-05", count: 3 }] });
  assert.deepEqual(only.fields, { undated: "false" });
  assert.deepEqual(sectionsFromFacets({ ...FACETS, months: [] }), []);
});

test("of a filter's limits and a month's the narrower ones apply", () => {
  const month = { taken_from: "2024-05-01T00:00:00", taken_before: "2024-06-01T00:00:00" };
  const within = { taken_from: "2024-05-10T00:00:00", taken_before: "2024-05-20T00:00:00" };
  const around = { taken_from: "2024-01-01T00:00:00", taken_before: "2025-01-01T00:00:00" };
  assert.deepEqual(restrictFilter(within, month), within);
  assert.deepEqual(restrictFilter(around, month), month);
  assert.deepEqual(restrictFilter({ camera: "N2" }, month), { camera: "N2", ...month });
});

/** Serve these photos a page at a time, in the order of their dates. */
function servePhotos(t, dates, pageSize) {
  t.mock.method(globalThis, "fetch", async (url) => {
    const start = Number(new URL(url, "http://127.0.0.1").searchParams.get("cursor") ?? 0);
    const photos = dates.slice(start, start + pageSize).map((day) => ({ sort_at: day }));
    const end = start + pageSize;
    return Response.json({ photos, cursor: end < dates.length ? String(end) : null });
  });
}

test("without facets months grow with the pages", async (t) => {
  servePhotos(t, ["2024-05-03", "2024-05-01", "2023-10-09"], 2);
  const timeline = new Timeline(emptyFilter(), null, () => {});
  assert.deepEqual(
    timeline.sections.map(({ id }) => id),
    ["loading"],
  );
  await timeline.singlePager.loadUntil(1);
  assert.deepEqual(
    timeline.sections.map(({ id, count }) => [id, count]),
    [
      ["2024-05", 2],
      ["loading", 60],
    ],
  );
  await timeline.singlePager.loadUntil(3);
  assert.deepEqual(
    timeline.sections.map(({ id }) => id),
    ["2024-05", "2023-10"],
  );
  assert.equal(timeline.entryOf(timeline.sections[1], 0).sort_at, "2023-10-09");
  assert.equal(timeline.entryOf(timeline.sections[1], 1), null);
});

test("a month that has other photos than counted gets their number", async (t) => {
  servePhotos(t, ["2024-05-03", "2024-05-01"], 10);
  const changes = [];
  const facets = { ...FACETS, months: [{ value: "2024-05", count: 3 }] };
  const timeline = new Timeline(emptyFilter(), facets, (areSectionsChanged) =>
    changes.push(areSectionsChanged),
  );
  const [may] = timeline.sections;
  assert.equal(timeline.entryOf(may, 0), null); // not loaded yet
  timeline.load(may, 1);
  await timeline.pagers.get("2024-05").loading;
  assert.deepEqual([may.count, may.detail, changes], [2, "2", [true]]);
});
