//! What a server takes: each connection writes whenever its socket has room, and expects nothing.

use serde_json::json;

use super::driver::Load;
use super::latency::rounded;
use super::net::{End, Net};
use super::plan::Plan;
use super::report::{Outcome, Window, bytes};
use super::shared::Phase;

/// Writes to one connection before others have their turn.
const MAX_WRITES: usize = 16;

/// The load of one thread.
pub(super) struct ByteSend {
    /// What one write sends.
    piece: Vec<u8>,
    /// Connections that are open, by key.
    open: Vec<bool>,
    /// Keys that may go on although no event will say so.
    eager: Vec<usize>,
    is_sending: bool,
    is_measuring: bool,
    /// What sockets took while it was measured, in bytes.
    taken: u64,
}

impl ByteSend {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            piece: plan.content.plain(plan.size, false),
            open: Vec::new(),
            eager: Vec::new(),
            is_sending: false,
            is_measuring: false,
            taken: 0,
        }
    }

    /// Writes until the socket is full or others want to.
    fn go_on(&mut self, key: usize, net: &mut Net) {
        for _ in 0..MAX_WRITES {
            if !self.is_sending {
                return;
            }
            net.send(key, &self.piece);
            let Some(link) = net.links.get(key).filter(|link| !link.is_ending) else {
                return;
            };
            if self.is_measuring {
                self.taken += self.piece.len() as u64;
            }
            if !link.is_sent() {
                return;
            }
        }
        self.eager.push(key);
    }
}

impl Load for ByteSend {
    fn on_phase(&mut self, phase: Phase, _net: &mut Net) {
        let was_sending = self.is_sending;
        self.is_measuring = phase == Phase::Measure;
        self.is_sending = matches!(phase, Phase::Warmup | Phase::Measure);
        if self.is_sending && !was_sending {
            let open = self.open.iter().enumerate().filter(|(_, open)| **open);
            self.eager = open.map(|(key, _)| key).collect();
        }
    }

    fn on_open(&mut self, key: usize, net: &mut Net) {
        if self.open.len() <= key {
            self.open.resize(key + 1, false);
        }
        if let Some(open) = self.open.get_mut(key) {
            *open = true;
        }
        net.shared.add_ready();
    }

    fn on_message(&mut self, _key: usize, _payload: &[u8], _now: u64) {}

    fn on_read(&mut self, _key: usize, _net: &mut Net) {}

    fn on_writable(&mut self, key: usize, net: &mut Net) {
        if !self.eager.contains(&key) {
            self.go_on(key, net);
        }
    }

    fn on_turn(&mut self, net: &mut Net) {
        for key in std::mem::take(&mut self.eager) {
            self.go_on(key, net);
        }
        if !self.eager.is_empty() {
            // Comes back after the next look for events, without waiting for one.
            net.wake_after(1);
        }
    }

    fn on_end(&mut self, key: usize, end: End, net: &mut Net) {
        if let Some(open) = self.open.get_mut(key) {
            *open = false;
        }
        if let End::Lost(why) = end {
            net.shared.fail(why);
        }
    }

    fn is_drained(&self, _net: &Net) -> bool {
        true
    }

    fn merge(&mut self, other: Self) {
        self.taken += other.taken;
    }

    fn outcome(&self, _plan: &Plan, window: &Window) -> Outcome {
        let mut outcome = Outcome::new("mib", self.taken >> 20);
        let seconds = window.length.as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = self.taken as f64 / seconds;
        outcome.field("bytes", json!(self.taken));
        outcome.field("bytes_per_second", json!(rounded(rate)));
        let taken = bytes(self.taken as f64);
        outcome.line("taken", format!("{taken}, {}/s", bytes(rate)));
        outcome
    }
}
