/**
 * The page of live figures.
 *
 * Figures come by a stream that the gateway feeds once a second, with the last ten minutes at its
 * beginning. Rooms and connections are asked for every other second, each with at most one question
 * in flight and slowed down when its answer takes long, so that a page left open weighs nothing. A
 * hidden page neither listens nor asks. When the gateway is gone its last figures stay, greyed.
 */

import { Chart, Sparkline } from "./chart.js";
import { jsonText } from "./data_view.js";
import { byId, el, plural, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { Figures, bytes, count, duration, inUnit, micros, perSecond, percent } from "./figures.js";
import { Table } from "./table.js";

const FIGURES = "/v1/stats/events";
const EVERY_MS = 2_000;
const TIMEOUT_MS = 5_000;
/** A question may take this share of the time between two; chosen to stay unnoticed. */
const BUSY_SHARE = 0.1;
const SLOWEST_MS = 15_000;
/** How long after a key a search begins; chosen: between two letters of a word. */
const TYPING_MS = 200;
const CONFIRM_MS = 3_000;
const MAX_SUGGESTIONS = 100;
/** The most that the gateway lists. */
const MAX_LISTED = 1_000;
const DETAIL_MEMBERS = 100;
const DETAIL_MESSAGES = 10;
/** Workers of which each has a line of its own: more could not be told apart. */
const MAX_LINES = 4;

const figures = new Figures();
let rooms = [];
let connections = [];
let openRoom = null;
let state = "none";
let heardAt = null;
/** What went wrong with each question. */
const failures = new Map();

class Problem extends Error {}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.ok) return response.status === 204 ? null : response.json();
  // The page that asks for the token is at the same address.
  if (response.status === 401) location.reload();
  const problem = await response.json().catch(() => ({}));
  throw new Problem(problem.detail || problem.title || `${path} answered ${response.status}`);
}

/** Asks one question again and again, for as long as the page is looked at. */
function keepAsking(name, path, take) {
  let timer = null;
  let asking = false;
  let again = false;
  const round = async () => {
    clearTimeout(timer);
    if (document.hidden || state === "unreachable" || state === "stopped") return;
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    const began = performance.now();
    let pause = EVERY_MS;
    try {
      take(await ask(path()));
      failures.delete(name);
      pause = Math.min(SLOWEST_MS, Math.max(EVERY_MS, (performance.now() - began) / BUSY_SHARE));
    } catch (error) {
      failures.set(name, error);
    }
    asking = false;
    drawState();
    const spent = performance.now() - began;
    timer = setTimeout(round, again ? 0 : Math.max(50, pause - spent));
  };
  document.addEventListener("visibilitychange", round);
  return round;
}

const tiles = [
  tile("Sessions", "sessions", count),
  tile("Rooms", "rooms", count),
  tile("Messages in", "in", perSecond, "per second"),
  tile("Messages out", "out", perSecond, "per second"),
  tile("Drops and errors", "troubles", perSecond, "per second"),
];

function tile(label, key, format, unit = "") {
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
  return { element, key, format, value, note, spark: new Sparkline(element) };
}

/** Title, how values are said, `[series, name in the legend]` for each line, and the unit's base. */
const CHARTS = [
  ["Messages per second", perSecond, [["in"], ["out"]]],
  [
    "Received per second",
    perSecond,
    [
      ["in_websocket", "WebSocket"],
      ["in_tcp", "TCP"],
      ["in_udp", "UDP"],
      ["in_http", "HTTP"],
    ],
  ],
  [
    "Sent per second",
    perSecond,
    [
      ["out_http", "WebSocket, SSE"],
      ["out_tcp", "TCP"],
      ["out_udp", "UDP"],
    ],
  ],
  [
    "From publish to flush",
    micros,
    [
      ["flush_p50", "half"],
      ["flush_p90", "90 %"],
      ["flush_p99", "99 %"],
      ["flush_p999", "99.9 %"],
    ],
  ],
  [
    "HTTP requests",
    micros,
    [
      ["request_p50", "half"],
      ["request_p99", "99 %"],
    ],
  ],
  [
    "Workers, 99 %",
    micros,
    [
      ["turn_p99", "turn"],
      ["lag_p99", "lag"],
    ],
  ],
  ["Sessions", count, [["sessions"]]],
  [
    "Bytes per second",
    bytes,
    [
      ["bytes_in", "read"],
      ["bytes_out", "written"],
    ],
    1024,
  ],
  [
    "Memory",
    bytes,
    [
      ["memory", "process"],
      ["outbox", "waiting to be sent"],
    ],
    1024,
  ],
];
let charts = [];

