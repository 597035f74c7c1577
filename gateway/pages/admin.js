/**
 * The live figures: asks the gateway once a second and draws what it answers.
 *
 * Three questions (`/v1/stats`, `/v1/rooms`, `/v1/connections`), each with at most one in flight
 * and each slowed down when its answer takes long, so that a page left open weighs nothing. A
 * hidden page asks nothing. When the gateway does not answer, the last figures stay, greyed, with
 * their time.
 */

import { Chart, Sparkline } from "./chart.js";
import { jsonText } from "./data_view.js";
import { byId, el, plural, setText } from "./dom.js";
import {
  Figures,
  bytes,
  count,
  duration,
  inUnit,
  isTrouble,
  micros,
  perSecond,
} from "./figures.js";
import { Table } from "./table.js";

const EVERY_MS = 1_000;
const TIMEOUT_MS = 5_000;
/** A question may take this share of the time between two; chosen to stay unnoticed. */
const BUSY_SHARE = 0.1;
const SLOWEST_MS = 15_000;
const CONFIRM_MS = 3_000;
const MAX_SUGGESTIONS = 100;
/** The most that the gateway lists. */
const MAX_LISTED = 1_000;
const DETAIL_MEMBERS = 100;
const DETAIL_MESSAGES = 10;

const figures = new Figures();
let rooms = [];
let connections = [];
let openRoom = null;
let lastAnswerAt = null;
/** What went wrong with each question, by path. */
const failures = new Map();

class Problem extends Error {}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new Problem(problem.detail || problem.title || `${path} answered ${response.status}`);
}

/** Asks one question again and again, for as long as the page is looked at. */
function keepAsking(path, take) {
  let timer = null;
  let asking = false;
  const round = async () => {
    if (asking || document.hidden) return;
    asking = true;
    clearTimeout(timer);
    const began = performance.now();
    let pause = EVERY_MS;
    try {
      take(await ask(path), performance.now());
      failures.delete(path);
      pause = Math.min(SLOWEST_MS, Math.max(EVERY_MS, (performance.now() - began) / BUSY_SHARE));
    } catch (error) {
      failures.set(path, error);
    }
    asking = false;
    drawState();
    const spent = performance.now() - began;
    timer = setTimeout(round, Math.max(50, pause - spent));
  };
  document.addEventListener("visibilitychange", round);
  round();
  return round;
}

const IN = "hub_publishes_total";
const OUT = "hub_deliveries_total";

const tiles = [
  tile("Sessions", "sessions", (f) => f.value("sessions"), count),
  tile("Rooms", "rooms", (f) => f.value("hub_rooms"), count),
  tile("Messages in", "in", (f) => f.rate(IN), perSecond, "per second"),
  tile("Messages out", "out", (f) => f.rate(OUT), perSecond, "per second"),
  tile("Drops and errors", "trouble", troubleRate, perSecond, "per second"),
];

function tile(label, key, read, format, unit = "") {
  const value = el("span", { class: "tile-value", text: "–" });
  const note = el("p", { class: "tile-note" });
  const element = el(
    "div",
    { class: "card tile", data: { key } },
    el("h3", { text: label }),
    el("p", {}, value, " ", el("span", { class: "muted small", text: unit })),
    note,
  );
  byId("tiles").append(element);
  return { element, key, read, format, value, note, spark: new Sparkline(element) };
}

function troubleRate(from) {
  return from.rate(...from.troubles().map((row) => row.name));
}

const charts = [
  chart("Messages per second", ["in", "out"], perSecond, (f) => [f.rate(IN), f.rate(OUT)]),
  chart(
    "Bytes per second",
    ["read", "written"],
    bytes,
    (f) => [
      f.rate("wire_bytes_in_total", "udp_bytes_in_total"),
      f.rate("wire_bytes_out_total", "udp_bytes_out_total"),
    ],
    1024,
  ),
  chart("Received per second", ["WebSocket", "TCP", "UDP", "HTTP"], perSecond, (f) => [
    f.rate("ws_messages_in_total"),
    f.rate("tcp_lines_in_total"),
    f.rate("udp_datagrams_in_total"),
    f.rate("http_requests_total"),
  ]),
  chart("Worker turns, 99th percentile", ["length", "lag"], micros, (f) => [
    f.rows.get("worker_turn_us")?.p99 ?? null,
    f.rows.get("worker_lag_us")?.p99 ?? null,
  ]),
];

function chart(title, names, format, read, unit = 1) {
  return { read, view: new Chart(byId("charts"), { title, names, format, unit }), key: title };
}

