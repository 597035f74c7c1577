//! What a gateway tells a client, parsed and owned; and what the client itself has to tell.
//!
//! [`ServerEvent::parse`] reads one JSON object of `roomwire.v1`. Types it does not know become
//! [`ServerEvent::Other`], fields it does not know are ignored: a newer gateway is no error.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What [`Client::next`](super::Client::next) reports.
#[derive(Debug)]
pub enum Event {
    /// The connection stands and the joins are on their way.
    Connected {
        /// True for every connection but the first.
        again: bool,
    },
    /// The connection is gone. The next attempt follows by itself.
    Disconnected {
        /// For people.
        reason: String,
        /// When.
        retry_in: Duration,
    },
    /// It is over: nothing but this event will ever come again.
    Ended {
        /// For people.
        reason: String,
        /// False where the gateway ended the session in the orderly way.
        failed: bool,
    },
    /// The gateway said something.
    Server(ServerEvent),
}

/// One message of a room.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// The room's name.
    pub room: String,
    /// Its number in the room.
    pub offset: u64,
    /// The sender's name or client id.
    pub from: String,
    /// Milliseconds since 1970.
    #[serde(rename = "time")]
    pub time_ms: u64,
    /// The JSON value, byte for byte as it was published.
    pub data: Box<RawValue>,
    /// Which life of the room it is from; only server-sent events say so with each message.
    #[serde(skip)]
    pub epoch: Option<String>,
}

/// Someone in a room.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// The client id.
    pub client: String,
    /// The name, if it gave one.
    #[serde(default)]
    pub name: Option<String>,
}

/// The answer to a join.
#[derive(Clone, Debug, Deserialize)]
pub struct Joined {
    /// The number of the command.
    #[serde(default)]
    pub id: Option<u64>,
    /// The room or pattern.
    pub room: String,
    /// Which life of the room. Server-sent events say it with the messages instead.
    #[serde(default)]
    pub epoch: Option<String>,
    /// The newest message's number when the join was obeyed.
    #[serde(default)]
    pub offset: Option<u64>,
    /// Who is there; may be a part of them.
    #[serde(default)]
    pub members: Vec<Member>,
    /// How many are there.
    #[serde(default)]
    pub member_count: Option<u64>,
    /// Where the join said `since`: whether every message after that follows.
    #[serde(default)]
    pub recovered: Option<bool>,
}

/// One object that the gateway sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerEvent {
    /// A join over datagrams has to be repeated with this cookie.
    Challenge {
        /// The number of the join.
        #[serde(default)]
        id: Option<u64>,
        /// To be sent back.
        cookie: String,
    },
    /// A command failed, or the session is in trouble.
    Error {
        /// The number of the command; none if it is about the session.
        #[serde(default)]
        id: Option<u64>,
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// Messages `from..=to` of a room were not sent to this client and will not be.
    Gap {
        /// The room's name.
        room: String,
        /// The first offset left out.
        from: u64,
        /// The last offset left out.
        to: u64,
    },
    /// The gateway is about to close the session.
    Goodbye {
        /// For people.
        reason: String,
        /// Whether to come back.
        reconnect: bool,
        /// Not before this many milliseconds.
        #[serde(default)]
        after_ms: u64,
    },
    /// The newest messages of a room, oldest first.
    #[serde(skip)]
    History {
        /// The number of the command.
        id: Option<u64>,
        /// The room's name.
        room: String,
        /// The messages.
        messages: Vec<Message>,
    },
    /// A join was obeyed.
    Joined(Joined),
    /// A leave was obeyed.
    Left {
        /// The number of the command.
        #[serde(default)]
        id: Option<u64>,
        /// The room or pattern.
        room: String,
    },
    /// Someone came.
    MemberJoined {
        /// The room's name.
        room: String,
        /// Who.
        member: Member,
    },
    /// Someone went.
    MemberLeft {
        /// The room's name.
        room: String,
        /// Who.
        member: Member,
    },
    /// Who is in a room.
    Members {
        /// The number of the command.
        #[serde(default)]
        id: Option<u64>,
        /// The room's name.
        room: String,
        /// May be a part of them.
        members: Vec<Member>,
        /// How many there are.
        #[serde(default)]
        member_count: Option<u64>,
    },
    /// A message of a room.
    #[serde(skip)]
    Message(Message),
    /// A sign of life.
    Pong {
        /// The number of the ping.
        #[serde(default)]
        id: Option<u64>,
    },
    /// A publish was obeyed.
    Published {
        /// The number of the command.
        #[serde(default)]
        id: Option<u64>,
        /// The room's name.
        room: String,
        /// The message's number in it.
        offset: u64,
    },
    /// A hello was obeyed.
    Welcome {
        /// The number of the command.
        #[serde(default)]
        id: Option<u64>,
        /// This client's id.
        client: String,
        /// Its name.
        #[serde(default)]
        name: Option<String>,
    },
    // The last one, because serde wants it there.
    /// Of a type that this client does not know.
    #[serde(other)]
    Other,
}

