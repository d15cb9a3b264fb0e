/** The tray below a photo while a new segment is made: mask candidates and what can be done. */

import { el, fill } from "../shared/dom.js";
import { squareCrop } from "../shared/geometry.js";
import { drawMaskedCrop } from "../shared/mask-canvas.js";
import { button, iconButton } from "../shared/messages.js";

/** @typedef {import("./interactive-segmenter.js").MaskCandidate} MaskCandidate */
/**
 * @typedef {object} CandidateTrayActions
 * @property {() => void} search
 * @property {() => void} startOver
 * @property {(isBackground: boolean) => void} setPointType of the next clicks
 */

const PREVIEW_PX = 148;
const CROP_SCALE = 1.3; // relative to the candidate's bounding box
const STYLE = { dimColor: "rgba(10, 9, 8, 0.68)", outlineColor: "#fff", outlinePx: 2 };

export class CandidateTray {
  /** @param {import("./interactive-segmenter.js").InteractiveSegmenter} segmenter
   * @param {import("./stage.js").Stage} stage @param {CandidateTrayActions} actions */
  constructor(segmenter, stage, actions) {
    this.segmenter = segmenter;
    this.stage = stage;
    /** @type {MaskCandidate[]} those that the previews show */
    this.drawn = [];
    this.previews = el("div", { class: "previews", role: "group", "aria-label": "Candidates" });
    this.foreground = iconButton("plus", "Clicks add to the segment", () =>
      actions.setPointType(false),
    );
    this.background = iconButton("minus", "Clicks remove from the segment", () =>
      actions.setPointType(true),
    );
    this.search = button("Search", actions.search, { class: "button is-main", sign: "search" });
    this.search.title = "Search with this segment"; // too long for a narrow screen
    this.search.setAttribute("aria-label", this.search.title);
    this.root = el(
      "div",
      { class: "tray", hidden: true },
      this.previews,
      el(
        "div",
        { class: "tray-tools" },
        el(
          "div",
          { class: "sides", role: "group", "aria-label": "What a click does" },
          this.foreground,
          this.background,
        ),
        iconButton("undo", "Undo (U)", () => segmenter.undo()),
        iconButton("close", "Start over", actions.startOver),
        this.search,
      ),
    );
  }

  /** @param {boolean} isOpen @param {boolean} isBackground the type of the next point */
  show(isOpen, isBackground) {
    const { segmenter } = this;
    this.root.hidden = !isOpen || segmenter.isEmpty;
    this.root.classList.toggle("is-busy", segmenter.isBusy);
    this.foreground.setAttribute("aria-pressed", String(!isBackground));
    this.background.setAttribute("aria-pressed", String(isBackground));
    this.search.disabled = !segmenter.current || segmenter.isBusy;
    if (this.drawn !== segmenter.candidates) {
      this.drawn = segmenter.candidates;
      fill(this.previews, ...this.drawn.map((candidate, i) => this.createPreview(candidate, i)));
    }
    [...this.previews.children].forEach((preview, i) =>
      preview.setAttribute("aria-pressed", String(i === segmenter.selected)),
    );
  }

  /** @param {MaskCandidate} candidate @param {number} i @returns {HTMLElement} */
  createPreview(candidate, i) {
    const { size, image } = this.stage;
    const cropPx = squareCrop(candidate.bbox_xywh, size.width, size.height, CROP_SCALE);
    const crop = {
      x: cropPx.x / size.width,
      y: cropPx.y / size.height,
      width: cropPx.width / size.width,
      height: cropPx.height / size.height,
    };
    const canvas = el("canvas", { width: PREVIEW_PX, height: PREVIEW_PX, "aria-hidden": "true" });
    const draw = () => drawMaskedCrop(canvas, image, crop, [candidate.mask], STYLE);
    image.decode().then(draw, () => {});
    const iou = `predicted IoU ${candidate.predicted_iou.toFixed(2)}`;
    return el(
      "button",
      {
        type: "button",
        class: "preview",
        "aria-label": `Candidate ${i + 1}, ${iou}`,
        title: iou,
        on: { click: () => this.segmenter.select(i) },
      },
      canvas,
      el("kbd", { text: String(i + 1) }),
    );
  }
}
