/** The page of `hub dev`: who you are, the connection, and the panels of what is switched on. */
import { about, Caller } from "./api.js";
import { Bell } from "./bell.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { Dashboard } from "./dashboard.js";
import { avatar, byId, pluginIsOff } from "./dom.js";
import { Drop } from "./drop.js";
import { Explain } from "./explain.js";
import { become, somebodyElse, userOfThisTab } from "./identity.js";
import { Steps } from "./steps.js";
import { chooseColours } from "./theme.js";

const WORDS = { connecting: "connecting…", live: "live", cut: "cut", reconnecting: "reconnecting…", ended: "ended" };
const REMEMBERED = 10_000;

export const caller = new Caller(userOfThisTab(), ["notifier"]);
export const connection = new Connection(caller);

showWho();
showConnection();
chooseColours(byId("theme"));
start().catch((error) => trouble(error.message));

async function start() {
  const hub = await about();
  await caller.token(); // what speaks against this user is said once, not by every panel
  byId("version").textContent = hub.version;
  const on = (plugin) => hub.plugins.includes(plugin);
  const chat = on("chat") ? new Chat(connection, caller) : pluginIsOff(byId("chat"), "chat");
  if (on("dashboards")) new Dashboard(connection, caller);
  else pluginIsOff(byId("dashboard"), "dashboards");
  if (on("notifications")) new Bell(connection, caller);
  else pluginIsOff(byId("inbox"), "notifications");
  new Steps(connection, caller, hub);
  new Explain(caller, hub.topic);
  new Drop(connection, chat ?? null, hub.topic);
  connection.open();
}

function showWho() {
  const { user } = caller;
  avatar(user, byId("me"));
  byId("user").value = user;
  byId("who").addEventListener("submit", (event) => {
    event.preventDefault();
    become(byId("user").value.trim());
  });
  byId("user").addEventListener("change", () => byId("who").requestSubmit());
  byId("second").href = `/?${new URLSearchParams({ user: somebodyElse(user) })}`;
}

function showConnection() {
  const pill = byId("pill");
  const say = (state, text) => {
    pill.dataset.state = state;
    byId("pill-text").textContent = text;
  };
  connection.addEventListener("state", ({ detail: { state, reason } }) => {
    say(state, state === "ended" ? `ended: ${reason}` : WORDS[state]);
    if (state === "ended") trouble(`The hub ended this connection: ${reason}.`);
  });
  connection.addEventListener("recovered", ({ detail: { count, lost } }) => {
    say("live", lost.length ? `live · ${lost.length} not recovered` : `live · recovered ${count}`);
    setTimeout(() => connection.state === "live" && say("live", "live"), REMEMBERED);
  });
}

function trouble(sentence) {
  byId("trouble").textContent = sentence;
  byId("trouble").hidden = false;
  document.documentElement.dataset.trouble = "";
}
