//! Echo without frames: each connection keeps its messages in flight, which come back as one stream
//! of bytes, and sends one for each that is back as a whole.

use std::collections::VecDeque;

use serde_json::json;

use super::driver::Load;
use super::latency::{Latency, rounded};
use super::net::{End, Net};
use super::plan::Plan;
use super::report::{Outcome, Window, bytes};
use super::shared::Phase;

/// The echo load of one thread.
pub(super) struct ByteEcho {
    /// As many messages as one connection keeps in flight, one behind the other.
    burst: Vec<u8>,
    size: usize,
    in_flight: usize,
    flows: Vec<Flow>,
    /// Messages in flight on all connections.
    outstanding: usize,
    /// Messages that the read brought which is being told.
    came: usize,
    is_sending: bool,
    is_measuring: bool,
    is_wrong: bool,
    round_trip: Latency,
}

/// What one connection waits for.
#[derive(Default)]
struct Flow {
    /// When what is in flight was sent, oldest first.
    sent: VecDeque<u64>,
    /// How much of the oldest is back.
    came: usize,
}

impl ByteEcho {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            burst: plan.content.plain(plan.size, false).repeat(plan.in_flight),
            size: plan.size,
            in_flight: plan.in_flight,
            flows: Vec::new(),
            outstanding: 0,
            came: 0,
            is_sending: false,
            is_measuring: false,
            is_wrong: false,
            round_trip: Latency::new(),
        }
    }

    fn send(&mut self, key: usize, count: usize, net: &mut Net) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let now = net.now();
        flow.sent.extend(std::iter::repeat_n(now, count));
        self.outstanding += count;
        let messages = self.burst.get(..count * self.size);
        net.send(key, messages.unwrap_or_default());
    }
}

impl Load for ByteEcho {
    fn on_phase(&mut self, phase: Phase, net: &mut Net) {
        let was_sending = self.is_sending;
        self.is_measuring = phase == Phase::Measure;
        self.is_sending = matches!(phase, Phase::Warmup | Phase::Measure);
        if self.is_sending && !was_sending {
            for key in 0..self.flows.len() {
                self.send(key, self.in_flight, net);
            }
        }
    }

    fn on_open(&mut self, key: usize, net: &mut Net) {
        if self.flows.len() <= key {
            self.flows.resize_with(key + 1, Flow::default);
        }
        net.shared.add_ready();
    }

    fn on_message(&mut self, key: usize, payload: &[u8], now: u64) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let mut rest = payload;
        while !rest.is_empty() {
            let (take, _) = rest.split_at(rest.len().min(self.size - flow.came));
            let expected = self.burst.get(flow.came..flow.came + take.len());
            if flow.sent.is_empty() || expected != Some(take) {
                self.is_wrong = true;
                return;
            }
            flow.came += take.len();
            rest = rest.get(take.len()..).unwrap_or_default();
            if flow.came == self.size {
                flow.came = 0;
                self.came += 1;
                self.outstanding -= 1;
                let began = flow.sent.pop_front().unwrap_or(now);
                if self.is_measuring {
                    self.round_trip.record(began, now);
                }
            }
        }
    }

    fn on_read(&mut self, key: usize, net: &mut Net) {
        let came = std::mem::take(&mut self.came);
        if self.is_wrong {
            net.shared.fail("the server sent something that is no echo");
        } else if self.is_sending && came > 0 {
            self.send(key, came, net);
        }
    }

    fn on_end(&mut self, key: usize, end: End, net: &mut Net) {
        if let Some(flow) = self.flows.get_mut(key) {
            self.outstanding -= flow.sent.len();
            *flow = Flow::default();
        }
        if let End::Lost(why) = end {
            net.shared.fail(why);
        }
    }

    fn is_drained(&self, _net: &Net) -> bool {
        self.outstanding == 0
    }

    fn merge(&mut self, other: Self) {
        self.outstanding += other.outstanding;
        self.round_trip.merge(&other.round_trip);
    }

    fn outcome(&self, _plan: &Plan, window: &Window) -> Outcome {
        let count = self.round_trip.count();
        let mut outcome = Outcome::new("message", count);
        outcome.rate("messages", count, window);
        let seconds = window.length.as_secs_f64().max(f64::MIN_POSITIVE);
        let each_way = count as f64 * self.size as f64 / seconds;
        outcome.field("bytes_per_second", json!(rounded(each_way)));
        outcome.field("round_trip_us", self.round_trip.json());
        outcome.field("unanswered", json!(self.outstanding));
        outcome.line("each way", format!("{}/s", bytes(each_way)));
        outcome.line("round trip", self.round_trip.text());
        if self.outstanding > 0 && window.failure.is_none() {
            outcome.problem(format!("{} messages were not echoed", self.outstanding));
        }
        outcome
    }
}
