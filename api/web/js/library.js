/** The library by month and folder. */

import { photoUrl } from "./api.js";
import { el, fill } from "./dom.js";
import { facetsOf, folderName, libraryFacts } from "./facets.js";
import { Grid } from "./grid.js";
import { button, errorMessage, message, notify, sentence } from "./message.js";
import { counted, fileName, takenName } from "./names.js";
import { photoFilter } from "./query.js";
import { addressFromState, go, hasFilter, noFilter, stateOf } from "./router.js";
import { onceSettled, showImage } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { TimeRail } from "./rail.js";

/** @typedef {import("./router.js").State} State */

const WAITING = { id: "waiting", title: "", count: 30 };
const THUMB_PX = 320; // long side: enough for squares of 220

export class Library {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.key = "";
    this.title = el("h1");
    this.facts = el("p", { class: "faint" });
    this.folders = el("nav", { class: "folders", "aria-label": "Folders" });
    this.said = el("div");
    this.grid = new Grid(el("div"), {
      label: "Photos",
      cellPx: 190,
      narrowPx: 108,
      entryOf: (section, index) => this.timeline?.entryOf(section, index),
      render: (photo) => this.cell(photo),
      need: (section, from, to) => this.timeline?.need(section, from, to),
    });
    this.rail = new TimeRail(this.grid);
    root.append(
      el("div", { class: "headline" }, this.title, this.facts),
      this.folders,
      this.said,
      this.grid.root,
      this.rail.root,
    );
  }

  /** @param {State} state @param {boolean} [keepsPlace] what is shown stays until the new is here
   * @returns {Promise<void>} once what it shows has its full length */
  async show(state, keepsPlace = false) {
    const key = JSON.stringify(state.filter);
    if (key === this.key && this.timeline) return this.grid.measure();
    this.key = key;
    this.state = state;
    this.timeline?.stop();
    this.timeline = null;
    if (!keepsPlace) {
      this.grid.setSections([WAITING]);
      this.rail.show([]);
    }
    fill(this.said);
    try {
      const [facets, facts] = await Promise.all([
        facetsOf(photoFilter(state.filter)),
        libraryFacts(),
      ]);
      if (key === this.key) this.fill(state, facets, facts);
    } catch (error) {
      if (key === this.key) this.fail(error);
    }
  }

  /** @param {State} state @param {import("./facets.js").Facets|null} facets @param {any} facts */
  fill(state, facets, facts) {
    const timeline = new Timeline(state.filter, facets, (isLonger) => {
      if (timeline === this.timeline) this.changed(isLonger);
    });
    this.timeline = timeline;
    const shown = facets?.months.reduce((sum, month) => sum + month.count, facets.undated ?? 0);
    this.title.textContent = state.filter.folder
      ? folderName(state.filter.folder, facts.roots)
      : "All photos";
    const photos = hasFilter(state.filter) ? shown : facts.photos;
    const isPartial = !hasFilter(state.filter) && facts.photos_segmented < facts.photos;
    this.facts.textContent = [
      photos === undefined ? "" : counted(photos, "photo"),
      isPartial ? `${facts.photos_segmented.toLocaleString("en")} cut into segments so far` : "",
      hasFilter(state.filter) ? "" : counted(facts.segments, "segment"),
    ]
      .filter(Boolean)
      .join(", ");
    this.showFolders(state, facets, facts.roots);
    if (!facts.photos) return this.showEmpty();
    if (shown === 0) return this.showNoMatch();
    this.grid.setSections(timeline.sections);
    this.rail.show(facets ? timeline.sections : []);
  }

  /** @param {boolean} isLonger */
  changed(isLonger) {
    const { timeline } = this;
    if (!timeline) return;
    if (timeline.error) return this.fail(timeline.error);
    if (timeline.all?.isDone && !timeline.all.entries.length) return this.showNoMatch();
    fill(this.said);
    if (isLonger) this.grid.setSections(timeline.sections);
    else this.grid.refresh();
    if (isLonger && !timeline.all) this.rail.show(timeline.sections);
  }

  /** @param {State} state @param {import("./facets.js").Facets|null} facets @param {any[]} roots */
  showFolders(state, facets, roots) {
    const { folder } = state.filter;
    const parts = folder ? folder.split("/") : [];
    const to = (/** @type {string} */ target) =>
      addressFromState(stateOf({ filter: { ...state.filter, folder: target } }));
    const isTop = (/** @type {string} */ up) => roots.length === 1 && !up.includes("/"); // all photos
    const trail = parts.map((_, i) => parts.slice(0, i + 1).join("/")).slice(0, -1);
    const below = (facets?.folders ?? []).filter((one) => isChild(one.folder, folder, roots));
    fill(
      this.folders,
      folder &&
        el("a", { class: "folder is-up", href: to(""), data: { route: "" }, text: "All photos" }),
      ...trail
        .filter((up) => !isTop(up))
        .map((up) =>
          el("a", {
            class: "folder is-up",
            href: to(up),
            data: { route: "" },
            text: folderName(up, roots),
          }),
        ),
      ...below.map((one) =>
        el(
          "a",
          {
            class: "folder",
            href: to(one.folder),
            "aria-label": `${folderName(one.folder, roots)}, ${counted(one.count, "photo")}`,
            data: { route: "" },
          },
          folderName(one.folder, roots),
          el("span", { class: "count", text: one.count.toLocaleString("en") }),
        ),
      ),
    );
    this.folders.hidden = !this.folders.childElementCount;
  }

  /** @param {any} photo @returns {HTMLElement} */
  cell(photo) {
    const image = el("img", { alt: "", class: "thumb", draggable: "false" });
    onceSettled(image, () => showImage(image, photoUrl(photo.photo_id, THUMB_PX)));
    const cut = photo.segmented ? counted(photo.segment_count, "segment") : "not cut yet";
    const name = `${fileName(photo.path)}, ${takenName(photo)}, ${cut}`;
    const link = el(
      "a",
      {
        href: `/photo/${photo.photo_id}`,
        class: "cell-link",
        "aria-label": name,
        title: fileName(photo.path),
        data: { route: "", focus: "" },
      },
      image,
    );
    return el("div", { class: "cell" }, link);
  }

  showEmpty() {
    this.grid.setSections([]);
    fill(
      this.said,
      message({
        title: "No photos yet",
        text: [
          "Bring in a folder of photos: run ",
          el("code", { text: "segsearch ingest FOLDER" }),
          " with this library, then reload this page.",
        ],
      }),
    );
  }

  showNoMatch() {
    this.grid.setSections([]);
    const clear = () => go(stateOf({ filter: noFilter() }));
    fill(
      this.said,
      message({
        sign: "search",
        title: "No photo passes these filters",
        text: ["Take one away, or begin anew."],
        actions: [button("Show all photos", clear)],
      }),
    );
  }

  /** @param {any} error */
  fail(error) {
    const retry = () => (this.timeline ? this.timeline.retry() : this.refresh());
    if (this.timeline?.loaded.length) {
      return notify(`${sentence(error.message)} Some photos are missing here.`, {
        label: "Try again",
        act: retry,
      });
    }
    this.grid.setSections([]);
    fill(this.said, errorMessage(error, retry));
  }

  /** Load everything anew: the library has changed, or could not be had. */
  refresh() {
    this.key = "";
    if (this.state) this.show(this.state, true);
  }

  /** @returns {string[]} ids of the photos that are here, in order */
  get photoIds() {
    return this.timeline?.loaded.map((photo) => photo.photo_id) ?? [];
  }
}

/** Whether a folder lies directly in another; "" holds the roots, or what is in the only one.
 * @param {string} folder @param {string} parent @param {any[]} roots */
function isChild(folder, parent, roots) {
  const top = parent || (roots.length === 1 ? roots[0].root_id : "");
  if (!top) return !folder.includes("/");
  return folder.startsWith(`${top}/`) && !folder.slice(top.length + 1).includes("/");
}
