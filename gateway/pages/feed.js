/**
 * The gateway's stream of figures: what it is, its last ten minutes, then a sample each second.
 *
 * The gateway keeps the past, so a page that was hidden, cut off or just opened has it whole: it
 * says nothing and asks nothing while it is hidden, and begins anew when it is looked at. It knows
 * no elements. Figures by name are `figures.js`.
 */

/** How long after a failure the stream is asked for again. */
const AGAIN_MS = 2_000;
/** The same after the gateway has ended; starting again takes it a moment. */
const AFTER_END_MS = 5_000;

export class Feed {
  /** What the gateway said first; null before that. */
  hello = null;
  /** `{ at, values }` for each second, oldest first; values in the order of `hello.series`. */
  samples = [];
  #source = null;
  #timer = null;
  #index = new Map();

  /**
   * @param {string} path
   * @param {{hello?: Function, sample?: Function, lost?: Function}} handlers `hello` comes when a
   *   stream begins, `sample` with each second's, `lost` when there is none: its argument says
   *   whether the gateway ended it.
   * @param {(path: string) => EventSource} open
   */
  constructor(path, handlers, open = (url) => new EventSource(url)) {
    this.path = path;
    this.handlers = handlers;
    this.open = open;
  }

  start() {
    clearTimeout(this.#timer);
    if (this.#source) return;
    const source = this.open(this.path);
    this.#source = source;
    const listen = (name, take) =>
      source.addEventListener(name, (event) => {
        if (this.#source === source) take(event.data ? JSON.parse(event.data) : null);
      });
    listen("hello", (hello) => this.#greet(hello));
    listen("sample", (sample) => this.#take(sample));
    listen("end", () => this.#lose(true, AFTER_END_MS));
    listen("error", () => this.#lose(false, AGAIN_MS));
  }

  /** Ends the stream until `start` is called. */
  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** Some of the series, as a chart takes them. A name that there is not has nulls. */
  series(names) {
    const at = names.map((name) => this.#index.get(name) ?? -1);
    return this.samples.map((sample) => ({
      at: sample.at,
      values: at.map((index) => sample.values[index] ?? null),
    }));
  }

  #greet(hello) {
    this.hello = hello;
    this.#index = new Map(hello.series.map((series, index) => [series.name, index]));
    const { at_ms: times, values } = hello.history;
    this.samples = times.map((at, index) => ({ at, values: values.map((each) => each[index]) }));
    this.handlers.hello?.(hello);
  }

  #take(sample) {
    if (!this.hello) return;
    // The newest one of the past is told again, because it has more to it than its series.
    if (sample.at_ms > (this.samples.at(-1)?.at ?? -1)) {
      this.samples.push({ at: sample.at_ms, values: sample.values });
    }
    const oldest = sample.at_ms - this.hello.span_ms;
    while (this.samples.length > 0 && this.samples[0].at < oldest) this.samples.shift();
    this.handlers.sample?.(sample);
  }

  #lose(ended, pause) {
    this.stop();
    this.handlers.lost?.(ended);
    this.#timer = setTimeout(() => this.start(), pause);
  }
}
