/**
 * The chat page: which rooms are open, what is typed, and what the gateway says.
 *
 * `roomwire.js` keeps the session and brings it back; `conversation.js` shows one room. Here the
 * two meet. The address after `#` names the room that is shown, so a link leads into a room and the
 * browser's own back and forward move between rooms. Names and open rooms are remembered in this
 * browser; the gateway is told no more than a name.
 */

import { Conversation, avatar, drawMembers, roomHref } from "./conversation.js";
import { dataSummary } from "./data_view.js";
import { byId, el, memory, plural, setText } from "./dom.js";
import { emptyState, emptyWords, wires } from "./guide.js";
import { inventName, nameProblem, roomProblem } from "./name.js";
import { closePanels } from "./panel.js";
import { Roomwire, isPattern, matches } from "./roomwire.js";

const FIRST_ROOM = "lobby";
const HISTORY_LIMIT = 50;
const MAX_ROOMS_REMEMBERED = 20;
const MAX_MEMBERS_SHOWN = 200;
const MAX_LIVE_ROOMS = 6;
const LIVE_ROOMS_EVERY_MS = 15_000;
/** Nobody is told of new names; a sender we do not know is a reason to ask, this seldom. */
const MEMBERS_AGAIN_MS = 10_000;
/** A connection that is back sooner was never worth a word. */
const BANNER_AFTER_MS = 700;
const MAX_OWN_REMEMBERED = 200;

const HELP =
  "/nick NAME · /join ROOM · /leave · /who · /json VALUE publishes any JSON · // begins a text with a slash";

const ui = {
  app: byId("app"),
  roomList: byId("room-list"),
  liveList: byId("live-list"),
  alsoLive: byId("also-live"),
  joinForm: byId("join-form"),
  joinRoom: byId("join-room"),
  title: byId("room-title"),
  subtitle: byId("room-subtitle"),
  connection: byId("connection"),
  connectionText: byId("connection-text"),
  banner: byId("banner"),
  bannerText: byId("banner-text"),
  retry: byId("retry"),
  conversations: byId("conversations"),
  jump: byId("jump"),
  hint: byId("hint"),
  composer: byId("composer"),
  text: byId("composer-text"),
  send: byId("send"),
  memberCount: byId("member-count"),
  memberList: byId("member-list"),
  moreMembers: byId("more-members"),
  wires: byId("wires"),
  allUnread: byId("all-unread"),
  announcer: byId("announcer"),
  nameDialog: byId("name-dialog"),
  nameInput: byId("name-input"),
  nameProblem: byId("name-problem"),
};

let name = memory.get("name", "");
if (typeof name !== "string" || nameProblem(name)) name = inventName();
memory.set("name", name);

const client = new Roomwire("/ws", { name });
/** @type {Map<string, Conversation & {tab: object}>} */
const conversations = new Map();
let active = null;
let lostAt = null;
let liveRooms = [];
let drawing = false;

function open(room) {
  const known = conversations.get(room);
  if (known) return known;
  const conversation = new Conversation(room, {
    pattern: isPattern(room),
    earlier: () => loadEarlier(conversation),
    resend: (line) => {
      conversation.timeline.drop(line);
      publish(conversation, line.data);
    },
    scrolled: () => {
      if (conversation.pinned) markRead(conversation);
      drawSoon();
    },
  });
  conversation.tab = makeTab(room);
  conversation.own = ownOffsets(room);
  conversations.set(room, conversation);
  ui.conversations.append(conversation.element);
  rememberRooms();
  enter(conversation);
  return conversation;
}

async function enter(conversation) {
  const { room } = conversation;
  conversation.state = "joining";
  drawSoon();
  try {
    await client.join(room, { presence: !conversation.pattern });
    conversation.state = "joined";
    if (!conversation.pattern) await loadHistory(conversation);
  } catch (error) {
    if (error.code !== "left" && conversation.state !== "joined") {
      conversation.state = `Could not join: ${error.message}`;
    }
  }
  conversation.ready = true;
  drawSoon();
}

async function loadHistory(conversation) {
  const page = await client.history(conversation.room, { limit: HISTORY_LIMIT });
  takePage(conversation, page);
  const [first] = page.messages;
  conversation.earlier.hidden = !first || first.offset <= 1 || page.messages.length < HISTORY_LIMIT;
}

