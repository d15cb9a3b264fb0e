/** The viewer: one photo or picture. Select a segment or make a new one, then search with it. */

import { emptyPrompt, isEmptyPrompt } from "../search/prompts.js";
import { segmentExample } from "../search/examples.js";
import { refine } from "../search/result-tiles.js";
import { currentState, go, goBack, replaceUrl, stateOf } from "../router.js";
import { overlayUrl } from "../shared/api.js";
import { announce, el, fill } from "../shared/dom.js";
import { maskImageOf } from "../shared/mask-canvas.js";
import { errorMessage, message } from "../shared/messages.js";
import { CandidateTray } from "./candidate-tray.js";
import { FILE_MISSING, hintText, PICTURE_MISSING } from "./hints.js";
import { InteractiveSegmenter } from "./interactive-segmenter.js";
import { Keyboard } from "./keyboard.js";
import { drawPromptMarkers } from "./prompt-markers.js";
import { SegmentCard } from "./segment-card.js";
import { SegmentPicker } from "./segment-picker.js";
import { loadPhotoSource, loadPictureSource, VIEWER_PX } from "./source.js";
import { Stage } from "./stage.js";
import { Toolbar } from "./toolbar.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../search/examples.js").Example} Example */
/** @typedef {import("../shared/geometry.js").Point} Point */
/** @typedef {import("./segment-picker.js").MaskedSegment} MaskedSegment */
/**
 * @typedef {object} ViewerOptions
 * @property {() => State} getBase the library or search behind the photo
 * @property {(id: string) => string[]} photoIdsAround the photos to step through
 */

const SELECTED_COLOR = "#ffc16b";
const WIDE = 0.4; // of the photo: the card does not fit beside such a segment
const WHEEL_PAUSE_MS = 90; // a trackpad sends dozens of wheel events for one stroke

export class Viewer {
  /** @param {HTMLElement} root @param {ViewerOptions} options */
  constructor(root, options) {
    this.root = root;
    this.options = options;
    this.key = ""; // view and id of what is shown; "" while hidden
    this.isPhoto = true; // else a picture of the user
    this.isLoaded = false;
    this.isSegmenting = false; // clicks are prompts for a new segment
    this.isBackground = false; // the type of the next point
    this.showsAll = false;
    this.wheeledAt = 0;
    /** @type {Point|undefined} where the selected segment was clicked */
    this.clickedAt = undefined;
    const stageRoot = el("div", { class: "stage", tabindex: "0", "aria-describedby": "hint" });
    this.card = new SegmentCard({
      search: () => this.search(),
      refine: (side) => this.refine(side),
      changeLevel: (step) => this.changeLevel(step),
      close: () => this.select(null, false),
    });
    this.stage = new Stage(stageRoot, {
      onMove: (point) => this.onMove(point),
      onClick: (point, isBackground) => this.onClick(point, isBackground),
      onDrag: (box) => this.startSegmenting()?.setBox(box),
      onWheel: (step, event) => this.onWheel(step, event),
      onResize: () => this.placeCard(false),
    });
    this.picker = new SegmentPicker(
      this.stage,
      () => this.updateHighlight(),
      (segment) => this.select(segment, true),
    );
    this.segmenter = new InteractiveSegmenter(() => this.onSegmenterChange());
    this.tray = new CandidateTray(this.segmenter, this.stage, {
      search: () => this.search(),
      startOver: () => this.startOver(),
      setPointType: (isBackground) => this.setPointType(isBackground),
    });
    this.toolbar = new Toolbar({
      back: goBack,
      step: (step) => this.step(step),
      toggleAll: () => this.showAll(!this.showsAll),
      toggleSegmenting: () => this.setSegmenting(!this.isSegmenting),
      searchWhole: () => this.searchWhole(),
    });
    this.markers = el("div", { class: "marks", "aria-hidden": "true" });
    this.crosshair = el("div", { class: "crosshair", hidden: true, "aria-hidden": "true" });
    this.stage.frame.append(this.markers, this.crosshair);
    this.message = el("div", { class: "viewer-message" });
    this.hint = el("p", { class: "hint", id: "hint", "aria-live": "polite" });
    stageRoot.append(this.card.root);
    const foot = el("div", { class: "viewer-foot" }, this.tray.root, this.hint);
    fill(this.root, this.toolbar.root, stageRoot, this.message, foot);
    this.keyboard = new Keyboard(this);
  }

  /** @param {State} state a photo or a picture */
  async show(state) {
    const wasHidden = this.root.hidden;
    this.root.hidden = false;
    document.body.classList.add("is-viewing");
    const key = `${state.view}/${state.id}`;
    if (key !== this.key) await this.load(key, state);
    if (key === this.key && this.isLoaded) this.restore(state);
    if (wasHidden) this.stage.root.focus({ preventScroll: true });
  }

