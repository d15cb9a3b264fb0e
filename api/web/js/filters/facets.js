/**
 * Facets of the photos (months, cameras, folders with their counts) and facts of the library,
 * cached.
 */

import { fetchFacets, fetchLibrary } from "../shared/api.js";
import { ApiError } from "../shared/http.js";

/** @typedef {import("../shared/api.js").Facets} Facets */
/** @typedef {import("../shared/api.js").LibraryFacts} LibraryFacts */

/** @type {Map<string, Promise<Facets|null>>} by the filter as JSON */
const facets = new Map();
/** @type {Promise<LibraryFacts>|null} */
let library = null;

/**
 * Return the facets of the photos that match a filter.
 * @param {Record<string, string>} filter as in the query string of /v1/photos
 * @returns {Promise<Facets|null>} null: the server has no facets
 */
export function loadFacets(filter) {
  const key = JSON.stringify(filter);
  const known = facets.get(key);
  if (known) return known;
  const loading = fetchFacets(filter).catch((error) => {
    if (error instanceof ApiError && error.status === 404) return null;
    facets.delete(key);
    throw error;
  });
  facets.set(key, loading);
  return loading;
}

/** @returns {Promise<LibraryFacts>} */
export function loadLibraryFacts() {
  library ??= fetchLibrary().catch((error) => {
    library = null;
    throw error;
  });
  return library;
}

/** Clear the cache: the library has changed. */
export function clearFacets() {
  facets.clear();
  library = null;
}

/**
 * Return the name of a folder.
 * @param {string} folder ROOT_ID or ROOT_ID/sub/folder
 * @param {import("../shared/api.js").Root[]} roots
 * @returns {string}
 */
export function folderLabel(folder, roots) {
  const [rootId, ...below] = folder.split("/");
  if (below.length) return below[below.length - 1];
  const path = roots.find((root) => root.root_id === rootId)?.path ?? "";
  return path.split(/[\\/]/).filter(Boolean).pop() ?? "Photos";
}

/**
 * Whether a folder is directly in another.
 * @param {string} folder
 * @param {string} parent "" stands for the library: it holds the roots, or what is in its only root
 * @param {import("../shared/api.js").Root[]} roots
 */
export function isChildFolder(folder, parent, roots) {
  const top = parent || (roots.length === 1 ? roots[0].root_id : "");
  if (!top) return !folder.includes("/");
  return folder.startsWith(`${top}/`) && !folder.slice(top.length + 1).includes("/");
}
