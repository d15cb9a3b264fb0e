/**
 * Pictures that the user searches with: downscaled, stored in this browser (IndexedDB) and never on
 * the server, so that a URL which names one can be opened again here.
 */

const LONG_SIDE_PX = 1600; // SAM sees 1024; a camera's file has 6000
const JPEG_QUALITY = 0.9;
const MAX_STORED = 40;
const ID_BYTES = 10;

/** @typedef {{id: string, blob: Blob, width: number, height: number, at: number}} Picture */

/** @type {Map<string, Picture>} */
const inMemory = new Map();
/** @type {Map<string, string>} */
const objectUrls = new Map();

/**
 * Downscale a picture and store it.
 * @param {Blob} file
 * @returns {Promise<Picture>}
 * @throws {Error} if this browser can't decode it
 */
export async function storePicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("This browser can't read the file as a picture. Try a JPEG, PNG or WebP.");
  });
  const scale = Math.min(1, LONG_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white"; // below transparent pixels
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await jpegFromCanvas(canvas);
  const { width, height } = canvas;
  const picture = { id: await idFromBlob(blob), blob, width, height, at: Date.now() };
  inMemory.set(picture.id, picture);
  await write(picture).catch(() => {}); // a private window may forbid it
  return picture;
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} */
function jpegFromCanvas(canvas) {
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob|null} */ blob) =>
      blob ? resolve(blob) : reject(new Error("This browser can't write the picture as a JPEG."));
    canvas.toBlob(done, "image/jpeg", JPEG_QUALITY);
  });
}

/**
 * An id from the hash of the bytes; a random one where the browser has no crypto.subtle (plain
 * http).
 * @param {Blob} blob
 * @returns {Promise<string>} 20 hex digits
 */
async function idFromBlob(blob) {
  const bytes = crypto.subtle
    ? new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()))
    : crypto.getRandomValues(new Uint8Array(ID_BYTES));
  return [...bytes.slice(0, ID_BYTES)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} id @returns {Promise<Picture|null>} null if it is not in this browser */
export async function loadPicture(id) {
  const picture = inMemory.get(id) ?? (await read(id).catch(() => null)) ?? null;
  if (picture) inMemory.set(id, picture);
  return picture;
}

/** @param {string} id @returns {Promise<string|null>} an object URL; null if it is not here */
export async function pictureUrl(id) {
  const picture = await loadPicture(id);
  if (picture && !objectUrls.has(id)) objectUrls.set(id, URL.createObjectURL(picture.blob));
  return objectUrls.get(id) ?? null;
}

/**
 * Return the JPEG of a picture as base64.
 * @param {string} id
 * @returns {Promise<string>}
 * @throws {Error} if it is not in this browser
 */
export async function pictureBase64(id) {
  const picture = await loadPicture(id);
  if (!picture) {
    throw new Error(
      "This search began with a picture that is not in this browser. Drop the picture here again.",
    );
  }
  /** @type {string} */
  const dataUrl = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(picture.blob);
  });
  return dataUrl.split(",")[1];
}

/** @returns {Promise<IDBDatabase>} */
function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("segsearch", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("pictures", { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {string} id @returns {Promise<Picture|undefined>} */
async function read(id) {
  const store = (await database()).transaction("pictures").objectStore("pictures");
  return resultOf(store.get(id));
}

/** Write a picture and delete the oldest beyond MAX_STORED. @param {Picture} picture */
async function write(picture) {
  const open = await database();
  const store = open.transaction("pictures", "readwrite").objectStore("pictures");
  await resultOf(store.put(picture));
  /** @type {Picture[]} */
  const all = await resultOf(store.getAll());
  const oldest = all.sort((a, b) => b.at - a.at).slice(MAX_STORED);
  await Promise.all(oldest.map(({ id }) => resultOf(store.delete(id))));
}