/// What was received is not an object of `roomwire.v1`.
#[derive(Debug, thiserror::Error)]
#[error("not a roomwire.v1 object: {0}")]
pub struct EventError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

/// `data` is kept as its own bytes, which serde cannot do inside of a tagged enum.
#[derive(Deserialize)]
pub(super) struct HistoryBody {
    #[serde(default)]
    pub(super) id: Option<u64>,
    pub(super) room: String,
    #[serde(default)]
    pub(super) epoch: Option<String>,
    pub(super) messages: Vec<Message>,
}

impl From<HistoryBody> for ServerEvent {
    fn from(body: HistoryBody) -> Self {
        let HistoryBody {
            id,
            room,
            epoch,
            mut messages,
        } = body;
        for message in &mut messages {
            message.epoch.clone_from(&epoch);
        }
        Self::History { id, room, messages }
    }
}

impl ServerEvent {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// Where it is not JSON, has no `type`, or lacks a field that its type has.
    pub fn parse(json: &[u8]) -> Result<Self, EventError> {
        let head: Head = serde_json::from_slice(json)?;
        Ok(match head.kind.as_str() {
            "message" => Self::Message(serde_json::from_slice(json)?),
            "history" => serde_json::from_slice::<HistoryBody>(json)?.into(),
            _ => serde_json::from_slice(json)?,
        })
    }

    /// The number of the command that this answers.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Challenge { id, .. }
            | Self::Error { id, .. }
            | Self::History { id, .. }
            | Self::Joined(Joined { id, .. })
            | Self::Left { id, .. }
            | Self::Members { id, .. }
            | Self::Pong { id }
            | Self::Published { id, .. }
            | Self::Welcome { id, .. } => *id,
            Self::Gap { .. }
            | Self::Goodbye { .. }
            | Self::MemberJoined { .. }
            | Self::MemberLeft { .. }
            | Self::Message(_)
            | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> ServerEvent {
        ServerEvent::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn data_is_kept_byte_for_byte() {
        let json =
            r#"{"type":"message","room":"a","offset":2,"from":"b","time":3,"data":{"x": 1.50e0}}"#;
        let ServerEvent::Message(message) = parse(json) else {
            panic!("not a message");
        };
        assert_eq!(message.data.get(), r#"{"x": 1.50e0}"#);
        let json = format!(
            r#"{{"type":"history","id":1,"room":"a","epoch":"e","messages":[{json}],"new":0}}"#
        );
        let ServerEvent::History { messages, .. } = parse(&json) else {
            panic!("not a history");
        };
        assert_eq!(messages[0].data.get(), r#"{"x": 1.50e0}"#);
        assert_eq!(messages[0].epoch.as_deref(), Some("e"));
    }

    #[test]
    fn the_answer_to_a_join_says_whether_all_was_recovered() {
        let json = r#"{"type":"joined","id":4,"room":"a","epoch":"e","offset":9,
            "members":[{"client":"c1","name":null}],"member_count":1,"recovered":false}"#;
        let ServerEvent::Joined(joined) = parse(json) else {
            panic!("not joined");
        };
        assert_eq!(joined.id, Some(4));
        assert_eq!(joined.recovered, Some(false));
        assert_eq!(joined.members.len(), 1);
    }

    #[test]
    fn unknown_types_and_fields_are_no_error() {
        assert!(matches!(
            parse(r#"{"type":"teleport","room":5}"#),
            ServerEvent::Other
        ));
        assert!(matches!(
            parse(r#"{"mood":1,"type":"pong","id":5}"#),
            ServerEvent::Pong { id: Some(5) }
        ));
        assert!(matches!(
            parse(r#"{"type":"goodbye","reason":"drain","reconnect":true,"after_ms":5}"#),
            ServerEvent::Goodbye {
                reconnect: true,
                after_ms: 5,
                ..
            }
        ));
    }

    #[test]
    fn what_is_not_an_object_with_a_type_is_refused() {
        for bad in ["", "hi", "[]", "{}", r#"{"type":5}"#, r#"{"type":"gap"}"#] {
            assert!(ServerEvent::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
