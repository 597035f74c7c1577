//! Log-linear histograms: which bucket a value falls into, and what the buckets say.
//!
//! As in HdrHistogram each power of two is cut into [`SUB_BUCKETS`] equal buckets, so a bucket is
//! never wider than 1/32 of the values in it, and its middle is at most 1.6 % away from any of them.
//! Values below 64 are exact. The arithmetic is here only; where the buckets lie is `layout`'s, who
//! writes them is `lane`'s.

/// log2 of [`SUB_BUCKETS`].
pub(crate) const SUB_BITS: u32 = 5;
/// Chosen: 32 keep the error of a bucket's middle at 1/64.
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Values from 2^36 on fall into the last bucket: 19 hours in microseconds, 64 GiB in bytes.
pub(crate) const EXPONENT: u32 = 36;
/// Buckets of one histogram.
pub(crate) const BUCKETS: usize = (EXPONENT - SUB_BITS + 1) as usize * SUB_BUCKETS;

/// Slot of the number of values, from the histogram's first slot on.
pub(crate) const COUNT_SLOT: usize = 0;
/// Slot of the sum of all values, modulo 2^64.
pub(crate) const SUM_SLOT: usize = 1;
/// Slot of the largest value.
pub(crate) const MAX_SLOT: usize = 2;
/// Slot of the first bucket; those between are kept free and fill the cache line.
pub(crate) const BUCKETS_SLOT: usize = 8;
/// Slots of one histogram.
pub(crate) const SLOTS: usize = BUCKETS_SLOT + BUCKETS;

/// The bucket of a value; below [`BUCKETS`].
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "what is cast is below 2 * SUB_BUCKETS"
)]
pub(crate) const fn bucket(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let exponent = value.ilog2();
    if exponent >= EXPONENT {
        return BUCKETS - 1;
    }
    let octave = exponent - SUB_BITS;
    // The leading bit of the shifted value is bit 5, which is what steps over the first octave.
    octave as usize * SUB_BUCKETS + (value >> octave) as usize
}

/// The smallest and the largest value of a bucket.
const fn bounds(bucket: usize) -> (u64, u64) {
    if bucket < SUB_BUCKETS {
        return (bucket as u64, bucket as u64);
    }
    let octave = bucket / SUB_BUCKETS - 1;
    let low = ((SUB_BUCKETS + bucket % SUB_BUCKETS) as u64) << octave;
    (low, low + (1 << octave) - 1)
}

