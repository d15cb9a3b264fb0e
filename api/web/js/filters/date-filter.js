/** The panel of the date filter: years, months, or any range of days. */

import { el } from "../shared/dom.js";
import { countLabel, numberLabel } from "../shared/format.js";
import { dateRangeLabel, lastDayOf, monthOnlyLabel } from "./dates.js";

/** @typedef {import("../shared/api.js").Count} Count */
/** @typedef {Pick<import("../router.js").Filter, "from"|"to"|"undated">} DateFilter */

/**
 * Create the panel.
 * @param {import("../shared/api.js").Facets|null} facets
 * @param {DateFilter} filter the current one
 * @param {(filter: DateFilter) => void} onSelect
 * @returns {HTMLElement}
 */
export function dateFilterPanel(facets, filter, onSelect) {
  const { months = [], undated = 0 } = facets ?? {};
  return el(
    "div",
    { class: "dates" },
    rangeForm(filter, onSelect),
    ...monthsByYear(months).map(([year, inYear]) => yearRow(year, inYear, filter, onSelect)),
    undated > 0 && undatedButton(undated, filter, onSelect),
  );
}

/**
 * @param {Count[]} months
 * @returns {[year: string, months: Count[]][]} newest year first, months from January on
 */
export function monthsByYear(months) {
  /** @type {Map<string, Count[]>} */
  const years = new Map();
  for (const month of [...months].sort((a, b) => (a.value < b.value ? -1 : 1))) {
    const year = month.value.slice(0, 4);
    years.set(year, [...(years.get(year) ?? []), month]);
  }
  return [...years].reverse();
}

/** @param {string} year @param {Count[]} months @param {DateFilter} filter
 * @param {(filter: DateFilter) => void} onSelect */
function yearRow(year, months, filter, onSelect) {
  const range = (
    /** @type {string} */ from,
    /** @type {string} */ to,
    /** @type {string} */ label,
    /** @type {number} */ count,
    /** @type {string} */ className,
  ) => {
    const isSelected = filter.from === from && filter.to === to;
    const next = isSelected ? { from: "", to: "", undated: "" } : { from, to, undated: "" };
    const name = dateRangeLabel(from, to);
    return countButton(label, name, count, className, isSelected, () => onSelect(next));
  };
  const total = months.reduce((sum, { count }) => sum + count, 0);
  const monthButtons = months.map(({ value, count }) =>
    range(`${value}-01`, lastDayOf(value), monthOnlyLabel(value), count, "month"),
  );
  return el(
    "div",
    { class: "year" },
    range(`${year}-01-01`, `${year}-12-31`, year, total, "choice"),
    el("div", { class: "months" }, ...monthButtons),
  );
}

/**
 * @param {number} count
 * @param {DateFilter} filter
 * @param {(filter: DateFilter) => void} onSelect
 */
function undatedButton(count, filter, onSelect) {
  const next = { from: "", to: "", undated: filter.undated ? "" : "1" };
  const isSelected = Boolean(filter.undated);
  return countButton("Undated", "Undated", count, "choice", isSelected, () => onSelect(next));
}

/** @param {string} label @param {string} name for screen readers @param {number} count of photos
 * @param {string} className @param {boolean} isSelected @param {() => void} onClick */
function countButton(label, name, count, className, isSelected, onClick) {
  return el(
    "button",
    {
      type: "button",
      class: className,
      "aria-pressed": String(isSelected),
      "aria-label": `${name}, ${countLabel(count, "photo")}`,
      on: { click: onClick },
    },
    label,
    el("span", { class: "count", text: numberLabel(count) }),
  );
}

/** Two fields for any range of days. @param {DateFilter} filter
 * @param {(filter: DateFilter) => void} onSelect */
function rangeForm(filter, onSelect) {
  const from = el("input", { type: "date", value: filter.from, "aria-label": "From" });
  const to = el("input", { type: "date", value: filter.to, "aria-label": "To" });
  const form = el(
    "form",
    { class: "days" },
    el("label", {}, el("span", { text: "From" }), from),
    el("label", {}, el("span", { text: "To" }), to),
    el("button", { class: "button", text: "Apply" }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const ends = [from.value, to.value];
    if (ends[0] && ends[1]) ends.sort();
    onSelect({ from: ends[0], to: ends[1], undated: "" });
  });
  return form;
}
