/** Making elements. Text is always text: nothing here parses markup. */

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `text`, `on` (listeners), `data`, attributes; null and
 *   false leave an attribute out, true sets it empty.
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(node, name, value);
  node.append(...present(children));
  return node;
}

/** @param {HTMLElement} node @param {string} name @param {any} value */
function setProp(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "text") node.textContent = value;
  else if (name === "class") node.className = value;
  else if (name === "data") Object.assign(node.dataset, value);
  else if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else node.setAttribute(name, value === true ? "" : String(value));
}

/**
 * Replace what an element holds.
 * @param {Element} node
 * @param {...(Node|string|null|undefined|false)} children
 */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
}

/** @param {(Node|string|null|undefined|false)[]} children @returns {(Node|string)[]} */
function present(children) {
  return children.flatMap((child) =>
    child === null || child === undefined || child === false ? [] : [child],
  );
}

/**
 * Find one element that must be there.
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {any}
 */
export function find(selector, within = document) {
  const node = within.querySelector(selector);
  if (!node) throw new Error(`the page has no ${selector}`);
  return node;
}

/**
 * Say something to a screen reader without showing it.
 * @param {string} sentence
 */
export function announce(sentence) {
  const live = find("#live");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = sentence));
}

/**
 * Say whether keys typed into an element are text.
 * @param {EventTarget|null} target
 * @returns {boolean}
 */
export function takesText(target) {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))
  );
}
