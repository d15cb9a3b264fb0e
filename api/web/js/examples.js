/** Examples of what is looked for: segments, photos, pictures and words, wanted or unwanted. */

import { ask, photoUrl } from "./api.js";
import { el } from "./dom.js";
import { pen2d, squareAround } from "./lit.js";
import { base64Of, pictureOf, pictureUrl } from "./pictures.js";
import { emptyPrompt, isEmpty, promptForApi, promptFromText, textFromPrompt } from "./prompts.js";
import { lightTile, loadImage } from "./tiles.js";

/** @typedef {import("./prompts.js").Prompt} Prompt */
/**
 * `kind` says what `id` names: a segment, a photo, a picture kept in this browser, or (words) itself.
 * @typedef {{kind: "segment"|"photo"|"picture"|"words", id: string, prompt?: Prompt}} Example
 */

/** @type {Record<string, Example["kind"]>} */
const KINDS = { s: "segment", p: "photo", x: "picture", w: "words" };
const LETTERS = { segment: "s", photo: "p", picture: "x", words: "w" };
const THUMB_PX = 96;
const MEANT_PX = 320; // long side of the photo that a part is shown of

/** @param {string} id @returns {Example} */
export const segmentExample = (id) => ({ kind: "segment", id });

/** A photo as a whole. @param {string} id @returns {Example} */
export const photoExample = (id) => ({ kind: "photo", id });

/**
 * Write an example for an address, as in `s:ID` or `p:ID@120,80`.
 * @param {Example} example
 * @returns {string}
 */
export function textFromExample({ kind, id, prompt }) {
  return `${LETTERS[kind]}:${id}${isEmpty(prompt) ? "" : `@${textFromPrompt(prompt)}`}`;
}

/**
 * Read an example; null if it is none.
 * @param {string} text
 * @returns {Example|null}
 */
export function exampleFromText(text) {
  const kind = KINDS[text[0]];
  if (!kind || text[1] !== ":" || text.length < 3) return null;
  if (kind === "words") return { kind, id: text.slice(2) };
  const [id, meant] = text.slice(2).split("@");
  return meant ? { kind, id, prompt: promptFromText(meant) } : { kind, id };
}

/**
 * Return an example as the API takes it.
 * @param {Example} example
 * @returns {Promise<object>}
 */
export async function exampleForApi(example) {
  const { kind, id, prompt } = example;
  if (kind === "words") return { text: id };
  if (kind === "segment") return { segment_id: id };
  const meant = prompt && !isEmpty(prompt) ? { prompt: promptForApi(prompt) } : {};
  return kind === "photo"
    ? { photo_id: id, ...meant }
    : { image_base64: await base64Of(id), ...meant };
}

/**
 * Say what an example is, to those who can't see its picture.
 * @param {Example} example
 * @returns {string}
 */
export function nameOfExample({ kind, id, prompt }) {
  if (kind === "words") return id;
  const whole = { segment: "a segment", photo: "a photo", picture: "a picture of yours" }[kind];
  return isEmpty(prompt) ? whole : `something in ${whole}`;
}

/**
 * Make an example's small picture; with a prompt, of what it means.
 * @param {Example} example not words
 * @param {string} name the class of the picture
 * @returns {HTMLElement}
 */
export function thumbOf(example, name) {
  if (!isEmpty(example.prompt)) {
    const canvas = el("canvas", { class: name, width: THUMB_PX, height: THUMB_PX });
    drawMeant(canvas, example).catch(() => {}); // it stays blank where the photo is out of reach
    return canvas;
  }
  const image = el("img", { alt: "", class: name });
  if (example.kind === "segment") lightTile(image, example.id, THUMB_PX);
  else if (example.kind === "photo") image.src = photoUrl(example.id, THUMB_PX);
  else pictureUrl(example.id).then((url) => (image.src = url ?? ""));
  return image;
}

/** @param {HTMLCanvasElement} canvas @param {Example} example */
async function drawMeant(canvas, { kind, id, prompt }) {
  const [src, { width, height }] = await sourceOf(kind, id);
  const image = await loadImage(src);
  const { points, box } = prompt ?? emptyPrompt();
  const { x, y } = points.find(({ label }) => label) ?? { x: width / 2, y: height / 2 };
  const square = squareAround(box ?? [x, y, 0, 0], width, height, 1);
  const scale = canvas.width / square.width;
  const at = [-square.x * scale, -square.y * scale, width * scale, height * scale];
  pen2d(canvas).drawImage(image, at[0], at[1], at[2], at[3]);
}

/** Where a picture is, and its full size. @param {string} kind @param {string} id
 * @returns {Promise<[string, {width: number, height: number}]>} */
async function sourceOf(kind, id) {
  if (kind === "photo") {
    const [width, height] = (await ask("GET", `/v1/photos/${id}`)).size_wh;
    return [photoUrl(id, MEANT_PX), { width, height }];
  }
  const [url, picture] = await Promise.all([pictureUrl(id), pictureOf(id)]);
  if (!url || !picture) throw new Error("the picture is not in this browser");
  return [url, picture];
}

/** Whether two examples are the same. @param {Example} a @param {Example} b @returns {boolean} */
export const sameExample = (a, b) => textFromExample(a) === textFromExample(b);
