//! One turn of a worker: everything that is ready is done, then everything touched is flushed.
//!
//! The order is fixed, and the emitter's deferred emits are placed by it: immediates of the turn
//! before, since the runtime has polled for input meanwhile; timers; then each ready session is
//! read, with the next-tick emits it caused run before the next one is; then the inbox is fanned
//! out; then what was touched is flushed, the dead are removed and the counters are published.
//! Nothing in a turn waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use roomwire_hub::{Delivery, RoomMessage};
use roomwire_metrics::Id;

use super::Core;
use super::core::HubDelivery;
use super::fanout::cost;
use crate::message::Message;
use crate::session::{CloseReason, Io, Stage, Wire};

/// Deliveries fanned out between two flushes. Half of `max_outbox_messages` bounds it further, so
/// that a session whose socket keeps up never meets its outbox's limit.
const INBOX_BATCH: usize = 256;

/// Sessions read in one turn. Chosen: at one command each some hundred microseconds of work, so that
/// what they cause is sent, and the clock looked at, often enough.
const SESSIONS_PER_TURN: usize = 256;

/// Batches per turn, so that a busy inbox does not keep the sockets waiting.
const BATCHES_PER_TURN: usize = 8;

/// What is left after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something is left to do; the next turn should follow the next poll for input.
    More,
    /// Nothing to do until something is woken.
    Idle,
}

impl Core {
    /// Runs one turn.
    pub(crate) fn turn(&mut self, woken: &mut Vec<u32>) -> Turn {
        self.look_at_clock();
        let began_us = self.now_us;
        self.scheduler.begin_turn(self.now_ms);
        self.scheduler.run_immediates();
        self.run_timers();
        self.unpark();
        if woken.is_empty() {
            self.ready.take(woken);
        }
        let mut more = false;
        // What does not fit into this turn is read in the next, after what this one caused was sent.
        let count = woken.len().min(SESSIONS_PER_TURN);
        for slot in woken.drain(..count) {
            more |= self.attend_guarded(slot);
            self.scheduler.run_next_ticks();
        }
        more |= !woken.is_empty();
        self.scheduler.run_next_ticks();
        more |= self.drain_inbox();
        self.flush_touched();
        self.reap();
        self.scheduler.end_turn();
        self.lane.increment(Id::WorkerTurns);
        self.lane
            .record(Id::WorkerTurnMicros, self.shared.clock.now_us() - began_us);
        self.lane.publish();
        if more { Turn::More } else { Turn::Idle }
    }

    /// A panic while a session is looked at is a bug of ours. It ends that session, not the worker.
    fn attend_guarded(&mut self, slot: u32) -> bool {
        // What the panic left half done belongs to the session, which is removed, or is rebuilt.
        let attended = catch_unwind(AssertUnwindSafe(|| self.attend(slot)));
        attended.unwrap_or_else(|_| {
            self.lane.increment(Id::SessionPanics);
            self.restore_buffers();
            match super::endpoint_of(slot) {
                // Its readiness was not used up, so nothing else would have it looked at again.
                Some(endpoint) => {
                    tracing::error!("a panic lost datagrams; please report the lines above");
                    self.look_again(endpoint);
                }
                None => {
                    tracing::error!("a panic ended a session; please report the lines above");
                    self.die(slot, CloseReason::Internal);
                }
            }
            true
        })
    }

    /// Looks at what was woken: a session, or a UDP socket. True when it must be looked at again
    /// although nothing will wake it.
    fn attend(&mut self, slot: u32) -> bool {
        if let Some(endpoint) = super::endpoint_of(slot) {
            return self.receive(endpoint);
        }
        let Some(session) = self.session(slot) else {
            return false;
        };
        session.slot_waker.taken();
        if matches!(session.wire, Wire::DatagramProxy(_)) {
            return self.read_upstream(slot);
        }
        if !matches!(session.io, Io::Stream(_)) || matches!(session.stage, Stage::Dead(_)) {
            return false;
        }
        // A stalled TLS session may have an empty outbox and bytes that rustls still holds.
        let unsent = !session.outbox.is_empty() || session.stalled_ms.is_some();
        if unsent || matches!(session.stage, Stage::Ending { .. }) {
            self.output.arenas.seal();
            self.flush(slot);
        }
        if self
            .session(slot)
            .is_some_and(|session| session.input_over && session.is_open())
        {
            self.hang_up(slot);
            return false;
        }
        self.read(slot);
        false
    }

    /// Reads the sessions again that were set aside while an inbox was full.
    fn unpark(&mut self) {
        if self.parked.is_empty() || self.shared.hub.is_congested() {
            return;
        }
        let now_ms = self.now_ms;
        for id in std::mem::take(&mut self.parked) {
            let Some(session) = self.find(id) else {
                continue;
            };
            session.parked = false;
            session.restart_pong(now_ms);
            session.waker.wake_by_ref();
        }
    }

    /// Messages fanned out since the last call have been written to their members' sockets by now.
    fn record_latency(&mut self) {
        if self.unflushed.is_empty() {
            return;
        }
        let now_us = self.shared.clock.now_us();
        for (taken_us, count) in self.unflushed.drain(..) {
            let latency_us = now_us.saturating_sub(taken_us);
            self.lane
                .record_many(Id::PublishToFlushMicros, latency_us, count);
        }
    }

    fn drain_inbox(&mut self) -> bool {
        let batch = INBOX_BATCH.min(self.shared.bounds.outbox_half_messages);
        let mut deliveries = std::mem::take(&mut self.inbox);
        let mut more = false;
        let depth = self.shared.hub.inbox(self.worker).len() as u64;
        if depth > 0 {
            self.lane.record(Id::InboxDepth, depth);
            self.lane.high_water(Id::InboxHigh, depth);
        }
        for _ in 0..BATCHES_PER_TURN {
            let inbox = self.shared.hub.inbox(self.worker);
            more = inbox.drain(batch, &mut deliveries) == batch;
            self.deliver_all(&mut deliveries);
            self.flush_touched();
            self.record_latency();
            if !more {
                break;
            }
        }
        if deliveries.capacity() > 4 * INBOX_BATCH {
            deliveries = Vec::new();
        }
        self.inbox = deliveries;
        more
    }

    /// Delivers in order, what is of one room in one go. Flushes before more is queued than half of
    /// what an outbox takes.
    fn deliver_all(&mut self, deliveries: &mut Vec<HubDelivery>) {
        let max_bytes = self.shared.bounds.outbox_half_bytes;
        let mut run = Vec::new();
        let mut queued_bytes = 0;
        let mut deliveries = deliveries.drain(..).peekable();
        while let Some(delivery) = deliveries.next() {
            let mut bytes = cost(&delivery);
            if queued_bytes + bytes > max_bytes {
                self.flush_touched();
                queued_bytes = 0;
            }
            queued_bytes += bytes;
            let message = match delivery {
                Delivery::Message(message) => message,
                other => {
                    self.deliver(other);
                    continue;
                }
            };
            run.push(message);
            while let Some(next) = deliveries.next_if(|next| {
                bytes = cost(next);
                follows(&run, next) && queued_bytes + bytes <= max_bytes
            }) {
                queued_bytes += bytes;
                if let Delivery::Message(message) = next {
                    run.push(message);
                }
            }
            self.fan_out(&run);
            run.clear();
        }
    }
}

/// Whether a delivery is a message of the run's room.
fn follows(run: &[RoomMessage<Arc<Message>>], next: &HubDelivery) -> bool {
    match (run.last(), next) {
        (Some(last), Delivery::Message(next)) => last.room.id == next.room.id,
        _ => false,
    }
}
