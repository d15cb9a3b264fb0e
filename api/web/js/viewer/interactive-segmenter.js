/**
 * Interactive segmentation: points and a box are prompts for SAM, which returns mask candidates.
 */

import { emptyPrompt, isEmptyPrompt, promptForApi } from "../search/prompts.js";
import { fetchCandidates } from "../shared/api.js";
import { isAborted } from "../shared/http.js";
import { maskFromRle } from "../shared/rle.js";

/** @typedef {import("../search/prompts.js").Prompt} Prompt */
/** @typedef {import("../search/prompts.js").Point} Point */
/** @typedef {import("../shared/api.js").BoxXywh} BoxXywh */
/** @typedef {import("../shared/api.js").Candidate & {mask: import("../shared/rle.js").Mask}}
 *   MaskCandidate */
/**
 * @typedef {() => Promise<object>} RequestField the field of a SegmentRequest that names the photo
 */
/** @typedef {typeof fetchCandidates} FetchCandidates */

export class InteractiveSegmenter {
  /** @param {() => void} onChange @param {FetchCandidates} [fetch] for tests */
  constructor(onChange, fetch = fetchCandidates) {
    this.onChange = onChange;
    this.fetch = fetch;
    /** @type {RequestField} */
    this.requestField = async () => ({});
    /** @type {AbortController|null} */
    this.request = null;
    /** @type {Prompt[]} earlier ones, for undo() */
    this.history = [];
    this.prompt = emptyPrompt();
    /** @type {MaskCandidate[]} best first */
    this.candidates = [];
    this.selected = 0; // index of the candidate
    this.isBusy = false;
    /** @type {unknown} null: none */
    this.error = null;
  }

  /** Start with another photo. @param {RequestField} requestField */
  reset(requestField) {
    this.requestField = requestField;
    this.clear();
  }

  clear() {
    this.request?.abort();
    this.request = null;
    this.history = [];
    this.prompt = emptyPrompt();
    this.candidates = [];
    this.selected = 0;
    this.isBusy = false;
    this.error = null;
  }

  get isEmpty() {
    return isEmptyPrompt(this.prompt);
  }

  /** @returns {MaskCandidate|null} the selected candidate */
  get current() {
    return this.candidates[this.selected] ?? null;
  }

  /** @param {number} x @param {number} y @param {boolean} isBackground */
  addPoint(x, y, isBackground) {
    /** @type {Point} */
    const point = { x: Math.round(x), y: Math.round(y), label: isBackground ? 0 : 1 };
    return this.change({ ...this.prompt, points: [...this.prompt.points, point] });
  }

  /** @param {BoxXywh} box */
  setBox([x, y, w, h]) {
    /** @type {BoxXywh} */
    const box = [Math.round(x), Math.round(y), Math.round(w), Math.round(h)];
    return this.change({ ...this.prompt, box });
  }

  /** @param {Prompt} prompt */
  change(prompt) {
    this.history.push(this.prompt);
    return this.segment(prompt, 0);
  }

  undo() {
    const previous = this.history.pop();
    if (previous && !isEmptyPrompt(previous)) return this.segment(previous, 0);
    this.clear();
    return this.onChange();
  }

  /** @param {number} i */
  select(i) {
    if (i >= this.candidates.length) return;
    this.selected = i;
    this.onChange();
  }

  /**
   * Fetch the candidates for a prompt.
   * @param {Prompt} prompt
   * @param {number} selected index of the candidate to select
   */
  async segment(prompt, selected) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.prompt = prompt;
    this.isBusy = true;
    this.error = null;
    this.onChange();
    try {
      const body = { ...(await this.requestField()), prompt: promptForApi(prompt) };
      const { candidates } = await this.fetch(body, request.signal);
      if (request !== this.request) return;
      this.candidates = candidates.map((candidate) => ({
        ...candidate,
        mask: maskFromRle(candidate.segmentation),
      }));
      this.selected = Math.min(selected, Math.max(0, candidates.length - 1));
    } catch (error) {
      if (isAborted(error) || request !== this.request) return;
      this.candidates = [];
      this.error = error;
    }
    this.isBusy = false;
    this.onChange();
  }

  /**
   * The prompt by which a search finds the selected candidate. A search takes the best candidate
   * for points, or the one that fits the box; so another choice is named by its bounding box.
   * @returns {Prompt}
   */
  get searchPrompt() {
    const { points, box } = this.prompt;
    if (!this.current || (this.selected === 0 && !box)) return this.prompt;
    return { points, box: this.current.bbox_xywh };
  }
}
