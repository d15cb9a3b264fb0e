/** Choosing when: whole years, months, or any two days. */

import { el } from "./dom.js";
import { monthName } from "./timeline.js";

const SHORT = new Intl.DateTimeFormat("en", { month: "short" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const pad = (/** @type {number} */ number) => String(number).padStart(2, "0");

/** @param {number} year @param {number} month from 1 @returns {string} its last day, YYYY-MM-DD */
function lastDay(year, month) {
  return `${year}-${pad(month)}-${pad(new Date(year, month, 0).getDate())}`;
}

/**
 * Name a span of days as briefly as it can be.
 * @param {string} from YYYY-MM-DD, or "" for open
 * @param {string} to the same
 * @returns {string} as in `2024`, `May 2024`, `from 3 May 2024`; "" if both are open.
 */
export function daysName(from, to) {
  const day = (/** @type {string} */ text) => DAY.format(new Date(`${text}T12:00`));
  if (!from && !to) return "";
  if (!from) return `until ${day(to)}`;
  if (!to) return `from ${day(from)}`;
  const [year, month] = from.split("-").map(Number);
  if (from === `${year}-01-01` && to === `${year}-12-31`) return String(year);
  if (from.endsWith("-01") && to === lastDay(year, month)) return monthName(from.slice(0, 7));
  return from === to ? day(from) : `${day(from)} – ${day(to)}`;
}

/**
 * Make the panel of dates.
 * @param {import("./facets.js").Facets|null} facets
 * @param {import("./router.js").Filter} filter
 * @param {(from: string, to: string) => void} choose
 * @param {(undated: string) => void} chooseUndated
 * @returns {HTMLElement}
 */
export function datesPanel(facets, filter, choose, chooseUndated) {
  const { months = [], undated = 0 } = facets ?? {};
  /** @type {Map<string, {value: string, count: number}[]>} */
  const years = new Map();
  for (const month of [...months].sort((a, b) => (a.value < b.value ? 1 : -1))) {
    const year = month.value.slice(0, 4);
    years.set(year, [...(years.get(year) ?? []), month]);
  }
  const span = (
    /** @type {string} */ from,
    /** @type {string} */ to,
    /** @type {string} */ label,
    /** @type {number} */ count,
    /** @type {string} */ name,
  ) => {
    const isChosen = filter.from === from && filter.to === to;
    return el(
      "button",
      {
        type: "button",
        class: name,
        "aria-pressed": String(isChosen),
        "aria-label": `${daysName(from, to)}, ${count} photos`,
        on: { click: () => (isChosen ? choose("", "") : choose(from, to)) },
      },
      label,
      el("span", { class: "count", text: count.toLocaleString("en") }),
    );
  };
  const rows = [...years].map(([year, ofYear]) => {
    const count = ofYear.reduce((sum, month) => sum + month.count, 0);
    const chips = [...ofYear].reverse().map(({ value, count: photos }) => {
      const month = Number(value.slice(5));
      const label = SHORT.format(new Date(2024, month - 1, 1));
      return span(`${value}-01`, lastDay(Number(year), month), label, photos, "month");
    });
    return el(
      "div",
      { class: "year" },
      span(`${year}-01-01`, `${year}-12-31`, year, count, "choice"),
      el("div", { class: "months" }, ...chips),
    );
  });
  const without = undated > 0 && undatedChoice(undated, filter, chooseUndated);
  return el("div", { class: "dates" }, days(filter, choose), ...rows, without);
}

/** @param {number} count @param {import("./router.js").Filter} filter
 * @param {(undated: string) => void} choose */
function undatedChoice(count, filter, choose) {
  return el(
    "button",
    {
      type: "button",
      class: "choice",
      "aria-pressed": String(Boolean(filter.undated)),
      "aria-label": `Undated, ${count} photos`,
      on: { click: () => choose(filter.undated ? "" : "1") },
    },
    "Undated",
    el("span", { class: "count", text: count.toLocaleString("en") }),
  );
}

/** Two fields for any two days. @param {import("./router.js").Filter} filter
 * @param {(from: string, to: string) => void} choose */
function days(filter, choose) {
  const field = (/** @type {string} */ label, /** @type {string} */ value) => {
    const input = el("input", { type: "date", value, "aria-label": label });
    return [el("label", {}, el("span", { text: label }), input), input];
  };
  const [from, fromInput] = field("From", filter.from);
  const [to, toInput] = field("To", filter.to);
  const form = el(
    "form",
    { class: "days" },
    from,
    to,
    el("button", { class: "button", text: "Apply" }),
  );
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const ends = [fromInput.value, toInput.value];
    if (ends[0] && ends[1] && ends[0] > ends[1]) ends.reverse();
    choose(ends[0], ends[1]);
  });
  return form;
}
