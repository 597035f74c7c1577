/** The stream of figures: its past, its seconds, and what happens when it breaks. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Feed } from "../feed.js";

class FakeSource {
  closed = false;
  #listeners = new Map();

  addEventListener(name, listener) {
    this.#listeners.set(name, listener);
  }

  say(name, data) {
    this.#listeners.get(name)({ data: data === undefined ? undefined : JSON.stringify(data) });
  }

  close() {
    this.closed = true;
  }
}

function feed() {
  const sources = [];
  const heard = [];
  const note = (name) => (value) => heard.push([name, value]);
  const handlers = { hello: note("hello"), sample: note("sample"), lost: note("lost") };
  const made = new Feed("/figures", handlers, () => {
    sources.push(new FakeSource());
    return sources.at(-1);
  });
  return { made, sources, heard };
}

const hello = (times) => ({
  span_ms: 10_000,
  series: [{ name: "in" }, { name: "out" }],
  history: { at_ms: times, values: [times.map((at) => at / 1000), times.map(() => null)] },
});

test("the past comes first, and each second after it", () => {
  const { made, sources, heard } = feed();
  made.start();
  made.start();
  assert.equal(sources.length, 1, "one stream is enough");
  sources[0].say("sample", { at_ms: 500, values: [9, 9] });
  assert.deepEqual(made.samples, [], "nothing is known before the hello");
  sources[0].say("hello", hello([1_000, 2_000]));
  sources[0].say("sample", { at_ms: 2_000, values: [2, null] });
  sources[0].say("sample", { at_ms: 3_000, values: [3, 7] });
  assert.deepEqual(made.series(["out", "missing"]), [
    { at: 1_000, values: [null, null] },
    { at: 2_000, values: [null, null] },
    { at: 3_000, values: [7, null] },
  ]);
  assert.deepEqual(
    heard.map(([name]) => name),
    ["hello", "sample", "sample"],
  );
});

test("the past is as long as the gateway's and no longer", () => {
  const { made, sources } = feed();
  made.start();
  sources[0].say("hello", hello([1_000]));
  for (let at = 2_000; at <= 60_000; at += 1_000) {
    sources[0].say("sample", { at_ms: at, values: [at, at] });
  }
  assert.equal(made.samples.length, 11);
  assert.equal(made.samples[0].at, 50_000);
});

test("a stream that breaks is asked for again, one that ended too", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, sources, heard } = feed();
  made.start();
  sources[0].say("error");
  assert.ok(sources[0].closed);
  context.mock.timers.tick(2_000);
  assert.equal(sources.length, 2);
  sources[0].say("hello", hello([]));
  assert.equal(made.hello, null, "what was left behind is not listened to");
  sources[1].say("hello", hello([5_000]));
  sources[1].say("end", {});
  assert.deepEqual(heard.filter(([name]) => name === "lost"), [
    ["lost", false],
    ["lost", true],
  ]);
  made.stop();
  context.mock.timers.tick(60_000);
  assert.equal(sources.length, 2, "a page that is hidden asks nothing");
});
