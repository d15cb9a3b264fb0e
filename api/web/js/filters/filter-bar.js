/** The filter bar: date, camera, folder and segment size; and how results are shown. */

import { el, fill } from "../shared/dom.js";
import { errorLabel, numberLabel } from "../shared/format.js";
import { icon } from "../shared/icons.js";
import { iconButton } from "../shared/messages.js";
import { closePopover, togglePopover } from "../shared/popover.js";
import { photoFilter, SIZES } from "../search/query.js";
import { emptyFilter, go, stateOf } from "../router.js";
import { dateFilterPanel } from "./date-filter.js";
import { dateRangeLabel } from "./dates.js";
import { folderLabel, loadFacets, loadLibraryFacts } from "./facets.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../router.js").Filter} Filter */
/** @typedef {import("../shared/icons.js").IconName} IconName */
/** @typedef {{value: string, label: string, detail: string, depth?: number}} Choice */

const CHOICE_PADDING_PX = 12;
const CHOICE_INDENT_PX = 16;

export class FilterBar {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.state = stateOf({});
    /** @type {import("../shared/api.js").Root[]} */
    this.libraryRoots = [];
    this.hasFacets = false;
  }

  /** @param {State} state the library or a search */
  async show(state) {
    this.state = state;
    this.draw();
    const [facets, library] = await Promise.all([
      loadFacets({}).catch(() => null),
      loadLibraryFacts().catch(() => null),
    ]);
    if (state !== this.state) return;
    this.hasFacets = facets !== null;
    this.libraryRoots = library?.roots ?? [];
    this.draw();
  }

  draw() {
    const { filter, view } = this.state;
    const focused = document.activeElement;
    const focusedPill = focused instanceof HTMLElement ? focused.dataset.pill : undefined;
    const isSearch = view === "search";
    const date = filter.undated ? "Undated" : dateRangeLabel(filter.from, filter.to);
    const folder = filter.folder && folderLabel(filter.folder, this.libraryRoots);
    const size = SIZES[filter.size]?.label ?? "";
    fill(
      this.root,
      this.pill("date", "Date", date, ["from", "to", "undated"], () => this.datePanel()),
      (this.hasFacets || filter.camera) &&
        this.pill("camera", "Camera", filter.camera, ["camera"], () => this.cameraPanel()),
      (this.hasFacets || filter.folder) &&
        this.pill("folder", "Folder", folder, ["folder"], () => this.folderPanel()),
      (isSearch || filter.size) &&
        this.pill("size", "Size", size, ["size"], async () => this.sizePanel()),
      isSearch && el("span", { class: "bar-gap" }),
      isSearch && this.toggle("photos", "By photo", "byPhoto"),
      isSearch && this.toggle("number", "Scores", "scores"),
    );
    if (!focusedPill) return;
    const pill = this.root.querySelector(`[data-pill="${focusedPill}"]`);
    if (pill instanceof HTMLElement) pill.focus();
  }

  /** A button that opens the panel of a filter, and one that clears the filter.
   * @param {IconName} sign @param {string} label @param {string} value
   * @param {(keyof Filter)[]} fields @param {() => Promise<HTMLElement>} createPanel */
  pill(sign, label, value, fields, createPanel) {
    const open = el(
      "button",
      {
        type: "button",
        class: "pill-open",
        "aria-haspopup": "dialog",
        "aria-expanded": "false",
        "aria-label": value ? `${label}: ${value}` : label,
        data: { pill: sign },
        on: { click: () => this.openPanel(open, label, createPanel) },
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

  /** @param {IconName} sign @param {string} label @param {"byPhoto"|"scores"} field */
  toggle(sign, label, field) {
    const { state } = this;
    const flip = () => go({ ...state, [field]: !state[field] }, { replace: field === "scores" });
    return el(
      "button",
      {
        type: "button",
        class: "pill-toggle",
        "aria-pressed": String(state[field]),
        data: { pill: field },
        on: { click: flip },
      },
      icon(sign),
      label,
    );
  }

  /** @param {HTMLElement} anchor @param {string} label
   * @param {() => Promise<HTMLElement>} createPanel */
  async openPanel(anchor, label, createPanel) {
    const panel = await createPanel().catch((error) =>
      el("p", { class: "popover-empty", text: errorLabel(error) }),
    );
    togglePopover(anchor, label, panel);
  }

  /** @param {Partial<Filter>} parts */
  change(parts) {
    closePopover();
    go(stateOf({ ...this.state, filter: { ...this.state.filter, ...parts } }));
  }

  /**
   * The facets under all filters but the one that is being changed.
   * @param {(keyof Filter)[]} fields
   */
  facetsWithout(...fields) {
    const filter = { ...emptyFilter(), ...this.state.filter };
    for (const field of fields) filter[field] = "";
    return loadFacets(photoFilter(filter));
  }

  async datePanel() {
    const facets = await this.facetsWithout("from", "to", "undated");
    return dateFilterPanel(facets, this.state.filter, (dates) => this.change(dates));
  }

  async cameraPanel() {
    const facets = await this.facetsWithout("camera");
    const choices = (facets?.cameras ?? []).map(({ value, count }) => ({
      value,
      label: value,
      detail: numberLabel(count),
    }));
    return this.choicePanel("camera", choices, "No photo here names its camera.");
  }

  async folderPanel() {
    const facets = await this.facetsWithout("folder");
    const choices = (facets?.folders ?? []).map(({ folder, count }) => ({
      value: folder,
      label: folderLabel(folder, this.libraryRoots),
      detail: numberLabel(count),
      depth: folder.split("/").length - 1,
    }));
    return this.choicePanel("folder", choices, "There are no folders here.");
  }

  sizePanel() {
    const choices = Object.entries(SIZES).map(([value, { label, hint }]) => ({
      value,
      label,
      detail: hint,
    }));
    return this.choicePanel("size", choices, "");
  }

  /** @param {"camera"|"folder"|"size"} field @param {Choice[]} choices
   * @param {string} textIfEmpty @returns {HTMLElement} */
  choicePanel(field, choices, textIfEmpty) {
    if (!choices.length) return el("p", { class: "popover-empty", text: textIfEmpty });
    const selected = this.state.filter[field];
    const rows = choices.map(({ value, label, detail, depth = 0 }) => {
      const isSelected = value === selected;
      const row = el(
        "button",
        {
          type: "button",
          class: "choice",
          "aria-pressed": String(isSelected),
          on: { click: () => this.change({ [field]: isSelected ? "" : value }) },
        },
        el("span", { class: "choice-label", text: label }),
        el("span", { class: "count", text: detail }),
      );
      row.style.paddingInlineStart = `${CHOICE_PADDING_PX + depth * CHOICE_INDENT_PX}px`;
      return row;
    });
    return el("div", { class: "choices" }, ...rows);
  }
}
