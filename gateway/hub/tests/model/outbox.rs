//! A naive outbox, and the real one beside it.
//!
//! The naive one is a list in which every sum is added up anew and every rule is written as it is
//! stated: what may go, in which order, and where the notice stands.

use roomwire_hub::{Gap, Origin, Outbox, OutboxLimits, Push, RoomId, SlowPolicy};

use crate::for_each_seed;
use crate::rng::Rng;

/// What a frame is in these tests: a number of its own, or the notice of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Numbered(u64),
    Notice(Gap),
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Frame(u64, Option<Origin>),
    Gap(Gap, /* is a frame already */ bool),
}

#[derive(Debug, Default)]
pub(crate) struct NaiveOutbox {
    items: Vec<(Item, usize)>,
    written: usize,
}

pub(crate) const NOTICE_BYTES: usize = 3;

impl NaiveOutbox {
    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.1).sum::<usize>() - self.written
    }

    fn fits(&self, bytes: usize, limits: &OutboxLimits) -> bool {
        self.items.len() < limits.max_messages && self.bytes() + bytes <= limits.max_bytes
    }

    fn begun(&self, index: usize) -> bool {
        index == 0 && self.written > 0
    }

    pub(crate) fn push(
        &mut self,
        frame: u64,
        bytes: usize,
        origin: Option<Origin>,
        limits: &OutboxLimits,
    ) -> Push {
        let mut dropped = 0;
        if !self.fits(bytes, limits) {
            if bytes > limits.max_bytes {
                return Push::Overflow;
            }
            let policy = origin.map(|origin| origin.slow);
            if policy == Some(SlowPolicy::KeepLatest) {
                let room = origin.expect("it has a policy").room;
                while self.drop_first(|origin| origin.room == room) {
                    dropped += 1;
                }
            }
            while !self.fits(bytes, limits) {
                let found = self.drop_first(|origin| match policy {
                    None => origin.slow != SlowPolicy::Disconnect,
                    Some(SlowPolicy::Disconnect) => false,
                    Some(policy) => origin.slow == policy,
                });
                if !found {
                    return Push::Overflow;
                }
                dropped += 1;
            }
        }
        self.items.push((Item::Frame(frame, origin), bytes));
        if dropped == 0 {
            Push::Queued
        } else {
            Push::Dropped(dropped)
        }
    }

    fn drop_first(&mut self, may_go: impl Fn(Origin) -> bool) -> bool {
        let victim = (0..self.items.len()).find_map(|index| match self.items[index].0 {
            Item::Frame(_, Some(origin)) if !self.begun(index) && may_go(origin) => {
                Some((index, origin))
            }
            _ => None,
        });
        let Some((index, origin)) = victim else {
            return false;
        };
        let notice = (0..self.items.len()).find(|&at| {
            !self.begun(at)
                && matches!(self.items[at].0, Item::Gap(gap, _) if gap.room == origin.room)
        });
        match notice {
            Some(at) => {
                let Item::Gap(gap, _) = self.items[at].0 else {
                    unreachable!("found as a gap");
                };
                let wider = Gap {
                    room: gap.room,
                    from: gap.from.min(origin.offset),
                    to: gap.to.max(origin.offset),
                };
                self.items[at] = (Item::Gap(wider, false), 0);
                self.items.remove(index);
            }
            None => {
                let gap = Gap {
                    room: origin.room,
                    from: origin.offset,
                    to: origin.offset,
                };
                self.items[index] = (Item::Gap(gap, false), 0);
            }
        }
        true
    }

    fn resolve(&mut self, keep: impl Fn(Gap) -> bool) {
        let mut index = 0;
        while index < self.items.len().min(64) {
            if let (Item::Gap(gap, false), _) = self.items[index] {
                if keep(gap) {
                    self.items[index] = (Item::Gap(gap, true), NOTICE_BYTES);
                } else {
                    self.items.remove(index);
                    continue;
                }
            }
            index += 1;
        }
    }

    fn frames(&self) -> Vec<(Frame, usize)> {
        let ready = self.items.iter().map_while(|(item, _)| match item {
            Item::Frame(frame, _) => Some(Frame::Numbered(*frame)),
            Item::Gap(gap, true) => Some(Frame::Notice(*gap)),
            Item::Gap(_, false) => None,
        });
        ready
            .enumerate()
            .map(|(index, frame)| (frame, if index == 0 { self.written } else { 0 }))
            .collect()
    }

    fn advance(&mut self, bytes: usize) -> usize {
        self.written += bytes;
        let before = self.items.len();
        while let Some(&(item, bytes)) = self.items.first()
            && bytes <= self.written
            && !matches!(item, Item::Gap(_, false))
        {
            self.written -= bytes;
            self.items.remove(0);
        }
        before - self.items.len()
    }
}

