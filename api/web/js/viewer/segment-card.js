/** The card beside the selected segment: search with it, refine a search with it, save it. */

import { cutoutUrl } from "../shared/api.js";
import { el, fill } from "../shared/dom.js";
import { clamp } from "../shared/geometry.js";
import { icon } from "../shared/icons.js";
import { button, iconButton } from "../shared/messages.js";

/**
 * @typedef {object} SegmentCardActions
 * @property {() => void} search
 * @property {(side: import("../search/examples.js").Side) => void} refine
 * @property {(step: 1|-1) => void} changeLevel
 * @property {() => void} close
 */

const MARGIN_PX = 12;

export class SegmentCard {
  /** @param {SegmentCardActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.search = button("Search with this segment", actions.search, {
      class: "button is-main",
      sign: "search",
    });
    this.levels = el("div", { class: "nesting" });
    this.save = el(
      "a",
      { class: "icon-button", "aria-label": "Save the cutout", title: "Save the cutout" },
      icon("save"),
    );
    this.root = el(
      "div",
      { class: "card", role: "dialog", "aria-label": "Selected segment", hidden: true },
      this.search,
      el(
        "div",
        { class: "card-row" },
        iconButton("plus", "Add to the search (+)", () => actions.refine("plus")),
        iconButton("minus", "Exclude from the search (−)", () => actions.refine("minus")),
        this.save,
        this.levels,
        iconButton("close", "Close (Esc)", actions.close),
      ),
    );
  }

  /**
   * Show the card for the selected segment; without one, hide it.
   * @param {import("./segment-picker.js").SegmentPicker} picker
   * @param {{left: number, right: number, y: number}} anchor to be placed beside, in CSS pixels of
   *   the stage
   * @param {boolean} takesFocus
   */
  show({ selected, stack, level }, anchor, takesFocus) {
    if (!selected) return this.hide();
    this.root.hidden = false;
    this.save.href = cutoutUrl(selected.segment_id);
    this.save.download = `${selected.segment_id}.png`;
    fill(this.levels, ...(stack.length > 1 ? this.levelButtons(level, stack.length) : []));
    this.place(anchor);
    if (takesFocus) this.search.focus();
  }

  /** @param {{left: number, right: number, y: number}} anchor */
  place({ left, right, y }) {
    const { clientWidth = 0, clientHeight = 0 } = this.root.parentElement ?? {};
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const fitsRight = right + 2 * MARGIN_PX + width <= clientWidth;
    const x = fitsRight ? right + MARGIN_PX : left - MARGIN_PX - width;
    const within = (/** @type {number} */ value, /** @type {number} */ most) =>
      clamp(value, MARGIN_PX, Math.max(MARGIN_PX, most - MARGIN_PX));
    this.root.style.left = `${within(x, clientWidth - width)}px`;
    this.root.style.top = `${within(y - height / 2, clientHeight - height)}px`;
  }

  hide() {
    this.root.hidden = true;
  }

  /** @param {number} level @param {number} count @returns {HTMLElement[]} */
  levelButtons(level, count) {
    const { changeLevel } = this.actions;
    return [
      iconButton("back", "Smaller segment here ([)", () => changeLevel(-1), {
        disabled: level === 0,
      }),
      el("span", {
        class: "faint",
        text: `${level + 1} of ${count}`,
        title: "Segments at this point, smallest first",
      }),
      iconButton("next", "Larger segment here (])", () => changeLevel(1), {
        disabled: level === count - 1,
      }),
    ];
  }
}
