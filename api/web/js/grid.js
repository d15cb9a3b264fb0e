/**
 * A grid of squares that stays fast however long it is: sections of known length, of which only the
 * cells near the window are in the page. Every cell's place follows from its number, so nothing moves
 * while it loads and any part can be reached at once.
 */

import { el } from "./dom.js";

/**
 * A run of cells under one heading ("" for none).
 * @typedef {{id: string, title: string, detail?: string, count: number}} Section
 */
/**
 * @typedef {object} GridOptions
 * @property {string} label what a screen reader calls the grid
 * @property {number} cellPx how wide a cell should be, at least
 * @property {number} [narrowPx] the same on narrow screens
 * @property {number} [captionPx] room below each square
 * @property {(section: Section, index: number) => any} entryOf what stands there; null: not loaded
 * @property {(entry: any, section: Section, index: number) => HTMLElement} render a loaded cell; the
 *   element in it that takes the focus has `data-focus`
 * @property {(section: Section, from: number, to: number) => void} need these are close to the window
 * @property {(step: number) => void} [beyond] an arrow key led out of the grid: up (-1) or down (1)
 */

const GAP_PX = 10;
const NARROW_GAP_PX = 4;
const NARROW_PX = 640;
const HEADING_PX = 64;
const AHEAD_PX = 900; // how far beyond the window cells are made

export class Grid {
  /** @param {HTMLElement} root @param {GridOptions} options */
  constructor(root, options) {
    this.options = options;
    this.root = root;
    this.root.classList.add("grid");
    this.headings = el("div", { class: "grid-headings" });
    /** @type {HTMLElement} */
    this.cells = el("div", { role: "list", "aria-label": options.label });
    this.root.append(this.headings, this.cells);
    /** @type {Section[]} */
    this.sections = [];
    /** @type {Map<string, {node: HTMLElement, entry: any}>} */
    this.shown = new Map();
    /** @type {{top: number, first: number, body: number}[]} */
    this.places = []; // where each section begins, its first cell's number, where its cells begin
    this.gap = GAP_PX;
    this.columns = 1;
    this.cell = 0;
    this.rowPx = 1;
    this.total = 0;
    this.focused = 0; // the cell that Tab reaches
    this.frame = 0;
    this.onScroll = () => this.refreshSoon();
    addEventListener("scroll", this.onScroll, { passive: true });
    this.sizes = new ResizeObserver(() => this.measure());
    this.sizes.observe(this.root);
    this.cells.addEventListener("keydown", (event) => this.onKey(event));
    this.cells.addEventListener("focusin", (event) => this.onFocus(event));
  }

  /** Show other sections. @param {Section[]} sections */
  setSections(sections) {
    this.sections = sections;
    this.measure();
  }

