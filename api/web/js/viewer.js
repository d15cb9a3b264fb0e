/** One photo, or one picture brought along: pick a segment, or cut what is none yet, and find it. */

import { Card } from "./card.js";
import { Cutter } from "./cutter.js";
import { announce, el, fill } from "./dom.js";
import { segmentExample } from "./examples.js";
import { Keyboard } from "./keyboard.js";
import { shapeOf } from "./lit.js";
import { drawMarks } from "./marks.js";
import { errorMessage, message } from "./message.js";
import { Picker } from "./picker.js";
import { emptyPrompt, isEmpty } from "./prompts.js";
import { refine } from "./hits.js";
import { go, goBack, here, note, stateOf } from "./router.js";
import { loadPhoto, loadPicture, overlayUrl } from "./source.js";
import { Stage } from "./stage.js";
import { Tray } from "./tray.js";
import { hintFor, NOT_HERE, OUT_OF_REACH } from "./words.js";
import { ViewerBar } from "./viewerbar.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./stage.js").Place} Place */
/** @typedef {{base: () => State, photoIds: (id: string) => string[]}} Surroundings the search or
 *   library behind a photo, and the photos that it shows around that one */

const LIGHT = "#ffc16b";
const WIDE = 0.4; // of the photo: beside such a segment there is no room
const TURN_MS = 90; // a trackpad sends dozens of wheel events for one stroke

export class Viewer {
  /** @param {HTMLElement} root @param {Surroundings} around */
  constructor(root, around) {
    this.root = root;
    this.around = around;
    this.key = "";
    this.isCutting = false;
    this.isNegative = false;
    this.showsAll = false;
    this.hasPhoto = true;
    this.isLoaded = false;
    this.turnedAt = 0;
    /** @type {Place|undefined} */
    this.clickedAt = undefined;
    const stageRoot = el("div", { class: "stage", tabindex: "0", "aria-describedby": "hint" });
    this.stage = new Stage(stageRoot, {
      moved: (place) => this.onMove(place),
      clicked: (place, isNegative) => this.onClick(place, isNegative),
      boxed: (box) => this.cutWith(() => this.cutter.drag(box)),
      turned: (step, event) => this.onWheel(step, event),
      resized: () => this.placeCard(false),
    });
    this.picker = new Picker(
      this.stage,
      () => this.relight(),
      (segment) => this.choose(segment, true),
    );
    this.cutter = new Cutter(() => this.onCut());
    this.card = new Card({
      find: () => this.find(),
      refine: (side) => this.refine(side),
      turn: (step) => this.turn(step),
      close: () => this.choose(null, false),
    });
    this.tray = new Tray(this.cutter, this.stage, {
      find: () => this.find(),
      clear: () => this.stopCutting(),
      mean: (isNegative) => this.mean(isNegative),
    });
    this.marks = el("div", { class: "marks", "aria-hidden": "true" });
    this.cross = el("div", { class: "cross", hidden: true, "aria-hidden": "true" });
    this.stage.frame.append(this.marks, this.cross);
    this.bar = new ViewerBar({
      back: goBack,
      step: (by) => this.step(by),
      all: () => this.showAll(!this.showsAll),
      cut: () => this.setCutting(!this.isCutting),
      whole: () => this.findWhole(),
    });
    this.said = el("div", { class: "viewer-said" });
    this.hint = el("p", { class: "hint", id: "hint", "aria-live": "polite" });
    stageRoot.append(this.card.root);
    const foot = el("div", { class: "viewer-foot" }, this.tray.root, this.hint);
    fill(this.root, this.bar.root, stageRoot, this.said, foot);
    this.keyboard = new Keyboard(this);
  }

  /** @param {State} state */
  async show(state) {
    const wasHidden = this.root.hidden;
    this.root.hidden = false;
    document.body.classList.add("is-viewing");
    const key = `${state.view}/${state.id}`;
    if (key !== this.key) await this.load(key, state);
    if (key === this.key && this.isLoaded) this.apply(state);
    if (wasHidden) this.stage.root.focus({ preventScroll: true });
  }