const roomsTable = new Table(byId("rooms-table"), {
  caption: "Rooms",
  noun: ["room"],
  key: (room) => room.room,
  text: (room) => room.room,
  sort: { column: 1, down: true },
  empty: "No room has members or history now.",
  columns: [
    {
      label: "Room",
      class: "name",
      sort: (room) => room.room,
      make: () => {
        const button = el("button", { type: "button", class: "link" });
        button.addEventListener("click", () => showRoom(button.textContent));
        return button;
      },
      update: (button, room) => setText(button, room.room),
    },
    number("Members", (room) => room.members, count),
    number("Watchers", (room) => room.watchers ?? 0, count, "less"),
    number(
      "Last offset",
      (room) => room.offset,
      (value) => value.toLocaleString("en"),
    ),
    number("Kept", (room) => room.history_messages ?? 0, count, "less"),
    number("Kept bytes", (room) => room.history_bytes ?? 0, bytes, "less"),
  ],
});

const connectionsTable = new Table(byId("connections-table"), {
  caption: "Connections",
  noun: ["connection"],
  key: (each) => each.id,
  text: (each) =>
    [each.id, each.wire, each.listener, each.peer, each.name, roomsOf(each)].join(" "),
  sort: { column: 7, down: false },
  empty: "Nobody is connected.",
  columns: [
    { label: "Id", class: "mono less", sort: (each) => each.id, cell: (each) => each.id },
    {
      label: "Name",
      class: "name",
      sort: (each) => each.name ?? each.id,
      cell: (each) => each.name ?? each.id,
    },
    { label: "Wire", sort: (each) => each.wire, cell: (each) => each.wire },
    {
      label: "Listener",
      class: "less",
      sort: (each) => each.listener,
      cell: (each) => each.listener,
    },
    { label: "Peer", class: "mono less", sort: (each) => each.peer, cell: (each) => each.peer },
    { label: "Rooms", class: "rooms less", sort: roomsOf, cell: roomsOf },
    number("Waiting", (each) => each.queued_bytes ?? 0, bytes, "less"),
    number("Connected for", (each) => -each.since_ms, null, "", age),
    {
      label: "",
      class: "action",
      make: closeButton,
      update: (button, each) => void (button.dataset.id = each.id),
    },
  ],
});

const countersTable = new Table(byId("counters-table"), {
  caption: "Counters",
  noun: ["counter"],
  key: (row) => row.name,
  text: (row) => `${row.name} ${row.kind} ${row.unit} ${row.level ?? ""} ${row.help}`,
  sort: { column: 0, down: false },
  empty: "Nothing was counted yet.",
  columns: [
    {
      label: "Name",
      class: "mono counter-name",
      sort: (row) => row.name,
      make: () => el("span"),
      update: (span, row) => {
        setText(span, row.name);
        span.classList.toggle(
          "trouble",
          isTrouble(row.name) && row.value > 0 && row.kind === "counter",
        );
      },
    },
    number(
      "Value",
      (row) => row.value,
      null,
      "",
      (row) => figureText(row),
    ),
    number(
      "Per second",
      (row) => row.rate ?? -1,
      null,
      "",
      (row) => rateText(row),
    ),
    { label: "Kind", class: "less", sort: (row) => row.kind, cell: (row) => row.kind },
    { label: "Meaning, and what to do", class: "help", cell: (row) => row.help ?? "" },
  ],
});

function number(label, read, format, extra = "", cell = (item) => format(read(item))) {
  return { label, class: `number ${extra}`.trim(), sort: read, cell };
}

function figureText(row) {
  if (row.kind !== "histogram") return inUnit(row.value, row.unit);
  if (row.value === 0) return "0";
  const [half, most, max] = [row.p50, row.p99, row.max].map((value) => inUnit(value, row.unit));
  return `${half} · p99 ${most} · max ${max}`;
}

function rateText(row) {
  if (row.rate === null) return "";
  if (row.rate === 0) return "0";
  return row.unit === "bytes" && row.kind === "counter" ? bytes(row.rate) : perSecond(row.rate);
}

function roomsOf({ rooms: of }) {
  return of.join(", ") || "–";
}

function age({ since_ms: since }) {
  return duration(Date.now() - since);
}

