//! The facade: everything workers share, behind operations that never wait.
//!
//! A room is opened by whoever publishes to it or joins it, and vanishes with its last seat unless
//! it has history; a room that only remembers, or that was only published to, goes in a sweep.
//! This file owns that life and the order of steps around a room's lock; what happens under it is
//! in `room`, the sessions' side in `seat`.

mod page;
mod publish;

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::page::{HistoryPage, HubStats, RoomOrder, RoomRate, RoomSummary, RoomsPage, Swept};
pub use self::publish::{BroadcastError, Publish, PublishError, Published};
use crate::delivery::{Delivery, WorkerId};
use crate::directory::{Directory, DirectoryFull};
use crate::inbox::{Full, Inbox, Inboxes, Wakes};
use crate::member::{Member, MemberId};
use crate::options::HubOptions;
use crate::pattern::{PatternTable, TooManyPatterns};
use crate::position::Position;
use crate::room::{Congested, Entered, Room, State, Terms};

/// Rooms, patterns and inboxes of one gateway, shared by its workers as `Arc<Hub<M, C>>`.
///
/// `M` is the handle of a message (cheap to clone, usually an `Arc`), `C` what the gateway's
/// workers tell each other. Times are milliseconds of one monotonic clock that the caller reads.
pub struct Hub<M, C> {
    options: HubOptions,
    directory: Directory<M>,
    patterns: PatternTable,
    inboxes: Inboxes<M, C>,
    /// Sums over all rooms. Changed under the room's lock that changes the part.
    history_messages: AtomicU64,
    history_bytes: AtomicU64,
    presence_dropped: AtomicU64,
}

/// Why a seat was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnterError {
    Congested,
    TooManyRooms,
}

impl<M: Clone, C> Hub<M, C> {
    /// A hub without rooms. Bounds of 0 workers or 0 deliveries count as 1.
    #[must_use]
    pub fn new(options: HubOptions) -> Self {
        Self {
            directory: Directory::new(),
            patterns: PatternTable::new(options.max_patterns),
            inboxes: Inboxes::new(options.workers, options.inbox_capacity),
            history_messages: AtomicU64::new(0),
            history_bytes: AtomicU64::new(0),
            presence_dropped: AtomicU64::new(0),
            options,
        }
    }

    /// The queue that a worker drains.
    ///
    /// # Panics
    ///
    /// If the hub has no such worker.
    #[must_use]
    pub fn inbox(&self, worker: WorkerId) -> &Inbox<M, C> {
        self.inboxes.of(worker)
    }

    /// Queues a control for one worker.
    ///
    /// # Errors
    ///
    /// Gives the control back if the worker's inbox is at its capacity.
    ///
    /// # Panics
    ///
    /// If the hub has no such worker.
    pub fn send(&self, worker: WorkerId, control: C) -> Result<(), Full<C>> {
        let mut wakes = Wakes::default();
        if !self
            .inboxes
            .reserve_all(std::iter::once(worker.0), &mut wakes)
        {
            return Err(Full(control));
        }
        self.inboxes
            .push(worker.0, Delivery::Control(control), &mut wakes);
        self.inboxes.fire(wakes);
        Ok(())
    }

