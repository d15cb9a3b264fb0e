/** Dates and date ranges as YYYY-MM-DD, by the photos' own clocks: no time zone is involved. */

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });
const MONTH_ONLY = new Intl.DateTimeFormat("en", { month: "short" });

/** @param {string} yearMonth as in 2024-05 @returns {Date} a local time within it */
function dateInMonth(yearMonth) {
  const [year, month] = yearMonth.split("-").map(Number);
  return new Date(year, month - 1, 1, 12);
}

/** @param {string} yearMonth as in 2024-05 @returns {string} as in May 2024 */
export const monthLabel = (yearMonth) => MONTH.format(dateInMonth(yearMonth));

/** @param {string} yearMonth as in 2024-05 @returns {string} as in May */
export const monthOnlyLabel = (yearMonth) => MONTH_ONLY.format(dateInMonth(yearMonth));

/** @param {string} yearMonth as in 2024-02 @returns {string} as in 2024-02-29 */
export function lastDayOf(yearMonth) {
  const [year, month] = yearMonth.split("-").map(Number);
  const last = new Date(Date.UTC(year, month, 0)).getUTCDate();
  return `${yearMonth}-${String(last).padStart(2, "0")}`;
}

/**
 * Return the start of a day, or of one some days later.
 * @param {string} day YYYY-MM-DD
 * @param {number} [daysLater]
 * @returns {string|undefined} as in 2024-05-01T00:00:00; undefined if the day is malformed
 */
export function startOfDay(day, daysLater = 0) {
  const [year, month, date] = day.split("-").map(Number);
  const start = new Date(Date.UTC(year, month - 1, date + daysLater));
  return Number.isNaN(start.getTime()) ? undefined : start.toISOString().slice(0, 19);
}

/**
 * Label a range of days, as a year or month where it is just one.
 * @param {string} from YYYY-MM-DD, or "" for open
 * @param {string} to the same, included
 * @returns {string} as in `2024`, `May 2024`, `from 3 May 2024`; "" if both ends are open
 */
export function dateRangeLabel(from, to) {
  if (!from && !to) return "";
  if (!from) return `until ${dayLabel(to)}`;
  if (!to) return `from ${dayLabel(from)}`;
  const [year, yearMonth] = [from.slice(0, 4), from.slice(0, 7)];
  if (from === `${year}-01-01` && to === `${year}-12-31`) return year;
  if (from.endsWith("-01") && to === lastDayOf(yearMonth)) return monthLabel(yearMonth);
  return from === to ? dayLabel(from) : `${dayLabel(from)} – ${dayLabel(to)}`;
}

/**
 * @param {string} day YYYY-MM-DD
 * @returns {string} as in 3 May 2024; as it is if it is malformed
 */
function dayLabel(day) {
  const date = new Date(`${day}T12:00`);
  return Number.isNaN(date.getTime()) ? day : DAY.format(date);
}
