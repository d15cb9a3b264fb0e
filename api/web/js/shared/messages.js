/** Buttons, messages in place of what can't be shown, and short notices. */

import { ApiError } from "./http.js";
import { el, fill, find } from "./dom.js";
import { errorLabel } from "./format.js";
import { icon } from "./icons.js";

/** @typedef {import("./icons.js").IconName} IconName */

const NOTICE_MS = 6000;
const NOTICE_WITH_ACTION_MS = 12_000;

/**
 * Create a message that fills the place of what could not be shown.
 * @param {{sign?: IconName, title: string, text?: (string|Node)[], actions?: HTMLElement[]}} parts
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
 * Create a button.
 * @param {string} label
 * @param {() => void} onClick
 * @param {{class?: string, sign?: IconName, hidden?: boolean}} [options]
 * @returns {HTMLButtonElement}
 */
export function button(label, onClick, { class: className = "button", sign, hidden } = {}) {
  return el(
    "button",
    { type: "button", class: className, hidden, on: { click: () => onClick() } },
    sign && icon(sign),
    label,
  );
}

/**
 * Create a button that shows only an icon; the label is its tooltip and accessible name.
 * @param {IconName} sign
 * @param {string} label
 * @param {() => void} onClick
 * @param {import("./dom.js").Props} [props]
 * @returns {HTMLButtonElement}
 */
export function iconButton(sign, label, onClick, props = {}) {
  return el(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": label,
      title: label,
      on: { click: () => onClick() },
      ...props,
    },
    icon(sign),
  );
}

/**
 * Create a message for an error, with a button to try again (or to go back, where the request
 * itself is wrong).
 * @param {unknown} error
 * @param {() => void} retry
 * @returns {HTMLElement}
 */
export function errorMessage(error, retry) {
  const tryAgain = button("Try again", retry, { sign: "update" });
  if (error instanceof ApiError && error.isOffline) {
    return message({
      sign: "update",
      title: "The server does not answer",
      text: [
        "Is ",
        el("code", { text: "segsearch serve" }),
        " still running? Start it, then try again.",
      ],
      actions: [tryAgain],
    });
  }
  const status = error instanceof ApiError ? error.status : 0;
  return message({
    sign: "help",
    title: status === 404 ? "This is not in the library" : "That did not work",
    text: [errorLabel(error)],
    actions: [status === 422 ? button("Go back", () => history.back()) : tryAgain],
  });
}

/** @type {number|undefined} */
let hiding;

/**
 * Show a short notice at the bottom for some seconds.
 * @param {string} text
 * @param {{label: string, onClick: () => void}} [action]
 */
export function notify(text, action) {
  const notice = find("#notice");
  const hide = () => (notice.hidden = true);
  const click = () => {
    hide();
    action?.onClick();
  };
  clearTimeout(hiding);
  fill(
    notice,
    el("span", { text }),
    action && button(action.label, click, { class: "button is-quiet" }),
  );
  notice.hidden = false;
  hiding = setTimeout(hide, action ? NOTICE_WITH_ACTION_MS : NOTICE_MS);
}
