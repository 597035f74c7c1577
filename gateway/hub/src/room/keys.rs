//! Idempotency keys of one room: a publish repeated with the same key is not a second message.
//!
//! Bounded in number (the oldest is forgotten) and in time, counted from the first use. A room in
//! which nobody uses keys holds nothing here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Keys {
    offsets: HashMap<Arc<str>, u64>,
    /// In the order of first use, with the time at which each is forgotten.
    order: VecDeque<(Arc<str>, u64)>,
}

impl Keys {
    /// The offset that the key was first used for. Call [`Self::expire`] before.
    pub(crate) fn find(&self, key: &str) -> Option<u64> {
        self.offsets.get(key).copied()
    }

    /// Remembers a key that is not known, until `expires_at`.
    pub(crate) fn insert(&mut self, key: &str, offset: u64, expires_at: u64, max: usize) {
        if max == 0 {
            return;
        }
        while self.order.len() >= max {
            self.forget_oldest();
        }
        let key: Arc<str> = key.into();
        self.order.push_back((Arc::clone(&key), expires_at));
        self.offsets.insert(key, offset);
    }

    /// Forgets what is due and returns how many keys that were.
    pub(crate) fn expire(&mut self, now: u64) -> usize {
        let before = self.order.len();
        while self
            .order
            .front()
            .is_some_and(|&(_, expires_at)| expires_at <= now)
        {
            self.forget_oldest();
        }
        before - self.order.len()
    }

    fn forget_oldest(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.offsets.remove(&key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn check_invariants(&self, max: usize) {
        assert_eq!(self.offsets.len(), self.order.len());
        assert!(self.order.len() <= max);
        assert!(
            self.order
                .iter()
                .all(|(key, _)| self.offsets.contains_key(key))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_is_forgotten_at_the_bound() {
        let mut keys = Keys::default();
        for (offset, key) in (1..).zip(["a", "b", "c"]) {
            keys.insert(key, offset, 100, 2);
            keys.check_invariants(2);
        }
        assert_eq!(keys.find("a"), None);
        assert_eq!(keys.find("b"), Some(2));
        assert_eq!(keys.find("c"), Some(3));
    }

    #[test]
    fn a_key_is_forgotten_when_it_is_due() {
        let mut keys = Keys::default();
        keys.insert("a", 1, 100, 9);
        keys.insert("b", 2, 101, 9);
        assert_eq!(keys.expire(99), 0);
        assert_eq!(keys.expire(100), 1);
        assert_eq!((keys.find("a"), keys.find("b")), (None, Some(2)));
        assert_eq!(keys.expire(101), 1);
        assert!(keys.is_empty());
    }

    #[test]
    fn with_a_bound_of_none_no_key_is_kept() {
        let mut keys = Keys::default();
        keys.insert("a", 1, 100, 0);
        assert!(keys.is_empty());
    }
}
