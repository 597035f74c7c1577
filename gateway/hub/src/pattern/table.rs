//! The hub's record of which workers have seats for which pattern.
//!
//! Rooms do not ask it for every message: each remembers the workers that the table named for it,
//! and the version of the table it asked. The version moves after the table changed, so a publish
//! that begins after a pattern was joined sees a newer version and asks again; one that began
//! before may still use what it knew. See `room` for the other half.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use smallvec::SmallVec;

use crate::lock::Lock;
use crate::pattern::Trie;

#[derive(Debug)]
pub(crate) struct PatternTable {
    max_patterns: usize,
    version: AtomicU64,
    patterns: AtomicUsize,
    trie: Lock<Trie<Holders>>,
}

/// Workers with seats for one pattern, and how many seats each; no entry has 0.
type Holders = SmallVec<[(u16, u32); 2]>;

/// The workers that the table named for one room name, in ascending order, without repetition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matching {
    pub(crate) version: u64,
    pub(crate) workers: SmallVec<[u16; 4]>,
}

/// As many different patterns as the hub keeps are subscribed to already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyPatterns;

impl PatternTable {
    pub(crate) fn new(max_patterns: usize) -> Self {
        Self {
            max_patterns,
            version: AtomicU64::new(0),
            patterns: AtomicUsize::new(0),
            trie: Lock::new("patterns", Trie::new()),
        }
    }

    /// How many different patterns have seats.
    pub(crate) fn len(&self) -> usize {
        self.patterns.load(Ordering::Relaxed)
    }

    /// Counts one more seat of a worker and returns the version from which on messages are for it.
    ///
    /// Every seat moves the version, also one for a pattern that the worker has already: the
    /// version is how the seat tells messages published before it was taken from later ones.
    pub(crate) fn add(&self, pattern: &str, worker: u16) -> Result<u64, TooManyPatterns> {
        self.trie.with(|trie| {
            if trie.len() >= self.max_patterns && trie.get(pattern).is_none() {
                return Err(TooManyPatterns);
            }
            let holders = trie.get_or_insert_with(pattern, Holders::new);
            match holders.iter_mut().find(|(holder, _)| *holder == worker) {
                Some((_, seats)) => *seats += 1,
                None => holders.push((worker, 1)),
            }
            self.patterns.store(trie.len(), Ordering::Relaxed);
            Ok(self.changed())
        })
    }

    pub(crate) fn remove(&self, pattern: &str, worker: u16) {
        self.trie.with(|trie| {
            let Some(holders) = trie.get_mut(pattern) else {
                debug_assert!(false, "a pattern is removed as often as it was added");
                return;
            };
            if let Some(index) = holders.iter().position(|&(holder, _)| holder == worker) {
                holders[index].1 -= 1;
                if holders[index].1 > 0 {
                    return;
                }
                holders.swap_remove(index);
            }
            if holders.is_empty() {
                trie.remove(pattern);
                self.patterns.store(trie.len(), Ordering::Relaxed);
            }
            self.changed();
        });
    }

    /// Called under the lock, after the change. Pairs with the load in [`Self::newer_than`].
    fn changed(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Release) + 1
    }

    /// What the table says about a name, if it changed since `version`.
    pub(crate) fn newer_than(&self, version: u64, name: &str) -> Option<Matching> {
        // Pairs with `changed`: whoever sees a version sees, behind the lock, what made it.
        if self.version.load(Ordering::Acquire) <= version {
            return None;
        }
        Some(self.trie.with(|trie| {
            let mut workers = SmallVec::new();
            trie.matching(name, |holders| {
                workers.extend(holders.iter().map(|&(worker, _)| worker));
            });
            workers.sort_unstable();
            workers.dedup();
            Matching {
                version: self.version.load(Ordering::Relaxed),
                workers,
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_worker_once_while_it_has_seats() {
        let table = PatternTable::new(8);
        table.add("a.*", 1).expect("below the bound");
        table.add("a.>", 1).expect("below the bound");
        table.add("a.>", 0).expect("below the bound");
        let matching = table.newer_than(0, "a.b").expect("the table changed");
        assert_eq!(matching.workers.as_slice(), [0, 1]);
        assert!(table.newer_than(matching.version, "a.b").is_none());

        table.remove("a.>", 1);
        let matching = table.newer_than(matching.version, "a.b.c");
        assert_eq!(matching.expect("it changed again").workers.as_slice(), [0]);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn only_new_patterns_count_against_the_bound() {
        let table = PatternTable::new(1);
        assert_eq!(table.add("a.*", 0), Ok(1));
        assert_eq!(table.add("a.*", 1), Ok(2));
        assert_eq!(table.add("b.*", 0), Err(TooManyPatterns));
        table.remove("a.*", 0);
        table.remove("a.*", 1);
        assert!(table.add("b.*", 0).is_ok());
    }
}
