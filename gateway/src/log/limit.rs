//! Keeps any kind of line from flooding the log: so many of a kind in a second and no more, whatever
//! level it has and whoever causes it. What was left out is told afterwards, and counted.
//!
//! A kind is a place in the code, so there are as many as the code has, and memory is bounded.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use roomwire_metrics::{Id, SharedLane};
use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one kind in one second. Chosen: more than anybody reads, 20 KB a second at the most.
const MAX_PER_SECOND: u32 = 100;

/// Kinds that are named when what was left out is told; the rest is added up.
const MAX_NAMED: usize = 5;

static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// Lets lines through as long as there are not too many of a kind.
pub(super) struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        LINES.admit(event.metadata(), Instant::now())
    }
}

struct Lines {
    start: Instant,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

struct Kind {
    metadata: &'static Metadata<'static>,
    /// Which second since the start `let_through` is of.
    second: u64,
    let_through: u32,
    left_out: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            kinds: Mutex::default(),
        }
    }
}

impl Lines {
    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs();
        let mut kinds = self.kinds();
        let kind = kinds.entry(metadata.callsite()).or_insert(Kind {
            metadata,
            second,
            let_through: 0,
            left_out: 0,
        });
        if kind.second != second {
            (kind.second, kind.let_through) = (second, 0);
        }
        let admitted = kind.let_through < MAX_PER_SECOND;
        if admitted {
            kind.let_through += 1;
        } else {
            kind.left_out += 1;
        }
        admitted
    }

    /// What was left out since the last call, most first.
    fn take_left_out(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut kinds = self.kinds();
        let left_out = kinds.values_mut().filter(|kind| kind.left_out > 0);
        let mut left_out: Vec<_> = left_out
            .map(|kind| (kind.metadata, std::mem::take(&mut kind.left_out)))
            .collect();
        drop(kinds);
        left_out.sort_unstable_by_key(|(_, lines)| std::cmp::Reverse(*lines));
        left_out
    }
}

/// Tells which kinds of lines were left out since the last call, and counts them.
pub(crate) fn tell_of_left_out(lane: &SharedLane) {
    let left_out = LINES.take_left_out();
    let all: u64 = left_out.iter().map(|(_, lines)| lines).sum();
    if all == 0 {
        return;
    }
    lane.add(Id::LogLinesLeftOut, all);
    for (metadata, lines) in left_out.iter().take(MAX_NAMED) {
        let (target, level) = (metadata.target(), metadata.level());
        let line = metadata.line().unwrap_or(0);
        tracing::info!(lines, of = target, line, %level, "lines were left out of the log");
    }
    let rest: u64 = left_out
        .iter()
        .skip(MAX_NAMED)
        .map(|(_, lines)| lines)
        .sum();
    if rest > 0 {
        tracing::info!(
            lines = rest,
            "lines of other kinds were left out of the log"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::callsite::Callsite as _;

    use super::*;

    fn metadata() -> &'static Metadata<'static> {
        let callsite = tracing::callsite! {
            name: "a line", kind: tracing::metadata::Kind::EVENT, fields: message
        };
        callsite.metadata()
    }

    #[test]
    fn so_many_lines_of_a_kind_pass_in_a_second_and_the_rest_is_counted() {
        let lines = Lines::default();
        let (one, other) = (
            metadata(),
            tracing::callsite! {
                name: "another", kind: tracing::metadata::Kind::EVENT, fields: message
            },
        );
        let admitted = |metadata, after_ms| {
            let now = lines.start + Duration::from_millis(after_ms);
            (0..250).filter(|_| lines.admit(metadata, now)).count()
        };
        assert_eq!(admitted(one, 0), 100);
        assert_eq!(admitted(one, 900), 0);
        assert_eq!(admitted(other.metadata(), 900), 100, "kinds are apart");
        assert_eq!(admitted(one, 1_000), 100, "a new second");
        let left_out: Vec<u64> = lines.take_left_out().iter().map(|(_, n)| *n).collect();
        assert_eq!(left_out, [550, 150]);
        assert!(lines.take_left_out().is_empty());
    }
}
