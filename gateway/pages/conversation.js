/**
 * One room as the page shows it: its scrolling list, kept in step with a `Timeline`, and what goes
 * with it (members, unread count, what has been typed so far).
 *
 * It draws and measures, and speaks to nobody: `chat.js` asks the gateway and hands over what came.
 * The list stays at the newest line while the reader is there, and stays put while they read above.
 */

import { dataView } from "./data_view.js";
import { el, plural, setText } from "./dom.js";
import { Timeline } from "./timeline.js";

/** Lines of one sender within this time stand under one name. Chosen, as chat programs do. */
const GROUP_MS = 5 * 60_000;

/** How near to the end counts as at the end, in pixels: a line of text and its margin. */
const PINNED_PX = 40;

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export class Conversation {
  members = new Map();
  memberCount = 0;
  unread = 0;
  unseen = 0;
  draft = "";
  /** `joining`, `joined`, or why not. */
  state = "joining";
  epoch = null;
  #nodes = new Map();
  #days = new Map();
  #pinned = true;
  #settling = false;
  #scrollTop = 0;
  #firstUnread = null;

  /**
   * @param {string} room
   * @param {{pattern: boolean, isMe: (line) => boolean, earlier: () => void, resend: (line) =>
   *   void, scrolled: () => void}} options
   */
  constructor(room, options) {
    this.room = room;
    this.pattern = options.pattern;
    this.options = options;
    this.timeline = new Timeline({
      insert: (line, next) => this.#draw(line, next),
      remove: (line) => this.#erase(line),
      change: (line) => this.#redraw(line),
    });
    this.list = el("ol", { class: "lines", "aria-label": `Messages in ${room}` });
    this.earlier = el(
      "button",
      {
        type: "button",
        class: "button small earlier",
        hidden: true,
        on: { click: options.earlier },
      },
      "Show earlier messages",
    );
    this.empty = el("div", { class: "empty" });
    this.element = el(
      "section",
      {
        class: "conversation",
        tabindex: "0",
        "aria-label": `Conversation in ${room}`,
        hidden: true,
      },
      this.earlier,
      this.empty,
      this.list,
    );
    this.element.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#pinned && this.toEnd()).observe(this.element);
  }

  get pinned() {
    return this.#pinned;
  }

  /** What others said after the reader looked away gets a line of its own. */
  show(visible) {
    if (visible === !this.element.hidden) return;
    if (!visible) this.#scrollTop = this.element.scrollTop;
    this.element.hidden = !visible;
    if (!visible) return;
    if (this.#pinned) this.toEnd();
    else this.element.scrollTop = this.#scrollTop;
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.#pinned = true;
    this.unseen = 0;
  }

  /** Counts a line nobody looked at, and marks where such lines begin. */
  countUnread(line) {
    this.unread += 1;
    if (this.#firstUnread) return;
    this.#firstUnread = line;
    this.#nodes.get(line)?.classList.add("first-unread");
  }

  /** The reader has seen the end. The mark stays until they look away and something new comes. */
  read() {
    this.unread = 0;
  }

  clearUnreadMark() {
    if (!this.#firstUnread) return;
    this.#nodes.get(this.#firstUnread)?.classList.remove("first-unread");
    this.#firstUnread = null;
  }

  setEmpty(...children) {
    this.empty.replaceChildren(...children);
    this.empty.hidden = children.length === 0;
  }

  memberLine() {
    if (this.pattern) return "Everything published to rooms of this pattern";
    if (this.state === "joining") return "Joining…";
    if (this.state !== "joined") return this.state;
    return this.memberCount <= 1
      ? "Only you are here"
      : `${plural(this.memberCount, "person", "people")} here`;
  }

  #onScroll() {
    // Lines that came since the last frame have moved the end; we are on our way there.
    if (this.#settling) return;
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    this.#pinned = scrollHeight - scrollTop - clientHeight < PINNED_PX;
    if (this.#pinned) this.unseen = 0;
    this.options.scrolled();
  }

  #draw(line, next) {
    const node = line.kind === "notice" ? notice(line) : this.#message(line);
    this.#nodes.set(line, node);
    const before = next ? (this.#days.get(next) ?? this.#nodes.get(next)) : null;
    const anchor = this.#pinned || !before ? null : before.getBoundingClientRect().top;
    this.list.insertBefore(node, before);
    this.#group(line);
    const following = this.timeline.next(line);
    if (following) this.#group(following);
    if (this.#pinned) this.#toEndSoon();
    // What is inserted above the reader must not move what they read.
    else if (anchor !== null && anchor < this.element.getBoundingClientRect().bottom) {
      this.element.scrollTop += before.getBoundingClientRect().top - anchor;
    }
  }

  /** Once a frame: to ask for the height after every line would lay out the list for every line. */
  #toEndSoon() {
    if (this.#settling) return;
    this.#settling = true;
    requestAnimationFrame(() => {
      this.#settling = false;
      if (this.#pinned) this.toEnd();
    });
  }

  #erase(line) {
    this.#nodes.get(line)?.remove();
    this.#nodes.delete(line);
    this.#days.get(line)?.remove();
    this.#days.delete(line);
    if (this.#firstUnread === line) this.#firstUnread = null;
    const [first] = this.timeline.lines;
    if (first) this.#group(first);
  }

  #redraw(line) {
    const node = this.#nodes.get(line);
    if (!node) return;
    const fresh = this.#message(line);
    node.replaceWith(fresh);
    this.#nodes.set(line, fresh);
    this.#group(line);
    if (this.#pinned) this.#toEndSoon();
  }

  /** Whether a line goes under the name above it, and whether a day begins with it. */
  #group(line) {
    const node = this.#nodes.get(line);
    if (!node || line.kind !== "message") return;
    const above = this.timeline.previous(line);
    const near = above?.kind === "message" && above.from === line.from && above.own === line.own;
    const follows = near && above.room === line.room && line.time - above.time < GROUP_MS;
    const lastTime = above?.kind === "message" ? above.time : this.#timeBefore(line);
    const newDay = lastTime === null || !sameDay(lastTime, line.time);
    node.classList.toggle("follows", Boolean(follows) && !newDay);
    const day = this.#days.get(line);
    if (newDay && !day) {
      const text = sameDay(line.time, Date.now()) ? "Today" : DAY.format(line.time);
      const divider = el("li", { class: "day" }, el("span", { text }));
      this.#days.set(line, divider);
      node.before(divider);
    } else if (!newDay && day) {
      day.remove();
      this.#days.delete(line);
    } else if (day) {
      node.before(day);
    }
  }

  #timeBefore(line) {
    const { lines } = this.timeline;
    for (let i = lines.indexOf(line) - 1; i >= 0; i -= 1) {
      if (lines[i].kind === "message") return lines[i].time;
    }
    return null;
  }

  #message(line) {
    const mine = line.own;
    const classes = ["line", mine && "own", line.state !== "sent" && line.state].filter(Boolean);
    const moment = new Date(line.time);
    const offset = line.roomOffset ?? line.offset;
    const title =
      line.state === "sent" ? `${MOMENT.format(moment)} · offset ${offset}` : "Not sent yet";
    const time = el("time", { datetime: moment.toISOString(), title, text: CLOCK.format(moment) });
    const name = el("span", { class: "name", text: line.from });
    const head = el("div", { class: "head" }, name);
    if (mine) head.append(el("span", { class: "badge", text: "you" }));
    if (this.pattern)
      head.append(el("a", { class: "badge room", href: roomHref(line.room), text: line.room }));
    head.append(time);
    const body = el("div", { class: "body" }, head, dataView(line.data));
    if (line.state === "failed") body.append(this.#failure(line));
    return el(
      "li",
      { class: classes.join(" ") },
      avatar(line.from),
      body,
      sideTime(line, moment, title),
    );
  }

  #failure(line) {
    const resend = () => this.options.resend(line);
    const discard = () => this.timeline.drop(line);
    return el(
      "p",
      { class: "failure" },
      el("span", { text: `Not sent: ${line.reason}` }),
      el("button", {
        type: "button",
        class: "button small",
        text: "Try again",
        on: { click: resend },
      }),
      el("button", {
        type: "button",
        class: "button small",
        text: "Discard",
        on: { click: discard },
      }),
    );
  }
}

/** A disc with initials. The hue is of the name, so that one person looks alike in every room. */
export function avatar(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const initials = words.length > 1 ? [words[0], words.at(-1)] : [words[0] ?? "?"];
  const text = initials.map((word) => [...word][0].toUpperCase()).join("");
  return el("span", { class: `avatar hue-${hash % 8}`, "aria-hidden": "true", text });
}

export function roomHref(room) {
  return `#${encodeURIComponent(room)}`;
}

/** Shows who is here: oneself first, then by name. Rows are kept, and with them the place. */
export function drawMembers(list, members, me) {
  const label = (member) => member.name ?? member.client;
  const sorted = [...members.values()].sort(
    (a, b) => (b.client === me) - (a.client === me) || label(a).localeCompare(label(b)),
  );
  const rows = new Map([...list.children].map((row) => [row.dataset.key, row]));
  list.replaceChildren(
    ...sorted.map((member) => {
      const key = `${member.client} ${label(member)}`;
      const row =
        rows.get(key) ??
        el(
          "li",
          { class: "member", data: { key }, title: `client ${member.client}` },
          avatar(label(member)),
          el("span", { class: "member-name", text: label(member) }),
          el("span", { class: "badge", hidden: true, text: "you" }),
        );
      row.querySelector(".badge").hidden = member.client !== me;
      setText(row.querySelector(".member-name"), label(member));
      return row;
    }),
  );
}

function notice(line) {
  return el("li", { class: "notice" }, el("span", { text: line.text }));
}

/** The time beside a line that stands under an earlier name; its own head is not shown. */
function sideTime(line, moment, title) {
  if (line.state === "pending")
    return el("span", { class: "side", title: "Sending", text: "sending" });
  const short = CLOCK.formatToParts(moment).filter((part) => part.type !== "dayPeriod");
  const text = short
    .map((part) => part.value)
    .join("")
    .trim();
  return el("span", { class: "side", "aria-hidden": "true", title, text });
}

function sameDay(a, b) {
  return new Date(a).toDateString() === new Date(b).toDateString();
}
