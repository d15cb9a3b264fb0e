/** The results of a search: segments, best first, or photos with their segments highlighted. */

import { loadLibraryFacts } from "../filters/facets.js";
import { emptyFilter, go, hasFilter, stateOf, urlFromState } from "../router.js";
import { fetchHits, isLoadingModels } from "../shared/api.js";
import { announce, el, fill } from "../shared/dom.js";
import { countLabel, errorLabel } from "../shared/format.js";
import { Grid } from "../shared/grid.js";
import { button, errorMessage, iconButton, message, notify } from "../shared/messages.js";
import { Pager } from "../shared/pager.js";
import { hasQuery, searchRequest } from "./query.js";
import { GROUP_PX, groupTile, hitTile, TILE_PX } from "./result-tiles.js";
import { coverageLabel, UnsegmentedPhotos } from "./unsegmented.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../shared/api.js").Hit} Hit */
/** @typedef {import("../shared/api.js").PhotoGroup} PhotoGroup */
/** @typedef {import("../shared/api.js").WholePhoto} WholePhoto */
/** @typedef {import("../shared/api.js").Coverage} Coverage */
/** @typedef {Hit|PhotoGroup} Result a group in a search that is grouped by photo */
/** @typedef {Pager<Result, {uncut: WholePhoto[], coverage: Coverage|null}>} ResultPager */

const PAGE_SIZE = { hits: 60, groups: 30 };
const CACHED_SEARCHES = 12; // their results are kept for going back
const SLOW_MS = 1500;
const PLACEHOLDERS = 30; // cells that wait for the first page
const NOTE_KEY = "starter-note"; // in localStorage, once the note was closed

/** @param {Result} result @returns {string} */
const idOf = (result) => ("segment_id" in result ? result.segment_id : result.photo_id);

export class ResultsView {
  /**
   * @param {HTMLElement} root
   * @param {() => void} startUpdate segments what is not segmented yet
   */
  constructor(root, startUpdate) {
    this.root = root;
    this.state = stateOf({ view: "search" });
    this.key = ""; // the search that is shown, as its URL
    this.isUpdating = false;
    /** @type {ResultPager|null} */
    this.pager = null;
    /** @type {Map<string, ResultPager>} by key, oldest first */
    this.cache = new Map();
    this.title = el("h1");
    this.note = el("p", { class: "faint" });
    this.message = el("div");
    this.end = el("p", { class: "grid-end faint", hidden: true });
    this.unsegmented = new UnsegmentedPhotos({
      getState: () => this.state,
      onLeaveBelow: () => this.pager?.entries.length && this.grid.focus(0),
      createAction: () => this.coverageButton(),
    });
    this.segmentsTitle = el("h2", { class: "part-title", text: "Segments", hidden: true });
    this.searchAgain = button("Search again", () => this.repeatSearch(), { class: "link-button" });
    this.segmentRest = button("Segment the rest", startUpdate, {
      class: "link-button",
      hidden: true,
    });
    this.hitGrid = this.createGrid(TILE_PX - 20, 108, 0, (result) =>
      hitTile(/** @type {Hit} */ (result), () => this.state),
    );
    this.groupGrid = this.createGrid(GROUP_PX - 40, 160, 34, (result) =>
      groupTile(/** @type {PhotoGroup} */ (result), () => this.state),
    );
    root.append(
      el("div", { class: "headline" }, this.title, this.note),
      this.unsegmented.coverage,
      this.message,
      this.unsegmented.root,
      this.segmentsTitle,
      this.hitGrid.root,
      this.groupGrid.root,
      this.end,
    );
  }

  /** @param {number} cellPx @param {number} narrowCellPx @param {number} captionPx
   * @param {(result: Result) => HTMLElement} render @returns {Grid<Result>} */
  createGrid(cellPx, narrowCellPx, captionPx, render) {
    return new Grid(el("div"), {
      label: "Results, best first",
      cellPx,
      narrowCellPx,
      captionPx,
      render,
      entryOf: (_, index) => this.pager?.entries[index] ?? null,
      load: (_, to) => this.pager?.loadUntil(to),
      onLeave: (step) =>
        step < 0 && this.unsegmented.photos.length && this.unsegmented.grid.focus(0),
    });
  }

