/** Rates, histories and how numbers are said. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { scale } from "../chart.js";
import { jsonText } from "../data_view.js";
import {
  Figures,
  SPAN_S,
  bytes,
  count,
  duration,
  inUnit,
  isTrouble,
  micros,
  perSecond,
} from "../figures.js";

const stats = (values, pid = 1) => ({
  pid,
  start_unix_ms: 10 * pid,
  counters: Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      const kind = name.endsWith("_total") ? "counter" : "gauge";
      return [name, { kind, unit: "messages", help: "", value }];
    }),
  ),
});

test("a rate is the growth between two snapshots, of counters only", () => {
  const figures = new Figures();
  figures.take(stats({ a_total: 100, b_total: 1, sessions: 3 }), 1_000);
  assert.equal(figures.rate("a_total"), null);
  figures.take(stats({ a_total: 150, b_total: 2, sessions: 9 }), 3_000);
  assert.equal(figures.rate("a_total"), 25);
  assert.equal(figures.rate("a_total", "b_total", "missing_total"), 25.5);
  assert.equal(figures.rate("sessions"), null);
  assert.equal(figures.value("sessions"), 9);
  assert.equal(figures.value("missing"), null);
});

test("a gateway that restarted has no rate and leaves a hole", () => {
  const figures = new Figures();
  figures.take(stats({ a_total: 100 }), 1_000);
  assert.equal(figures.take(stats({ a_total: 5 }, 2), 2_000).hole, true);
  assert.equal(figures.rate("a_total"), null);
  assert.equal(figures.take(stats({ a_total: 6 }, 2), 3_000).hole, false);
  assert.equal(figures.rate("a_total"), 1);
});

test("a series keeps its span and breaks where nothing was asked", () => {
  const figures = new Figures();
  for (let s = 0; s <= 2 * SPAN_S; s += 1) figures.record("x", s * 1000, [s]);
  const series = figures.record("x", (2 * SPAN_S + 60) * 1000, [7]);
  assert.ok(series.length <= SPAN_S + 5);
  assert.ok(series[0].at >= (SPAN_S + 58) * 1000);
  assert.deepEqual(series.at(-2).values, [null]);
});

test("trouble is told by name, and only once", () => {
  for (const name of [
    "hub_outbox_dropped_total",
    "session_panics_total",
    "ws_violations_total",
    "session_close_slow_total",
    "command_errors_json_total",
    "hub_publishes_congested_total",
  ])
    assert.equal(isTrouble(name), true, name);
  for (const name of [
    "sessions_closed_total",
    "hub_publishes_total",
    "http_responses_client_error_total",
    "session_close_protocol_error_total",
    "wire_bytes_in_total",
  ])
    assert.equal(isTrouble(name), false, name);
});

test("numbers are said as people say them", () => {
  assert.deepEqual([0, 99_999, 123_456, 1_234_567].map(count), ["0", "99,999", "123 k", "1.23 M"]);
  assert.deepEqual([0, 0.25, 9.96, 12.4].map(perSecond), ["0", "0.3", "10.0", "12"]);
  assert.deepEqual([0, 1023, 1536, 10 * 1024 ** 2].map(bytes), [
    "0 B",
    "1023 B",
    "1.50 KiB",
    "10.0 MiB",
  ]);
  assert.deepEqual([3, 1500, 2e6].map(micros), ["3 µs", "1.50 ms", "2.00 s"]);
  assert.deepEqual([5e3, 65e3, 3.7e6, 9e7].map(duration), [
    "5 s",
    "1 min 5 s",
    "1 h 1 min",
    "1 d 1 h",
  ]);
  assert.equal(inUnit(1_234_567, "messages"), "1,234,567");
  assert.equal(count(null), "–");
});

test("a scale ends on a round number above the highest value", () => {
  assert.deepEqual(scale(4), [4, 2]);
  assert.deepEqual(scale(123), [150, 50]);
  assert.deepEqual(scale(9_841), [10_000, 5_000]);
  assert.deepEqual(scale(1_500_000, 1024), [1.5 * 1024 ** 2, 0.5 * 1024 ** 2]);
  for (const highest of [0.3, 1, 7, 1e3, 1e9]) assert.ok(scale(highest)[0] >= highest * 0.99);
});

test("JSON stands on one line where it fits and never fails to be shown", () => {
  assert.equal(jsonText({ a: [1, 2], b: null }), '{ "a": [1, 2], "b": null }');
  assert.equal(jsonText([]), "[]");
  const wide = jsonText({ list: Array.from({ length: 30 }, (_, i) => i) });
  assert.deepEqual(JSON.parse(wide), { list: Array.from({ length: 30 }, (_, i) => i) });
  assert.ok(wide.split("\n").length > 20);
  let deep = [];
  for (let i = 0; i < 100_000; i += 1) deep = [deep];
  assert.equal(typeof jsonText(deep), "string");
});
