/** A list that is loaded page by page, each page with the cursor of the next. */

import { isAborted } from "./http.js";

/**
 * @template Entry, [Extra={}]
 * @typedef {{entries: Entry[], cursor: string|null} & Extra} Page
 */

/** @template Entry, [Extra={}] */
export class Pager {
  /**
   * @param {(cursor: string|null, signal: AbortSignal) => Promise<Page<Entry, Extra>>} fetchPage
   * @param {() => void} [onChange] called after every page and every failure
   */
  constructor(fetchPage, onChange = () => {}) {
    this.fetchPage = fetchPage;
    this.onChange = onChange;
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Page<Entry, Extra>|null} with what else came along */
    this.firstPage = null;
    this.isDone = false;
    /** @type {unknown} null: none */
    this.error = null;
    this.target = 0; // number of entries to load
    /** @type {string|null} */
    this.cursor = null;
    /** @type {Promise<void>|null} */
    this.loading = null;
    this.aborting = new AbortController();
  }

  /**
   * Load until there are `count` entries, or all, or a page fails.
   * @param {number} count
   * @returns {Promise<void>} never rejects: the failure is in `error`
   */
  loadUntil(count) {
    this.target = Math.max(this.target, count);
    this.loading ??= this.load().finally(() => (this.loading = null));
    return this.loading;
  }

  async load() {
    while (!this.isDone && !this.error && this.entries.length < this.target) await this.loadPage();
  }

  async loadPage() {
    try {
      const page = await this.fetchPage(this.cursor, this.aborting.signal);
      this.firstPage ??= page;
      this.entries.push(...page.entries);
      this.cursor = page.cursor;
      this.isDone = page.cursor === null;
    } catch (error) {
      if (isAborted(error)) {
        this.isDone = true;
        return;
      }
      this.error = error;
    }
    this.onChange();
  }

  /** Clear the failure, so that loadUntil() goes on from there. */
  clearError() {
    this.error = null;
  }

  /** Cancel what is loading and load nothing more. */
  stop() {
    this.aborting.abort();
  }
}
