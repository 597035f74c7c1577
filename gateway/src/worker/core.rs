//! A worker's state: its sessions, its part of the rooms' membership and what it is about to send.
//!
//! Everything is plain data that one thread owns. The methods are spread by subject: `turn.rs` runs
//! one turn, `read.rs` takes bytes in, `fanout.rs` queues messages, `flush.rs` sends what is queued,
//! `tick.rs` minds the clock, `crate::udp` the datagrams and `crate::session` the commands.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use roomwire_certs::Identity;
use roomwire_hub::emitter::Scheduler;
use roomwire_hub::{Delivery, Origin, Outbox, OutboxLimits, Push, Seats, WorkerId};
use roomwire_metrics::{Block, BlockId, Id, LaneWriter};
use roomwire_protocols::websocket::deflate::InflatePool;
use slab::Slab;
use tracing::Level;

use super::busy::BusyRooms;
use super::deflater::{self, Deflater};
use super::echo::Reply;
use super::request::RequestTable;
use super::{Arenas, Burst, Control, ReadyQueue, Slice, SlotWaker};
use crate::event::{Change, Closed, Topics};
use crate::listener::Permit;
use crate::message::Message;
use crate::proxy::Pipes;
use crate::session::{
    ClientId, CloseReason, Fault, Framing, Io, Session, Stage, Stream, TaskSide, Wire,
};
use crate::shared::Shared;
use crate::udp::{Departing, Endpoint, FreshFlows, ReceiveBuffers};

/// One message from the hub, as this gateway instantiates it.
pub(crate) type HubDelivery = Delivery<Arc<Message>, Control>;

/// The worker's part of the rooms' membership.
pub(crate) type RoomSeats = Seats<Arc<Message>, Control>;

/// What one worker's thread owns.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) lane: Rc<LaneWriter>,
    pub(crate) topics: Topics,
    pub(crate) scheduler: Scheduler,
    /// Monotonic milliseconds at the start of this turn.
    pub(crate) now_ms: u64,
    /// The same in microseconds.
    pub(crate) now_us: u64,
    pub(crate) sessions: Slab<Session>,
    generation: u32,
    pub(crate) seats: RoomSeats,
    pub(crate) requests: RequestTable,
    pub(crate) ready: Arc<ReadyQueue>,
    pub(crate) output: Output,
    pub(crate) inflaters: InflatePool,
    /// Sessions to remove at the end of the turn.
    pub(crate) dying: Vec<u32>,
    /// Sessions not read from until the hub's inboxes have room again.
    pub(crate) parked: Vec<ClientId>,
    pub(crate) inbox: Vec<HubDelivery>,
    /// Messages fanned out since the last flush, as when they were taken and how many were then.
    pub(crate) unflushed: Vec<(u64, u64)>,
    pub(crate) busy: BusyRooms,
    pub(crate) read_buffer: Vec<u8>,
    pub(crate) pipes: Pipes,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) datagrams: ReceiveBuffers,
    pub(crate) peers: HashMap<(u16, SocketAddr), u32>,
    /// Sessions whose address proved nothing when they began, oldest first; some are gone or have
    /// proved it since.
    pub(crate) unproven: VecDeque<ClientId>,
    /// Clients of UDP proxies that spoke once.
    pub(crate) fresh: FreshFlows,
    pub(crate) departing: Departing,
    /// Sessions are cut; no new one is taken.
    pub(crate) closing: bool,
    /// Event streams and long polls, counted against `max_waiters`.
    pub(crate) waiters: usize,
    pub(crate) drain: Option<super::tick::Drain>,
    pub(crate) tick: super::tick::Tick,
}

/// What is about to be sent.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) arenas: Arenas,
    /// Sessions with something new in their outbox, each once.
    pub(crate) touched: Vec<u32>,
    /// Where JSON is encoded before it is framed; empty between two uses.
    pub(crate) scratch: Vec<u8>,
    /// What an echo answers the read that is under way.
    pub(crate) reply: Reply,
    pub(crate) deflater: Deflater,
}

