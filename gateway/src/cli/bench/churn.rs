//! Churn: connections that are opened, shake hands, and are closed at once, over and over.
//!
//! A cycle is the connect, the handshake, our close frame and the server's end of the connection, so
//! that a server which closes properly is not charged for it. Without frames it is the connect, one
//! message that comes back, and the ends of both sides.

use serde_json::json;

use super::driver::Load;
use super::latency::Latency;
use super::net::{End, Net};
use super::plan::{Plan, Protocol};
use super::report::{Outcome, Window};
use super::shared::Phase;

/// Failures that end a run of which nothing else is known.
const MAX_FAILURES: u64 = 100;

/// The churn of one thread.
pub(super) struct Churn {
    /// Connections at a time.
    concurrency: usize,
    is_running: bool,
    is_measuring: bool,
    cycles: u64,
    failures: u64,
    /// Measured or not; what failures are compared with.
    completed: u64,
    handshake: Latency,
    whole: Latency,
    /// When the connection of a key was begun.
    began: Vec<u64>,
    /// What is sent first and has to come back; empty where that is nothing.
    message: Vec<u8>,
    /// How much of it has come back, by key.
    came: Vec<usize>,
    why: Option<String>,
}

impl Churn {
    pub(super) fn new(plan: &Plan, thread: usize) -> Self {
        let message = match plan.protocol {
            Protocol::Bytes => plan.content.plain(plan.size, false),
            Protocol::Roomwire | Protocol::Raw | Protocol::Socketio => Vec::new(),
        };
        Self {
            concurrency: plan.share(thread),
            message,
            came: Vec::new(),
            is_running: false,
            is_measuring: false,
            cycles: 0,
            failures: 0,
            completed: 0,
            handshake: Latency::new(),
            whole: Latency::new(),
            began: Vec::new(),
            why: None,
        }
    }
}

impl Load for Churn {
    fn on_phase(&mut self, phase: Phase, net: &mut Net) {
        let was_running = self.is_running;
        self.is_running = matches!(phase, Phase::Warmup | Phase::Measure);
        self.is_measuring = phase == Phase::Measure;
        if self.is_running && !was_running {
            for _ in 0..self.concurrency {
                net.open();
            }
        }
    }

    fn on_open(&mut self, key: usize, net: &mut Net) {
        let began = net.links.get(key).map_or(0, |link| link.began);
        if self.began.len() <= key {
            self.began.resize(key + 1, 0);
            self.came.resize(key + 1, 0);
        }
        if let Some(came) = self.came.get_mut(key) {
            *came = 0;
        }
        if let Some(slot) = self.began.get_mut(key) {
            *slot = began;
        }
        if self.is_measuring {
            self.handshake.record(began, net.now());
        }
        if self.message.is_empty() {
            net.close(key);
        } else {
            net.send(key, &self.message);
        }
    }

    fn on_message(&mut self, key: usize, payload: &[u8], _now: u64) {
        if let Some(came) = self.came.get_mut(key) {
            *came += payload.len();
        }
    }

    fn on_read(&mut self, key: usize, net: &mut Net) {
        let came = self.came.get(key).copied().unwrap_or_default();
        if !self.message.is_empty() && came == self.message.len() {
            net.close(key);
        }
    }

    fn on_end(&mut self, key: usize, end: End, net: &mut Net) {
        match end {
            End::Closed => {
                self.completed += 1;
                if self.is_measuring {
                    self.cycles += 1;
                    let began = self.began.get(key).copied().unwrap_or_default();
                    self.whole.record(began, net.now());
                }
            }
            End::Lost(why) => {
                self.failures += 1;
                self.why.get_or_insert(why);
            }
        }
        if self.failures > MAX_FAILURES + self.completed / 10 {
            let why = self.why.as_deref().unwrap_or_default();
            net.shared.fail(format!("too many cycles fail: {why}"));
        } else if self.is_running {
            net.open();
        }
    }

    fn is_drained(&self, net: &Net) -> bool {
        net.links.is_empty()
    }

    fn merge(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.failures += other.failures;
        self.handshake.merge(&other.handshake);
        self.whole.merge(&other.whole);
        self.why = self.why.take().or(other.why);
    }

    fn outcome(&self, _plan: &Plan, window: &Window) -> Outcome {
        let mut outcome = Outcome::new("cycle", self.cycles);
        outcome.rate("cycles", self.cycles, window);
        outcome.field("handshake_us", self.handshake.json());
        outcome.field("cycle_us", self.whole.json());
        outcome.field("failures", json!(self.failures));
        outcome.line("handshake", self.handshake.text());
        outcome.line("cycle", self.whole.text());
        if self.failures > 0 {
            let why = self.why.as_deref().unwrap_or_default();
            outcome.problem(format!("{} cycles failed: {why}", self.failures));
        }
        outcome
    }
}
