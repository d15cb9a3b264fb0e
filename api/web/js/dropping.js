/** Bringing a picture: chosen, pasted, or dropped anywhere. */

import { find } from "./dom.js";
import { notify } from "./message.js";
import { keepPicture } from "./pictures.js";
import { go, stateOf } from "./router.js";

/** Take pictures from now on. */
export function takePictures() {
  const chooser = /** @type {HTMLInputElement} */ (find("#choose"));
  find("#picture").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    take(chooser.files?.[0]);
    chooser.value = "";
  });
  document.addEventListener("paste", (event) => {
    const file = pictureAmong(event.clipboardData?.files);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  takeDropped(find("#drop"));
}

/** @param {HTMLElement} veil shown while a file is over the page */
function takeDropped(veil) {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const isFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (isFile(event)) veil.hidden = ++depth === 0;
  });
  addEventListener("dragleave", (event) => {
    if (isFile(event)) veil.hidden = --depth <= 0;
  });
  addEventListener("dragover", (event) => isFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    const file = pictureAmong(event.dataTransfer?.files);
    if (file) take(file);
    else notify("That is not a picture. Drop a JPEG, PNG or WebP.");
  });
}

/** @param {FileList|undefined|null} files */
const pictureAmong = (files) => [...(files ?? [])].find((file) => file.type.startsWith("image/"));

/** @param {File|undefined} file */
async function take(file) {
  if (!file) return;
  try {
    const { id } = await keepPicture(file);
    go(stateOf({ view: "picture", id }));
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error));
  }
}
