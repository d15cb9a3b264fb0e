/**
 * A virtual grid of squares: of its sections, whose lengths are known, only the cells near the
 * viewport are in the document. A cell's position follows from its number, so that nothing moves
 * while entries load, and any part of a long list can be scrolled to at once.
 */

import { el } from "./dom.js";

/**
 * A run of cells under one heading ("" for none).
 * @typedef {{id: string, title: string, detail?: string, count: number}} Section
 */
/**
 * @template Entry
 * @typedef {object} GridOptions
 * @property {string} label what a screen reader calls the grid
 * @property {number} cellPx minimum width of a cell
 * @property {number} [narrowCellPx] the same on narrow screens
 * @property {number} [captionPx] height below each square
 * @property {(section: Section, index: number) => Entry|null} entryOf null: not loaded yet
 * @property {(entry: Entry) => HTMLElement} render create a cell; the element in it that takes the
 *   focus has `data-focus`
 * @property {(section: Section, to: number) => void} load entries before `to` are near the viewport
 * @property {(step: number) => void} [onLeave] an arrow key leads out of the grid: up (-1) or down
 *   (1)
 */

const GAP_PX = 10;
const NARROW_GAP_PX = 4;
const NARROW_PX = 640;
const HEADING_PX = 64;
const OVERSCAN_PX = 900; // cells are created this far above and below the viewport

/** @template Entry */
export class Grid {
  /** @param {HTMLElement} root @param {GridOptions<Entry>} options */
  constructor(root, options) {
    this.options = options;
    this.root = root;
    this.root.classList.add("grid");
    this.headings = el("div", { class: "grid-headings" });
    this.cells = el("div", { role: "list", "aria-label": options.label });
    this.root.append(this.headings, this.cells);
    /** @type {Section[]} */
    this.sections = [];
    /** @type {Map<string, {node: HTMLElement, entry: Entry|null}>} by keyOf() */
    this.rendered = new Map();
    /** @type {{top: number, first: number, body: number}[]} */
    this.layout = []; // each section's top, its first cell's number, and where its cells begin
    this.gap = GAP_PX;
    this.columns = 1;
    this.cell = 0;
    this.rowPx = 1;
    this.total = 0;
    this.tabStop = 0; // the number of the cell that Tab reaches
    this.frame = 0;
    addEventListener("scroll", () => this.refreshSoon(), { passive: true });
    new ResizeObserver(() => this.measure()).observe(this.root);
    this.cells.addEventListener("keydown", (event) => this.onKey(event));
    this.cells.addEventListener("focusin", (event) => this.onFocus(event));
  }

  /** Show other sections. @param {Section[]} sections */
  setSections(sections) {
    this.sections = sections;
    this.measure();
  }

  /** Compute the layout: the width or the sections changed. */
  measure() {
    const width = this.root.clientWidth;
    if (!width) return;
    const isNarrow = innerWidth < NARROW_PX;
    const { cellPx, narrowCellPx = cellPx, captionPx = 0 } = this.options;
    this.gap = isNarrow ? NARROW_GAP_PX : GAP_PX;
    this.columns = Math.max(
      2,
      Math.floor((width + this.gap) / ((isNarrow ? narrowCellPx : cellPx) + this.gap)),
    );
    this.cell = (width - this.gap * (this.columns - 1)) / this.columns;
    this.rowPx = this.cell + captionPx + this.gap;
    let [top, first] = [0, 0];
    this.layout = this.sections.map((section) => {
      const headingPx = section.title ? HEADING_PX : 0;
      const place = { top, first, body: top + headingPx };
      top = place.body + Math.ceil(section.count / this.columns) * this.rowPx;
      first += section.count;
      return place;
    });
    this.total = first;
    this.root.style.height = `${top}px`;
    this.refresh(true);
  }