  get grid() {
    return this.state.byPhoto ? this.groupGrid : this.hitGrid;
  }

  /** @param {State} state @returns {Promise<void>} once the first page is here */
  async show(state) {
    const hadFocus = this.root.contains(document.activeElement);
    this.state = state;
    this.root.classList.toggle("has-scores", state.scores);
    this.title.textContent = state.words ? `“${state.words}”` : "Similar segments";
    this.hitGrid.root.hidden = state.byPhoto;
    this.groupGrid.root.hidden = !state.byPhoto;
    fill(this.message);
    if (!hasQuery(state)) return this.showNoQuery(state);
    const key = urlFromState(stateOf({ ...state, scores: false }));
    const isNew = key !== this.key;
    this.key = key;
    this.pager = this.cache.get(key) ?? this.startSearch(key, state);
    this.onPagerChange(this.pager);
    if (isNew || !this.pager.entries.length) await this.pager.loadUntil(1);
    if (hadFocus && isNew && key === this.key) this.focusFirst();
  }

  focusFirst() {
    if (this.pager?.entries.length) this.grid.focus(0);
    else if (this.unsegmented.photos.length) this.unsegmented.grid.focus(0);
  }

  /** @param {string} key @param {State} state @returns {ResultPager} */
  startSearch(key, state) {
    const limit = state.byPhoto ? PAGE_SIZE.groups : PAGE_SIZE.hits;
    /** @type {Promise<object>|null} */
    let request = null;
    /** @type {ResultPager} */
    const pager = new Pager(
      async (cursor, signal) => {
        request ??= searchRequest(state);
        const body = { ...(await request), limit, ...(cursor ? { cursor } : {}) };
        const page = await fetchHits(body, signal);
        // What was ingested in between moves results from the last page to this one.
        const known = new Set(pager.entries.map(idOf));
        const results = page.groups ?? page.hits ?? [];
        const entries = results.filter((result) => !known.has(idOf(result)));
        return { entries, cursor: page.cursor, uncut: page.uncut, coverage: page.coverage };
      },
      () => pager === this.pager && this.onPagerChange(pager),
    );
    this.cache.set(key, pager);
    for (const oldest of [...this.cache.keys()].slice(0, -CACHED_SEARCHES)) {
      this.cache.delete(oldest);
    }
    this.explainIfSlow(pager);
    return pager;
  }

  /** The first search loads the models: say so if it takes long. @param {ResultPager} pager */
  explainIfSlow(pager) {
    const isWaiting = () =>
      pager === this.pager && !pager.entries.length && !pager.isDone && !pager.error;
    setTimeout(async () => {
      if (isWaiting() && (await isLoadingModels()) && isWaiting()) {
        this.note.textContent = "The models are being loaded. The first search waits for them.";
      }
    }, SLOW_MS);
  }

  /** @param {ResultPager} pager */
  onPagerChange(pager) {
    const { entries, isDone, error } = pager;
    const next = entries.length ? this.grid.columns * 2 : PLACEHOLDERS;
    const count = entries.length + (isDone || error ? 0 : next);
    this.end.hidden = !isDone || !entries.length;
    this.end.textContent = this.state.byPhoto
      ? `End of results: ${countLabel(entries.length, "photo")}.`
      : `End of results: ${countLabel(entries.length, "segment")}.`;
    this.grid.setSections([{ id: this.key, title: "", count }]);
    this.showUnsegmented(pager);
    const found = entries.length + this.unsegmented.photos.length;
    if (found && entries.length <= PAGE_SIZE.hits) this.announceResults(pager);
    if (found || error) this.note.textContent = found ? "best first" : "";
    if (error && entries.length) {
      const retry = () => this.retry(pager);
      notify(`${errorLabel(error)} There are more results.`, {
        label: "Try again",
        onClick: retry,
      });
    } else if (error) {
      fill(
        this.message,
        errorMessage(error, () => this.retry(pager)),
      );
    } else if (isDone && !found) this.showNothingFound();
    else fill(this.message, entries.length > 0 && this.starterModelsNote());
  }

