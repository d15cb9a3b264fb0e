/** The bar above a photo: what it is, and what can be done with it. */

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { button, iconButton } from "./message.js";

/**
 * @typedef {object} BarActions
 * @property {() => void} back
 * @property {(by: number) => void} step to the photo before or after
 * @property {() => void} all
 * @property {() => void} cut
 * @property {() => void} whole
 */

export class ViewerBar {
  /** @param {BarActions} actions */
  constructor(actions) {
    this.title = el("h1", { class: "viewer-title" });
    this.facts = el("p", { class: "faint" });
    this.all = this.toggle("dots", "Show all", "Show all segments (A)", actions.all);
    this.cut = this.toggle("cut", "Cut", "Cut something out (C)", actions.cut);
    this.whole = button("", actions.whole, { class: "button is-quiet" });
    this.previous = iconButton("back", "Photo before", () => actions.step(-1));
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
        this.cut,
        this.whole,
      ),
    );
  }

  /** @param {string} sign @param {string} label @param {string} title @param {() => void} press */
  toggle(sign, label, title, press) {
    return el(
      "button",
      {
        type: "button",
        class: "button is-quiet",
        title,
        "aria-pressed": "false",
        on: { click: press },
      },
      icon(sign),
      el("span", { text: label }),
    );
  }

  /** @param {{title: string, facts: string[]}|null} source null: nothing is known yet
   * @param {boolean} isPhoto @param {string[]} ids of photos around @param {string} id */
  show(source, isPhoto, ids, id) {
    this.title.textContent = source?.title ?? "";
    this.facts.textContent = source?.facts.join(" · ") ?? "";
    this.cut.hidden = this.all.hidden = !isPhoto;
    this.whole.hidden = !source;
    const label = isPhoto ? "Find the whole photo" : "Find the whole picture";
    fill(this.whole, icon("search"), el("span", { text: label }));
    this.whole.title = label;
    const at = ids.indexOf(id);
    this.previous.hidden = this.next.hidden = !isPhoto || at < 0;
    this.previous.disabled = at <= 0;
    this.next.disabled = at >= ids.length - 1;
  }
}
