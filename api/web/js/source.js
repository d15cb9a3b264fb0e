/** What is looked at: a photo of the library with its segments, or a picture brought along. */

import { ask, photoUrl } from "./api.js";
import { counted, fileName, takenName } from "./names.js";
import { base64Of, pictureOf, pictureUrl } from "./pictures.js";

/**
 * @typedef {object} Source
 * @property {string} title
 * @property {string[]} facts
 * @property {number} width of the upright picture, in pixels
 * @property {number} height
 * @property {string} src
 * @property {any[]} segments as the API sends them, with masks
 * @property {() => Promise<object>} forApi the field of a request that says which picture
 */

const PHOTO_PX = 1280;

/** The address of a photo with every segment painted on it. @param {string} id @returns {string} */
export const overlayUrl = (id) => `/v1/photos/${id}/overlay.png?size=${PHOTO_PX}`;

/**
 * Load a photo of the library.
 * @param {string} id
 * @returns {Promise<Source>}
 */
export async function loadPhoto(id) {
  const [photo, { segments }] = await Promise.all([
    ask("GET", `/v1/photos/${id}`),
    ask("GET", `/v1/photos/${id}/segments`, { query: { with_masks: true } }),
  ]);
  const [width, height] = photo.size_wh;
  const cut = photo.segmented ? counted(segments.length, "segment") : "not cut into segments yet";
  const facts = [takenName(photo), photo.camera, cut];
  return {
    title: fileName(photo.path),
    facts: facts.filter(Boolean),
    width,
    height,
    src: photoUrl(id, PHOTO_PX),
    segments,
    forApi: async () => ({ photo_id: id }),
  };
}

/**
 * Load a picture that was brought along.
 * @param {string} id
 * @returns {Promise<Source|null>} null: this browser does not have it.
 */
export async function loadPicture(id) {
  const [picture, src] = await Promise.all([pictureOf(id), pictureUrl(id)]);
  if (!picture || !src) return null;
  return {
    title: "Your picture",
    facts: ["It stays in this browser"],
    width: picture.width,
    height: picture.height,
    src,
    segments: [],
    forApi: async () => ({ image_base64: await base64Of(id) }),
  };
}
