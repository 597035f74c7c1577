//! Idle: connections that are open and silent. What they cost is read from the server's process by
//! `control`; here they are only opened, kept and closed.

use serde_json::json;

use super::driver::Load;
use super::net::{End, Net};
use super::plan::Plan;
use super::report::{Outcome, Window, bytes, signed_bytes};
use super::shared::Phase;

/// The idle connections of one thread.
#[derive(Debug, Default)]
pub(super) struct Idle {
    opened: u64,
    /// Connections that the server closed while they should have been open.
    lost: u64,
    why: Option<String>,
    is_closing: bool,
}

impl Load for Idle {
    fn on_phase(&mut self, phase: Phase, net: &mut Net) {
        if phase == Phase::Drain {
            self.is_closing = true;
            net.close_all();
        }
    }

    fn on_open(&mut self, _key: usize, net: &mut Net) {
        self.opened += 1;
        net.shared.add_ready();
    }

    fn on_message(&mut self, _key: usize, _payload: &[u8], _now: u64) {}

    fn on_read(&mut self, _key: usize, _net: &mut Net) {}

    fn on_end(&mut self, _key: usize, end: End, net: &mut Net) {
        let End::Lost(why) = end else {
            return;
        };
        if self.is_closing {
            return;
        }
        if net.shared.phase() == Phase::Opening {
            net.shared.fail(why.clone());
        }
        self.lost += 1;
        self.why.get_or_insert(why);
    }

    fn is_drained(&self, net: &Net) -> bool {
        net.links.is_empty()
    }

    fn merge(&mut self, other: Self) {
        self.opened += other.opened;
        self.lost += other.lost;
        self.why = self.why.take().or(other.why);
    }

    fn outcome(&self, _plan: &Plan, window: &Window) -> Outcome {
        // What idle costs is told for a connection and a second.
        let mut outcome = Outcome::new("connection", 0);
        outcome.field("opened", json!(self.opened));
        outcome.field("lost", json!(self.lost));
        outcome.line("opened", format!("{} connections", self.opened));
        let memory = &window.memory;
        if let (Some(before), Some(open), 1..) = (memory.before, memory.loaded, self.opened) {
            let growth = open as f64 - before as f64;
            let each = growth / self.opened as f64;
            outcome.field("bytes_per_connection", json!(each.round()));
            outcome.line(
                "memory",
                format!(
                    "{} before, {} open: {} per connection",
                    bytes(before as f64),
                    bytes(open as f64),
                    signed_bytes(each)
                ),
            );
        }
        if let (Some(before), Some(after)) = (memory.before, memory.after) {
            let change = after as f64 - before as f64;
            let share = change / before as f64 * 100.0;
            outcome.line(
                "after",
                format!("{}, {share:+.1} % of before", bytes(after as f64)),
            );
        }
        if self.lost > 0 {
            let why = self.why.as_deref().unwrap_or("the server closed");
            outcome.problem(format!("{} connections were lost: {why}", self.lost));
        }
        outcome
    }
}
