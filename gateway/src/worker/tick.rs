//! The clock's part of a worker: deadlines of sessions and requests, keepalives, the drain.
//!
//! There is no timer per session. Every tick looks at a tenth of the slab, so each session is looked
//! at once a second; that is as precise as limits of seconds need, and an idle session costs no
//! timer memory.

use std::num::NonZeroU64;

use roomwire_metrics::{Id, Page};
use roomwire_protocols::sse;
use roomwire_protocols::websocket::Opcode;

use super::Core;
use crate::lifecycle::{Clock, Phase};
use crate::session::{CloseReason, Framing, Io, Session, Stage, TaskSide, Wire, moment};

/// Time between two ticks.
pub(crate) const TICK_MS: u64 = 100;

/// Ticks in which the whole slab has been looked at once.
const TICKS_PER_ROUND: usize = 10;

/// Rooms looked at per sweep; ten sweeps a second.
const SWEEP_BUDGET: usize = 1000;

/// A session without traffic for this long gives its outbox's memory back.
const IDLE_MS: u64 = 1000;

/// Sessions that each worker names in the log when it cuts them; the rest are counted.
const CUT_NAMED: usize = 10;

/// Slots of the slab, and of the lists beside it, that are kept however few are used.
const KEPT_SLOTS: usize = 256;

/// What sessions are given after the goodbye to leave by themselves. Chosen: a round trip and the
/// time a client needs to decide.
const DRAIN_GRACE_MS: u64 = 300;

/// Sessions closed per tick of a drain at the least, so that a gateway with few sessions stops at
/// once. Spreading only matters where a crowd would reconnect.
const DRAIN_MIN_PER_TICK: usize = 20;

/// Where the ticking stands.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    /// When the next tick is due.
    pub(crate) due_ms: u64,
    /// The slot at which the next look begins.
    cursor: usize,
    ticks: u64,
    /// The hub's own count of dropped presence changes, as it was counted last.
    presence_dropped: u64,
}

/// A drain in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    began_ms: u64,
    deadline_ms: u64,
    cursor: usize,
}

impl Core {
    /// When the worker must run again although nothing wakes it.
    pub(crate) fn next_deadline_ms(&self) -> u64 {
        let deadline = self.scheduler.next_deadline().unwrap_or(u64::MAX);
        self.tick.due_ms.min(deadline)
    }

    /// Runs what is due: the emitter's timers and the tick.
    pub(crate) fn run_timers(&mut self) {
        self.scheduler.run_timers(self.now_ms);
        if self.now_ms < self.tick.due_ms {
            return;
        }
        let late_us = self.now_us.saturating_sub(self.tick.due_ms * 1000);
        self.lane.record(Id::WorkerLagMicros, late_us);
        self.tick.due_ms = self.now_ms + TICK_MS;
        self.tick.ticks += 1;
        self.shared.pulse.tick(self.worker.0, self.now_ms);
        self.hear_errors();
        self.look_around();
        self.expire_requests();
        self.drain_some();
        if self.tick.ticks.is_multiple_of(TICKS_PER_ROUND as u64) {
            self.output.arenas.release();
            self.output.reply.release();
            self.output.deflater.release();
            self.pipes.release();
            self.give_memory_back();
            self.count_cpu();
        }
        if self.worker.0 == 0 {
            self.keep_house();
        }
    }

    /// After a crowd has left, gives back what its sessions took, as far as the slab's end is free.
    fn give_memory_back(&mut self) {
        if self.sessions.capacity() > KEPT_SLOTS
            && self.sessions.len() < self.sessions.capacity() / 4
        {
            self.sessions.shrink_to_fit();
            self.output.touched.shrink_to(KEPT_SLOTS);
            self.dying.shrink_to(KEPT_SLOTS);
            self.peers.shrink_to(KEPT_SLOTS);
            super::memory::trim();
        }
    }

