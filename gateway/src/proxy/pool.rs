//! The upstreams of one listener: where they are, whether they work, and whose turn it is.
//!
//! One pool serves all workers, so connections are spread evenly whichever worker accepts them. An
//! upstream that failed `fall` times in a row is left out: until `rise` looks in a row found it well
//! where somebody looks, for `retry_after` where nobody does. Where all are left out, all are tried:
//! a wrong verdict on everything must not be worse than none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Balance, ProxyConfig};

/// The upstreams of one listener.
#[derive(Debug)]
pub(crate) struct UpstreamPool {
    pub(crate) config: ProxyConfig,
    members: Vec<Member>,
    turn: AtomicUsize,
}

/// One upstream.
#[derive(Debug)]
struct Member {
    /// Where it is; empty until its name was looked up.
    addresses: watch::Sender<Vec<SocketAddr>>,
    /// Connections to it.
    open: AtomicUsize,
    /// Failures in a row, or successes in a row while it is left out.
    streak: AtomicUsize,
    down: AtomicBool,
    /// When it is tried again where nobody looks, in monotonic milliseconds.
    retry_ms: AtomicU64,
    /// Which of its addresses is tried first.
    turn: AtomicUsize,
}

/// What a verdict changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unchanged,
    /// It is left out from now on.
    Down,
    /// It is taken again from now on.
    Up,
}

