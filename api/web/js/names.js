/** How things are called: files, days, amounts. */

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

/** @param {string|null} path @returns {string} */
export const fileName = (path) => path?.split(/[\\/]/).pop() ?? "a photo out of reach";

/** @param {string} moment @returns {string} the day, in the photo's own time */
const dayName = (moment) => DAY.format(new Date(`${moment.slice(0, 10)}T12:00`));

/** @param {{sort_at: string, date_source: string}} photo @returns {string} the day it was taken */
export const takenName = (photo) =>
  photo.date_source === "file"
    ? `undated, file of ${dayName(photo.sort_at)}`
    : dayName(photo.sort_at);

/** @param {number} count @param {string} one @returns {string} */
export const counted = (count, one) =>
  `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

/** @param {number} fraction @returns {string} as in 12% */
export const shareName = (fraction) =>
  fraction < 0.01 ? "under 1%" : `${Math.round(fraction * 100)}%`;
