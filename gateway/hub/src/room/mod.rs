//! One incarnation of a room: its order, its past, and whose inbox a delivery goes into.
//!
//! All that changes sits behind one short lock. Under it a message gets its offset, enters the
//! history and is pushed once into the inbox of each worker with seats here or with seats for a
//! pattern that matches; changes of presence and broadcasts go the same way, so every inbox sees
//! them in the room's order. Which sessions sit behind a worker's count is the worker's business
//! (`seat`); when a room is made and forgotten is the hub's (`hub`, `directory`).

mod history;
mod keys;
mod roster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

pub(crate) use self::roster::{Terms, shrink};
use self::{history::History, keys::Keys, roster::Roster};
use crate::delivery::{Delivery, PresenceChange, RoomMessage, RoomRef, Stored, WorkerId};
use crate::inbox::{Inboxes, Wakes};
use crate::lock::Lock;
use crate::member::{Member, MemberId, MemberPage};
use crate::options::HistoryLimits;
use crate::pattern::Matching;
use crate::position::Position;

#[derive(Debug)]
pub(crate) struct Room<M> {
    pub(crate) identity: Arc<RoomRef>,
    /// The version in `State::patterns`, to be compared without the lock. Written under it.
    patterns_at: AtomicU64,
    state: Lock<State<M>>,
}

impl<M: Clone> Room<M> {
    pub(crate) fn new(identity: RoomRef, history: HistoryLimits) -> Self {
        let identity = Arc::new(identity);
        Self {
            patterns_at: AtomicU64::new(0),
            state: Lock::new(
                "room",
                State {
                    room: Arc::clone(&identity),
                    gone: false,
                    sequence: 0,
                    history: History::new(history),
                    keys: None,
                    roster: Roster::default(),
                    patterns: Matching::default(),
                    look: Look::default(),
                    targets: SmallVec::new(),
                },
            ),
            identity,
        }
    }

    pub(crate) fn locked<R>(&self, act: impl FnOnce(&mut State<M>) -> R) -> R {
        self.state.with(act)
    }

    pub(crate) fn patterns_at(&self) -> u64 {
        // What the version stands for is read under the lock; the number alone may be stale.
        self.patterns_at.load(Ordering::Relaxed)
    }

    /// Notes what the pattern table says about this room, unless something newer is known.
    pub(crate) fn note_patterns(&self, matching: Matching) {
        self.state.with(|state| {
            if matching.version > state.patterns.version {
                self.patterns_at.store(matching.version, Ordering::Relaxed);
                state.patterns = matching;
                state.retarget();
            }
        });
    }
}

/// What one room's lock guards.
#[derive(Debug)]
pub(crate) struct State<M> {
    room: Arc<RoomRef>,
    /// Once set the room takes part in nothing any more, and is on its way out of the directory.
    gone: bool,
    /// Numbers changes of presence and broadcasts, from 1.
    sequence: u64,
    history: History<M>,
    /// None while no key is remembered.
    keys: Option<Box<Keys>>,
    roster: Roster,
    patterns: Matching,
    look: Look,
    /// Workers of `roster` and of `patterns`: where messages go. Ascending, without repetition.
    targets: SmallVec<[u16; 4]>,
}

/// What a sweep saw of a room last, for its rate.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    offset: u64,
    at_ms: u64,
    per_1000_s: u64,
}

/// A rate is of at least so long. Chosen: shorter ones jump, longer ones come late.
const LOOK_MS: u64 = 900;

/// A message to be numbered, with what the hub adds to it.
#[derive(Debug)]
pub(crate) struct Submission<'a, M> {
    pub(crate) message: M,
    pub(crate) bytes: usize,
    pub(crate) key: Option<&'a str>,
    pub(crate) exclude: Option<MemberId>,
    pub(crate) key_ttl_ms: u64,
    pub(crate) max_keys: usize,
}

/// Some inbox that would have been needed is full; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Congested;

