//! What a client has seen of each room, so that a new connection goes on where the old one ended.
//!
//! A position moves with every message. One thing needs care: after a join with `since`, `joined`
//! already names the newest offset while the missed messages are still under way; taking that offset
//! at once would lose them if the connection broke in between. So it is only remembered, and becomes
//! the position at the *fence*: an answer to something sent after the join, which the gateway can
//! only give when the missed messages have gone before it.

use std::collections::BTreeMap;

use super::{
    command::Position,
    event::{Joined, Message},
};

/// The rooms that a client wants to be in, bounded by `max_rooms`.
#[derive(Debug)]
pub(super) struct Resume {
    rooms: BTreeMap<String, Room>,
    max_rooms: usize,
}

#[derive(Debug, Default)]
struct Room {
    presence: bool,
    position: Option<Position>,
    /// The newest offset by the last `joined`, until the fence. Never below `position`'s offset.
    newest: Option<u64>,
}

/// A join to be sent.
#[derive(Debug, PartialEq)]
pub(super) struct Rejoin {
    pub(super) room: String,
    pub(super) since: Option<Position>,
    pub(super) presence: bool,
}

impl Resume {
    pub(super) fn new(max_rooms: usize) -> Self {
        Self {
            rooms: BTreeMap::new(),
            max_rooms,
        }
    }

    /// False: there are too many rooms already.
    pub(super) fn join(&mut self, room: &str, since: Option<Position>, presence: bool) -> bool {
        if let Some(known) = self.rooms.get_mut(room) {
            known.presence = presence;
            known.position = since.or_else(|| known.position.take());
            return true;
        }
        if self.rooms.len() >= self.max_rooms {
            return false;
        }
        let room_state = Room {
            presence,
            position: since,
            newest: None,
        };
        self.rooms.insert(room.to_owned(), room_state);
        true
    }

    pub(super) fn leave(&mut self, room: &str) {
        self.rooms.remove(room);
    }

    /// Every join that a new connection has to send.
    pub(super) fn rejoins(&self) -> Vec<Rejoin> {
        self.rooms
            .iter()
            .map(|(room, state)| Rejoin {
                room: room.clone(),
                since: state.position.clone(),
                presence: state.presence,
            })
            .collect()
    }

    pub(super) fn on_joined(&mut self, joined: &Joined) {
        let Some(room) = self.rooms.get_mut(&joined.room) else {
            return;
        };
        let (Some(epoch), Some(offset)) = (&joined.epoch, joined.offset) else {
            return;
        };
        let seen = match (joined.recovered, &room.position) {
            (None, _) => offset,
            (Some(_), Some(position)) if position.epoch == *epoch => position.offset,
            // Another life of the room: all that is left of it follows.
            (Some(_), _) => 0,
        };
        room.newest = Some(offset.max(seen));
        room.position = Some(Position {
            epoch: epoch.clone(),
            offset: seen,
        });
    }

    /// All that the joins of this connection had to replay has been received.
    pub(super) fn on_fence(&mut self) {
        for room in self.rooms.values_mut() {
            if let (Some(newest), Some(position)) = (room.newest.take(), &mut room.position) {
                position.offset = position.offset.max(newest);
            }
        }
    }

    /// The connection is gone, and with it what had not been replayed.
    pub(super) fn on_lost(&mut self) {
        for room in self.rooms.values_mut() {
            room.newest = None;
        }
    }

    pub(super) fn on_message(&mut self, message: &Message) {
        let Some(room) = self.rooms.get_mut(&message.room) else {
            return;
        };
        match (&message.epoch, &mut room.position) {
            (Some(epoch), Some(position)) if position.epoch != *epoch => {
                position.epoch.clone_from(epoch);
                position.offset = message.offset;
            }
            // Datagrams may come in any order.
            (_, Some(position)) => position.offset = position.offset.max(message.offset),
            (Some(epoch), None) => {
                room.position = Some(Position {
                    epoch: epoch.clone(),
                    offset: message.offset,
                });
            }
            (None, None) => {}
        }
    }

