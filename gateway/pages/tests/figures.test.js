/** Rates, histories and how numbers are said. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { scale } from "../chart.js";
import { jsonText } from "../data_view.js";
import {
  Figures,
  bytes,
  count,
  duration,
  inUnit,
  micros,
  perSecond,
  percent,
} from "../figures.js";

const KINDS = { total: "counter", us: "histogram" };
const counter = (name) => {
  const kind = KINDS[name.split("_").at(-1)] ?? "gauge";
  return { name, kind, unit: "messages", help: "", trouble: name.includes("errors") };
};

/** Figures after a hello and some samples: `[at_ms, { name: value }, { label: sessions }]`. */
function after(...samples) {
  const figures = new Figures();
  const names = Object.keys(samples[0][1]);
  figures.greet({ counters: names.map(counter) });
  for (const [at, values, listeners = {}] of samples) {
    figures.take({
      at_ms: at,
      counters: names.map((name) => values[name]),
      histograms: Object.fromEntries(
        names.filter((name) => name.endsWith("_us")).map((name) => [name, { p50: 5, p99: 9 }]),
      ),
      per_worker: { a_total: [values.a_total, 0] },
      blocks: Object.entries(listeners).map(([label, value]) => ({
        kind: "listener",
        label,
        others: false,
        figures: { b_total: value },
      })),
    });
  }
  return figures;
}

test("a rate is the growth between two samples, of what counts up only", () => {
  const first = { a_total: 100, b_total: 1, sessions: 3, turn_us: 10 };
  const figures = after([1_000, first]);
  assert.equal(figures.rate("a_total"), null);
  const second = { a_total: 150, b_total: 2, sessions: 9, turn_us: 30 };
  const later = after([1_000, first], [3_000, second]);
  assert.equal(later.rate("a_total"), 25);
  assert.equal(later.rate("a_total", "b_total", "missing_total"), 25.5);
  assert.equal(later.rate("sessions"), null);
  assert.equal(later.value("sessions"), 9);
  assert.equal(later.value("missing"), null);
  assert.deepEqual([later.rate("turn_us"), later.rows.get("turn_us").p99], [10, 9]);
});

test("listeners and workers have rates of their own", () => {
  const figures = after(
    [1_000, { a_total: 10 }, { web: 5, chat: 1 }],
    [2_000, { a_total: 30 }, { web: 8, new: 4 }],
  );
  const rates = figures.blocks.map((block) => [block.label, block.rates.b_total]);
  assert.deepEqual(rates, [
    ["web", 3],
    ["new", null],
  ]);
  assert.deepEqual(
    figures.workers.map(({ figures: of, rates: by }) => [of.a_total, by.a_total]),
    [
      [30, 20],
      [0, 0],
    ],
  );
});

test("another gateway's figures are not compared with the last one's", () => {
  const figures = after([9_000, { a_total: 100 }]);
  figures.greet({ counters: [counter("a_total")] });
  figures.take({ at_ms: 10_000, counters: [5], histograms: {}, per_worker: {}, blocks: [] });
  assert.equal(figures.rate("a_total"), null);
});

test("what went wrong last comes first", () => {
  const figures = after(
    [1_000, { a_total: 0, a_errors_total: 9, b_errors_total: 1 }],
    [2_000, { a_total: 50, a_errors_total: 9, b_errors_total: 2 }],
  );
  assert.deepEqual(
    figures.troubles().map((row) => row.name),
    ["b_errors_total", "a_errors_total"],
  );
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
  assert.deepEqual([0, 3.14, 99.6, null].map(percent), ["0.0 %", "3.1 %", "100 %", "–"]);
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
