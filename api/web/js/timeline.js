/**
 * The photos of a library by month, newest first. How many each month has is known beforehand, so
 * that any month can be scrolled to and only then loads. A server that can't count gives its photos
 * one page after the other, and months grow from those.
 */

import { ask } from "./api.js";
import { Pager } from "./pager.js";
import { photoFilter, startOfDay } from "./query.js";

/** @typedef {import("./router.js").Filter} Filter */
/** @typedef {import("./grid.js").Section} Section */

const PAGE = 200;
const REST = { id: "rest", title: "", count: 60 };
const UNDATED = { id: "undated", title: "Undated" };
const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });

/** @param {string} yearMonth as in 2024-05 @returns {string} as in May 2024 */
export function monthName(yearMonth) {
  const [year, month] = yearMonth.split("-").map(Number);
  return MONTH.format(new Date(year, month - 1, 1));
}

export class Timeline {
  /**
   * @param {Filter} filter
   * @param {import("./facets.js").Facets|null} facets null: not known
   * @param {(isLonger: boolean) => void} changed entries came; or sections too
   */
  constructor(filter, facets, changed) {
    this.filter = filter;
    this.changed = changed;
    /** @type {Map<string, Pager<any>>} */
    this.pagers = new Map();
    /** @type {Section[]} */
    this.sections = [];
    if (facets) this.knownMonths(facets);
    else this.growingMonths();
  }

  /** @param {import("./facets.js").Facets} facets */
  knownMonths({ months, undated = 0 }) {
    const newestFirst = [...months].sort((a, b) => (a.value < b.value ? 1 : -1));
    newestFirst.forEach(({ value, count }, i) => {
      // Together the months leave no gap: photos of a month that was not there when they were
      // counted are in the one beside it.
      const from = i === newestFirst.length - 1 ? undefined : startOfDay(`${value}-01`);
      const before = i === 0 ? undefined : startOfDay(`${newestFirst[i - 1].value}-01`);
      this.knownSection({ id: value, title: monthName(value), count }, (changed) =>
        this.pager({ from, before, undated: "false" }, changed),
      );
    });
    if (undated)
      this.knownSection({ ...UNDATED, count: undated }, (changed) =>
        this.pager({ undated: "true" }, changed),
      );
  }

  /** @param {{id: string, title: string, count: number}} known
   * @param {(changed: () => void) => Pager<any>} pagerOf */
  knownSection(known, pagerOf) {
    const section = { ...known, detail: String(known.count) };
    const pager = pagerOf(() => {
      const { entries, isDone } = pager;
      const count = isDone ? entries.length : Math.max(section.count, entries.length);
      const isLonger = count !== section.count;
      section.count = count;
      section.detail = String(count);
      this.changed(isLonger);
    });
    this.sections.push(section);
    this.pagers.set(section.id, pager);
  }

  growingMonths() {
    const pager = this.pager({}, () => {
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

  /** @param {{from?: string, before?: string, undated?: string}} part of the photos
   * @param {() => void} changed @returns {Pager<any>} */
  pager({ from, before, undated }, changed) {
    const fields = photoFilter(this.filter);
    if (undated) fields.undated = undated;
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
