/**
 * A table that is refreshed every second without getting in the way of whoever uses it.
 *
 * Rows are known by a key and kept: focus, selection and a half-confirmed button survive a refresh,
 * and only texts that differ are written. It filters, sorts by any column, and draws at most
 * `MAX_ROWS` rows; it says so when there are more.
 */

import { el, plural, setText } from "./dom.js";

/** Chosen: more than anybody reads, and drawn in a few milliseconds. */
const MAX_ROWS = 200;

export class Table {
  #rows = new Map();
  #items = [];
  #filter = "";
  #sort;

  /**
   * @param {HTMLElement} parent
   * @param {object} options `caption` (for screen readers), `noun` (`["room", "rooms"]`),
   *   `key(item)`, `text(item)` what the filter searches, `columns`: `{ label, class?, sort?(item),
   *   cell(item) }` where `cell` gives a text, or `make()`/`update(node, item)` for anything else;
   *   `sort`: the index of the first column to sort by and its direction; `empty`: what stands in
   *   an empty table.
   */
  constructor(parent, options) {
    this.options = options;
    this.#sort = options.sort ?? { column: 0, down: false };
    this.heads = options.columns.map((column, index) => this.#head(column, index));
    this.body = el("tbody");
    this.note = el("p", { class: "table-note", role: "status" });
    this.table = el(
      "table",
      {},
      el("caption", { class: "visually-hidden", text: options.caption }),
      el("thead", {}, el("tr", {}, ...this.heads)),
      this.body,
    );
    const scroller = {
      class: "table-scroll",
      tabindex: "0",
      role: "region",
      "aria-label": options.caption,
    };
    parent.append(el("div", scroller, this.table), this.note);
  }

  set filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#draw();
  }

  draw(items) {
    this.#items = items;
    this.#draw();
  }

  #head(column, index) {
    const head = el("th", { scope: "col", class: column.class });
    if (!column.sort) {
      head.append(
        el("span", {
          class: column.label ? null : "visually-hidden",
          text: column.label || "Actions",
        }),
      );
      return head;
    }
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
    const click = () => {
      const same = this.#sort.column === index;
      this.#sort = {
        column: index,
        down: same ? !this.#sort.down : Boolean(column.class?.includes("number")),
      };
      this.#draw();
    };
    // Before the word in columns of numbers, so that the word stands over the digits.
    const words = column.class?.includes("number") ? [arrow, column.label] : [column.label, arrow];
    head.append(el("button", { type: "button", on: { click } }, ...words));
    return head;
  }

  #draw() {
    const { columns, key, noun, text, empty } = this.options;
    const found = this.#items.filter((item) => text(item).toLowerCase().includes(this.#filter));
    const { column, down } = this.#sort;
    const by = columns[column].sort;
    found.sort((a, b) => compare(by(a), by(b)) * (down ? -1 : 1) || compare(key(a), key(b)));
    this.heads.forEach((head, index) => {
      const order = index === column ? (down ? "descending" : "ascending") : null;
      if (order) head.setAttribute("aria-sort", order);
      else head.removeAttribute("aria-sort");
    });
    const kept = new Map();
    found.slice(0, MAX_ROWS).forEach((item, index) => {
      const row = this.#rows.get(key(item)) ?? this.#make();
      kept.set(key(item), row);
      columns.forEach((each, at) => {
        if (each.update) each.update(row.contents[at], item);
        else setText(row.cells[at], each.cell(item));
      });
      const there = this.body.children[index];
      if (there !== row.element) this.body.insertBefore(row.element, there ?? null);
    });
    for (const [id, row] of this.#rows) if (kept.get(id) !== row) row.element.remove();
    this.#rows = kept;
    this.table.hidden = found.length === 0;
    const shown = Math.min(found.length, MAX_ROWS);
    if (this.#items.length === 0) setText(this.note, empty);
    else if (found.length === 0) setText(this.note, `Nothing matches “${this.#filter}”.`);
    else if (shown < found.length) {
      setText(
        this.note,
        `The first ${shown} of ${plural(found.length, ...noun)}. Filter to narrow them down.`,
      );
    } else setText(this.note, "");
  }

  #make() {
    const contents = [];
    const cells = this.options.columns.map((column, index) => {
      const content = column.make?.() ?? null;
      contents[index] = content;
      return el("td", { class: column.class }, content);
    });
    return { element: el("tr", {}, ...cells), cells, contents };
  }
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
