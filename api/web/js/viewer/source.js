/** What the viewer shows: a photo of the library with its segments, or a picture of the user. */

import { loadPicture, pictureBase64, pictureUrl } from "../search/stored-pictures.js";
import { fetchPhoto, fetchSegments, photoUrl } from "../shared/api.js";
import { countLabel, dateLabel, fileLabel } from "../shared/format.js";

/**
 * @typedef {object} Source
 * @property {string} title
 * @property {string[]} facts
 * @property {number} width upright, in pixels; prompts and masks refer to this size
 * @property {number} height
 * @property {string} src
 * @property {import("../shared/api.js").Segment[]} segments
 * @property {() => Promise<object>} requestField the field of a SegmentRequest that names the photo
 */

export const VIEWER_PX = 1280;

/** @param {string} id @returns {Promise<Source>} */
export async function loadPhotoSource(id) {
  const [photo, { segments }] = await Promise.all([fetchPhoto(id), fetchSegments(id)]);
  const [width, height] = photo.size_wh;
  const count = photo.segmented ? countLabel(segments.length, "segment") : "not segmented yet";
  return {
    title: fileLabel(photo.path),
    facts: [dateLabel(photo), ...(photo.camera ? [photo.camera] : []), count],
    width,
    height,
    src: photoUrl(id, VIEWER_PX),
    segments,
    requestField: async () => ({ photo_id: id }),
  };
}

/** @param {string} id @returns {Promise<Source|null>} null: the picture is not in this browser */
export async function loadPictureSource(id) {
  const [picture, src] = await Promise.all([loadPicture(id), pictureUrl(id)]);
  if (!picture || !src) return null;
  return {
    title: "Your picture",
    facts: ["It stays in this browser"],
    width: picture.width,
    height: picture.height,
    src,
    segments: [],
    requestField: async () => ({ image_base64: await pictureBase64(id) }),
  };
}