  /** @returns {boolean} whether it was visible */
  hide() {
    if (this.root.hidden) return false;
    this.root.hidden = true;
    this.key = "";
    this.segmenter.clear();
    document.body.classList.remove("is-viewing");
    return true;
  }

  /** @param {string} key @param {State} state */
  async load(key, state) {
    this.key = key;
    this.isLoaded = false;
    this.isPhoto = state.view === "photo";
    this.picker.show([]);
    this.setSegmenting(false);
    this.toolbar.show(null, this.isPhoto, [], "");
    fill(this.message);
    this.hint.textContent = "";
    try {
      const load = this.isPhoto ? loadPhotoSource : loadPictureSource;
      const source = await load(state.id);
      if (key === this.key) this.showSource(source, state.id);
    } catch (error) {
      if (key !== this.key) return;
      const retry = () => {
        this.key = "";
        this.show(currentState());
      };
      fill(this.message, errorMessage(error, retry));
    }
  }

  /** @param {import("./source.js").Source|null} source @param {string} id */
  showSource(source, id) {
    if (!source) return fill(this.message, message(PICTURE_MISSING));
    const { title, facts, segments } = source;
    document.title = `${title} · segsearch`;
    this.toolbar.show(source, this.isPhoto, this.options.photoIdsAround(id), id);
    this.stage.root.setAttribute("aria-label", [title, ...facts].join(", "));
    this.stage.show(source, () => fill(this.message, message(FILE_MISSING)));
    this.picker.show(segments);
    this.segmenter.reset(source.requestField);
    this.isLoaded = true;
    this.showAll(this.showsAll && this.isPhoto);
    this.setSegmenting(segments.length === 0);
  }

  /** Restore the selection or the prompt that a URL names. @param {State} state */
  restore(state) {
    if (!isEmptyPrompt(state.prompt)) {
      this.setSegmenting(true);
      this.segmenter.clear();
      this.segmenter.segment(state.prompt, state.candidate);
      return;
    }
    const segment = this.picker.find(state.segment);
    if (segment !== this.picker.selected) this.select(segment, false);
  }

  /** @param {Point|null} point */
  onMove(point) {
    if (!this.isSegmenting) this.picker.pointAt(point);
  }

  /** @param {Point} point @param {boolean} isBackground */
  onClick(point, isBackground) {
    if (this.isSegmenting) {
      const { segmenter } = this;
      if (this.isLoaded) segmenter.addPoint(point.x, point.y, isBackground || this.isBackground);
      return;
    }
    if (isBackground) return;
    const before = this.picker.selected;
    this.picker.selected = null;
    const segment = this.picker.pointAt(point);
    if (segment && segment !== before) this.select(segment, false, point);
    else if (before) this.select(null, false);
    else this.startSegmenting()?.addPoint(point.x, point.y, false);
  }

  /** @param {1|-1} step @param {WheelEvent} event */
  onWheel(step, event) {
    if (this.isSegmenting || this.picker.stack.length < 2) return;
    event.preventDefault();
    const now = performance.now();
    if (now - this.wheeledAt < WHEEL_PAUSE_MS) return;
    this.wheeledAt = now;
    this.changeLevel(step);
  }

  /** Go to the next larger (1) or smaller (-1) segment at the same point. @param {1|-1} step */
  changeLevel(step) {
    if (this.picker.changeLevel(step) && this.picker.selected) {
      this.select(this.picker.selected, false, this.clickedAt);
    }
  }

  /** @param {MaskedSegment|null} segment @param {boolean} takesFocus @param {Point} [clickedAt] */
  select(segment, takesFocus, clickedAt) {
    const { selected } = this.picker;
    const hadFocus = this.card.root.contains(document.activeElement);
    this.clickedAt = segment ? clickedAt : undefined;
    this.picker.select(segment);
    this.placeCard(takesFocus);
    replaceUrl(
      stateOf({
        ...currentState(),
        segment: segment?.segment_id ?? "",
        prompt: emptyPrompt(),
        candidate: 0,
      }),
    );
    if (segment) announce("Selected. Enter searches with this segment.");
    else if (hadFocus && selected) this.picker.focus(selected);
  }

  /** @param {boolean} takesFocus */
  placeCard(takesFocus) {
    const segment = this.picker.selected;
    if (!segment) return this.card.hide();
    this.card.show(this.picker, this.cardAnchor(segment), takesFocus);
  }

