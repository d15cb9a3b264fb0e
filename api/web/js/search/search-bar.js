/** The search bar: words, and the examples beside them as chips. */

import { go, stateOf } from "../router.js";
import { announce, el, fill, find, findInput, isTextField } from "../shared/dom.js";
import { focusTabStop } from "../shared/grid.js";
import { iconButton } from "../shared/messages.js";
import { exampleThumbnail } from "./example-thumbnail.js";
import { exampleLabel, isSameExample } from "./examples.js";
import { hasQuery, splitWords } from "./query.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("./examples.js").Example} Example */
/** @typedef {import("./examples.js").Side} Side */

export class SearchBar {
  /** @param {() => State} getState the library or search that is shown, perhaps behind a photo */
  constructor(getState) {
    this.getState = getState;
    this.form = find("#search");
    this.field = findInput("#words");
    this.chips = find("#chips");
    this.clear = find("#clear");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("click", (event) => {
      if (event.target === this.form || event.target === this.chips) this.field.focus();
    });
    this.clear.addEventListener("click", () => {
      this.field.value = "";
      go(stateOf({ filter: this.getState().filter }));
      this.field.focus();
    });
    this.field.addEventListener("input", () => this.updateClearButton());
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || isTextField(event.target) || event.ctrlKey || event.metaKey) return;
      if (document.querySelector("dialog[open]") || !find("#viewer").hidden) return;
      event.preventDefault();
      this.field.select();
      this.field.focus();
    });
  }

  submit() {
    const current = this.getState();
    const { words, excluded } = splitWords(this.field.value);
    const minus = [...current.minus];
    for (const id of excluded) {
      const example = /** @type {const} */ ({ kind: "words", id });
      if (!minus.some((used) => isSameExample(used, example))) minus.push(example);
    }
    this.search(stateOf({ ...current, view: "search", words, minus }));
  }

  /** Go to a search, or to the library where nothing is searched for. @param {State} state */
  search(state) {
    go(hasQuery(state) ? state : stateOf({ filter: state.filter }));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key === "Backspace" && !this.field.value) {
      const { plus, minus } = this.getState();
      const side = minus.length ? "minus" : "plus";
      const last = (side === "minus" ? minus : plus).length - 1;
      if (last >= 0) this.removeExample(side, last);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      focusTabStop();
    }
  }

  /** @param {State} state the library or a search */
  show(state) {
    const { words, plus, minus } = state.view === "search" ? state : stateOf({});
    const isTyping = document.activeElement === this.field && this.field.value !== "";
    if (words || !isTyping) this.field.value = words;
    fill(
      this.chips,
      ...plus.map((example, i) => this.createChip(example, "plus", i)),
      ...minus.map((example, i) => this.createChip(example, "minus", i)),
    );
    this.field.placeholder = plus.length
      ? "and words, if you like"
      : "Search by words or a picture";
    this.updateClearButton();
  }

  updateClearButton() {
    this.clear.hidden = !this.field.value && !this.chips.childElementCount;
  }

  /** @param {Example} example @param {Side} side @param {number} i @returns {HTMLElement} */
  createChip(example, side, i) {
    const isPositive = side === "plus";
    const label = `${isPositive ? "Like" : "Not like"} ${exampleLabel(example)}`;
    const invert = isPositive ? "Click to exclude it instead" : "Click to include it instead";
    const inverter = el(
      "button",
      {
        type: "button",
        class: "chip-invert",
        title: `${isPositive ? "Positive" : "Negative"} example. ${invert}.`,
        "aria-label": `${label}. ${invert}`,
        on: { click: () => this.invertExample(side, i) },
      },
      el("span", { class: "chip-sign", "aria-hidden": "true", text: isPositive ? "+" : "−" }),
      example.kind === "words"
        ? el("span", { class: "chip-words", text: example.id })
        : exampleThumbnail(example, "chip-picture"),
    );
    const remove = iconButton("close", `Remove: ${label}`, () => this.removeExample(side, i), {
      class: "chip-close",
    });
    return el("li", { class: `chip is-${side}` }, inverter, remove);
  }

  /** @param {Side} side @param {number} i */
  removeExample(side, i) {
    const current = this.getState();
    announce("Removed.");
    this.search(stateOf({ ...current, [side]: current[side].filter((_, at) => at !== i) }));
    this.field.focus();
  }

  /** Make a positive example negative, or the reverse. @param {Side} side @param {number} i */
  invertExample(side, i) {
    const current = this.getState();
    const other = side === "plus" ? "minus" : "plus";
    go(
      stateOf({
        ...current,
        [side]: current[side].filter((_, at) => at !== i),
        [other]: [...current[other], current[side][i]],
      }),
    );
  }
}
