/** A list that comes in pages, each with the cursor of the next. */

import { isAborted } from "./api.js";

/** @template T */
export class Pager {
  /**
   * @param {(cursor: string|null, signal: AbortSignal) => Promise<{entries: T[], cursor: string|null}>} fetchPage
   * @param {() => void} [changed] called after every page and every failure
   */
  constructor(fetchPage, changed = () => {}) {
    /** @type {T[]} */
    this.entries = [];
    this.isDone = false;
    this.wanted = 0; // so many entries were asked for
    /** @type {Promise<void>|null} */
    this.loading = null;
    /** @type {any} */
    this.error = null;
    this.changed = changed;
    this.fetchPage = fetchPage;
    /** @type {string|null} */
    this.cursor = null;
    /** @type {any} the first page, with what else came with it */
    this.first = null;
    this.aborting = new AbortController();
  }

  /**
   * Load until so many entries are here, or all, or it failed; then stop.
   * @param {number} count
   * @returns {Promise<void>}
   */
  reach(count) {
    this.wanted = Math.max(this.wanted, count);
    this.loading ??= this.load().finally(() => (this.loading = null));
    return this.loading;
  }

  async load() {
    while (!this.isDone && !this.error && this.entries.length < this.wanted) await this.loadPage();
  }

  async loadPage() {
    try {
      const page = await this.fetchPage(this.cursor, this.aborting.signal);
      this.first ??= page;
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
    this.changed();
  }

  /** Forget a failure and go on from there. */
  retry() {
    this.error = null;
  }

  /** Ask for nothing more. */
  stop() {
    this.aborting.abort();
  }
}
