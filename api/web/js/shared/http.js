/**
 * Requests to the server: JSON in, JSON out; failures become an ApiError with a readable message.
 */

/** @typedef {Record<string, string|number|boolean|null|undefined>} Query */
/** @typedef {{body?: object, query?: Query, signal?: AbortSignal}} RequestOptions */

const NETWORK_FAILURE = 0; // instead of an HTTP status

/** A response that is not a success, or no response at all (status 0). */
export class ApiError extends Error {
  /** @param {number} status HTTP status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether the server can't be reached. @returns {boolean} */
  get isOffline() {
    return this.status === NETWORK_FAILURE;
  }
}

/** @type {() => Promise<void>} */
let signIn = () => Promise.reject(new ApiError(401, "An API key is needed."));

/**
 * Set what is called when the server answers 401.
 * @param {() => Promise<void>} callback resolves once the user has signed in
 */
export function onUnauthorized(callback) {
  signIn = callback;
}

/**
 * Send a request. After a 401 the user signs in and the same request is sent again.
 * @param {string} method
 * @param {string} path
 * @param {RequestOptions} [options]
 * @returns {Promise<unknown>} the parsed body; null for 204
 * @throws {ApiError} for any other status than 2xx
 */
export async function request(method, path, { body, query, signal } = {}) {
  const url = withQuery(path, query);
  for (;;) {
    const response = await send(method, url, body, signal);
    if (response.status === 401 && path !== "/v1/session") {
      await signIn();
      continue;
    }
    if (!response.ok) throw await errorFromResponse(response);
    return response.status === 204 ? null : response.json();
  }
}

/**
 * @param {string} method
 * @param {string} url
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 */
async function send(method, url, body, signal) {
  const headers = body && { "Content-Type": "application/json" };
  try {
    return await fetch(url, { method, headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(NETWORK_FAILURE, "The server does not answer.");
  }
}

/** @param {Response} response @returns {Promise<ApiError>} with the problem's detail (RFC 9457) */
async function errorFromResponse(response) {
  const problem = await response.json().catch(() => null);
  const said = [problem?.detail, problem?.advice].filter((text) => typeof text === "string");
  return new ApiError(
    response.status,
    said.join(". ") || `The server answered ${response.status}.`,
  );
}

/**
 * Append a query string to a path; null, undefined and "" leave a field out.
 * @param {string} path
 * @param {Query} [query]
 * @returns {string}
 */
export function withQuery(path, query = {}) {
  const fields = Object.entries(query).flatMap(([name, value]) =>
    value === null || value === undefined || value === "" ? [] : [[name, String(value)]],
  );
  return fields.length ? `${path}?${new URLSearchParams(fields)}` : path;
}

/**
 * Whether an error comes from AbortController.abort().
 * @param {unknown} error
 * @returns {boolean}
 */
export const isAborted = (error) => error instanceof Error && error.name === "AbortError";
