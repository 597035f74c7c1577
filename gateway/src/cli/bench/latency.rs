//! Times in a log-linear histogram, and their percentiles in microseconds.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Chosen: the longest run. A time beyond it counts as this long.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Two digits keep 1 % and 40 KiB, so that recording stays in the cache.
const DIGITS: u8 = 2;

/// Recorded times, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    #[allow(
        clippy::missing_panics_doc,
        reason = "the bounds are constants that the histogram accepts"
    )]
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self(histogram.expect("1 to an hour in two digits is a valid range"))
    }

    /// Records the time from `began` to `now`; a clock read in another order counts as no time.
    #[inline]
    pub(super) fn record(&mut self, began: u64, now: u64) {
        self.0.saturating_record(now.saturating_sub(began));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can lie outside.
        self.0.add(&other.0).ok();
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time in microseconds that the share `quantile` of all times does not exceed; 0 without
    /// any.
    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        microseconds(self.0.value_at_quantile(quantile))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "count": self.count(),
            "mean": rounded(self.0.mean() / 1000.0),
            "p50": self.quantile_us(0.5),
            "p90": self.quantile_us(0.9),
            "p99": self.quantile_us(0.99),
            "p999": self.quantile_us(0.999),
            "max": microseconds(self.0.max()),
        })
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        if self.count() == 0 {
            return "none".to_owned();
        }
        let q = |quantile| human(self.quantile_us(quantile));
        format!(
            "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            q(0.5),
            q(0.9),
            q(0.99),
            q(0.999),
            human(microseconds(self.0.max()))
        )
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    rounded(nanoseconds as f64 / 1000.0)
}

/// To three digits behind the point.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A time in the unit that suits it.
pub(super) fn human(microseconds: f64) -> String {
    if microseconds < 1000.0 {
        format!("{microseconds:.1} µs")
    } else if microseconds < 1e6 {
        format!("{:.2} ms", microseconds / 1e3)
    } else {
        format!("{:.2} s", microseconds / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(actual: f64, expected: f64) {
        let error = (actual - expected).abs() / expected;
        assert!(error <= 0.01, "{actual} is not {expected}");
    }

    #[test]
    fn percentiles_of_a_ramp_are_within_one_percent() {
        let mut latency = Latency::new();
        (1..=100_000).for_each(|us| latency.record(0, us * 1000));
        check(latency.quantile_us(0.5), 50_000.0);
        check(latency.quantile_us(0.99), 99_000.0);
        check(latency.quantile_us(0.999), 99_900.0);
        check(latency.quantile_us(1.0), 100_000.0);
    }

    #[test]
    fn merged_parts_are_the_whole() {
        let (mut whole, mut odd, mut even) = (Latency::new(), Latency::new(), Latency::new());
        for us in 0..1000_u64 {
            let part = if us % 2 == 0 { &mut even } else { &mut odd };
            part.record(0, us * 1000);
            whole.record(0, us * 1000);
        }
        odd.merge(&even);
        assert_eq!(odd.json(), whole.json());
    }

    #[test]
    fn no_time_and_no_end_of_time_are_recorded() {
        let mut latency = Latency::new();
        assert_eq!(latency.text(), "none");
        latency.record(5, 3);
        assert!(latency.quantile_us(1.0) < 0.01);
        latency.record(0, u64::MAX);
        check(latency.quantile_us(1.0), 3.6e9);
    }
}
