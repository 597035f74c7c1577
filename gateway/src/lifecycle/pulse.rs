//! Signs of life of the parts, for who asks how the gateway is: when each worker ticked last, and
//! when descriptors were last found used up.

use std::sync::atomic::{AtomicU64, Ordering};

/// After how long without a tick a worker counts as hanging. Chosen: as for the whole gateway in the
/// counter page; it ticks ten times a second.
const HANGS_AFTER_MS: u64 = roomwire_metrics::STALLED_AFTER_MS;

/// How long a failed accept is remembered. Chosen: accepting is tried again every 200 ms.
const EXHAUSTED_MS: u64 = 1_000;

/// When what was seen last, in milliseconds of the gateway's clock.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// By worker; 0 before its first tick.
    ticked_ms: Box<[AtomicU64]>,
    /// 0 if never.
    exhausted_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            ticked_ms: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            exhausted_ms: AtomicU64::new(0),
        }
    }

    /// A worker ticked.
    pub(crate) fn tick(&self, worker: u16, now_ms: u64) {
        if let Some(ticked_ms) = self.ticked_ms.get(usize::from(worker)) {
            ticked_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// A connection could not be accepted for want of descriptors or memory.
    pub(crate) fn exhaust(&self, now_ms: u64) {
        self.exhausted_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// Whether that was so a moment ago.
    pub(crate) fn is_exhausted(&self, now_ms: u64) -> bool {
        let at_ms = self.exhausted_ms.load(Ordering::Relaxed);
        at_ms != 0 && now_ms.saturating_sub(at_ms) < EXHAUSTED_MS
    }

    /// Workers that hang, and for how many milliseconds.
    pub(crate) fn hanging(&self, now_ms: u64) -> Vec<(usize, u64)> {
        let silent =
            |ticked_ms: &AtomicU64| now_ms.saturating_sub(ticked_ms.load(Ordering::Relaxed));
        let workers = self.ticked_ms.iter().map(silent).enumerate();
        workers
            .filter(|(_, silent_ms)| *silent_ms > HANGS_AFTER_MS)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_tick_hangs_and_the_others_do_not() {
        let pulse = Pulse::new(2);
        assert_eq!(
            pulse.hanging(HANGS_AFTER_MS),
            [],
            "it may take a moment to start"
        );
        pulse.tick(0, 9_000);
        pulse.tick(1, 2_000);
        pulse.tick(7, 9_000);
        assert_eq!(pulse.hanging(9_500), [(1, 7_500)]);
    }

    #[test]
    fn exhaustion_is_forgotten_when_accepting_goes_on() {
        let pulse = Pulse::new(1);
        assert!(!pulse.is_exhausted(0));
        pulse.exhaust(0);
        assert!(pulse.is_exhausted(500));
        assert!(!pulse.is_exhausted(5_000));
    }
}
