/** The messages of a room as they are seen: in their order, day by day, one's own on the right. */
import { avatar, el } from "./dom.js";

const TOGETHER = 300_000;
const NOTES = 200;
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export class Log {
  #me;
  #room;
  #items = new Map();
  #below = 0;
  #pinned = true;

  constructor(room, me) {
    this.#me = me;
    this.#room = room;
    this.list = el("ol", { class: "messages" });
    this.older = el("button", { type: "button", class: "quiet older", hidden: true, onclick: () => this.#readOlder() }, "Older messages");
    this.jump = el("button", { type: "button", class: "jump", hidden: true, onclick: () => this.toEnd() });
    this.scroller = el(
      "div",
      { class: "scroller", role: "log", "aria-label": `Messages in ${room.name}`, "aria-live": "polite", tabindex: 0 },
      this.older,
      this.list,
    );
    this.node = el("div", { class: "log" }, this.scroller, this.jump);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    const sizes = new ResizeObserver(() => this.#pinned && this.toEnd());
    for (const node of [this.scroller, this.list]) sizes.observe(node);
    room.addEventListener("message", ({ detail }) => this.#message(detail));
    room.addEventListener("sending", ({ detail }) => this.#draft(detail));
    room.addEventListener("note", ({ detail }) => this.note(detail));
    room.addEventListener("read", () => (this.older.hidden = !room.more));
    for (const message of room.messages.values()) this.#message({ message });
    for (const draft of room.drafts.values()) this.#draft(draft);
  }

  /** Shows the latest, and stays there until the visitor scrolls away. */
  toEnd() {
    this.#pinned = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#seen();
  }

  /** A line that nobody said. Notes of one kind that follow one another share a line. */
  note(text, kind = "") {
    this.#keepingPlace(() => {
      const last = this.list.lastElementChild;
      if (last?.classList.contains("note") && last.textContent.length < NOTES && !kind && !last.dataset.kind) {
        last.textContent += ` · ${text}`;
      } else {
        this.list.append(el("li", { class: "note", "data-kind": kind || null }, text));
      }
    });
  }

  #message({ message, draft, live }) {
    const item = this.#line(message, message.user === this.#me);
    item.dataset.id = message.id;
    this.#keepingPlace(() => {
      const old = draft && this.#items.get(draft.nonce);
      old?.remove();
      if (draft) this.#items.delete(draft.nonce);
      this.#put(item);
    }, live && message.user !== this.#me, message.user === this.#me);
  }

  #put(item) {
    const id = Number(item.dataset.id);
    let next = null;
    for (let at = this.list.lastElementChild; at && !(Number(at.dataset.id) < id); at = at.previousElementSibling) {
      if (at.dataset.id || at.dataset.state) next = at;
    }
    this.list.insertBefore(item, next);
    this.#group(item);
    if (item.nextElementSibling) this.#group(item.nextElementSibling);
  }

  #draft(draft) {
    if (!this.#room.drafts.has(draft.nonce)) return;
    const item = this.#line({ ...draft, user: this.#me, name: this.#me }, true);
    item.dataset.state = draft.state;
    if (draft.state === "failed") {
      const again = el("button", { type: "button", class: "retry", onclick: () => this.#room.send(draft) }, "Retry");
      item.querySelector(".said").append(el("span", { class: "failure", role: "alert" }, `Not sent: ${draft.reason}. `, again));
    }
    this.#keepingPlace(() => {
      const old = this.#items.get(draft.nonce);
      if (old) old.replaceWith(item);
      else this.list.append(item);
      this.#items.set(draft.nonce, item);
      this.#group(item);
    }, false, true);
  }

  #line(message, mine) {
    const time = new Date(message.time);
    return el(
      "li",
      { class: mine ? "message mine" : "message", "data-user": message.user, "data-time": message.time },
      avatar(message.name || "?"),
      el(
        "div",
        { class: "said" },
        el("span", { class: "by" }, el("b", {}, message.name || "somebody"), " ", el("time", { datetime: time.toISOString() }, TIME.format(time))),
        el("p", {}, message.text),
      ),
    );
  }

  /** Says the day where it is another one, and leaves out the name where it goes without saying. */
  #group(item) {
    if (!item.dataset.time) return;
    const direct = item.previousElementSibling;
    let before = direct;
    while (before && !before.dataset.time) before = before.previousElementSibling;
    const [time, last] = [Number(item.dataset.time), Number(before?.dataset.time ?? 0)];
    const day = DAY.format(time);
    if (!before || DAY.format(last) !== day) item.dataset.day = day;
    else delete item.dataset.day;
    const goesOn = before === direct && before?.dataset.user === item.dataset.user && time - last < TOGETHER;
    item.classList.toggle("follows", goesOn && !item.dataset.day);
  }

  #keepingPlace(change, counts = false, mine = false) {
    change();
    if (mine || this.#pinned) this.toEnd();
    else if (counts) {
      this.#below += 1;
      this.jump.textContent = `${this.#below} new ${this.#below === 1 ? "message" : "messages"} ↓`;
      this.jump.hidden = false;
    }
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.#pinned = scrollHeight - scrollTop - clientHeight < 40;
    if (this.#pinned) this.#seen();
  }

  #seen() {
    this.#below = 0;
    this.jump.hidden = true;
  }

  async #readOlder() {
    const height = this.scroller.scrollHeight;
    this.older.disabled = true;
    await this.#room.older().catch((error) => this.note(error.message));
    this.older.disabled = false;
    this.scroller.scrollTop += this.scroller.scrollHeight - height;
  }
}