async function loadEarlier(conversation) {
  const { oldest } = conversation.timeline;
  if (oldest === null) return;
  conversation.earlier.disabled = true;
  const since = { epoch: conversation.epoch, offset: Math.max(0, oldest - 1 - HISTORY_LIMIT) };
  try {
    const page = await client.history(conversation.room, { limit: HISTORY_LIMIT, since });
    const older = page.messages.filter((message) => message.offset < oldest);
    takePage(conversation, { ...page, messages: older });
    conversation.earlier.hidden = older.length < HISTORY_LIMIT || older[0].offset <= 1;
    if (older.length === 0) say("The gateway keeps nothing earlier.");
  } catch (error) {
    say(`No earlier messages: ${error.message}`);
  } finally {
    conversation.earlier.disabled = false;
    conversation.element.focus({ preventScroll: true });
  }
}

function takePage(conversation, page) {
  setEpoch(conversation, page.epoch);
  for (const message of page.messages) {
    const line = conversation.timeline.receive(message);
    if (line && conversation.own.offsets.has(message.offset)) {
      conversation.timeline.own(line);
    }
  }
  drawSoon();
}

function setEpoch(conversation, epoch) {
  conversation.epoch = epoch;
  const anew = conversation.timeline.setEpoch(epoch);
  if (conversation.own.epoch !== epoch) conversation.own = { epoch, offsets: new Set() };
  return anew;
}

function leave(room) {
  const conversation = conversations.get(room);
  if (!conversation) return;
  if (conversations.size === 1) {
    say("This is your only room. Join another one first.");
    return;
  }
  const rooms = [...conversations.keys()];
  const index = rooms.indexOf(room);
  conversations.delete(room);
  conversation.element.remove();
  conversation.tab.row.remove();
  client.leave(room).catch(() => {});
  rememberRooms();
  if (active === conversation) {
    active = null;
    go(rooms[index + 1] ?? rooms[index - 1]);
  }
  drawSoon();
}

function go(room) {
  if (location.hash === roomHref(room)) select(room);
  else location.hash = roomHref(room);
}

function select(room) {
  const conversation = open(room);
  if (active === conversation) return;
  if (active) {
    active.draft = ui.text.value;
    active.show(false);
    active.clearUnreadMark();
  }
  active = conversation;
  active.show(true);
  ui.text.value = active.draft;
  fitComposer();
  if (active.pinned) markRead(active);
  closePanels();
  draw();
}

function roomFromAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function join(room) {
  const problem = roomProblem(room);
  if (problem) {
    say(problem);
    return false;
  }
  go(room);
  return true;
}

function rememberRooms() {
  memory.set("rooms", [...conversations.keys()].slice(-MAX_ROOMS_REMEMBERED));
}

client.on("joined", (joined) => {
  const conversation = conversations.get(joined.room);
  if (!conversation) return;
  conversation.state = "joined";
  conversation.members = new Map(joined.members.map((member) => [member.client, member]));
  conversation.memberCount = joined.member_count ?? joined.members.length;
  if (conversation.pattern) return;
  const before = conversation.epoch;
  const anew = setEpoch(conversation, joined.epoch);
  if (anew && before) conversation.timeline.notice("The room started afresh while you were away.");
  drawSoon();
});

client.on("recovered", ({ room, recovered, epoch, from }) => {
  if (recovered || from?.epoch !== epoch) return;
  conversations
    .get(room)
    ?.timeline.notice("Some messages from while you were away are no longer kept.");
});

client.on("gap", ({ room, from, to }) => {
  const count = plural(to - from + 1, "message");
  conversations.get(room)?.timeline.notice(`${count} skipped: this connection was too slow.`, to);
});

client.on("message", (message) => {
  const exact = conversations.get(message.room);
  if (exact) {
    // Our own comes back under our name; which of its like it is, the offset tells later.
    const line = exact.timeline.receive(message, { own: message.from === name });
    if (line && exact.own.offsets.has(message.offset)) exact.timeline.own(line);
    if (line) arrived(exact, line, message);
  }
  for (const conversation of conversations.values()) {
    if (conversation.pattern && matches(conversation.room, message.room)) {
      arrived(conversation, conversation.timeline.append(message), message);
    }
  }
});

function arrived(conversation, line, message) {
  conversation.ready = true;
  if (!line.own) {
    const looking = conversation === active && !document.hidden;
    if (!looking) conversation.countUnread(line);
    else if (!conversation.pinned) conversation.unseen += 1;
    else announce(`${message.from}: ${dataSummary(message.data)}`);
    if (!conversation.pattern) meetSender(conversation, message.from);
  }
  drawTitle();
  drawSoon();
}