    /// The first worker's share of what is the whole gateway's.
    fn keep_house(&mut self) {
        let down: usize = self
            .shared
            .pools
            .iter()
            .flatten()
            .map(|pool| pool.down())
            .sum();
        self.lane.gauge_set(Id::ProxyUpstreamsDown, down as u64);
        let swept = (self.shared.hub).sweep(self.now_ms, SWEEP_BUDGET, Page::BUSY_ROOMS);
        self.lane.add(Id::RoomsExpired, swept.rooms as u64);
        self.lane.add(Id::HistoryExpired, swept.messages as u64);
        let stats = self.shared.hub.stats();
        self.lane.gauge_set(Id::Rooms, stats.rooms as u64);
        self.lane.gauge_set(Id::Patterns, stats.patterns as u64);
        self.lane
            .gauge_set(Id::HistoryMessages, stats.history_messages);
        self.lane.gauge_set(Id::HistoryBytes, stats.history_bytes);
        let dropped = stats.presence_dropped - self.tick.presence_dropped;
        self.lane.add(Id::PresenceDropped, dropped);
        self.tick.presence_dropped = stats.presence_dropped;
        let round_ms = (stats.rooms / SWEEP_BUDGET + 1) as u64 * TICK_MS;
        self.busy.take(swept.busiest, self.now_ms, round_ms);
        if self.tick.ticks.is_multiple_of(TICKS_PER_ROUND as u64) {
            self.busy.show(&self.shared.page);
            self.count_process();
        }
        self.shared.page.heartbeat(Clock::unix_ms());
    }

    fn look_around(&mut self) {
        let slots = self.sessions.capacity();
        let count = slots.div_ceil(TICKS_PER_ROUND).max(1);
        let begin = if self.tick.cursor >= slots {
            0
        } else {
            self.tick.cursor
        };
        let end = (begin + count).min(slots);
        self.tick.cursor = end;
        for slot in begin..end {
            let Some(session) = self.sessions.get_mut(slot) else {
                continue;
            };
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            if self.now_ms.saturating_sub(session.heard_ms) > IDLE_MS {
                session.outbox.shrink_if_idle();
            }
            if let Wire::DatagramProxy(flow) = &session.wire
                && session.is_open()
                && flow.is_refused()
            {
                self.upstream_refused(slot);
                continue;
            }
            let rules = self.shared.rules(session.listener);
            match due(session, self.now_ms, &self.shared.bounds, rules) {
                Due::Nothing => {}
                Due::Die(reason) => self.die(slot, reason),
                Due::End(reason) => self.end(slot, reason),
                Due::Ping => self.ping(slot),
            }
        }
    }

    fn ping(&mut self, slot: u32) {
        let now_ms = self.now_ms;
        let Some(session) = self.session(slot) else {
            return;
        };
        match session.framing {
            Framing::Events => {
                // A comment keeps proxies from closing the stream and finds out dead peers.
                session.heard_ms = now_ms;
                self.send(slot, |out| sse::comment(out, "ping"));
            }
            _ => {
                session.pinged_ms = moment(now_ms);
                self.lane.increment(Id::WebsocketPingsOut);
                self.send_frame(slot, Opcode::Ping, b"");
            }
        }
    }

    /// Takes note of the gateway's phase.
    pub(crate) fn on_phase(&mut self, phase: Phase) {
        match phase {
            Phase::Starting | Phase::Ready | Phase::Stopped => {}
            Phase::Draining => self.begin_drain(),
            Phase::Closing => self.cut_all(),
        }
    }

    fn begin_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let length_ms = self.shared.config.gateway.drain.as_millis();
        let slots: Vec<u32> = self
            .sessions
            .iter()
            .filter_map(|(slot, _)| u32::try_from(slot).ok())
            .collect();
        let count = slots.len().max(1) as u64;
        for (nth, slot) in slots.into_iter().enumerate() {
            // Spread over the drain, so that the crowd does not come back at the same moment.
            let after_ms = nth as u64 * length_ms.min(20_000) / count;
            self.goodbye(slot, CloseReason::Shutdown.info().word, true, after_ms);
        }
        self.drain = Some(Drain {
            began_ms: self.now_ms,
            deadline_ms: self.now_ms + length_ms,
            cursor: 0,
        });
    }

    /// Ends the next few sessions of a drain.
    fn drain_some(&mut self) {
        let Some(mut drain) = self.drain else { return };
        let grace_ms = DRAIN_GRACE_MS.min((drain.deadline_ms - drain.began_ms) / 4);
        if self.now_ms < drain.began_ms + grace_ms {
            return;
        }
        // Done a little before the deadline, so that closing handshakes fit in.
        let left_ms = drain.deadline_ms.saturating_sub(self.now_ms + 2 * TICK_MS);
        let ticks_left = usize::try_from(left_ms / TICK_MS)
            .unwrap_or(usize::MAX)
            .max(1);
        let quota = (self.sessions.len() / ticks_left).max(DRAIN_MIN_PER_TICK);
        let slots = self.sessions.capacity();
        let mut ended = 0;
        while drain.cursor < slots && ended < quota {
            let open = self
                .sessions
                .get(drain.cursor)
                .is_some_and(|session| session.is_open() && !matches!(session.wire, Wire::Http));
            if let (true, Ok(slot)) = (open, u32::try_from(drain.cursor)) {
                self.end(slot, CloseReason::Shutdown);
                ended += 1;
            }
            drain.cursor += 1;
        }
        if drain.cursor >= slots {
            // Sessions may have come in slots already passed, by an upgrade.
            drain.cursor = 0;
        }
        self.drain = Some(drain);
    }

    fn cut_all(&mut self) {
        self.closing = true;
        let slots: Vec<u32> = self
            .sessions
            .iter()
            .filter_map(|(slot, _)| u32::try_from(slot).ok())
            .collect();
        for (nth, &slot) in slots.iter().enumerate() {
            let listeners = &self.shared.listeners;
            let Some(session) = self.sessions.get_mut(slot as usize) else {
                continue;
            };
            if nth < CUT_NAMED {
                let listener = listeners.get(usize::from(session.listener));
                let listener = listener.map_or("", |listener| &*listener.name);
                let (client, peer, wire) = (session.id, session.peer, session.wire.name());
                tracing::warn!(%client, %peer, wire, listener, "cut");
            }
            if let Stage::Ending { reason, .. } = &mut session.stage {
                *reason = CloseReason::ShutdownCut;
            }
            if let Io::Task(side) = &session.io {
                side.borrow_mut().closed = Some(CloseReason::ShutdownCut);
                TaskSide::wake(side);
            }
            self.die(slot, CloseReason::ShutdownCut);
        }
        if slots.len() > CUT_NAMED {
            tracing::warn!(sessions = slots.len() - CUT_NAMED, "cut as well");
        }
    }
}

