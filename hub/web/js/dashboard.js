/** The dashboard's panel: a tile for each figure, fed by a snapshot every two seconds. */
import { Bar, Gauge, Line } from "./charts.js";
import { byId, el, instead } from "./dom.js";
import { shown } from "./figures.js";

const MISSED = 3;

export class Dashboard {
  #panel = byId("dashboard");
  #fresh = byId("fresh");
  #tiles = new Map();
  #every = 2;
  #latest = "";
  #at = 0;

  constructor(connection, caller) {
    this.#start(connection, caller).catch((error) => instead(this.#panel, error.message));
  }

  async #start(connection, caller) {
    const { dashboards } = await caller.get("/api/dashboards");
    if (!dashboards.length) {
      instead(this.#panel, "There is no dashboard that you may see.");
      return;
    }
    const { name } = dashboards.find((one) => one.name === "system") ?? dashboards[0];
    const board = await caller.get(`/api/dashboards/${encodeURIComponent(name)}`);
    this.#every = board.every;
    byId("dashboard-title").textContent = board.title;
    byId("dashboard-topic").textContent = board.topic;
    for (const panel of board.panels) this.#tiles.set(panel.id, new Tile(panel, board.every));
    const tiles = [...this.#tiles.values()].map((tile) => tile.node);
    this.#panel.querySelector(".body").replaceChildren(el("ul", { class: "tiles" }, tiles));
    this.#draw(board.snapshot);
    const subscription = connection.subscription(board.topic, { counts: false });
    subscription.on("subscribed", (ctx) => this.#draw(ctx.data));
    subscription.on("publication", (ctx) => this.#draw(ctx.data));
    subscription.on("unsubscribed", (ctx) => instead(this.#panel, `The hub does not show it: ${ctx.reason}.`));
    subscription.subscribe();
    setInterval(() => this.#age(), 100);
  }

  #draw(snapshot) {
    if (!snapshot?.panels || snapshot.timestamp === this.#latest) return;
    this.#latest = snapshot.timestamp;
    this.#at = performance.now();
    for (const [id, tile] of this.#tiles) tile.draw(snapshot.panels[id] ?? { value: null });
  }

  /** Says how old the figures are; they dim when three snapshots in a row did not come. */
  #age() {
    const seconds = (performance.now() - this.#at) / 1_000;
    const stale = seconds > MISSED * this.#every;
    this.#fresh.textContent = stale ? `no update for ${Math.floor(seconds)} s` : `updated ${seconds.toFixed(1)} s ago`;
    this.#panel.toggleAttribute("data-stale", stale);
  }
}

class Tile {
  #panel;
  #figure = el("span", { class: "figure" });
  #unit = el("span", { class: "unit" });
  #error = el("span", { class: "why" });
  #chart;

  constructor(panel, every) {
    this.#panel = panel;
    this.#chart = panel.kind === "gauge" ? new Gauge(panel) : panel.kind === "bar" ? new Bar(panel) : new Line(panel, every);
    this.node = el(
      "li",
      { class: "tile", "data-kind": panel.kind, "data-panel": panel.id },
      el("h3", {}, panel.title),
      el("p", {}, this.#figure, " ", this.#unit),
      this.#error,
      this.#chart.node,
    );
  }

  draw({ value, error }) {
    const [figure, unit] = shown(value, this.#panel.unit);
    this.#figure.textContent = figure;
    this.#unit.textContent = unit;
    this.#error.textContent = error ?? "";
    this.#chart.draw(value);
  }
}
