// One scenario of the published centrifuge client per name; prints one JSON line of what it saw, exits 1 on a fault.
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [, , name, url, api, apiKey, token, other] = process.argv;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const once = (emitter, event) =>
  new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${event} within 8 s`)), 8000);
    emitter.once(event, (ctx) => (clearTimeout(timer), done(ctx)));
  });
async function until(condition, what) {
  for (let tries = 0; tries < 400; tries++) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`${what} did not happen within 8 s`);
}
const sockets = [];
class Cuttable extends WebSocket {
  constructor(...args) {
    super(...args);
    sockets.push(this);
  }
}
const make = (options = {}, query = "") =>
  new Centrifuge(url + query, { websocket: Cuttable, minReconnectDelay: 50, maxReconnectDelay: 200, ...options });
const cut = () => sockets.forEach((socket) => socket.readyState === 1 && socket.terminate());
async function ask(path, headers) {
  const answer = await fetch(api + path, { method: path === "/api/ticket" ? "POST" : "GET", headers });
  return await answer.json();
}
// Connects and subscribes, twice: a client that was cut comes back in the same way.
async function come(options) {
  const client = make(options);
  const gone = once(client, "disconnected").then((ctx) => ctx.code, () => 0);
  const sub = client.newSubscription("own:ann");
  const subscribed = once(sub, "subscribed");
  sub.subscribe();
  client.connect();
  const first = await Promise.race([subscribed, gone]);
  if (typeof first === "number") return { refused: first };
  const again = once(sub, "subscribed");
  cut();
  await again;
  const seen = once(sub, "publication");
  await sub.publish("mine");
  const { data, info } = await seen;
  client.disconnect();
  return { data, user: info.user };
}
async function publish(topic, data, tags) {
  const answer = await fetch(`${api}/api/publish`, {
    method: "POST",
    headers: { "X-API-Key": apiKey },
    body: JSON.stringify({ channel: topic, data, tags }),
  });
  const body = await answer.json();
  if (body.error) throw new Error(JSON.stringify(body.error));
  return body.result;
}

const scenarios = {
  async session() {
    const client = make({ token });
    const seen = { joins: [], leaves: [], pubs: [] };
    const connected = once(client, "connected");
    client.connect();
    const ctx = await connected;
    const sub = client.newSubscription("news:1", { joinLeave: true });
    sub.on("publication", (pub) => seen.pubs.push([pub.data, pub.offset, pub.info?.user]));
    sub.on("join", (join) => seen.joins.push(join.info.user));
    sub.on("leave", (leave) => seen.leaves.push(leave.info.user));
    const subscribed = once(sub, "subscribed");
    sub.subscribe();
    const position = await subscribed;
    await sub.publish({ n: 1 });
    await client.publish("news:1", { n: 2 });
    await until(() => seen.pubs.length === 2, "two publications");
    const presence = await sub.presence();
    const stats = await sub.presenceStats();
    const history = await sub.history({ limit: 10 });
    let rpc = 0;
    await client.rpc("nope", {}).catch((error) => (rpc = error.code));
    const second = make({ token: other });
    const late = second.newSubscription("news:1");
    const lateSubscribed = once(late, "subscribed");
    late.subscribe();
    second.connect();
    await lateSubscribed;
    await until(() => seen.joins.includes("bob"), "bob's join");
    second.disconnect();
    await until(() => seen.leaves.includes("bob"), "bob's leave");
    const result = {
      transport: ctx.transport,
      client: typeof ctx.client,
      positioned: position.positioned,
      recoverable: position.recoverable,
      pubs: seen.pubs,
      presence: Object.values(presence.clients).map((info) => info.user),
      stats,
      history: history.publications.map((pub) => [pub.data, pub.offset]),
      rpc,
      joins: seen.joins,
    };
    client.disconnect();
    return result;
  },

  async recovery() {
    const client = make({ token });
    const sub = client.newSubscription("news:cut");
    const offsets = [];
    sub.on("publication", (pub) => offsets.push(pub.offset));
    const first = once(sub, "subscribed");
    sub.subscribe();
    client.connect();
    await first;
    for (let n = 1; n <= 3; n++) await publish("news:cut", { n });
    await until(() => offsets.length === 3, "three publications");
    const again = once(sub, "subscribed");
    client.on("connecting", () => {});
    cut();
    for (let n = 4; n <= 8; n++) await publish("news:cut", { n });
    const ctx = await again;
    await publish("news:cut", { n: 9 });
    await until(() => offsets.length === 9, "all nine");
    client.disconnect();
    return { offsets, recovered: ctx.recovered, wasRecovering: ctx.wasRecovering };
  },

  async small_history() {
    const client = make({ token });
    const sub = client.newSubscription("small:1");
    const offsets = [];
    sub.on("publication", (pub) => offsets.push(pub.offset));
    const first = once(sub, "subscribed");
    sub.subscribe();
    client.connect();
    await first;
    await publish("small:1", 1);
    await until(() => offsets.length === 1, "the first");
    const gone = once(client, "disconnected");
    client.disconnect();
    await gone;
    for (let n = 2; n <= 6; n++) await publish("small:1", n);
    const again = once(sub, "subscribed");
    client.connect();
    const ctx = await again;
    await publish("small:1", 7);
    await until(() => offsets.includes(7), "the live one");
    client.disconnect();
    return { offsets, recovered: ctx.recovered, wasRecovering: ctx.wasRecovering };
  },

  async refresh() {
    let asked = 0;
    const client = make({ token, getToken: async () => (asked++, other) });
    let drops = 0;
    client.on("connecting", (ctx) => (drops += ctx.code > 0 ? 1 : 0));
    const connected = once(client, "connected");
    client.connect();
    await connected;
    await until(() => asked > 0, "a refresh");
    await sleep(300);
    const state = client.state;
    client.disconnect();
    return { asked, drops, state };
  },

  async many() {
    const outcome = [];
    for (let round = 0; round < 10; round++) {
      const client = make({ token });
      client.connect();
      client.disconnect();
    }
    const client = make({ token });
    const subs = ["a", "b", "c", "d", "e"].map((letter) => client.newSubscription(`news:${letter}`));
    const bad = client.newSubscription("forbidden:1");
    let refused = 0;
    bad.on("unsubscribed", (ctx) => (refused = ctx.code));
    bad.subscribe();
    subs.forEach((sub) => sub.subscribe());
    client.connect();
    await Promise.all(subs.map((sub) => sub.ready(5000)));
    for (let round = 0; round < 10; round++) {
      subs[0].unsubscribe();
      subs[0].subscribe();
    }
    await subs[0].ready(5000);
    await until(() => refused > 0, "the refusal");
    await until(async () => (await client.presenceStats("news:a")).numClients === 1, "one client present");
    outcome.push(refused, subs.map((sub) => sub.state));
    subs[0].unsubscribe();
    await until(async () => (await client.presenceStats("news:a")).numClients === 0, "nobody present");
    client.disconnect();
    return outcome;
  },

  async server_side() {
    const client = make({ token });
    const subscribed = once(client, "subscribed");
    const pubs = [];
    client.on("publication", (ctx) => pubs.push([ctx.channel, ctx.data]));
    client.connect();
    const ctx = await subscribed;
    await publish("news:server", "hello");
    await until(() => pubs.length === 1, "the publication");
    const again = once(client, "subscribed");
    cut();
    await publish("news:server", "missed");
    const second = await again;
    await until(() => pubs.length === 2, "the missed one");
    client.disconnect();
    return { channel: ctx.channel, pubs, recovered: second.recovered };
  },

  async outage() {
    const options = { minResubscribeDelay: 100, maxResubscribeDelay: 500 };
    const client = make({ token });
    const own = make({ token: other });
    const sub = client.newSubscription("news:away", options);
    const errors = [];
    const seen = [];
    const drops = [];
    sub.on("error", (ctx) => errors.push(ctx.error.code));
    sub.on("publication", (pub) => seen.push(pub.data));
    client.on("disconnected", (ctx) => drops.push(ctx.code));
    own.on("disconnected", (ctx) => drops.push(ctx.code));
    const failed = once(own, "error");
    const subscribed = once(sub, "subscribed");
    const owned = once(own, "subscribed");
    sub.subscribe();
    client.connect();
    own.connect();
    const refused = (await failed).error.code;
    const state = sub.state;
    await subscribed;
    const { channel } = await owned;
    await until(() => publish("news:away", 1).then(() => true, () => false), "a publish");
    await until(() => seen.length === 1, "the publication");
    return { errors: [...new Set(errors)], refused, state, channel, seen, drops, after: sub.state };
  },

  async delta() {
    const rows = Array.from({ length: 60 }, (_, n) => ({ n, text: `row ${n} — строка 🎈` }));
    const version = (n) => rows.map((row) => (row.n === (n * 7) % 60 ? { ...row, text: `version ${n} ж` } : row));
    const same = (data, n) => JSON.stringify(data) === JSON.stringify(version(n));
    const client = make({ token });
    const sub = client.newSubscription("delta:1", { delta: "fossil" });
    const plain = client.newSubscription("delta:2");
    const seen = [];
    const also = [];
    sub.on("publication", (pub) => seen.push([pub.offset, same(pub.data, pub.offset)]));
    plain.on("publication", (pub) => also.push(same(pub.data, pub.offset)));
    const first = once(sub, "subscribed");
    sub.subscribe();
    plain.subscribe();
    client.connect();
    await first;
    await plain.ready(5000);
    await publish("delta:2", version(1));
    for (let n = 1; n <= 4; n++) await publish("delta:1", version(n));
    await until(() => seen.length === 4 && also.length === 1, "four live ones and a plain one");
    const live = { ...sub.deltaStats() };
    const again = once(sub, "subscribed");
    cut();
    for (let n = 5; n <= 8; n++) await publish("delta:1", version(n));
    const ctx = await again;
    for (let n = 9; n <= 12; n++) await publish("delta:1", version(n));
    await until(() => seen.length === 12, "all twelve");
    const stats = sub.deltaStats();
    client.disconnect();
    return {
      offsets: seen.map(([offset]) => offset),
      right: seen.every(([, right]) => right) && also[0],
      recovered: ctx.recovered,
      live: [live.numFullPayloads, live.numDeltaPayloads],
      deltas: stats.numDeltaPayloads,
      saved: stats.compressionRatio,
    };
  },

  async delta_lost() {
    const text = (n) => ({ filler: "the same in each of them ".repeat(8), n });
    const client = make({ token });
    const sub = client.newSubscription("short:1", { delta: "fossil" });
    const seen = [];
    sub.on("publication", (pub) => seen.push([pub.data.n, pub.data.filler === text(0).filler]));
    const first = once(sub, "subscribed");
    sub.subscribe();
    client.connect();
    await first;
    for (let n = 1; n <= 2; n++) await publish("short:1", text(n));
    await until(() => seen.length === 2, "two live ones");
    const gone = once(client, "disconnected");
    client.disconnect();
    await gone;
    for (let n = 3; n <= 7; n++) await publish("short:1", text(n));
    const again = once(sub, "subscribed");
    client.connect();
    const ctx = await again;
    for (let n = 8; n <= 9; n++) await publish("short:1", text(n));
    await until(() => seen.length === 4, "two after the loss");
    const { numDeltaPayloads } = sub.deltaStats();
    client.disconnect();
    return { seen, recovered: ctx.recovered, deltas: numDeltaPayloads };
  },

  async tags() {
    const client = make({ token });
    const filter = {
      op: "and",
      nodes: [
        { key: "kind", cmp: "in", vals: ["trade", "quote"] },
        { op: "not", nodes: [{ key: "price", cmp: "lt", val: "10.5" }] },
      ],
    };
    const sub = client.newSubscription("tags:1", { tagsFilter: filter });
    const refused = client.newSubscription("news:tags", { tagsFilter: filter });
    const bad = client.newSubscription("tags:2", { tagsFilter: { key: "kind", cmp: "like", val: "x" } });
    const errors = {};
    refused.on("unsubscribed", (ctx) => (errors.refused = ctx.code));
    bad.on("unsubscribed", (ctx) => (errors.bad = ctx.code));
    const seen = [];
    sub.on("publication", (pub) => seen.push([pub.offset, pub.tags.price]));
    const first = once(sub, "subscribed");
    [sub, refused, bad].forEach((each) => each.subscribe());
    client.connect();
    await first;
    const prices = ["9", "10.5", "11", "2", "300"];
    for (const price of prices) await publish("tags:1", 1, { kind: "trade", price });
    await publish("tags:1", 1, { kind: "news", price: "99" });
    await until(() => seen.length === 3, "three live ones");
    const again = once(sub, "subscribed");
    cut();
    for (const price of prices) await publish("tags:1", 2, { kind: "quote", price });
    const ctx = await again;
    await publish("tags:1", 3);
    await publish("tags:1", 3, { kind: "quote", price: "12" });
    await until(() => seen.length === 7, "all seven");
    sub.setTagsFilter(null);
    sub.unsubscribe();
    sub.subscribe();
    await sub.ready(5000);
    await publish("tags:1", 4, { kind: "any", price: "0" });
    await until(() => seen.length === 8, "one without a filter");
    client.disconnect();
    return { seen, recovered: ctx.recovered, errors };
  },

  async ticket() {
    const { ticket } = await ask("/api/ticket", { Authorization: `Bearer ${token}` });
    const client = make({}, `?ticket=${ticket}`);
    const connected = once(client, "connected");
    client.connect();
    await connected;
    const sub = client.newSubscription("own:ann");
    const subscribed = once(sub, "subscribed");
    sub.subscribe();
    await subscribed;
    const gone = once(client, "disconnected");
    cut();
    return { subscribed: sub.channel, again: (await gone).code };
  },

  async subprotocol() {
    class Bearer extends Cuttable {
      constructor(address) {
        super(address, ["bearer", token]);
      }
    }
    return await come({ websocket: Bearer });
  },

  async header() {
    class Headed extends Cuttable {
      constructor(address, protocols) {
        super(address, protocols, { headers: { Authorization: `Bearer ${token}` } });
      }
    }
    return await come({ websocket: Headed });
  },

  async cookie() {
    class Visitor extends Cuttable {
      constructor(address, protocols) {
        super(address, protocols, { headers: { Cookie: `theme=dark; session=${token}` } });
      }
    }
    return await come({ websocket: Visitor });
  },

  async refused() {
    const client = make({ token: "garbage" });
    const gone = once(client, "disconnected");
    client.connect();
    const ctx = await gone;
    return { code: ctx.code, reason: ctx.reason };
  },
};

const timer = setTimeout(() => (console.error(`${name} took more than 25 s`), process.exit(1)), 25000);
try {
  console.log(JSON.stringify(await scenarios[name]()));
  clearTimeout(timer);
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