  /** What the card is placed beside: the segment, or the click if the segment is wide.
   * @param {MaskedSegment} segment */
  cardAnchor(segment) {
    const { width } = this.stage.size;
    const { x, width: share } = maskImageOf(segment.mask);
    const at = this.clickedAt ?? segment.center;
    const [x0, x1] = share > WIDE ? [at.x, at.x] : [x * width, (x + share) * width];
    const left = this.stage.toStage({ x: x0, y: at.y });
    const right = this.stage.toStage({ x: x1, y: at.y });
    return { left: left.x, right: right.x, y: left.y };
  }

  /** @param {boolean} isSegmenting whether clicks are prompts for a new segment */
  setSegmenting(isSegmenting) {
    this.isSegmenting = isSegmenting;
    this.isBackground = false;
    if (isSegmenting) this.picker.select(null);
    else this.segmenter.clear();
    this.picker.pointAt(null);
    this.card.hide();
    this.toolbar.segmenting.setAttribute("aria-pressed", String(isSegmenting));
    this.root.classList.toggle("is-segmenting", isSegmenting);
    this.keyboard.hideCrosshair();
    this.onSegmenterChange();
  }

  /** Clear the prompt; go on with it only where there is no segment to select. */
  startOver() {
    this.segmenter.clear();
    this.setSegmenting(!this.isPhoto || !this.picker.segments.length);
  }

  /** @returns {InteractiveSegmenter|null} null: the photo is not loaded yet */
  startSegmenting() {
    if (!this.isLoaded) return null;
    if (!this.isSegmenting) this.setSegmenting(true);
    return this.segmenter;
  }

  onSegmenterChange() {
    const { segmenter } = this;
    this.tray.show(this.isSegmenting, this.isBackground);
    this.toolbar.whole.classList.toggle("is-main", !this.isPhoto && segmenter.isEmpty);
    this.root.classList.toggle("is-busy", segmenter.isBusy);
    drawPromptMarkers(this.markers, segmenter.prompt, this.stage.size);
    this.updateHighlight();
    const isUnsegmented = this.isPhoto && !this.picker.segments.length;
    this.hint.textContent = hintText(segmenter, this.isSegmenting, isUnsegmented);
    const current = currentState();
    if (this.isLoaded && (this.isSegmenting || !isEmptyPrompt(current.prompt))) {
      const { prompt, selected: candidate } = segmenter;
      replaceUrl(stateOf({ ...current, segment: "", prompt, candidate }));
    }
  }

  updateHighlight() {
    const candidate = this.isSegmenting ? this.segmenter.current : null;
    const segment = this.picker.current;
    if (candidate) this.stage.highlight(candidate.mask, SELECTED_COLOR);
    else if (segment && !this.isSegmenting) {
      this.stage.highlight(segment.mask, this.picker.selected ? SELECTED_COLOR : "#fff");
    } else this.stage.highlight(null);
    this.root.classList.toggle("has-highlight", Boolean(candidate || segment));
  }

  /** @param {boolean} isBackground */
  setPointType(isBackground) {
    this.isBackground = isBackground;
    this.tray.show(this.isSegmenting, isBackground);
  }

  /** @param {boolean} showsAll */
  showAll(showsAll) {
    this.showsAll = showsAll;
    this.toolbar.all.setAttribute("aria-pressed", String(showsAll));
    const isShown = showsAll && this.isPhoto;
    this.stage.showOverlay(isShown ? overlayUrl(currentState().id, VIEWER_PX) : "");
  }

  /** The selected segment or candidate. @returns {Example|null} */
  get currentExample() {
    if (this.isSegmenting) {
      return this.segmenter.current
        ? { ...this.wholeExample, prompt: this.segmenter.searchPrompt }
        : null;
    }
    return this.picker.current && segmentExample(this.picker.current.segment_id);
  }

  /** @returns {Example} */
  get wholeExample() {
    const { view, id } = currentState();
    return { kind: view === "photo" ? "photo" : "picture", id };
  }

  search() {
    if (this.currentExample) this.searchWith(this.currentExample);
  }

  searchWhole() {
    this.searchWith(this.wholeExample);
  }

  /** Search the whole library: the filters of a search are kept, but not those of the library view.
   * @param {Example} example */
  searchWith(example) {
    const base = this.options.getBase();
    const { filter, scores, byPhoto } = base.view === "search" ? base : stateOf({});
    go(stateOf({ view: "search", plus: [example], filter, scores, byPhoto }));
  }

  /** @param {import("../search/examples.js").Side} side */
  refine(side) {
    if (this.currentExample) refine(this.options.getBase(), this.currentExample, side);
  }

  /** Go to the next or previous photo. @param {number} step */
  step(step) {
    const current = currentState().id;
    const ids = this.options.photoIdsAround(current);
    const at = ids.indexOf(current);
    const id = at < 0 ? undefined : ids[at + step];
    if (id) go(stateOf({ view: "photo", id }), { replace: true });
  }
}
