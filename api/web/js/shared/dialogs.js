/** Dialogs: signing in with an API key, and the list of keyboard shortcuts. */

import { createSession } from "./api.js";
import { el } from "./dom.js";
import { errorLabel } from "./format.js";
import { ApiError } from "./http.js";
import { button } from "./messages.js";

/** @type {Promise<void>|null} */
let signingIn = null;

/**
 * Ask for the API key until the server accepts it. Calls at the same time share one dialog.
 * @returns {Promise<void>}
 */
export function signIn() {
  signingIn ??= new Promise((resolve) => {
    const error = el("p", { class: "dialog-error", role: "alert" });
    const key = el("input", {
      type: "password",
      autocomplete: "current-password",
      required: true,
      id: "key",
      name: "key",
    });
    const form = el(
      "form",
      {},
      el("h2", { text: "This library needs an API key" }),
      el("p", {
        class: "faint",
        text: "Ask whoever runs the server. Signing in sets a session cookie in this browser.",
      }),
      el("label", { for: "key", text: "Key" }),
      key,
      error,
      el(
        "div",
        { class: "dialog-actions" },
        el("button", { class: "button is-main", text: "Sign in" }),
      ),
    );
    const dialog = el("dialog", { class: "dialog", "aria-label": "Sign in" }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await createSession(key.value);
      } catch (failure) {
        error.textContent = isRefused(failure) ? "This key is not valid." : errorLabel(failure);
        key.select();
        return;
      }
      dialog.remove();
      signingIn = null;
      resolve();
    });
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
    key.focus();
  });
  return signingIn;
}

/** @param {unknown} error */
const isRefused = (error) => error instanceof ApiError && [401, 403].includes(error.status);

/** @type {{title: string, shortcuts: [keys: string, action: string][]}[]} keys two spaces apart */
const SHORTCUTS = [
  {
    title: "Everywhere",
    shortcuts: [
      ["/", "go to the search field"],
      ["?", "this list"],
    ],
  },
  {
    title: "Results and photos",
    shortcuts: [
      ["← ↑ ↓ →", "move"],
      ["Enter", "open"],
      ["+  −", "more or less like this"],
    ],
  },
  {
    title: "In a photo",
    shortcuts: [
      ["← →", "next segment; on the toolbar, next photo"],
      ["[  ]", "smaller or larger segment at the same point"],
      ["Enter", "search with the segment"],
      ["A", "show all segments"],
      ["C", "cut out a new segment"],
      ["Esc", "back"],
    ],
  },
  {
    title: "While cutting out",
    shortcuts: [
      ["← ↑ ↓ →", "move the crosshair; with Shift, in small steps"],
      ["Space", "a point of the segment (left click)"],
      ["X", "a point outside of it (right click)"],
      ["1  2  3", "choose a candidate"],
      ["U", "undo"],
      ["Enter", "search with the segment"],
    ],
  },
];

/** Show the keyboard shortcuts. */
export function showShortcuts() {
  const sections = SHORTCUTS.map(({ title, shortcuts }) =>
    el("section", {}, el("h3", { text: title }), el("dl", {}, ...shortcuts.map(shortcutRow))),
  );
  const close = button("Close", () => dialog.close(), { class: "button is-main" });
  const dialog = el(
    "dialog",
    { class: "dialog is-wide", "aria-label": "Keyboard shortcuts" },
    el("h2", { text: "Keyboard shortcuts" }),
    el("div", { class: "keys" }, ...sections),
    el("p", {
      class: "faint",
      text: "In the search field, a minus before a word excludes it: mug -wood.",
    }),
    el("div", { class: "dialog-actions" }, close),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {[keys: string, action: string]} shortcut */
const shortcutRow = ([keys, action]) =>
  el(
    "div",
    {},
    el("dt", {}, ...keys.split("  ").map((key) => el("kbd", { text: key }))),
    el("dd", { text: action }),
  );
