/**
 * The client of `roomwire.v1` for browsers and for Node, in one file without dependencies.
 *
 * It owns one WebSocket at a time and everything that must outlive it: the rooms the user is in,
 * the position reached in each of them, and the commands that still wait for an answer. After a
 * lost connection it says hello again, joins every room `since` its position and sends again
 * what may safely be sent twice. It draws nothing and stores nothing.
 *
 * Every wait and every queue has a bound; see `DEFAULTS`.
 */

const SUBPROTOCOL = "roomwire.v1";

/** Milliseconds unless said otherwise. Each can be overridden in the constructor's options. */
export const DEFAULTS = Object.freeze({
  /** First reconnect delay and its ceiling: doubling with full jitter, as centrifuge-js does. */
  reconnectBaseMs: 500,
  reconnectCapMs: 20_000,
  /** A connection that held this long starts the doubling anew. Chosen: shorter ones are flapping. */
  stableMs: 5_000,
  /** Silence after which the client asks whether the gateway is there (the gateway's own ping
   *  frames are invisible to a page), and how long it waits for an answer. */
  pingAfterMs: 25_000,
  pongWaitMs: 10_000,
  /** From the start of a connection to `welcome`. */
  connectTimeoutMs: 10_000,
  /** From the write of a command to its answer; waiting for a connection does not count. */
  commandTimeoutMs: 15_000,
  /** Commands without an answer, queued and sent together. One more is refused at once. */
  maxPending: 256,
  /** Connections on which one command is tried, so that a poisonous one cannot reconnect forever. */
  maxSends: 3,
});

/** Offsets of own messages that were not echoed, remembered per room until the position passes. */
const MAX_SILENT = 256;

/** Why a command failed: `code` is the gateway's (`error` on the wire) or one of ours:
 *  `closed`, `connection_lost`, `timeout`, `too_many_pending`, `left`. */
export class RoomwireError extends Error {
  constructor(code, message, detail = undefined) {
    super(message || code);
    this.name = "RoomwireError";
    this.code = code;
    this.detail = detail;
  }
}

/** What the gateway may be asked twice without harm. `publish` joins them when it carries a key. */
const REPEATABLE = new Set(["hello", "join", "leave", "history", "members"]);

/** Codes that mean "later": a rejoin that meets one is tried again instead of given up. */
const TEMPORARY = new Set(["overloaded", "rate_limited", "shutting_down", "timeout"]);

