//! By how much the gateway's figures moved.

use std::collections::BTreeMap;

use roomwire_metrics::{Kind, Snapshot};

use crate::gateway::TestGateway;
use crate::patience::{PATIENCE, eventually};

/// The figures at one moment, to be compared with later ones.
#[derive(Debug)]
pub struct Counters<'a> {
    gateway: &'a TestGateway,
    before: Snapshot,
}

impl<'a> Counters<'a> {
    pub(crate) fn of(gateway: &'a TestGateway) -> Self {
        let before = gateway.snapshot();
        Self { gateway, before }
    }

    /// By how much one counter moved until now.
    pub fn delta(&self, name: &str) -> u64 {
        let before = self.before.value(name);
        let before = before.unwrap_or_else(|| panic!("no counter {name}"));
        let after = self.gateway.snapshot().value(name).unwrap_or_default();
        after - before
    }

    /// Waits until each counter moved by exactly so much: workers publish what they counted once per
    /// turn, so figures come a moment after what they count.
    pub async fn moved(&self, expected: &[(&str, u64)]) {
        let wanted: BTreeMap<&str, u64> = expected.iter().copied().collect();
        eventually(PATIENCE, || {
            let moved: BTreeMap<&str, u64> = wanted
                .keys()
                .map(|name| (*name, self.delta(name)))
                .collect();
            if moved == wanted {
                Ok(())
            } else {
                Err(format!("moved {moved:?}, expected {wanted:?}"))
            }
        })
        .await;
    }

    /// Every counter that tells of something bad and moved: errors, refusals, and sessions that ended
    /// in another way than by the peer's leave.
    pub fn complaints(&self) -> BTreeMap<String, u64> {
        const HARMLESS: &[&str] = &[
            "session_close_closed_total",
            "session_close_ended_total",
            "session_close_upgraded_total",
        ];
        let after = self.gateway.snapshot();
        let tells = |name: &str, unit: &str| {
            unit == "errors"
                || name.contains("refused")
                || name.contains("dropped")
                || name.starts_with("session_close_")
                || name == "http_wrong_content_type_total"
        };
        let rows = after.rows.iter().filter(|row| {
            row.kind == Kind::Counter
                && tells(&row.name, &row.unit)
                && !HARMLESS.contains(&&*row.name)
        });
        rows.map(|row| {
            let before = self.before.value(&row.name).unwrap_or_default();
            (row.name.to_string(), row.value - before)
        })
        .filter(|(_, moved)| *moved > 0)
        .collect()
    }

    /// Waits until of all counters that tell of something bad exactly these moved, by so much.
    pub async fn complained(&self, expected: &[(&str, u64)]) {
        let wanted: BTreeMap<String, u64> = expected
            .iter()
            .map(|(name, moved)| ((*name).to_owned(), *moved))
            .collect();
        eventually(PATIENCE, || {
            let moved = self.complaints();
            if moved == wanted {
                Ok(())
            } else {
                Err(format!("complaints {moved:?}, expected {wanted:?}"))
            }
        })
        .await;
    }
}
