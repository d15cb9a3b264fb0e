/** What is not cut into segments yet: how much that is, and the photos found as a whole meanwhile. */

import { el, fill } from "./dom.js";
import { Grid } from "./grid.js";
import { wholeTile } from "./hits.js";
import { button } from "./message.js";
import { counted } from "./names.js";

/** @typedef {import("./router.js").State} State */
/**
 * As the API sends it.
 * @typedef {{photos: number, photos_segmented: number, files_waiting: number}} Coverage
 */
/**
 * @typedef {object} UncutOptions
 * @property {() => State} state the search that is shown
 * @property {() => void} leave the row of photos is left downwards, by key
 * @property {() => HTMLElement|null} action what can be done about it
 */

const CELL_PX = 124;
const NARROW_PX = 100;

export class Uncut {
  /** @param {UncutOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {any[]} */
    this.photos = [];
    this.isOpen = false; // all photos are shown, not only one row of them
    this.line = el("p", { class: "coverage faint", hidden: true });
    this.all = button("", () => this.open(!this.isOpen), { class: "quiet-button" });
    this.grid = new Grid(el("div"), {
      label: "Whole photos that are not cut yet, best first",
      cellPx: CELL_PX,
      narrowPx: NARROW_PX,
      render: (photo) => wholeTile(photo, options.state),
      entryOf: (_, index) => this.photos[index] ?? null,
      need: () => {},
      beyond: (step) => step > 0 && options.leave(),
    });
    const title = el("h2", { class: "part-title", text: "Whole photos, not cut yet" });
    this.head = el("div", { class: "part-head" }, title, this.all);
    this.root = el("div", { class: "uncut", hidden: true }, this.head, this.grid.root);
    addEventListener("resize", () => this.layOut());
  }

  /**
   * Show what a search found as whole photos, and how much it went over.
   * @param {any[]} photos best first
   * @param {Coverage|null} coverage null: all is cut
   * @param {boolean} isAll nothing else was found: show all of them
   */
  show(photos, coverage, isAll) {
    this.line.hidden = !coverage;
    if (coverage) fill(this.line, `${coverageSentence(coverage)} `, this.options.action());
    this.root.hidden = !photos.length;
    this.all.hidden = isAll;
    if (photos !== this.photos) this.isOpen = false;
    this.photos = photos;
    this.isOpen ||= isAll;
    this.layOut();
  }

  hide() {
    this.show([], null, false);
  }

  /** @param {boolean} isOpen */
  open(isOpen) {
    this.isOpen = isOpen;
    this.layOut();
  }

  /** One row, or all. */
  layOut() {
    if (this.root.hidden) return this.grid.setSections([]);
    this.grid.measure();
    const { length } = this.photos;
    const count = this.isOpen ? length : Math.min(length, this.grid.columns);
    this.grid.setSections([{ id: "uncut", title: "", count }]);
    this.grid.reach(Math.min(this.grid.focused, Math.max(0, count - 1)));
    this.all.textContent = this.isOpen ? "Show fewer" : `Show ${length}`;
    this.all.setAttribute("aria-expanded", String(this.isOpen));
    this.all.style.visibility = length > this.grid.columns ? "" : "hidden";
  }
}

/** @param {Coverage} coverage @returns {string} */
export function coverageSentence({ photos, photos_segmented: cut, files_waiting: waiting }) {
  const are = photos === 1 ? "is" : "are";
  const rest = cut ? "the others are" : "until then, photos are";
  const whole = cut < photos ? `; ${rest} found as a whole` : "";
  const searched = `${cut.toLocaleString("en")} of ${counted(photos, "photo")} ${are} cut into segments so far${whole}.`;
  const left = `${counted(waiting, "file")} not looked at yet.`;
  return [photos && searched, waiting && left].filter(Boolean).join(" ");
}
