/** Lines to copy, with this hub's own address, and beside them what they make happen. */
import { byId, el } from "./dom.js";

const KEPT = 50;
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export class Steps {
  #list = el("ol");
  #tail = el("div", { class: "tail", role: "log", "aria-label": "Publications", "aria-live": "polite", tabindex: 0 }, this.#list);

  constructor(connection, caller, { topic, anybody_may: mayAll }) {
    byId("steps-topic").textContent = topic;
    const open = ["publish", "subscribe"].every((action) => mayAll.includes(action));
    const lines = el("div", { class: "lines" });
    byId("steps").querySelector(".body").replaceChildren(
      lines,
      el("div", { class: "arrivals" }, el("h3", {}, "Arriving on ", el("code", {}, topic)), this.#tail),
    );
    this.#say("Paste the first line into a terminal: it shows up here.", "hint");
    caller.token().then((token) => lines.append(...written(topic, open ? "" : token)), () => {});
    const subscription = connection.subscription(topic);
    subscription.on("publication", (ctx) => this.#heard(ctx));
    subscription.on("unsubscribed", (ctx) => this.#say(`The hub does not let you listen to ${topic}: ${ctx.reason}.`, "hint"));
    subscription.subscribe();
  }

  #heard({ data, offset, info }) {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.#say(text, "", CLOCK.format(), `${offset ? `#${offset}` : ""} ${info?.user ?? ""}`.trim());
  }

  #say(text, kind, time = "", from = "") {
    this.#tail.querySelector(".hint")?.remove();
    this.#list.append(el("li", { class: kind || null }, time ? el("time", {}, time) : null, el("span", {}, text), from ? el("small", {}, from) : null));
    while (this.#list.children.length > KEPT) this.#list.firstElementChild.remove();
    this.#tail.scrollTop = this.#tail.scrollHeight;
  }
}

/** The lines; with a token where the topic is not open to everybody. */
function written(topic, token) {
  const at = location.origin;
  const header = token ? `-H "Authorization: Bearer $TOKEN" ` : "";
  const query = token ? "?token=$TOKEN" : "";
  const socket = `${at.replace(/^http/, "ws")}/ws/${topic}`;
  return [
    ...(token ? [["Your token", `TOKEN=${token}`]] : []),
    ["Publish", `curl ${header}-d 'hello' ${at}/api/topics/${topic}`],
    ["Listen", `curl -N ${token ? `'${at}/sse/${topic}${query}'`.replaceAll("'", '"') : `${at}/sse/${topic}`}`],
    ["In a page", `new WebSocket("${socket}${token ? `?token=${token}` : ""}").onmessage = (e) => console.log(e.data)`],
    ["With the CLI", `hub subscribe ${topic} --url ${at}${token ? " --token $TOKEN" : ""}`],
  ].map(([what, line]) => row(what, line));
}

function row(what, line) {
  const button = el("button", { type: "button", class: "quiet", "aria-label": `Copy: ${what}`, onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(line);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // without permission, one keystroke is left to the visitor
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1_500);
  }
  const code = el("code", {}, line);
  return el("div", { class: "line-to-copy" }, el("span", { class: "what" }, what), el("pre", { tabindex: 0, "aria-label": what }, code), button);
}