const feed = new Feed(FIGURES, {
  hello(hello) {
    figures.greet(hello);
    drawCharts(hello);
    drawFacts(hello);
    askRooms();
    askConnections();
  },
  sample(sample) {
    figures.take(sample);
    state = sample.state;
    heardAt = sample.unix_ms;
    drawFigures(sample);
  },
  lost(ended) {
    state = ended ? "stopped" : "unreachable";
    drawState();
    // A stream that was refused does not say why; whoever asks for it plainly is told.
    if (!ended) fetch(FIGURES, { method: "HEAD" }).then(reloadIfRefused, () => {});
  },
});

function reloadIfRefused(response) {
  if (response.status === 401) location.reload();
}

function drawCharts(hello) {
  const cpu = hello.series.filter((series) => /^cpu_\d+$/.test(series.name));
  const each = cpu.length <= MAX_LINES;
  const lines = each
    ? cpu.map((series, worker) => [series.name, `worker ${worker}`])
    : [
        [null, "busiest"],
        [null, "on average"],
        [null, "least busy"],
      ];
  const spread = (sample) => {
    const values = sample.values.filter((value) => value !== null);
    if (values.length === 0) return [null, null, null];
    const sum = values.reduce((all, value) => all + value, 0);
    return [Math.max(...values), sum / values.length, Math.min(...values)];
  };
  const names = cpu.map((series) => series.name);
  const cpuSeries = each
    ? () => feed.series(names)
    : () => feed.series(names).map((sample) => ({ at: sample.at, values: spread(sample) }));
  const all = CHARTS.map(([title, format, of, unit]) => ({
    title,
    format,
    of,
    unit,
    read: () => feed.series(of.map(([name]) => name)),
  }));
  all.splice(6, 0, { title: "CPU of the workers", format: percent, of: lines, read: cpuSeries });
  byId("charts").replaceChildren();
  charts = all.map(({ title, format, of, unit, read }) => ({
    read,
    view: new Chart(byId("charts"), {
      title,
      format,
      names: of.map(([name, label]) => label ?? name),
      unit: unit ?? 1,
    }),
  }));
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
    [each.id, each.wire, each.listener, each.peer, each.name, each.rooms.join(" ")].join(" "),
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

const listenersTable = new Table(byId("listeners-table"), {
  caption: "Listeners",
  noun: ["listener"],
  key: (each) => `${each.others} ${each.label}`,
  text: (each) => [each.label, each.protocol, each.handler, each.address].join(" "),
  sort: { column: 3, down: true },
  empty: "This gateway listens nowhere.",
  columns: [
    { label: "Name", class: "name", sort: (each) => each.label, cell: (each) => each.label },
    {
      label: "Protocol",
      class: "less",
      sort: (each) => each.protocol ?? "",
      cell: (each) => each.protocol ?? "–",
    },
    {
      label: "Address",
      class: "mono less",
      sort: (each) => each.address ?? "",
      cell: (each) => each.address ?? "–",
    },
    blockNumber("Sessions", "listener_sessions"),
    blockNumber("Opened", "listener_sessions_opened_total", "less"),
    blockNumber("Refused", "listener_refused_total", "less"),
    blockNumber("Failed", "listener_sessions_failed_total", "less"),
    blockRate("Frames out/s", "listener_frames_out_total", perSecond),
    blockRate("Requests/s", "listener_http_requests_total", perSecond, "less"),
    blockRate("In/s", "listener_bytes_in_total", bytes, "less"),
    blockRate("Out/s", "listener_bytes_out_total", bytes, "less"),
  ],
});

const workersTable = new Table(byId("workers-table"), {
  caption: "Workers",
  noun: ["worker"],
  key: (each) => String(each.worker),
  text: (each) => `worker ${each.worker}`,
  sort: { column: 0, down: false },
  empty: "There are no figures yet.",
  columns: [
    number("Worker", (each) => each.worker, String),
    {
      label: "CPU",
      class: "busy",
      sort: busyShare,
      make: () => el("meter", { min: "0", max: "100", high: "85", optimum: "0" }),
      update: (meter, each) => {
        const share = Math.round(busyShare(each));
        if (meter.value !== share) meter.value = share;
        meter.title = `${share} %`;
        meter.setAttribute("aria-label", `CPU of worker ${each.worker}: ${share} %`);
      },
    },
    number("Busy", busyShare, percent),
    number("Sessions", (each) => each.figures.sessions, count, "less"),
    number("In/s", (each) => each.rates.hub_publishes_total ?? null, perSecond),
    number("Out/s", (each) => each.rates.hub_deliveries_total ?? null, perSecond),
    number("Turns/s", (each) => each.rates.worker_turns_total ?? null, perSecond, "less"),
  ],
});

/** Microseconds of CPU in a second, as a share of it. */
function busyShare(each) {
  return (each.rates.worker_cpu_us ?? 0) / 10_000;
}

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
        span.classList.toggle("trouble", row.trouble && row.value > 0);
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

function blockNumber(label, name, extra = "") {
  return number(label, (each) => each.figures[name] ?? 0, count, extra);
}

function blockRate(label, name, format, extra = "") {
  return number(label, (each) => each.rates[name] ?? null, format, extra);
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

function drawFigures(sample) {
  for (const each of tiles) {
    const series = feed.series([each.key]);
    each.spark.draw(series, sample.at_ms);
    setText(each.value, each.format(series.at(-1)?.values[0] ?? null));
    setText(each.note, tileNote(each));
  }
  for (const each of charts) each.view.draw(each.read(), sample.at_ms);
  const { hello } = feed;
  setText(byId("up"), duration(sample.unix_ms - hello.start_unix_ms));
  const known = new Map(hello.listeners.map((listener) => [listener.name, listener]));
  const blocks = figures.blocks.filter((block) => block.kind === "listener");
  const used = blocks.filter((block) => !block.others || block.figures.listener_sessions_opened_total);
  listenersTable.draw(used.map((block) => ({ ...known.get(block.label), ...block })));
  workersTable.draw(figures.workers);
  drawCounters();
  drawState();
}

function tileNote({ key, element }) {
  switch (key) {
    case "sessions":
      return `${count(figures.value("sessions_opened_total"))} since the start`;
    case "rooms":
      return `${plural(
        rooms.reduce((sum, room) => sum + room.members, 0),
        "seat",
      )} taken`;
    case "in":
      return `${count(figures.value("hub_publishes_total"))} since the start`;
    case "out": {
      const [out, into] = ["hub_deliveries_total", "hub_publishes_total"].map((name) =>
        figures.value(name),
      );
      return into ? `${count(out)} since the start, ${(out / into).toFixed(1)} for each in` : "";
    }
    default: {
      const worst = figures.troubles().filter((row) => row.value > 0);
      const total = worst.reduce((sum, row) => sum + row.value, 0);
      element.classList.toggle("alarm", (worst[0]?.rate ?? 0) > 0);
      return total === 0
        ? "none since the start"
        : `${count(total)} since the start, most: ${worst[0].name}`;
    }
  }
}

function drawFacts(hello) {
  const facts = [
    ["instance", hello.instance],
    ["pid", hello.pid],
    ["version", hello.version],
    ["workers", hello.workers],
  ];
  const fact = (name, value) => el("div", {}, el("dt", { text: name }), value);
  const up = el("dd", { id: "up", text: "–" });
  byId("facts").replaceChildren(
    ...facts.map(([name, value]) => fact(name, el("dd", { text: String(value) }))),
    fact("up", up),
  );
}

function drawCounters() {
  const all = [...figures.rows.values()];
  const shown = byId("counters-zero").checked ? all : all.filter((row) => row.value !== 0);
  countersTable.draw(shown);
  setText(byId("counters-count"), `${shown.length} of ${all.length}`);
}

/** Words of the gateway's own state, and for no answer at all. */
function drawState() {
  byId("state").dataset.state = state;
  setText(byId("state-text"), state === "none" ? "Asking…" : state);
  const gone = state === "unreachable" || state === "stopped";
  document.body.classList.toggle("stale", gone);
  const drain = byId("drain");
  drain.disabled = state !== "running";
  setText(drain, state === "draining" ? "Draining…" : "Drain…");
  const words = bannerWords(gone);
  const banner = byId("banner");
  banner.hidden = !words;
  banner.classList.toggle("calm", state === "draining" || state === "stopped");
  if (words) setText(banner, words);
}

function bannerWords(gone) {
  const figuresOf = heardAt ? ` The figures are of ${new Date(heardAt).toLocaleTimeString()}.` : "";
  if (state === "stopped") return `The gateway has drained and ended.${figuresOf}`;
  if (gone) return `The gateway does not answer.${figuresOf} Asking again every few seconds.`;
  if (state === "draining") {
    const left = plural(figures.value("sessions") ?? 0, "session");
    return `The gateway is draining: it takes no new connections, ${left} are left, this page's among them.`;
  }
  const [name, problem] = [...failures][0] ?? [];
  if (!problem) return "";
  return problem instanceof Problem
    ? `The gateway refuses to list ${name}: ${problem.message}`
    : `The gateway does not answer when asked for ${name}.`;
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
  const total = search("connections") ? connections.length : figures.value("sessions");
  setText(byId("connections-count"), listed(connections.length, total));
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

function search(what) {
  return byId(`${what}-filter`).value.trim();
}

/** The gateway searches all there are; the table what is listed, at once. */
function listPath(what, more = "") {
  const words = search(what);
  const searching = words ? `&search=${encodeURIComponent(words)}` : "";
  return `/v1/${what}?limit=${MAX_LISTED}${more}${searching}`;
}

function watchFilter(input, table, searchAgain = () => {}) {
  let typing = null;
  byId(input).addEventListener("input", (event) => {
    table.filter = event.target.value;
    clearTimeout(typing);
    typing = setTimeout(searchAgain, TYPING_MS);
  });
}

const askRooms = keepAsking("rooms", () => listPath("rooms", "&order=members"), takeRooms);
const askConnections = keepAsking(
  "connections",
  () => listPath("connections"),
  takeConnections,
);
watchFilter("rooms-filter", roomsTable, askRooms);
watchFilter("connections-filter", connectionsTable, askConnections);
watchFilter("listeners-filter", listenersTable);
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

byId("drain").addEventListener("click", () => {
  const { drain_ms: span } = feed.hello;
  const sessions = plural(figures.value("sessions") ?? 0, "session");
  setText(byId("drain-dialog-facts"), `${sessions} now, ${duration(span)} at the most.`);
  setText(byId("drain-dialog-result"), "");
  byId("drain-dialog").showModal();
});
byId("drain-cancel").addEventListener("click", () => byId("drain-dialog").close());
byId("drain-confirm").addEventListener("click", async () => {
  try {
    await ask("/v1/drain", { method: "POST" });
    byId("drain-dialog").close();
  } catch (error) {
    setText(byId("drain-dialog-result"), `Not draining: ${error.message}`);
  }
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) feed.stop();
  else feed.start();
});
if (!document.hidden) feed.start();
