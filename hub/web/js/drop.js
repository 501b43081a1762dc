/** "Drop my connection": cuts this tab's socket, lets somebody else publish meanwhile, and shows what came back. */
import { Caller } from "./api.js";
import { byId } from "./dom.js";

const MESSAGES = 3;
const PAUSE = 350;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Drop {
  #button = byId("drop");
  #outcome = byId("outcome");
  #robot = new Caller("robot");
  #connection;
  #chat;
  #topic;
  #sent = 0;

  /** `chat` is null where the plugin is off; then the publications go to `topic`. */
  constructor(connection, chat, topic) {
    this.#connection = connection;
    this.#chat = chat;
    this.#topic = topic;
    this.#button.addEventListener("click", () => this.#drop());
    connection.addEventListener("state", ({ detail }) => (this.#button.disabled = detail.state !== "live"));
    connection.addEventListener("recovered", ({ detail }) => this.#back(detail));
  }

  async #drop() {
    const mend = this.#connection.cut();
    this.#sent = 0;
    this.#say("Your socket is cut.");
    try {
      for (let number = 1; number <= MESSAGES; number++) {
        await wait(PAUSE);
        await this.#publish(`${number} of ${MESSAGES}, said while you were away`);
        this.#sent = number;
        this.#say(`Your socket is cut. Published meanwhile: ${number} of ${MESSAGES}.`);
      }
    } catch (error) {
      this.#say(`Your socket is cut; nothing could be published meanwhile: ${error.message}.`);
    } finally {
      await wait(PAUSE);
      mend();
    }
  }

  async #publish(text) {
    if (this.#chat) {
      const room = encodeURIComponent(this.#chat.room.name);
      await this.#robot.post(`/api/chat/rooms/${room}/messages`, { text, nonce: crypto.randomUUID() });
    } else await this.#robot.post(`/api/topics/${encodeURIComponent(this.#topic)}`, text);
  }

  #back({ count, lost, seconds }) {
    const away = `${seconds.toFixed(1)} s`;
    const made = `recovered ${count} ${count === 1 ? "publication" : "publications"}`;
    const text = lost.length
      ? `Back after ${away}: ${made}, and told what may be missing: ${lost.join(", ")}.`
      : `Back after ${away}: ${made}, in order, none twice.`;
    this.#say(text, lost.length ? "lost" : "recovered");
    this.#chat?.note(`connection lost for ${away} · ${made}`, lost.length ? "bad" : "good");
  }

  #say(text, kind = "") {
    this.#outcome.textContent = text;
    this.#outcome.dataset.kind = kind;
  }
}