enum Due {
    Nothing,
    Die(CloseReason),
    End(CloseReason),
    Ping,
}

/// What a session's clock demands.
fn due(
    session: &Session,
    now_ms: u64,
    bounds: &crate::shared::Bounds,
    rules: crate::shared::Rules,
) -> Due {
    match session.stage {
        Stage::Dead(_) => return Due::Nothing,
        Stage::Ending {
            reason,
            deadline_ms,
            ..
        } => {
            return if now_ms >= deadline_ms {
                Due::Die(reason)
            } else {
                Due::Nothing
            };
        }
        Stage::Open | Stage::LastWords => {}
    }
    let silent_ms = now_ms.saturating_sub(session.heard_ms);
    let past = |since: Option<NonZeroU64>, limit: u64| {
        since.is_some_and(|at| now_ms >= at.get().saturating_add(limit))
    };
    // A task's connection minds its own writes.
    let own = !matches!(session.io, Io::Task(_));
    if own && past(session.stalled_ms, bounds.write_timeout_ms) {
        return Due::Die(CloseReason::WriteTimeout);
    }
    if let Wire::DatagramProxy(_) = &session.wire {
        return if now_ms.saturating_sub(session.opened_ms) >= rules.lifetime_ms {
            Due::Die(CloseReason::LifetimeOver)
        } else if silent_ms >= rules.idle_ms {
            Due::Die(CloseReason::IdleTimeout)
        } else {
            Due::Nothing
        };
    }
    if let Io::Datagram(peer) = &session.io {
        let limit = if peer.lease.is_proven() {
            bounds.udp_lease_ms
        } else {
            bounds.handshake_timeout_ms
        };
        return if silent_ms >= limit {
            Due::Die(CloseReason::LeaseExpired)
        } else {
            Due::Nothing
        };
    }
    if let Wire::Proxy(proxied) = &session.wire
        && let Some(reason) = proxied.stalled(now_ms, rules.stall_ms)
    {
        return Due::Die(reason);
    }
    if now_ms.saturating_sub(session.opened_ms) >= rules.lifetime_ms {
        return Due::End(CloseReason::LifetimeOver);
    }
    if silent_ms >= rules.idle_ms {
        return Due::End(CloseReason::IdleTimeout);
    }
    match session.framing {
        Framing::WebSocket(_) | Framing::WebSocketEcho => {
            // A pong cannot be seen while the session is not read from, and a ping waits behind
            // what is queued; the write timeout finds out peers that take nothing.
            if session.paused || session.parked || !session.outbox.is_empty() {
                Due::Nothing
            } else if past(session.pinged_ms, bounds.pong_timeout_ms) {
                Due::End(CloseReason::PongTimeout)
            } else if session.pinged_ms.is_none() && silent_ms >= bounds.ping_interval_ms {
                Due::Ping
            } else {
                Due::Nothing
            }
        }
        Framing::Events if silent_ms >= bounds.ping_interval_ms => Due::Ping,
        _ => Due::Nothing,
    }
}
