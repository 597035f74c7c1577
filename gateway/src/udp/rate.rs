//! How many datagrams an address may send us: one bucket of tokens for each address of a listener.
//!
//! All workers share the buckets, since one address may reach several by its ports. There is a fixed
//! number of them, which addresses are spread over with a key that nobody outside knows: whoever forges
//! addresses can neither use up memory nor aim at the bucket of another. A bucket is one number (GCRA):
//! the time at which it will be full again.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rate::customer;

/// Buckets of one listener: 512 KiB. Chosen: of a thousand addresses at work, one in 65 shares its
/// bucket with another.
const BUCKETS: usize = 1 << 16;

/// The buckets of one listener.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// When each bucket will be full, in nanoseconds on the workers' clock.
    full_at: Box<[AtomicU64]>,
    key: RandomState,
    /// Time in which one token comes.
    each_ns: u64,
    /// Time in which an empty bucket becomes full.
    all_ns: u64,
}

impl RateLimit {
    /// `rate` datagrams in a second, and `burst` at once.
    pub(crate) fn new(rate: usize, burst: usize) -> Self {
        let each_ns = 1_000_000_000 / (rate.max(1) as u64);
        Self {
            full_at: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            key: RandomState::new(),
            each_ns,
            all_ns: each_ns.saturating_mul(burst.max(1) as u64),
        }
    }

    /// How many of `wanted` datagrams from `ip` are taken; these are counted against its bucket.
    pub(crate) fn take(&self, ip: IpAddr, wanted: usize, now_us: u64) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let index = self.key.hash_one(customer(ip)) as usize % BUCKETS;
        let Some(bucket) = self.full_at.get(index) else {
            return wanted;
        };
        let now_ns = now_us.saturating_mul(1000);
        let mut taken = 0;
        // Relaxed: the bucket is the only datum.
        let spend = |full_at: u64| {
            let full_at = full_at.max(now_ns);
            let left_ns = self.all_ns.saturating_sub(full_at - now_ns);
            taken = (left_ns / self.each_ns).min(wanted as u64);
            (taken > 0).then(|| full_at + taken * self.each_ns)
        };
        // An error is an empty bucket.
        let _spent = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        usize::try_from(taken).unwrap_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_burst_and_then_its_rate() {
        let limit = RateLimit::new(100, 10);
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(limit.take(ip, 4, 0), 4);
        assert_eq!(limit.take(ip, 64, 0), 6);
        assert_eq!(limit.take(ip, 1, 9_999), 0);
        assert_eq!(limit.take(ip, 5, 10_000), 1);
        assert_eq!(limit.take(ip, 5, 10_000), 0);
        // Silence fills the bucket, and not more than that.
        assert_eq!(limit.take(ip, 64, 10_000_000), 10);
    }

    #[test]
    fn each_address_has_a_bucket_of_its_own() {
        let limit = RateLimit::new(1, 1);
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let alone = (1..=100).filter(|&last| limit.take(ip(last), 1, 0) == 1);
        assert!(alone.count() > 95, "few share one");
        let of_one_customer = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse().unwrap());
        let taken = of_one_customer.map(|ip| limit.take(ip, 1, 0));
        assert_eq!(taken, [1, 0]);
    }
}