const SYSTEM_CLOCK = Object.freeze({
  now: () => Date.now(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
});

/**
 * One session with a gateway.
 *
 * States: `idle` → `connecting` → `online`, from both of the latter to `waiting` (a retry is
 * scheduled, `retryAt` says when) and back; `closed` after `close()` or a final goodbye.
 *
 * Events (`CustomEvent`, the facts are in `detail`; `on(type, handler)` hands over the detail):
 * `state`, `joined`, `recovered`, `message`, `member_joined`, `member_left`, `request`, `gap`,
 * `goodbye`, `error`.
 */
export class Roomwire extends EventTarget {
  #url;
  #name;
  #token;
  #options;
  #WebSocket;
  #clock;
  #random;
  #network;

  #state = "idle";
  #client = null;
  #socket = null;
  #goodbye = null;
  #failures = 0;
  #retryAt = null;
  #onlineSince = 0;
  #receivedAt = 0;
  #heard = false;
  #reconnectTimer = null;
  #connectTimer = null;
  #keepaliveTimer = null;

  #nextId = 1;
  #nextKey = 1;
  #keyPrefix = null;
  /** Commands without an answer by id, in the order in which they were given. */
  #pending = new Map();
  /** What we are in, or want to be in, by room name or pattern. */
  #rooms = new Map();

  /**
   * @param {string | URL} url `ws:`, `wss:`, `http:` or `https:`; relative to the page in a browser.
   * @param {object} [options] `name`, `token`, `WebSocket` (the class; Node 20 has none of its own),
   *   `clock` and `random` for tests, `network` (an EventTarget with `online`/`offline`), and every
   *   entry of `DEFAULTS`.
   */
  constructor(url, options = {}) {
    super();
    this.#url = socketUrl(url);
    this.#name = options.name ?? null;
    this.#token = options.token ?? null;
    this.#options = { ...DEFAULTS, ...options };
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#random = options.random ?? Math.random;
    this.#network = options.network ?? (globalThis.addEventListener ? globalThis : null);
    if (typeof this.#WebSocket !== "function") {
      throw new TypeError("no WebSocket class here: pass one, such as that of the package `ws`");
    }
  }

  get url() {
    return this.#url;
  }
  get state() {
    return this.#state;
  }
  /** The id the gateway gave this session, `null` before the first `welcome`. */
  get client() {
    return this.#client;
  }
  get name() {
    return this.#name;
  }
  /** When the next attempt begins (`clock.now()` milliseconds), `null` unless `waiting`. */
  get retryAt() {
    return this.#retryAt;
  }
  get pending() {
    return this.#pending.size;
  }
  get rooms() {
    return [...this.#rooms.keys()];
  }

  /** The position reached in a room, `null` where it is not known. */
  position(room) {
    const seat = this.#rooms.get(room);
    return seat?.epoch == null ? null : { epoch: seat.epoch, offset: seat.offset };
  }

  /** Like `addEventListener`, but hands over the event's detail; returns what undoes it. */
  on(type, handler) {
    const listener = (event) => handler(event.detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  /** Begins to connect, or retries at once while waiting. Commands do the first by themselves. */
  connect() {
    if (this.#state === "idle" || this.#state === "closed") {
      this.#failures = 0;
      this.#network?.addEventListener("online", this.#onNetworkOnline);
      this.#network?.addEventListener("offline", this.#onNetworkOffline);
      this.#open();
    } else if (this.#state === "waiting") {
      this.#open();
    }
    return this;
  }

  /** Ends the session for good: what still waits is rejected with `closed`. Idempotent. */
  close(reason = "closed by the application") {
    this.#shut(reason, 1000);
  }

  /**
   * Enters a room or a pattern and stays in it across reconnects until `leave`.
   * Missed messages, where `since` is given, arrive as `message` events after the answer.
   *
   * @param {{presence?: boolean, since?: {epoch: string, offset: number}}} [options]
   * @returns {Promise<{room: string, epoch: string, offset: number, members: {client: string,
   *   name: string | null}[], member_count: number, recovered?: boolean}>}
   */
  join(room, { presence = false, since = null } = {}) {
    const known = this.#rooms.get(room);
    const seat = known ?? { room, presence, epoch: null, offset: 0, target: null, silent: new Set() };
    seat.presence = presence;
    if (since) {
      seat.epoch = since.epoch;
      seat.offset = since.offset;
    }
    this.#rooms.set(room, seat);
    const joined = this.#submit("join", () => joinFields(seat), { seat });
    joined.catch(() => {
      // A refused first join leaves no seat behind that a reconnect would try again.
      if (!known && this.#rooms.get(room) === seat && !seat.seated) this.#rooms.delete(room);
    });
    return joined;
  }

  /** Leaves; without a connection there is nobody to tell and it is done at once. */
  leave(room) {
    this.#rooms.delete(room);
    for (const command of [...this.#pending.values()]) {
      if (command.type === "join" && command.seat.room === room) {
        this.#settle(command, new RoomwireError("left", `left ${room} before it was joined`));
      }
    }
    if (this.#state !== "online") return Promise.resolve({ type: "left", room });
    return this.#submit("leave", () => ({ room }));
  }

  /**
   * Publishes any JSON value. With a `key` (`true` makes one) the gateway stores the message once
   * however often it arrives, so it is sent again after a reconnect; without a key a message whose
   * answer was lost is rejected with `connection_lost`, and may or may not have been delivered.
   *
   * @param {{echo?: boolean, key?: string | boolean}} [options]
   * @returns {Promise<{room: string, offset: number}>}
   */
  publish(room, data, { echo = true, key = null } = {}) {
    const fields = { room, data: data === undefined ? null : data };
    if (!echo) fields.echo = false;
    if (key) fields.key = key === true ? this.#makeKey() : key;
    return this.#submit("publish", () => fields, { repeatable: Boolean(key), echo });
  }

  /** The newest `limit` messages, or with `since` the first `limit` after it, ascending. */
  history(room, { limit = 50, since = null } = {}) {
    return this.#submit("history", () => (since ? { room, limit, since } : { room, limit }));
  }

  members(room) {
    return this.#submit("members", () => ({ room }));
  }

  /** Asks all members of a room; `mode` is `all`, `all_settled`, `race` or `any`. */
  request(room, data, { mode = "all_settled", timeoutMs = 5_000 } = {}) {
    const fields = { room, data, mode, timeout_ms: timeoutMs };
    // The gateway ends the request; our own clock only covers for a gateway that went away.
    const patience = timeoutMs + this.#options.pongWaitMs;
    return this.#submit("request", () => fields, { timeoutMs: patience });
  }

  /** Answers a `request` event. Nothing comes back, so without a connection it is lost. */
  reply(request, data) {
    return this.#write({ type: "reply", request, data });
  }

  /** The milliseconds until the gateway answered. */
  async ping() {
    const began = this.#clock.now();
    await this.#submit("ping", () => ({}));
    return this.#clock.now() - began;
  }

  /** Changes the name others see, now or with the next `hello`. */
  rename(name) {
    this.#name = name;
    if (this.#state !== "online") return Promise.resolve({ type: "welcome", name });
    return this.#submit("hello", () => this.#helloFields());
  }

  #makeKey() {
    if (this.#keyPrefix === null) {
      const bytes = globalThis.crypto.getRandomValues(new Uint8Array(9));
      this.#keyPrefix = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    return `${this.#keyPrefix}-${this.#nextKey++}`;
  }

  #helloFields() {
    const fields = {};
    if (this.#token !== null) fields.token = this.#token;
    if (this.#name !== null) fields.name = this.#name;
    return fields;
  }

  #submit(type, fields, extra = {}) {
    if (this.#state === "closed") {
      return Promise.reject(new RoomwireError("closed", "the session is closed"));
    }
    if (this.#pending.size >= this.#options.maxPending) {
      const message = `${this.#pending.size} commands wait for an answer already`;
      return Promise.reject(new RoomwireError("too_many_pending", message));
    }
    if (this.#state === "idle") this.connect();
    return new Promise((resolve, reject) => {
      const command = this.#register(type, fields, { ...extra, resolve, reject });
      if (this.#state === "online" && !this.#goodbye) this.#send(command);
    });
  }

  #register(type, fields, extra) {
    const command = {
      id: this.#nextId++,
      type,
      fields,
      repeatable: REPEATABLE.has(type),
      timeoutMs: this.#options.commandTimeoutMs,
      sends: 0,
      sent: false,
      timer: null,
      ...extra,
    };
    this.#pending.set(command.id, command);
    return command;
  }

  /** Sends a command of ours, which no bound on the user's commands may keep back. */
  #internal(type, fields, extra) {
    const command = this.#register(type, fields, { repeatable: false, internal: true, ...extra });
    this.#send(command);
  }

  #send(command) {
    command.sent = true;
    command.sends += 1;
    command.timer = this.#clock.setTimeout(() => {
      const message = `no answer to ${command.type} within ${command.timeoutMs} ms`;
      this.#settle(command, new RoomwireError("timeout", message));
    }, command.timeoutMs);
    this.#write({ type: command.type, id: command.id, ...command.fields() });
  }

  #write(frame) {
    // 1 is WebSocket.OPEN; a socket that is closing already swallows the frame, and its `close`
    // event decides what becomes of the command.
    if (!this.#socket || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #settle(command, error, answer) {
    this.#pending.delete(command.id);
    this.#clock.clearTimeout(command.timer);
    if (error) command.reject?.(error);
    else command.resolve?.(answer);
  }

  #open() {
    this.#clock.clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = null;
    this.#retryAt = null;
    this.#goodbye = null;
    this.#enter("connecting");
    let socket;
    try {
      socket = new this.#WebSocket(this.#url, [SUBPROTOCOL]);
    } catch (error) {
      this.#lost({ reason: String(error?.message ?? error) });
      return;
    }
    this.#socket = socket;
    // A socket we gave up may still speak; only the current one is listened to.
    const current = (handle) => (event) => {
      if (this.#socket === socket) handle(event);
    };
    socket.onopen = current(() => this.#hello());
    socket.onmessage = current((event) => this.#receive(event.data));
    socket.onclose = current((event) => this.#lost({ code: event.code, reason: event.reason }));
    // An `error` says nothing that the `close` after it does not; without a handler `ws` throws.
    socket.onerror = () => {};
    this.#connectTimer = this.#clock.setTimeout(
      () => this.#drop("the gateway did not welcome us in time"),
      this.#options.connectTimeoutMs,
    );
  }

  #hello() {
    this.#internal("hello", () => this.#helloFields(), {
      timeoutMs: this.#options.connectTimeoutMs,
      resolve: (welcome) => this.#welcomed(welcome),
      reject: (error) => {
        if (error.code === "connection_lost" || error.code === "closed") return;
        this.#emit("error", { code: error.code, message: error.message });
        this.#drop(error.message);
      },
    });
  }

  #welcomed(welcome) {
    this.#clock.clearTimeout(this.#connectTimer);
    this.#client = welcome.client;
    this.#onlineSince = this.#clock.now();
    this.#enter("online");
    for (const seat of this.#rooms.values()) {
      const waiting = [...this.#pending.values()].some((c) => c.type === "join" && c.seat === seat);
      if (!waiting) this.#rejoin(seat);
    }
    for (const command of [...this.#pending.values()]) {
      if (!command.sent && this.#state === "online") this.#send(command);
    }
    this.#watchSilence();
  }

  #rejoin(seat) {
    this.#internal("join", () => joinFields(seat), {
      seat,
      reject: (error) => {
        if (this.#rooms.get(seat.room) !== seat) return;
        if (error.code === "connection_lost" || error.code === "closed") return;
        if (TEMPORARY.has(error.code)) {
          const socket = this.#socket;
          this.#clock.setTimeout(() => {
            const still = this.#socket === socket && this.#rooms.get(seat.room) === seat;
            if (still && this.#state === "online") this.#rejoin(seat);
          }, this.#backoff(1));
          return;
        }
        this.#rooms.delete(seat.room);
        this.#emit("error", { code: error.code, message: error.message, room: seat.room });
      },
    });
  }

  #receive(text) {
    this.#receivedAt = this.#clock.now();
    this.#heard = true;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#emit("error", { code: "bad_json", message: "the gateway sent what is not JSON" });
      return;
    }
    const command = frame.id === undefined ? undefined : this.#pending.get(frame.id);
    if (frame.type === "error") {
      const error = new RoomwireError(frame.code, frame.message, frame);
      if (command) this.#settle(command, error);
      else this.#emit("error", { code: frame.code, message: frame.message });
    } else if (command) {
      this.#answered(command, frame);
    } else {
      this.#pushed(frame);
    }
  }

  #answered(command, frame) {
    if (command.type === "join") {
      this.#seated(command, frame);
    } else if (command.type === "publish" && !command.echo && frame.offset !== undefined) {
      this.#keepSilent(frame.room, frame.offset);
    }
    this.#settle(command, null, frame);
  }

  #seated(command, frame) {
    const seat = command.seat;
    if (this.#rooms.get(seat.room) !== seat) return;
    const resumed = frame.recovered !== undefined;
    const from = resumed ? { epoch: seat.epoch, offset: seat.offset } : null;
    if (!resumed) {
      seat.epoch = frame.epoch ?? null;
      seat.offset = frame.offset ?? 0;
    } else if (seat.epoch !== frame.epoch) {
      seat.epoch = frame.epoch;
      seat.offset = 0;
      seat.silent.clear();
    }
    seat.seated = true;
    seat.target = frame.offset > seat.offset ? frame.offset : null;
    this.#emit("joined", { ...frame, resumed, from });
    if (resumed) {
      const { room, epoch, offset, recovered } = frame;
      this.#emit("recovered", { room, epoch, offset, recovered, from });
    }
    // Not every missed message need still exist, so the position may not reach the answer's offset
    // by itself. What the gateway sends on a session is in order: after this pong nothing is
    // missing any more, and a connection lost earlier resumes from where we really were.
    if (seat.target !== null) {
      this.#internal("ping", () => ({}), {
        resolve: () => {
          if (seat.target !== null) this.#advance(seat, seat.target);
          seat.target = null;
        },
      });
    }
  }

  #pushed(frame) {
    switch (frame.type) {
      case "message":
        this.#message(frame);
        break;
      case "gap": {
        const seat = this.#rooms.get(frame.room);
        if (seat) this.#advance(seat, frame.to);
        this.#emit("gap", frame);
        break;
      }
      case "goodbye":
        this.#goodbye = frame;
        this.#emit("goodbye", frame);
        // The gateway closes after a goodbye. One that does not is left, so that we get on.
        this.#clock.clearTimeout(this.#connectTimer);
        this.#connectTimer = this.#clock.setTimeout(
          () => this.#drop(frame.reason),
          this.#options.pongWaitMs,
        );
        break;
      case "member_joined":
      case "member_left":
      case "request":
        this.#emit(frame.type, frame);
        break;
      default:
        // Types of later versions, and answers that came after their timeout.
        break;
    }
  }

  #message(frame) {
    const seat = this.#rooms.get(frame.room);
    let replayed = false;
    if (seat && seat.epoch !== null) {
      if (frame.offset <= seat.offset || seat.silent.has(frame.offset)) return;
      replayed = seat.target !== null && frame.offset <= seat.target;
      this.#advance(seat, frame.offset);
    }
    this.#emit("message", { ...frame, replayed });
  }

  #advance(seat, offset) {
    if (offset > seat.offset) seat.offset = offset;
    while (seat.silent.delete(seat.offset + 1)) seat.offset += 1;
  }

  /** An own message that is not echoed: a resume must neither wait for it nor replay it. */
  #keepSilent(room, offset) {
    const seat = this.#rooms.get(room);
    if (!seat || seat.epoch === null || offset <= seat.offset) return;
    seat.silent.add(offset);
    if (seat.silent.size > MAX_SILENT) seat.silent.delete(seat.silent.values().next().value);
    this.#advance(seat, seat.offset);
  }

  /** Asks for a sign of life after silence: a dead path closes no WebSocket by itself. */
  #watchSilence(askNow = false) {
    this.#clock.clearTimeout(this.#keepaliveTimer);
    const { pingAfterMs, pongWaitMs } = this.#options;
    const quietFor = this.#clock.now() - this.#receivedAt;
    if (!askNow && quietFor < pingAfterMs) {
      const rest = pingAfterMs - quietFor;
      this.#keepaliveTimer = this.#clock.setTimeout(() => this.#watchSilence(), rest);
      return;
    }
    this.#heard = false;
    this.#internal("ping", () => ({}), { timeoutMs: pongWaitMs });
    this.#keepaliveTimer = this.#clock.setTimeout(() => {
      if (this.#heard) this.#watchSilence();
      else this.#drop("the gateway fell silent");
    }, pongWaitMs);
  }

  /** Gives up a socket without waiting for its `close`, which on a dead path takes minutes. */
  #drop(reason) {
    const socket = this.#socket;
    this.#socket = null;
    try {
      socket?.close(1000);
    } catch {
      // Some implementations throw while connecting; the socket is forgotten either way.
    }
    this.#lost({ reason });
  }

  #lost({ code = 1006, reason = "" }) {
    this.#socket = null;
    this.#stopTimers();
    const goodbye = this.#goodbye;
    if (goodbye && goodbye.reconnect === false) {
      this.#shut(goodbye.reason, code);
      return;
    }
    const held = this.#state === "online" ? this.#clock.now() - this.#onlineSince : 0;
    if (held >= this.#options.stableMs) this.#failures = 0;
    // Told when to come back, we come back then: the gateway spreads its clients itself.
    const delay = goodbye?.after_ms ?? this.#backoff(this.#failures);
    this.#failures += 1;
    this.#retryAt = this.#clock.now() + delay;
    this.#reconnectTimer = this.#clock.setTimeout(() => this.#open(), delay);
    for (const seat of this.#rooms.values()) seat.target = null;
    this.#requeue(code);
    this.#enter("waiting", { reason: goodbye?.reason || reason, code });
  }

  /** Full jitter: anywhere between nothing and the doubled base, so that a crowd spreads out. */
  #backoff(failures) {
    const { reconnectBaseMs, reconnectCapMs } = this.#options;
    const ceiling = Math.min(reconnectCapMs, reconnectBaseMs * 2 ** Math.min(failures, 30));
    return Math.round(this.#random() * ceiling);
  }

  #requeue(code) {
    for (const command of [...this.#pending.values()]) {
      if (!command.sent) continue;
      this.#clock.clearTimeout(command.timer);
      // RFC 6455 §7.4.1: 1009 is "too big". One of the publishes was it; again would end the same.
      const tooBig = code === 1009 && command.type === "publish";
      if (command.repeatable && command.sends < this.#options.maxSends && !tooBig) {
        command.sent = false;
      } else {
        const message = tooBig ? "the message is too big" : `connection lost during ${command.type}`;
        this.#settle(command, new RoomwireError("connection_lost", message));
      }
    }
  }

  #shut(reason, code) {
    if (this.#state === "closed") return;
    const socket = this.#socket;
    this.#socket = null;
    this.#stopTimers();
    this.#clock.clearTimeout(this.#reconnectTimer);
    this.#retryAt = null;
    this.#network?.removeEventListener("online", this.#onNetworkOnline);
    this.#network?.removeEventListener("offline", this.#onNetworkOffline);
    // Entered first: whoever hears of a rejected command finds the session closed.
    this.#enter("closed", { reason, code });
    for (const command of [...this.#pending.values()]) {
      this.#settle(command, new RoomwireError("closed", reason));
    }
    this.#rooms.clear();
    try {
      socket?.close(1000);
    } catch {
      // As in #drop.
    }
  }

  #stopTimers() {
    this.#clock.clearTimeout(this.#connectTimer);
    this.#clock.clearTimeout(this.#keepaliveTimer);
  }

  #onNetworkOnline = () => {
    if (this.#state === "waiting") this.#open();
  };

  #onNetworkOffline = () => {
    // The hint may be wrong (a VPN, another interface), so it only makes us ask.
    if (this.#state === "online") this.#watchSilence(true);
  };

  #enter(state, facts = {}) {
    this.#state = state;
    this.#emit("state", { state, retryAt: this.#retryAt, failures: this.#failures, ...facts });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Whether a room name is one of several: a token `*`, or a last token `>` (as NATS subjects). */
export function isPattern(name) {
  const tokens = name.split(".");
  return tokens.includes("*") || tokens.at(-1) === ">";
}

/** Whether a pattern covers a room. `>` stands for one token or more. */
export function matches(pattern, room) {
  const wanted = pattern.split(".");
  const tokens = room.split(".");
  const open = wanted.at(-1) === ">";
  if (open ? tokens.length < wanted.length : tokens.length !== wanted.length) return false;
  const fixed = open ? wanted.slice(0, -1) : wanted;
  return fixed.every((token, index) => token === "*" || token === tokens[index]);
}

function joinFields(seat) {
  const fields = { room: seat.room };
  if (seat.presence) fields.presence = true;
  if (seat.epoch !== null && !isPattern(seat.room)) {
    fields.since = { epoch: seat.epoch, offset: seat.offset };
  }
  return fields;
}

function socketUrl(url) {
  const absolute = new URL(url, globalThis.location?.href);
  if (absolute.protocol === "http:") absolute.protocol = "ws:";
  if (absolute.protocol === "https:") absolute.protocol = "wss:";
  return absolute.href;
}
