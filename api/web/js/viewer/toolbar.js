/** The toolbar above a photo: its name and facts, and what can be done with it. */

import { el, fill } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { button, iconButton } from "../shared/messages.js";

/**
 * @typedef {object} ToolbarActions
 * @property {() => void} back
 * @property {(step: 1|-1) => void} step to the next or previous photo
 * @property {() => void} toggleAll
 * @property {() => void} toggleSegmenting
 * @property {() => void} searchWhole
 */

export class Toolbar {
  /** @param {ToolbarActions} actions */
  constructor(actions) {
    this.title = el("h1", { class: "viewer-title" });
    this.facts = el("p", { class: "faint" });
    this.all = toggleButton("dots", "Show all", "Show all segments (A)", actions.toggleAll);
    this.segmenting = toggleButton(
      "segment",
      "Cut out",
      "Cut out a new segment (C)",
      actions.toggleSegmenting,
    );
    this.whole = button("", actions.searchWhole, { class: "button is-quiet" });
    this.previous = iconButton("back", "Previous photo", () => actions.step(-1));
    this.next = iconButton("next", "Next photo", () => actions.step(1));
    this.root = el(
      "div",
      { class: "viewer-bar" },
      iconButton("close", "Back (Esc)", actions.back),
      el("div", { class: "viewer-facts" }, this.title, this.facts),
      el(
        "div",
        { class: "viewer-tools" },
        this.previous,
        this.next,
        this.all,
        this.segmenting,
        this.whole,
      ),
    );
  }

  /**
   * @param {{title: string, facts: string[]}|null} source null: not loaded yet
   * @param {boolean} isPhoto whether it is in the library
   * @param {string[]} ids of the photos to step through
   * @param {string} id
   */
  show(source, isPhoto, ids, id) {
    this.title.textContent = source?.title ?? "";
    this.facts.textContent = source?.facts.join(" · ") ?? "";
    this.segmenting.hidden = this.all.hidden = !isPhoto;
    this.whole.hidden = !source;
    const label = `Search with the whole ${isPhoto ? "photo" : "picture"}`;
    fill(this.whole, icon("search"), el("span", { text: label }));
    this.whole.title = label;
    const at = ids.indexOf(id);
    this.previous.hidden = this.next.hidden = !isPhoto || at < 0;
    this.previous.disabled = at <= 0;
    this.next.disabled = at >= ids.length - 1;
  }
}

/** @param {import("../shared/icons.js").IconName} sign @param {string} label @param {string} title
 * @param {() => void} onClick @returns {HTMLButtonElement} */
function toggleButton(sign, label, title, onClick) {
  return el(
    "button",
    {
      type: "button",
      class: "button is-quiet",
      title,
      "aria-pressed": "false",
      on: { click: onClick },
    },
    icon(sign),
    el("span", { text: label }),
  );
}
