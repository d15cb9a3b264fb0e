/** Bringing the library up to date, with progress as it happens. */

import { ApiError, ask } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { libraryFacts } from "./facets.js";
import { icon } from "./icons.js";
import { counted } from "./names.js";
import { iconButton, notify, sentence } from "./message.js";

/**
 * @typedef {object} Job
 * @property {string} job_id
 * @property {"running"|"done"|"failed"|"cancelled"} state
 * @property {number} photos_seen
 * @property {number} photos_through
 * @property {number} photos_new files that are embedded as whole photos before any is cut
 * @property {number} photos_whole photos that were
 * @property {number} photos_ingested
 * @property {number} segments
 * @property {number} seconds
 * @property {string|null} message
 */

/**
 * @typedef {object} JobEvents
 * @property {() => void} changed the library has more or fewer photos
 * @property {(isRunning: boolean) => void} running
 */

const ASK_AGAIN_MS = 1000;

export class Jobs {
  /** @param {HTMLElement} root @param {JobEvents} events */
  constructor(root, events) {
    this.root = root;
    this.events = events;
    this.showedWhole = true; // that whole photos came in was told
    this.button = el(
      "button",
      {
        type: "button",
        class: "quiet-button",
        "aria-label": "Update library", // narrow screens show only the icon
        title: "Look for new, moved and vanished photos",
        on: { click: () => this.begin() },
      },
      icon("update"),
      el("span", { text: "Update library" }),
    );
    this.find();
  }

  /** Follow a job that runs already; who may only look gets no button. */
  async find() {
    try {
      const [{ jobs }, facts] = await Promise.all([ask("GET", "/v1/jobs"), libraryFacts()]);
      this.mayChange = facts.may_change;
      this.rest();
      const running = jobs.find((/** @type {Job} */ job) => job.state === "running");
      if (running) this.follow(running);
    } catch {
      fill(this.root);
    }
  }

  /** Show what is there while no job runs. */
  rest() {
    fill(this.root, this.mayChange && this.button);
  }

  async begin() {
    this.button.disabled = true;
    try {
      this.follow(await ask("POST", "/v1/ingest", { body: { root_id: null, path: "" } }));
    } catch (error) {
      notify(sentence(/** @type {Error} */ (error).message));
    }
    this.button.disabled = false;
  }

  /** @param {Job} job */
  follow(job) {
    this.showedWhole = job.photos_through > 0;
    this.events.running(true);
    this.drawFrame(job);
    this.show(job);
    const events = new EventSource(`/v1/jobs/${job.job_id}/events`);
    events.addEventListener("progress", (event) => {
      const now = JSON.parse(event.data);
      this.show(now);
      if (now.state !== "running") {
        events.close();
        this.end(now);
      }
    });
    events.addEventListener("error", () => {
      events.close();
      setTimeout(() => this.askOn(job), ASK_AGAIN_MS);
    });
  }

  /** The stream broke: ask now and then instead. @param {Job} job */
  async askOn(job) {
    try {
      const now = await ask("GET", `/v1/jobs/${job.job_id}`);
      this.show(now);
      if (now.state !== "running") this.end(now);
      else setTimeout(() => this.askOn(job), ASK_AGAIN_MS);
    } catch (error) {
      const isGone = error instanceof ApiError && error.status === 404;
      this.rest();
      this.events.running(false);
      notify(
        isGone ? "The update is over." : "The server does not answer; the update may still run.",
      );
    }
  }

  /** @param {Job} job */
  drawFrame(job) {
    this.text = el("span", { class: "job-text" });
    this.bar = el("progress", { "aria-label": "Update of the library" });
    const cancel = () =>
      ask("DELETE", `/v1/jobs/${job.job_id}`).catch((error) => notify(sentence(error.message)));
    fill(
      this.root,
      el(
        "div",
        { class: "job" },
        this.bar,
        this.text,
        this.mayChange && iconButton("close", "Stop the update", cancel),
      ),
    );
    announce("The library is being updated.");
  }

  /** @param {Job} job */
  show(job) {
    const { photos_seen: seen, photos_through: through, segments, seconds } = job;
    if (!this.bar || !this.text) return;
    const isWhole = isAtWholePhotos(job);
    const [done, all] = isWhole ? [job.photos_whole, job.photos_new] : [through, seen];
    if (all) {
      this.bar.max = all;
      this.bar.value = done;
    }
    const made = isWhole ? done : job.photos_ingested; // what is unchanged takes no time
    const pace = seconds > 1 && made ? `, ${(made / seconds).toFixed(1)}/s` : "";
    const part = isWhole ? "Whole photos: " : "";
    this.text.textContent = all
      ? `${part}${done.toLocaleString("en")} of ${all.toLocaleString("en")}${pace}`
      : "Looking for photos…";
    this.text.title = counted(segments, "segment");
    if (!this.showedWhole && !isWhole && job.photos_whole) {
      this.showedWhole = true;
      this.events.changed();
    }
  }

  /** @param {Job} job */
  end({ state, photos_ingested: ingested, segments, message }) {
    this.rest();
    this.events.running(false);
    const added = ingested
      ? `${counted(ingested, "photo")} added, ${counted(segments, "segment")}.`
      : "Everything is up to date.";
    if (state === "failed") notify(`The update failed. ${sentence(message ?? "")}`);
    else notify(state === "cancelled" ? `Stopped. ${ingested ? added : ""}` : added);
    this.events.changed();
  }
}

/** Whether a job makes whole photos searchable, before it cuts any. @param {Job} job @returns {boolean} */
const isAtWholePhotos = ({ photos_new: all, photos_whole: done, photos_through: through }) =>
  done < all && !through;
