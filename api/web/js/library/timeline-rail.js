/** The years at the right edge: they show the position in time, and a click scrolls to a year. */

import { el, fill } from "../shared/dom.js";
import { clamp } from "../shared/geometry.js";

/** @typedef {import("../shared/grid.js").Section} Section */

const READING_LINE_PX = 200; // below the top of the viewport
const HEADER_PX = 120;
const MONTH_SHOWN_MS = 1200; // after scrolling ends
const LABEL_PX = 26; // a year closer than this to the label above gets none

export class TimelineRail {
  /** @param {import("../shared/grid.js").Grid<import("../shared/api.js").Photo>} grid */
  constructor(grid) {
    this.grid = grid;
    this.root = el("nav", { class: "rail", "aria-label": "Years", hidden: true });
    this.month = el("span", { class: "rail-month" });
    this.marker = el("div", { class: "rail-marker", "aria-hidden": "true" }, this.month);
    /** @type {Section[]} */
    this.sections = [];
    addEventListener("scroll", () => this.onScroll(), { passive: true });
    addEventListener("resize", () => this.show(this.sections));
  }

  /** @param {Section[]} sections of the grid: months, then the undated photos */
  show(sections) {
    this.sections = sections;
    this.root.hidden = false; // to be measured
    /** @type {Map<string, string>} the id of each label's first section */
    const years = new Map();
    for (const { id, title } of sections) {
      const label = /^\d/.test(id) ? id.slice(0, 4) : title; // undated photos have no year
      if (!years.has(label)) years.set(label, id);
    }
    const { clientHeight: height } = this.root;
    const start = sections.length ? this.grid.topOf(sections[0].id) : 0;
    let last = -LABEL_PX;
    const buttons = [...years].flatMap(([year, id]) => {
      const share = (this.grid.topOf(id) - start) / this.grid.root.offsetHeight;
      const top = share * height;
      if (top - last < LABEL_PX) return [];
      last = top;
      const scroll = () => scrollTo({ top: this.grid.topOf(id) - HEADER_PX });
      const button = el("button", {
        type: "button",
        class: "rail-year",
        text: year,
        on: { click: scroll },
      });
      button.style.top = `${top}px`;
      return [button];
    });
    fill(this.root, this.marker, ...buttons);
    this.root.hidden = buttons.length < 2;
    this.update();
  }

  /** Move the marker to the scroll position. */
  update() {
    if (this.root.hidden) return;
    const y = -this.grid.root.getBoundingClientRect().top;
    const share = clamp(y / Math.max(1, this.grid.root.offsetHeight - innerHeight), 0, 1);
    this.marker.style.transform = `translateY(${share * this.root.clientHeight}px)`;
    const section = this.sections[this.grid.sectionAt(y + READING_LINE_PX)];
    this.month.textContent = section?.title ?? "";
  }

  /** Show the month while the page scrolls. */
  onScroll() {
    this.update();
    this.marker.classList.add("is-moving");
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => this.marker.classList.remove("is-moving"), MONTH_SHOWN_MS);
  }
}
