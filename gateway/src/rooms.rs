//! Publishing from inside the program: what a listener or a route needs to answer into a room.

use std::fmt;
use std::sync::{Arc, Weak};

use roomwire_hub::emitter::name;
use roomwire_hub::{Publish, PublishError};
use roomwire_metrics::Id;
use roomwire_protocols::json;
use roomwire_protocols::room::{self, RoomNameError, Subject};

use crate::event::{Publication, emit_publication};
use crate::lifecycle::Clock;
use crate::message::Message;
use crate::shared::Shared;

/// A publish from the embedding program was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The data is not one JSON text.
    #[error("the data is not valid JSON")]
    NotJson,
    /// A worker's inbox is full; try again.
    #[error("the gateway is overloaded; try again")]
    Overloaded,
    /// A pattern cannot be published to.
    #[error("a pattern cannot be published to")]
    Pattern,
    /// The room's name is not valid.
    #[error(transparent)]
    Room(#[from] RoomNameError),
    /// The gateway is gone.
    #[error("the gateway has stopped")]
    Stopped,
    /// The data is longer than `limits.max_message`.
    #[error("the data is longer than limits.max_message")]
    TooLarge,
    /// There are as many rooms as there may be.
    #[error("the gateway has no place for another room")]
    TooManyRooms,
}

/// Publishes into a gateway's rooms without keeping the gateway alive, so that listeners may hold
/// it. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Rooms {
    shared: Weak<Shared>,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}

impl Rooms {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
        }
    }

    pub(crate) fn weak(shared: Weak<Shared>) -> Self {
        Self { shared }
    }

    /// Publishes one JSON text to a room as `from`; gives its offset.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was published then.
    pub fn publish(&self, room: &str, from: &str, data: &[u8]) -> Result<u64, SendError> {
        let shared = self.shared.upgrade().ok_or(SendError::Stopped)?;
        publish(&shared, room, from, data)
    }
}

pub(crate) fn publish(
    shared: &Arc<Shared>,
    room: &str,
    from: &str,
    data: &[u8],
) -> Result<u64, SendError> {
    if room::check(room)? == Subject::Pattern {
        return Err(SendError::Pattern);
    }
    if data.len() > shared.bounds.max_message {
        return Err(SendError::TooLarge);
    }
    let data = json::check(data).map_err(|_| SendError::NotJson)?;
    let taken_us = shared.clock.now_us();
    let message = Message::new(Arc::from(from), Clock::unix_ms(), taken_us, data.as_bytes());
    let (bytes, told) = (message.cost(), Arc::clone(&message));
    let publish = Publish {
        room,
        message,
        bytes,
        key: None,
        exclude: None,
    };
    match shared.hub.publish(publish, shared.clock.now_ms()) {
        Ok(published) => {
            shared.lane.increment(Id::Publishes);
            shared
                .lane
                .record(Id::PublishBytes, told.data().len() as u64);
            let publication = Publication::new(shared, room, published.offset, told);
            emit_publication(shared, || {
                shared.emitter.emit(name::PUBLISH, &publication);
            });
            Ok(published.offset)
        }
        Err(PublishError::Congested) => Err(SendError::Overloaded),
        Err(PublishError::TooManyRooms) => Err(SendError::TooManyRooms),
    }
}
