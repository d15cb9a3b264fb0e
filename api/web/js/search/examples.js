/** Examples of a search: segments, photos, pictures and words; positive or negative. */

import { pictureBase64 } from "./stored-pictures.js";
import { isEmptyPrompt, promptForApi, promptFromText, textFromPrompt } from "./prompts.js";

/** @typedef {import("./prompts.js").Prompt} Prompt */
/** @typedef {"plus"|"minus"} Side positive or negative */
/**
 * `id` is that of a segment, of a photo or of a picture in this browser, or the words themselves.
 * With a prompt, only the part of the photo or picture that it segments is the example.
 * @typedef {{kind: "segment"|"photo"|"picture"|"words", id: string, prompt?: Prompt}} Example
 */

const LETTERS = { segment: "s", photo: "p", picture: "x", words: "w" };
/** @type {Map<string, Example["kind"]>} */
const KINDS = new Map([
  ["s", "segment"],
  ["p", "photo"],
  ["x", "picture"],
  ["w", "words"],
]);

/** @param {string} id @returns {Example} */
export const segmentExample = (id) => ({ kind: "segment", id });

/** @param {string} id @returns {Example} the photo as a whole */
export const photoExample = (id) => ({ kind: "photo", id });

/**
 * Write an example as text for a URL: `s:ID`, `w:WORDS`, or with a prompt `p:ID@120,80`.
 * @param {Example} example
 * @returns {string}
 */
export function textFromExample({ kind, id, prompt }) {
  return `${LETTERS[kind]}:${id}${isEmptyPrompt(prompt) ? "" : `@${textFromPrompt(prompt)}`}`;
}

/** @param {string} text @returns {Example|null} null if it is malformed */
export function exampleFromText(text) {
  const kind = KINDS.get(text[0]);
  if (!kind || text[1] !== ":" || text.length < 3) return null;
  if (kind === "words") return { kind, id: text.slice(2) };
  const [id, prompt] = text.slice(2).split("@");
  if (!id) return null;
  return prompt ? { kind, id, prompt: promptFromText(prompt) } : { kind, id };
}

/** @param {Example} a @param {Example} b @returns {boolean} */
export const isSameExample = (a, b) => textFromExample(a) === textFromExample(b);

/** @param {Example} example @returns {Promise<object>} ExampleIn of the API */
export async function exampleForApi({ kind, id, prompt }) {
  if (kind === "words") return { text: id };
  if (kind === "segment") return { segment_id: id };
  const part = prompt && !isEmptyPrompt(prompt) ? { prompt: promptForApi(prompt) } : {};
  return kind === "photo"
    ? { photo_id: id, ...part }
    : { image_base64: await pictureBase64(id), ...part };
}

/** @param {Example} example @returns {string} its accessible name */
export function exampleLabel({ kind, id, prompt }) {
  if (kind === "words") return id;
  const whole = { segment: "a segment", photo: "a photo", picture: "a picture of yours" }[kind];
  return isEmptyPrompt(prompt) ? whole : `part of ${whole}`;
}