/** Closing somebody takes two presses: the second within a few seconds of the first. */
function closeButton() {
  const button = el("button", { type: "button", class: "button small", text: "Close" });
  let timer = null;
  const rest = () => {
    clearTimeout(timer);
    timer = null;
    button.classList.remove("sure");
    setText(button, "Close");
  };
  button.addEventListener("blur", rest);
  button.addEventListener("click", async () => {
    if (timer === null) {
      button.classList.add("sure");
      setText(button, "Sure?");
      timer = setTimeout(rest, CONFIRM_MS);
      return;
    }
    rest();
    button.disabled = true;
    try {
      await ask(`/v1/connections/${encodeURIComponent(button.dataset.id)}`, { method: "DELETE" });
    } catch (error) {
      setText(button, "Failed");
      button.title = error.message;
    }
    button.disabled = false;
    askConnections();
  });
  return button;
}

function takeStats(stats, now) {
  lastAnswerAt = Date.now();
  const { hole } = figures.take(stats, now);
  for (const each of tiles) {
    const value = each.read(figures);
    each.spark.draw(figures.record(each.key, now, [value], hole), now);
    setText(each.value, each.format(value));
    setText(each.note, tileNote(each.key));
  }
  for (const each of charts) {
    const values = each.read(figures);
    const missing = !figures.rows.size || values.every((value) => value === null);
    each.view.draw(figures.record(each.key, now, values, hole), now);
    each.view.element.classList.toggle("missing", missing);
  }
  drawFacts(stats);
  drawCounters();
}

function tileNote(key) {
  switch (key) {
    case "sessions":
      return `${count(figures.value("sessions_opened_total"))} since the start`;
    case "rooms":
      return `${plural(
        rooms.reduce((sum, room) => sum + room.members, 0),
        "seat",
      )} taken`;
    case "in":
      return `${count(figures.value(IN))} since the start`;
    case "out": {
      const [out, into] = [figures.value(OUT), figures.value(IN)];
      return into ? `${(out / into).toFixed(1)} for each one in` : "";
    }
    default: {
      const worst = figures.troubles().filter((row) => row.value > 0);
      const total = worst.reduce((sum, row) => sum + row.value, 0);
      const element = tiles.find((each) => each.key === key).element;
      element.classList.toggle("alarm", (troubleRate(figures) ?? 0) > 0);
      return total === 0
        ? "none since the start"
        : `${count(total)} since the start, most: ${worst[0].name}`;
    }
  }
}

function drawFacts(stats) {
  const facts = [
    ["instance", stats.instance],
    ["pid", stats.pid],
    ["version", stats.version],
    ["workers", stats.workers],
    ["up", duration(Date.now() - stats.start_unix_ms)],
  ].filter(([, value]) => value !== undefined && value !== null);
  const list = byId("facts");
  if (list.children.length !== facts.length) {
    list.replaceChildren(
      ...facts.map(([name]) => el("div", {}, el("dt", { text: name }), el("dd"))),
    );
  }
  facts.forEach(([, value], index) => setText(list.children[index].lastChild, String(value)));
}

function drawCounters() {
  const all = [...figures.rows.values()];
  const shown = byId("counters-zero").checked ? all : all.filter((row) => row.value !== 0);
  countersTable.draw(shown);
  setText(byId("counters-count"), `${shown.length} of ${all.length}`);
}

/** Words of the gateway's own state, and for no answer at all. */
function drawState() {
  const failure = failures.get("/v1/stats");
  const state = failure ? "unreachable" : (figures.gateway?.state ?? "none");
  byId("state").dataset.state = state;
  setText(byId("state-text"), state === "none" ? "Asking…" : state);
  document.body.classList.toggle("stale", Boolean(failure));
  const [path, problem] = [...failures][0] ?? [];
  const banner = byId("banner");
  banner.hidden = !problem;
  if (!problem) return;
  const since =
    lastAnswerAt === null
      ? ""
      : ` The figures are of ${new Date(lastAnswerAt).toLocaleTimeString()}.`;
  const words =
    problem instanceof Problem
      ? `The gateway refuses ${path.split("?")[0]}: ${problem.message}`
      : `The gateway does not answer.${failure ? since : ""} Asking again every second.`;
  setText(banner, words);
}

function takeRooms(answer) {
  rooms = answer.rooms;
  setText(byId("rooms-count"), listed(rooms.length, answer.total));
  roomsTable.draw(rooms);
  const names = rooms.slice(0, MAX_SUGGESTIONS).map((room) => room.room);
  const list = byId("room-names");
  const key = JSON.stringify(names);
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...names.map((name) => el("option", { value: name })));
  }
  if (openRoom !== null) refreshRoom();
}

function takeConnections(answer) {
  connections = answer.connections;
  setText(byId("connections-count"), listed(connections.length, figures.value("sessions")));
  connectionsTable.draw(connections);
}

