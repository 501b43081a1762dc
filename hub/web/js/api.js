/** Asking the hub over HTTP, as the user of this tab or as another. */

/** An answer that is no 2xx: the hub's sentence as `message`, its `code` and the HTTP `status`. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the hub answered ${status}`);
    this.status = status;
    this.code = error?.code ?? 0;
  }
}

async function answer(path, options) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(10_000), ...options });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body?.error);
  return body;
}

/** What runs here: `version`, `plugins`, `topic` for first steps, and what `anybody_may` do on it. */
export const about = () => answer("/dev/about");

/** Whether somebody may do something, and why: `action`, `topic`, and `token` or `user` with `claims`. */
export const explain = (question) =>
  answer("/dev/explain", { method: "POST", body: JSON.stringify(question), headers: { "Content-Type": "application/json" } });

/** Somebody the hub gives a token to, and requests in their name. */
export class Caller {
  #token = null;
  #since = 0;

  constructor(user, roles = []) {
    this.user = user;
    this.roles = roles;
  }

  /** A token that is good for a while yet; `fresh` asks for a new one. */
  async token(fresh = false) {
    if (fresh || this.#token === null || performance.now() - this.#since > 1_800_000) {
      const query = new URLSearchParams([["user", this.user], ...this.roles.map((role) => ["role", role])]);
      this.#token = (await answer(`/dev/token?${query}`)).token;
      this.#since = performance.now();
    }
    return this.#token;
  }

  get(path) {
    return this.#ask(path, { method: "GET" });
  }

  post(path, body = {}) {
    return this.#ask(path, { method: "POST", body: JSON.stringify(body) });
  }

  async #ask(path, options) {
    const headers = { Authorization: `Bearer ${await this.token()}`, "Content-Type": "application/json" };
    return answer(path, { ...options, headers });
  }
}
