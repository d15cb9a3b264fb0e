/** Cutting what is no segment yet: clicks and a box go to SAM, candidates come back. */

import { ask, isAborted } from "./api.js";
import { emptyPrompt, isEmpty, promptForApi } from "./prompts.js";
import { maskFromRle } from "./rle.js";

/** @typedef {import("./prompts.js").Prompt} Prompt */
/** @typedef {{mask: import("./rle.js").Mask, bbox_xywh: [number, number, number, number],
 *   predicted_iou: number}} Candidate */

export class Cutter {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {() => Promise<object>} */
    this.source = async () => ({});
    /** @type {AbortController|null} */
    this.asking = null;
    /** @type {Prompt[]} */
    this.past = [];
    this.prompt = emptyPrompt();
    /** @type {Candidate[]} */
    this.candidates = [];
    this.picked = 0; // of the candidates
    this.isBusy = false;
    /** @type {any} */
    this.error = null;
  }

  /** Begin anew, with another picture. @param {() => Promise<object>} source the field of a
   *   SegmentRequest that says which picture */
  reset(source) {
    this.source = source;
    this.clear();
  }

  clear() {
    this.asking?.abort();
    this.past = [];
    this.prompt = emptyPrompt();
    this.candidates = [];
    this.picked = 0;
    this.isBusy = false;
    this.error = null;
  }

  get isEmpty() {
    return isEmpty(this.prompt);
  }

  /** The candidate that is meant. @returns {Candidate|null} */
  get current() {
    return this.candidates[this.picked] ?? null;
  }

  /** @param {number} x @param {number} y @param {boolean} isNegative */
  click(x, y, isNegative) {
    const point = {
      x: Math.round(x),
      y: Math.round(y),
      label: /** @type {0|1} */ (isNegative ? 0 : 1),
    };
    return this.mean({ ...this.prompt, points: [...this.prompt.points, point] });
  }

  /** @param {[number, number, number, number]} box */
  drag(box) {
    const rounded = /** @type {[number, number, number, number]} */ (box.map(Math.round));
    return this.mean({ points: this.prompt.points, box: rounded });
  }

  undo() {
    const before = this.past.pop();
    if (!before || isEmpty(before)) {
      this.clear();
      return this.changed();
    }
    return this.cut(before, 0);
  }

  /** @param {Prompt} prompt */
  mean(prompt) {
    this.past.push(this.prompt);
    return this.cut(prompt, 0);
  }

  /** @param {number} number from 0 */
  pick(number) {
    if (number >= this.candidates.length) return;
    this.picked = number;
    this.changed();
  }

  /** Ask for the candidates of a prompt. @param {Prompt} prompt @param {number} picked */
  async cut(prompt, picked) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.prompt = prompt;
    this.isBusy = true;
    this.error = null;
    this.changed();
    try {
      const body = { ...(await this.source()), prompt: promptForApi(prompt) };
      const { candidates } = await ask("POST", "/v1/segment", { body, signal: asking.signal });
      if (asking !== this.asking || asking.signal.aborted) return;
      this.candidates = candidates.map((/** @type {any} */ one) => ({
        ...one,
        mask: maskFromRle(one.segmentation),
      }));
      this.picked = Math.min(picked, Math.max(0, candidates.length - 1));
    } catch (error) {
      if (isAborted(error) || asking !== this.asking) return;
      this.candidates = [];
      this.error = error;
    }
    this.isBusy = false;
    this.changed();
  }

  /**
   * The prompt that means the picked candidate to a search: it takes the best one by itself, and with
   * a box the one that fits the box.
   * @returns {Prompt}
   */
  get meant() {
    const { points, box } = this.prompt;
    if (!this.current || (this.picked === 0 && !box)) return this.prompt;
    return { points, box: this.current.bbox_xywh };
  }
}
