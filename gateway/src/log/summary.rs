//! What happened to everybody in the last minute, in a line or two: a line for each would let peers
//! flood the log, and those of single sessions have level `debug`.
//!
//! It comes from the counters, so it says what the counter page says. Nothing happened, nothing is said.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use roomwire_metrics::Snapshot;

/// How often it is told. Chosen: often enough to find the minute of a fault in a log.
const EVERY: Duration = Duration::from_secs(60);

/// Figures that one line names; the rest is in the counters.
const MAX_NAMED: usize = 8;

/// The prefix and suffix of what counts sessions by how they ended.
const CLOSED: (&str, &str) = ("session_close_", "_total");

/// The counters as they were told last.
#[derive(Debug)]
pub(crate) struct Summary {
    told: Snapshot,
    at: Instant,
}

impl Summary {
    pub(crate) fn new(now: Snapshot) -> Self {
        let at = Instant::now();
        Self { told: now, at }
    }

    /// Tells what happened since the last time, if that is long enough ago.
    pub(crate) fn tell_in_time(&mut self, now: &Snapshot) {
        if self.at.elapsed() >= EVERY {
            self.at = Instant::now();
            self.tell(now);
        }
    }

    fn tell(&mut self, now: &Snapshot) {
        let (ended, reasons) = self.grown(now, |name, _| {
            name.strip_prefix(CLOSED.0)?.strip_suffix(CLOSED.1)
        });
        if ended > 0 {
            tracing::info!(ended, reasons, "sessions ended in the last minute");
        }
        let (errors, kinds) = self.grown(now, |name, is_trouble| {
            (is_trouble && !name.starts_with(CLOSED.0)).then_some(name)
        });
        if errors > 0 {
            tracing::info!(
                errors,
                kinds,
                "went wrong in the last minute; see roomwire stats"
            );
        }
        self.told = now.clone();
    }

    /// How much the counters grew that `named` gives a name, all together and each, most first.
    fn grown(
        &self,
        now: &Snapshot,
        named: impl for<'a> Fn(&'a str, bool) -> Option<&'a str>,
    ) -> (u64, String) {
        let rows = now.rows.iter();
        let mut grown: Vec<(&str, u64)> = rows
            .filter_map(|row| {
                let name = named(&row.name, row.is_trouble())?;
                let before = self.told.value(&row.name).unwrap_or(0);
                let more = row.value.saturating_sub(before);
                (more > 0).then_some((name, more))
            })
            .collect();
        grown.sort_by_key(|(_, more)| std::cmp::Reverse(*more));
        let all = grown.iter().map(|(_, more)| more).sum();
        let mut text = String::new();
        for (name, more) in grown.iter().take(MAX_NAMED) {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            write!(text, "{comma}{name} {more}").unwrap_or(());
        }
        if grown.len() > MAX_NAMED {
            text.push_str(", …");
        }
        (all, text)
    }
}

#[cfg(test)]
mod tests {
    use roomwire_metrics::{Id, Page, PageOptions};

    use super::*;

    #[test]
    fn growth_is_told_by_kind_most_first() {
        let page = Page::anonymous(&PageOptions::new("summary", 1)).unwrap();
        let lane = page.lane(0).unwrap();
        lane.add(Id::CloseReset, 4);
        lane.publish();
        let mut summary = Summary::new(page.snapshot());
        lane.add(Id::CloseReset, 1);
        lane.add(Id::CloseClosed, 3);
        lane.add(Id::ErrorsJson, 7);
        lane.publish();
        let now = page.snapshot();
        let (ended, reasons) =
            summary.grown(&now, |name, _| name.starts_with(CLOSED.0).then_some(name));
        assert_eq!(
            (ended, &*reasons),
            (
                4,
                "session_close_closed_total 3, session_close_reset_total 1"
            )
        );
        summary.tell(&now);
        assert_eq!(summary.grown(&now, |name, _| Some(name)).0, 0);
    }
}
