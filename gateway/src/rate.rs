//! How often clients may connect and ask: quotas by address and by token, counted over all workers.
//!
//! A quota of N in a time lets N through at once and then one in each N-th part of that time (the
//! generic cell rate algorithm): one number per client, the moment at which it will have its whole quota
//! again. Tables are bounded. Who has its whole quota needs no entry; where that makes no room, one of
//! a few is forgotten, and has its whole quota again. Time is an argument.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::config::{Config, Network, Rate};

/// Bits of an IPv6 address that name one customer: a host chooses the rest as it likes (RFC 6177).
const CUSTOMER_BITS: u32 = 64;

/// Parts of a table, each with a lock of its own. Chosen: more than workers usually are.
const SHARDS: usize = 16;

/// Entries that are looked at for one to be forgotten.
const CANDIDATES: usize = 8;

/// What counts as one address.
pub(crate) fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let host = u128::MAX >> CUSTOMER_BITS;
            Ipv6Addr::from_bits(ip.to_bits() & !host).into()
        }
    }
}

/// The quotas that are configured.
pub(crate) struct Quotas {
    /// Requests from one address.
    pub(crate) requests: Option<Quota>,
    /// Requests with one token.
    pub(crate) tokens: Option<Quota>,
    /// Connections from one address.
    pub(crate) connections: Option<Quota>,
    exempt: Vec<Network>,
    hasher: RandomState,
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").finish_non_exhaustive()
    }
}

impl Quotas {
    pub(crate) fn new(config: &Config) -> Self {
        let max = config.limits.max_rate_entries;
        let quota = |rate: Option<Rate>| rate.map(|rate| Quota::new(rate, max));
        Self {
            requests: quota(config.rate.requests),
            tokens: quota(config.rate.token_requests),
            connections: quota(config.rate.connections),
            exempt: config.rate.exempt.clone(),
            hasher: RandomState::new(),
        }
    }

    /// Whether clients at `ip` have no bounds.
    pub(crate) fn exempts(&self, ip: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(ip))
    }

    /// What a client at `ip` is counted under.
    pub(crate) fn address(ip: IpAddr) -> Key {
        Key(match customer(ip) {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        })
    }

    /// What a client with this token is counted under. The token itself is not kept.
    pub(crate) fn token(&self, token: &[u8]) -> Key {
        Key(u128::from(self.hasher.hash_one(token)))
    }
}

/// Whom a table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u128);

/// How a client stands after it was counted, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) allowed: bool,
    /// What is left of the quota now.
    pub(crate) left: u64,
    /// Where it was allowed, when the quota is whole again; else when the next one is. Seconds,
    /// rounded up.
    pub(crate) reset_s: u64,
    /// Somebody was forgotten for it.
    pub(crate) evicted: bool,
}

/// One quota and how clients stand with it.
pub(crate) struct Quota {
    rate: Rate,
    /// Nanoseconds for one, and for the whole quota.
    each: u64,
    whole: u64,
    max_per_shard: usize,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quota").field(&self.rate).finish()
    }
}

#[derive(Default)]
struct Shard {
    /// When each client has its whole quota again, in nanoseconds.
    whole_at: HashMap<Key, u64>,
    /// Before this nobody is looked for who has it already.
    sweep_at: u64,
}

