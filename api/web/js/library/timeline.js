/**
 * The photos of the library by month, newest first. The facets say how many each month has, so that
 * any month can be scrolled to and is loaded only then. Without facets photos are loaded page by
 * page, and the months grow with them.
 */

import { startOfDay, monthLabel } from "../filters/dates.js";
import { photoFilter } from "../search/query.js";
import { fetchPhotos } from "../shared/api.js";
import { Pager } from "../shared/pager.js";

/** @typedef {import("../shared/api.js").Photo} Photo */
/** @typedef {import("../shared/api.js").Facets} Facets */
/** @typedef {import("../router.js").Filter} Filter */
/** @typedef {import("../shared/grid.js").Section} Section */
/** @typedef {{taken_from?: string, taken_before?: string, undated?: string}} DateFields */

const PAGE_SIZE = 200;
const LOADING = { id: "loading", title: "", count: 60 };

/**
 * Split the photos by month. The date ranges leave no gap between them: photos of a month that had
 * none when the facets were counted are in the range of the month before.
 * @param {Facets} facets
 * @returns {{section: Section, fields: DateFields}[]} newest first, undated photos last
 */
export function sectionsFromFacets({ months, undated = 0 }) {
  const newestFirst = [...months].sort((a, b) => (a.value < b.value ? 1 : -1));
  const monthStarts = newestFirst.map(({ value }) => startOfDay(`${value}-01`));
  /** @type {{section: Section, fields: DateFields}[]} */
  const sections = newestFirst.map(({ value, count }, i) => ({
    section: { id: value, title: monthLabel(value), count, detail: String(count) },
    fields: {
      ...(i < newestFirst.length - 1 ? { taken_from: monthStarts[i] } : {}),
      ...(i > 0 ? { taken_before: monthStarts[i - 1] } : {}),
      undated: "false",
    },
  }));
  if (undated) {
    sections.push({
      section: { id: "undated", title: "Undated", count: undated, detail: String(undated) },
      fields: { undated: "true" },
    });
  }
  return sections;
}

/**
 * Restrict a filter to a section: of two limits the narrower one applies.
 * @param {Record<string, string>} filter as in the query string of /v1/photos
 * @param {DateFields} fields
 * @returns {Record<string, string>}
 */
export function restrictFilter(filter, { taken_from: from, taken_before: before, undated }) {
  const restricted = { ...filter };
  if (undated) restricted.undated = undated;
  if (from && !(filter.taken_from > from)) restricted.taken_from = from;
  if (before && !(filter.taken_before < before)) restricted.taken_before = before;
  return restricted;
}

export class Timeline {
  /**
   * @param {Filter} filter
   * @param {Facets|null} facets null: the server has none
   * @param {(areSectionsChanged: boolean) => void} onChange photos were loaded, or loading them
   *   failed
   */
  constructor(filter, facets, onChange) {
    this.filter = photoFilter(filter);
    this.onChange = onChange;
    /** @type {Map<string, Pager<Photo>>} by section id; one pager for all without facets */
    this.pagers = new Map();
    /** @type {Section[]} */
    this.sections = [];
    /** @type {Pager<Photo>|null} the one pager where there are no facets */
    this.singlePager = null;
    if (facets) sectionsFromFacets(facets).forEach((part) => this.addSection(part));
    else this.addSinglePager();
  }

  /** @param {{section: Section, fields: DateFields}} part */
  addSection({ section, fields }) {
    const pager = this.createPager(fields, () => {
      const { entries, isDone } = pager;
      const count = isDone ? entries.length : Math.max(section.count, entries.length);
      const isChanged = count !== section.count;
      section.count = count;
      section.detail = String(count);
      this.onChange(isChanged);
    });
    this.sections.push(section);
    this.pagers.set(section.id, pager);
  }

  addSinglePager() {
    const pager = this.createPager({}, () => {
      /** @type {Map<string, Section>} */
      const months = new Map();
      for (const { sort_at: takenAt } of pager.entries) {
        const id = takenAt.slice(0, 7);
        const month = months.get(id) ?? { id, title: monthLabel(id), count: 0 };
        month.count++;
        months.set(id, month);
      }
      this.sections = [...months.values(), ...(pager.isDone ? [] : [LOADING])];
      this.onChange(true);
    });
    this.singlePager = pager;
    this.sections = [LOADING];
    this.pagers.set(LOADING.id, pager);
  }

  /** @param {DateFields} fields @param {() => void} onChange @returns {Pager<Photo>} */
  createPager(fields, onChange) {
    const filter = restrictFilter(this.filter, fields);
    return new Pager(async (cursor, signal) => {
      const page = await fetchPhotos({ ...filter, limit: PAGE_SIZE, cursor }, signal);
      return { entries: page.photos, cursor: page.cursor };
    }, onChange);
  }

  /** @param {Section} section @param {number} index @returns {Photo|null} null: not loaded yet */
  entryOf(section, index) {
    if (!this.singlePager) return this.pagers.get(section.id)?.entries[index] ?? null;
    if (section.id === LOADING.id) return null;
    const sectionAt = this.sections.findIndex(({ id }) => id === section.id);
    const before = this.sections.slice(0, sectionAt).reduce((sum, { count }) => sum + count, 0);
    return this.singlePager.entries[before + index] ?? null;
  }

  /** Load a section up to an index. @param {Section} section @param {number} to */
  load(section, to) {
    const pager = this.pagers.get(section.id);
    pager?.loadUntil(this.singlePager ? pager.entries.length + 1 : to);
  }

  /** @returns {unknown} the first failure that was not retried yet; null: none */
  get error() {
    return [...this.pagers.values()].find((pager) => pager.error)?.error ?? null;
  }

  retry() {
    this.pagers.forEach((pager) => pager.clearError());
    this.onChange(false);
  }

  stop() {
    this.pagers.forEach((pager) => pager.stop());
  }

  /** @returns {Photo[]} the photos that are loaded, in order */
  get loaded() {
    return [...this.pagers.values()].flatMap((pager) => pager.entries);
  }
}
