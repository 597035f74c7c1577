//! Who has seats in a room: the members by id, and how many seats each worker holds.
//!
//! The seats themselves are worker-local (see `seat`); the room knows counts, which is all it
//! takes to know whose inbox a delivery goes into.

use indexmap::IndexMap;
use smallvec::SmallVec;
use std::sync::Arc;

use crate::id_hash::IdHash;
use crate::member::{Member, MemberId};

/// How a seat is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) presence: bool,
    pub(crate) watch: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: IndexMap<MemberId, Listed, IdHash>,
    /// Workers with at least one seat, in ascending order.
    workers: SmallVec<[WorkerSeats; 1]>,
}

#[derive(Debug)]
struct Listed {
    name: Option<Arc<str>>,
    /// More than 1 only if the gateway lets one member sit on several slots.
    seats: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerSeats {
    pub(crate) worker: u16,
    /// Members and watchers.
    pub(crate) seats: u32,
    pub(crate) watchers: u32,
    pub(crate) presence: u32,
}

impl WorkerSeats {
    const fn members(&self) -> u32 {
        self.seats - self.watchers
    }
}

impl Roster {
    pub(crate) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    pub(crate) fn is_listed(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// Members, each once.
    pub(crate) fn listed(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn watchers(&self) -> usize {
        self.workers.iter().map(|at| at.watchers as usize).sum()
    }

    /// Seats of members: what a broadcast reaches.
    pub(crate) fn member_seats(&self) -> usize {
        self.workers.iter().map(|at| at.members() as usize).sum()
    }

    pub(crate) fn members(&self, limit: usize) -> Vec<Member> {
        let listed = self.members.iter().take(limit);
        listed
            .map(|(&id, listed)| Member {
                id,
                name: listed.name.clone(),
            })
            .collect()
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = u16> + Clone {
        self.workers.iter().map(|at| at.worker)
    }

    pub(crate) fn workers_with_members(&self) -> impl Iterator<Item = u16> + Clone {
        let with_members = self.workers.iter().filter(|at| at.members() > 0);
        with_members.map(|at| at.worker)
    }

    pub(crate) fn workers_with_presence(&self) -> impl Iterator<Item = u16> + Clone {
        let with_presence = self.workers.iter().filter(|at| at.presence > 0);
        with_presence.map(|at| at.worker)
    }

    /// Counts a seat and tells whether it is the worker's first here.
    pub(crate) fn add(&mut self, worker: u16, member: Member, terms: Terms) -> bool {
        if !terms.watch {
            let listed = self.members.entry(member.id).or_insert(Listed {
                name: None,
                seats: 0,
            });
            listed.seats += 1;
            listed.name = member.name;
        }
        let (index, first) = match self.position(worker) {
            Ok(index) => (index, false),
            Err(index) => {
                let fresh = WorkerSeats {
                    worker,
                    ..WorkerSeats::default()
                };
                self.workers.insert(index, fresh);
                (index, true)
            }
        };
        let at = &mut self.workers[index];
        at.seats += 1;
        at.watchers += u32::from(terms.watch);
        at.presence += u32::from(terms.presence);
        first
    }

    /// Counts a seat out. Says who is no longer listed, and whether it was the worker's last seat.
    pub(crate) fn remove(
        &mut self,
        worker: u16,
        member: MemberId,
        terms: Terms,
    ) -> (Option<Member>, bool) {
        let Ok(index) = self.position(worker) else {
            debug_assert!(
                false,
                "a seat is counted out by the worker that counted it in"
            );
            return (None, false);
        };
        let at = &mut self.workers[index];
        at.seats -= 1;
        at.watchers -= u32::from(terms.watch);
        at.presence -= u32::from(terms.presence);
        let last = at.seats == 0;
        if last {
            self.workers.remove(index);
        }
        let gone = if terms.watch {
            None
        } else {
            self.unlist(member)
        };
        (gone, last)
    }

    fn unlist(&mut self, id: MemberId) -> Option<Member> {
        let listed = self.members.get_mut(&id)?;
        listed.seats -= 1;
        if listed.seats > 0 {
            return None;
        }
        let listed = self.members.swap_remove(&id)?;
        shrink(&mut self.members);
        Some(Member {
            id,
            name: listed.name,
        })
    }

    pub(crate) fn set_presence(&mut self, worker: u16, presence: bool) {
        if let Ok(index) = self.position(worker) {
            let at = &mut self.workers[index];
            if presence {
                at.presence += 1;
            } else {
                at.presence -= 1;
            }
        }
    }

    pub(crate) fn rename(&mut self, member: MemberId, name: Arc<str>) {
        if let Some(listed) = self.members.get_mut(&member) {
            listed.name = Some(name);
        }
    }

    fn position(&self, worker: u16) -> Result<usize, usize> {
        self.workers.binary_search_by_key(&worker, |at| at.worker)
    }

    pub(crate) fn seats_of(&self, worker: u16) -> WorkerSeats {
        match self.position(worker) {
            Ok(index) => self.workers[index],
            Err(_) => WorkerSeats {
                worker,
                ..WorkerSeats::default()
            },
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.workers.is_sorted_by(|a, b| a.worker < b.worker));
        for at in &self.workers {
            assert!(at.seats > 0, "a worker without seats is not on the roster");
            assert!(at.watchers <= at.seats && at.presence <= at.seats);
        }
        let listed: usize = self.members.values().map(|m| m.seats as usize).sum();
        assert_eq!(listed, self.member_seats());
        assert!(self.members.values().all(|member| member.seats > 0));
    }
}

/// Gives memory back once three quarters of it lie idle; small maps stay as they are.
pub(crate) fn shrink<K, V, S>(map: &mut IndexMap<K, V, S>)
where
    K: std::hash::Hash + Eq,
    S: std::hash::BuildHasher,
{
    if map.is_empty() || (map.capacity() > 64 && map.len() < map.capacity() / 4) {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Terms = Terms {
        presence: false,
        watch: false,
    };
    const WATCHER: Terms = Terms {
        presence: true,
        watch: true,
    };

    fn member(id: u64) -> Member {
        Member {
            id: MemberId(id),
            name: Some(format!("m{id}").into()),
        }
    }

    #[test]
    fn watchers_hold_seats_but_are_not_listed() {
        let mut roster = Roster::default();
        assert!(roster.add(3, member(1), MEMBER));
        assert!(!roster.add(3, member(2), WATCHER));
        assert!(roster.add(1, member(2), WATCHER));
        roster.check_invariants();
        assert_eq!((roster.listed(), roster.watchers()), (1, 2));
        assert_eq!(roster.workers().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(roster.workers_with_members().collect::<Vec<_>>(), [3]);
        assert_eq!(roster.workers_with_presence().collect::<Vec<_>>(), [1, 3]);

        assert_eq!(
            roster.remove(3, MemberId(1), MEMBER),
            (Some(member(1)), false)
        );
        assert_eq!(roster.remove(3, MemberId(2), WATCHER), (None, true));
        assert_eq!(roster.remove(1, MemberId(2), WATCHER), (None, true));
        assert!(roster.is_empty());
    }

    #[test]
    fn a_member_on_two_seats_is_listed_once_until_both_are_gone() {
        let mut roster = Roster::default();
        roster.add(0, member(1), MEMBER);
        roster.add(1, member(1), MEMBER);
        roster.check_invariants();
        assert_eq!((roster.listed(), roster.member_seats()), (1, 2));
        assert_eq!(roster.remove(0, MemberId(1), MEMBER), (None, true));
        assert_eq!(
            roster.remove(1, MemberId(1), MEMBER),
            (Some(member(1)), true)
        );
    }
}
