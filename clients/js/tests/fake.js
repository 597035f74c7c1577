/**
 * What the tests put in the place of the world: a clock that moves when told, a WebSocket whose
 * other end is a plain object, and a small gateway that knows rooms with history.
 *
 * The gateway here keeps to the wire as documented and to nothing else; it is not a model of the
 * real one's limits or timing.
 */

/** Microtasks of ours and of the client settle before the test looks. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export class FakeClock {
  #now = 0;
  #next = 1;
  #timers = new Map();

  now = () => this.#now;
  setTimeout = (run, ms) => {
    const id = this.#next++;
    this.#timers.set(id, { at: this.#now + ms, run });
    return id;
  };
  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  get size() {
    return this.#timers.size;
  }

  /** Runs what becomes due, in the order of its time. */
  async advance(ms) {
    await settle();
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end);
      if (due.length === 0) break;
      due.sort((a, b) => a[1].at - b[1].at || a[0] - b[0]);
      const [id, timer] = due[0];
      this.#timers.delete(id);
      this.#now = timer.at;
      timer.run();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** A `WebSocket` class bound to one gateway. */
export function socketClass(gateway) {
  return class FakeSocket {
    readyState = 0;
    sent = [];

    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      gateway.sockets.push(this);
      queueMicrotask(() => gateway.accept(this));
    }
    send(text) {
      if (this.readyState !== 1) throw new Error("not open");
      const frame = JSON.parse(text);
      this.sent.push(frame);
      queueMicrotask(() => gateway.receive(this, frame));
    }
    close(code = 1005) {
      if (this.readyState >= 2) return;
      this.readyState = 3;
      gateway.forget(this);
      queueMicrotask(() => this.onclose?.({ code, reason: "" }));
    }
    open() {
      this.readyState = 1;
      this.onopen?.({});
    }
    push(frame) {
      if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(frame) });
    }
    /** The other end, or the path to it, ends the connection. */
    cut(code = 1006, reason = "") {
      if (this.readyState === 3) return;
      this.readyState = 3;
      gateway.forget(this);
      this.onclose?.({ code, reason });
    }
  };
}

export class FakeGateway {
  sockets = [];
  rooms = new Map();
  keys = new Map();
  /** Set to refuse connections, to stay silent, or to answer one type by hand. */
  refusing = false;
  silent = false;
  answer = {};
  clients = 0;

  get socket() {
    return this.sockets.at(-1);
  }
  /** The frames of one type that the newest socket received. */
  seen(type) {
    return this.socket.sent.filter((frame) => frame.type === type);
  }
  room(name) {
    if (!this.rooms.has(name)) {
      this.rooms.set(name, { epoch: "00000000000000e1", log: [], offset: 0, seats: new Map() });
    }
    return this.rooms.get(name);
  }
  accept(socket) {
    if (this.refusing) socket.cut();
    else socket.open();
  }
  forget(socket) {
    for (const room of this.rooms.values()) room.seats.delete(socket);
  }
  store(name, data, from = "someone", except = null) {
    const room = this.room(name);
    room.offset += 1;
    const message = { type: "message", room: name, offset: room.offset, from, time: 1, data };
    room.log.push(message);
    for (const socket of room.seats.keys()) if (socket !== except) socket.push(message);
    return room.offset;
  }

  receive(socket, frame) {
    if (this.silent) return;
    const override = this.answer[frame.type];
    if (override) {
      const answer = override(frame, socket);
      if (answer) socket.push({ id: frame.id, ...answer });
      return;
    }
    this[`on_${frame.type}`]?.(socket, frame);
  }
  on_hello(socket, { id, name }) {
    socket.client ??= `c${++this.clients}`;
    socket.name = name ?? null;
    const { client } = socket;
    socket.push({ type: "welcome", id, client, name: socket.name, session_ttl: 0 });
  }
  on_join(socket, { id, room: name, since, presence }) {
    const room = this.room(name);
    room.seats.set(socket, Boolean(presence));
    const members = [...room.seats.keys()].map((s) => ({ client: s.client, name: s.name }));
    const joined = { type: "joined", id, room: name, epoch: room.epoch, offset: room.offset };
    Object.assign(joined, { members, member_count: members.length });
    let missed = [];
    if (since) {
      const same = since.epoch === room.epoch;
      missed = room.log.filter((m) => !same || m.offset > since.offset);
      joined.recovered = same && missed.length === room.offset - since.offset;
    }
    socket.push(joined);
    for (const message of missed) socket.push(message);
  }
  on_leave(socket, { id, room }) {
    this.room(room).seats.delete(socket);
    socket.push({ type: "left", id, room });
  }
  on_publish(socket, { id, room, data, echo, key }) {
    const known = key && this.keys.get(key);
    const offset = known ?? this.store(room, data, socket.name, echo === false ? socket : null);
    if (key) this.keys.set(key, offset);
    socket.push({ type: "published", id, room, offset });
  }
  on_history(socket, { id, room: name, limit, since }) {
    const room = this.room(name);
    const after = since ? room.log.filter((m) => m.offset > since.offset) : room.log;
    const messages = since ? after.slice(0, limit) : after.slice(-limit);
    socket.push({ type: "history", id, room: name, epoch: room.epoch, messages });
  }
  on_members(socket, { id, room }) {
    const members = [...this.room(room).seats.keys()].map((s) => ({ client: s.client, name: s.name }));
    socket.push({ type: "members", id, room, members });
  }
  on_request(socket, { id, room }) {
    socket.push({ type: "replies", id, room, replies: [] });
  }
  on_ping(socket, { id }) {
    socket.push({ type: "pong", id });
  }
}
