/** The "Update library" button: starts an ingest job and shows its progress. */

import { loadLibraryFacts } from "../filters/facets.js";
import { cancelJob, fetchJob, fetchJobs, jobEventsUrl, startIngest } from "../shared/api.js";
import { announce, el, fill } from "../shared/dom.js";
import { asSentence, countLabel, errorLabel, numberLabel } from "../shared/format.js";
import { ApiError } from "../shared/http.js";
import { icon } from "../shared/icons.js";
import { iconButton, notify } from "../shared/messages.js";

/** @typedef {import("../shared/api.js").Job} Job */
/**
 * @typedef {object} LibraryUpdateEvents
 * @property {() => void} changed the library has other photos than before
 * @property {(isRunning: boolean) => void} running
 */

const POLL_MS = 1000;
const PACE_AFTER_S = 1;

/** Whether a job still embeds whole photos and has segmented none. @param {Job} job */
const isInWholePhotoPass = ({ photos_new: all, photos_whole: done, photos_through: through }) =>
  done < all && !through;

/**
 * @param {Job} job
 * @returns {{done: number, total: number, text: string}} total 0: not known yet
 */
export function jobProgress(job) {
  const isWhole = isInWholePhotoPass(job);
  const done = isWhole ? job.photos_whole : job.photos_through;
  const total = isWhole ? job.photos_new : job.photos_seen;
  if (!total) return { done, total, text: "Looking for photos…" };
  const processed = isWhole ? done : job.photos_ingested; // unchanged photos take no time
  const pace =
    job.seconds > PACE_AFTER_S && processed ? `, ${(processed / job.seconds).toFixed(1)}/s` : "";
  const prefix = isWhole ? "Whole photos: " : "";
  return { done, total, text: `${prefix}${numberLabel(done)} of ${numberLabel(total)}${pace}` };
}

/** @param {Job} job one that has ended @returns {string} */
export function jobSummary({ state, photos_ingested: photos, segments, message }) {
  const added = `${countLabel(photos, "photo")} added, ${countLabel(segments, "segment")}.`;
  if (state === "failed") return `The update failed. ${asSentence(message ?? "")}`.trim();
  if (state === "cancelled") return photos ? `Stopped. ${added}` : "Stopped.";
  return photos ? added : "Everything is up to date.";
}

export class LibraryUpdate {
  /** @param {HTMLElement} root @param {LibraryUpdateEvents} events */
  constructor(root, events) {
    this.root = root;
    this.events = events;
    this.mayChange = false;
    this.isWholePassReported = true;
    this.button = el(
      "button",
      {
        type: "button",
        class: "quiet-button",
        "aria-label": "Update library", // narrow screens show only the icon
        title: "Look for new, moved and deleted photos",
        on: { click: () => this.start() },
      },
      icon("update"),
      el("span", { text: "Update library" }),
    );
    this.bar = el("progress", { "aria-label": "Update of the library" });
    this.text = el("span", { class: "job-text" });
    this.findRunningJob();
  }

  /** Show a job that runs already. Without write access there is no button. */
  async findRunningJob() {
    try {
      const [{ jobs }, library] = await Promise.all([fetchJobs(), loadLibraryFacts()]);
      this.mayChange = library.may_change;
      this.showButton();
      const running = jobs.find((job) => job.state === "running");
      if (running) this.follow(running);
    } catch {
      fill(this.root);
    }
  }

  showButton() {
    fill(this.root, this.mayChange && this.button);
  }

  async start() {
    this.button.disabled = true;
    try {
      this.follow(await startIngest());
    } catch (error) {
      notify(errorLabel(error));
    }
    this.button.disabled = false;
  }

  /** Show the progress of a job from its events. @param {Job} job */
  follow(job) {
    this.isWholePassReported = job.photos_through > 0;
    this.events.running(true);
    this.showProgressBar(job);
    this.showProgress(job);
    const stream = new EventSource(jobEventsUrl(job.job_id));
    stream.addEventListener("progress", (event) => {
      /** @type {Job} */
      const now = JSON.parse(event.data);
      this.showProgress(now);
      if (now.state === "running") return;
      stream.close();
      this.end(now);
    });
    stream.addEventListener("error", () => {
      stream.close();
      setTimeout(() => this.poll(job), POLL_MS);
    });
  }

  /** Where the event stream breaks, ask every second. @param {Job} job */
  async poll(job) {
    try {
      const now = await fetchJob(job.job_id);
      this.showProgress(now);
      if (now.state !== "running") this.end(now);
      else setTimeout(() => this.poll(job), POLL_MS);
    } catch (error) {
      const isGone = error instanceof ApiError && error.status === 404;
      this.showButton();
      this.events.running(false);
      notify(
        isGone ? "The update is over." : "The server does not answer; the update may still run.",
      );
    }
  }

  /** @param {Job} job */
  showProgressBar(job) {
    this.bar.removeAttribute("value"); // indeterminate until the total is known
    this.text.textContent = "";
    const cancel = () => cancelJob(job.job_id).catch((error) => notify(errorLabel(error)));
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
  showProgress(job) {
    const { done, total, text } = jobProgress(job);
    if (total) {
      this.bar.max = total;
      this.bar.value = done;
    }
    this.text.textContent = text;
    this.text.title = countLabel(job.segments, "segment");
    if (!this.isWholePassReported && job.photos_whole && !isInWholePhotoPass(job)) {
      this.isWholePassReported = true;
      this.events.changed(); // the whole photos can be found from now on
    }
  }

  /** @param {Job} job */
  end(job) {
    this.showButton();
    this.events.running(false);
    notify(jobSummary(job));
    this.events.changed();
  }
}
