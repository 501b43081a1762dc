/** Small charts in SVG: a line that moves on, an arc, a bar. */
import { el, svg } from "./dom.js";
import { shown } from "./figures.js";

const [FEWEST, MOST] = [12, 60];
const [WIDTH, HEIGHT] = [120, 36];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A figure over the last two minutes, or since the page was opened. */
export class Line {
  #values = [];
  #panel;
  #seconds;

  constructor(panel, seconds) {
    this.#panel = panel;
    this.#seconds = seconds;
    this.area = svg("path", { class: "area" });
    this.stroke = svg("path", { class: "stroke", "vector-effect": "non-scaling-stroke" });
    this.moving = svg("g", {}, this.area, this.stroke);
    this.node = svg("svg", { class: "line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, this.moving);
  }

  draw(value) {
    this.#values.push(typeof value === "number" ? value : null);
    if (this.#values.length > MOST) this.#values.shift();
    const known = this.#values.filter((one) => one !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const span = this.#scale(low, high);
    const step = WIDTH / (Math.max(FEWEST, this.#values.length) - 1);
    const points = this.#values.map((one, at) => {
      if (one === null) return null;
      const x = WIDTH - (this.#values.length - 1 - at) * step;
      return [x.toFixed(1), (HEIGHT - 2 - ((one - span[0]) / (span[1] - span[0])) * (HEIGHT - 4)).toFixed(1)];
    });
    const drawn = points.filter(Boolean);
    const line = drawn.map(([x, y], at) => `${at ? "L" : "M"}${x} ${y}`).join("");
    this.stroke.setAttribute("d", line);
    this.area.setAttribute("d", drawn.length ? `${line}L${WIDTH} ${HEIGHT}L${drawn[0][0]} ${HEIGHT}Z` : "");
    if (known.length) this.node.setAttribute("aria-label", this.#words(low, high));
    if (!calm.matches && drawn.length > 1) {
      this.moving.animate([{ transform: `translateX(${step}px)` }, { transform: "none" }], { duration: this.#seconds * 1_000 });
    }
  }

  /** From nought, where that leaves something to be seen; never so near that noise looks like mountains. */
  #scale(low, high) {
    const { unit } = this.#panel;
    if (unit === "%") return [0, Math.max(10, high * 1.2)];
    const least = unit.startsWith("B") ? 1_024 : 4;
    return [Math.min(0, low), Math.max(least, high * 1.15)];
  }

  #words(low, high) {
    const { title, unit } = this.#panel;
    return `${title}, of late from ${shown(low, unit).join(" ").trim()} to ${shown(high, unit).join(" ").trim()}`;
  }
}

/** Part of a whole, as an arc. */
export class Gauge {
  constructor(panel) {
    this.max = panel.max;
    this.value = svg("path", { class: "stroke", d: "M10 50A40 40 0 0 1 90 50", pathLength: 100, "stroke-dasharray": "0 200" });
    const track = svg("path", { class: "track", d: "M10 50A40 40 0 0 1 90 50" });
    this.node = svg("svg", { class: "gauge", viewBox: "0 0 100 56", "aria-hidden": true }, track, this.value);
  }

  draw(value) {
    const share = shareOf(value, this.max);
    this.value.setAttribute("stroke-dasharray", `${100 * share} 200`);
    this.node.dataset.level = level(share);
  }
}

/** Part of a whole, as a bar. */
export class Bar {
  constructor(panel) {
    this.max = panel.max ?? 100;
    this.value = el("span");
    this.node = el("span", { class: "bar-track", "aria-hidden": true }, this.value);
  }

  draw(value) {
    const share = shareOf(value, this.max);
    this.value.style.setProperty("inline-size", `${100 * share}%`);
    this.node.dataset.level = level(share);
  }
}

const shareOf = (value, max) => Math.min(1, Math.max(0, (typeof value === "number" ? value : 0) / max));
const level = (share) => (share > 0.9 ? "bad" : share > 0.75 ? "warn" : "good");
