//! How long to wait before the next attempt to connect.
//!
//! Full jitter: a uniformly random share of a bound that doubles with each failure, so that the
//! clients of a gateway that restarts do not all come back in the same instant. Randomness is an
//! argument of [`Backoff::delay`], which keeps this pure.

use std::time::Duration;

/// The bound of the first delay (DESIGN: client reconnect, as centrifuge-js).
pub const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The bound that the doubling stops at (DESIGN: client reconnect, as centrifuge-js).
pub const MAX_DELAY: Duration = Duration::from_secs(20);

/// Counts failures and turns them into delays.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    /// Failures since the last success; stops counting where the bound has long been `max`.
    failures: u32,
}

impl Backoff {
    /// A backoff whose bound begins at `first` and doubles up to `max`.
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            failures: 0,
        }
    }

    /// The bound of the next delay.
    pub(super) fn bound(&self) -> Duration {
        // 2^31 times any useful first delay is beyond any useful bound.
        let factor = 1_u32 << self.failures.min(31);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// Counts one failure and says how long to wait: `random / 2^64` of the bound.
    pub(super) fn delay(&mut self, random: u64) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let nanos = (bound.as_nanos() * u128::from(random)) >> 64;
        u64::try_from(nanos).map_or(bound, Duration::from_nanos)
    }

    /// The connection works: the next failure is the first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST_DELAY, MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_half_a_second_to_twenty() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..8)
            .map(|_| {
                let bound = backoff.bound().as_millis();
                backoff.delay(0);
                bound
            })
            .collect();
        assert_eq!(
            bounds,
            [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]
        );
    }

    #[test]
    fn the_jitter_reaches_from_nothing_to_the_bound_and_never_past_it() {
        let mut backoff = Backoff::default();
        for random in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let bound = backoff.bound();
            assert!(backoff.delay(random) <= bound);
        }
        assert_eq!(Backoff::default().delay(0), Duration::ZERO);
        assert_eq!(
            Backoff::default().delay(1 << 63),
            Duration::from_millis(250)
        );
    }

    #[test]
    fn any_number_of_failures_stays_within_the_bound() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert!(backoff.delay(u64::MAX) <= MAX_DELAY);
        }
        backoff.failures = u32::MAX;
        assert!(backoff.delay(u64::MAX) <= MAX_DELAY);
    }

    #[test]
    fn a_success_begins_anew() {
        let mut backoff = Backoff::default();
        backoff.delay(7);
        backoff.delay(7);
        backoff.reset();
        assert_eq!(backoff.bound(), FIRST_DELAY);
    }
}