  refreshSoon() {
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.refresh();
      });
    }
  }

  /** Create the cells near the viewport and remove the others.
   * @param {boolean} [isMoved] the layout changed */
  refresh(isMoved = false) {
    if (!this.root.isConnected || !this.root.offsetParent) return;
    const above = this.root.getBoundingClientRect().top;
    const [from, to] = [-above - OVERSCAN_PX, -above + innerHeight + OVERSCAN_PX];
    /** @type {Set<string>} */
    const visible = new Set();
    const headings = [];
    for (let i = this.sectionAt(from); i < this.sections.length && this.layout[i].top < to; i++) {
      if (this.sections[i].title) headings.push(this.heading(i));
      const [first, last] = this.rowsWithin(i, from, to);
      if (first < last) this.options.load(this.sections[i], last);
      for (let index = first; index < last; index++) visible.add(this.show(i, index, isMoved));
    }
    this.headings.replaceChildren(...headings);
    const kept = this.cells.contains(document.activeElement) ? this.keyOf(this.tabStop) : "";
    for (const [key, { node }] of this.rendered) {
      if (visible.has(key) || key === kept) continue;
      node.remove();
      for (const image of node.querySelectorAll("img")) {
        if (!image.complete) image.removeAttribute("src"); // cancels the request
      }
      this.rendered.delete(key);
    }
  }

  /** The index of the section at a height, by bisection. @param {number} y @returns {number} */
  sectionAt(y) {
    let [low, high] = [0, this.sections.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.layout[middle].top > y) high = middle;
      else low = middle;
    }
    return low;
  }

  /**
   * @param {number} i
   * @param {number} from
   * @param {number} to
   * @returns {[first: number, end: number]}
   */
  rowsWithin(i, from, to) {
    const { count } = this.sections[i];
    const row = (/** @type {number} */ y) => Math.floor((y - this.layout[i].body) / this.rowPx);
    const first = Math.max(0, row(from)) * this.columns;
    return [Math.min(first, count), Math.min(count, Math.max(0, row(to) + 1) * this.columns)];
  }

  /** Create a cell, or replace it if its entry has loaded. @returns {string} its key
   * @param {number} i @param {number} index @param {boolean} isMoved */
  show(i, index, isMoved) {
    const section = this.sections[i];
    const key = `${section.id}/${index}`;
    const entry = this.options.entryOf(section, index);
    let cell = this.rendered.get(key);
    if (cell && cell.entry === entry && !isMoved) return key;
    if (!cell || cell.entry !== entry) {
      const hadFocus = cell?.node.contains(document.activeElement);
      const node = this.createCell(entry);
      if (cell) cell.node.replaceWith(node);
      else this.insert(node, this.layout[i].first + index);
      this.rendered.set(key, (cell = { node, entry }));
      if (hadFocus) focusWithin(node);
    }
    this.place(cell.node, i, index);
    return key;
  }

  /** @param {Entry|null} entry @returns {HTMLElement} */
  createCell(entry) {
    const node = entry ? this.options.render(entry) : el("div", { class: "cell is-waiting" });
    node.setAttribute("role", "listitem");
    return node;
  }

  /** Insert a cell in reading order. @param {HTMLElement} node @param {number} number */
  insert(node, number) {
    node.dataset.number = String(number);
    const numberOf = (/** @type {Element} */ cell) =>
      Number(cell instanceof HTMLElement ? cell.dataset.number : -1);
    let before = this.cells.lastElementChild;
    while (before && numberOf(before) > number) before = before.previousElementSibling;
    if (before) before.after(node);
    else this.cells.prepend(node);
  }

  /** @param {HTMLElement} node @param {number} i @param {number} index */
  place(node, i, index) {
    const { body, first } = this.layout[i];
    const x = (index % this.columns) * (this.cell + this.gap);
    const y = body + Math.floor(index / this.columns) * this.rowPx;
    node.style.width = `${this.cell}px`;
    node.style.transform = `translate(${x}px, ${y}px)`;
    node.dataset.number = String(first + index);
    node.setAttribute("aria-posinset", String(first + index + 1));
    node.setAttribute("aria-setsize", String(this.total));
    setTabbable(node, first + index === this.tabStop);
  }

  /** @param {number} i @returns {HTMLElement} */
  heading(i) {
    const { id, title, detail = "" } = this.sections[i];
    const node = el(
      "h2",
      { class: "grid-heading", data: { section: id } },
      title,
      el("span", { class: "faint", text: detail }),
    );
    node.style.transform = `translateY(${this.layout[i].top}px)`;
    return node;
  }

  /** @param {number} number @returns {[section: number, index: number]} */
  cellAt(number) {
    let i = this.layout.findLastIndex(({ first }) => first <= number);
    while (i > 0 && !this.sections[i].count) i--;
    return [i, number - this.layout[i].first];
  }

  /** @param {number} number @returns {string} */
  keyOf(number) {
    if (!this.total) return "";
    const [i, index] = this.cellAt(number);
    return `${this.sections[i].id}/${index}`;
  }

  /** @param {FocusEvent} event */
  onFocus(event) {
    lastUsed = this.cells;
    const node = /** @type {Element} */ (event.target).closest("[data-number]");
    if (node instanceof HTMLElement) this.setTabStop(Number(node.dataset.number));
  }

  /** Make a cell the one that Tab reaches. @param {number} number */
  setTabStop(number) {
    if (number === this.tabStop) return;
    this.tabStop = number;
    for (const { node } of this.rendered.values()) {
      setTabbable(node, Number(node.dataset.number) === number);
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.total - 1;
    const page = Math.max(1, Math.floor(innerHeight / this.rowPx)) * this.columns;
    const to = {
      ArrowLeft: this.tabStop - 1,
      ArrowRight: this.tabStop + 1,
      ArrowUp: this.below(-1),
      ArrowDown: this.below(1),
      Home: 0,
      End: last,
      PageUp: Math.max(0, this.tabStop - page),
      PageDown: Math.min(last, this.tabStop + page),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to <= last) this.focus(to);
    else if (event.key === "ArrowUp") this.options.onLeave?.(-1);
    else if (event.key === "ArrowDown") this.options.onLeave?.(1);
  }

  /** The number of the cell in the next row, if need be of the next section.
   * @param {number} step 1 or -1 @returns {number} -1: there is none */
  below(step) {
    const [i, index] = this.cellAt(this.tabStop);
    const [column, { count }] = [index % this.columns, this.sections[i]];
    const to = index + step * this.columns;
    if (to >= 0 && to < count) return this.tabStop + step * this.columns;
    const lastRow = Math.floor((count - 1) / this.columns);
    if (step > 0 && Math.floor(index / this.columns) < lastRow)
      return this.layout[i].first + count - 1;
    const next = this.sections[i + step];
    if (!next) return -1;
    const { first } = this.layout[i + step];
    if (step > 0) return first + Math.min(column, next.count - 1);
    const row = Math.floor((next.count - 1) / this.columns) * this.columns;
    return first + Math.min(row + column, next.count - 1);
  }

  /** Scroll a cell into view and focus it. @param {number} number */
  focus(number) {
    this.setTabStop(number);
    const [i, index] = this.cellAt(number);
    const top = this.layout[i].body + Math.floor(index / this.columns) * this.rowPx;
    const y = this.root.getBoundingClientRect().top + top;
    const head = document.querySelector("header")?.offsetHeight ?? 0;
    if (y < head + this.gap) scrollBy(0, y - head - HEADING_PX);
    else if (y + this.rowPx > innerHeight) scrollBy(0, y + this.rowPx - innerHeight + this.gap);
    this.refresh();
    const cell = this.rendered.get(this.keyOf(number));
    if (cell) focusWithin(cell.node);
  }

  /** Where a section begins, from the top of the document. @param {string} id @returns {number} */
  topOf(id) {
    const i = this.sections.findIndex((section) => section.id === id);
    return i < 0 ? 0 : this.root.getBoundingClientRect().top + scrollY + this.layout[i].top;
  }
}