/// What a new session is made of.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) io: Io,
    pub(crate) wire: Wire,
    pub(crate) listener: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: Option<Permit>,
    /// Whom the client's certificate names, where it showed one.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl NewSession {
    /// A connection that the worker reads and writes itself.
    pub(crate) fn stream(
        stream: Stream,
        wire: Wire,
        listener: u16,
        peer: SocketAddr,
        permit: Permit,
    ) -> Self {
        Self {
            io: Io::Stream(stream),
            wire,
            listener,
            peer,
            permit: Some(permit),
            identity: None,
        }
    }

    /// The same for a client whose certificate was checked.
    pub(crate) fn identified(mut self, identity: Option<Arc<Identity>>) -> Self {
        self.identity = identity;
        self
    }
}

/// Bytes one read can take. Chosen: a 64 KiB message fits in one or two reads, and what a session
/// must wait with is kept, so this is what one costs then.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// The same for who gets its messages back. Measured: sixteen messages of 16 KiB that are in flight
/// come in one read, and lie in the processor's cache until they have been sent.
pub(crate) const ECHO_READ_BYTES: usize = 256 * 1024;

const READ_BUFFER_BYTES: usize = ECHO_READ_BYTES;

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        worker: WorkerId,
        lane: Rc<LaneWriter>,
        scheduler: Scheduler,
        endpoints: Vec<Endpoint>,
        ready: Arc<ReadyQueue>,
    ) -> Self {
        let deflater = Deflater::new(&shared.config, Rc::clone(&lane));
        let seats = Seats::new(
            Arc::clone(&shared.hub),
            worker,
            shared.bounds.max_rooms_per_session,
        );
        Self {
            worker,
            lane,
            topics: Topics::resolve(&shared.emitter),
            scheduler,
            now_ms: shared.clock.now_ms(),
            now_us: shared.clock.now_us(),
            sessions: Slab::new(),
            generation: shared.first_generation,
            seats,
            requests: RequestTable::default(),
            ready,
            output: Output::new(deflater),
            inflaters: deflater::inflaters(&shared.config),
            dying: Vec::new(),
            parked: Vec::new(),
            inbox: Vec::new(),
            unflushed: Vec::new(),
            busy: BusyRooms::default(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            pipes: Pipes::default(),
            endpoints,
            datagrams: ReceiveBuffers::default(),
            peers: HashMap::new(),
            unproven: VecDeque::new(),
            fresh: FreshFlows::default(),
            departing: Departing::default(),
            closing: false,
            waiters: 0,
            drain: None,
            tick: super::tick::Tick::default(),
            shared,
        }
    }

    /// Adds a session and has it looked at in the next turn. `None`, counted, when this worker is
    /// full or ends; what the session was made of is dropped.
    pub(crate) fn add(&mut self, new: NewSession) -> Option<ClientId> {
        let vacant = u32::try_from(self.sessions.vacant_key()).ok();
        let Some(slot) = vacant.filter(|&slot| slot < ClientId::MAX_SLOTS && !self.closing) else {
            self.lane.increment(Id::SessionsRefused);
            return None;
        };
        self.generation = self.generation.wrapping_add(1);
        let slot_waker = SlotWaker::new(&self.ready, slot);
        let waker = Waker::from(Arc::clone(&slot_waker));
        waker.wake_by_ref();
        let now = self.shared.clock.now_ms();
        let id = ClientId::pack(self.worker.0, self.generation, slot);
        self.sessions.insert(Session {
            id,
            framing: new.wire.framing(),
            io: new.io,
            wire: new.wire,
            stage: Stage::Open,
            listener: new.listener,
            touched: false,
            input_over: false,
            paused: false,
            parked: false,
            pinged_ms: None,
            opened_ms: now,
            heard_ms: now,
            stalled_ms: None,
            peer: new.peer,
            name: None,
            from: None,
            outbox: Outbox::new(),
            counted_bytes: 0,
            burst: Burst::default(),
            stash: Vec::new(),
            requests: 0,
            permit: new.permit,
            identity: new.identity,
            slot_waker,
            waker,
        });
        if tracing::enabled!(Level::DEBUG) {
            self.log_begin(slot, id);
        }
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        self.lane.increment(Id::SessionsOpened);
        self.lane.gauge_add(Id::Sessions, 1);
        let block = self.listener_block(new.listener);
        self.lane.block_add(block, BlockId::ListenerOpened, 1);
        self.lane
            .block_gauge_add(block, BlockId::ListenerSessions, 1);
        self.emit_connection(slot);
        Some(id)
    }

    #[cold]
    fn log_begin(&self, slot: u32, client: ClientId) {
        if let Some(session) = self.sessions.get(slot as usize) {
            let (peer, wire) = (session.peer, session.wire.name());
            let listener = self.shared.listeners.get(usize::from(session.listener));
            let listener = listener.map_or("", |listener| &*listener.name);
            tracing::debug!(%client, %peer, wire, listener, "session began");
        }
    }

    /// Takes the time for the turn, or for what a task does between two.
    pub(crate) fn look_at_clock(&mut self) {
        self.now_us = self.shared.clock.now_us();
        self.now_ms = self.now_us / 1000;
    }

    /// Where the figures of a listener are counted.
    pub(crate) fn listener_block(&self, listener: u16) -> Block {
        self.shared.page.listener_block(usize::from(listener))
    }

    /// Makes the buffers anew that a panic took along.
    pub(crate) fn restore_buffers(&mut self) {
        self.read_buffer.resize(READ_BUFFER_BYTES, 0);
    }

    pub(crate) fn session(&mut self, slot: u32) -> Option<&mut Session> {
        self.sessions.get_mut(slot as usize)
    }

    /// A session's id for the log; nothing, and for nothing, while nobody reads such lines.
    pub(crate) fn client(&self, slot: u32) -> Option<String> {
        if !tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let session = self.sessions.get(slot as usize)?;
        Some(session.id.to_string())
    }

    /// The session with this id, if it is one of this worker's and still here.
    pub(crate) fn find(&mut self, id: ClientId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.slot() as usize)
            .filter(|session| session.id == id)
    }

    /// Queues a frame for one session; a full outbox ends the session.
    pub(crate) fn push(&mut self, slot: u32, frame: Slice, origin: Option<Origin>) {
        self.push_within(slot, frame, origin, self.shared.bounds.outbox);
    }

    /// Queues what an echo could not send at once: the answer to one read, however small the outbox
    /// is set.
    pub(crate) fn push_rest(&mut self, slot: u32, rest: Slice) {
        let mut limits = self.shared.bounds.outbox;
        limits.max_bytes = limits.max_bytes.saturating_add(rest.len());
        self.push_within(slot, rest, None, limits);
    }

    fn push_within(
        &mut self,
        slot: u32,
        frame: Slice,
        origin: Option<Origin>,
        limits: OutboxLimits,
    ) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let bytes = frame.len();
        self.output.settle(session, &limits);
        match session.outbox.push(frame, bytes, origin, &limits) {
            Push::Queued => self.output.touch(slot, session),
            Push::Dropped(frames) => {
                self.lane.add(Id::OutboxDropped, frames as u64);
                self.output.touch(slot, session);
            }
            Push::Overflow => self.end(slot, CloseReason::Slow),
        }
    }

    /// Ends a session in its protocol's way: last words, then the close. Idempotent.
    pub(crate) fn end(&mut self, slot: u32, reason: CloseReason) {
        let deadline_ms = self.now_ms + self.shared.bounds.close_timeout_ms;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if !session.is_open() {
            return;
        }
        if matches!(session.wire, Wire::Proxy(_) | Wire::DatagramProxy(_)) {
            // Nothing can be said in a conversation of others.
            return self.die(slot, reason);
        }
        session.stash = Vec::new();
        // From here on nothing that is queued below can end the session again.
        session.stage = Stage::LastWords;
        if reason == CloseReason::Slow {
            // What it would not read is not waited for; only the last words follow.
            session.outbox.clear_unsent();
        }
        self.leave_rooms(slot);
        self.last_words(slot, reason);
        if let Some(session) = self.session(slot) {
            session.stage = Stage::Ending {
                reason,
                deadline_ms,
                shut: false,
            };
        }
        match self.sessions.get(slot as usize).map(|session| &session.io) {
            Some(Io::Datagram(_)) => {
                self.output.arenas.seal();
                self.flush(slot);
                self.die(slot, reason);
            }
            Some(Io::Task(side)) => {
                side.borrow_mut().closed = Some(reason);
                TaskSide::wake(side);
            }
            Some(Io::Stream(_)) | None => {}
        }
    }

    /// Takes a session out of its rooms, and tells who listens.
    pub(crate) fn leave_rooms(&mut self, slot: u32) {
        if self.topics.leave.has_listeners() {
            let rooms: Vec<String> = self.seats.subjects(slot).map(str::to_owned).collect();
            for room in rooms {
                self.emit_membership(slot, &room, Change::Left);
            }
        }
        self.seats.leave_all(slot, self.now_ms);
    }

    /// Ends a session at once, without another word.
    pub(crate) fn die(&mut self, slot: u32, reason: CloseReason) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if let Stage::Dead(_) = session.stage {
            return;
        }
        // Who began the end gave the reason; what happens on the way is not another one.
        let reason = match session.stage {
            Stage::Ending { reason, .. } => reason,
            Stage::Open | Stage::LastWords | Stage::Dead(_) => reason,
        };
        session.stage = Stage::Dead(reason);
        if let Io::Task(side) = &session.io {
            // Its task may still be there, and must not wait for what nobody will tell it.
            side.borrow_mut().closed.get_or_insert(reason);
            TaskSide::wake(side);
        }
        self.leave_rooms(slot);
        self.dying.push(slot);
    }

    /// Ends the session of a task that has ended. It may be gone already, and its slot another's.
    pub(crate) fn task_ended(&mut self, id: ClientId, reason: CloseReason) {
        if self.find(id).is_some() {
            self.die(id.slot(), reason);
            self.reap_soon();
        }
    }

    /// Has the next turn come soon, for sessions that died outside of one.
    pub(crate) fn reap_soon(&self) {
        Waker::from(Arc::clone(&self.ready)).wake();
    }

    /// Removes what has died; called once per turn, when nobody holds a slot number.
    pub(crate) fn reap(&mut self) {
        while let Some(slot) = self.dying.pop() {
            let Some(session) = self.sessions.try_remove(slot as usize) else {
                continue;
            };
            let Stage::Dead(reason) = session.stage else {
                debug_assert!(false, "only dead sessions are reaped");
                continue;
            };
            self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
            if let Io::Datagram(peer) = &session.io {
                let key = (peer.endpoint, session.peer);
                // The address may have a new session already.
                if self.peers.get(&key) == Some(&slot) {
                    self.peers.remove(&key);
                }
                self.lane.gauge_sub(Id::UdpSessions, 1);
            }
            if matches!(session.framing, Framing::Events | Framing::Notify) {
                self.waiters -= 1;
            }
            if session.requests > 0 {
                self.requests.forget(session.id);
            }
            self.account_end(&session, reason);
        }
    }

    fn account_end(&self, session: &Session, reason: CloseReason) {
        let info = reason.info();
        self.lane.increment(info.counter);
        self.lane.increment(Id::SessionsClosed);
        self.lane.gauge_sub(Id::Sessions, 1);
        self.lane
            .gauge_sub(Id::OutboxBytes, u64::from(session.counted_bytes));
        let block = self.listener_block(session.listener);
        self.lane.block_add(block, BlockId::ListenerClosed, 1);
        self.lane
            .block_gauge_sub(block, BlockId::ListenerSessions, 1);
        if !matches!(info.fault, Fault::None | Fault::Operator) {
            self.lane.block_add(block, BlockId::ListenerFaults, 1);
        }
        let (client, peer, wire) = (session.id, session.peer, session.wire.name());
        let reason_word = info.word;
        if info.level == Level::ERROR {
            tracing::error!(%client, %peer, wire, reason = reason_word, "session ended");
        } else {
            tracing::debug!(%client, %peer, wire, reason = reason_word, "session ended");
        }
        if self.topics.close.has_listeners() {
            self.topics.close.emit(&Closed::new(session, reason));
        }
    }
}

impl Output {
    fn new(deflater: Deflater) -> Self {
        Self {
            arenas: Arenas::default(),
            touched: Vec::new(),
            scratch: Vec::new(),
            reply: Reply::default(),
            deflater,
        }
    }

    /// Queues a session's burst, for what cannot be sent at once or is followed by something else.
    pub(crate) fn settle(&self, session: &mut Session, limits: &OutboxLimits) {
        let burst = std::mem::take(&mut session.burst);
        for logged in self.arenas.of(session.framing).burst(burst) {
            let frame = logged.frame.clone();
            let bytes = frame.len();
            let pushed = session.outbox.push(frame, bytes, logged.origin, limits);
            debug_assert_eq!(pushed, Push::Queued, "a burst is within the limits");
        }
    }

    /// Notes that `session` has something to send at the end of the turn.
    pub(crate) fn touch(&mut self, slot: u32, session: &mut Session) {
        if !session.touched {
            session.touched = true;
            self.touched.push(slot);
        }
    }
}
