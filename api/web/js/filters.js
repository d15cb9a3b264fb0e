/** The bar of filters: date, camera, folder, size; and how results are shown. */

import { el, fill } from "./dom.js";
import { facetsOf, folderName, libraryFacts } from "./facets.js";
import { icon } from "./icons.js";
import { iconButton, sentence } from "./message.js";
import { closePopover, togglePopover } from "./popover.js";
import { photoFilter, SIZES } from "./query.js";
import { go, noFilter, stateOf } from "./router.js";
import { datesPanel, daysName } from "./dates.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./router.js").Filter} Filter */
/** @typedef {{value: string, label: string, detail: string, depth?: number}} Choice */

export class FilterBar {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {any[]} */
    this.roots = [];
    this.canCount = false;
  }

  /** @param {State} state the library or a search */
  async show(state) {
    this.state = state;
    this.draw();
    const [facets, facts] = await Promise.all([
      facetsOf({}).catch(() => null),
      libraryFacts().catch(() => null),
    ]);
    if (state !== this.state) return;
    this.canCount = facets !== null;
    this.roots = facts?.roots ?? [];
    this.draw();
  }

  draw() {
    const state = /** @type {State} */ (this.state);
    const { filter } = state;
    const isSearch = state.view === "search";
    const hadFocus = /** @type {HTMLElement|null} */ (document.activeElement)?.dataset?.pill;
    fill(
      this.root,
      this.pill(
        "date",
        "Date",
        filter.undated ? "Undated" : daysName(filter.from, filter.to),
        ["from", "to", "undated"],
        () => this.dates(),
      ),
      (this.canCount || filter.camera) &&
        this.pill("camera", "Camera", filter.camera, ["camera"], () => this.cameras()),
      (this.canCount || filter.folder) &&
        this.pill(
          "folder",
          "Folder",
          filter.folder && folderName(filter.folder, this.roots),
          ["folder"],
          () => this.folders(),
        ),
      (isSearch || filter.size) &&
        this.pill("size", "Size", SIZES[filter.size]?.label ?? "", ["size"], () => this.sizes()),
      isSearch && el("span", { class: "bar-gap" }),
      isSearch && this.toggle("photos", "By photo", "byPhoto"),
      isSearch && this.toggle("number", "Scores", "scores"),
    );
    if (hadFocus)
      /** @type {any} */ (this.root.querySelector(`[data-pill="${hadFocus}"]`))?.focus();
  }

  /** A filter: a button that opens its panel, and one that takes it away.
   * @param {string} sign @param {string} label @param {string} value
   * @param {(keyof Filter)[]} fields @param {() => Promise<HTMLElement>} panel */
  pill(sign, label, value, fields, panel) {
    const open = el(
      "button",
      {
        type: "button",
        class: "pill-open",
        "aria-haspopup": "dialog",
        "aria-expanded": "false",
        "aria-label": value ? `${label}: ${value}` : label,
        data: { pill: sign },
        on: { click: () => this.open(open, label, panel) },
      },
      icon(sign),
      el("span", { text: value || label }),
      !value && icon("down"),
    );
    const clear = () => this.change(Object.fromEntries(fields.map((field) => [field, ""])));
    return el(
      "div",
      { class: value ? "pill is-on" : "pill" },
      open,
      value && iconButton("close", `Any ${label.toLowerCase()}`, clear, { class: "pill-close" }),
    );
  }

  /** @param {string} sign @param {string} label @param {"byPhoto"|"scores"} field */
  toggle(sign, label, field) {
    const state = /** @type {State} */ (this.state);
    const press = () => go({ ...state, [field]: !state[field] }, { replace: field === "scores" });
    return el(
      "button",
      {
        type: "button",
        class: "pill-toggle",
        "aria-pressed": String(state[field]),
        data: { pill: field },
        on: { click: press },
      },
      icon(sign),
      label,
    );
  }

  /** @param {HTMLElement} anchor @param {string} label @param {() => Promise<HTMLElement>} panel */
  async open(anchor, label, panel) {
    const content = await panel().catch((error) =>
      el("p", { class: "popover-empty", text: sentence(error.message) }),
    );
    togglePopover(anchor, label, content);
  }

  /** @param {Partial<Filter>} parts */
  change(parts) {
    closePopover();
    const state = /** @type {State} */ (this.state);
    go(stateOf({ ...state, filter: { ...state.filter, ...parts } }));
  }

  /** Counts under all filters but the one that is being chosen. @param {(keyof Filter)[]} but */
  counts(...but) {
    const filter = { ...noFilter(), .../** @type {State} */ (this.state).filter };
    for (const field of but) filter[field] = "";
    return facetsOf(photoFilter(filter));
  }

  async dates() {
    const { filter } = /** @type {State} */ (this.state);
    const facets = await this.counts("from", "to", "undated");
    return datesPanel(
      facets,
      filter,
      (from, to) => this.change({ from, to, undated: "" }),
      (undated) => this.change({ from: "", to: "", undated }),
    );
  }

  async cameras() {
    const facets = await this.counts("camera");
    const choices = (facets?.cameras ?? []).map(({ value, count }) => ({
      value,
      label: value,
      detail: count.toLocaleString("en"),
    }));
    return this.choices("camera", choices, "No camera is known here.");
  }

  async folders() {
    const facets = await this.counts("folder");
    const choices = (facets?.folders ?? []).map(({ folder, count }) => ({
      value: folder,
      label: folderName(folder, this.roots),
      detail: count.toLocaleString("en"),
      depth: folder.split("/").length - 1,
    }));
    return this.choices("folder", choices, "There are no folders here.");
  }

  async sizes() {
    const choices = Object.entries(SIZES).map(([value, { label, hint }]) => ({
      value,
      label,
      detail: hint,
    }));
    return this.choices("size", choices, "");
  }

  /** @param {"camera"|"folder"|"size"} field @param {Choice[]} choices @param {string} empty */
  choices(field, choices, empty) {
    const chosen = /** @type {State} */ (this.state).filter[field];
    if (!choices.length) return el("p", { class: "popover-empty", text: empty });
    const rows = choices.map(({ value, label, detail, depth = 0 }) => {
      const row = el(
        "button",
        {
          type: "button",
          class: "choice",
          "aria-pressed": String(value === chosen),
          on: { click: () => this.change({ [field]: value === chosen ? "" : value }) },
        },
        el("span", { class: "choice-label", text: label }),
        el("span", { class: "count", text: detail }),
      );
      row.style.paddingInlineStart = `${12 + depth * 16}px`;
      return row;
    });
    return el("div", { class: "choices" }, ...rows);
  }
}
