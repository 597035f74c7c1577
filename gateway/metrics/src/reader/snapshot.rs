//! What a reader saw at one moment: owned, comparable, without a tie to the page.

use std::sync::Arc;

use super::block::BlockView;
use crate::catalogue::{Kind, Level};
use crate::histogram::Histogram;

/// After how many milliseconds without a heartbeat a living gateway counts as stalled. Chosen: five
/// heartbeats of a second; a machine under load misses two.
pub const STALLED_AFTER_MS: u64 = 5_000;

/// What the gateway says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It does not take sessions yet.
    Starting,
    /// It takes sessions.
    Running,
    /// It ends its sessions and takes no new ones.
    Draining,
    /// It ended as it should.
    Stopped,
}

impl Phase {
    pub(crate) const fn to_word(self) -> u64 {
        match self {
            Self::Starting => 0,
            Self::Running => 1,
            Self::Draining => 2,
            Self::Stopped => 3,
        }
    }

    /// A later version may have further phases between running and stopped.
    pub(crate) const fn from_word(word: u64) -> Self {
        match word {
            0 => Self::Starting,
            1 => Self::Running,
            3 => Self::Stopped,
            _ => Self::Draining,
        }
    }
}

/// How the gateway is, from what it says and from what the kernel knows of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayState {
    /// It lives and does not take sessions yet.
    Starting,
    /// It lives and takes sessions.
    Running,
    /// It lives and ends its sessions.
    Draining,
    /// It ended as it should.
    Stopped,
    /// Its process is gone and did not say good-bye: it crashed or was killed.
    Dead,
    /// Its process lives, but its heartbeat stopped more than [`STALLED_AFTER_MS`] ago: it hangs, or
    /// was halted.
    Stalled,
}

impl GatewayState {
    /// One lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
            Self::Stalled => "stalled",
        }
    }
}

/// All figures of a gateway at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The gateway's process id.
    pub pid: u32,
    /// The gateway's name.
    pub instance: String,
    /// The gateway's version.
    pub version: String,
    /// When it started, milliseconds since 1970.
    pub start_unix_ms: u64,
    /// Since when its counters count: its start, or that of a gateway whose counters it keeps.
    pub since_unix_ms: u64,
    /// When it last said that it lives, milliseconds since 1970.
    pub heartbeat_unix_ms: u64,
    /// What it says about itself.
    pub phase: Phase,
    /// Whether it says that it takes sessions.
    pub ready: bool,
    /// Whether it said that it ended as it should.
    pub stopped: bool,
    /// Number of worker lanes.
    pub workers: u16,
    /// The lanes, in the order of [`Row::per_lane`].
    pub lanes: Vec<LaneInfo>,
    /// The figures, in the order of the page's catalogue.
    pub rows: Vec<Row>,
    /// Labelled figures: listeners, patterns of rooms, the busiest rooms.
    pub blocks: Vec<BlockView>,
}

/// Whose a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    /// The worker's number; None for the lane that all threads share.
    pub worker: Option<u16>,
    /// How often the worker published. Stands still when the worker hangs.
    pub publications: u64,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name: lower-case letters, digits and `_`.
    pub name: Arc<str>,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Arc<str>,
    /// Who wants to see it.
    pub level: Level,
    /// What it means and what to do. One line without control characters.
    pub help: Arc<str>,
    /// All lanes together; for a histogram the number of values.
    pub value: u64,
    /// The parts of the lanes. A gauge's part below zero is shown as 0, so these need not add up:
    /// what one worker opened another may have closed.
    pub per_lane: Vec<u64>,
    /// The distribution, for a histogram.
    pub histogram: Option<Histogram>,
}

/// Words in a counter's name that make its rise a reason to look.
const TROUBLE: &[&str] = &[
    "bad",
    "congested",
    "cut",
    "dropped",
    "error",
    "errors",
    "failed",
    "internal",
    "late",
    "lost",
    "panics",
    "reset",
    "refused",
    "slow",
    "timeout",
    "timeouts",
    "violation",
    "violations",
];

/// Counters whose events others count as well, by what they were.
const COUNTED_ELSEWHERE: &[&str] = &[
    "http_responses_client_error_total",
    "http_responses_server_error_total",
    "session_close_protocol_error_total",
    "tls_handshake_errors_total",
];

impl Row {
    /// Whether a rise of this figure means that something went wrong.
    pub fn is_trouble(&self) -> bool {
        self.kind == Kind::Counter
            && self.name.split('_').any(|word| TROUBLE.contains(&word))
            && !COUNTED_ELSEWHERE.contains(&&*self.name)
    }
}

impl Snapshot {
    /// A figure by its name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| &*row.name == name)
    }

    /// A figure's value by its name.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.row(name).map(|row| row.value)
    }

    /// How the gateway is at `now_unix_ms`, given whether its process lives
    /// ([`Reader::writer_alive`](crate::Reader::writer_alive)).
    pub const fn state(&self, now_unix_ms: u64, alive: bool) -> GatewayState {
        if matches!(self.phase, Phase::Stopped) {
            return GatewayState::Stopped;
        }
        if !alive {
            return GatewayState::Dead;
        }
        if now_unix_ms.saturating_sub(self.heartbeat_unix_ms) > STALLED_AFTER_MS {
            return GatewayState::Stalled;
        }
        match self.phase {
            Phase::Starting => GatewayState::Starting,
            Phase::Running => GatewayState::Running,
            Phase::Draining | Phase::Stopped => GatewayState::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(phase: Phase, heartbeat_unix_ms: u64) -> Snapshot {
        Snapshot {
            pid: 1,
            instance: "main".to_owned(),
            version: "1".to_owned(),
            start_unix_ms: 0,
            since_unix_ms: 0,
            heartbeat_unix_ms,
            phase,
            ready: phase == Phase::Running,
            stopped: phase == Phase::Stopped,
            workers: 1,
            lanes: Vec::new(),
            rows: Vec::new(),
            blocks: Vec::new(),
        }
    }

    #[test]
    fn the_state_weighs_word_process_and_heartbeat() {
        let late = STALLED_AFTER_MS + 1;
        for (phase, now, alive, expected) in [
            (Phase::Starting, 0, true, GatewayState::Starting),
            (
                Phase::Running,
                STALLED_AFTER_MS,
                true,
                GatewayState::Running,
            ),
            (Phase::Running, late, true, GatewayState::Stalled),
            (Phase::Starting, late, true, GatewayState::Stalled),
            (Phase::Running, 0, false, GatewayState::Dead),
            (Phase::Starting, late, false, GatewayState::Dead),
            (Phase::Draining, 0, true, GatewayState::Draining),
            (Phase::Draining, 0, false, GatewayState::Dead),
            (Phase::Stopped, late, false, GatewayState::Stopped),
            (Phase::Stopped, 0, true, GatewayState::Stopped),
        ] {
            assert_eq!(
                with(phase, 0).state(now, alive),
                expected,
                "{phase:?} {now} {alive}"
            );
        }
        assert_eq!(
            with(Phase::Running, 9_000).state(1, true),
            GatewayState::Running,
            "clock set back"
        );
    }

    #[test]
    fn phases_survive_the_page_and_unknown_ones_are_not_running() {
        for phase in [
            Phase::Starting,
            Phase::Running,
            Phase::Draining,
            Phase::Stopped,
        ] {
            assert_eq!(Phase::from_word(phase.to_word()), phase);
        }
        assert_eq!(Phase::from_word(u64::MAX), Phase::Draining);
    }
}
