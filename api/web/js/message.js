/** What is said when there is nothing to show: why, and what to do. */

import { ApiError } from "./api.js";
import { el } from "./dom.js";
import { icon } from "./icons.js";

/**
 * Make a message that fills the place of what could not be shown.
 * @param {{sign?: string, title: string, text?: (string|Node)[], actions?: HTMLElement[]}} parts
 * @returns {HTMLElement}
 */
export function message({ sign = "picture", title, text = [], actions = [] }) {
  return el(
    "div",
    { class: "message" },
    el("div", { class: "message-sign" }, icon(sign)),
    el("h2", { text: title }),
    el("p", {}, ...text),
    actions.length > 0 && el("div", { class: "message-actions" }, ...actions),
  );
}

/**
 * Make a button.
 * @param {string} label
 * @param {() => void} act
 * @param {{class?: string, sign?: string, hidden?: boolean}} [look]
 * @returns {HTMLButtonElement}
 */
export function button(label, act, { class: name = "button", sign, hidden } = {}) {
  return el(
    "button",
    { type: "button", class: name, hidden, on: { click: act } },
    sign && icon(sign),
    label,
  );
}

/**
 * Make a button that is only an icon; its label is for screen readers and as a hint.
 * @param {string} sign
 * @param {string} label
 * @param {(event: MouseEvent) => void} act
 * @param {Record<string, any>} [props]
 * @returns {HTMLButtonElement}
 */
export function iconButton(sign, label, act, props = {}) {
  return el(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": label,
      title: label,
      on: { click: act },
      ...props,
    },
    icon(sign),
  );
}

/**
 * Say what went wrong and offer to try again, or to go back where that is of no use.
 * @param {any} error
 * @param {() => void} retry
 * @returns {HTMLElement}
 */
export function errorMessage(error, retry) {
  const again = button("Try again", retry, { sign: "update" });
  if (error instanceof ApiError && error.isOffline) {
    return message({
      sign: "update",
      title: "The server does not answer",
      text: [
        "Is ",
        el("code", { text: "segsearch serve" }),
        " still running? Start it, then try again.",
      ],
      actions: [again],
    });
  }
  const isMissing = error instanceof ApiError && error.status === 404;
  const isSenseless = error instanceof ApiError && error.status === 422; // and will be next time
  return message({
    sign: "help",
    title: isMissing ? "This is not in the library" : "That did not work",
    text: [sentence(error?.message ?? "")],
    actions: [isSenseless ? button("Go back", () => history.back()) : again],
  });
}

/** @param {string} text @returns {string} with a capital letter and a full stop */
export function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  return trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** @type {number|undefined} */
let leaving;

/**
 * Show a short notice at the bottom for a while.
 * @param {string} text
 * @param {{label: string, act: () => void}} [action]
 */
export function notify(text, action) {
  const place = /** @type {HTMLElement} */ (document.querySelector("#notice"));
  const hide = () => (place.hidden = true);
  clearTimeout(leaving);
  place.replaceChildren(
    el("span", { text }),
    ...(action
      ? [button(action.label, () => (hide(), action.act()), { class: "button is-quiet" })]
      : []),
  );
  place.hidden = false;
  leaving = setTimeout(hide, action ? 12000 : 6000);
}
