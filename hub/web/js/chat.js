/** The chat's panel: rooms on the left, what is said in the middle, who is there on the right. */
import { avatar, byId, el, instead } from "./dom.js";
import { Log } from "./log.js";
import { Room } from "./room.js";

const FIRST = "lobby";

export class Chat {
  #connection;
  #caller;
  #panel = byId("chat");
  #rooms = new Map([[FIRST, null]]);
  #views = new Map();
  #current = "";
  #list = el("ul", { class: "rooms", "aria-label": "Rooms" });
  #middle = el("div", { class: "middle" });
  #people = el("ul", { class: "people", "aria-label": "Who is here" });
  #typing = el("p", { class: "typing", "aria-live": "polite" });
  #text;

  constructor(connection, caller) {
    this.#connection = connection;
    this.#caller = caller;
    this.#panel
      .querySelector(".body")
      .replaceChildren(
        el("nav", { class: "side", "aria-label": "Chat rooms" }, this.#list, this.#newRoom()),
        this.#middle,
        el("aside", { class: "here", "aria-label": "Presence" }, this.#people),
      );
    this.#middle.append(this.#typing, this.#composer());
    this.enter(FIRST);
    this.#readRooms();
    addEventListener("focus", () => this.#readRooms());
  }

  get room() {
    return this.#rooms.get(this.#current);
  }

  /** A line in the current room that nobody said. */
  note(text, kind) {
    this.#views.get(this.#current)?.note(text, kind);
  }

  /** Shows a room; from now on this tab listens to it. */
  enter(name) {
    const room = this.#rooms.get(name) ?? this.#open(name);
    this.#current = name;
    room.unread = 0;
    const view = this.#views.get(name);
    this.#middle.querySelector(".log")?.remove();
    this.#middle.prepend(view.node);
    byId("chat-topic").textContent = `chat:${name}`;
    view.toEnd();
    this.#drawRooms();
    this.#drawPeople();
    this.#drawTyping();
  }

  #open(name) {
    const room = new Room(name, this.#connection, this.#caller);
    this.#rooms.set(name, room);
    this.#views.set(name, new Log(room, this.#caller.user));
    const current = () => this.#current === name;
    room.addEventListener("message", () => {
      if (current() && document.hasFocus()) room.unread = 0;
      if (!current()) this.#drawRooms();
    });
    room.addEventListener("people", () => current() && this.#drawPeople());
    room.addEventListener("typing", () => current() && this.#drawTyping());
    room.addEventListener("refused", ({ detail }) => this.#views.get(name).note(detail, "bad"));
    return room;
  }

  async #readRooms() {
    try {
      const { rooms } = await this.#caller.get("/api/chat/rooms?limit=100");
      for (const { name } of rooms) if (!this.#rooms.has(name)) this.#rooms.set(name, null);
      this.#drawRooms();
    } catch (error) {
      if (error.status === 401 || error.status === 403) instead(this.#panel, error.message);
    }
  }

  #drawRooms() {
    const items = [...this.#rooms].map(([name, room]) => {
      const unread = name === this.#current ? 0 : (room?.unread ?? 0);
      return el(
        "li",
        {},
        el(
          "button",
          { type: "button", "aria-current": name === this.#current ? "true" : null, onclick: () => this.#choose(name) },
          el("span", { class: "hash", "aria-hidden": true }, "#"),
          el("span", { class: "name" }, name),
          unread ? el("span", { class: "badge", "aria-label": `${unread} unread` }, unread > 99 ? "99+" : unread) : null,
        ),
      );
    });
    const focused = [...this.#list.children].findIndex((item) => item.contains(document.activeElement));
    this.#list.replaceChildren(...items);
    items[focused]?.firstElementChild.focus();
  }

  #choose(name) {
    this.enter(name);
    this.#text.focus();
  }

  #drawPeople() {
    const names = this.room.names;
    this.#people.replaceChildren(
      ...names.map((name) =>
        el("li", { title: name || "anonymous" }, avatar(name || "?"), el("span", { class: "name" }, name || "anonymous", name === this.#caller.user ? " (you)" : "")),
      ),
    );
  }

  #drawTyping() {
    const names = this.room.typing;
    const text = names.length > 2 ? "several people are typing…" : names.join(" and ") + (names.length > 1 ? " are typing…" : " is typing…");
    this.#typing.textContent = names.length ? text : "";
  }

  #newRoom() {
    const name = el("input", { "aria-label": "New room", placeholder: "new room", pattern: "[\\w\\-]{1,64}", maxlength: 64, required: true, autocomplete: "off" });
    return el("form", { class: "new-room", onsubmit: (event) => this.#create(event, name) }, name, el("button", { type: "submit", "aria-label": "Create the room" }, "+"));
  }

  /** Enters the room of a name; makes it where there is none. */
  async #create(event, input) {
    event.preventDefault();
    const name = input.value;
    await this.#readRooms();
    try {
      if (!this.#rooms.has(name)) await this.#caller.post("/api/chat/rooms", { name });
    } catch (error) {
      if (error.status !== 409) return void this.note(error.message, "bad"); // 409: somebody was faster
    }
    input.value = "";
    this.#choose(name);
  }

  #composer() {
    this.#text = el("textarea", {
      id: "say",
      rows: 1,
      placeholder: "Say something",
      "aria-label": "Message; Enter sends, Shift+Enter breaks the line",
      oninput: () => this.room.type(this.#text.value !== ""),
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        form.requestSubmit();
      },
    });
    const form = el("form", { class: "composer", onsubmit: (event) => this.#send(event) }, this.#text, el("button", { type: "submit", class: "strong" }, "Send"));
    return form;
  }

  #send(event) {
    event.preventDefault();
    const text = this.#text.value;
    if (!text.trim()) return;
    this.#text.value = "";
    this.room.type(false);
    this.room.say(text);
  }
}
