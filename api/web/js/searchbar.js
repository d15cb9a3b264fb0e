/** The search field: words, and the examples beside them as chips. */

import { announce, el, fill, find, takesText } from "./dom.js";
import { nameOfExample, sameExample, thumbOf } from "./examples.js";
import { focusReached } from "./grid.js";
import { iconButton } from "./message.js";
import { looksForSomething, splitWords } from "./query.js";
import { go, stateOf } from "./router.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./examples.js").Example} Example */

export class SearchBar {
  /** @param {() => State} base the library or search that the page shows, or shows behind a photo */
  constructor(base) {
    this.base = base;
    this.form = find("#search");
    this.field = /** @type {HTMLInputElement} */ (find("#words"));
    this.chips = find("#chips");
    this.clear = find("#clear");
    this.form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      if (event.target === this.form || event.target === this.chips) this.field.focus();
    });
    this.clear.addEventListener("click", () => {
      this.field.value = "";
      go(stateOf({ filter: this.base().filter }));
      this.field.focus();
    });
    this.field.addEventListener("input", () => this.showClear());
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || takesText(event.target) || event.ctrlKey || event.metaKey) return;
      if (document.querySelector("dialog[open]") || !find("#viewer").hidden) return;
      event.preventDefault();
      this.field.select();
      this.field.focus();
    });
  }

  submit() {
    const base = this.base();
    const { words, unwanted } = splitWords(this.field.value);
    const minus = [...base.minus];
    for (const id of unwanted) {
      const example = /** @type {Example} */ ({ kind: "words", id });
      if (!minus.some((one) => sameExample(one, example))) minus.push(example);
    }
    const state = stateOf({ ...base, view: "search", words, minus });
    go(looksForSomething(state) ? state : stateOf({ filter: base.filter, minus: [] }));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key === "Backspace" && !this.field.value) {
      const base = this.base();
      const last = base.minus.length ? "minus" : "plus";
      if (base[last].length) this.leaveOut(last, base[last].length - 1);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      focusReached();
    }
  }

  /** @param {State} state the library or a search */
  show(state) {
    const { words, plus, minus } = state.view === "search" ? state : stateOf({});
    if (document.activeElement !== this.field || words || !this.field.value)
      this.field.value = words;
    fill(
      this.chips,
      ...plus.map((example, i) => this.chip(example, "plus", i)),
      ...minus.map((example, i) => this.chip(example, "minus", i)),
    );
    this.field.placeholder = plus.length
      ? "and words, if you like"
      : "Search for a thing, in words or with a picture";
    this.showClear();
  }

  showClear() {
    this.clear.hidden = !this.field.value && !this.chips.childElementCount;
  }

  /** @param {Example} example @param {"plus"|"minus"} side @param {number} i @returns {HTMLElement} */
  chip(example, side, i) {
    const says = `${side === "plus" ? "Like" : "Not like"} ${nameOfExample(example)}`;
    const turn = el(
      "button",
      {
        type: "button",
        class: "chip-turn",
        title:
          side === "plus"
            ? "Wanted. Click to exclude it instead."
            : "Excluded. Click to want it instead.",
        "aria-label": `${says}. Turn around`,
        on: { click: () => this.turn(side, i) },
      },
      el("span", { class: "chip-sign", "aria-hidden": "true", text: side === "plus" ? "+" : "−" }),
      example.kind === "words"
        ? el("span", { class: "chip-words", text: example.id })
        : thumbOf(example, "chip-picture"),
    );
    const remove = iconButton("close", `Remove: ${says}`, () => this.leaveOut(side, i), {
      class: "chip-close",
    });
    return el("li", { class: `chip is-${side}` }, turn, remove);
  }

  /** @param {"plus"|"minus"} side @param {number} i */
  leaveOut(side, i) {
    const base = this.base();
    const state = stateOf({ ...base, [side]: base[side].filter((_, at) => at !== i) });
    announce("Removed.");
    go(looksForSomething(state) ? state : stateOf({ filter: base.filter }));
    this.field.focus();
  }

  /** Make a wanted example an unwanted one, or the other way. @param {"plus"|"minus"} side @param {number} i */
  turn(side, i) {
    const base = this.base();
    const other = side === "plus" ? "minus" : "plus";
    go(
      stateOf({
        ...base,
        [side]: base[side].filter((_, at) => at !== i),
        [other]: [...base[other], base[side][i]],
      }),
    );
  }
}
