/** The card beside a chosen segment: find it, add it to a search, save it. */

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { button, iconButton } from "./message.js";

/**
 * @typedef {object} CardActions
 * @property {() => void} find
 * @property {(side: "plus"|"minus") => void} refine
 * @property {(step: number) => void} turn
 * @property {() => void} close
 */

const MARGIN_PX = 12;

export class Card {
  /** @param {CardActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.find = button("Find this everywhere", actions.find, {
      class: "button is-main",
      sign: "search",
    });
    this.nesting = el("div", { class: "nesting" });
    this.save = el(
      "a",
      {
        class: "icon-button",
        download: "",
        "aria-label": "Save the cut-out",
        title: "Save the cut-out",
      },
      icon("save"),
    );
    this.root = el(
      "div",
      { class: "card", role: "dialog", "aria-label": "The chosen segment", hidden: true },
      this.find,
      el(
        "div",
        { class: "card-row" },
        iconButton("plus", "Add to the search (+)", () => actions.refine("plus")),
        iconButton("minus", "Exclude from the search (−)", () => actions.refine("minus")),
        this.save,
        this.nesting,
        iconButton("close", "Close (Esc)", actions.close),
      ),
    );
  }

  /**
   * Show the card near a place of the stage.
   * @param {import("./picker.js").Picker} picker what is chosen in it
   * @param {{left: number, right: number, y: number}} at what to stay beside, in pixels of the stage
   * @param {boolean} takesFocus
   */
  show(picker, at, takesFocus) {
    const { chosen, stack, level } = picker;
    if (!chosen) return this.hide();
    this.root.hidden = false;
    this.save.href = `/v1/segments/${chosen.segment_id}/crop.png?background=transparent`;
    this.save.download = `${chosen.segment_id}.png`;
    fill(this.nesting, ...(stack.length > 1 ? this.nested(level, stack.length) : []));
    const stage = /** @type {HTMLElement} */ (this.root.parentElement);
    const width = this.root.offsetWidth;
    const isRoomy = at.right + 2 * MARGIN_PX + width <= stage.clientWidth;
    const x = isRoomy ? at.right + MARGIN_PX : at.left - MARGIN_PX - width;
    const y = at.y - this.root.offsetHeight / 2;
    this.root.style.left = `${clamp(x, stage.clientWidth - width)}px`;
    this.root.style.top = `${clamp(y, stage.clientHeight - this.root.offsetHeight)}px`;
    if (takesFocus) this.find.focus();
  }

  hide() {
    this.root.hidden = true;
  }

  /** @param {number} level @param {number} count @returns {HTMLElement[]} */
  nested(level, count) {
    const step = (
      /** @type {string} */ label,
      /** @type {string} */ sign,
      /** @type {number} */ by,
      /** @type {boolean} */ ends,
    ) => iconButton(sign, label, () => this.actions.turn(by), { disabled: ends });
    return [
      step("The smaller one here ([)", "back", -1, level === 0),
      el("span", {
        class: "faint",
        text: `${level + 1} of ${count}`,
        title: "Segments that lie here, smallest first",
      }),
      step("The larger one here (])", "next", 1, level === count - 1),
    ];
  }
}

/** @param {number} value @param {number} most */
const clamp = (value, most) => Math.max(MARGIN_PX, Math.min(value, most - MARGIN_PX));
