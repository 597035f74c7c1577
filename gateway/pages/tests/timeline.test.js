/** Where lines stand, and which of them are one and the same. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline } from "../timeline.js";

/** A timeline whose hooks keep a second list, as a view does; the two must always agree. */
function setup(max) {
  const view = [];
  const timeline = new Timeline(
    {
      insert: (line, next) => view.splice(next ? view.indexOf(next) : view.length, 0, line),
      remove: (line) => view.splice(view.indexOf(line), 1),
      change: (line) => assert.ok(view.includes(line)),
    },
    max,
  );
  timeline.setEpoch("e1");
  const texts = () => {
    assert.deepEqual(view, timeline.lines);
    return view.map((line) => line.data ?? line.text);
  };
  return { timeline, texts };
}

const message = (offset, data = offset, from = "Ada") => ({
  offset,
  data,
  from,
  time: offset,
  room: "r",
});

test("messages stand in the order of their offsets, however they come, and once", () => {
  const { timeline, texts } = setup();
  for (const offset of [5, 7, 6, 1, 5, 7]) timeline.receive(message(offset));
  assert.deepEqual(texts(), [1, 5, 6, 7]);
  assert.equal(timeline.receive(message(6)), null);
  assert.equal(timeline.oldest, 1);
});

test("an own message stands last until it is confirmed, then at its offset", () => {
  const { timeline, texts } = setup();
  const mine = timeline.pend("mine", "Ada", 0);
  timeline.receive(message(2));
  assert.deepEqual(texts(), [2, "mine"]);
  timeline.confirm(mine, 1);
  assert.deepEqual(texts(), ["mine", 2]);
  assert.equal(mine.state, "sent");
});

test("an own message that arrives before its confirmation is claimed, not doubled", () => {
  const { timeline, texts } = setup();
  const mine = timeline.pend({ a: 1 }, "Ada", 0);
  timeline.receive(message(3, { a: 1 }), { own: true });
  timeline.confirm(mine, 3);
  assert.deepEqual(texts(), [{ a: 1 }]);
  assert.deepEqual([mine.own, mine.offset, mine.time], [true, 3, 3]);
});

test("the like message of a namesake is given back when the offset tells", () => {
  const { timeline, texts } = setup();
  const mine = timeline.pend("hi", "Ada", 0);
  timeline.receive(message(3, "hi"), { own: true });
  timeline.receive(message(4, "hi"), { own: true });
  timeline.confirm(mine, 4);
  assert.deepEqual(texts(), ["hi", "hi"]);
  assert.deepEqual(
    timeline.lines.map((line) => [line.offset, line.own]),
    [
      [3, false],
      [4, true],
    ],
  );
});

test("a repeated publish whose message a resume brought back does not stand there twice", () => {
  const { timeline, texts } = setup();
  const mine = timeline.pend("once", "Ada", 0);
  timeline.receive(message(9, "once"));
  timeline.confirm(mine, 9);
  assert.deepEqual(texts(), ["once"]);
  assert.equal(timeline.lines[0].own, true);
});

test("a failed message stays last and says why; a late confirmation still counts", () => {
  const { timeline, texts } = setup();
  const mine = timeline.pend("mine", "Ada", 0);
  timeline.fail(mine, "too large");
  timeline.receive(message(1));
  assert.deepEqual(texts(), [1, "mine"]);
  assert.deepEqual([mine.state, mine.reason], ["failed", "too large"]);
  timeline.drop(mine);
  assert.deepEqual(texts(), [1]);
});

test("another epoch stands below the last one and counts anew", () => {
  const { timeline, texts } = setup();
  timeline.receive(message(40));
  assert.equal(timeline.setEpoch("e1"), false);
  assert.equal(timeline.setEpoch("e2"), true);
  timeline.notice("afresh");
  timeline.receive(message(1));
  timeline.receive(message(40, "new forty"));
  assert.deepEqual(texts(), [40, "afresh", 1, "new forty"]);
  assert.equal(timeline.oldest, 1);
});

test("a notice stands after the newest message, or after the one it is about", () => {
  const { timeline, texts } = setup();
  for (const offset of [1, 2, 9]) timeline.receive(message(offset));
  timeline.notice("gap", 8);
  timeline.notice("end");
  timeline.receive(message(10));
  assert.deepEqual(texts(), [1, 2, "gap", 9, "end", 10]);
});

test("the oldest lines go when there are too many", () => {
  const { timeline, texts } = setup(3);
  const mine = timeline.pend("mine", "Ada", 0);
  for (const offset of [1, 2, 3, 4]) timeline.receive(message(offset));
  assert.deepEqual(texts(), [3, 4, "mine"]);
  timeline.receive(message(1));
  assert.deepEqual(texts(), [3, 4, "mine"]);
  timeline.confirm(mine, 5);
  assert.deepEqual(texts(), [3, 4, "mine"]);
});

test("what a pattern brings stands in the order of arrival", () => {
  const { timeline, texts } = setup();
  for (const offset of [9, 2, 2]) timeline.append(message(offset));
  assert.deepEqual(texts(), [9, 2, 2]);
  assert.deepEqual(
    timeline.lines.map((line) => line.roomOffset),
    [9, 2, 2],
  );
});
