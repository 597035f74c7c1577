//! Seats for patterns, and the record that gives a session with several matching seats one copy.
//!
//! A message may match any number of a session's patterns beside its seat in the room itself. Each
//! fan-out has a number; whoever is served is stamped with it. Without patterns on a worker
//! nothing is stamped.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::delivery::RoomMessage;
use crate::id_hash::IdHash;
use crate::member::MemberId;
use crate::pattern::Trie;
use crate::room::shrink;

#[derive(Debug)]
pub(super) struct PatternSeats {
    trie: Trie<Holders>,
    /// By slot: the round in which the session was served last.
    served: Vec<u64>,
    /// Rounds so far; the number of the one that runs.
    round: u64,
}

#[derive(Debug)]
struct Holders {
    subject: Arc<str>,
    /// By slot.
    seats: IndexMap<u32, PatternSeat, IdHash>,
}

#[derive(Clone, Copy, Debug)]
struct PatternSeat {
    member: MemberId,
    /// The version of the pattern table that knows of this seat: what a room numbered at an earlier
    /// one is older than the seat.
    since: u64,
}

impl PatternSeats {
    pub(super) fn new() -> Self {
        Self {
            trie: Trie::new(),
            served: Vec::new(),
            round: 0,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.trie.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.trie.len()
    }

    /// The pattern's shared text, if the session has a seat for it.
    pub(super) fn subject_of(&self, slot: u32, pattern: &str) -> Option<Arc<str>> {
        let holders = self.trie.get(pattern)?;
        holders
            .seats
            .contains_key(&slot)
            .then(|| Arc::clone(&holders.subject))
    }

    pub(super) fn take(
        &mut self,
        slot: u32,
        pattern: &str,
        member: MemberId,
        since: u64,
    ) -> Arc<str> {
        let holders = self.trie.get_or_insert_with(pattern, || Holders {
            subject: pattern.into(),
            seats: IndexMap::default(),
        });
        holders.seats.insert(slot, PatternSeat { member, since });
        Arc::clone(&holders.subject)
    }

    /// False if the session has no seat for the pattern.
    pub(super) fn give_up(&mut self, slot: u32, pattern: &str) -> bool {
        let Some(holders) = self.trie.get_mut(pattern) else {
            return false;
        };
        if holders.seats.swap_remove(&slot).is_none() {
            return false;
        }
        if holders.seats.is_empty() {
            self.trie.remove(pattern);
        } else {
            shrink(&mut holders.seats);
        }
        if self.trie.is_empty() {
            self.served = Vec::new();
        }
        true
    }

    /// Begins the fan-out of one message among sessions with slots below `slots`.
    pub(super) fn begin(&mut self, slots: usize) -> Round<'_> {
        if self.served.len() < slots {
            self.served.resize(slots, 0);
        }
        self.round += 1;
        Round {
            trie: &self.trie,
            served: &mut self.served,
            round: self.round,
        }
    }

    /// Returns the number of seats.
    pub(super) fn check_invariants(&self) -> usize {
        let mut seats = 0;
        self.trie.for_each(|holders| {
            assert!(!holders.seats.is_empty());
            seats += holders.seats.len();
        });
        seats
    }
}

/// The fan-out of one message.
pub(super) struct Round<'a> {
    trie: &'a Trie<Holders>,
    served: &'a mut [u64],
    round: u64,
}

impl Round<'_> {
    /// Notes that the session's seat in the room itself has taken care of the message.
    pub(super) fn serve(&mut self, slot: u32) {
        // Every slot with a seat is below what the round began with.
        if let Some(served) = self.served.get_mut(slot as usize) {
            *served = self.round;
        }
    }

    /// Delivers to the sessions that only patterns bring the message to; says whether any did.
    pub(super) fn fan_out<M>(
        self,
        message: &RoomMessage<M>,
        deliver: &mut impl FnMut(u32),
    ) -> bool {
        let Self {
            trie,
            served,
            round,
        } = self;
        let mut reached = false;
        trie.matching(&message.room.name, |holders| {
            for (&slot, seat) in &holders.seats {
                let due = message.patterns_at >= seat.since && message.exclude != Some(seat.member);
                if let Some(served) = served.get_mut(slot as usize)
                    && due
                    && *served != round
                {
                    *served = round;
                    deliver(slot);
                    reached = true;
                }
            }
        });
        reached
    }
}
