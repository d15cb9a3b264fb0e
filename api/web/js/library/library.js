/** The library view: the photos by month, and the folders. */

import { folderLabel, isChildFolder, loadFacets, loadLibraryFacts } from "../filters/facets.js";
import { emptyFilter, go, hasFilter, stateOf, urlFromState } from "../router.js";
import { photoFilter } from "../search/query.js";
import { photoUrl } from "../shared/api.js";
import { el, fill } from "../shared/dom.js";
import { countLabel, dateLabel, errorLabel, fileLabel, numberLabel } from "../shared/format.js";
import { Grid } from "../shared/grid.js";
import { showImage, whenSettled } from "../shared/images.js";
import { button, errorMessage, message, notify } from "../shared/messages.js";
import { Timeline } from "./timeline.js";
import { TimelineRail } from "./timeline-rail.js";

/** @typedef {import("../router.js").State} State */
/** @typedef {import("../router.js").Filter} Filter */
/** @typedef {import("../shared/api.js").Facets} Facets */
/** @typedef {import("../shared/api.js").LibraryFacts} LibraryFacts */
/** @typedef {import("../shared/api.js").Root} Root */
/** @typedef {import("../shared/api.js").Photo} Photo */

const LOADING = { id: "loading", title: "", count: 30 };
const THUMBNAIL_PX = 320; // long side: covers cells of 220

