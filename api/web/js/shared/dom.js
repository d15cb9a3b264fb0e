/** Creating and finding elements. Text is never parsed as markup. */

/** @typedef {Node|string|null|undefined|false} Child null, undefined and false are left out */
/** @typedef {string|number|boolean|null|undefined} Attribute */
/** @typedef {{[Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void}}
 *   Listeners */
/**
 * `text` is the text content, `data` the dataset, `on` listeners by event. All others are
 * attributes: null, undefined and false leave one out, true sets it empty.
 * @typedef {{class?: string, text?: string, data?: Record<string, string>, on?: Listeners} &
 *   Record<string, Attribute|Record<string, string>|Listeners>} Props
 */

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(
  tag,
  { class: className, text, data, on = {}, ...attributes } = {},
  ...children
) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on)) {
    node.addEventListener(event, /** @type {EventListener} */ (listener));
  }
  fillFrom(node, children);
  return node;
}

/** Replace the children of an element. @param {Element} node @param {...Child} children */
export function fill(node, ...children) {
  node.replaceChildren();
  fillFrom(node, children);
}

/** @param {Element} node @param {Child[]} children */
function fillFrom(node, children) {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** @param {string} selector @returns {HTMLElement} the first that matches; none is an error */
export function find(selector) {
  const node = document.querySelector(selector);
  if (!(node instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return node;
}

/** @param {string} selector @returns {HTMLInputElement} */
export function findInput(selector) {
  const node = find(selector);
  if (!(node instanceof HTMLInputElement)) throw new Error(`${selector} is no input`);
  return node;
}

/** Have a screen reader say something that is not shown. @param {string} text */
export function announce(text) {
  const live = find("#live");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = text));
}

/**
 * @param {EventTarget|null} target
 * @returns {boolean} whether keys that are pressed there are text
 */
export function isTextField(target) {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))
  );
}
