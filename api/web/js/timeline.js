/**
 * The photos of a library by month, newest first. How many each month has is known beforehand, so
 * that any month can be scrolled to and only then loads. A server that can't count gives its photos
 * one page after the other, and months grow from those.
 */

import { ask } from "./api.js";
import { Pager } from "./pager.js";
import { momentOf, photoFilter } from "./query.js";

/** @typedef {import("./router.js").Filter} Filter */
/** @typedef {import("./grid.js").Section} Section */

const PAGE = 200;
const REST = { id: "rest", title: "", count: 60 };
const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });

/** @param {string} yearMonth as in 2024-05 @returns {string} as in May 2024 */
export function monthName(yearMonth) {
  const [year, month] = yearMonth.split("-").map(Number);
  return MONTH.format(new Date(year, month - 1, 1));
}

export class Timeline {
  /**
   * @param {Filter} filter
   * @param {{value: string, count: number}[]|null} months null: not known
   * @param {(isLonger: boolean) => void} changed entries came; or sections too
   */
  constructor(filter, months, changed) {
    this.filter = filter;
    this.changed = changed;
    /** @type {Map<string, Pager<any>>} */
    this.pagers = new Map();
    /** @type {Section[]} */
    this.sections = [];
    if (months) this.knownMonths(months);
    else this.growingMonths();
  }

  /** @param {{value: string, count: number}[]} months */
  knownMonths(months) {
    const newestFirst = [...months].sort((a, b) => (a.value < b.value ? 1 : -1));
    newestFirst.forEach(({ value, count }, i) => {
      const section = { id: value, title: monthName(value), detail: String(count), count };
      // Together the months leave no gap, so that each photo is in one of them in any time zone.
      const from = i === newestFirst.length - 1 ? undefined : momentOf(`${value}-01`);
      const before = i === 0 ? undefined : momentOf(`${newestFirst[i - 1].value}-01`);
      const pager = this.pager(from, before, () => {
        const { entries, isDone } = pager;
        const known = isDone ? entries.length : Math.max(section.count, entries.length);
        const isLonger = known !== section.count;
        section.count = known;
        section.detail = String(known);
        this.changed(isLonger);
      });
      this.sections.push(section);
      this.pagers.set(value, pager);
    });
  }

  growingMonths() {
    const pager = this.pager(undefined, undefined, () => {
      /** @type {Map<string, Section>} */
      const months = new Map();
      for (const { sort_at: takenAt } of pager.entries) {
        const id = takenAt.slice(0, 7);
        if (!months.has(id)) months.set(id, { id, title: monthName(id), count: 0 });
        /** @type {Section} */ (months.get(id)).count++;
      }
      this.sections = [...months.values(), ...(pager.isDone ? [] : [REST])];
      this.changed(true);
    });
    this.all = pager;
    this.sections = [REST];
    this.pagers.set(REST.id, pager);
  }

  /** @param {string|undefined} from @param {string|undefined} before @param {() => void} changed
   * @returns {Pager<any>} */
  pager(from, before, changed) {
    const fields = photoFilter(this.filter);
    if (from && !(fields.taken_from > from)) fields.taken_from = from;
    if (before && !(fields.taken_before < before)) fields.taken_before = before;
    return new Pager(async (cursor, signal) => {
      const query = { ...fields, limit: PAGE, cursor };
      const page = await ask("GET", "/v1/photos", { query, signal });
      return { entries: page.photos, cursor: page.cursor };
    }, changed);
  }

  /** @param {Section} section @param {number} index @returns {any} a photo, or null */
  entryOf(section, index) {
    if (!this.all) return this.pagers.get(section.id)?.entries[index] ?? null;
    if (section.id === REST.id) return null;
    let before = 0;
    for (const one of this.sections) {
      if (one.id === section.id) break;
      before += one.count;
    }
    return this.all.entries[before + index] ?? null;
  }

  /** @param {Section} section @param {number} from @param {number} to */
  need(section, from, to) {
    const pager = this.pagers.get(section.id);
    if (pager) pager.reach(this.all ? pager.entries.length + 1 : to);
  }

  /** @returns {any} the first failure that nobody has retried */
  get error() {
    return [...this.pagers.values()].find((pager) => pager.error)?.error ?? null;
  }

  retry() {
    this.pagers.forEach((pager) => pager.retry());
    this.changed(false);
  }

  stop() {
    this.pagers.forEach((pager) => pager.stop());
  }

  /** @returns {any[]} the photos that are here, in order */
  get loaded() {
    return [...this.pagers.values()].flatMap((pager) => pager.entries);
  }
}
