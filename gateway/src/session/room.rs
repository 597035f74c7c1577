//! What a session does in rooms, the same on every wire; how it is told differs and is elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use roomwire_hub::{
    Epoch, Join, JoinError, Joined, Member, Position, Publish, PublishError, Published, Stored,
};
use roomwire_metrics::Id;
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::room::{self, Subject};

use crate::event;
use crate::message::Message;
use crate::worker::Core;

/// Why a command was not obeyed: for the peer, with a code from the one table.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) text: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(
            ErrorCode::Overloaded,
            "the gateway is overloaded; try again",
        )
    }

    pub(crate) fn unknown_room() -> Self {
        Self::new(
            ErrorCode::UnknownRoom,
            "no such room: nobody is in it and it has no history",
        )
    }

    pub(crate) fn unknown_request() -> Self {
        Self::new(
            ErrorCode::UnknownRequest,
            "no such request waits: it was answered, timed out, or never made",
        )
    }

    pub(crate) fn pattern() -> Self {
        Self::new(
            ErrorCode::PatternNotAllowed,
            "a pattern can be joined and left; publish, history, members and request take a room",
        )
    }
}

/// Messages that are sent to a session which came back, and those that no longer fit.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Offsets left out because the replay would not fit into the session's outbox.
    pub(crate) gap: Option<(u64, u64)>,
    pub(crate) messages: Vec<Stored<Arc<Message>>>,
}

impl Replay {
    /// The newest of `missed` that fit into `max_bytes` together.
    fn fitting(mut missed: Vec<Stored<Arc<Message>>>, room: &str, max_bytes: usize) -> Self {
        let mut bytes = 0;
        let fitting = missed.iter().rev().take_while(|stored| {
            bytes += stored.message.wire_cost(room);
            bytes <= max_bytes
        });
        let left_out = missed.len() - fitting.count();
        let cut: Vec<_> = missed.drain(..left_out).collect();
        let gap = cut
            .first()
            .zip(cut.last())
            .map(|(first, last)| (first.offset, last.offset));
        Self {
            gap,
            messages: missed,
        }
    }
}

/// Reads a wire position. An epoch that is not one of ours is one that no longer exists.
pub(crate) fn position(epoch: &str, offset: u64) -> Position {
    // Epochs are random 64-bit numbers; zero is never given out, so it never matches.
    Position {
        epoch: epoch.parse().unwrap_or(Epoch(0)),
        offset,
    }
}

impl Core {
    /// Joins a session to a room or pattern.
    pub(crate) fn join_room(
        &mut self,
        slot: u32,
        subject: &str,
        since: Option<Position>,
        presence: bool,
    ) -> Result<(Joined<Arc<Message>>, Replay), Refusal> {
        let Some(session) = self.session(slot) else {
            return Err(Refusal::overloaded());
        };
        let member = Member {
            id: session.id.member(),
            name: session.name.clone(),
        };
        let request = Join {
            subject,
            member,
            since,
            presence,
            watch: false,
        };
        let joined = self
            .seats
            .join(slot, request, self.now_ms)
            .map_err(|error| self.refuse(error))?;
        let mut joined = joined;
        let missed = std::mem::take(&mut joined.missed);
        let replay = Replay::fitting(missed, subject, self.shared.bounds.outbox_half_bytes);
        if !joined.again {
            self.lane.increment(Id::Joins);
        }
        self.lane
            .add(Id::MessagesReplayed, replay.messages.len() as u64);
        if joined.recovered == Some(false) || replay.gap.is_some() {
            self.lane.increment(Id::RecoveriesFailed);
            joined.recovered = joined.recovered.map(|_| false);
        }
        if !joined.again {
            self.emit_membership(slot, subject, event::Change::Joined);
        }
        Ok((joined, replay))
    }

