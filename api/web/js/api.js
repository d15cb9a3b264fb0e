/** Speaking to the server: JSON in, JSON out, problems as errors that a person can read. */

/** An answer that is a problem, or no answer at all (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether the server can't be reached. @returns {boolean} */
  get isOffline() {
    return this.status === 0;
  }
}

/** @type {() => Promise<void>} */
let signIn = () => Promise.reject(new ApiError(401, "A key is needed."));

/**
 * Say how a person signs in; called when the server asks for a key.
 * @param {() => Promise<void>} ask
 */
export function onKeyNeeded(ask) {
  signIn = ask;
}

/**
 * Ask the server; after a 401 the person signs in and the same is asked again.
 * @param {string} method
 * @param {string} path
 * @param {{body?: any, query?: Record<string, any>, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} null where the answer has no content.
 */
export async function ask(method, path, { body, query, signal } = {}) {
  const address = withQuery(path, query);
  for (;;) {
    const response = await send(method, address, body, signal);
    if (response.status === 401 && path !== "/v1/session") {
      await signIn();
      continue;
    }
    if (!response.ok) throw await problem(response);
    return response.status === 204 ? null : response.json();
  }
}

/** @param {string} method @param {string} address @param {any} body @param {AbortSignal} [signal] */
async function send(method, address, body, signal) {
  const headers = body === undefined ? undefined : { "Content-Type": "application/json" };
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    return await fetch(address, { method, headers, body: sent, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer.");
  }
}

/** @param {Response} response */
async function problem(response) {
  const said = await response.json().catch(() => null);
  const known = [said?.detail, said?.advice].filter(Boolean).join(". ");
  return new ApiError(response.status, known || `The server answered ${response.status}.`);
}

/**
 * Put a query behind a path; null, undefined and "" leave a field out.
 * @param {string} path
 * @param {Record<string, any>} [query]
 * @returns {string}
 */
export function withQuery(path, query = {}) {
  const fields = Object.entries(query).filter(([, value]) => value != null && value !== "");
  return fields.length ? `${path}?${new URLSearchParams(fields)}` : path;
}

/** Whether an error only says that a newer question made this one needless.
 * @param {any} error @returns {boolean} */
export const isAborted = (error) => error?.name === "AbortError";

const PIXEL_RATIO = Math.min(2, Math.ceil(globalThis.devicePixelRatio || 1));

/**
 * The address of a photo's picture.
 * @param {string} photoId @param {number} size long side in CSS pixels @returns {string}
 */
export const photoUrl = (photoId, size) => `/v1/photos/${photoId}/image?size=${size * PIXEL_RATIO}`;

/**
 * The address of a segment, lit inside its dimmed surroundings.
 * @param {string} segmentId @param {number} size side in CSS pixels @returns {string}
 */
export const tileUrl = (segmentId, size) =>
  `/v1/segments/${segmentId}/tile.jpg?size=${size * PIXEL_RATIO}`;
