/**
 * Snapshots of the gateway's counters turned into rates and short histories.
 *
 * What exists is what the snapshot says: nothing here knows the catalogue but for the few names
 * that the page puts up in front, and each of those may be missing. A gateway that restarted counts
 * from zero, so a new pid or start time breaks every rate and every line. It knows no elements.
 */

/** What the page shows of the past, in seconds, and so how many samples a series keeps. */
export const SPAN_S = 300;

/** Samples further apart than this are not joined by a line: the page was hidden or cut off. */
const HOLE_MS = 5_000;

/** Words in a counter's name that make it a reason to look. */
const TROUBLE =
  /(^|_)(bad|congested|dropped|errors?|failed|internal|invalid|overflows?|panics?|refused|rejected|slow|stalled|timeouts?|violations?)(_|$)/;

/** What is counted under another name as well, or is an everyday answer to an everyday mistake. */
const COUNTED_ELSEWHERE =
  /^(http_responses_|session_close_(bad_data|close_timeout|policy_violation|protocol_error|timeout)_total)/;

export class Figures {
  /** @type {Map<string, {name, kind, unit, level, help, value, rate: number | null}>} */
  rows = new Map();
  gateway = null;
  #previous = null;
  #series = new Map();

  /** Takes an answer of `/v1/stats` that arrived at `now` (any clock in milliseconds). */
  take(stats, now) {
    const run = `${stats.pid} ${stats.start_unix_ms}`;
    const before = this.#previous?.run === run ? this.#previous : null;
    const seconds = before ? (now - before.now) / 1000 : 0;
    const rows = new Map();
    for (const [name, row] of Object.entries(stats.counters ?? {})) {
      const earlier = before?.rows.get(name);
      const counts = row.kind === "counter" || row.kind === "histogram";
      const rate = counts && earlier && seconds > 0 ? (row.value - earlier.value) / seconds : null;
      rows.set(name, { name, ...row, rate: rate === null ? null : Math.max(0, rate) });
    }
    const hole = !before || now - before.now > HOLE_MS;
    this.rows = rows;
    this.gateway = stats;
    this.#previous = { run, now, rows };
    return { restarted: this.#previous !== null && !before, hole };
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
    const rows = [...this.rows.values()].filter(
      (row) => row.kind === "counter" && isTrouble(row.name),
    );
    return rows.sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.value - a.value);
  }

  /** Adds a sample to a series of the page's own making and returns the series. */
  record(key, now, values, hole = false) {
    let series = this.#series.get(key);
    if (!series) this.#series.set(key, (series = []));
    const last = series.at(-1);
    if (last && (hole || now - last.at > HOLE_MS)) {
      series.push({ at: now - 1, values: values.map(() => null) });
    }
    series.push({ at: now, values });
    const oldest = now - (SPAN_S + 2) * 1000;
    while (series.length > 0 && series[0].at < oldest) series.shift();
    return series;
  }
}

export function isTrouble(name) {
  return TROUBLE.test(name) && !COUNTED_ELSEWHERE.test(name);
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
