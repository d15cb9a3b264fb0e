/** Examples of what is looked for: segments, photos, pictures and words, wanted or unwanted. */

import { photoUrl } from "./api.js";
import { base64Of, pictureUrl } from "./pictures.js";
import { isEmpty, promptForApi, promptFromText, textFromPrompt } from "./prompts.js";
import { lightTile } from "./tiles.js";

/** @typedef {import("./prompts.js").Prompt} Prompt */
/**
 * `kind` says what `id` names: a segment, a photo, a picture kept in this browser, or (words) itself.
 * @typedef {{kind: "segment"|"photo"|"picture"|"words", id: string, prompt?: Prompt}} Example
 */

/** @type {Record<string, Example["kind"]>} */
const KINDS = { s: "segment", p: "photo", x: "picture", w: "words" };
const LETTERS = { segment: "s", photo: "p", picture: "x", words: "w" };
const THUMB_PX = 96;

/** @param {string} id @returns {Example} */
export const segmentExample = (id) => ({ kind: "segment", id });

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
 * Put an example's small picture into an image.
 * @param {HTMLImageElement} image
 * @param {Example} example
 */
export async function showExample(image, { kind, id }) {
  if (kind === "segment") lightTile(image, id, THUMB_PX);
  else if (kind === "photo") image.src = photoUrl(id, THUMB_PX);
  else image.src = (await pictureUrl(id)) ?? "";
}

/** Whether two examples are the same. @param {Example} a @param {Example} b @returns {boolean} */
export const sameExample = (a, b) => textFromExample(a) === textFromExample(b);
