/**
 * Elements made of data. Whatever a user wrote becomes text, never markup: there is no way in here that parses HTML.
 */

/** An element with properties (`class`, `on<event>`, attributes by name; null and false leave one out) and children. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** Initials in a circle whose colour belongs to the name. */
export function avatar(name, node = el("span", { class: "avatar", "aria-hidden": true })) {
  const words = name.trim().split(/[\s._@-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? "?")].slice(0, 2).join("");
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  node.textContent = letters.toUpperCase();
  node.style.setProperty("--hue", hue);
  return node;
}

/** A sentence in a panel's place: the plugin is off, or what it asked was refused. */
export function instead(panel, sentence, code = "") {
  const body = panel.querySelector(".body");
  body.replaceChildren(el("p", { class: "instead" }, sentence), ...(code ? [el("pre", {}, el("code", {}, code))] : []));
}

/** What is said in the place of a panel whose plugin is not on. */
export function pluginIsOff(panel, plugin) {
  panel.dataset.off = "";
  instead(panel, `The plugin “${plugin}” is off. Two lines in hub.yaml switch it on:`, `plugins:\n  ${plugin}: {}`);
}
