//! Publishing to a room, and telling its members something that is not a message.

use std::fmt;

use super::Hub;
use crate::inbox::Wakes;
use crate::member::MemberId;
use crate::position::Epoch;
use crate::room::{Congested, Submission};

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Publish<'a, M> {
    /// A room's name, not a pattern. The caller has checked its syntax.
    pub room: &'a str,
    /// The handle that every receiver gets a clone of.
    pub message: M,
    /// What the message counts for in the history's bytes.
    pub bytes: usize,
    /// Idempotency key: repeated within its time, the publish is answered but not done again.
    pub key: Option<&'a str>,
    /// A member that shall not get the message live; it is in the history for all.
    pub exclude: Option<MemberId>,
}

/// A message that has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The message's number in the room.
    pub offset: u64,
    /// The incarnation of the room that the number counts in.
    pub epoch: Epoch,
    /// The key was seen before: the offset is that message's, and nothing was delivered now.
    pub duplicate: bool,
}

/// Why a message was not published; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// An inbox that the message would have to go into is full. It passes: try again soon.
    Congested,
    /// The room does not exist, and the hub holds as many as it may.
    TooManyRooms,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Congested => "a worker's inbox is full; try again soon",
            Self::TooManyRooms => "there are as many rooms as there may be",
        })
    }
}

impl std::error::Error for PublishError {}

/// Why a control was not queued for the members of a room; nobody got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastError {
    /// An inbox that it would have to go into is full. It passes: try again soon.
    Congested,
    /// There is no room of this name.
    NoSuchRoom,
}

impl fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Congested => "a worker's inbox is full; try again soon",
            Self::NoSuchRoom => "there is no room of this name",
        })
    }
}

impl std::error::Error for BroadcastError {}

impl<M: Clone, C> Hub<M, C> {
    /// Gives a message its offset in the room and queues it for every worker with receivers.
    ///
    /// Makes the room if there is none. Two publishes to one room are delivered everywhere in the
    /// order of their offsets; between rooms there is no order.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; then nothing has changed.
    pub fn publish(&self, publish: Publish<'_, M>, now: u64) -> Result<Published, PublishError> {
        let submission = Submission {
            message: publish.message,
            bytes: publish.bytes,
            key: publish.key,
            exclude: publish.exclude,
            key_ttl_ms: self.options.key_ttl_ms,
            max_keys: self.options.max_keys_per_room,
        };
        let mut wakes = Wakes::default();
        let numbered = self.in_room(publish.room, now, |state| {
            state.publish(submission, now, &self.inboxes, &mut wakes)
        });
        self.inboxes.fire(wakes);
        match numbered {
            Ok((room, Ok((offset, duplicate)))) => Ok(Published {
                offset,
                epoch: room.identity.epoch,
                duplicate,
            }),
            Ok((_, Err(Congested))) => Err(PublishError::Congested),
            Err(_) => Err(PublishError::TooManyRooms),
        }
    }

    /// Queues a control for every member of a room, once on each worker that has one, and returns
    /// how many members that reaches. Watchers and seats for patterns do not count.
    ///
    /// # Errors
    ///
    /// [`BroadcastError`]; then nobody gets it.
    pub fn broadcast(&self, room: &str, control: C) -> Result<usize, BroadcastError>
    where
        C: Clone,
    {
        let Some(room) = self.directory.find(room) else {
            return Err(BroadcastError::NoSuchRoom);
        };
        let mut wakes = Wakes::default();
        let reached = room.locked(|state| {
            (!state.is_gone()).then(|| state.broadcast(&control, &self.inboxes, &mut wakes))
        });
        self.inboxes.fire(wakes);
        match reached {
            Some(Ok(members)) => Ok(members),
            Some(Err(Congested)) => Err(BroadcastError::Congested),
            None => Err(BroadcastError::NoSuchRoom),
        }
    }
}
