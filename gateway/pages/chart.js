/**
 * Lines over the last ten minutes, drawn in SVG: a sparkline without words, or a chart with axes,
 * a legend and a cursor.
 *
 * Time is to scale, so a pause shows as a pause; `null` breaks a line. Series after the first are
 * dashed, each in its own way: no figure is told by colour alone. The cursor follows the pointer or
 * the arrow keys and puts the values of its moment into the legend.
 */

import { el, setText } from "./dom.js";

/** What is shown of the past, in seconds: what the gateway remembers. */
const SPAN_S = 600;
/** Samples further apart than this are not joined by a line. */
const HOLE_MS = 5_000;
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 8, right: 4, bottom: 18, left: 56 };
const HEIGHT = 150;
const SPARK = { width: 160, height: 36 };

/** One small line under a headline figure. The figure itself is text beside it. */
export class Sparkline {
  constructor(parent) {
    this.svg = svg("svg", {
      class: "spark",
      viewBox: `0 0 ${SPARK.width} ${SPARK.height}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "stroke stroke-0" });
    this.svg.append(this.area, this.line);
    parent.append(this.svg);
  }

  draw(series, now) {
    const top = Math.max(1, ...series.map((sample) => sample.values[0] ?? 0)) * 1.1;
    const x = (at) => SPARK.width * (1 - (now - at) / (SPAN_S * 1000));
    const y = (value) => SPARK.height - 1.5 - (value / top) * (SPARK.height - 4);
    const runs = unbroken(series, 0);
    this.line.setAttribute("d", runs.map((run) => path(run, x, y)).join(""));
    this.area.setAttribute("d", runs.map((run) => areaPath(run, x, y, SPARK.height)).join(""));
  }
}

export class Chart {
  #series = [];
  #now = 0;
  #cursor = null;
  #width = 400;

  /**
   * @param {Element} parent
   * @param {{title: string, names: string[], format: (value: number) => string, floor?: number,
   *   unit?: number}} options `floor` is the least top of the scale, so that noise does not look
   *   like a storm; `unit` is 1024 for bytes, whose round numbers are others.
   */
  constructor(parent, options) {
    this.options = { floor: 4, unit: 1, ...options };
    this.readouts = options.names.map(() => el("span", { class: "readout", text: "–" }));
    this.when = el("span", { class: "when" });
    const legend = options.names.map((name, index) =>
      el("span", { class: "key" }, swatch(index), el("span", { text: name }), this.readouts[index]),
    );
    this.svg = svg("svg", { class: "chart", height: HEIGHT, tabindex: "0", role: "img" });
    this.grid = svg("g", { class: "grid" });
    this.lines = options.names.map((_, index) => svg("path", { class: `stroke stroke-${index}` }));
    this.area = svg("path", { class: "area" });
    this.rule = svg("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
    this.dots = options.names.map((_, index) =>
      svg("circle", { class: `point point-${index}`, r: 3.5 }),
    );
    this.svg.append(this.grid, this.area, ...this.lines, this.rule, ...this.dots);
    this.element = el(
      "figure",
      { class: "card chart-card" },
      el(
        "figcaption",
        {},
        el("h3", { text: options.title }),
        el("div", { class: "legend" }, ...legend, this.when),
      ),
      this.svg,
    );
    parent.append(this.element);
    this.#listen();
  }

  draw(series, now) {
    this.#series = series;
    this.#now = now;
    this.#render();
  }

  #listen() {
    new ResizeObserver(([entry]) => {
      this.#width = Math.max(120, Math.round(entry.contentRect.width));
      this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
      this.#render();
    }).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => {
      const left = this.svg.getBoundingClientRect().left;
      const share = (event.clientX - left - MARGIN.left) / this.#plotWidth();
      this.#moveTo((1 - Math.min(1, Math.max(0, share))) * SPAN_S * 1000);
    });
    this.svg.addEventListener("pointerleave", () => this.#moveTo(null));
    this.svg.addEventListener("blur", () => this.#moveTo(null));
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 5_000, ArrowRight: -5_000 }[event.key];
      if (step !== undefined) {
        const ago = (this.#cursor ?? 0) + step;
        this.#moveTo(Math.min(SPAN_S * 1000, Math.max(0, ago)));
        event.preventDefault();
      } else if (event.key === "Escape") {
        this.#moveTo(null);
      }
    });
  }

  /** The cursor stands at a distance from now, not at a moment: it stays where the pointer is. */
  #moveTo(ago) {
    this.#cursor = ago;
    this.#render();
  }

  #plotWidth() {
    return this.#width - MARGIN.left - MARGIN.right;
  }

  #render() {
    const { floor, format, names, title, unit } = this.options;
    const values = this.#series.flatMap((sample) => sample.values).filter((v) => v !== null);
    const highest = Math.max(0, ...values);
    const [top, step] = scale(Math.max(highest, floor), unit);
    const plotHeight = HEIGHT - MARGIN.top - MARGIN.bottom;
    const x = (at) => MARGIN.left + this.#plotWidth() * (1 - (this.#now - at) / (SPAN_S * 1000));
    const y = (value) => MARGIN.top + plotHeight * (1 - value / top);
    this.#drawGrid(top, step, y);
    names.forEach((_, index) => {
      const runs = unbroken(this.#series, index);
      this.lines[index].setAttribute("d", runs.map((run) => path(run, x, y)).join(""));
      if (index === 0) {
        const bottom = HEIGHT - MARGIN.bottom;
        this.area.setAttribute("d", runs.map((run) => areaPath(run, x, y, bottom)).join(""));
      }
    });
    this.#drawCursor(x, y);
    const last = this.#series.at(-1)?.values ?? [];
    const said = names.map((name, index) => `${name} ${format(last[index] ?? null)}`).join(", ");
    const summary = `${title}: now ${said}; highest in the last ten minutes ${format(highest)}`;
    this.svg.setAttribute("aria-label", summary);
  }

  #drawGrid(top, step, y) {
    const parts = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      const at = Math.round(y(value)) + 0.5;
      parts.push(svg("line", { x1: MARGIN.left, x2: this.#width - MARGIN.right, y1: at, y2: at }));
      const label = svg("text", { x: MARGIN.left - 8, y: at + 3.5, "text-anchor": "end" });
      label.textContent = this.options.format(value);
      parts.push(label);
    }
    const foot = HEIGHT - 4;
    const words = [
      ["10 min ago", MARGIN.left, "start"],
      ["now", this.#width - MARGIN.right, "end"],
    ];
    for (const [text, at, anchor] of words) {
      const label = svg("text", { x: at, y: foot, "text-anchor": anchor });
      label.textContent = text;
      parts.push(label);
    }
    this.grid.replaceChildren(...parts);
  }

  #drawCursor(x, y) {
    const sample = this.#cursor === null ? null : nearest(this.#series, this.#now - this.#cursor);
    const shown = sample ?? this.#series.at(-1);
    this.rule.toggleAttribute("hidden", !sample);
    if (sample) {
      this.rule.setAttribute("x1", x(sample.at));
      this.rule.setAttribute("x2", x(sample.at));
    }
    const ago = sample ? Math.round((this.#now - sample.at) / 1000) : 0;
    setText(this.when, sample ? `${ago} s ago` : "");
    this.options.names.forEach((_, index) => {
      const value = shown?.values[index] ?? null;
      setText(this.readouts[index], this.options.format(value));
      this.dots[index].toggleAttribute("hidden", !sample || value === null);
      if (!sample || value === null) return;
      this.dots[index].setAttribute("cx", x(sample.at));
      this.dots[index].setAttribute("cy", y(value));
    });
  }
}

function swatch(index) {
  const line = svg("line", { class: `stroke stroke-${index}`, x1: 1, x2: 21, y1: 5, y2: 5 });
  const drawing = svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" });
  drawing.append(line);
  return drawing;
}

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The stretches of one series that a line may join. */
function unbroken(series, index) {
  const runs = [[]];
  let last = null;
  for (const { at, values } of series) {
    const value = values[index] ?? null;
    if (last !== null && at - last > HOLE_MS && runs.at(-1).length > 0) runs.push([]);
    last = at;
    if (value !== null) runs.at(-1).push([at, value]);
    else if (runs.at(-1).length > 0) runs.push([]);
  }
  return runs.filter((run) => run.length > 0);
}

function path(run, x, y) {
  const points = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  // A stretch of one sample would be invisible as a line of no length.
  if (points.length === 1) points.push(points[0]);
  return `M${points.join("L")}`;
}

function areaPath(run, x, y, bottom) {
  const from = x(run[0][0]).toFixed(1);
  const to = x(run.at(-1)[0]).toFixed(1);
  return `${path(run, x, y)}L${to},${bottom}L${from},${bottom}Z`;
}

/**
 * A round top of the scale and the step of its lines: 1, 2 or 5 times a power of ten, counted in
 * powers of `unit` where that is more than one.
 */
export function scale(highest, unit = 1) {
  if (unit > 1) {
    const size = unit ** Math.max(0, Math.floor(Math.log(highest) / Math.log(unit)));
    return scale(highest / size).map((value) => value * size);
  }
  const rough = highest / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.999);
  return [Math.ceil((highest * 0.999) / step) * step, step];
}

function nearest(series, at) {
  let best = null;
  for (const sample of series) {
    if (sample.values.every((value) => value === null)) continue;
    if (!best || Math.abs(sample.at - at) < Math.abs(best.at - at)) best = sample;
  }
  return best;
}
