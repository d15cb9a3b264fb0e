/** What a search found: segments lit in their photos, best first; or photos with their hits lit. */

import { ask } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { libraryFacts } from "./facets.js";
import { Grid } from "./grid.js";
import { GROUP_PX, groupTile, hitTile, TILE_PX } from "./hits.js";
import { button, errorMessage, iconButton, message, notify, sentence } from "./message.js";
import { counted } from "./names.js";
import { Pager } from "./pager.js";
import { looksForSomething, searchRequest } from "./query.js";
import { addressFromState, go, hasFilter, noFilter, stateOf } from "./router.js";
import { coverageSentence, Uncut } from "./uncut.js";

/** @typedef {import("./router.js").State} State */

const PAGE = { hits: 60, groups: 30 };
const KEPT = 12; // searches whose results are kept for the way back
const SLOW_MS = 1500;

/** @param {any} entry a segment, or a photo with its segments @returns {string} */
const idOf = (entry) => entry.segment_id ?? entry.photo_id;

export class Results {
  /** @param {HTMLElement} root @param {() => void} update go on with bringing the library up to date */
  constructor(root, update) {
    this.root = root;
    this.isUpdating = false;
    this.key = "";
    /** @type {Map<string, Pager<any>>} */
    this.kept = new Map();
    this.title = el("h1");
    this.note = el("p", { class: "faint" });
    this.said = el("div");
    this.end = el("p", { class: "grid-end faint", hidden: true });
    this.uncut = new Uncut({
      state: () => /** @type {State} */ (this.state),
      leave: () => this.pager?.entries.length && this.grid.focus(0),
      action: () => this.coverageAction(),
    });
    this.part = el("h2", { class: "part-title", text: "Segments", hidden: true });
    this.again = button("Search again", () => this.searchAgain(), { class: "link-button" });
    this.update = button("Cut the rest", update, { class: "link-button", hidden: true });
    this.flat = this.makeGrid(TILE_PX - 20, 108, 0, hitTile);
    this.grouped = this.makeGrid(GROUP_PX - 40, 160, 34, groupTile);
    root.append(
      el("div", { class: "headline" }, this.title, this.note),
      this.uncut.line,
      this.said,
      this.uncut.root,
      this.part,
      this.flat.root,
      this.grouped.root,
      this.end,
    );
  }

  /** @param {number} cellPx @param {number} narrowPx @param {number} captionPx
   * @param {(entry: any, state: () => State) => HTMLElement} render */
  makeGrid(cellPx, narrowPx, captionPx, render) {
    return new Grid(el("div"), {
      label: "Results, best first",
      cellPx,
      narrowPx,
      captionPx,
      render: (entry) => render(entry, () => /** @type {State} */ (this.state)),
      entryOf: (_, index) => this.pager?.entries[index] ?? null,
      need: (_, __, to) => this.pager?.reach(to),
      beyond: (step) => step < 0 && this.uncut.photos.length && this.uncut.grid.focus(0),
    });
  }

  get grid() {
    return this.state?.byPhoto ? this.grouped : this.flat;
  }

  /** @param {State} state @returns {Promise<void>} */
  async show(state) {
    const hadFocus = this.root.contains(document.activeElement);
    this.state = state;
    this.root.classList.toggle("has-scores", state.scores);
    this.title.textContent = state.words ? `“${state.words}”` : "Things like this";
    this.flat.root.hidden = state.byPhoto;
    this.grouped.root.hidden = !state.byPhoto;
    fill(this.said);
    if (!looksForSomething(state)) return this.showNothingAsked(state);
    const key = addressFromState(stateOf({ ...state, scores: false }));
    const isNew = key !== this.key;
    this.key = key;
    this.pager = this.kept.get(key) ?? this.begin(key, state);
    this.changed(this.pager);
    if (isNew || !this.pager.entries.length) await this.pager.reach(1);
    if (hadFocus && isNew && key === this.key) this.focus(); // else it stays where it was
  }

  /** Give the focus to the best that was found. */
  focus() {
    if (this.pager?.entries.length) this.grid.focus(0);
    else if (this.uncut.photos.length) this.uncut.grid.focus(0);
  }

  /** @param {string} key @param {State} state @returns {Pager<any>} */
  begin(key, state) {
    const limit = state.byPhoto ? PAGE.groups : PAGE.hits;
    /** @type {Promise<object>|null} */
    let request = null;
    /** @type {Pager<any>} */
    const pager = new Pager(
      async (cursor, signal) => {
        request ??= searchRequest(state);
        const body = { ...(await request), limit, ...(cursor ? { cursor } : {}) };
        const page = await ask("POST", "/v1/search", { body, signal });
        const { cursor: next, uncut, coverage } = page;
        // what was cut meanwhile pushes others down, from the last page to this one
        const shown = new Set(pager.entries.map(idOf));
        const entries = (page.groups ?? page.hits).filter((entry) => !shown.has(idOf(entry)));
        return { entries, cursor: next, uncut, coverage };
      },
      () => pager === this.pager && this.changed(pager),
    );
    this.kept.set(key, pager);
    for (const old of [...this.kept.keys()].slice(0, -KEPT)) this.kept.delete(old);
    this.explainIfSlow(pager);
    return pager;
  }

