//! Echo: each connection keeps its messages in flight and sends one for each that comes back.

use std::collections::VecDeque;

use roomwire_protocols::websocket::Opcode;
use serde_json::json;

use super::driver::Load;
use super::frame;
use super::latency::Latency;
use super::net::{End, Net};
use super::plan::{Plan, Protocol};
use super::report::{Outcome, Window};
use super::shared::Phase;
use super::socketio;

/// The echo load of one thread.
pub(super) struct Echo {
    payload: Vec<u8>,
    /// As many frames as one connection keeps in flight, one behind the other.
    burst: Vec<u8>,
    frame_length: usize,
    /// When what is in flight was sent, by key and oldest first.
    sent: Vec<VecDeque<u64>>,
    in_flight: usize,
    /// Messages in flight on all connections.
    outstanding: usize,
    /// Echoes of the read that is being told.
    came: usize,
    is_sending: bool,
    is_measuring: bool,
    wrong: u64,
    round_trip: Latency,
}

impl Echo {
    pub(super) fn new(plan: &Plan, mask: [u8; 4]) -> Self {
        let opcode = if plan.binary {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        let payload = match plan.protocol {
            Protocol::Socketio => {
                let (before, after) = socketio::event("echo");
                let argument = plan.content.plain(plan.size, true);
                [before.as_bytes(), &argument, after.as_bytes()].concat()
            }
            Protocol::Raw | Protocol::Roomwire | Protocol::Bytes => {
                plan.content.plain(plan.size, false)
            }
        };
        let mut burst = Vec::new();
        frame::append(&mut burst, opcode, &payload, mask);
        let frame_length = burst.len();
        Self {
            payload,
            burst: burst.repeat(plan.in_flight),
            frame_length,
            sent: Vec::new(),
            in_flight: plan.in_flight,
            outstanding: 0,
            came: 0,
            is_sending: false,
            is_measuring: false,
            wrong: 0,
            round_trip: Latency::new(),
        }
    }

    fn send(&mut self, key: usize, count: usize, net: &mut Net) {
        let Some(sent) = self.sent.get_mut(key) else {
            return;
        };
        let now = net.now();
        sent.extend(std::iter::repeat_n(now, count));
        self.outstanding += count;
        let frames = self.burst.get(..count * self.frame_length);
        net.send(key, frames.unwrap_or_default());
    }
}

impl Load for Echo {
    fn on_phase(&mut self, phase: Phase, net: &mut Net) {
        let was_sending = self.is_sending;
        self.is_measuring = phase == Phase::Measure;
        self.is_sending = matches!(phase, Phase::Warmup | Phase::Measure);
        if self.is_sending && !was_sending {
            for key in 0..self.sent.len() {
                self.send(key, self.in_flight, net);
            }
        }
    }

    fn on_open(&mut self, key: usize, net: &mut Net) {
        if self.sent.len() <= key {
            self.sent.resize_with(key + 1, VecDeque::new);
        }
        net.shared.add_ready();
    }

    fn on_message(&mut self, key: usize, payload: &[u8], now: u64) {
        let Some(began) = self.sent.get_mut(key).and_then(VecDeque::pop_front) else {
            self.wrong += 1;
            return;
        };
        self.came += 1;
        self.outstanding -= 1;
        if payload != self.payload {
            self.wrong += 1;
        }
        if self.is_measuring {
            self.round_trip.record(began, now);
        }
    }

    fn on_read(&mut self, key: usize, net: &mut Net) {
        let came = std::mem::take(&mut self.came);
        if self.wrong > 0 {
            net.shared.fail("the server sent something that is no echo");
        } else if self.is_sending && came > 0 {
            self.send(key, came, net);
        }
    }

    fn on_end(&mut self, key: usize, end: End, net: &mut Net) {
        if let Some(sent) = self.sent.get_mut(key) {
            self.outstanding -= sent.len();
            sent.clear();
        }
        if let End::Lost(why) = end {
            net.shared.fail(why);
        }
    }

    fn is_drained(&self, _net: &Net) -> bool {
        self.outstanding == 0
    }

    fn merge(&mut self, other: Self) {
        self.wrong += other.wrong;
        self.outstanding += other.outstanding;
        self.round_trip.merge(&other.round_trip);
    }

    fn outcome(&self, _plan: &Plan, window: &Window) -> Outcome {
        let count = self.round_trip.count();
        let mut outcome = Outcome::new("message", count);
        outcome.rate("messages", count, window);
        outcome.field("round_trip_us", self.round_trip.json());
        outcome.field("unanswered", json!(self.outstanding));
        outcome.line("round trip", self.round_trip.text());
        if self.outstanding > 0 && window.failure.is_none() {
            outcome.problem(format!("{} messages were not echoed", self.outstanding));
        }
        outcome
    }
}