/// Where a seat stands when it is taken, and what it has to be sent first.
#[derive(Debug)]
pub(crate) struct Entered<M> {
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    pub(crate) recovered: Option<bool>,
    pub(crate) missed: Vec<Stored<M>>,
}

impl<M: Clone> State<M> {
    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) const fn set_gone(&mut self) {
        self.gone = true;
    }

    /// Nothing holds the room: no seat and no message that is still to be had.
    pub(crate) fn is_vacant(&self) -> bool {
        self.roster.is_empty() && self.history.is_empty()
    }

    /// Nothing ever happened in the room, and nobody is in it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.is_vacant() && self.history.newest() == 0
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.history.newest()
    }

    /// The number of the last change of presence or broadcast.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) const fn history(&self) -> &History<M> {
        &self.history
    }

    pub(crate) const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Messages and bytes that the history holds.
    pub(crate) fn footprint(&self) -> (usize, usize) {
        (self.history.len(), self.history.bytes())
    }

    /// Lets go of messages that are too old and returns how many.
    pub(crate) fn expire_history(&mut self, now: u64) -> usize {
        self.history.expire(now)
    }

    /// Forgets keys that are due and returns how many.
    pub(crate) fn expire_keys(&mut self, now: u64) -> usize {
        let Some(keys) = &mut self.keys else {
            return 0;
        };
        let expired = keys.expire(now);
        if keys.is_empty() {
            self.keys = None;
        }
        expired
    }

    /// Messages in a thousand seconds, at the rate since the last look but for very short times.
    pub(crate) fn rate(&mut self, now: u64) -> u64 {
        let offset = self.offset();
        let elapsed_ms = now.saturating_sub(self.look.at_ms);
        if elapsed_ms >= LOOK_MS {
            let news = offset.saturating_sub(self.look.offset);
            // The first look has no time to measure from.
            let per_1000_s = match self.look.at_ms {
                0 => 0,
                _ => news.saturating_mul(1_000_000) / elapsed_ms,
            };
            self.look = Look {
                offset,
                at_ms: now,
                per_1000_s,
            };
        }
        self.look.per_1000_s
    }

    /// Numbers a message and hands it on. The offset, and whether its key was known already.
    pub(crate) fn publish<C>(
        &mut self,
        submission: Submission<'_, M>,
        now: u64,
        inboxes: &Inboxes<M, C>,
        wakes: &mut Wakes,
    ) -> Result<(u64, bool), Congested> {
        self.expire_keys(now);
        if let (Some(keys), Some(key)) = (&self.keys, submission.key)
            && let Some(offset) = keys.find(key)
        {
            return Ok((offset, true));
        }
        if !inboxes.reserve_all(self.targets.iter().copied(), wakes) {
            return Err(Congested);
        }
        let offset = self.history.newest() + 1;
        for &worker in &self.targets {
            let message = RoomMessage {
                room: Arc::clone(&self.room),
                offset,
                message: submission.message.clone(),
                exclude: submission.exclude,
                patterns_at: self.patterns.version,
            };
            inboxes.push(worker, Delivery::Message(message), wakes);
        }
        self.history.push(submission.message, submission.bytes, now);
        if let Some(key) = submission.key.filter(|_| submission.max_keys > 0) {
            let expires_at = now.saturating_add(submission.key_ttl_ms);
            self.keys
                .get_or_insert_default()
                .insert(key, offset, expires_at, submission.max_keys);
        }
        Ok((offset, false))
    }

    /// Counts a seat in, tells those who asked for presence, and says what the seat missed.
    pub(crate) fn enter<C>(
        &mut self,
        worker: WorkerId,
        member: Member,
        terms: Terms,
        since: Option<Position>,
        inboxes: &Inboxes<M, C>,
        wakes: &mut Wakes,
    ) -> Result<Entered<M>, Congested> {
        if !terms.watch && !self.roster.is_listed(member.id) {
            let audience = self.roster.workers_with_presence();
            if !inboxes.reserve_all(audience.clone(), wakes) {
                return Err(Congested);
            }
            self.sequence += 1;
            for worker in audience {
                let change = self.presence(&member, PresenceChange::Joined);
                inboxes.push(worker, change, wakes);
            }
        }
        if self.roster.add(worker.0, member, terms) {
            self.retarget();
        }
        Ok(self.replay(since))
    }

    /// What a seat taken now, or taken anew, stands at.
    pub(crate) fn replay(&self, since: Option<Position>) -> Entered<M> {
        let (recovered, missed) = match since {
            None => (None, Vec::new()),
            Some(since) => {
                let whole = self.is_whole_since(since);
                let from = if whole { since.offset } else { 0 };
                (Some(whole), self.history.after(from, usize::MAX))
            }
        };
        Entered {
            offset: self.history.newest(),
            sequence: self.sequence,
            recovered,
            missed,
        }
    }

    /// Whether nothing that was published after `since` is lost.
    pub(crate) fn is_whole_since(&self, since: Position) -> bool {
        since.epoch == self.room.epoch && self.history.reaches_back_to(since.offset)
    }

    /// Counts a seat out and tells those who asked for presence. Returns how many workers could
    /// not be told because their inbox holds twice its capacity.
    pub(crate) fn exit<C>(
        &mut self,
        worker: WorkerId,
        member: MemberId,
        terms: Terms,
        inboxes: &Inboxes<M, C>,
        wakes: &mut Wakes,
    ) -> u64 {
        let (unlisted, last) = self.roster.remove(worker.0, member, terms);
        if last {
            self.retarget();
        }
        let Some(member) = unlisted else {
            return 0;
        };
        self.sequence += 1;
        let mut untold = 0;
        for worker in self.roster.workers_with_presence() {
            if inboxes.reserve_overdraft(worker) {
                let change = self.presence(&member, PresenceChange::Left);
                inboxes.push(worker, change, wakes);
            } else {
                untold += 1;
            }
        }
        untold
    }

    fn presence<C>(&self, member: &Member, change: PresenceChange) -> Delivery<M, C> {
        Delivery::Presence {
            room: Arc::clone(&self.room),
            member: member.clone(),
            change,
            sequence: self.sequence,
        }
    }

    pub(crate) fn set_presence(&mut self, worker: WorkerId, presence: bool) {
        self.roster.set_presence(worker.0, presence);
    }

    pub(crate) fn rename(&mut self, member: MemberId, name: Arc<str>) {
        self.roster.rename(member, name);
    }

    /// Queues a control for the members and returns how many seats of theirs that reaches.
    pub(crate) fn broadcast<C: Clone>(
        &mut self,
        control: &C,
        inboxes: &Inboxes<M, C>,
        wakes: &mut Wakes,
    ) -> Result<usize, Congested> {
        let audience = self.roster.workers_with_members();
        if !inboxes.reserve_all(audience.clone(), wakes) {
            return Err(Congested);
        }
        self.sequence += 1;
        for worker in audience {
            let broadcast = Delivery::Broadcast {
                room: Arc::clone(&self.room),
                control: control.clone(),
                sequence: self.sequence,
            };
            inboxes.push(worker, broadcast, wakes);
        }
        Ok(self.roster.member_seats())
    }

    pub(crate) fn members(&self, limit: usize) -> MemberPage {
        MemberPage {
            members: self.roster.members(limit),
            total: self.roster.listed(),
        }
    }

    fn retarget(&mut self) {
        self.targets.clear();
        self.targets.extend(self.roster.workers());
        self.targets.extend(self.patterns.workers.iter().copied());
        self.targets.sort_unstable();
        self.targets.dedup();
    }

    pub(crate) fn check_invariants(&self, max_keys: usize) {
        self.history.check_invariants();
        self.roster.check_invariants();
        if let Some(keys) = &self.keys {
            assert!(!keys.is_empty(), "an empty record of keys is given back");
            keys.check_invariants(max_keys);
        }
        let mut expected: Vec<u16> = self.roster.workers().collect();
        expected.extend(&self.patterns.workers);
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(self.targets.as_slice(), expected);
        assert!(!self.gone || self.is_vacant());
    }
}
