/** Whether somebody may do something, and which rule says so. */
import { explain } from "./api.js";
import { byId, el } from "./dom.js";

const DOING = { subscribe: "subscribe to", publish: "publish on", presence: "read the presence of", history: "read the history of", rpc: "call" };

export class Explain {
  #answer = el("output", { class: "answer", for: "may-who may-roles may-token may-do may-topic" });
  #asked = 0;

  constructor(caller, topic) {
    const form = el("form", { class: "question" },
      field("may-who", "User", { value: caller.user, placeholder: "nobody by name", maxlength: 100 }),
      field("may-roles", "Roles", { placeholder: "editor, reader" }),
      field("may-token", "Or a token", { placeholder: "eyJ…" }),
      el("label", { for: "may-do" }, "may"),
      el("select", { id: "may-do", name: "action" }, Object.entries(DOING).map(([value, words]) => el("option", { value }, words))),
      field("may-topic", "Topic or method", { value: topic, required: true, maxlength: 255 }),
      el("button", { type: "submit", class: "strong" }, "Explain"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(new FormData(form));
    });
    byId("explain").querySelector(".body").replaceChildren(form, this.#answer);
  }

  async #ask(form) {
    const number = ++this.#asked;
    const [user, token] = [form.get("may-who").trim(), form.get("may-token").trim()];
    const roles = form.get("may-roles").split(",").map((role) => role.trim()).filter(Boolean);
    const who = token ? { token } : { user, ...(roles.length ? { claims: { roles } } : {}) };
    let told;
    try {
      told = shown(await explain({ action: form.get("action"), topic: form.get("may-topic").trim(), ...who }));
    } catch (error) {
      told = [el("p", { class: "verdict", "data-allowed": "no" }, error.message)];
    }
    if (number === this.#asked) this.#answer.replaceChildren(...told);
  }
}

function field(id, name, props) {
  return [el("label", { for: id }, name), el("input", { id, name: id, autocomplete: "off", spellcheck: "false", ...props })];
}

function shown({ allowed, error, verdict, pattern, origin, owner, rules_of: of, rules_origin: place, who, marks, rules, capabilities, handlers, connect }) {
  const steps = [...who, ...marks, ...rules, ...capabilities];
  const from = pattern ? `${pattern}${owner ? ` of plugin ${owner}` : ""}, ${origin}` : "";
  const facts = [["Pattern", from], ["Rules", of ? `${of === "rpc" ? "rpc.allow" : `allow.${of}`}, ${place}` : ""], ["Asked next, and not here", [...connect, ...handlers].join(", ")]];
  return [
    el("p", { class: "verdict", "data-allowed": allowed ? "yes" : "no" }, `${verdict}${error ? ` (${error})` : ""}`),
    el("dl", {}, facts.filter(([, text]) => text).map(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]).flat()),
    el("ul", {}, steps.map(({ what, admits, why }) => el("li", { "data-admits": admits ? "yes" : "no" }, el("b", {}, admits ? "yes" : "no"), " ", el("code", {}, what), ` ${why}`))),
  ];
}
