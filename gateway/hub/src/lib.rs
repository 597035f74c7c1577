//! The hub of Roomwire: who gets a message, in which order, and what happens to those who are slow.
//!
//! Rooms with members, offsets, bounded history and patterns; the seats of each worker's sessions;
//! bounded outboxes; and the [`emitter`]. Pure code, generic over the message handle: it has never
//! seen a socket, a task or a clock. A message's way leads through [`Hub::publish`],
//! [`Inbox::drain`], [`Seats::fan_out`] and [`Outbox::push`]; to read the code, begin with `room`,
//! then `seat`.
//!
//! ```
//! use std::sync::Arc;
//! use roomwire_hub::{Delivery, Hub, HubOptions, Join, Member, MemberId, Publish, Seats, WorkerId};
//!
//! let hub: Arc<Hub<Arc<str>, ()>> = Arc::new(Hub::new(HubOptions::default()));
//! let worker = WorkerId(0);
//! let mut seats = Seats::new(Arc::clone(&hub), worker, 128);
//! let (slot, now) = (0, 0);
//! let member = Member { id: MemberId(1), name: Some("ada".into()) };
//! let join = Join { subject: "lobby", member, since: None, presence: false, watch: false };
//! seats.join(slot, join, now)?;
//!
//! let message: Arc<str> = "hello".into();
//! let publish = Publish { room: "lobby", bytes: message.len(), message, key: None, exclude: None };
//! assert_eq!(hub.publish(publish, now)?.offset, 1);
//!
//! let (mut turn, mut received) = (Vec::new(), Vec::new());
//! hub.inbox(worker).drain(1_024, &mut turn);
//! for delivery in turn {
//!     if let Delivery::Message(message) = delivery {
//!         seats.fan_out(&message, |slot| received.push((slot, Arc::clone(&message.message))));
//!     }
//! }
//! assert_eq!(received, [(slot, "hello".into())]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Locks
//!
//! | lock | guards | may be taken inside it |
//! |---|---|---|
//! | room | one room's order, history, keys, roster | inbox |
//! | inbox | one worker's queue | – |
//! | patterns | which workers have seats for which pattern | – |
//! | rooms in line | all rooms by id | – |
//! | waker | how to wake one worker | – |
//! | a shard of the directory | rooms by name | – |
//!
//! Guards never leave the type that owns the lock, nothing waits under one, and workers are woken
//! after all are released.

#![forbid(unsafe_code)]

pub mod emitter;

mod delivery;
mod directory;
mod hub;
mod id_hash;
mod inbox;
mod lock;
mod member;
mod options;
mod outbox;
mod pattern;
mod position;
mod room;
mod seat;

pub use delivery::{Delivery, PresenceChange, RoomId, RoomMessage, RoomRef, Stored, WorkerId};
pub use hub::{
    BroadcastError, HistoryPage, Hub, HubStats, Publish, PublishError, Published, RoomOrder,
    RoomRate, RoomSummary, RoomsPage, Swept,
};
pub use inbox::{Full, Inbox};
pub use member::{Member, MemberId, MemberPage};
pub use options::{HistoryLimits, HubOptions, RoomSettings, SlowPolicy};
pub use outbox::{Gap, Origin, Outbox, OutboxLimits, Push};
pub use pattern::{Pattern, PatternError};
pub use position::{Epoch, InvalidEpoch, Position};
pub use seat::{Join, JoinError, Joined, Seats};
