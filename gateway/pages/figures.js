/**
 * Samples of the gateway's counters turned into figures by name, with their rates.
 *
 * What exists is what the gateway says: nothing here knows the catalogue but for the few names that
 * the page puts up in front, and each of those may be missing. It knows no elements.
 */

export class Figures {
  /** @type {Map<string, {name, kind, unit, level, help, trouble, value, rate: number | null}>} */
  rows = new Map();
  /** Listeners, patterns of rooms, the busiest rooms: `{ kind, label, others, figures, rates }`. */
  blocks = [];
  /** For each worker its part of some figures, and their rates. */
  workers = [];
  #counters = [];
  #previous = null;

  /** Takes what a stream says first. Rates begin anew: it may be another gateway. */
  greet(hello) {
    this.#counters = hello.counters;
    this.#previous = null;
    this.rows = new Map();
    this.blocks = [];
    this.workers = [];
  }

  take(sample) {
    const before = this.#previous;
    const seconds = before ? (sample.at_ms - before.at_ms) / 1000 : 0;
    if (before && seconds <= 0) return;
    const rate = (now, earlier) =>
      seconds > 0 && earlier !== undefined ? Math.max(0, (now - earlier) / seconds) : null;
    this.rows = new Map(
      this.#counters.map((counter, index) => {
        const value = sample.counters[index] ?? 0;
        const counts = counter.kind === "counter" || counter.kind === "histogram";
        const grown = counts ? rate(value, before?.counters[index]) : null;
        const row = { ...counter, value, rate: grown, ...sample.histograms[counter.name] };
        return [counter.name, row];
      }),
    );
    const known = new Map(before?.blocks.map((block) => [blockKey(block), block.figures]) ?? []);
    this.blocks = sample.blocks.map((block) => {
      const earlier = known.get(blockKey(block)) ?? {};
      const rates = mapped(block.figures, (name, value) => rate(value, earlier[name]));
      return { ...block, rates };
    });
    const parts = Object.entries(sample.per_worker);
    const count = Math.max(0, ...parts.map(([, values]) => values.length));
    this.workers = Array.from({ length: count }, (_, worker) => {
      const figures = Object.fromEntries(parts.map(([name, values]) => [name, values[worker]]));
      const rates = mapped(figures, (name, value) =>
        rate(value, before?.per_worker[name]?.[worker]),
      );
      return { worker, figures, rates };
    });
    this.#previous = sample;
  }

  value(name) {
    return this.rows.get(name)?.value ?? null;
  }

  /** The rates of one or several counters together, `null` where none of them has one. */
  rate(...names) {
    const rates = names.map((name) => this.rows.get(name)?.rate ?? null);
    const known = rates.filter((rate) => rate !== null);
    return known.length > 0 ? known.reduce((sum, rate) => sum + rate, 0) : null;
  }

  /** Counters whose rise means that something went wrong, those that did first. */
  troubles() {
    const rows = [...this.rows.values()].filter((row) => row.trouble);
    return rows.sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.value - a.value);
  }
}

function blockKey({ kind, label, others }) {
  return `${kind} ${others} ${label}`;
}

function mapped(object, change) {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [name, change(name, value)]),
  );
}

/** `12,345`, and from a hundred thousand on `123 k`, `1.23 M`. */
export function count(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${significant(value / 1e9)} G`;
  if (size >= 1e6) return `${significant(value / 1e6)} M`;
  if (size >= 1e5) return `${significant(value / 1e3)} k`;
  return Math.round(value).toLocaleString("en");
}

/** A rate: one decimal while it is small enough to matter. */
export function perSecond(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  return count(value);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (Math.abs(value) >= 1024 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${power === 0 ? Math.round(value) : significant(value)} ${units[power]}`;
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Microseconds in the unit one would say them in. */
export function micros(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${significant(value / 1e6)} s`;
  if (value >= 1e3) return `${significant(value / 1e3)} ms`;
  return `${Math.round(value)} µs`;
}

/** The two largest units, as `roomwire stats` says it. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 24) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

/** A figure in its unit; exact where digits fit, because people compare counters. */
export function inUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "bytes") return bytes(value);
  if (unit === "us") return micros(value);
  if (unit === "ms") return micros(value * 1000);
  return value.toLocaleString("en");
}

function significant(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