client.on("member_joined", ({ room, member }) => {
  const conversation = conversations.get(room);
  if (!conversation || conversation.members.has(member.client)) return;
  conversation.members.set(member.client, member);
  conversation.memberCount += 1;
  drawSoon();
});

client.on("member_left", ({ room, member }) => {
  const conversation = conversations.get(room);
  if (!conversation) return;
  conversation.members.delete(member.client);
  conversation.memberCount = Math.max(0, conversation.memberCount - 1);
  drawSoon();
});

client.on("error", ({ code, message, room }) => {
  const conversation = room && conversations.get(room);
  if (conversation) conversation.state = `No longer a member: ${message}`;
  else say(`${message} (${code})`);
  drawSoon();
});

client.on("state", ({ state }) => {
  if (state === "online") lostAt = null;
  else lostAt ??= Date.now();
  drawSoon();
});

async function meetSender(conversation, from) {
  const known = [...conversation.members.values()].some((m) => (m.name ?? m.client) === from);
  const now = Date.now();
  if (known || now - (conversation.askedMembersAt ?? 0) < MEMBERS_AGAIN_MS) return;
  conversation.askedMembersAt = now;
  await refreshMembers(conversation);
}

async function refreshMembers(conversation) {
  try {
    const { members, member_count: count } = await client.members(conversation.room);
    conversation.members = new Map(members.map((member) => [member.client, member]));
    conversation.memberCount = count ?? members.length;
    drawSoon();
  } catch {
    // The list we have is good enough; the next join brings another.
  }
}

function publish(conversation, data) {
  const line = conversation.timeline.pend(data, name, Date.now());
  conversation.toEnd();
  client
    .publish(conversation.room, data, { key: true })
    .then(
      ({ offset }) => {
        conversation.timeline.confirm(line, offset);
        rememberOwn(conversation, offset);
      },
      (error) => conversation.timeline.fail(line, error.message),
    )
    .finally(drawSoon);
  drawSoon();
}

function submit() {
  const typed = ui.text.value;
  if (typed.trim() === "" || !active || writingProblem(active)) return;
  if (typed.startsWith("//")) publish(active, typed.slice(1));
  else if (!typed.startsWith("/")) publish(active, typed);
  else if (!command(typed)) return;
  ui.text.value = "";
  fitComposer();
}

/** Obeys a line that begins with a slash; returns whether it was understood. */
function command(line) {
  const [, word, rest] = line.match(/^\/(\S*)\s*([\s\S]*)$/);
  const argument = rest.trim();
  switch (word.toLowerCase()) {
    case "nick": {
      const problem = nameProblem(argument);
      say(problem ?? `You are ${argument} now.`);
      if (!problem) rename(argument);
      return !problem;
    }
    case "join":
      return join(argument);
    case "leave":
      leave(argument || active.room);
      return true;
    case "who": {
      const names = [...active.members.values()].map((member) => member.name ?? member.client);
      active.timeline.notice(`Here now: ${names.join(", ") || "nobody"}`);
      return true;
    }
    case "json":
      try {
        publish(active, JSON.parse(argument));
        return true;
      } catch (error) {
        say(`Not JSON: ${error.message}`);
        return false;
      }
    case "help":
      say(HELP);
      return true;
    default:
      say(`There is no /${word}. Type /help for what there is.`);
      return false;
  }
}

function rename(next) {
  name = next;
  memory.set("name", name);
  const renamed = client.rename(name);
  renamed.then(
    () => {
      for (const conversation of conversations.values()) {
        const me = conversation.members.get(client.client);
        if (me) conversation.members.set(client.client, { ...me, name });
      }
      drawSoon();
    },
    (error) => say(`The gateway did not take the name: ${error.message}`),
  );
  draw();
}

function ownOffsets(room) {
  try {
    const { epoch, offsets } = JSON.parse(sessionStorage.getItem(`roomwire.own.${room}`));
    return { epoch, offsets: new Set(offsets) };
  } catch {
    return { epoch: null, offsets: new Set() };
  }
}

function rememberOwn(conversation, offset) {
  const { own, room } = conversation;
  own.offsets.add(offset);
  if (own.offsets.size > MAX_OWN_REMEMBERED) own.offsets.delete(own.offsets.values().next().value);
  try {
    const kept = { epoch: own.epoch, offsets: [...own.offsets] };
    sessionStorage.setItem(`roomwire.own.${room}`, JSON.stringify(kept));
  } catch {
    // As with `memory`: forgotten at the next reload, nothing worse.
  }
}