/** Focus the link in a cell, or the cell itself while it loads. @param {HTMLElement} node */
function focusWithin(node) {
  const target = node.querySelector("[data-focus]");
  if (target instanceof HTMLElement) return target.focus({ preventScroll: true });
  node.tabIndex = -1;
  node.focus({ preventScroll: true });
}

/** @param {HTMLElement} node a cell @param {boolean} isTabbable */
function setTabbable(node, isTabbable) {
  node.classList.toggle("is-tab-stop", isTabbable);
  for (const control of node.querySelectorAll("a, button")) {
    if (control instanceof HTMLElement) control.tabIndex = isTabbable ? 0 : -1;
  }
}

/** @type {HTMLElement|null} the cells of the grid that had the focus last */
let lastUsed = null;

/** Focus the cell that Tab reaches in the first visible grid. */
export function focusTabStop() {
  const cells = document.querySelectorAll("main .grid .is-tab-stop [data-focus]");
  focusVisible([...cells]);
}

/** Focus the cell that a photo was opened from. */
export function focusLastUsed() {
  const cells = [...(lastUsed?.querySelectorAll(".is-tab-stop [data-focus]") ?? [])];
  if (!focusVisible(cells)) focusTabStop();
}

/** @param {Element[]} cells @returns {boolean} whether one of them is visible */
function focusVisible(cells) {
  const cell = cells.find((one) => one.checkVisibility());
  if (cell instanceof HTMLElement) cell.focus({ preventScroll: true });
  return Boolean(cell);
}
