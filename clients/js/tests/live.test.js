/**
 * The client against a gateway that really runs: `ROOMWIRE_URL=ws://localhost:8080/ws npm test`.
 *
 * Node 20 needs `NODE_OPTIONS=--experimental-websocket` for a WebSocket of its own. Without an
 * address there is nothing to test. Each test has a room to itself.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Roomwire } from "../roomwire.js";

const url = process.env.ROOMWIRE_URL;
const skip = !url || !globalThis.WebSocket ? "needs ROOMWIRE_URL and a WebSocket class" : false;

const freshRoom = () => `test.${Date.now().toString(36)}.${Math.random().toString(36).slice(2)}`;

function connect(t, name) {
  const client = new Roomwire(url, { name });
  t.after(() => client.close());
  return client;
}

/** Resolves with the first `count` details of an event. */
function collect(client, type, count) {
  return new Promise((resolve) => {
    const details = [];
    const off = client.on(type, (detail) => {
      details.push(detail);
      if (details.length < count) return;
      off();
      resolve(details);
    });
  });
}

test("two clients talk in one room, in order, and see each other", { skip }, async (t) => {
  const room = freshRoom();
  const [ada, grace] = [connect(t, "Ada"), connect(t, "Grace")];
  await ada.join(room, { presence: true });
  const joined = collect(ada, "member_joined", 1);
  const messages = collect(ada, "message", 3);
  await grace.join(room);
  const sent = ["text", { json: [1, null] }, 3.5];
  const offsets = await Promise.all(sent.map((data) => grace.publish(room, data, { echo: false })));
  assert.deepEqual(
    offsets.map(({ offset }) => offset),
    [1, 2, 3],
  );
  const heard = await messages;
  assert.deepEqual(
    heard.map(({ data }) => data),
    sent,
  );
  assert.equal(heard[0].from, "Grace");
  assert.equal((await joined)[0].member.name, "Grace");
  const { members } = await ada.members(room);
  assert.deepEqual(members.map(({ name }) => name).sort(), ["Ada", "Grace"]);
  assert.deepEqual(
    (await ada.history(room)).messages.map(({ offset }) => offset),
    [1, 2, 3],
  );
});

test("a client that comes back with its position gets what it missed", { skip }, async (t) => {
  const room = freshRoom();
  const [ada, grace] = [connect(t, "Ada"), connect(t, "Grace")];
  await grace.join(room);
  await ada.join(room);
  const since = ada.position(room);
  ada.close();
  for (const n of [1, 2, 3]) await grace.publish(room, n);
  const again = connect(t, "Ada");
  const missed = collect(again, "message", 3);
  assert.equal((await again.join(room, { since })).recovered, true);
  assert.deepEqual(
    (await missed).map(({ data, replayed }) => [data, replayed]),
    [
      [1, true],
      [2, true],
      [3, true],
    ],
  );
});

test("a key is stored once, a bad name is an error with its code", { skip }, async (t) => {
  const room = freshRoom();
  const ada = connect(t, "Ada");
  await ada.join(room);
  const first = await ada.publish(room, "once", { key: "k" });
  assert.equal((await ada.publish(room, "once", { key: "k" })).offset, first.offset);
  await assert.rejects(ada.join("a\u0000b"), { code: "invalid_room" });
  assert.ok((await ada.ping()) < 1_000);
});