  /** Models load at the first search: say so if it takes a while. @param {Pager<any>} pager */
  explainIfSlow(pager) {
    setTimeout(async () => {
      const isWaiting = () =>
        pager === this.pager && !pager.entries.length && !pager.isDone && !pager.error;
      if (!isWaiting()) return;
      const response = await fetch("/ready").catch(() => null);
      if (isWaiting() && response?.status === 503) {
        this.note.textContent = "The models are being loaded. The first search waits for them.";
      }
    }, SLOW_MS);
  }

  /** @param {Pager<any>} pager */
  changed(pager) {
    const { entries, isDone, error } = pager;
    const waiting = isDone || error ? 0 : entries.length ? this.grid.columns * 2 || 12 : 30;
    this.end.hidden = !isDone || !entries.length;
    this.end.textContent = this.state?.byPhoto
      ? `That is everything: ${counted(entries.length, "photo")}.`
      : `That is everything: ${counted(entries.length, "segment")}, without repeats.`;
    this.grid.setSections([{ id: this.key, title: "", count: entries.length + waiting }]);
    this.showCoverage(pager);
    const found = entries.length + this.uncut.photos.length;
    if (found && entries.length <= PAGE.hits) {
      const { coverage } = pager.first;
      const covered = coverage ? ` ${coverageSentence(coverage)}` : "";
      announce(`Results are here, best first.${covered}`);
    }
    if (found || error) this.note.textContent = found ? "best first" : "";
    if (error && entries.length) this.sayStopped(error, pager);
    else if (error)
      fill(
        this.said,
        errorMessage(error, () => this.retry(pager)),
      );
    else if (isDone && !found) this.showNothingFound();
    else fill(this.said, entries.length > 0 && this.starterNote());
  }

  /** @param {Pager<any>} pager */
  showCoverage({ first, entries, isDone }) {
    if (!first) this.uncut.hide();
    else this.uncut.show(first.uncut, first.coverage, isDone && !entries.length);
    this.part.hidden = !first?.uncut.length || !entries.length;
  }

  /** What can be done while not all is cut. @returns {HTMLElement|null} */
  coverageAction() {
    if (this.isUpdating) return this.again;
    libraryFacts().then(
      (facts) => (this.update.hidden = !facts.may_change),
      () => {},
    );
    return this.update;
  }

  /** Photos are being cut now, or no more. @param {boolean} isUpdating */
  setUpdating(isUpdating) {
    this.isUpdating = isUpdating;
    if (this.pager?.first) this.showCoverage(this.pager);
  }

  /** More may be cut by now. */
  searchAgain() {
    this.forget();
    if (this.state) this.show(this.state);
  }

  /** A later page failed: what is here stays. @param {any} error @param {Pager<any>} pager */
  sayStopped(error, pager) {
    notify(`${sentence(error.message)} There is more to show.`, {
      label: "Try again",
      act: () => this.retry(pager),
    });
  }

  /** @param {Pager<any>} pager */
  retry(pager) {
    pager.retry();
    if (!pager.entries.length) this.kept.delete(this.key);
    if (this.state) this.show(this.state);
  }

  /** A line for libraries of the starter models, which don't know names; null if it needs none. */
  starterNote() {
    if (!this.state?.words || localStorage.getItem("starter-note") === "read") return null;
    const line = el("p", { class: "note", hidden: true });
    const close = iconButton("close", "Hide this note", () => {
      localStorage.setItem("starter-note", "read");
      line.remove();
    });
    line.append(
      "This library was made with the starter models: they know colors and shapes, not names. " +
        "“Red” or “green circle” work; “bicycle” does not.",
      close,
    );
    libraryFacts().then(
      (facts) => (line.hidden = !facts.starter_models),
      () => {},
    );
    return line;
  }

  /** @param {State} state */
  showNothingAsked(state) {
    this.key = "";
    this.pager = null;
    this.title.textContent = "What should be found?";
    this.note.textContent = "";
    this.end.hidden = this.part.hidden = true;
    this.uncut.hide();
    this.grid.setSections([]);
    const browse = button("Browse the library", () => go(stateOf({ filter: state.filter })));
    fill(
      this.said,
      message({
        sign: "search",
        title: "Nothing to look for yet",
        text: ["Type words above, or drop a picture anywhere on this page."],
        actions: [browse],
      }),
    );
  }

  showNothingFound() {
    const state = /** @type {State} */ (this.state);
    const isFiltered = hasFilter(state.filter);
    const isPartial = Boolean(this.pager?.first?.coverage);
    this.note.textContent = "";
    const clear = button("Remove the filters", () => go({ ...state, filter: noFilter() }));
    fill(
      this.said,
      message({
        sign: "search",
        title: "Nothing found",
        text: [
          isFiltered
            ? "No segment passes these filters."
            : isPartial
              ? "Nothing is cut into segments yet."
              : "The library has no segments yet. Bring in photos with segsearch ingest.",
        ],
        actions: isFiltered ? [clear] : [],
      }),
    );
  }

  /** Results no longer hold: photos came or went. */
  forget() {
    this.kept.clear();
    this.key = "";
  }

  /** @param {string} id @returns {string[]} ids of the photos among which one was found, in order */
  photoIdsAround(id) {
    const idsOf = (/** @type {any[]} */ found) => [...new Set(found.map((one) => one.photo_id))];
    const uncut = idsOf(this.uncut.photos);
    return uncut.includes(id) ? uncut : idsOf(this.pager?.entries ?? []);
  }
}
