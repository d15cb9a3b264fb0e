/** Thumbnails of examples, for the chips in the search bar. */

import { fetchPhoto, photoUrl } from "../shared/api.js";
import { el } from "../shared/dom.js";
import { loadImage, showSegmentTile } from "../shared/images.js";
import { squareCrop } from "../shared/geometry.js";
import { context2d } from "../shared/mask-canvas.js";
import { loadPicture, pictureUrl } from "./stored-pictures.js";
import { emptyPrompt, isEmptyPrompt } from "./prompts.js";

/** @typedef {import("./examples.js").Example} Example */

const THUMBNAIL_PX = 96;
const CROPPED_FROM_PX = 320; // long side of the photo that a prompted part is cropped from

/**
 * Create the thumbnail of an example; with a prompt, a crop around the prompt.
 * @param {Example} example any kind but words
 * @param {string} className
 * @returns {HTMLElement}
 */
export function exampleThumbnail(example, className) {
  if (!isEmptyPrompt(example.prompt)) {
    const canvas = el("canvas", { class: className, width: THUMBNAIL_PX, height: THUMBNAIL_PX });
    drawPromptedPart(canvas, example).catch(() => {}); // blank if the photo can't be loaded
    return canvas;
  }
  const image = el("img", { alt: "", class: className });
  if (example.kind === "segment") showSegmentTile(image, example.id, THUMBNAIL_PX);
  else if (example.kind === "photo") image.src = photoUrl(example.id, THUMBNAIL_PX);
  else pictureUrl(example.id).then((url) => (image.src = url ?? ""));
  return image;
}

/** @param {HTMLCanvasElement} canvas @param {Example} example */
async function drawPromptedPart(canvas, { kind, id, prompt }) {
  const { src, width, height } = await (kind === "photo" ? photoSource(id) : pictureSource(id));
  const image = await loadImage(src);
  const { points, box } = prompt ?? emptyPrompt();
  const { x, y } = points.find(({ label }) => label) ?? { x: width / 2, y: height / 2 };
  const crop = squareCrop(box ?? [x, y, 0, 0], width, height, 1);
  const scale = canvas.width / crop.width;
  context2d(canvas).drawImage(
    image,
    -crop.x * scale,
    -crop.y * scale,
    width * scale,
    height * scale,
  );
}

/** @param {string} id @returns {Promise<{src: string, width: number, height: number}>} size of the
 *   original, which prompts refer to */
async function photoSource(id) {
  const [width, height] = (await fetchPhoto(id)).size_wh;
  return { src: photoUrl(id, CROPPED_FROM_PX), width, height };
}

/** @param {string} id @returns {Promise<{src: string, width: number, height: number}>} */
async function pictureSource(id) {
  const [src, picture] = await Promise.all([pictureUrl(id), loadPicture(id)]);
  if (!src || !picture) throw new Error("the picture is not in this browser");
  return { src, width: picture.width, height: picture.height };
}
