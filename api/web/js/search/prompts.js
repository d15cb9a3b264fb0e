/** Prompts for SAM: points and a box, as text in a URL and as JSON for the API. */

/** @typedef {import("../shared/api.js").BoxXywh} BoxXywh */
/** @typedef {{x: number, y: number, label: 0|1}} Point label 1: foreground, 0: background */
/** @typedef {{points: Point[], box: BoxXywh|null}} Prompt in pixels of the upright photo */

/** @returns {Prompt} */
export const emptyPrompt = () => ({ points: [], box: null });

/** @param {Prompt|null|undefined} prompt @returns {boolean} */
export const isEmptyPrompt = (prompt) => !prompt || (!prompt.points.length && !prompt.box);

/**
 * Write a prompt as text: `x,y` for a foreground point, `x,y,0` for a background point, `bx,y,w,h`
 * for the box, joined by semicolons.
 * @param {Prompt|null|undefined} prompt
 * @returns {string}
 */
export function textFromPrompt(prompt) {
  if (!prompt) return "";
  const points = prompt.points.map(({ x, y, label }) =>
    [Math.round(x), Math.round(y), ...(label ? [] : [0])].join(","),
  );
  const box = prompt.box ? [`b${prompt.box.map((edge) => Math.round(edge)).join(",")}`] : [];
  return [...points, ...box].join(";");
}

/**
 * Parse the text of a prompt; parts that are malformed are left out.
 * @param {string|null|undefined} text
 * @returns {Prompt}
 */
export function promptFromText(text) {
  const prompt = emptyPrompt();
  for (const part of (text ?? "").split(";")) {
    const isBox = part.startsWith("b");
    const fields = part.slice(isBox ? 1 : 0).split(",");
    const numbers = fields.map(Number);
    if (fields.includes("") || !numbers.every(Number.isFinite)) continue;
    const [x, y, third, fourth] = numbers;
    if (isBox && numbers.length === 4) prompt.box = [x, y, third, fourth];
    else if (!isBox && (numbers.length === 2 || numbers.length === 3)) {
      prompt.points.push({ x, y, label: third === 0 ? 0 : 1 });
    }
  }
  return prompt;
}

/** @param {Prompt} prompt @returns {object} PromptIn of the API */
export const promptForApi = ({ points, box }) => ({ points, ...(box ? { box_xywh: box } : {}) });
