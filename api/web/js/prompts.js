/** What is meant in a picture: clicks and a box, as text in an address and as the API takes it. */

/** @typedef {{x: number, y: number, label: 0|1}} Point */
/** @typedef {[number, number, number, number]} BoxXywh */
/** @typedef {{points: Point[], box: BoxXywh|null}} Prompt */

/** @returns {Prompt} */
export const emptyPrompt = () => ({ points: [], box: null });

/** @param {Prompt|null|undefined} prompt @returns {boolean} */
export const isEmpty = (prompt) => !prompt || (!prompt.points.length && !prompt.box);

/**
 * Write a prompt: `x,y` is inside, `x,y,0` outside, `bx,y,w,h` a box; joined by semicolons.
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
 * Read a prompt; what can't be read is left out.
 * @param {string|null} text
 * @returns {Prompt}
 */
export function promptFromText(text) {
  const prompt = emptyPrompt();
  for (const part of (text ?? "").split(";").filter(Boolean)) {
    const numbers = part.replace(/^b/, "").split(",").map(Number);
    if (!numbers.every(Number.isFinite)) continue;
    if (part.startsWith("b") && numbers.length === 4) {
      prompt.box = /** @type {BoxXywh} */ (numbers);
    } else if (!part.startsWith("b") && (numbers.length === 2 || numbers.length === 3)) {
      const [x, y, label = 1] = numbers;
      prompt.points.push({ x, y, label: label === 0 ? 0 : 1 });
    }
  }
  return prompt;
}

/**
 * Return a prompt as the API takes it.
 * @param {Prompt} prompt
 * @returns {object}
 */
export function promptForApi(prompt) {
  return { points: prompt.points, ...(prompt.box ? { box_xywh: prompt.box } : {}) };
}