/// A histogram as read from a page, all lanes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// Counts the buckets itself: the stored count may already include values whose buckets were
    /// read a moment before they were published, and Prometheus wants the two to agree.
    pub(crate) fn new(buckets: Vec<u64>, sum: u64, max: u64) -> Self {
        let count = buckets
            .iter()
            .fold(0, |count: u64, bucket| count.saturating_add(*bucket));
        Self {
            buckets,
            count,
            sum,
            max,
        }
    }

    pub(crate) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Number of values recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values, modulo 2^64.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Largest value since the start; exact.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The value below or at which the share `quantile` (0 to 1) of all values lies, within 1.6 %;
    /// 0 without values.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank is a share of a count: never negative, and an error of 2^-53 is far below a bucket"
    )]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0u64;
        for (bucket, values) in self.buckets.iter().enumerate() {
            below = below.saturating_add(*values);
            if below >= rank {
                if bucket == BUCKETS - 1 && self.max >= 1 << EXPONENT {
                    // Of values beyond the range only the largest is known.
                    return self.max;
                }
                let (low, high) = bounds(bucket);
                let middle = low + (high - low) / 2;
                return if self.max >= low {
                    middle.min(self.max)
                } else {
                    middle
                };
            }
        }
        0
    }

    /// The median.
    pub fn p50(&self) -> u64 {
        self.quantile(0.5)
    }

    /// Nine of ten values are not above it.
    pub fn p90(&self) -> u64 {
        self.quantile(0.9)
    }

    /// 99 of 100 values are not above it.
    pub fn p99(&self) -> u64 {
        self.quantile(0.99)
    }

    /// 999 of 1,000 values are not above it.
    pub fn p999(&self) -> u64 {
        self.quantile(0.999)
    }

    /// Number of values below 2^`exponent`; exact, since no bucket reaches over a power of two. From
    /// 2^36 on, the values of the last bucket are not among them.
    pub fn below_power(&self, exponent: u32) -> u64 {
        let end = if exponent >= EXPONENT {
            BUCKETS - 1
        } else {
            bucket(1 << exponent)
        };
        self.buckets
            .iter()
            .take(end)
            .fold(0, |sum: u64, bucket| sum.saturating_add(*bucket))
    }

    /// What was recorded between `earlier` and this, for percentiles of the last seconds. The
    /// maximum stays the one since the start.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = (self.buckets.iter().enumerate())
            .map(|(i, now)| now.saturating_sub(earlier.buckets.get(i).copied().unwrap_or(0)))
            .collect();
        Self::new(buckets, self.sum.wrapping_sub(earlier.sum), self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut buckets = vec![0; BUCKETS];
        let (mut sum, mut max) = (0u64, 0);
        for value in values {
            buckets[bucket(value)] += 1;
            sum = sum.wrapping_add(value);
            max = max.max(value);
        }
        Histogram::new(buckets, sum, max)
    }

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        let mut next = 0;
        for i in 0..BUCKETS {
            let (low, high) = bounds(i);
            assert_eq!(low, next, "bucket {i}");
            assert_eq!((bucket(low), bucket(high)), (i, i));
            next = high + 1;
        }
        assert_eq!(next, 1 << EXPONENT);
        assert_eq!(bucket(next), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_single_value_is_read_back_within_three_percent() {
        let mut value = 1u64;
        while value < 1 << EXPONENT {
            for value in [value, value + value / 3, value * 2 - 1] {
                // The second, larger value keeps the exact maximum from hiding the bucket's error.
                let read = of([value, (1 << EXPONENT) - 1]).p50();
                assert!(
                    read.abs_diff(value) * 64 <= value,
                    "{value} was read as {read}"
                );
                assert_eq!(of([value]).p999(), of([value]).p50());
            }
            value *= 2;
        }
    }

    #[test]
    fn percentiles_of_a_uniform_ramp_are_where_they_belong() {
        let ramp = of(1..=10_000);
        for (quantile, expected) in [(0.5, 5_000), (0.9, 9_000), (0.99, 9_900), (0.999, 9_990)] {
            let read = ramp.quantile(quantile);
            assert!(
                read.abs_diff(expected) * 64 <= expected,
                "{quantile}: {read}"
            );
        }
        assert_eq!(ramp.quantile(1.0), 10_000.min(ramp.quantile(1.0)));
        assert_eq!(
            (ramp.count(), ramp.max(), ramp.sum()),
            (10_000, 10_000, 50_005_000)
        );
    }

    #[test]
    fn an_empty_histogram_reads_as_zero() {
        assert_eq!(Histogram::default().p99(), 0);
        assert_eq!(of([]).quantile(f64::NAN), 0);
    }

    #[test]
    fn values_beyond_the_range_count_and_show_as_the_maximum() {
        let histogram = of([5, 1 << 50]);
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.p99(), 1 << 50);
    }

    #[test]
    fn below_power_counts_exactly() {
        let histogram = of([0, 1, 2, 3, 4, 7, 8, 1023, 1024, u64::MAX]);
        for (exponent, expected) in [(0, 1), (1, 2), (2, 4), (3, 6), (4, 7), (10, 8), (11, 9)] {
            assert_eq!(histogram.below_power(exponent), expected, "2^{exponent}");
        }
        assert_eq!(histogram.below_power(63), 9);
    }

    #[test]
    fn since_leaves_only_what_came_after() {
        let (early, late) = (of([1, 2, 3]), of([1, 2, 3, 40, 50]));
        let between = late.since(&early);
        assert_eq!((between.count(), between.sum(), between.p50()), (2, 90, 40));
        assert_eq!(
            early.since(&late).count(),
            0,
            "a restart in between is not an underflow"
        );
    }
}
