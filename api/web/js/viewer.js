/** One photo, or one picture brought along: pick a segment, or cut what is none yet, and find it. */

import { ask, photoUrl } from "./api.js";
import { Card } from "./card.js";
import { Cutter } from "./cutter.js";
import { announce, el, fill } from "./dom.js";
import { segmentExample } from "./examples.js";
import { icon } from "./icons.js";
import { shapeOf } from "./lit.js";
import { Keyboard } from "./keyboard.js";
import { counted, dayName, fileName } from "./library.js";
import { button, errorMessage, iconButton, message, sentence } from "./message.js";
import { Picker } from "./picker.js";
import { base64Of, pictureOf, pictureUrl } from "./pictures.js";
import { emptyPrompt, isEmpty } from "./prompts.js";
import { refine } from "./results.js";
import { go, goBack, here, note, stateOf } from "./router.js";
import { Stage } from "./stage.js";
import { Tray } from "./tray.js";

/** @typedef {import("./router.js").State} State */
/** @typedef {import("./stage.js").Place} Place */
/** @typedef {{base: () => State, photoIds: () => string[]}} Surroundings the search or library behind
 *   a photo, and the photos that it shows */

const LIGHT = "#ffc16b";
const PHOTO_PX = 1400;
const CLICK = matchMedia("(hover: none)").matches ? "tap" : "click";
const HINTS = {
  pick: `Point at a thing and ${CLICK} it. Drag a box around what is no segment yet.`,
  none: `No segments here yet: ${CLICK} a thing to cut it out.`,
  cut:
    CLICK === "tap"
      ? "Tap what you mean, or drag a box around it."
      : "Click what you mean. Right-click what does not belong to it. Or drag a box around it.",
  busy: "Cutting…",
  nothing: "Nothing could be cut out there. Try another point, or drag a box around it.",
  choose: `Choose the one you mean. Another ${CLICK} makes it better.`,
};

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
    this.build();
    this.keyboard = new Keyboard(this);
  }

  build() {
    const stageRoot = el("div", { class: "stage", tabindex: "0", "aria-describedby": "hint" });
    this.stage = new Stage(stageRoot, {
      moved: (place) => this.onMove(place),
      clicked: (place, isNegative, at) => this.onClick(place, isNegative, at),
      boxed: (box) => this.cutWith(() => this.cutter.drag(box)),
      turned: (step, event) => this.onWheel(step, event),
      resized: () => this.placeCard(false),
    });
    this.picker = new Picker(this.stage, () => this.relight(), (segment) => this.choose(segment, true));
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
    this.title = el("h1", { class: "viewer-title", tabindex: "-1" });
    this.facts = el("p", { class: "faint" });
    this.said = el("div", { class: "viewer-said" });
    this.hint = el("p", { class: "hint", id: "hint", "aria-live": "polite" });
    this.allButton = this.toggle("dots", "Show all", "Show all segments (A)", () => this.showAll(!this.showsAll));
    this.cutButton = this.toggle("cut", "Cut", "Cut something out (C)", () => this.setCutting(!this.isCutting));
    this.whole = button("", () => this.findWhole(), { class: "button is-quiet", sign: "search" });
    this.previous = iconButton("back", "Photo before", () => this.step(-1));
    this.next = iconButton("next", "Next photo", () => this.step(1));
    stageRoot.append(this.card.root);
    fill(
      this.root,
      el("div", { class: "viewer-bar" },
        iconButton("close", "Back (Esc)", goBack),
        el("div", { class: "viewer-facts" }, this.title, this.facts),
        el("div", { class: "viewer-tools" }, this.previous, this.next, this.allButton, this.cutButton, this.whole)),
      stageRoot,
      this.said,
      el("div", { class: "viewer-foot" }, this.tray.root, this.hint),
    );
  }

  /** @param {string} sign @param {string} label @param {string} title @param {() => void} press */
  toggle(sign, label, title, press) {
    return el(
      "button",
      { type: "button", class: "button is-quiet", title, "aria-pressed": "false", on: { click: press } },
      icon(sign),
      el("span", { text: label }),
    );
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
    this.card.hide();
    fill(this.said);
    this.hint.textContent = "";
    try {
      await (this.hasPhoto ? this.loadPhoto(key, state.id) : this.loadPicture(key, state.id));
    } catch (error) {
      if (key === this.key) fill(this.said, errorMessage(error, () => ((this.key = ""), this.show(here()))));
    }
  }

  /** @param {string} key @param {string} id */
  async loadPhoto(key, id) {
    const [photo, { segments }] = await Promise.all([
      ask("GET", `/v1/photos/${id}`),
      ask("GET", `/v1/photos/${id}/segments`, { query: { with_masks: true } }),
    ]);
    if (key !== this.key) return;
    this.describe(fileName(photo.path), [dayName(photo.sort_at), photo.camera, counted(segments.length, "segment")]);
    const [width, height] = photo.size_wh;
    const alt = `Photo ${fileName(photo.path)}`;
    this.stage.show(width, height, photoUrl(id, PHOTO_PX), alt, () => this.sayMissing());
    this.picker.show(segments);
    this.cutter.reset(async () => ({ photo_id: id }));
    this.isLoaded = true;
    this.setCutting(segments.length === 0);
  }

  /** @param {string} key @param {string} id */
  async loadPicture(key, id) {
    const [picture, url] = await Promise.all([pictureOf(id), pictureUrl(id)]);
    if (key !== this.key) return;
    this.describe("Your picture", ["It stays in this browser"]);
    if (!picture || !url) {
      fill(this.said, message({
        title: "This picture is not in this browser",
        text: ["Pictures that you bring along stay where you dropped them. Drop it here again."],
      }));
      return;
    }
    this.stage.show(picture.width, picture.height, url, "Your picture", () => {});
    this.cutter.reset(async () => ({ image_base64: await base64Of(id) }));
    this.isLoaded = true;
    this.setCutting(true);
  }

  /** @param {string} title @param {(string|null)[]} facts */
  describe(title, facts) {
    this.title.textContent = title;
    this.facts.textContent = facts.filter(Boolean).join(" · ");
    document.title = `${title} · segsearch`;
    this.stage.root.setAttribute("aria-label", `${title}. ${facts.filter(Boolean).join(", ")}`);
    this.cutButton.hidden = this.allButton.hidden = !this.hasPhoto;
    fill(this.whole, icon("search"), this.hasPhoto ? "Find the whole photo" : "Find the whole picture");
    const ids = this.around.photoIds();
    const at = ids.indexOf(here().id);
    this.previous.hidden = this.next.hidden = !this.hasPhoto || at < 0;
    this.previous.disabled = at <= 0;
    this.next.disabled = at >= ids.length - 1;
  }

  sayMissing() {
    fill(this.said, message({
      title: "The file of this photo is out of reach",
      text: ["Its disk may be unplugged, or it was moved. Its segments can still be searched for."],
    }));
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
    if (now - (this.turnedAt ?? 0) < 90) return; // a trackpad sends dozens for one stroke
    this.turnedAt = now;
    this.turn(step);
  }

  /** The next larger or smaller segment at the same place. @param {number} step */
  turn(step) {
    if (this.picker.turn(step) && this.picker.chosen) this.choose(this.picker.chosen, false, this.clickedAt);
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

  /** What the card stays beside: the click, or the segment that was reached otherwise.
   * @param {import("./picker.js").Segment} segment */
  beside(segment) {
    const { width, height } = this.stage.size;
    const shape = shapeOf(segment.mask);
    const y = this.clickedAt?.y ?? segment.middle.y;
    const left = this.stage.fromPlace({ x: this.clickedAt?.x ?? shape.x * width, y });
    const right = this.stage.fromPlace({ x: this.clickedAt?.x ?? (shape.x + shape.width) * width, y });
    return { left: left.x, right: right.x, y: Math.min(left.y, this.stage.fromPlace({ x: 0, y: height }).y) };
  }

  /** @param {boolean} isCutting */
  setCutting(isCutting) {
    this.isCutting = isCutting;
    this.isNegative = false;
    if (isCutting) this.picker.choose(null);
    else this.cutter.clear();
    this.picker.point(null);
    this.card.hide();
    this.cutButton.setAttribute("aria-pressed", String(isCutting));
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
    this.whole.classList.toggle("is-main", !this.hasPhoto && cutter.isEmpty);
    this.root.classList.toggle("is-busy", cutter.isBusy);
    this.drawMarks();
    this.relight();
    this.sayHint();
    if (this.isLoaded && (this.isCutting || !isEmpty(here().cut))) {
      note(stateOf({ ...here(), segment: "", cut: cutter.prompt, pick: cutter.picked }));
    }
  }

  sayHint() {
    const { cutter } = this;
    if (cutter.error) this.hint.textContent = sentence(cutter.error.message);
    else if (cutter.isBusy) this.hint.textContent = HINTS.busy;
    else if (!this.isCutting) this.hint.textContent = HINTS.pick;
    else if (cutter.isEmpty) this.hint.textContent = this.picker.segments.length || !this.hasPhoto ? HINTS.cut : HINTS.none;
    else this.hint.textContent = cutter.candidates.length ? HINTS.choose : HINTS.nothing;
  }

  relight() {
    const segment = this.picker.current;
    const cut = this.isCutting ? this.cutter.current : null;
    if (cut) this.stage.shine([cut.mask], true, LIGHT);
    else if (segment && !this.isCutting) this.stage.shine([segment.mask], true, this.picker.chosen ? LIGHT : "#fff");
    else this.stage.shine(this.showsAll ? this.picker.segments.map(({ mask }) => mask) : [], false, "rgba(255,255,255,.85)");
    this.root.classList.toggle("has-light", Boolean(cut || segment));
  }

  drawMarks() {
    const { points, box } = this.cutter.prompt;
    const { width, height } = this.stage.size;
    const share = (/** @type {number} */ value, /** @type {number} */ whole) => `${(value / whole) * 100}%`;
    const marks = points.map(({ x, y, label }) => {
      const mark = el("span", { class: label ? "mark" : "mark is-outside" }, icon(label ? "plus" : "minus"));
      Object.assign(mark.style, { left: share(x, width), top: share(y, height) });
      return mark;
    });
    if (box) {
      const [x, y, w, h] = box;
      const frame = el("span", { class: "mark-box" });
      Object.assign(frame.style, { left: share(x, width), top: share(y, height), width: share(w, width), height: share(h, height) });
      marks.push(frame);
    }
    fill(this.marks, ...marks);
  }

  /** @param {boolean} isNegative */
  mean(isNegative) {
    this.isNegative = isNegative;
    this.tray.show(this.isCutting, isNegative);
  }

  /** @param {boolean} showsAll */
  showAll(showsAll) {
    this.showsAll = showsAll;
    this.allButton.setAttribute("aria-pressed", String(showsAll));
    this.relight();
  }

  /** What is chosen or cut, as an example. @returns {import("./examples.js").Example|null} */
  get meant() {
    const { view, id } = here();
    if (this.isCutting && this.cutter.current) {
      return { kind: view === "photo" ? "photo" : "picture", id, prompt: this.cutter.meant };
    }
    return this.picker.current && !this.isCutting ? segmentExample(this.picker.current.segment_id) : null;
  }

  find() {
    const { filter, scores, byPhoto } = this.around.base();
    if (this.meant) go(stateOf({ view: "search", plus: [this.meant], filter, scores, byPhoto }));
  }

  findWhole() {
    const { view, id } = here();
    const { filter, scores, byPhoto } = this.around.base();
    const kind = view === "photo" ? "photo" : "picture";
    go(stateOf({ view: "search", plus: [{ kind, id }], filter, scores, byPhoto }));
  }

  /** @param {"plus"|"minus"} side */
  refine(side) {
    if (this.meant) refine(this.around.base(), this.meant, side);
  }

  /** Go to the photo before or after. @param {number} by */
  step(by) {
    const ids = this.around.photoIds();
    const id = ids[ids.indexOf(here().id) + by];
    if (id && ids.includes(here().id)) go(stateOf({ view: "photo", id }), { replace: true });
  }
}
