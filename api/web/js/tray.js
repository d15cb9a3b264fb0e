/** The tray below a picture that is being cut: candidates to choose from, and what can be done. */

import { el, fill } from "./dom.js";
import { drawLitPart, squareAround } from "./lit.js";
import { button, iconButton } from "./message.js";

/** @typedef {import("./cutter.js").Cutter} Cutter */
/**
 * @typedef {object} TrayActions
 * @property {() => void} find
 * @property {() => void} clear
 * @property {(isNegative: boolean) => void} mean what the next plain click says
 */

const PREVIEW_PX = 148;
const ROOM = 1.3; // around the candidate
const LOOK = { veil: "rgba(10, 9, 8, 0.68)", outline: "#fff", thickness: 2 };

export class Tray {
  /** @param {Cutter} cutter @param {import("./stage.js").Stage} stage @param {TrayActions} actions */
  constructor(cutter, stage, actions) {
    this.cutter = cutter;
    this.stage = stage;
    this.actions = actions;
    this.previews = el("div", { class: "previews", role: "group", "aria-label": "Candidates" });
    this.inside = this.sideButton("plus", "Clicks say: this belongs to it", false);
    this.outside = this.sideButton("minus", "Clicks say: this does not belong to it", true);
    this.find = button("Find this", actions.find, { class: "button is-main", sign: "search" });
    this.undo = iconButton("undo", "Undo (U)", () => cutter.undo());
    this.clear = iconButton("close", "Begin anew", actions.clear);
    this.root = el(
      "div",
      { class: "tray", hidden: true },
      this.previews,
      el(
        "div",
        { class: "tray-tools" },
        el(
          "div",
          { class: "sides", role: "group", "aria-label": "What a click says" },
          this.inside,
          this.outside,
        ),
        this.undo,
        this.clear,
        this.find,
      ),
    );
  }

  /** @param {string} sign @param {string} label @param {boolean} isNegative */
  sideButton(sign, label, isNegative) {
    return iconButton(sign, label, () => this.actions.mean(isNegative), {
      "aria-pressed": String(!isNegative),
    });
  }

  /** @param {boolean} isOpen @param {boolean} isNegative */
  show(isOpen, isNegative) {
    const { cutter } = this;
    this.root.hidden = !isOpen || cutter.isEmpty;
    this.root.classList.toggle("is-busy", cutter.isBusy);
    this.inside.setAttribute("aria-pressed", String(!isNegative));
    this.outside.setAttribute("aria-pressed", String(isNegative));
    this.find.disabled = !cutter.current || cutter.isBusy;
    if (this.drawn !== cutter.candidates) this.draw();
    [...this.previews.children].forEach((preview, i) =>
      preview.setAttribute("aria-pressed", String(i === cutter.picked)),
    );
  }

  draw() {
    const { candidates } = this.cutter;
    this.drawn = candidates;
    const { width, height } = this.stage.size;
    fill(
      this.previews,
      ...candidates.map((candidate, i) => {
        const square = squareAround(candidate.bbox_xywh, width, height, ROOM);
        const part = {
          x: square.x / width,
          y: square.y / height,
          width: square.width / width,
          height: square.height / height,
        };
        const canvas = el("canvas", {
          width: PREVIEW_PX,
          height: PREVIEW_PX,
          "aria-hidden": "true",
        });
        const sure = Math.round(Math.min(1, Math.max(0, candidate.predicted_iou)) * 100);
        const draw = () => drawLitPart(canvas, this.stage.image, part, [candidate.mask], LOOK);
        this.stage.image.decode().then(draw, () => {});
        return el(
          "button",
          {
            type: "button",
            class: "preview",
            "aria-label": `Candidate ${i + 1}, ${sure}% sure`,
            title: `${sure}% sure`,
            on: { click: () => this.cutter.pick(i) },
          },
          canvas,
          el("kbd", { text: String(i + 1) }),
        );
      }),
    );
  }
}
