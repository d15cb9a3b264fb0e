/**
 * Pictures that a person brings along: made small, kept in this browser (never on the server), so
 * that an address which names one can be opened again here.
 */

const LONG_SIDE_PX = 1600; // plenty for SAM, which sees 1024, and a fraction of a camera's file
const QUALITY = 0.9;
const KEPT = 40;

/** @typedef {{id: string, blob: Blob, width: number, height: number, at: number}} Picture */

/** @type {Map<string, Picture>} */
const inMemory = new Map();
/** @type {Map<string, string>} */
const urls = new Map();

/**
 * Make a picture ready for searching and remember it.
 * @param {Blob} file
 * @returns {Promise<Picture>}
 */
export async function keepPicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("This file can't be shown as a picture here. Try a JPEG, PNG or WebP.");
  });
  const scale = Math.min(1, LONG_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "white"; // under what is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  const { width, height } = canvas;
  const picture = { id: await nameOf(blob), blob, width, height, at: Date.now() };
  inMemory.set(picture.id, picture);
  await write(picture).catch(() => {}); // a private window may forbid it; memory has it
  return picture;
}

/** Name a picture by its bytes; by chance where the browser withholds its hashes (plain http).
 * @param {Blob} blob */
async function nameOf(blob) {
  const bytes = crypto.subtle
    ? new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()))
    : crypto.getRandomValues(new Uint8Array(32));
  return [...bytes.slice(0, 10)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return a picture that was kept; null if this browser has it no more, or never had.
 * @param {string} id
 * @returns {Promise<Picture|null>}
 */
export async function pictureOf(id) {
  const known = inMemory.get(id) ?? (await read(id).catch(() => null));
  if (known) inMemory.set(id, known);
  return known ?? null;
}

/**
 * Return an address at which this page can show a kept picture.
 * @param {string} id
 * @returns {Promise<string|null>}
 */
export async function pictureUrl(id) {
  const picture = await pictureOf(id);
  if (picture && !urls.has(id)) urls.set(id, URL.createObjectURL(picture.blob));
  return urls.get(id) ?? null;
}

/**
 * Return a kept picture's bytes as base64.
 * @param {string} id
 * @returns {Promise<string>}
 */
export async function base64Of(id) {
  const picture = await pictureOf(id);
  if (!picture) {
    throw new Error(
      "This search began with a picture that is not in this browser. Drop the picture here again.",
    );
  }
  const dataUrl = await new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(picture.blob);
  });
  return String(dataUrl).split(",")[1];
}

/** @returns {Promise<IDBDatabase>} */
function database() {
  return new Promise((done, fail) => {
    const opening = indexedDB.open("segsearch", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("pictures", { keyPath: "id" });
    opening.onsuccess = () => done(opening.result);
    opening.onerror = () => fail(opening.error);
  });
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function outcome(request) {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

/** @param {string} id */
async function read(id) {
  const store = (await database()).transaction("pictures").objectStore("pictures");
  return /** @type {Promise<Picture|null>} */ (outcome(store.get(id)));
}

/** Write a picture, and forget the oldest beyond KEPT. @param {Picture} picture */
async function write(picture) {
  const open = await database();
  const store = open.transaction("pictures", "readwrite").objectStore("pictures");
  await outcome(store.put(picture));
  const all = /** @type {Picture[]} */ (await outcome(store.getAll()));
  const old = all.sort((a, b) => b.at - a.at).slice(KEPT);
  await Promise.all(old.map(({ id }) => outcome(store.delete(id))));
}
