/**
 * The order of one room's lines: messages, own ones not yet confirmed, and notices.
 *
 * A line's place is (era, offset): an era is one epoch of the room, because offsets begin anew with
 * each. What is not confirmed stands last, as written. A message is told from another by its place
 * alone, so history, resume and live delivery may overlap. It knows no elements; a view hears of
 * each change through `hooks` and keeps its own list in step.
 */

export class Timeline {
  #lines = [];
  #era = 0;
  #epoch = null;
  #sequence = 0;
  #max;
  #hooks;

  /**
   * @param {{insert: (line, next) => void, remove: (line) => void, change: (line) => void}} hooks
   *   `next` is the line before which the new one stands, `null` at the end.
   * @param {number} [max] Lines kept; the oldest go. Chosen: ten screens, and cheap to lay out.
   */
  constructor(hooks, max = 500) {
    this.#hooks = hooks;
    this.#max = max;
  }

  get lines() {
    return this.#lines;
  }

  /** The lowest offset of the present era that is shown, `null` without any. */
  get oldest() {
    const first = this.#lines.find((line) => line.era === this.#era && line.kind === "message");
    return first?.offset ?? null;
  }

  previous(line) {
    return this.#lines[this.#lines.indexOf(line) - 1] ?? null;
  }

  next(line) {
    return this.#lines[this.#lines.indexOf(line) + 1] ?? null;
  }

  /** Begins a new era where the epoch differs from the last one. Returns whether it did. */
  setEpoch(epoch) {
    if (epoch === this.#epoch) return false;
    const first = this.#epoch === null;
    this.#epoch = epoch;
    if (first) return false;
    this.#era += 1;
    return true;
  }

  /**
   * Takes a message that the gateway sent. One of ours that still waits for its confirmation, and
   * says the same, becomes this message instead of standing there twice.
   *
   * @returns the line, or `null` for a message that is here already.
   */
  receive({ offset, from, time, data, room }, { own = false } = {}) {
    if (this.#find(offset)) return null;
    if (own) {
      const wanted = JSON.stringify(data);
      const waiting = this.#lines.find(
        (line) => line.state === "pending" && JSON.stringify(line.data) === wanted,
      );
      if (waiting) {
        this.#place(waiting, { offset, from, time });
        return waiting;
      }
    }
    return this.#insert(message({ era: this.#era, offset, from, time, data, room }));
  }

  /** Takes a message of a pattern: many rooms' offsets have no common order, so arrival counts. */
  append({ from, time, data, room, offset }) {
    const place = { era: this.#era, offset: ++this.#sequence, roomOffset: offset };
    return this.#insert(message({ ...place, from, time, data, room }));
  }

  /** Shows an own message before the gateway has it. */
  pend(data, from, time) {
    const place = { era: Infinity, offset: ++this.#sequence };
    return this.#insert(message({ ...place, from, time, data, own: true, state: "pending" }));
  }

  /** The gateway stored an own message at `offset`. */
  confirm(line, offset) {
    if (line.state === "sent" && line.offset === offset) return;
    const there = this.#find(offset);
    if (line.state === "sent") {
      // It was mistaken for a like message of somebody else with our name.
      line.own = false;
      this.#hooks.change(line);
      if (there) this.own(there);
    } else if (there) {
      this.drop(line);
      this.own(there);
    } else {
      this.#place(line, { offset });
    }
  }

  /** A message that is known, from elsewhere, to be our own. */
  own(line) {
    if (line.own) return;
    line.own = true;
    this.#hooks.change(line);
  }

  fail(line, reason) {
    if (line.state === "sent") return;
    line.state = "failed";
    line.reason = reason;
    this.#hooks.change(line);
  }

  drop(line) {
    const index = this.#lines.indexOf(line);
    if (index < 0) return;
    this.#lines.splice(index, 1);
    this.#hooks.remove(line);
  }

  /** A remark between the messages, after the newest one or after that of `offset`. */
  notice(text, offset = null) {
    const last = this.#lines.findLast((line) => line.era !== Infinity);
    const place = offset ?? (last && last.era === this.#era ? Math.floor(last.offset) : 0);
    return this.#insert({ kind: "notice", era: this.#era, offset: place + 0.5, text });
  }

  #find(offset) {
    return this.#lines.find(
      (line) => line.kind === "message" && line.era === this.#era && line.offset === offset,
    );
  }

  #place(line, facts) {
    this.drop(line);
    Object.assign(line, facts, { era: this.#era, state: "sent" });
    this.#insert(line);
  }

  #insert(line) {
    let index = this.#lines.length;
    while (index > 0 && stands(line, this.#lines[index - 1])) index -= 1;
    this.#lines.splice(index, 0, line);
    this.#hooks.insert(line, this.#lines[index + 1] ?? null);
    while (this.#lines.length > this.#max) this.#hooks.remove(this.#lines.shift());
    return line;
  }
}

function message(facts) {
  return { kind: "message", own: false, state: "sent", ...facts };
}

/** Whether `line` stands before `other`; equals keep the order in which they came. */
function stands(line, other) {
  return line.era === other.era ? line.offset < other.offset : line.era < other.era;
}
