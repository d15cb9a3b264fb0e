/** The two dialogs: signing in with a key, and what the keys of the keyboard do. */

import { ask } from "./api.js";
import { el } from "./dom.js";
import { button } from "./message.js";

/** @type {Promise<void>|null} */
let asking = null;

/**
 * Ask for the key until the server takes it; questions at the same time share one dialog.
 * @returns {Promise<void>}
 */
export function signIn() {
  asking ??= new Promise((done) => {
    const said = el("p", { class: "dialog-error", role: "alert" });
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
      el("h2", { text: "This library asks for a key" }),
      el("p", {
        class: "faint",
        text: "Whoever runs the server has it. It is kept in a cookie of this browser.",
      }),
      el("label", { for: "key", text: "Key" }),
      key,
      said,
      el(
        "div",
        { class: "dialog-actions" },
        el("button", { class: "button is-main", text: "Sign in" }),
      ),
    );
    const dialog = el("dialog", { class: "dialog", "aria-label": "Sign in" }, form);
    form.addEventListener("submit", async (/** @type {Event} */ event) => {
      event.preventDefault();
      try {
        await ask("POST", "/v1/session", { body: { key: key.value } });
      } catch (error) {
        const { status, message } = /** @type {any} */ (error);
        said.textContent = status === 401 || status === 403 ? "That is not the key." : message;
        key.select();
        return;
      }
      dialog.remove();
      asking = null;
      done();
    });
    dialog.addEventListener("cancel", (/** @type {Event} */ event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
    key.focus();
  });
  return asking;
}

const KEYS = [
  [
    "Everywhere",
    [
      ["/", "go to the search field"],
      ["?", "this list"],
    ],
  ],
  [
    "Results and photos",
    [
      ["← ↑ ↓ →", "move"],
      ["Enter", "open"],
      ["+  −", "more or less like this"],
    ],
  ],
  [
    "In a photo",
    [
      ["← →", "next segment; on the bar, next photo"],
      ["[  ]", "the smaller or larger one that lies there"],
      ["Enter", "find it everywhere"],
      ["A", "show all segments"],
      ["C", "cut something that is no segment yet"],
      ["Esc", "back"],
    ],
  ],
  [
    "While cutting",
    [
      ["← ↑ ↓ →", "move the cross; with Shift, finely"],
      ["Space", "this belongs to it (left click)"],
      ["X", "this does not (right click)"],
      ["1  2  3", "choose a candidate"],
      ["U", "undo"],
      ["Enter", "find it everywhere"],
    ],
  ],
];

/** Show what the keys do. */
export function showKeys() {
  const groups = KEYS.map(([title, rows]) =>
    el(
      "section",
      {},
      el("h3", { text: title }),
      el(
        "dl",
        {},
        .../** @type {string[][]} */ (rows).map(([keys, does]) =>
          el(
            "div",
            {},
            el("dt", {}, ...keys.split("  ").map((key) => el("kbd", { text: key }))),
            el("dd", { text: does }),
          ),
        ),
      ),
    ),
  );
  const close = button("Close", () => dialog.close(), { class: "button is-main" });
  const dialog = el(
    "dialog",
    { class: "dialog is-wide", "aria-label": "Keys" },
    el("h2", { text: "Keys" }),
    el("div", { class: "keys" }, ...groups),
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
