/** The client's rules, each against a fake gateway and a clock that moves when told. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, Roomwire, isPattern, matches } from "../roomwire.js";
import { FakeClock, FakeGateway, settle, socketClass } from "./fake.js";

function setup(options = {}) {
  const gateway = new FakeGateway();
  const clock = new FakeClock();
  const network = new EventTarget();
  const client = new Roomwire("http://gateway.test:8080/ws", {
    name: "Ada",
    WebSocket: socketClass(gateway),
    clock,
    network,
    random: () => 1,
    ...options,
  });
  const heard = [];
  for (const type of ["message", "gap", "goodbye", "error", "recovered", "member_joined"]) {
    client.on(type, (detail) => heard.push({ event: type, ...detail }));
  }
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  return { gateway, clock, network, client, heard, states };
}

const texts = (heard) => heard.filter((h) => h.event === "message").map((h) => h.data);

test("a first command connects, offers the subprotocol and says hello before anything else", async () => {
  const { gateway, client, states } = setup({ token: "t" });
  const joined = await client.join("lobby", { presence: true });
  assert.equal(gateway.socket.url, "ws://gateway.test:8080/ws");
  assert.deepEqual(gateway.socket.protocols, ["roomwire.v1"]);
  assert.deepEqual(
    gateway.socket.sent.map((frame) => frame.type),
    ["hello", "join"],
  );
  assert.deepEqual(gateway.seen("hello")[0], { type: "hello", id: 2, token: "t", name: "Ada" });
  assert.equal(gateway.seen("join")[0].presence, true);
  assert.equal("since" in gateway.seen("join")[0], false);
  assert.deepEqual(joined.members, [{ client: "c1", name: "Ada" }]);
  assert.equal(client.client, "c1");
  assert.deepEqual(states, ["connecting", "online"]);
});

test("answers find their commands by id, in whatever order they come", async () => {
  const { gateway, client } = setup();
  await client.join("lobby");
  const held = [];
  gateway.answer.publish = (frame) => void held.push(frame);
  const first = client.publish("lobby", 1);
  const second = client.publish("lobby", 2);
  await settle();
  for (const [offset, frame] of [[2, held[1]], [1, held[0]]]) {
    gateway.socket.push({ type: "published", id: frame.id, room: "lobby", offset });
  }
  assert.equal((await first).offset, 1);
  assert.equal((await second).offset, 2);
});

test("an error with an id rejects its command, one without is an event", async () => {
  const { gateway, client, heard } = setup();
  gateway.answer.publish = () => ({ type: "error", code: "too_large", message: "64 KiB at most" });
  await assert.rejects(client.publish("lobby", "x"), { code: "too_large", message: "64 KiB at most" });
  gateway.socket.push({ type: "error", code: "bad_json", message: "at 3" });
  assert.equal(heard.at(-1).code, "bad_json");
});

test("a refused join leaves nothing that a reconnect would try again", async () => {
  const { gateway, clock, client } = setup();
  gateway.answer.join = () => ({ type: "error", code: "forbidden", message: "no" });
  await assert.rejects(client.join("secret"), { code: "forbidden" });
  assert.deepEqual(client.rooms, []);
  gateway.socket.cut();
  await clock.advance(500);
  assert.equal(gateway.seen("join").length, 0);
});

test("reconnects wait half a second, doubling up to twenty", async () => {
  const { gateway, clock, client } = setup();
  gateway.refusing = true;
  client.connect();
  await settle();
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    waits.push(client.retryAt - clock.now());
    await clock.advance(client.retryAt - clock.now());
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
});

test("the jitter is full: the wait is anywhere below the ceiling", async () => {
  const { gateway, clock, client } = setup({ random: () => 0.25 });
  gateway.refusing = true;
  client.connect();
  await settle();
  assert.equal(client.retryAt - clock.now(), 125);
});

test("a connection that flaps goes on doubling, one that held starts anew", async () => {
  const { gateway, clock, client } = setup();
  client.connect();
  await settle();
  gateway.socket.cut();
  assert.equal(client.retryAt - clock.now(), 500);
  await clock.advance(500);
  gateway.socket.cut();
  assert.equal(client.retryAt - clock.now(), 1000);
  await clock.advance(1000);
  await clock.advance(DEFAULTS.stableMs);
  gateway.socket.cut();
  assert.equal(client.retryAt - clock.now(), 500);
});

test("after a reconnect each room resumes at its own position and nothing comes twice", async () => {
  const { gateway, clock, client, heard } = setup();
  gateway.store("lobby", "before");
  await client.join("lobby", { presence: true });
  await client.join("news");
  gateway.store("lobby", "one");
  gateway.socket.cut();
  gateway.store("lobby", "two");
  gateway.store("lobby", "three");
  gateway.store("news", "n1");
  await clock.advance(500);
  const joins = gateway.seen("join");
  assert.deepEqual(joins[0].since, { epoch: "00000000000000e1", offset: 2 });
  assert.equal(joins[0].presence, true);
  assert.deepEqual(joins[1].since, { epoch: "00000000000000e1", offset: 0 });
  assert.deepEqual(texts(heard), ["one", "two", "three", "n1"]);
  assert.deepEqual(
    heard.filter((h) => h.event === "message").map((h) => h.replayed),
    [false, true, true, true],
  );
  assert.deepEqual(
    heard.filter((h) => h.event === "recovered").map((h) => [h.room, h.recovered]),
    [["lobby", true], ["news", true]],
  );
  gateway.socket.push(gateway.room("lobby").log[3]);
  assert.equal(texts(heard).length, 4);
  assert.deepEqual(client.position("lobby"), { epoch: "00000000000000e1", offset: 4 });
});

test("a connection lost in the middle of the missed messages resumes from the last one seen", async () => {
  const { gateway, clock, client, heard } = setup();
  await client.join("lobby");
  gateway.socket.cut();
  for (const n of [1, 2, 3]) gateway.store("lobby", n);
  gateway.answer.join = ({ id }, socket) => {
    const [first] = gateway.room("lobby").log;
    const facts = { room: "lobby", epoch: "00000000000000e1", offset: 3, members: [], member_count: 0 };
    socket.push({ type: "joined", id, ...facts, recovered: true });
    socket.push(first);
    socket.cut();
  };
  await clock.advance(500);
  delete gateway.answer.join;
  await clock.advance(1000);
  assert.deepEqual(gateway.seen("join")[0].since.offset, 1);
  assert.deepEqual(texts(heard), [1, 2, 3]);
});

test("where history is gone the position still reaches the room's, so that it is said once", async () => {
  const { gateway, clock, client, heard } = setup();
  await client.join("lobby");
  gateway.socket.cut();
  gateway.store("lobby", "lost");
  gateway.room("lobby").log.length = 0;
  await clock.advance(500);
  assert.equal(heard.find((h) => h.event === "recovered").recovered, false);
  assert.equal(client.position("lobby").offset, 1);
  gateway.socket.cut();
  await clock.advance(1000);
  assert.equal(heard.filter((h) => h.event === "recovered").at(-1).recovered, true);
});

test("another epoch begins counting anew", async () => {
  const { gateway, clock, client, heard } = setup();
  await client.join("lobby");
  gateway.store("lobby", "old");
  gateway.socket.cut();
  gateway.rooms.delete("lobby");
  gateway.room("lobby").epoch = "00000000000000e2";
  gateway.store("lobby", "new");
  await clock.advance(500);
  assert.deepEqual(texts(heard), ["old", "new"]);
  assert.equal(heard.find((h) => h.event === "recovered").recovered, false);
  assert.deepEqual(client.position("lobby"), { epoch: "00000000000000e2", offset: 1 });
});

test("an own message that is not echoed is neither awaited nor replayed", async () => {
  const { gateway, clock, client, heard } = setup();
  await client.join("lobby");
  await client.publish("lobby", "mine", { echo: false });
  assert.equal(client.position("lobby").offset, 1);
  gateway.store("lobby", "theirs");
  gateway.socket.cut();
  await clock.advance(500);
  assert.equal(gateway.seen("join")[0].since.offset, 2);
  assert.deepEqual(texts(heard), ["theirs"]);
});

test("a gap notice moves the position, so that a resume does not ask for the same again", async () => {
  const { gateway, client, heard } = setup();
  await client.join("lobby");
  gateway.socket.push({ type: "gap", room: "lobby", from: 1, to: 7 });
  assert.equal(client.position("lobby").offset, 7);
  assert.deepEqual(heard.at(-1), { event: "gap", type: "gap", room: "lobby", from: 1, to: 7 });
});

test("commands given while offline are kept in order and sent after the rooms are back", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  gateway.socket.cut();
  const one = client.publish("lobby", 1);
  const two = client.publish("lobby", 2);
  await clock.advance(500);
  assert.equal((await one).offset, 1);
  assert.equal((await two).offset, 2);
  assert.deepEqual(
    gateway.socket.sent.map((frame) => frame.type).slice(0, 4),
    ["hello", "join", "publish", "publish"],
  );
});

test("one command too many is refused at once and counts as nothing", async () => {
  const { gateway, client } = setup({ maxPending: 3 });
  gateway.refusing = true;
  const kept = [1, 2, 3].map((n) => client.publish("lobby", n));
  await assert.rejects(client.publish("lobby", 4), { code: "too_many_pending" });
  assert.equal(client.pending, 3);
  client.close();
  for (const publish of kept) await assert.rejects(publish, { code: "closed" });
});

test("a publish whose answer was lost is repeated with a key and rejected without", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  gateway.answer.publish = (frame, socket) => {
    if (frame.key) gateway.keys.set(frame.key, gateway.store("lobby", frame.data));
    if (gateway.seen("publish").length === 2) socket.cut();
  };
  const plain = client.publish("lobby", "plain");
  const keyed = client.publish("lobby", "keyed", { key: true });
  await assert.rejects(plain, { code: "connection_lost" });
  delete gateway.answer.publish;
  await clock.advance(500);
  assert.equal((await keyed).offset, 1);
  assert.equal(gateway.room("lobby").log.length, 1);
});

test("a command that ends every connection it is sent on is given up", async () => {
  const { gateway, clock, client } = setup();
  gateway.answer.publish = (_frame, socket) => void socket.cut();
  const poison = client.publish("lobby", "x", { key: "k" });
  const rejected = assert.rejects(poison, { code: "connection_lost" });
  await clock.advance(60_000);
  await rejected;
  assert.equal(client.state, "online");
  assert.equal(gateway.sockets.length, DEFAULTS.maxSends + 1);
});

test("a publish that was too big is not sent a second time", async () => {
  const { gateway, client } = setup();
  gateway.answer.publish = (_frame, socket) => void socket.cut(1009);
  await assert.rejects(client.publish("lobby", "x", { key: "k" }), /too big/);
});

test("an answer that does not come is a timeout, counted from the write", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  gateway.answer.members = () => undefined;
  const members = assert.rejects(client.members("lobby"), { code: "timeout" });
  await clock.advance(DEFAULTS.commandTimeoutMs);
  await members;
  assert.equal(client.pending, 0);
});

test("a goodbye says when to come back and is obeyed to the millisecond", async () => {
  const { gateway, clock, client, heard } = setup({ random: () => 0 });
  await client.join("lobby");
  gateway.socket.push({ type: "goodbye", reason: "drain", reconnect: true, after_ms: 1234 });
  gateway.socket.cut(1001);
  assert.equal(heard.at(-1).reason, "drain");
  assert.equal(client.retryAt - clock.now(), 1234);
  await clock.advance(1233);
  assert.equal(gateway.sockets.length, 1);
  await clock.advance(1);
  assert.equal(client.state, "online");
});

test("after a goodbye nothing is sent on the old connection", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  const old = gateway.socket;
  old.push({ type: "goodbye", reason: "drain", reconnect: true, after_ms: 10 });
  const published = client.publish("lobby", "kept");
  await settle();
  assert.equal(old.sent.filter((f) => f.type === "publish").length, 0);
  old.cut(1001);
  await clock.advance(10);
  assert.equal((await published).offset, 1);
});

test("a final goodbye closes for good and says why to whoever waits", async () => {
  const { gateway, clock, client, states } = setup();
  await client.join("lobby");
  gateway.answer.publish = () => undefined;
  const waiting = client.publish("lobby", "x", { key: true });
  await settle();
  gateway.socket.push({ type: "goodbye", reason: "banned", reconnect: false, after_ms: 0 });
  gateway.socket.cut(1008);
  await assert.rejects(waiting, { code: "closed", message: "banned" });
  await clock.advance(60_000);
  assert.equal(gateway.sockets.length, 1);
  assert.equal(states.at(-1), "closed");
  await assert.rejects(client.join("lobby"), { code: "closed" });
});

test("silence is asked about, and a gateway that does not answer is left", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  await clock.advance(DEFAULTS.pingAfterMs);
  assert.equal(gateway.seen("ping").length, 1);
  await clock.advance(DEFAULTS.pongWaitMs);
  assert.equal(client.state, "online");
  gateway.silent = true;
  // The pong came at once, 10 s ago; the next question is due 25 s after it.
  await clock.advance(DEFAULTS.pingAfterMs);
  assert.equal(client.state, "waiting");
});

test("a gateway that accepts and says nothing is left after the connect timeout", async () => {
  const { gateway, clock, client } = setup();
  gateway.silent = true;
  client.connect();
  await clock.advance(DEFAULTS.connectTimeoutMs);
  assert.equal(client.state, "waiting");
});

test("the hint that the network is back retries at once, the one that it went only asks", async () => {
  const { gateway, network, client } = setup();
  await client.join("lobby");
  network.dispatchEvent(new Event("offline"));
  await settle();
  assert.equal(client.state, "online");
  assert.equal(gateway.seen("ping").length, 1);
  gateway.socket.cut();
  network.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(client.state, "online");
});

test("a rejoin that the gateway puts off is tried again, one that it refuses is reported", async () => {
  const { gateway, clock, client, heard } = setup();
  await client.join("lobby");
  await client.join("vip");
  let refusals = 0;
  gateway.answer.join = (frame, socket) => {
    if (frame.room === "vip") return { type: "error", code: "forbidden", message: "no more" };
    if (refusals++ === 0) return { type: "error", code: "overloaded", message: "later" };
    return void gateway.on_join(socket, frame);
  };
  gateway.socket.cut();
  await clock.advance(2_000);
  assert.deepEqual(client.rooms, ["lobby"]);
  assert.equal(heard.find((h) => h.event === "error").room, "vip");
  assert.equal(gateway.seen("join").filter((f) => f.room === "lobby").length, 2);
});

test("leaving while offline is done at once and the room is not joined again", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  gateway.socket.cut();
  const news = assert.rejects(client.join("news"), { code: "left" });
  await client.leave("lobby");
  await client.leave("news");
  await news;
  await clock.advance(500);
  assert.equal(gateway.seen("join").length, 0);
});

test("a new name is said now, and with the next hello", async () => {
  const { gateway, clock, client } = setup();
  await client.join("lobby");
  assert.equal((await client.rename("Grace")).name, "Grace");
  gateway.socket.cut();
  await clock.advance(500);
  assert.equal(gateway.seen("hello")[0].name, "Grace");
});

test("what is not JSON and what is not known does no harm", async () => {
  const { gateway, client, heard } = setup();
  await client.join("lobby");
  gateway.socket.onmessage({ data: "{" });
  gateway.socket.push({ type: "from_the_future" });
  gateway.socket.push({ type: "pong", id: 999 });
  assert.deepEqual(heard.map((h) => h.code), ["bad_json"]);
  assert.equal(client.state, "online");
});

test("messages that a pattern brought are not counted against any position", async () => {
  const { gateway, client, heard } = setup();
  await client.join("news.*");
  for (const offset of [5, 1]) {
    gateway.socket.push({ type: "message", room: "news.tech", offset, from: "x", time: 1, data: offset });
  }
  assert.deepEqual(texts(heard), [5, 1]);
});

test("a closed client leaves no timer behind", async () => {
  const { clock, client } = setup();
  await client.join("lobby");
  client.close();
  client.close();
  assert.equal(clock.size, 0);
});

test("patterns cover rooms as NATS subjects do", () => {
  assert.equal(isPattern("news.*"), true);
  assert.equal(isPattern("news.>"), true);
  assert.equal(isPattern("news.a*"), false);
  assert.equal(isPattern(">.news"), false);
  assert.equal(matches("news.*", "news.tech"), true);
  assert.equal(matches("news.*", "news"), false);
  assert.equal(matches("news.*", "news.tech.rust"), false);
  assert.equal(matches("news.>", "news.tech.rust"), true);
  assert.equal(matches("news.>", "news"), false);
  assert.equal(matches("*.tech", "news.tech"), true);
  assert.equal(matches(">", "anything.at.all"), true);
});
