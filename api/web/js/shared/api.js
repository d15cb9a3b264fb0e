/** The endpoints of the HTTP API that this page uses, and the JSON that they send. */

import { request, withQuery } from "./http.js";

/**
 * @typedef {[x: number, y: number, width: number, height: number]} BoxXywh in pixels of the photo
 */
/**
 * @typedef {{size: [height: number, width: number], counts: string}} MaskRle COCO's compressed RLE
 */
/**
 * @typedef {object} Photo
 * @property {string} photo_id
 * @property {string|null} path null: no file of it can be reached
 * @property {[width: number, height: number]} size_wh upright
 * @property {string} sort_at ISO 8601, by the photo's own clock
 * @property {string|null} taken_at
 * @property {"exif"|"xmp"|"png text"|"file"|"unknown"} date_source `file`: undated, sorted by file time
 * @property {string|null} camera
 * @property {number} segment_count
 * @property {boolean} segmented
 */
/**
 * @typedef {object} Segment
 * @property {string} segment_id
 * @property {string} photo_id
 * @property {BoxXywh} bbox_xywh
 * @property {number} area_px
 * @property {number} area_fraction of the photo
 * @property {MaskRle|null} mask
 */
/** @typedef {Segment & {path: string|null, score: number}} Hit */
/** @typedef {{photo_id: string, path: string|null, hits: Hit[]}} PhotoGroup hits best first */
/** @typedef {{photo_id: string, path: string|null, score: number}} WholePhoto not segmented yet */
/** @typedef {{photos: number, photos_segmented: number, files_waiting: number}} Coverage */
/**
 * @typedef {object} SearchResponse
 * @property {Hit[]|null} hits null in a search that is grouped by photo
 * @property {PhotoGroup[]|null} groups null in any other
 * @property {WholePhoto[]} uncut first page only
 * @property {Coverage|null} coverage null: every photo is segmented
 * @property {string|null} cursor of the next page
 */
/** @typedef {{segmentation: MaskRle, bbox_xywh: BoxXywh, predicted_iou: number}} Candidate */
/** @typedef {{value: string, count: number}} Count of photos */
/**
 * @typedef {{folder: string, name: string, count: number}} FolderCount folder is ROOT_ID/sub/dir
 */
/**
 * @typedef {object} Facets
 * @property {Count[]} cameras
 * @property {Count[]} months as in 2024-05, by the photos' own clocks
 * @property {number} [undated]
 * @property {FolderCount[]} folders
 */
/** @typedef {{root_id: string, path: string}} Root */
/**
 * @typedef {object} LibraryFacts
 * @property {number} photos
 * @property {number} photos_segmented
 * @property {number} segments
 * @property {boolean} starter_models
 * @property {Root[]} roots
 * @property {boolean} may_change whether the key may write
 */
/**
 * @typedef {object} Job
 * @property {string} job_id
 * @property {"running"|"done"|"failed"|"cancelled"} state
 * @property {number} photos_seen
 * @property {number} photos_through
 * @property {number} photos_new files that are embedded as whole photos before any is segmented
 * @property {number} photos_whole of those, how many are done
 * @property {number} photos_ingested
 * @property {number} segments
 * @property {number} seconds
 * @property {string|null} message
 */

/** @param {string} id @returns {Promise<Photo>} */
export const fetchPhoto = (id) =>
  /** @type {Promise<Photo>} */ (request("GET", `/v1/photos/${id}`));

/**
 * @param {import("./http.js").Query} query
 * @param {AbortSignal} signal
 * @returns {Promise<{photos: Photo[], cursor: string|null}>} one page
 */
export const fetchPhotos = (query, signal) =>
  /** @type {Promise<{photos: Photo[], cursor: string|null}>} */ (
    request("GET", "/v1/photos", { query, signal })
  );

/** @param {string} photoId @returns {Promise<{segments: Segment[]}>} with masks */
export const fetchSegments = (photoId) =>
  /** @type {Promise<{segments: Segment[]}>} */ (
    request("GET", `/v1/photos/${photoId}/segments`, { query: { with_masks: true } })
  );

/**
 * @param {object} body SearchRequest
 * @param {AbortSignal} signal
 * @returns {Promise<SearchResponse>}
 */
export const fetchHits = (body, signal) =>
  /** @type {Promise<SearchResponse>} */ (request("POST", "/v1/search", { body, signal }));

/** @param {object} body SegmentRequest @param {AbortSignal} signal
 * @returns {Promise<{candidates: Candidate[]}>} best first */
export const fetchCandidates = (body, signal) =>
  /** @type {Promise<{candidates: Candidate[]}>} */ (
    request("POST", "/v1/segment", { body, signal })
  );

/** @param {Record<string, string>} query a photo filter @returns {Promise<Facets>} */
export const fetchFacets = (query) =>
  /** @type {Promise<Facets>} */ (request("GET", "/v1/facets", { query }));

/** @returns {Promise<LibraryFacts>} */
export const fetchLibrary = () =>
  /** @type {Promise<LibraryFacts>} */ (request("GET", "/v1/library"));

/** @returns {Promise<{jobs: Job[]}>} */
export const fetchJobs = () => /** @type {Promise<{jobs: Job[]}>} */ (request("GET", "/v1/jobs"));

/** @param {string} id @returns {Promise<Job>} */
export const fetchJob = (id) => /** @type {Promise<Job>} */ (request("GET", `/v1/jobs/${id}`));

/** @param {string} id */
export const cancelJob = (id) => request("DELETE", `/v1/jobs/${id}`);

/** Ingest every root of the library. @returns {Promise<Job>} */
export const startIngest = () =>
  /** @type {Promise<Job>} */ (
    request("POST", "/v1/ingest", { body: { root_id: null, path: "" } })
  );

/** Sign in for a session cookie. @param {string} key */
export const createSession = (key) => request("POST", "/v1/session", { body: { key } });

/** Whether the server answers 503: its models are still loading. @returns {Promise<boolean>} */
export const isLoadingModels = () =>
  fetch("/ready").then(
    ({ status }) => status === 503,
    () => false,
  );

/** @param {string} jobId @returns {string} of server-sent events */
export const jobEventsUrl = (jobId) => `/v1/jobs/${jobId}/events`;

const PIXEL_RATIO = Math.min(2, Math.ceil(globalThis.devicePixelRatio || 1));

/** @param {string} photoId @param {number} size long side in CSS pixels @returns {string} */
export const photoUrl = (photoId, size) =>
  withQuery(`/v1/photos/${photoId}/image`, { size: size * PIXEL_RATIO });

/**
 * The photo with every segment painted on it.
 * @param {string} photoId
 * @param {number} size long side in image pixels
 * @returns {string}
 */
export const overlayUrl = (photoId, size) =>
  withQuery(`/v1/photos/${photoId}/overlay.png`, { size });

/** The segment highlighted in its dimmed surroundings. @param {string} segmentId
 * @param {number} size side in CSS pixels @returns {string} */
export const tileUrl = (segmentId, size) =>
  withQuery(`/v1/segments/${segmentId}/tile.jpg`, { size: size * PIXEL_RATIO });

/** The segment alone, on transparent ground. @param {string} segmentId @returns {string} */
export const cutoutUrl = (segmentId) => `/v1/segments/${segmentId}/crop.png?background=transparent`;
