/**
 * The hub's connection of this tab: the published SDK over a socket that can be cut.
 *
 * `state` events tell `connecting`, `live`, `cut` (by our own hand), `reconnecting` and `ended`; `recovered` events,
 * after the connection came back, how many publications the hub made good and which topics it could not.
 */
const { Centrifuge } = globalThis;

export class Connection extends EventTarget {
  #socket = null;
  #gate = null;
  #watched = new Set();
  #tally = null;

  constructor(caller) {
    super();
    this.state = "connecting";
    this.client = this.#client(caller);
    this.client.on("connecting", () => this.#lost());
    this.client.on("connected", () => this.#tell("live"));
    this.client.on("disconnected", (ctx) => this.#tell("ended", ctx.reason));
  }

  open() {
    this.client.connect();
  }

  /**
   * A subscription whose recovery counts. A topic that only keeps its latest publication has nothing to recover:
   * `counts: false`.
   */
  subscription(topic, { counts = true, ...options } = {}) {
    const subscription = this.client.newSubscription(topic, options);
    this.#watched.add(subscription);
    let arriving = false;
    subscription.on("subscribed", (ctx) => {
      if (this.#tally === null || !ctx.wasRecovering || !counts) return;
      if (!ctx.recovered) this.#tally.lost.push(topic);
      arriving = true; // what was recovered is handed over in this very turn
      queueMicrotask(() => (arriving = false));
    });
    subscription.on("publication", () => {
      if (arriving) this.#tally.count += 1;
    });
    subscription.on("state", () => queueMicrotask(() => this.#settle()));
    return subscription;
  }

  /** Closes the socket behind the SDK's back and holds the line until the function that it returns is called. */
  cut() {
    let mend;
    const mended = new Promise((resolve) => (mend = resolve));
    this.#gate = mended;
    this.#tell("cut");
    this.#socket?.close();
    return () => {
      this.#gate = null;
      if (this.state === "cut") this.#tell("reconnecting");
      mend();
    };
  }

  #client(caller) {
    const connection = this;
    class Socket extends WebSocket {
      constructor(...address) {
        super(...address);
        connection.#socket = this;
      }
    }
    let again = false;
    const getToken = async () => {
      const token = await caller.token(again);
      again = true; // the SDK asks a second time when the first one has come to its end
      return token;
    };
    const url = new URL("/connection/websocket", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new Centrifuge(url.href, {
      websocket: Socket,
      getToken,
      getData: async () => (await this.#gate, null), // asked before each attempt: here the line is held
      maxReconnectDelay: 5_000,
      name: "dev-page",
    });
  }

  #lost() {
    if (this.state === "connecting") return;
    this.#tally ??= { count: 0, lost: [], since: performance.now() };
    if (this.state !== "cut") this.#tell("reconnecting");
  }

  /** Once every topic is subscribed again, tells what came of it. */
  #settle() {
    if (this.#tally === null || this.state !== "live") return;
    if ([...this.#watched].some((subscription) => subscription.state === "subscribing")) return;
    const { count, lost, since } = this.#tally;
    this.#tally = null;
    this.#emit("recovered", { count, lost, seconds: (performance.now() - since) / 1_000 });
  }

  #tell(state, reason = "") {
    this.state = state;
    this.#emit("state", { state, reason });
    if (state === "live") this.#settle();
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
