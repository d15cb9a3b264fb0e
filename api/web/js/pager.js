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
    this.isLoading = false;
    /** @type {any} */
    this.error = null;
    this.changed = changed;
    this.fetchPage = fetchPage;
    /** @type {string|null} */
    this.cursor = null;
    this.aborting = new AbortController();
  }

  /**
   * Load until so many entries are here, or all, or it failed.
   * @param {number} count
   */
  async reach(count) {
    if (this.isLoading || this.error) return;
    this.isLoading = true;
    while (!this.isDone && !this.error && this.entries.length < count) await this.loadPage();
    this.isLoading = false;
  }

  async loadPage() {
    try {
      const page = await this.fetchPage(this.cursor, this.aborting.signal);
      this.entries.push(...page.entries);
      this.cursor = page.cursor;
      this.isDone = page.cursor === null || page.entries.length === 0;
    } catch (error) {
      if (isAborted(error)) return this.stopped();
      this.error = error;
    }
    this.changed();
  }

  stopped() {
    this.isDone = true;
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