export class LibraryView {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.key = ""; // the filter that is shown, as JSON
    this.state = stateOf({});
    /** @type {Timeline|null} */
    this.timeline = null;
    this.title = el("h1");
    this.facts = el("p", { class: "faint" });
    this.folders = el("nav", { class: "folders", "aria-label": "Folders" });
    this.message = el("div");
    /** @type {Grid<Photo>} */
    this.grid = new Grid(el("div"), {
      label: "Photos",
      cellPx: 190,
      narrowCellPx: 108,
      entryOf: (section, index) => this.timeline?.entryOf(section, index) ?? null,
      render: createPhotoCell,
      load: (section, to) => this.timeline?.load(section, to),
    });
    this.rail = new TimelineRail(this.grid);
    root.append(
      el("div", { class: "headline" }, this.title, this.facts),
      this.folders,
      this.message,
      this.grid.root,
      this.rail.root,
    );
  }

  /**
   * @param {State} state
   * @param {boolean} [keepsPhotos] show the present photos until the new ones are here
   * @returns {Promise<void>} once the grid has its full height
   */
  async show(state, keepsPhotos = false) {
    const key = JSON.stringify(state.filter);
    if (key === this.key && this.timeline) return this.grid.measure();
    this.key = key;
    this.state = state;
    this.timeline?.stop();
    this.timeline = null;
    if (!keepsPhotos) {
      this.grid.setSections([LOADING]);
      this.rail.show([]);
    }
    fill(this.message);
    try {
      const [facets, library] = await Promise.all([
        loadFacets(photoFilter(state.filter)),
        loadLibraryFacts(),
      ]);
      if (key === this.key) this.showPhotos(state.filter, facets, library);
    } catch (error) {
      if (key === this.key) this.showError(error);
    }
  }

  /** @param {Filter} filter @param {Facets|null} facets @param {LibraryFacts} library */
  showPhotos(filter, facets, library) {
    const timeline = new Timeline(filter, facets, (areSectionsChanged) => {
      if (timeline === this.timeline) this.onTimelineChange(timeline, areSectionsChanged);
    });
    this.timeline = timeline;
    const matching = facets?.months.reduce((sum, { count }) => sum + count, facets.undated ?? 0);
    this.title.textContent = filter.folder
      ? folderLabel(filter.folder, library.roots)
      : "All photos";
    this.facts.textContent = hasFilter(filter)
      ? matching === undefined
        ? ""
        : countLabel(matching, "photo")
      : libraryLabel(library);
    this.showFolders(filter, facets, library.roots);
    if (!library.photos) return this.showEmpty();
    if (matching === 0) return this.showNoMatch();
    this.grid.setSections(timeline.sections);
    this.rail.show(facets ? timeline.sections : []);
  }

  /** @param {Timeline} timeline @param {boolean} areSectionsChanged */
  onTimelineChange(timeline, areSectionsChanged) {
    const { error, singlePager } = timeline;
    if (error) return this.showError(error);
    if (singlePager?.isDone && !singlePager.entries.length) return this.showNoMatch();
    fill(this.message);
    if (areSectionsChanged) this.grid.setSections(timeline.sections);
    else this.grid.refresh();
    if (areSectionsChanged && !singlePager) this.rail.show(timeline.sections);
  }

  /** Links to the folders above and below. @param {Filter} filter @param {Facets|null} facets
   * @param {Root[]} roots */
  showFolders(filter, facets, roots) {
    const url = (/** @type {string} */ folder) =>
      urlFromState(stateOf({ filter: { ...filter, folder } }));
    const upLink = (/** @type {string} */ folder, /** @type {string} */ text) =>
      el("a", { class: "folder is-up", href: url(folder), data: { route: "" }, text });
    const parts = filter.folder ? filter.folder.split("/") : [];
    const ancestors = parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
    const isOnlyRoot = (/** @type {string} */ folder) =>
      roots.length === 1 && !folder.includes("/");
    const children = (facets?.folders ?? []).filter(({ folder }) =>
      isChildFolder(folder, filter.folder, roots),
    );
    fill(
      this.folders,
      filter.folder && upLink("", "All photos"),
      ...ancestors
        .filter((folder) => !isOnlyRoot(folder)) // it holds all photos
        .map((folder) => upLink(folder, folderLabel(folder, roots))),
      ...children.map(({ folder, count }) => {
        const name = folderLabel(folder, roots);
        const label = `${name}, ${countLabel(count, "photo")}`;
        return el(
          "a",
          { class: "folder", href: url(folder), "aria-label": label, data: { route: "" } },
          name,
          el("span", { class: "count", text: numberLabel(count) }),
        );
      }),
    );
    this.folders.hidden = !this.folders.childElementCount;
  }

  showEmpty() {
    this.grid.setSections([]);
    const text = [
      "Ingest a folder of photos: run ",
      el("code", { text: "segsearch ingest FOLDER" }),
      " with this library, then reload this page.",
    ];
    fill(this.message, message({ title: "No photos yet", text }));
  }

  showNoMatch() {
    this.grid.setSections([]);
    const clear = () => go(stateOf({ filter: emptyFilter() }));
    fill(
      this.message,
      message({
        sign: "search",
        title: "No photo matches these filters",
        text: ["Remove a filter, or show all photos."],
        actions: [button("Show all photos", clear)],
      }),
    );
  }

  /** @param {unknown} error */
  showError(error) {
    const retry = () => (this.timeline ? this.timeline.retry() : this.reload());
    if (this.timeline?.loaded.length) {
      const text = `${errorLabel(error)} Some photos are missing here.`;
      return notify(text, { label: "Try again", onClick: retry });
    }
    this.grid.setSections([]);
    fill(this.message, errorMessage(error, retry));
  }

  /** Load everything again: the library has changed, or could not be loaded. */
  reload() {
    if (!this.key) return; // it was never shown
    this.key = "";
    this.show(this.state, true);
  }

  /** @returns {string[]} ids of the photos that are loaded, in order */
  get photoIds() {
    return this.timeline?.loaded.map((photo) => photo.photo_id) ?? [];
  }
}

/** @param {LibraryFacts} library @returns {string} */
function libraryLabel({ photos, photos_segmented: segmented, segments }) {
  const progress = segmented < photos ? [`${numberLabel(segmented)} segmented so far`] : [];
  return [countLabel(photos, "photo"), ...progress, countLabel(segments, "segment")].join(", ");
}

/** @param {Photo} photo @returns {HTMLElement} */
function createPhotoCell(photo) {
  const image = el("img", { alt: "", class: "thumb", draggable: "false" });
  whenSettled(image, () => showImage(image, photoUrl(photo.photo_id, THUMBNAIL_PX)));
  const name = fileLabel(photo.path);
  const segments = photo.segmented
    ? countLabel(photo.segment_count, "segment")
    : "not segmented yet";
  const link = el(
    "a",
    {
      href: `/photo/${photo.photo_id}`,
      class: "cell-link",
      "aria-label": `${name}, ${dateLabel(photo)}, ${segments}`,
      title: name,
      data: { route: "", focus: "" },
    },
    image,
  );
  return el("div", { class: "cell" }, link);
}