    /// The gateway dropped messages up to `to` and said so; asking for them later brings nothing new.
    pub(super) fn on_gap(&mut self, room: &str, to: u64) {
        if let Some(position) = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.position.as_mut())
        {
            position.offset = position.offset.max(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::command::json_string;

    fn joined(epoch: &str, offset: u64, recovered: Option<bool>) -> Joined {
        Joined {
            id: None,
            room: "a".to_owned(),
            epoch: Some(epoch.to_owned()),
            offset: Some(offset),
            members: Vec::new(),
            member_count: None,
            recovered,
        }
    }

    fn message(offset: u64, epoch: Option<&str>) -> Message {
        Message {
            room: "a".to_owned(),
            offset,
            from: "b".to_owned(),
            time_ms: 0,
            data: json_string("x"),
            epoch: epoch.map(str::to_owned),
        }
    }

    fn in_room() -> Resume {
        let mut resume = Resume::new(2);
        assert!(resume.join("a", None, false));
        resume
    }

    fn check(resume: &Resume, expected: Option<(&str, u64)>) {
        let since = resume.rejoins().remove(0).since;
        let since = since
            .as_ref()
            .map(|position| (position.epoch.as_str(), position.offset));
        assert_eq!(since, expected);
    }

    #[test]
    fn a_first_join_begins_at_the_newest_message() {
        let mut resume = in_room();
        check(&resume, None);
        resume.on_joined(&joined("e", 7, None));
        check(&resume, Some(("e", 7)));
    }

    #[test]
    fn messages_and_gaps_move_the_position_forward_only() {
        let mut resume = in_room();
        resume.on_joined(&joined("e", 7, None));
        resume.on_message(&message(9, None));
        resume.on_message(&message(8, None));
        check(&resume, Some(("e", 9)));
        resume.on_gap("a", 12);
        check(&resume, Some(("e", 12)));
        resume.on_gap("other", 99);
        check(&resume, Some(("e", 12)));
    }

    #[test]
    fn a_connection_lost_during_the_replay_asks_for_the_rest() {
        let mut resume = in_room();
        resume.on_joined(&joined("e", 7, None));
        resume.on_lost();
        resume.on_joined(&joined("e", 20, Some(true)));
        resume.on_message(&message(8, None));
        resume.on_lost();
        resume.on_fence();
        check(&resume, Some(("e", 8)));
    }

    #[test]
    fn after_the_fence_the_newest_offset_counts_even_if_no_message_came() {
        let mut resume = in_room();
        resume.on_joined(&joined("e", 7, None));
        resume.on_joined(&joined("f", 20, Some(false)));
        check(&resume, Some(("f", 0)));
        resume.on_fence();
        check(&resume, Some(("f", 20)));
    }

    #[test]
    fn an_epoch_that_comes_with_a_message_begins_a_new_count() {
        let mut resume = in_room();
        resume.on_message(&message(5, Some("e")));
        check(&resume, Some(("e", 5)));
        resume.on_message(&message(2, Some("f")));
        check(&resume, Some(("f", 2)));
    }

    #[test]
    fn rooms_are_bounded_and_left_rooms_are_forgotten() {
        let mut resume = in_room();
        assert!(resume.join("b", None, true));
        assert!(!resume.join("c", None, false));
        assert!(resume.join("a", None, true), "a known room is not one more");
        resume.leave("a");
        let rejoins = resume.rejoins();
        assert_eq!(rejoins.len(), 1);
        assert!(rejoins[0].presence);
    }

    #[test]
    fn messages_of_other_rooms_change_nothing() {
        let mut resume = Resume::new(1);
        assert!(resume.join("news.*", None, false));
        resume.on_message(&message(3, None));
        check(&resume, None);
    }
}