  /** Lay everything out anew: the width or the sections changed. */
  measure() {
    const width = this.root.clientWidth;
    if (!width) return;
    const isNarrow = innerWidth < NARROW_PX;
    const { cellPx, narrowPx = cellPx, captionPx = 0 } = this.options;
    this.gap = isNarrow ? NARROW_GAP_PX : GAP_PX;
    this.columns = Math.max(
      2,
      Math.floor((width + this.gap) / ((isNarrow ? narrowPx : cellPx) + this.gap)),
    );
    this.cell = (width - this.gap * (this.columns - 1)) / this.columns;
    this.rowPx = this.cell + captionPx + this.gap;
    let [top, first] = [0, 0];
    this.places = this.sections.map((section) => {
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

  /** Make the cells near the window, drop the others. @param {boolean} [isMoved] all places changed */
  refresh(isMoved = false) {
    if (!this.root.isConnected || !this.root.offsetParent) return;
    const above = this.root.getBoundingClientRect().top;
    const [from, to] = [-above - AHEAD_PX, -above + innerHeight + AHEAD_PX];
    /** @type {Set<string>} */
    const wanted = new Set();
    const headings = [];
    for (let i = this.sectionAt(from); i < this.sections.length && this.places[i].top < to; i++) {
      if (this.sections[i].title) headings.push(this.heading(i));
      const [first, last] = this.rowsWithin(i, from, to);
      if (first < last) this.options.need(this.sections[i], first, last);
      for (let index = first; index < last; index++) wanted.add(this.show(i, index, isMoved));
    }
    this.headings.replaceChildren(...headings);
    const kept = this.cells.contains(document.activeElement) ? this.keyOf(this.focused) : "";
    for (const [key, { node }] of this.shown) {
      if (wanted.has(key) || key === kept) continue;
      node.remove();
      for (const image of node.querySelectorAll("img")) {
        if (!image.complete) image.removeAttribute("src"); // or those in sight would wait for it
      }
      this.shown.delete(key);
    }
  }

  /** The section at a height, by bisection. @param {number} y */
  sectionAt(y) {
    let [low, high] = [0, this.sections.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.places[middle].top > y) high = middle;
      else low = middle;
    }
    return low;
  }

  /** @param {number} i @param {number} from @param {number} to @returns {[number, number]} cells */
  rowsWithin(i, from, to) {
    const { count } = this.sections[i];
    const row = (/** @type {number} */ y) => Math.floor((y - this.places[i].body) / this.rowPx);
    const first = Math.max(0, row(from)) * this.columns;
    return [Math.min(first, count), Math.min(count, Math.max(0, row(to) + 1) * this.columns)];
  }

  /** Make one cell, or make it anew if its entry came. @returns {string} its key
   * @param {number} i @param {number} index @param {boolean} isMoved */
  show(i, index, isMoved) {
    const section = this.sections[i];
    const key = `${section.id}/${index}`;
    const entry = this.options.entryOf(section, index);
    let cell = this.shown.get(key);
    if (cell && cell.entry === entry && !isMoved) return key;
    if (!cell || cell.entry !== entry) {
      const hadFocus = cell?.node.contains(document.activeElement);
      const node = this.makeCell(entry, section, index);
      if (cell) cell.node.replaceWith(node);
      else this.insert(node, this.places[i].first + index);
      this.shown.set(key, (cell = { node, entry }));
      if (hadFocus) focusWithin(node);
    }
    this.place(cell.node, i, index);
    return key;
  }

  /** @param {any} entry @param {Section} section @param {number} index @returns {HTMLElement} */
  makeCell(entry, section, index) {
    const node = entry
      ? this.options.render(entry, section, index)
      : el("div", { class: "cell is-waiting" });
    node.setAttribute("role", "listitem");
    return node;
  }

  /** Put a cell where reading order wants it. @param {HTMLElement} node @param {number} number */
  insert(node, number) {
    node.dataset.number = String(number);
    const numberOf = (/** @type {any} */ cell) => Number(cell?.dataset.number ?? -1);
    /** @type {Element|null} */
    let before = this.cells.lastElementChild;
    while (before && numberOf(before) > number) before = before.previousElementSibling;
    if (before) before.after(node);
    else this.cells.prepend(node);
  }

  /** @param {HTMLElement} node @param {number} i @param {number} index */
  place(node, i, index) {
    const { body, first } = this.places[i];
    const x = (index % this.columns) * (this.cell + this.gap);
    const y = body + Math.floor(index / this.columns) * this.rowPx;
    node.style.width = `${this.cell}px`;
    node.style.transform = `translate(${x}px, ${y}px)`;
    node.dataset.number = String(first + index);
    node.setAttribute("aria-posinset", String(first + index + 1));
    node.setAttribute("aria-setsize", String(this.total));
    markReached(node, first + index === this.focused);
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
    node.style.transform = `translateY(${this.places[i].top}px)`;
    return node;
  }

  /** @param {number} number @returns {[number, number]} section and index of a cell */
  cellAt(number) {
    let i = this.places.findLastIndex(({ first }) => first <= number);
    while (i > 0 && !this.sections[i].count) i--;
    return [i, number - this.places[i].first];
  }

  /** @param {number} number @returns {string} */
  keyOf(number) {
    if (!this.total) return "";
    const [i, index] = this.cellAt(number);
    return `${this.sections[i].id}/${index}`;
  }

  /** @param {FocusEvent} event */
  onFocus(event) {
    lastUsed = this;
    const node = /** @type {Element} */ (event.target).closest("[data-number]");
    if (node instanceof HTMLElement) this.reach(Number(node.dataset.number));
  }

  /** Make a cell the one that Tab reaches. @param {number} number */
  reach(number) {
    if (number === this.focused) return;
    this.focused = number;
    for (const { node } of this.shown.values()) {
      markReached(node, Number(node.dataset.number) === number);
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.total - 1;
    const page = Math.max(1, Math.floor(innerHeight / this.rowPx)) * this.columns;
    const to = {
      ArrowLeft: this.focused - 1,
      ArrowRight: this.focused + 1,
      ArrowUp: this.below(-1),
      ArrowDown: this.below(1),
      Home: 0,
      End: last,
      PageUp: Math.max(0, this.focused - page),
      PageDown: Math.min(last, this.focused + page),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to <= last) this.focus(to);
    else if (event.key === "ArrowUp") this.options.beyond?.(-1);
    else if (event.key === "ArrowDown") this.options.beyond?.(1);
  }

  /** The cell a row further, in the next section if there is none. @param {number} step 1 or -1 */
  below(step) {
    const [i, index] = this.cellAt(this.focused);
    const [column, { count }] = [index % this.columns, this.sections[i]];
    const to = index + step * this.columns;
    if (to >= 0 && to < count) return this.focused + step * this.columns;
    const lastRow = Math.floor((count - 1) / this.columns);
    if (step > 0 && Math.floor(index / this.columns) < lastRow)
      return this.places[i].first + count - 1;
    const next = this.sections[i + step];
    if (!next) return -1;
    const { first } = this.places[i + step];
    if (step > 0) return first + Math.min(column, next.count - 1);
    const row = Math.floor((next.count - 1) / this.columns) * this.columns;
    return first + Math.min(row + column, next.count - 1);
  }

  /** Bring a cell into sight and give it the focus. @param {number} number */
  focus(number) {
    this.reach(number);
    const [i, index] = this.cellAt(number);
    const top = this.places[i].body + Math.floor(index / this.columns) * this.rowPx;
    const y = this.root.getBoundingClientRect().top + top;
    const head = document.querySelector("header")?.offsetHeight ?? 0;
    if (y < head + this.gap) scrollBy(0, y - head - HEADING_PX);
    else if (y + this.rowPx > innerHeight) scrollBy(0, y + this.rowPx - innerHeight + this.gap);
    this.refresh();
    const cell = this.shown.get(this.keyOf(number));
    if (cell) focusWithin(cell.node);
  }

  /** Where a section begins, from the top of the page. @param {string} id @returns {number} */
  topOf(id) {
    const i = this.sections.findIndex((section) => section.id === id);
    return i < 0 ? 0 : this.root.getBoundingClientRect().top + scrollY + this.places[i].top;
  }
}

/** Focus what takes the focus in a cell, or the cell while it loads. @param {HTMLElement} node */
function focusWithin(node) {
  const target = /** @type {HTMLElement|null} */ (node.querySelector("[data-focus]"));
  if (!target) node.tabIndex = -1;
  (target ?? node).focus({ preventScroll: true });
}

/** Let Tab reach a cell, or pass it by. @param {HTMLElement} node @param {boolean} isReached */
function markReached(node, isReached) {
  node.classList.toggle("is-reached", isReached);
  for (const one of node.querySelectorAll("a, button")) {
    /** @type {HTMLElement} */ (one).tabIndex = isReached ? 0 : -1;
  }
}

/** @type {Grid|null} the one that had the focus last */
let lastUsed = null;

/** Focus the cell that Tab reaches, in the first grid that is shown. */
export function focusReached() {
  const cells = document.querySelectorAll("main .grid .is-reached [data-focus]");
  focusVisible([...cells]);
}

/** Focus the cell that was left last: a photo was opened from it. */
export function focusLeft() {
  const cells = [...(lastUsed?.cells.querySelectorAll(".is-reached [data-focus]") ?? [])];
  if (!focusVisible(cells)) focusReached();
}

/** @param {Element[]} cells @returns {boolean} whether one of them is shown */
function focusVisible(cells) {
  const cell = cells.find((one) => one.checkVisibility());
  if (cell instanceof HTMLElement) cell.focus({ preventScroll: true });
  return Boolean(cell);
}