/** Once a frame, however much came. A hidden page draws when it is looked at again. */
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  if (!active) return;
  drawTitle();
  setText(ui.title, active.room);
  ui.title.title = active.room;
  setText(ui.subtitle, active.memberLine());
  setText(byId("me-name"), name);
  byId("me-avatar").replaceChildren(avatar(name));
  const closed = writingProblem(active);
  const invitation = closed ?? `Message ${active.room} as ${name}`;
  if (ui.text.placeholder !== invitation) ui.text.placeholder = invitation;
  ui.text.disabled = closed !== null;
  ui.send.disabled = closed !== null || ui.text.value.trim() === "";
  drawTabs();
  drawPeople();
  drawEmpty();
  drawConnection();
  ui.jump.hidden = active.pinned;
  setText(ui.jump, active.unseen ? `${plural(active.unseen, "new message")} ↓` : "Latest ↓");
  setText(ui.wires, wires(active.pattern ? FIRST_ROOM : active.room));
}

/** Why nothing can be written here, `null` where it can. Before the join it waits its turn. */
function writingProblem({ pattern, state }) {
  if (pattern) return "A pattern is only for reading";
  return state === "joined" || state === "joining" ? null : "You are not in this room";
}

function drawTitle() {
  if (!active) return;
  const unread = [...conversations.values()].reduce((sum, each) => sum + each.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ""}${active.room} · Roomwire`;
  ui.allUnread.hidden = unread === active.unread;
  setText(ui.allUnread, String(Math.min(unread - active.unread, 99)));
}

function makeTab(room) {
  const count = el("span", { class: "count", hidden: true });
  const link = el(
    "a",
    { href: roomHref(room), title: room },
    el("span", { class: "hash", "aria-hidden": "true", text: isPattern(room) ? "✳" : "#" }),
    el("span", { class: "room-name", text: room }),
    count,
  );
  const close = el("button", {
    type: "button",
    class: "leave",
    "aria-label": `Leave ${room}`,
    title: "Leave",
    text: "×",
    on: { click: () => leave(room) },
  });
  const row = el("li", { class: "room" }, link, close);
  ui.roomList.append(row);
  return { row, link, count, close };
}

function drawTabs() {
  for (const conversation of conversations.values()) {
    const { row, link, count, close } = conversation.tab;
    row.classList.toggle("unread", conversation.unread > 0);
    if (conversation === active) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    count.hidden = conversation.unread === 0;
    setText(count, conversation.unread > 99 ? "99+" : String(conversation.unread));
    count.setAttribute("aria-label", plural(conversation.unread, "unread message"));
    close.hidden = conversations.size === 1;
  }
  const others = liveRooms.filter((room) => !conversations.has(room.room)).slice(0, MAX_LIVE_ROOMS);
  ui.alsoLive.hidden = others.length === 0;
  const key = JSON.stringify(others);
  if (ui.liveList.dataset.key === key) return;
  ui.liveList.dataset.key = key;
  ui.liveList.replaceChildren(
    ...others.map(({ room, members }) =>
      el(
        "li",
        { class: "room" },
        el(
          "a",
          { href: roomHref(room), title: room },
          el("span", { class: "hash", "aria-hidden": "true", text: "#" }),
          el("span", { class: "room-name", text: room }),
          el("span", { class: "people", "aria-label": plural(members, "member"), text: members }),
        ),
      ),
    ),
  );
}

function drawPeople() {
  const { members, memberCount } = active;
  setText(ui.memberCount, active.pattern ? "" : String(memberCount));
  const shown = new Map([...members].slice(0, MAX_MEMBERS_SHOWN));
  drawMembers(ui.memberList, shown, client.client);
  const rest = memberCount - shown.size;
  ui.moreMembers.hidden = active.pattern || rest <= 0;
  setText(ui.moreMembers, `and ${rest.toLocaleString("en")} more`);
}

function drawEmpty() {
  const which = emptyState(active);
  if (active.emptyState === which) return;
  active.emptyState = which;
  active.setEmpty(...emptyWords(which, active));
}

function drawConnection() {
  const { state } = client;
  const seconds = Math.max(1, Math.ceil(((client.retryAt ?? 0) - Date.now()) / 1000));
  const words = {
    online: "Live",
    connecting: "Connecting",
    waiting: "Offline",
    closed: "Closed",
    idle: "Idle",
  };
  ui.connection.dataset.state = state;
  setText(ui.connectionText, words[state]);
  const lostFor = lostAt === null ? 0 : Date.now() - lostAt;
  const closed = state === "closed";
  ui.banner.hidden = state === "online" || (!closed && lostFor < BANNER_AFTER_MS);
  setText(ui.retry, closed ? "Connect again" : "Try now");
  ui.retry.disabled = state === "connecting";
  if (ui.banner.hidden) return;
  const next = state === "waiting" ? `Trying again in ${seconds} s.` : "Trying now…";
  const text = `The gateway cannot be reached. ${next} What you write is sent when it is back.`;
  setText(ui.bannerText, closed ? "The gateway ended this session." : text);
}

/** A word to the user that needs no answer, read aloud too. */
function say(text) {
  setText(ui.hint, text);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => setText(ui.hint, ""), 3_000 + text.length * 60);
}

function announce(text) {
  ui.announcer.append(el("p", { text }));
  while (ui.announcer.children.length > 5) ui.announcer.firstChild.remove();
}

function markRead(conversation) {
  if (!document.hidden && conversation === active) conversation.read();
}

/** On a phone the keyboard would cover what there is to see. */
function focusComposer() {
  if (matchMedia("(hover: hover)").matches) ui.text.focus();
}

function fitComposer() {
  ui.text.style.height = "auto";
  ui.text.style.height = `${ui.text.scrollHeight}px`;
  ui.send.disabled = ui.text.value.trim() === "";
}

ui.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
ui.text.addEventListener("keydown", (event) => {
  // An input method's Enter chooses a word and sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
ui.text.addEventListener("input", fitComposer);
ui.jump.addEventListener("click", () => {
  active.toEnd();
  markRead(active);
  drawSoon();
});
ui.joinForm.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!join(ui.joinRoom.value.trim())) return;
  ui.joinRoom.value = "";
  focusComposer();
});
ui.retry.addEventListener("click", () => {
  const again = client.state === "closed";
  client.connect();
  if (again) for (const conversation of conversations.values()) enter(conversation);
});
byId("skip").addEventListener("click", () => ui.text.focus());
byId("copy-link").addEventListener("click", async () => {
  const link = `${location.origin}/${roomHref(active.room)}`;
  try {
    await navigator.clipboard.writeText(link);
    say("Link copied.");
  } catch {
    say(`Copy it from here: ${link}`);
  }
});

byId("me").addEventListener("click", () => {
  ui.nameInput.value = name;
  setText(ui.nameProblem, "");
  ui.nameDialog.showModal();
  ui.nameInput.select();
});
byId("name-cancel").addEventListener("click", () => ui.nameDialog.close());
byId("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = ui.nameInput.value.trim();
  const problem = nameProblem(wanted);
  setText(ui.nameProblem, problem ?? "");
  if (problem) return;
  ui.nameDialog.close();
  if (wanted !== name) rename(wanted);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !ui.nameDialog.open) closePanels();
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    const rooms = [...conversations.keys()];
    const step = event.key === "ArrowDown" ? 1 : rooms.length - 1;
    event.preventDefault();
    go(rooms[(rooms.indexOf(active.room) + step) % rooms.length]);
  }
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    active?.clearUnreadMark();
    return;
  }
  if (active?.pinned) markRead(active);
  findLiveRooms();
  draw();
});
addEventListener("hashchange", () => {
  const room = roomFromAddress();
  if (!roomProblem(room)) select(room);
});

async function findLiveRooms() {
  if (document.hidden) return;
  try {
    const response = await fetch("/v1/rooms?limit=200", { signal: AbortSignal.timeout(5_000) });
    if (!response.ok) return;
    const { rooms } = await response.json();
    liveRooms = rooms
      .filter((room) => room.members > 0)
      .sort((a, b) => b.members - a.members || a.room.localeCompare(b.room))
      .slice(0, 50)
      .map(({ room, members }) => ({ room, members }));
    drawSoon();
  } catch {
    // A list of suggestions that does not come is not worth a word.
  }
}

setInterval(findLiveRooms, LIVE_ROOMS_EVERY_MS);
setInterval(() => client.state !== "online" && drawConnection(), 250);

const asked = roomFromAddress();
const first = asked && !roomProblem(asked) ? asked : null;
for (const room of memory.get("rooms", [])) {
  if (typeof room === "string" && !roomProblem(room)) open(room);
}
if (!first && conversations.size === 0) open(FIRST_ROOM);
const start = first ?? conversations.keys().next().value;
if (first) select(first);
else history.replaceState(null, "", roomHref(start));
select(start);
findLiveRooms();
focusComposer();
