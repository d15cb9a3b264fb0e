/** Labels for files, dates and numbers. */

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

/** @param {string|null} path with / or \ @returns {string} its last part */
export const fileLabel = (path) => path?.split(/[\\/]/).pop() ?? "unavailable file";

/** @param {string} dateTime ISO 8601 without offset @returns {string} as in 3 May 2024 */
const dayLabel = (dateTime) => DAY.format(new Date(`${dateTime.slice(0, 10)}T12:00`));

/** @param {{sort_at: string, date_source: string}} photo @returns {string} the day it was taken */
export const dateLabel = (photo) =>
  photo.date_source === "file"
    ? `undated, file of ${dayLabel(photo.sort_at)}`
    : dayLabel(photo.sort_at);

/** @param {number} number @returns {string} as in 1,234 */
export const numberLabel = (number) => number.toLocaleString("en");

/**
 * @param {number} count
 * @param {string} noun singular
 * @returns {string} as in 1 photo, 1,234 photos
 */
export const countLabel = (count, noun) => `${numberLabel(count)} ${noun}${count === 1 ? "" : "s"}`;

/** @param {number} fraction 0 to 1 @returns {string} as in 12% */
export const percentLabel = (fraction) =>
  fraction < 0.01 ? "under 1%" : `${Math.round(fraction * 100)}%`;

/** @param {string} text @returns {string} with a capital letter and a full stop; "" stays "" */
export function asSentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  return trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** @param {unknown} error @returns {string} its message as a sentence */
export const errorLabel = (error) =>
  asSentence(error instanceof Error ? error.message : String(error ?? ""));
