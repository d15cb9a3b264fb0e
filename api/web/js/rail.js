/** The years at the right edge: where in time the window is, and a way to go elsewhere. */

import { el, fill } from "./dom.js";

const READING_PX = 200; // how far below the top of the window one looks
const RESTS_AFTER_MS = 1200;
const LABEL_PX = 26; // years closer than this to the one above go unnamed

export class TimeRail {
  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.root = el("nav", { class: "rail", "aria-label": "Years", hidden: true });
    this.month = el("span", { class: "rail-month" });
    this.now = el("div", { class: "rail-now", "aria-hidden": "true" }, this.month);
    /** @type {import("./grid.js").Section[]} */
    this.sections = [];
    addEventListener("scroll", () => this.move(), { passive: true });
    addEventListener("resize", () => this.show(this.sections));
  }

  /** @param {import("./grid.js").Section[]} sections by month, and the undated photos */
  show(sections) {
    this.sections = sections;
    this.root.hidden = false; // to be measured
    const years = new Map();
    for (const { id, title } of sections) {
      const label = /^\d/.test(id) ? id.slice(0, 4) : title; // the undated photos have no year
      if (!years.has(label)) years.set(label, id);
    }
    const [height, whole] = [this.root.clientHeight, this.grid.root.offsetHeight];
    const start = sections.length ? this.grid.topOf(sections[0].id) : 0;
    let last = -LABEL_PX;
    const links = [...years].flatMap(([year, id]) => {
      const at = ((this.grid.topOf(id) - start) / whole) * height;
      if (at - last < LABEL_PX) return [];
      last = at;
      const go = () => scrollTo({ top: this.grid.topOf(id) - 120 });
      const link = el("button", {
        type: "button",
        class: "rail-year",
        text: year,
        on: { click: go },
      });
      link.style.top = `${at}px`;
      return [link];
    });
    fill(this.root, this.now, ...links);
    this.root.hidden = links.length < 2;
    this.follow();
  }

  /** Show where the window is. */
  follow() {
    if (this.root.hidden) return;
    const y = -this.grid.root.getBoundingClientRect().top;
    const share = Math.min(
      1,
      Math.max(0, y / Math.max(1, this.grid.root.offsetHeight - innerHeight)),
    );
    this.now.style.transform = `translateY(${share * this.root.clientHeight}px)`;
    this.month.textContent = this.sections[this.grid.sectionAt(y + READING_PX)]?.title ?? "";
  }

  /** Show where the window is and, for a while, which month that is. */
  move() {
    this.follow();
    this.now.classList.add("is-moving");
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.now.classList.remove("is-moving"), RESTS_AFTER_MS);
  }
}
