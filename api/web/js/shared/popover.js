/** A panel below a button; Escape, a click elsewhere or a choice closes it. */

import { el } from "./dom.js";

/** @type {(() => void)|null} */
let closeOpen = null;
/** @type {HTMLElement|null} */
let openFor = null;

/** Close the panel that is open, if one is. */
export function closePopover() {
  closeOpen?.();
}

/**
 * Open a panel below a button, or close it if it is that button's.
 * @param {HTMLElement} anchor
 * @param {string} label
 * @param {HTMLElement} content
 */
export function togglePopover(anchor, label, content) {
  const wasOpen = openFor === anchor;
  closePopover();
  if (wasOpen) return;
  const panel = el("div", { class: "popover", role: "dialog", "aria-label": label }, content);
  document.body.append(panel);
  place(panel, anchor);
  anchor.setAttribute("aria-expanded", "true");
  const listening = new AbortController();
  const options = { signal: listening.signal };
  addEventListener(
    "pointerdown",
    (event) => {
      const target = /** @type {Node} */ (event.target);
      if (!panel.contains(target) && !anchor.contains(target)) closePopover();
    },
    options,
  );
  addEventListener("resize", () => place(panel, anchor), options);
  panel.addEventListener("keydown", (event) => onKey(event, panel));
  panel.addEventListener("focusout", (event) => {
    const to = /** @type {Node|null} */ (event.relatedTarget);
    if (to && !panel.contains(to)) closePopover();
  });
  openFor = anchor;
  closeOpen = () => {
    const hadFocus = panel.contains(document.activeElement);
    closeOpen = openFor = null;
    listening.abort();
    panel.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (hadFocus) anchor.focus();
  };
  const first = panel.querySelector("[aria-pressed=true]") ?? panel.querySelector("button, input");
  /** @type {HTMLElement|null} */ (first)?.focus();
}

/** @param {HTMLElement} panel @param {HTMLElement} anchor */
function place(panel, anchor) {
  const { left, bottom } = anchor.getBoundingClientRect();
  panel.style.left = `${Math.max(12, Math.min(left, innerWidth - panel.offsetWidth - 12))}px`;
  panel.style.top = `${bottom + 8}px`;
  panel.style.maxHeight = `${Math.max(160, innerHeight - bottom - 24)}px`;
}

/** @param {KeyboardEvent} event @param {HTMLElement} panel */
function onKey(event, panel) {
  if (event.key === "Escape") {
    event.stopPropagation();
    closePopover();
    return;
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target instanceof HTMLInputElement) return;
  event.preventDefault();
  const buttons = [...panel.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  buttons[Math.max(0, Math.min(buttons.length - 1, at + step))]?.focus();
}
