/** Photos have no time zone, so that these hold in every zone: TZ=Pacific/Apia node --test ... */

import assert from "node:assert/strict";
import test from "node:test";
import { monthsByYear } from "../../api/web/js/filters/date-filter.js";
import {
  dateRangeLabel,
  lastDayOf,
  monthLabel,
  monthOnlyLabel,
  startOfDay,
} from "../../api/web/js/filters/dates.js";
import { dateLabel } from "../../api/web/js/shared/format.js";

test("months are labeled with and without their year", () => {
  assert.equal(monthLabel("2024-05"), "May 2024");
  assert.equal(monthLabel("2024-12"), "December 2024");
  assert.equal(monthOnlyLabel("2023-01"), "Jan");
});

test("the last day of a month knows leap years", () => {
  assert.equal(lastDayOf("2024-02"), "2024-02-29");
  assert.equal(lastDayOf("2023-02"), "2023-02-28");
  assert.equal(lastDayOf("1900-02"), "1900-02-28");
  assert.equal(lastDayOf("2023-12"), "2023-12-31");
  assert.equal(lastDayOf("2023-04"), "2023-04-30");
});

test("a day starts at midnight, and the next one may be in the next year", () => {
  assert.equal(startOfDay("2024-05-01"), "2024-05-01T00:00:00");
  assert.equal(startOfDay("2024-12-31", 1), "2025-01-01T00:00:00");
  assert.equal(startOfDay("2024-02-28", 1), "2024-02-29T00:00:00");
  assert.equal(startOfDay("2024-03-31", 1), "2024-04-01T00:00:00"); // clocks change in Europe
});

test("a day that is malformed has no start", () => {
  for (const day of ["", "soon", "2024", "2024-xx-01"]) assert.equal(startOfDay(day), undefined);
});

test("a range is labeled as a year or a month where it is one", () => {
  assert.equal(dateRangeLabel("2024-01-01", "2024-12-31"), "2024");
  assert.equal(dateRangeLabel("2024-02-01", "2024-02-29"), "February 2024");
  assert.equal(dateRangeLabel("2023-02-01", "2023-02-27"), "1 Feb 2023 – 27 Feb 2023");
  assert.equal(dateRangeLabel("2023-01-01", "2024-12-31"), "1 Jan 2023 – 31 Dec 2024");
});

test("a range may be one day, or open at an end, or at both", () => {
  assert.equal(dateRangeLabel("2024-05-03", "2024-05-03"), "3 May 2024");
  assert.equal(dateRangeLabel("2024-05-03", ""), "from 3 May 2024");
  assert.equal(dateRangeLabel("", "2024-05-03"), "until 3 May 2024");
  assert.equal(dateRangeLabel("", ""), "");
});

test("a malformed day of a URL is shown as it is", () => {
  assert.equal(dateRangeLabel("soon", ""), "from soon");
});

test("the months of a year are in one row, newest year first", () => {
  const month = (value) => ({ value, count: 1 });
  const months = ["2024-02", "2022-07", "2024-01", "2024-11"].map(month);
  assert.deepEqual(monthsByYear(months), [
    ["2024", ["2024-01", "2024-02", "2024-11"].map(month)],
    ["2022", [month("2022-07")]],
  ]);
  assert.equal(months[0].value, "2024-02"); // the given order is not changed
});

test("a photo is labeled with its own day, whatever its hour", () => {
  for (const time of ["00:00:00", "12:00:00", "23:59:59"]) {
    const photo = { sort_at: `2024-05-03T${time}`, date_source: "exif" };
    assert.equal(dateLabel(photo), "3 May 2024");
  }
});

test("a photo without a date is labeled as undated", () => {
  const photo = { sort_at: "2024-05-03T10:00:00", date_source: "file" };
  assert.equal(dateLabel(photo), "undated, file of 3 May 2024");
});