impl UpstreamPool {
    pub(crate) fn new(config: &ProxyConfig) -> Self {
        let member = |address: Option<SocketAddr>| Member {
            addresses: watch::Sender::new(address.into_iter().collect()),
            open: AtomicUsize::new(0),
            streak: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            retry_ms: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        };
        let upstreams = config.upstreams.iter();
        Self {
            members: upstreams.map(|it| member(it.address())).collect(),
            config: config.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    /// How many upstreams there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many are left out.
    pub(crate) fn down(&self) -> usize {
        let is_down = |member: &&Member| member.down.load(Ordering::Relaxed);
        self.members.iter().filter(is_down).count()
    }

    /// The upstream that a connection shall go to, which is none of those in `tried`.
    pub(crate) fn choose(&self, tried: &[usize], now_ms: u64) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.members.len();
        let order = (0..count).map(|step| turn.wrapping_add(step) % count);
        let candidates: Vec<usize> = order.filter(|index| !tried.contains(index)).collect();
        let is_well = |index: &&usize| {
            self.members
                .get(**index)
                .is_some_and(|it| it.is_well(now_ms, self.is_checked()))
        };
        let well: Vec<usize> = candidates.iter().filter(is_well).copied().collect();
        let among = if well.is_empty() { candidates } else { well };
        match self.config.balance {
            Balance::RoundRobin => among.first().copied(),
            // The first of equals, whose turn it is.
            Balance::LeastConnections => among.into_iter().min_by_key(|index| {
                let member = self.members.get(*index);
                member.map_or(usize::MAX, |it| it.open.load(Ordering::Relaxed))
            }),
        }
    }

    /// Where an upstream is, one address after another; waits for a name's first lookup for so long
    /// at most.
    pub(crate) async fn addresses(&self, index: usize, patience: Duration) -> Vec<SocketAddr> {
        let Some(member) = self.members.get(index) else {
            return Vec::new();
        };
        let mut known = member.addresses.subscribe();
        let found = tokio::time::timeout(patience, known.wait_for(|all| !all.is_empty())).await;
        let mut addresses = match found {
            Ok(Ok(addresses)) => addresses.clone(),
            Ok(Err(_)) | Err(_) => return Vec::new(),
        };
        let turn = member.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn % addresses.len().max(1);
        addresses.rotate_left(first);
        addresses
    }

    /// Where an upstream is, one of its addresses after another; `None` while its name was not looked
    /// up yet.
    pub(crate) fn address(&self, index: usize) -> Option<SocketAddr> {
        let member = self.members.get(index)?;
        let known = member.addresses.borrow();
        let turn = member.turn.fetch_add(1, Ordering::Relaxed);
        known.get(turn % known.len().max(1)).copied()
    }

    /// Notes what a lookup found. An empty answer changes nothing.
    pub(crate) fn resolved(&self, index: usize, addresses: Vec<SocketAddr>) {
        if let Some(member) = self.members.get(index).filter(|_| !addresses.is_empty()) {
            member.addresses.send_if_modified(|known| {
                let differs = *known != addresses;
                *known = addresses;
                differs
            });
        }
    }

    /// Whether somebody looks how the upstreams are.
    pub(crate) fn is_checked(&self) -> bool {
        self.config.check_interval.as_millis() > 0
    }

    /// Notes that an upstream accepted a connection, of a client or of a look.
    pub(crate) fn succeeded(&self, index: usize, looked: bool) -> Verdict {
        let Some(member) = self.members.get(index) else {
            return Verdict::Unchanged;
        };
        if !member.down.load(Ordering::Relaxed) {
            member.streak.store(0, Ordering::Relaxed);
            return Verdict::Unchanged;
        }
        // Where somebody looks, only what it sees counts.
        if self.is_checked() != looked {
            return Verdict::Unchanged;
        }
        let needed = if looked { self.config.rise } else { 1 };
        let streak = member.streak.fetch_add(1, Ordering::Relaxed) + 1;
        if streak < needed || !member.down.swap(false, Ordering::Relaxed) {
            return Verdict::Unchanged;
        }
        member.streak.store(0, Ordering::Relaxed);
        Verdict::Up
    }

    /// Notes that an upstream refused a connection, or did not answer.
    pub(crate) fn failed(&self, index: usize, now_ms: u64) -> Verdict {
        let Some(member) = self.members.get(index) else {
            return Verdict::Unchanged;
        };
        let retry_ms = now_ms.saturating_add(self.config.retry_after.as_millis());
        member.retry_ms.store(retry_ms, Ordering::Relaxed);
        if member.down.load(Ordering::Relaxed) {
            member.streak.store(0, Ordering::Relaxed);
            return Verdict::Unchanged;
        }
        let streak = member.streak.fetch_add(1, Ordering::Relaxed) + 1;
        if streak < self.config.fall || member.down.swap(true, Ordering::Relaxed) {
            return Verdict::Unchanged;
        }
        member.streak.store(0, Ordering::Relaxed);
        Verdict::Down
    }

    /// Counts a connection to an upstream for as long as the place lives.
    pub(crate) fn occupy(self: &Arc<Self>, index: usize) -> Place {
        if let Some(member) = self.members.get(index) {
            member.open.fetch_add(1, Ordering::Relaxed);
        }
        Place {
            pool: Arc::clone(self),
            index,
        }
    }
}

impl Member {
    fn is_well(&self, now_ms: u64, checked: bool) -> bool {
        let down = self.down.load(Ordering::Relaxed);
        !down || (!checked && now_ms >= self.retry_ms.load(Ordering::Relaxed))
    }
}

/// One connection to an upstream.
#[derive(Debug)]
pub(crate) struct Place {
    pool: Arc<UpstreamPool>,
    index: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(member) = self.pool.members.get(self.index) {
            member.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn pool(change: impl FnOnce(&mut ProxyConfig)) -> Arc<UpstreamPool> {
        let mut config = ProxyConfig {
            upstreams: ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            ..ProxyConfig::default()
        };
        change(&mut config);
        Arc::new(UpstreamPool::new(&config))
    }

    fn choices(pool: &UpstreamPool, count: usize, now_ms: u64) -> Vec<usize> {
        (0..count)
            .map(|_| pool.choose(&[], now_ms).unwrap())
            .collect()
    }

    #[test]
    fn each_has_its_turn_and_none_is_tried_twice() {
        let pool = pool(|_| {});
        assert_eq!(choices(&pool, 6, 0), [0, 1, 2, 0, 1, 2]);
        assert_eq!(pool.choose(&[0, 1], 0), Some(2));
        assert_eq!(pool.choose(&[0, 1, 2], 0), None);
    }

    #[test]
    fn the_one_with_the_fewest_connections_is_chosen() {
        let pool = pool(|config| config.balance = Balance::LeastConnections);
        let first = pool.occupy(0);
        let _second = pool.occupy(1);
        let _third = pool.occupy(1);
        assert_eq!(choices(&pool, 3, 0), [2, 2, 2]);
        let _fourth = pool.occupy(2);
        drop(first);
        assert_eq!(choices(&pool, 3, 0), [0, 0, 0]);
    }

    #[test]
    fn who_fails_in_a_row_is_left_out_until_it_is_time_to_try_again() {
        let pool = pool(|config| config.retry_after = Span::seconds(1));
        assert_eq!(pool.failed(1, 0), Verdict::Unchanged);
        assert_eq!(pool.failed(1, 0), Verdict::Unchanged);
        assert_eq!(pool.succeeded(1, false), Verdict::Unchanged);
        for _ in 0..2 {
            assert_eq!(pool.failed(1, 0), Verdict::Unchanged);
        }
        assert_eq!(pool.failed(1, 0), Verdict::Down);
        assert_eq!(pool.down(), 1);
        assert!(!choices(&pool, 6, 999).contains(&1));
        assert!(choices(&pool, 6, 1000).contains(&1));
        assert_eq!(pool.failed(1, 1000), Verdict::Unchanged);
        assert!(!choices(&pool, 6, 1999).contains(&1));
        assert_eq!(pool.succeeded(1, false), Verdict::Up);
        assert!(choices(&pool, 6, 0).contains(&1));
    }

    #[test]
    fn where_somebody_looks_only_looks_bring_an_upstream_back() {
        let pool = pool(|config| {
            config.check_interval = Span::seconds(1);
            config.fall = 1;
            config.rise = 2;
        });
        assert_eq!(pool.failed(0, 0), Verdict::Down);
        assert!(!choices(&pool, 6, u64::MAX).contains(&0));
        assert_eq!(pool.succeeded(0, false), Verdict::Unchanged);
        assert_eq!(pool.succeeded(0, true), Verdict::Unchanged);
        assert_eq!(pool.failed(0, 0), Verdict::Unchanged);
        assert_eq!(pool.succeeded(0, true), Verdict::Unchanged);
        assert_eq!(pool.succeeded(0, true), Verdict::Up);
    }

    #[test]
    fn where_all_are_left_out_all_are_tried() {
        let pool = pool(|config| config.fall = 1);
        for index in 0..3 {
            pool.failed(index, 0);
        }
        assert_eq!(pool.down(), 3);
        assert_eq!(choices(&pool, 3, 0).len(), 3);
    }
}