/// Both outboxes, fed the same.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) real: Outbox<Frame>,
    pub(crate) naive: NaiveOutbox,
}

impl Pair {
    pub(crate) fn push(
        &mut self,
        frame: u64,
        bytes: usize,
        origin: Option<Origin>,
        limits: &OutboxLimits,
    ) -> Push {
        let pushed = self
            .real
            .push(Frame::Numbered(frame), bytes, origin, limits);
        assert_eq!(pushed, self.naive.push(frame, bytes, origin, limits));
        if pushed != Push::Overflow {
            assert!(self.real.len() <= limits.max_messages);
            self.check();
        }
        pushed
    }

    /// Resolves gaps, then writes some of what is ready; returns what was written to its end.
    pub(crate) fn write(&mut self, rng: &mut Rng, keep: impl Fn(Gap) -> bool) -> Vec<Frame> {
        self.naive.resolve(&keep);
        self.real
            .resolve_gaps(|gap| keep(gap).then_some((Frame::Notice(gap), NOTICE_BYTES)));
        self.check();
        let ready = self.naive.frames();
        let sizes: Vec<usize> = self.naive.items.iter().map(|item| item.1).collect();
        let total: usize = sizes[..ready.len()].iter().sum::<usize>() - self.naive.written;
        let bytes = rng.index(total + 1);
        let finished = self.real.advance(bytes);
        assert_eq!(finished, self.naive.advance(bytes));
        self.check();
        ready[..finished].iter().map(|(frame, _)| *frame).collect()
    }

    fn pop(&mut self) {
        let ready = self.naive.frames();
        assert_eq!(self.real.pop(), ready.first().copied());
        if !ready.is_empty() {
            self.naive.items.remove(0);
            self.naive.written = 0;
        }
        self.check();
    }

    fn check(&self) {
        self.real.check_invariants();
        assert_eq!(self.real.bytes(), self.naive.bytes());
        assert_eq!(self.real.len(), self.naive.items.len());
        assert_eq!(self.real.is_empty(), self.naive.items.is_empty());
        let frames: Vec<_> = self
            .real
            .frames()
            .map(|(&frame, skip)| (frame, skip))
            .collect();
        assert_eq!(frames, self.naive.frames());
    }
}

#[test]
fn an_outbox_does_what_the_naive_one_does() {
    for_each_seed(500, |seed| {
        let mut rng = Rng::new(seed);
        let most_messages = *rng.pick(&[12, 12, 12, 200]);
        let most_bytes = *rng.pick(&[60, 60, 60, 2_000]);
        let limits = OutboxLimits {
            max_messages: 1 + rng.index(most_messages),
            max_bytes: 1 + rng.index(most_bytes),
        };
        let policies = [
            SlowPolicy::Disconnect,
            SlowPolicy::DropOldest,
            SlowPolicy::DropOldest,
            SlowPolicy::KeepLatest,
            SlowPolicy::KeepLatest,
        ];
        let mut offsets = [0; 5];
        let mut pair = Pair::default();
        for frame in 0..400 {
            match rng.below(10) {
                0 => drop(pair.write(&mut rng, |gap| gap.from % 7 != 0)),
                1 if rng.one_in(3) => pair.pop(),
                2 if rng.one_in(20) => {
                    pair = Pair::default();
                }
                3 => {
                    let bytes = rng.index(6);
                    if pair.push(frame, bytes, None, &limits) == Push::Overflow {
                        pair = Pair::default();
                    }
                }
                _ => {
                    // Rooms with the dropping policies are busier, so that runs last.
                    let room = *rng.pick(&[1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
                    offsets[room - 1] += 1 + rng.below(2);
                    let origin = Origin {
                        room: RoomId(room as u64),
                        offset: offsets[room - 1],
                        slow: policies[room - 1],
                    };
                    let bytes = rng.index(9);
                    if pair.push(frame, bytes, Some(origin), &limits) == Push::Overflow {
                        pair = Pair::default();
                    }
                }
            }
        }
    });
}
