/**
 * One chat room, without its looks: what was said, what is being sent, who is here, who types.
 *
 * Stored messages come by REST and live ones by the topic `chat:<room>`; both are the same messages, told apart by
 * `id`. Events: `message` (detail: the message), `sending` (a draft changed), `people`, `typing`, `note` (a line of
 * text), `refused`.
 */
const PAGE = 50;
const SILENT_AFTER = 4_000;
const SAY_AGAIN = 2_000;

export class Room extends EventTarget {
  messages = new Map();
  drafts = new Map();
  people = new Map();
  typists = new Map();
  unread = 0;
  more = false;
  #caller;
  #topic;
  #typing;
  #typed = null;

  constructor(name, connection, caller) {
    super();
    this.name = name;
    this.#caller = caller;
    this.#topic = connection.subscription(`chat:${name}`, { joinLeave: true });
    this.#topic.on("subscribed", (ctx) => this.#entered(ctx));
    this.#topic.on("publication", (ctx) => this.#heard(ctx.data));
    this.#topic.on("join", (ctx) => this.#came(ctx.info));
    this.#topic.on("leave", (ctx) => this.#went(ctx.info));
    this.#topic.on("unsubscribed", (ctx) => this.#tell("refused", `The hub does not let you in: ${ctx.reason}.`));
    this.#topic.subscribe();
    this.#typing = connection.subscription(`chat-typing:${name}`, { counts: false });
    this.#typing.on("publication", (ctx) => this.#types(ctx.data));
    this.#typing.subscribe();
  }

  /** Everybody who is here, each once. */
  get names() {
    return [...new Set(this.people.values())].sort((one, other) => one.localeCompare(other));
  }

  /** Those who type just now, but for oneself. */
  get typing() {
    const now = performance.now();
    return [...this.typists].filter(([, until]) => until > now).map(([user]) => user);
  }

  /** Sends a text: it is shown at once, and stored once however often it is sent. */
  say(text) {
    const draft = { text, nonce: crypto.randomUUID(), time: Date.now(), state: "sending", reason: "" };
    this.drafts.set(draft.nonce, draft);
    this.#tell("sending", draft);
    this.#typed = null;
    return this.send(draft);
  }

  /** Sends a draft, once more if it failed. */
  async send(draft) {
    this.#become(draft, "sending");
    try {
      await this.#topic.publish({ text: draft.text, nonce: draft.nonce });
      if (this.drafts.has(draft.nonce)) this.#become(draft, "sent");
    } catch (error) {
      if (this.drafts.has(draft.nonce)) this.#become(draft, "failed", error.message ?? String(error));
    }
  }

  /** Tells the others that one is typing, or has stopped; not with every key. */
  async type(on) {
    const now = performance.now();
    if (on ? this.#typed !== null && now - this.#typed < SAY_AGAIN : this.#typed === null) return;
    this.#typed = on ? now : null;
    await this.#typing.publish({ typing: on }).catch(() => {}); // nobody misses it
  }

  /** Reads the messages before the first that is known. */
  async older() {
    await this.#read({ before: Math.min(...this.messages.keys()) });
  }

  async #entered(ctx) {
    this.#topic.presence().then(({ clients }) => {
      this.people = new Map(Object.values(clients).map((one) => [one.client, one.user]));
      this.#tell("people");
    }, () => {}); // an operator may have switched presence off
    if (ctx.wasRecovering && ctx.recovered) return;
    const last = Math.max(0, ...this.messages.keys());
    await this.#read(last ? { after: last } : {}).catch((error) => this.#tell("refused", error.message));
  }

  async #read(cursor) {
    const query = new URLSearchParams({ limit: PAGE, ...cursor });
    const page = await this.#caller.get(`/api/chat/rooms/${encodeURIComponent(this.name)}/messages?${query}`);
    if (!cursor.after) this.more = page.more;
    for (const message of page.messages) this.#take(message, false);
    this.#tell("read");
    if (cursor.after && page.more) await this.#read({ after: page.messages.at(-1).id });
  }

  #heard(data) {
    if (data?.kind !== "message") return;
    this.typists.delete(data.user);
    this.#take(data, true);
    this.#tell("typing");
  }

  #take(message, live) {
    if (this.messages.has(message.id)) return;
    const mine = message.user === this.#caller.user;
    const draft = mine && message.nonce ? this.drafts.get(message.nonce) : undefined;
    if (draft) this.drafts.delete(draft.nonce);
    this.messages.set(message.id, message);
    if (live && !mine) this.unread += 1;
    this.#tell("message", { message, draft, live });
  }

  #came(info) {
    const known = this.names.includes(info.user);
    this.people.set(info.client, info.user);
    this.#tell("people");
    if (!known && info.user !== this.#caller.user) this.#tell("note", `${info.user} joined`);
  }

  #went(info) {
    if (!this.people.delete(info.client)) return;
    this.#tell("people");
    if (this.names.includes(info.user)) return;
    this.typists.delete(info.user);
    this.#tell("typing");
    this.#tell("note", `${info.user} left`);
  }

  #types(data) {
    if (data?.kind !== "typing" || data.user === this.#caller.user) return;
    if (data.typing) {
      this.typists.set(data.user, performance.now() + SILENT_AFTER);
      setTimeout(() => this.#tell("typing"), SILENT_AFTER + 50);
    } else this.typists.delete(data.user);
    this.#tell("typing");
  }

  #become(draft, state, reason = "") {
    Object.assign(draft, { state, reason });
    this.#tell("sending", draft);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
