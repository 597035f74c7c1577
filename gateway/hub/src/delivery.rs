//! What travels from a room to a worker: one handle per worker, whatever the number of its seats.
//!
//! Order in an inbox is the room's order: messages, changes of presence and broadcasts of one room
//! are pushed under its lock. `sequence` numbers the latter two, as offsets number messages, so
//! that a seat taken later is not told what happened before it was.

use std::sync::Arc;

use crate::member::{Member, MemberId};
use crate::options::SlowPolicy;
use crate::position::Epoch;

/// A worker's index, `0..workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

/// One incarnation of a room. Never reused while the process lives; 0 is never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

/// The identity of one incarnation of a room; nothing in it ever changes.
#[derive(Debug, PartialEq, Eq)]
pub struct RoomRef {
    /// What seats and outboxes know the room by.
    pub id: RoomId,
    /// The name as clients write it.
    pub name: Arc<str>,
    /// What clients tell incarnations apart by.
    pub epoch: Epoch,
    /// What happens to sessions that do not keep up with this room.
    pub slow: SlowPolicy,
    /// Which of [`HubOptions::overrides`](crate::HubOptions::overrides) the room has its settings
    /// from; their number if from none. Tells rooms apart in figures.
    pub class: u16,
}

/// A published message on its way to one worker.
#[derive(Clone, Debug)]
pub struct RoomMessage<M> {
    /// Where it was published.
    pub room: Arc<RoomRef>,
    /// Its number in the room, from 1, without holes.
    pub offset: u64,
    /// The handle that was published.
    pub message: M,
    /// A member that shall not get it: usually a publisher that does not want to hear itself.
    pub exclude: Option<MemberId>,
    /// The version of the pattern table that the room knew when it numbered the message. A pattern
    /// seat taken at a later version does not get it.
    pub(crate) patterns_at: u64,
}

/// What a member did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceChange {
    /// It is listed from now on.
    Joined,
    /// It is no longer listed.
    Left,
}

/// One entry of a worker's inbox.
#[derive(Clone, Debug)]
pub enum Delivery<M, C> {
    /// For [`Seats::fan_out`](crate::Seats::fan_out).
    Message(RoomMessage<M>),
    /// For [`Seats::fan_out_presence`](crate::Seats::fan_out_presence).
    Presence {
        /// Where it happened.
        room: Arc<RoomRef>,
        /// Who did it.
        member: Member,
        /// What it did.
        change: PresenceChange,
        /// Its place among the room's presence changes and broadcasts.
        sequence: u64,
    },
    /// For [`Seats::fan_out_members`](crate::Seats::fan_out_members).
    Broadcast {
        /// Whose members it is for.
        room: Arc<RoomRef>,
        /// What the gateway sent them.
        control: C,
        /// Its place among the room's presence changes and broadcasts.
        sequence: u64,
    },
    /// The gateway's own word from worker to worker.
    Control(C),
}

/// A message of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<M> {
    /// Its number in the room.
    pub offset: u64,
    /// The handle that was published.
    pub message: M,
}
