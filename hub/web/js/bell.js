/** The bell: how many notifications are unread, the inbox behind it, and toasts for those that come. */
import { byId, el } from "./dom.js";
import { ago } from "./figures.js";

const SHOWN = 30;
const TOAST = 6_000;
const URGENT = 4;
const PRIORITY = { 1: ["·", "lowest"], 2: ["▾", "low"], 3: ["●", "normal"], 4: ["▲", "high"], 5: ["!", "urgent"] };
const SAMPLES = [
  ["Build finished", "main is green: 412 tests in 38 s.", 3, ["ci"]],
  ["Disk almost full", "node-2 has 4 % left.", 5, ["ops"]],
  ["You were mentioned", "“Could you look at the dashboard?”", 3, ["chat"]],
  ["Deploy needs approval", "Version 2.4 waits for you.", 4, ["ops"]],
  ["Weekly digest", "12 new messages in 3 rooms.", 2, ["digest"]],
];

export class Bell {
  #caller;
  #known = new Map();
  #unread = 0;
  #changes = -1;
  #sample = Math.floor(Math.random() * SAMPLES.length);
  #inbox = byId("inbox");
  #list = el("ul", { class: "notifications" });
  #all = byId("read-all");

  constructor(connection, caller) {
    this.#caller = caller;
    this.#inbox.querySelector(".body").replaceChildren(this.#list);
    this.#inbox.addEventListener("toggle", () => this.#draw());
    this.#all.addEventListener("click", () => this.#mark("/api/notifications/read-all", { up_to: Math.max(...this.#known.keys()) }));
    byId("notify").addEventListener("click", () => this.#sendOne());
    byId("notify").disabled = false;
    const subscription = connection.subscription(`notifications:${caller.user}`);
    subscription.on("subscribed", (ctx) => {
      if (!ctx.wasRecovering || !ctx.recovered) this.#read().catch((error) => this.#refuse(error.message));
    });
    subscription.on("publication", (ctx) => this.#heard(ctx.data));
    subscription.on("unsubscribed", (ctx) => this.#refuse(ctx.reason));
    subscription.subscribe();
    this.#draw();
  }

  async #read() {
    const page = await this.#caller.get(`/api/notifications?limit=${SHOWN}`);
    for (const one of page.notifications) this.#known.set(one.id, one);
    this.#count(page);
    this.#draw();
  }

  #heard(data) {
    if (data?.kind === "notification") {
      const known = this.#known.has(data.id);
      this.#known.set(data.id, { ...data, read: this.#known.get(data.id)?.read ?? data.read });
      if (!known) this.#toast(data);
    } else if (data?.kind === "read") this.#marked(data);
    else return;
    this.#count(data);
    this.#draw();
  }

  #marked({ ids, up_to: upTo }) {
    for (const [id, one] of this.#known) if (ids.includes(id) || id <= upTo) one.read ??= Date.now();
  }

  /** Pushes and answers may overtake one another; of two counts the one after more changes is true. */
  #count({ unread, changes }) {
    if (changes < this.#changes) return;
    this.#unread = unread;
    this.#changes = changes;
  }

  async #mark(path, body) {
    try {
      const told = await this.#caller.post(path, body);
      this.#marked(told);
      this.#count(told);
      this.#draw();
    } catch (error) {
      this.#refuse(error.message);
    }
  }

  async #sendOne() {
    const [title, body, priority, tags] = SAMPLES[this.#sample++ % SAMPLES.length];
    const notification = { user: this.#caller.user, title, body, priority, tags, key: crypto.randomUUID() };
    await this.#caller.post("/api/notifications", notification).catch((error) => this.#refuse(error.message));
  }

  #refuse(reason) {
    this.#toast({ title: "Notifications", body: reason, priority: URGENT });
  }

  #draw() {
    const badge = byId("unread");
    badge.textContent = this.#unread > 99 ? "99+" : this.#unread;
    badge.hidden = this.#unread === 0;
    byId("bell").setAttribute("aria-label", this.#unread ? `Notifications, ${this.#unread} unread` : "Notifications");
    document.title = (this.#unread ? `(${this.#unread}) ` : "") + "topichub · dev";
    this.#all.disabled = this.#unread === 0;
    const newest = [...this.#known.values()].sort((one, other) => other.id - one.id).slice(0, SHOWN);
    const focused = this.#list.contains(document.activeElement);
    this.#list.replaceChildren(
      ...newest.map((one) => this.#item(one)),
      ...(newest.length ? [] : [el("li", { class: "empty" }, "Nothing yet. “Send me a notification” makes one.")]),
    );
    if (focused) (this.#list.querySelector("button") ?? this.#all).focus();
  }

  #item(one) {
    const read = () => this.#mark(`/api/notifications/${one.id}/read`);
    return el(
      "li",
      { "data-priority": one.priority, "data-unread": one.read === null },
      mark(one.priority),
      el("div", {}, el("b", {}, one.title), one.body ? el("p", {}, one.body) : null, this.#foot(one)),
      one.read === null ? el("button", { type: "button", class: "quiet", "aria-label": `Mark read: ${one.title}`, onclick: read }, "Mark read") : null,
    );
  }

  #foot(one) {
    const time = new Date(one.time);
    return el(
      "small",
      {},
      el("time", { datetime: time.toISOString(), title: time.toLocaleString() }, ago(one.time)),
      one.tags.map((tag) => el("span", { class: "tag" }, tag)),
      safe(one.click) ? el("a", { href: one.click, target: "_blank", rel: "noopener noreferrer" }, "Open") : null,
    );
  }

  #toast({ title, body, priority }) {
    const gone = () => toast.remove();
    const toast = el(
      "div",
      { class: "toast", role: priority >= URGENT ? "alert" : "status", "data-priority": priority },
      mark(priority),
      el("div", {}, el("b", {}, title), body ? el("p", {}, body) : null),
      el("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: gone }, "×"),
    );
    byId("toasts").append(toast);
    while (byId("toasts").children.length > 3) byId("toasts").firstElementChild.remove();
    setTimeout(gone, TOAST);
  }
}

/** Priority as colour, sign and word. */
function mark(priority) {
  const [sign, word] = PRIORITY[priority] ?? PRIORITY[3];
  return el("span", { class: "priority", role: "img", "aria-label": `Priority: ${word}`, title: word }, sign);
}

/** Only addresses of the web and paths of this host lead anywhere, whatever the hub let through. */
function safe(link) {
  return /^(https?:\/\/|\/(?!\/))/.test(link ?? "");
}