  /** @returns {boolean} whether it was shown */
  hide() {
    if (this.root.hidden) return false;
    this.root.hidden = true;
    this.key = "";
    this.cutter.clear();
    document.body.classList.remove("is-viewing");
    return true;
  }

  /** @param {string} key @param {State} state */
  async load(key, state) {
    this.key = key;
    this.isLoaded = false;
    this.hasPhoto = state.view === "photo";
    this.picker.show([]);
    this.setCutting(false);
    this.bar.show(null, this.hasPhoto, [], "");
    fill(this.said);
    this.hint.textContent = "";
    try {
      const source = await (this.hasPhoto ? loadPhoto(state.id) : loadPicture(state.id));
      if (key === this.key) this.fill(source, state.id);
    } catch (error) {
      if (key !== this.key) return;
      const retry = () => {
        this.key = "";
        this.show(here());
      };
      fill(this.said, errorMessage(error, retry));
    }
  }

  /** @param {import("./source.js").Source|null} source @param {string} id */
  fill(source, id) {
    if (!source) return fill(this.said, message(NOT_HERE));
    const { title, facts, width, height, src, segments } = source;
    document.title = `${title} · segsearch`;
    this.bar.show(source, this.hasPhoto, this.around.photoIds(id), id);
    this.stage.root.setAttribute("aria-label", [title, ...facts].join(", "));
    this.stage.show(width, height, src, title, () => fill(this.said, message(OUT_OF_REACH)));
    this.picker.show(segments);
    this.cutter.reset(source.forApi);
    this.isLoaded = true;
    this.showAll(this.showsAll && this.hasPhoto);
    this.setCutting(segments.length === 0);
  }

  /** Bring back what an address says of a photo. @param {State} state */
  apply(state) {
    const segment = this.picker.find(state.segment);
    if (!isEmpty(state.cut)) {
      this.setCutting(true);
      this.cutter.clear();
      this.cutter.cut(state.cut, state.pick);
    } else if (segment !== this.picker.chosen) this.choose(segment, false);
  }

  /** @param {Place|null} place */
  onMove(place) {
    if (!this.isCutting) this.picker.point(place);
  }

  /** @param {Place} place @param {boolean} isNegative */
  onClick(place, isNegative) {
    if (this.isCutting) {
      return this.cutWith(() => this.cutter.click(place.x, place.y, isNegative || this.isNegative));
    }
    if (isNegative) return;
    const before = this.picker.chosen;
    this.picker.chosen = null;
    const segment = this.picker.point(place);
    if (segment && segment !== before) this.choose(segment, false, place);
    else if (before) this.choose(null, false);
    else this.cutWith(() => this.cutter.click(place.x, place.y, false));
  }

  /** @param {number} step @param {WheelEvent} event */
  onWheel(step, event) {
    if (this.isCutting || this.picker.stack.length < 2) return;
    event.preventDefault();
    const now = performance.now();
    if (now - this.turnedAt < TURN_MS) return;
    this.turnedAt = now;
    this.turn(step);
  }

  /** The next larger or smaller segment at the same place. @param {number} step */
  turn(step) {
    if (this.picker.turn(step) && this.picker.chosen)
      this.choose(this.picker.chosen, false, this.clickedAt);
  }

  /** @param {any} segment @param {boolean} takesFocus @param {Place} [at] */
  choose(segment, takesFocus, at) {
    const left = this.card.root.contains(document.activeElement) ? this.picker.chosen : null;
    this.clickedAt = segment ? at : undefined;
    this.picker.choose(segment);
    this.placeCard(takesFocus);
    note(stateOf({ ...here(), segment: segment?.segment_id ?? "", cut: emptyPrompt(), pick: 0 }));
    if (segment) announce("Chosen. Enter finds it everywhere.");
    else if (left) this.picker.focus(left);
  }

  /** @param {boolean} takesFocus */
  placeCard(takesFocus) {
    if (!this.card || !this.picker.chosen) return this.card?.hide();
    this.card.show(this.picker, this.beside(this.picker.chosen), takesFocus);
  }

