//! Follows a page: what it says now, what it said a moment ago, and a trail of a few figures.
//!
//! A gateway that is started again makes a new page at the same path. The old one is left when that
//! happens, and with it the past: rates over a restart would be nonsense.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roomwire_metrics::{BlockView, GatewayState, Histogram, Reader, Snapshot};

use crate::lifecycle::Clock;

/// Looks that trails go back. Chosen: what a wide terminal shows as a line.
const TRAIL: usize = 240;

/// Looks that slow figures are measured over, such as CPU time, which comes once a second.
const SLOW_LOOKS: usize = 5;

/// Figures with a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trail {
    Sessions,
    Published,
    Delivered,
    BytesOut,
    Latency,
    Troubles,
}

impl Trail {
    pub(super) const ALL: [Self; 6] = [
        Self::Sessions,
        Self::Published,
        Self::Delivered,
        Self::BytesOut,
        Self::Latency,
        Self::Troubles,
    ];
}

/// A page that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    reader: Option<Reader>,
    /// The latest look last.
    looks: VecDeque<Look>,
    state: Option<GatewayState>,
    problem: Option<String>,
    trails: [VecDeque<u64>; Trail::ALL.len()],
}

#[derive(Debug)]
struct Look {
    at: Instant,
    snapshot: Snapshot,
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            reader: None,
            looks: VecDeque::new(),
            state: None,
            problem: None,
            trails: Default::default(),
        }
    }

    /// Reads the page. What goes wrong is kept to be shown; the last figures stay.
    pub(super) fn look(&mut self, at: Instant) {
        if self.reader.as_ref().is_none_or(Reader::is_replaced) {
            match Reader::open(&self.path) {
                Ok(reader) => {
                    self.reader = Some(reader);
                    self.looks.clear();
                    self.trails = Default::default();
                }
                // The old page is still mapped, and shown until a new one can be read.
                Err(error) => self.problem = Some(error.problem.to_string()),
            }
        }
        let Some(reader) = &self.reader else {
            return;
        };
        match reader.snapshot() {
            Ok(snapshot) => {
                self.state = Some(snapshot.state(Clock::unix_ms(), reader.writer_alive()));
                if !reader.is_replaced() {
                    self.problem = None;
                }
                self.take(at, snapshot);
            }
            Err(error) => {
                self.problem = Some(error.problem.to_string());
                self.reader = None;
            }
        }
    }

    /// Takes what a look saw.
    pub(super) fn take(&mut self, at: Instant, snapshot: Snapshot) {
        self.looks.push_back(Look { at, snapshot });
        if self.looks.len() > SLOW_LOOKS {
            self.looks.pop_front();
        }
        let latency = self
            .lately("hub_publish_to_flush_us")
            .map_or(0, |values| values.p99());
        let values = [
            self.value("sessions"),
            whole(self.rate("hub_publishes_total")),
            whole(self.rate("hub_deliveries_total")),
            whole(self.rate("wire_bytes_out_total")),
            latency,
            whole(self.trouble_rate()),
        ];
        for (trail, value) in self.trails.iter_mut().zip(values) {
            trail.push_back(value);
            if trail.len() > TRAIL {
                trail.pop_front();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn set_state(&mut self, state: GatewayState) {
        self.state = Some(state);
    }

    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.looks.back().map(|look| &look.snapshot)
    }

    /// How the gateway is; None before the first look.
    pub(super) fn state(&self) -> Option<GatewayState> {
        self.state
    }

    /// Why the page cannot be read now.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(super) fn trail(&self, trail: Trail) -> &VecDeque<u64> {
        &self.trails[trail as usize]
    }

    /// A figure now; 0 where the page has none of this name.
    pub(super) fn value(&self, name: &str) -> u64 {
        let value = self.snapshot().and_then(|snapshot| snapshot.value(name));
        value.unwrap_or(0)
    }

    fn before(&self) -> Option<(&Snapshot, Duration)> {
        let now = self.looks.back()?;
        let before = self.looks.iter().rev().nth(1)?;
        Some((
            &before.snapshot,
            now.at.saturating_duration_since(before.at),
        ))
    }

    /// By how much a second a counter grew between the last two looks.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        let (before, elapsed) = self.before()?;
        per_second(self.value(name), before.value(name)?, elapsed)
    }

    /// The same of a counter of a block.
    pub(super) fn block_rate(&self, block: &BlockView, name: &str) -> Option<f64> {
        let (before, elapsed) = self.before()?;
        let same = |it: &&BlockView| it.kind == block.kind && it.label == block.label;
        let earlier = before.blocks.iter().find(same)?;
        per_second(block.value(name)?, earlier.value(name)?, elapsed)
    }

    /// The same of one lane's part of a counter, over the last few looks.
    pub(super) fn lane_rate(&self, name: &str, lane: usize) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let part = |look: &Look| look.snapshot.row(name)?.per_lane.get(lane).copied();
        let elapsed = last.at.saturating_duration_since(first.at);
        per_second(part(last)?, part(first)?, elapsed)
    }

    /// Whether a lane's worker published since the look before last; true while nobody knows.
    pub(super) fn lane_moves(&self, lane: usize) -> bool {
        let publications = |look: &Look| look.snapshot.lanes.get(lane).map(|it| it.publications);
        match (self.looks.front(), self.looks.back()) {
            (Some(first), Some(last)) if self.looks.len() > 2 => {
                publications(first) != publications(last)
            }
            _ => true,
        }
    }

    /// What a histogram recorded between the last two looks; since the start after the first look.
    pub(super) fn lately(&self, name: &str) -> Option<Histogram> {
        let now = self.snapshot()?.row(name)?.histogram.as_ref()?;
        let before = self.before().and_then(|(before, _)| before.row(name));
        match before.and_then(|row| row.histogram.as_ref()) {
            Some(before) => Some(now.since(before)),
            None => Some(now.clone()),
        }
    }

    /// Things per second that should not happen.
    pub(super) fn trouble_rate(&self) -> Option<f64> {
        let rows = &self.snapshot()?.rows;
        let troubles = rows.iter().filter(|row| row.is_trouble());
        let rates: Vec<f64> = troubles.filter_map(|row| self.rate(&row.name)).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn per_second(now: u64, before: u64, elapsed: Duration) -> Option<f64> {
    let grown = now.checked_sub(before)?;
    (!elapsed.is_zero()).then(|| grown as f64 / elapsed.as_secs_f64())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and a float cast saturates"
)]
fn whole(rate: Option<f64>) -> u64 {
    rate.map_or(0, |rate| rate.round() as u64)
}
