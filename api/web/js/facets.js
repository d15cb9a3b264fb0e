/** What there is to filter by, with counts of photos; and what the library holds. */

import { ApiError, ask } from "./api.js";

/**
 * @typedef {object} Facets
 * @property {{value: string, count: number}[]} cameras
 * @property {{value: string, count: number}[]} months as in 2024-05, by the photos' own clocks
 * @property {number} [undated] photos of which nothing says when they were taken
 * @property {{folder: string, name: string, count: number}[]} folders as in ROOT_ID/sub
 */

/** @type {Map<string, Promise<Facets|null>>} */
const asked = new Map();
/** @type {Promise<any>|null} */
let library = null;

/**
 * Count the photos that a filter lets through.
 * @param {Record<string, string>} fields as /v1/photos takes them
 * @returns {Promise<Facets|null>} null: this server does not count.
 */
export function facetsOf(fields) {
  const key = JSON.stringify(fields);
  if (!asked.has(key)) {
    const answer = ask("GET", "/v1/facets", { query: fields }).catch((error) => {
      if (error instanceof ApiError && error.status === 404) return null;
      asked.delete(key);
      throw error;
    });
    asked.set(key, answer);
  }
  return /** @type {Promise<Facets|null>} */ (asked.get(key));
}

/** What the library holds and what made it. @returns {Promise<any>} LibraryOut */
export function libraryFacts() {
  library ??= ask("GET", "/v1/library").catch((error) => {
    library = null;
    throw error;
  });
  return library;
}

/** Forget all counts: the library has changed. */
export function forgetCounts() {
  asked.clear();
  library = null;
}

/**
 * Return what a folder is called.
 * @param {string} folder ROOT_ID or ROOT_ID/sub/folder
 * @param {{root_id: string, path: string}[]} roots
 * @returns {string}
 */
export function folderName(folder, roots) {
  const [rootId, ...below] = folder.split("/");
  if (below.length) return below[below.length - 1];
  const path = roots.find((root) => root.root_id === rootId)?.path ?? "";
  return path.split(/[\\/]/).filter(Boolean).pop() ?? "Photos";
}