/** How many there are, and where the gateway lists fewer how many of them these are. */
function listed(shown, total) {
  const words = shown.toLocaleString("en");
  return shown >= MAX_LISTED && total > shown ? `${words} of ${total.toLocaleString("en")}` : words;
}

function showRoom(room) {
  openRoom = room;
  setText(byId("room-dialog-title"), room);
  byId("room-dialog-link").href = `/#${encodeURIComponent(room)}`;
  byId("room-dialog-members").replaceChildren();
  byId("room-dialog-messages").replaceChildren();
  byId("room-dialog").showModal();
  refreshRoom();
}

let refreshing = false;
async function refreshRoom() {
  if (refreshing) return;
  refreshing = true;
  const room = openRoom;
  const base = `/v1/rooms/${encodeURIComponent(room)}`;
  try {
    const [people, history] = await Promise.all([
      ask(`${base}/members`),
      ask(`${base}/messages?limit=${DETAIL_MESSAGES}`),
    ]);
    if (openRoom === room) drawRoom(room, people, history);
  } catch (error) {
    setText(byId("room-dialog-facts"), error.message);
  } finally {
    refreshing = false;
  }
}

function drawRoom(room, people, history) {
  const facts = rooms.find((each) => each.room === room);
  const kept = facts
    ? `${plural(facts.history_messages ?? 0, "message")} kept, ${bytes(facts.history_bytes ?? 0)}`
    : "";
  setText(
    byId("room-dialog-facts"),
    facts ? `epoch ${facts.epoch} · offset ${facts.offset} · ${kept}` : "",
  );
  const { members } = people;
  const total = people.member_count ?? members.length;
  setText(byId("room-dialog-count"), String(total));
  const chips = members
    .slice(0, DETAIL_MEMBERS)
    .map((member) =>
      el("li", { title: `client ${member.client}`, text: member.name ?? member.client }),
    );
  if (total > chips.length)
    chips.push(el("li", { class: "muted", text: `and ${total - chips.length} more` }));
  byId("room-dialog-members").replaceChildren(...chips);
  const lines = history.messages.map((message) =>
    el(
      "li",
      {},
      el("span", { class: "muted mono", text: `#${message.offset}` }),
      el("b", { text: message.from }),
      el("span", { class: "message-data", text: jsonLine(message.data) }),
    ),
  );
  byId("room-dialog-messages").replaceChildren(
    ...(lines.length > 0 ? lines : [el("li", { class: "muted", text: "None are kept." })]),
  );
}

function jsonLine(data) {
  const text = (typeof data === "string" ? data : jsonText(data)).replace(/\s+/g, " ");
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}

/** What was typed as the data it stands for: JSON where it is JSON, else the text itself. */
function typedData(text) {
  try {
    return { data: JSON.parse(text), isJson: true };
  } catch {
    return { data: text, isJson: false };
  }
}

function watchFilter(input, table) {
  byId(input).addEventListener("input", (event) => {
    table.filter = event.target.value;
  });
}
watchFilter("rooms-filter", roomsTable);
watchFilter("connections-filter", connectionsTable);
watchFilter("counters-filter", countersTable);
byId("counters-zero").addEventListener("change", drawCounters);

byId("publish-data").addEventListener("input", (event) => {
  const text = event.target.value;
  const { data, isJson } = typedData(text);
  const kind = Array.isArray(data)
    ? "a JSON array"
    : data === null
      ? "JSON null"
      : `a JSON ${typeof data}`;
  const words = text === "" ? "Text, or any JSON" : `Will be sent as ${isJson ? kind : "text"}`;
  setText(byId("publish-kind"), words);
});
byId("publish-data").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
    byId("publish-form").requestSubmit();
});
byId("publish-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const room = byId("publish-room").value;
  const from = byId("publish-from").value.trim();
  const { data } = typedData(byId("publish-data").value);
  const result = byId("publish-result");
  try {
    const answer = await ask(`/v1/rooms/${encodeURIComponent(room)}/messages`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(from ? { data, from } : { data }),
    });
    result.className = "good";
    setText(result, `Stored in ${room} at offset ${answer.offset}.`);
  } catch (error) {
    result.className = "bad";
    setText(result, `Not published: ${error.message}`);
  }
});

byId("room-dialog-close").addEventListener("click", () => byId("room-dialog").close());
byId("room-dialog").addEventListener("close", () => {
  openRoom = null;
});

keepAsking("/v1/stats", takeStats);
keepAsking(`/v1/rooms?limit=${MAX_LISTED}`, takeRooms);
const askConnections = keepAsking(`/v1/connections?limit=${MAX_LISTED}`, takeConnections);
