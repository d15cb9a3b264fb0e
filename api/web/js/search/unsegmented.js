/**
 * Photos that are not segmented yet: how many there are, and those that a search finds as a whole.
 */

import { el, fill } from "../shared/dom.js";
import { countLabel, numberLabel } from "../shared/format.js";
import { Grid } from "../shared/grid.js";
import { button } from "../shared/messages.js";
import { photoTile } from "./result-tiles.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../shared/api.js").WholePhoto} WholePhoto */
/** @typedef {import("../shared/api.js").Coverage} Coverage */
/**
 * @typedef {object} UnsegmentedOptions
 * @property {() => State} getState the search that is shown
 * @property {() => void} onLeaveBelow an arrow key leads out of the photos, downwards
 * @property {() => HTMLElement|null} createAction a button beside the coverage, or none
 */

const CELL_PX = 124;
const NARROW_CELL_PX = 100;

export class UnsegmentedPhotos {
  /** @param {UnsegmentedOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {WholePhoto[]} */
    this.photos = [];
    this.isExpanded = false; // all photos are shown, not only the first row
    this.coverage = el("p", { class: "coverage faint", hidden: true });
    this.expand = button("", () => this.setExpanded(!this.isExpanded), { class: "quiet-button" });
    /** @type {Grid<WholePhoto>} */
    this.grid = new Grid(el("div"), {
      label: "Whole photos that are not segmented yet, best first",
      cellPx: CELL_PX,
      narrowCellPx: NARROW_CELL_PX,
      render: (photo) => photoTile(photo, options.getState),
      entryOf: (_, index) => this.photos[index] ?? null,
      load: () => {},
      onLeave: (step) => step > 0 && options.onLeaveBelow(),
    });
    const title = el("h2", { class: "part-title", text: "Whole photos, not segmented yet" });
    const head = el("div", { class: "part-head" }, title, this.expand);
    this.root = el("div", { class: "unsegmented", hidden: true }, head, this.grid.root);
    addEventListener("resize", () => this.layOut());
  }

  /**
   * @param {WholePhoto[]} photos best first
   * @param {Coverage|null} coverage null: every photo is segmented
   * @param {boolean} isOnlyResult whether no segment was found: then all photos are shown
   */
  show(photos, coverage, isOnlyResult) {
    this.coverage.hidden = !coverage;
    if (coverage) fill(this.coverage, `${coverageLabel(coverage)} `, this.options.createAction());
    this.root.hidden = !photos.length;
    this.expand.hidden = isOnlyResult;
    if (photos !== this.photos) this.isExpanded = false;
    this.photos = photos;
    this.isExpanded ||= isOnlyResult;
    this.layOut();
  }

  hide() {
    this.show([], null, false);
  }

  /** @param {boolean} isExpanded */
  setExpanded(isExpanded) {
    this.isExpanded = isExpanded;
    this.layOut();
  }

  layOut() {
    if (this.root.hidden) return this.grid.setSections([]);
    this.grid.measure();
    const { length } = this.photos;
    const count = this.isExpanded ? length : Math.min(length, this.grid.columns);
    this.grid.setSections([{ id: "unsegmented", title: "", count }]);
    this.grid.setTabStop(Math.min(this.grid.tabStop, Math.max(0, count - 1)));
    this.expand.textContent = this.isExpanded ? "Show fewer" : `Show ${length}`;
    this.expand.setAttribute("aria-expanded", String(this.isExpanded));
    this.expand.style.visibility = length > this.grid.columns ? "" : "hidden";
  }
}

/** @param {Coverage} coverage @returns {string} */
export function coverageLabel({ photos, photos_segmented: segmented, files_waiting: files }) {
  const verb = photos === 1 ? "is" : "are";
  const rest = segmented
    ? "; the others are found as whole photos"
    : "; until then, photos are found as a whole";
  const share = `${numberLabel(segmented)} of ${countLabel(photos, "photo")}`;
  const progress = `${share} ${verb} segmented so far`;
  return [
    photos && `${progress}${segmented < photos ? rest : ""}.`,
    files && `${countLabel(files, "file")} not read yet.`,
  ]
    .filter(Boolean)
    .join(" ");
}