    pub(crate) fn refuse(&self, error: JoinError) -> Refusal {
        let bounds = &self.shared.bounds;
        match error {
            JoinError::TooManyRoomsForSession => {
                let max = bounds.max_rooms_per_session;
                Refusal::new(
                    ErrorCode::TooManyRooms,
                    format!("a session is in at most {max} rooms (limits.max_rooms_per_session)"),
                )
            }
            JoinError::TooManyRooms => Refusal::new(
                ErrorCode::TooManyRooms,
                "the gateway has no place for another room",
            ),
            JoinError::TooManyPatterns => Refusal::new(
                ErrorCode::TooManyRooms,
                "the gateway has no place for another pattern",
            ),
            JoinError::Congested => Refusal::overloaded(),
        }
    }

    pub(crate) fn leave_room(&mut self, slot: u32, subject: &str) -> Result<(), Refusal> {
        if !self.seats.leave(slot, subject, self.now_ms) {
            return Err(Refusal::new(
                ErrorCode::NotAMember,
                "this session is not in that room",
            ));
        }
        self.lane.increment(Id::Leaves);
        self.emit_membership(slot, subject, event::Change::Left);
        Ok(())
    }

    /// Publishes `data`, one valid JSON text, as this session.
    pub(crate) fn publish_as(
        &mut self,
        slot: u32,
        room: &str,
        data: &[u8],
        echo: bool,
        key: Option<&str>,
    ) -> Result<Published, Refusal> {
        let Some(session) = self.session(slot) else {
            return Err(Refusal::overloaded());
        };
        let (from, id) = (session.from(), session.id);
        let exclude = (!echo).then(|| id.member());
        self.publish(room, from, data, exclude, key)
    }

    /// Publishes `data`, one valid JSON text.
    pub(crate) fn publish(
        &self,
        room: &str,
        from: Arc<str>,
        data: &[u8],
        exclude: Option<roomwire_hub::MemberId>,
        key: Option<&str>,
    ) -> Result<Published, Refusal> {
        if room::check(room) == Ok(Subject::Pattern) {
            return Err(Refusal::pattern());
        }
        let now = crate::lifecycle::Clock::unix_ms();
        let message = Message::new(from, now, self.now_us, data);
        let publish = Publish {
            room,
            message: Arc::clone(&message),
            bytes: message.cost(),
            key,
            exclude,
        };
        match self.shared.hub.publish(publish, self.now_ms) {
            Ok(published) => {
                let id = if published.duplicate {
                    Id::PublishesRepeated
                } else {
                    Id::Publishes
                };
                self.lane.increment(id);
                if !published.duplicate {
                    self.lane.record(Id::PublishBytes, data.len() as u64);
                }
                if self.topics.publish.has_listeners() && !published.duplicate {
                    let (shared, offset) = (&self.shared, published.offset);
                    let publication = event::Publication::new(shared, room, offset, message);
                    event::emit_publication(shared, || {
                        self.topics.publish.emit(&publication);
                    });
                }
                Ok(published)
            }
            Err(PublishError::Congested) => {
                self.lane.increment(Id::PublishesCongested);
                Err(Refusal::overloaded())
            }
            Err(PublishError::TooManyRooms) => Err(self.refuse(JoinError::TooManyRooms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(offset: u64, bytes: usize) -> Stored<Arc<Message>> {
        Stored {
            offset,
            message: Message::new(Arc::from("x"), 0, 0, &vec![b'1'; bytes]),
        }
    }

    #[test]
    fn a_replay_keeps_the_newest_that_fit_and_names_the_rest_as_a_gap() {
        let cost = stored(1, 100).message.wire_cost("r");
        let missed = vec![stored(5, 100), stored(6, 100), stored(7, 100)];
        let replay = Replay::fitting(missed, "r", 2 * cost);
        assert_eq!(replay.gap, Some((5, 5)));
        let offsets: Vec<_> = replay.messages.iter().map(|stored| stored.offset).collect();
        assert_eq!(offsets, [6, 7]);
    }

    #[test]
    fn a_replay_that_fits_has_no_gap() {
        let replay = Replay::fitting(vec![stored(5, 100)], "r", 10_000);
        assert_eq!((replay.gap, replay.messages.len()), (None, 1));
    }
}
