//! The newest messages of a room, bounded in number, bytes and age.
//!
//! What is kept is always an unbroken run that ends with the newest offset: a bound lets the
//! oldest go, and a message too large for the history empties it. So offsets are not stored, and
//! whether a client can be brought up to date is one comparison.

use std::collections::VecDeque;

use crate::delivery::Stored;
use crate::options::HistoryLimits;

#[derive(Debug)]
pub(crate) struct History<M> {
    limits: HistoryLimits,
    /// Oldest first; the last one has the offset `newest`.
    messages: VecDeque<Kept<M>>,
    /// Sum over `messages`.
    bytes: usize,
    /// The offset given last; 0 before the first.
    newest: u64,
}

#[derive(Debug)]
struct Kept<M> {
    message: M,
    bytes: usize,
    /// Milliseconds of the caller's clock.
    published_at: u64,
}

impl<M: Clone> History<M> {
    pub(crate) const fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            messages: VecDeque::new(),
            bytes: 0,
            newest: 0,
        }
    }

    pub(crate) const fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the message with the next offset.
    pub(crate) fn push(&mut self, message: M, bytes: usize, now: u64) {
        self.newest += 1;
        if self.limits.keeps_nothing() {
            return;
        }
        if bytes > self.limits.bytes {
            self.drop_oldest(self.messages.len());
            return;
        }
        let mut freed = 0;
        let mut gone = 0;
        for kept in &self.messages {
            let fits = self.messages.len() - gone < self.limits.messages
                && self.bytes - freed <= self.limits.bytes - bytes;
            if fits {
                break;
            }
            freed += kept.bytes;
            gone += 1;
        }
        self.drop_oldest(gone);
        self.bytes += bytes;
        self.messages.push_back(Kept {
            message,
            bytes,
            published_at: now,
        });
    }

    /// Lets go of what is older than the limit and returns how many messages that were.
    pub(crate) fn expire(&mut self, now: u64) -> usize {
        let age_ms = self.limits.age_ms;
        let gone = self
            .messages
            .iter()
            .take_while(|kept| kept.published_at.saturating_add(age_ms) <= now)
            .count();
        self.drop_oldest(gone);
        gone
    }

    fn drop_oldest(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        for kept in self.messages.drain(..count) {
            self.bytes -= kept.bytes;
        }
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }

    /// Whether every message after `offset` is still here.
    pub(crate) fn reaches_back_to(&self, offset: u64) -> bool {
        offset <= self.newest && offset >= self.newest - self.len_u64()
    }

    /// At most `limit` messages after `offset`, oldest first.
    pub(crate) fn after(&self, offset: u64, limit: usize) -> Vec<Stored<M>> {
        let oldest = self.newest - self.len_u64();
        // Beyond the end of `messages` only if it is beyond what this machine can address.
        let skip = usize::try_from(offset.saturating_sub(oldest)).unwrap_or(usize::MAX);
        self.stored(skip, limit)
    }

    /// The newest messages, at most `limit`, oldest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Stored<M>> {
        self.stored(self.messages.len().saturating_sub(limit), limit)
    }

    fn stored(&self, skip: usize, limit: usize) -> Vec<Stored<M>> {
        let oldest = self.newest - self.len_u64();
        (oldest + 1..)
            .zip(&self.messages)
            .skip(skip)
            .take(limit)
            .map(|(offset, kept)| Stored {
                offset,
                message: kept.message.clone(),
            })
            .collect()
    }

    fn len_u64(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(crate) fn check_invariants(&self) {
        let bytes: usize = self.messages.iter().map(|kept| kept.bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes are the sum of what is kept");
        assert!(self.bytes <= self.limits.bytes);
        assert!(self.len() <= self.limits.messages);
        assert!(
            self.len_u64() <= self.newest,
            "offsets of what is kept begin at 1"
        );
        assert!(!self.is_empty() || self.messages.capacity() == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(messages: usize, bytes: usize, age_ms: u64) -> History<u64> {
        History::new(HistoryLimits {
            messages,
            bytes,
            age_ms,
        })
    }

    fn offsets(stored: &[Stored<u64>]) -> Vec<u64> {
        for stored in stored {
            assert_eq!(
                stored.offset, stored.message,
                "the tests publish the offset"
            );
        }
        stored.iter().map(|stored| stored.offset).collect()
    }

    #[test]
    fn the_oldest_goes_at_each_bound() {
        let mut by_count = history(3, 1_000, 100);
        let mut by_bytes = history(100, 30, 100);
        for offset in 1..=5 {
            by_count.push(offset, 10, 0);
            by_bytes.push(offset, 10, 0);
            by_count.check_invariants();
            by_bytes.check_invariants();
        }
        assert_eq!(offsets(&by_count.latest(9)), [3, 4, 5]);
        assert_eq!(offsets(&by_bytes.latest(9)), [3, 4, 5]);
        by_bytes.push(6, 25, 0);
        assert_eq!(offsets(&by_bytes.latest(9)), [6]);
    }

    #[test]
    fn a_message_lives_as_long_as_the_age_says() {
        let mut history = history(9, 1_000, 100);
        history.push(1, 1, 1_000);
        history.push(2, 1, 1_001);
        history.expire(1_099);
        assert_eq!(history.len(), 2);
        history.expire(1_100);
        assert_eq!(offsets(&history.latest(9)), [2]);
        history.expire(1_101);
        history.check_invariants();
        assert_eq!((history.len(), history.newest()), (0, 2));
    }

    #[test]
    fn an_unlimited_age_never_ends() {
        let mut history = history(9, 1_000, u64::MAX);
        history.push(1, 1, 5);
        history.expire(u64::MAX - 1);
        assert_eq!(history.len(), 1);
    }

    #[test]
    fn a_message_that_no_history_can_hold_empties_it() {
        let mut history = history(9, 10, 100);
        history.push(1, 5, 0);
        history.push(2, 11, 0);
        history.check_invariants();
        assert!(history.is_empty());
        assert!(!history.reaches_back_to(1));
        assert!(history.reaches_back_to(2));
    }

    #[test]
    fn the_past_is_whole_back_to_the_oldest_kept() {
        let mut history = history(3, 1_000, 100);
        for offset in 1..=5 {
            history.push(offset, 1, 0);
        }
        for (offset, whole) in [
            (0, false),
            (1, false),
            (2, true),
            (4, true),
            (5, true),
            (6, false),
        ] {
            assert_eq!(history.reaches_back_to(offset), whole, "{offset}");
        }
        assert_eq!(offsets(&history.after(0, 9)), [3, 4, 5]);
        assert_eq!(offsets(&history.after(3, 1)), [4]);
        assert_eq!(offsets(&history.after(5, 9)), []);
        assert_eq!(offsets(&history.after(u64::MAX, 9)), []);
        assert_eq!(offsets(&history.latest(2)), [4, 5]);
        assert_eq!(offsets(&history.latest(0)), []);
    }

    #[test]
    fn without_history_offsets_go_on() {
        let mut history = history(0, 1_000, 100);
        history.push(1, 1, 0);
        history.push(2, 1, 0);
        history.check_invariants();
        assert_eq!((history.newest(), history.len()), (2, 0));
    }
}
