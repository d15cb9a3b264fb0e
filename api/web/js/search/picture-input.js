/** Search with a picture: one that is chosen, pasted, or dropped anywhere. */

import { go, stateOf } from "../router.js";
import { find, findInput } from "../shared/dom.js";
import { errorLabel } from "../shared/format.js";
import { notify } from "../shared/messages.js";
import { storePicture } from "./stored-pictures.js";

/** Listen for pictures from now on. */
export function listenForPictures() {
  const input = findInput("#choose");
  find("#picture").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    openPicture(input.files?.[0]);
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const file = firstPicture(event.clipboardData?.files);
    if (!file) return;
    event.preventDefault();
    openPicture(file);
  });
  listenForDrops(find("#drop"));
}

/** @param {HTMLElement} overlay shown while a file is dragged over the page */
function listenForDrops(overlay) {
  let depth = 0; // dragenter and dragleave are fired for every element on the way
  const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth++;
    overlay.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    overlay.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    overlay.hidden = true;
    const file = firstPicture(event.dataTransfer?.files);
    if (file) openPicture(file);
    else notify("That is not a picture. Drop a JPEG, PNG or WebP.");
  });
}

/** @param {FileList|undefined|null} files */
const firstPicture = (files) => [...(files ?? [])].find((file) => file.type.startsWith("image/"));

/** @param {File|undefined} file */
async function openPicture(file) {
  if (!file) return;
  try {
    const { id } = await storePicture(file);
    go(stateOf({ view: "picture", id }));
  } catch (error) {
    notify(errorLabel(error));
  }
}