  /** What the card stays beside: the segment, or the click if the segment is wide.
   * @param {import("./picker.js").Segment} segment */
  beside(segment) {
    const { width } = this.stage.size;
    const shape = shapeOf(segment.mask);
    const at = this.clickedAt ?? segment.middle;
    const [x0, x1] =
      shape.width > WIDE ? [at.x, at.x] : [shape.x, shape.x + shape.width].map((x) => x * width);
    const left = this.stage.fromPlace({ x: x0, y: at.y });
    return { left: left.x, right: this.stage.fromPlace({ x: x1, y: at.y }).x, y: left.y };
  }

  /** @param {boolean} isCutting */
  setCutting(isCutting) {
    this.isCutting = isCutting;
    this.isNegative = false;
    if (isCutting) this.picker.choose(null);
    else this.cutter.clear();
    this.picker.point(null);
    this.card.hide();
    this.bar.cut.setAttribute("aria-pressed", String(isCutting));
    this.root.classList.toggle("is-cutting", isCutting);
    this.keyboard?.hideCross();
    this.onCut();
  }

  stopCutting() {
    this.cutter.clear();
    this.setCutting(!this.hasPhoto || !this.picker.segments.length);
  }

  /** @param {() => void} cut */
  cutWith(cut) {
    if (!this.isLoaded) return;
    if (!this.isCutting) this.setCutting(true);
    cut();
  }

  onCut() {
    const { cutter } = this;
    this.tray.show(this.isCutting, this.isNegative);
    this.bar.whole.classList.toggle("is-main", !this.hasPhoto && cutter.isEmpty);
    this.root.classList.toggle("is-busy", cutter.isBusy);
    drawMarks(this.marks, cutter.prompt, this.stage.size);
    this.relight();
    this.hint.textContent = hintFor(
      cutter,
      this.isCutting,
      this.picker.segments.length || !this.hasPhoto,
    );
    if (this.isLoaded && (this.isCutting || !isEmpty(here().cut))) {
      note(stateOf({ ...here(), segment: "", cut: cutter.prompt, pick: cutter.picked }));
    }
  }

  relight() {
    const segment = this.picker.current;
    const cut = this.isCutting ? this.cutter.current : null;
    if (cut) this.stage.shine(cut.mask, LIGHT);
    else if (segment && !this.isCutting)
      this.stage.shine(segment.mask, this.picker.chosen ? LIGHT : "#fff");
    else this.stage.shine(null);
    this.root.classList.toggle("has-light", Boolean(cut || segment));
  }

  /** @param {boolean} isNegative */
  mean(isNegative) {
    this.isNegative = isNegative;
    this.tray.show(this.isCutting, isNegative);
  }

  /** @param {boolean} showsAll */
  showAll(showsAll) {
    this.showsAll = showsAll;
    this.bar.all.setAttribute("aria-pressed", String(showsAll));
    this.stage.cover(showsAll && this.hasPhoto ? overlayUrl(here().id) : "");
  }

  /** What is chosen or cut, as an example. @returns {import("./examples.js").Example|null} */
  get meant() {
    const { view, id } = here();
    if (this.isCutting && this.cutter.current) {
      return { kind: view === "photo" ? "photo" : "picture", id, prompt: this.cutter.meant };
    }
    return this.picker.current && !this.isCutting
      ? segmentExample(this.picker.current.segment_id)
      : null;
  }

  find() {
    if (this.meant) this.findLike(this.meant);
  }

  findWhole() {
    const { view, id } = here();
    this.findLike({ kind: view === "photo" ? "photo" : "picture", id });
  }

  /** Filters of a search are kept; a folder that was only browsed is not everywhere.
   * @param {import("./examples.js").Example} example */
  findLike(example) {
    const base = this.around.base();
    const kept = base.view === "search" ? base : stateOf({});
    const { filter, scores, byPhoto } = kept;
    go(stateOf({ view: "search", plus: [example], filter, scores, byPhoto }));
  }

  /** @param {"plus"|"minus"} side */
  refine(side) {
    if (this.meant) refine(this.around.base(), this.meant, side);
  }

  /** Go to the photo before or after. @param {number} by */
  step(by) {
    const ids = this.around.photoIds(here().id);
    const id = ids[ids.indexOf(here().id) + by];
    if (id && ids.includes(here().id)) go(stateOf({ view: "photo", id }), { replace: true });
  }
}