impl Quota {
    fn new(rate: Rate, max: usize) -> Self {
        let each = rate.period().as_millis() * 1_000_000 / rate.count();
        Self {
            rate,
            each,
            // Not the period: what the division loses must not make one more.
            whole: each * rate.count(),
            max_per_shard: (max / SHARDS).max(1),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The rate.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts one of a client's, unless it has used up its quota.
    pub(crate) fn count(&self, key: Key, now_us: u64) -> Standing {
        let now = now_us.saturating_mul(1000);
        let nth = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[nth]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = shard.whole_at.get(&key).copied();
        let whole_at = known.unwrap_or(now).max(now) + self.each;
        let missing = whole_at - now;
        if missing > self.whole {
            return Standing {
                allowed: false,
                left: 0,
                reset_s: seconds(missing - self.whole),
                evicted: false,
            };
        }
        let full = known.is_none() && shard.whole_at.len() >= self.max_per_shard;
        let evicted = full && shard.make_room(self.max_per_shard, now, self.whole);
        shard.whole_at.insert(key, whole_at);
        Standing {
            allowed: true,
            left: (self.whole - missing) / self.each,
            reset_s: seconds(missing),
            evicted,
        }
    }
}

impl Shard {
    /// Makes room for one entry; true where somebody had to be forgotten who mattered.
    fn make_room(&mut self, max: usize, now: u64, whole: u64) -> bool {
        if now >= self.sweep_at {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            // At most a few times in the period, so that a full table does not cost a walk each time.
            self.sweep_at = now + whole / 4;
        }
        if self.whole_at.len() < max {
            return false;
        }
        let candidates = self.whole_at.iter().take(CANDIDATES);
        let least = candidates.min_by_key(|(_, whole_at)| **whole_at);
        let Some((key, whole_at)) = least.map(|(key, whole_at)| (*key, *whole_at)) else {
            return false;
        };
        self.whole_at.remove(&key);
        whole_at > now
    }
}

fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn quota(rate: &str, max: usize) -> Quota {
        Quota::new(rate.parse().unwrap(), max)
    }

    #[test]
    fn a_quota_is_used_up_at_once_and_comes_back_bit_by_bit() {
        let quota = quota("4/s", 100);
        for left in [3, 2, 1, 0] {
            let standing = quota.count(Key(1), 0);
            assert_eq!((standing.allowed, standing.left), (true, left));
            assert_eq!(standing.reset_s, 1);
        }
        for _ in 0..3 {
            // What is refused is not counted.
            let refused = quota.count(Key(1), SECOND / 8);
            assert_eq!(
                (refused.allowed, refused.left, refused.reset_s),
                (false, 0, 1)
            );
        }
        assert!(quota.count(Key(2), 0).allowed, "others have their own");
        assert!(quota.count(Key(1), SECOND / 4).allowed);
        assert!(!quota.count(Key(1), SECOND / 4).allowed);
        assert_eq!(quota.count(Key(1), 5 * SECOND).left, 3);
    }

    #[test]
    fn a_period_lets_exactly_its_count_through() {
        for count in [1, 3, 7, 999, 1_000_000] {
            let quota = quota(&format!("{count}/s"), 100);
            let allowed = (0..count + 10).filter(|_| quota.count(Key(1), 7).allowed);
            assert_eq!(allowed.count() as u64, count);
        }
        let quota = quota("2/h", 100);
        quota.count(Key(1), 0);
        quota.count(Key(1), 0);
        assert_eq!(quota.count(Key(1), SECOND).reset_s, 1799);
    }

    #[test]
    fn a_table_is_bounded_and_forgets_whom_it_need_not_know_first() {
        let quota = quota("10/s", SHARDS);
        let evicted = |from: u64, now| {
            let keys = (from..from + 1000).map(|key| quota.count(Key(u128::from(key)), now));
            keys.filter(|standing| standing.evicted).count()
        };
        let first = evicted(0, 0);
        assert_eq!(first, 1000 - SHARDS);
        let held = || -> usize {
            let shards = quota.shards.iter();
            shards
                .map(|shard| shard.lock().unwrap().whole_at.len())
                .sum()
        };
        assert!(held() <= SHARDS);
        // Those have their whole quota again by now.
        let second = evicted(5000, 10 * SECOND);
        assert_eq!(second, 1000 - SHARDS);
        assert!(held() <= SHARDS);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let of = |ip: &str| Quotas::address(ip.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("::"), of("0.0.0.0"));
    }
}