  /** @param {ResultPager} pager */
  announceResults({ firstPage }) {
    const coverage = firstPage?.coverage ? ` ${coverageLabel(firstPage.coverage)}` : "";
    announce(`Results are here, best first.${coverage}`);
  }

  /** @param {ResultPager} pager */
  showUnsegmented({ firstPage, entries, isDone }) {
    const isOnlyResult = isDone && !entries.length;
    if (!firstPage) this.unsegmented.hide();
    else this.unsegmented.show(firstPage.uncut, firstPage.coverage, isOnlyResult);
    this.segmentsTitle.hidden = !firstPage?.uncut.length || !entries.length;
  }

  /** The button beside the coverage. @returns {HTMLElement} */
  coverageButton() {
    if (this.isUpdating) return this.searchAgain;
    loadLibraryFacts().then(
      (library) => (this.segmentRest.hidden = !library.may_change),
      () => {},
    );
    return this.segmentRest;
  }

  /** @param {boolean} isUpdating whether an ingest job runs */
  setUpdating(isUpdating) {
    this.isUpdating = isUpdating;
    if (this.pager?.firstPage) this.showUnsegmented(this.pager);
  }

  repeatSearch() {
    this.clearCache();
    this.show(this.state);
  }

  /** @param {ResultPager} pager */
  retry(pager) {
    pager.clearError();
    if (!pager.entries.length) this.cache.delete(this.key);
    this.show(this.state);
  }

  /**
   * A note for libraries of the starter models, which know few things; null if it was
   * closed.
   * @returns {HTMLElement|null}
   */
  starterModelsNote() {
    if (!this.state.words || localStorage.getItem(NOTE_KEY) === "read") return null;
    const note = el("p", { class: "note", hidden: true });
    const close = iconButton("close", "Hide this note", () => {
      localStorage.setItem(NOTE_KEY, "read");
      note.remove();
    });
    note.append(
      "This library was made with the starter models, which are small. “Red”, “dog” or " +
        "“striped cup” may work; rarer things and whole sentences do not.",
      close,
    );
    loadLibraryFacts().then(
      (library) => (note.hidden = !library.starter_models),
      () => {},
    );
    return note;
  }

  /** @param {State} state */
  showNoQuery(state) {
    this.key = "";
    this.pager = null;
    this.title.textContent = "Search";
    this.note.textContent = "";
    this.end.hidden = this.segmentsTitle.hidden = true;
    this.unsegmented.hide();
    this.grid.setSections([]);
    const browse = button("Browse the library", () => go(stateOf({ filter: state.filter })));
    fill(
      this.message,
      message({
        sign: "search",
        title: "Nothing to search for yet",
        text: ["Type words above, or drop a picture anywhere on this page."],
        actions: [browse],
      }),
    );
  }

  showNothingFound() {
    const { state } = this;
    const isFiltered = hasFilter(state.filter);
    this.note.textContent = "";
    const clear = () => go({ ...state, filter: emptyFilter() });
    const reason = isFiltered
      ? "No segment matches these filters."
      : this.pager?.firstPage?.coverage
        ? "No photo is segmented yet."
        : "The library has no segments yet. Ingest photos with segsearch ingest.";
    fill(
      this.message,
      message({
        sign: "search",
        title: "Nothing found",
        text: [reason],
        actions: isFiltered ? [button("Remove the filters", clear)] : [],
      }),
    );
  }

  /** Forget all results: the library has changed. */
  clearCache() {
    this.cache.clear();
    this.key = "";
  }

  /** @param {string} id of a photo @returns {string[]} ids of the photos in the list that has it */
  photoIdsAround(id) {
    const unique = (/** @type {{photo_id: string}[]} */ found) => [
      ...new Set(found.map((one) => one.photo_id)),
    ];
    const unsegmented = unique(this.unsegmented.photos);
    return unsegmented.includes(id) ? unsegmented : unique(this.pager?.entries ?? []);
  }
}