    /// Whether an inbox is above three quarters of its capacity: sessions that publish are not read
    /// from until it is not. One relaxed load.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.inboxes.is_congested()
    }

    /// Runs `act` under the lock of the room called `name`, which is made if there is none.
    ///
    /// A room on its way out is helped out, and the next incarnation is used instead. A room that
    /// `act` leaves without a trace is taken out again.
    fn in_room<R>(
        &self,
        name: &str,
        now: u64,
        act: impl FnOnce(&mut State<M>) -> R,
    ) -> Result<(Arc<Room<M>>, R), DirectoryFull> {
        let mut act = Some(act);
        loop {
            let room = self.directory.open(name, &self.options)?;
            if let Some(matching) = self.patterns.newer_than(room.patterns_at(), name) {
                room.note_patterns(matching);
            }
            let mut untouched = false;
            let acted = self.locked(&room, now, |state| {
                if state.is_gone() {
                    return None;
                }
                let acted = act.take().map(|act| act(state));
                untouched = state.is_untouched();
                if untouched {
                    state.set_gone();
                }
                acted
            });
            if untouched || acted.is_none() {
                self.directory.forget(&room);
            }
            if let Some(acted) = acted {
                return Ok((room, acted));
            }
        }
    }

    /// Runs `act` under the room's lock on a history without what is too old, and keeps the sums.
    fn locked<R>(&self, room: &Room<M>, now: u64, act: impl FnOnce(&mut State<M>) -> R) -> R {
        self.accounted(room, |state| {
            state.expire_history(now);
            act(state)
        })
    }

    /// Runs `act` under the room's lock and adds what it did to the history to the sums.
    fn accounted<R>(&self, room: &Room<M>, act: impl FnOnce(&mut State<M>) -> R) -> R {
        room.locked(|state| {
            let before = state.footprint();
            let acted = act(state);
            let after = state.footprint();
            add_difference(&self.history_messages, before.0, after.0);
            add_difference(&self.history_bytes, before.1, after.1);
            acted
        })
    }

    pub(crate) fn enter(
        &self,
        worker: WorkerId,
        name: &str,
        member: Member,
        terms: Terms,
        since: Option<Position>,
        now: u64,
    ) -> Result<(Arc<Room<M>>, Entered<M>), EnterError> {
        let mut wakes = Wakes::default();
        let entered = self.in_room(name, now, |state| {
            state.enter(worker, member, terms, since, &self.inboxes, &mut wakes)
        });
        self.inboxes.fire(wakes);
        match entered {
            Ok((room, Ok(entered))) => Ok((room, entered)),
            Ok((_, Err(Congested))) => Err(EnterError::Congested),
            Err(DirectoryFull) => Err(EnterError::TooManyRooms),
        }
    }

    /// What [`Self::enter`] would say to one who is in the room already.
    pub(crate) fn enter_again(
        &self,
        room: &Room<M>,
        since: Option<Position>,
        now: u64,
    ) -> Entered<M> {
        self.locked(room, now, |state| state.replay(since))
    }

    /// Takes a seat away; the last one takes the room along, unless it remembers something.
    pub(crate) fn exit(
        &self,
        worker: WorkerId,
        room: &Arc<Room<M>>,
        member: MemberId,
        terms: Terms,
        now: u64,
    ) {
        let mut wakes = Wakes::default();
        let (untold, vacant) = self.locked(room, now, |state| {
            let untold = state.exit(worker, member, terms, &self.inboxes, &mut wakes);
            let vacant = state.is_vacant();
            if vacant {
                state.set_gone();
            }
            (untold, vacant)
        });
        if vacant {
            self.directory.forget(room);
        }
        if untold > 0 {
            self.presence_dropped.fetch_add(untold, Ordering::Relaxed);
        }
        self.inboxes.fire(wakes);
    }

    pub(crate) fn add_pattern(
        &self,
        worker: WorkerId,
        pattern: &str,
    ) -> Result<u64, TooManyPatterns> {
        self.patterns.add(pattern, worker.0)
    }

    pub(crate) fn remove_pattern(&self, worker: WorkerId, pattern: &str) {
        self.patterns.remove(pattern, worker.0);
    }

    /// Expires history and idempotency keys, and removes rooms that nobody is in and that remember
    /// nothing. Looks at no more than `budget` rooms and goes on where the last call ended; names at
    /// most `busiest` of them.
    pub fn sweep(&self, now: u64, budget: usize, busiest: usize) -> Swept {
        let mut swept = Swept::default();
        let mut rates = Vec::new();
        for room in self.directory.portion(budget) {
            let gone = self.accounted(&room, |state| {
                swept.messages += state.expire_history(now);
                swept.keys += state.expire_keys(now);
                if state.is_vacant() {
                    state.set_gone();
                }
                if !state.is_gone() {
                    let rate = state.rate(now);
                    rates.push((rate, state.roster().listed(), Arc::clone(&room)));
                }
                state.is_gone()
            });
            if gone && self.directory.forget(&room) {
                swept.rooms += 1;
            }
        }
        self.directory.shrink();
        swept.busiest = Self::busiest(rates, busiest);
        swept
    }

    /// The first of these by rate and members, described.
    fn busiest(mut rates: Vec<(u64, usize, Arc<Room<M>>)>, count: usize) -> Vec<RoomRate> {
        rates.sort_unstable_by_key(|rate| Reverse((rate.0, rate.1)));
        rates.truncate(count);
        let describe = |(per_1000_s, _, room): (u64, usize, Arc<Room<M>>)| RoomRate {
            room: room.identity.id,
            per_1000_s,
            summary: room.locked(|state| page::summary(&room, state)),
        };
        rates.into_iter().map(describe).collect()
    }

    /// Panics unless all that is counted twice agrees. Only true while nobody uses the hub.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.inboxes.check_invariants();
        self.directory.check_invariants();
        let mut sums = (0, 0);
        for room in self.directory.all() {
            let (messages, bytes) = room.locked(|state| {
                assert!(!state.is_gone(), "a room that is gone is in no directory");
                state.check_invariants(self.options.max_keys_per_room);
                state.footprint()
            });
            sums.0 += messages as u64;
            sums.1 += bytes as u64;
        }
        let stats = self.stats();
        assert_eq!(sums, (stats.history_messages, stats.history_bytes));
        assert!(stats.rooms <= self.options.max_rooms);
        assert!(stats.patterns <= self.options.max_patterns);
    }
}

impl<M, C> fmt::Debug for Hub<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("options", &self.options)
            .field("inboxes", &self.inboxes)
            .finish_non_exhaustive()
    }
}

fn add_difference(sum: &AtomicU64, before: usize, after: usize) {
    if before != after {
        // Wraps both ways, which adds up to the same.
        let difference = (after as u64).wrapping_sub(before as u64);
        sum.fetch_add(difference, Ordering::Relaxed);
    }
}
