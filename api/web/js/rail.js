/** The years at the right edge: where in time the window is, and a way to go elsewhere. */

import { el, fill } from "./dom.js";

const LABEL_PX = 26; // years closer than this to the one above go unnamed

export class TimeRail {
  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.root = el("nav", { class: "rail", "aria-label": "Years", hidden: true });
    this.now = el("div", { class: "rail-now", "aria-hidden": "true" });
    /** @type {import("./grid.js").Section[]} */
    this.sections = [];
    addEventListener("scroll", () => this.follow(), { passive: true });
    addEventListener("resize", () => this.show(this.sections));
  }

  /** @param {import("./grid.js").Section[]} sections by month */
  show(sections) {
    this.sections = sections;
    const years = new Map();
    for (const { id } of sections) if (!years.has(id.slice(0, 4))) years.set(id.slice(0, 4), id);
    const [height, whole] = [this.root.clientHeight || innerHeight * 0.7, document.body.scrollHeight];
    let last = -LABEL_PX;
    const links = [...years].flatMap(([year, id]) => {
      const at = (this.grid.topOf(id) / whole) * height;
      if (at - last < LABEL_PX) return [];
      last = at;
      const go = () => scrollTo({ top: this.grid.topOf(id) - 120 });
      const link = el("button", { type: "button", class: "rail-year", text: year, on: { click: go } });
      link.style.top = `${at}px`;
      return [link];
    });
    fill(this.root, this.now, ...links);
    this.root.hidden = links.length < 2;
    this.follow();
  }

  follow() {
    if (this.root.hidden) return;
    const share = scrollY / Math.max(1, document.body.scrollHeight);
    this.now.style.transform = `translateY(${share * this.root.clientHeight}px)`;
  }
}
