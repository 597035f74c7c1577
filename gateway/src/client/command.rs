//! What a client asks of a gateway, as values that can be kept and sent again.
//!
//! The gateway's own parser borrows from what it reads; a client has to remember a command until it
//! is answered, because it may have to repeat it after a reconnect. So these own their text. Encoding
//! gives one JSON object of `roomwire.v1` on one line.

use serde::Serialize;
use serde_json::value::RawValue;

/// A place in a room's stream of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Which life of the room; opaque.
    pub epoch: String,
    /// The last offset seen in it.
    pub offset: u64,
}

/// One command of `roomwire.v1`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Introduces the client, or renames it. Answered with `welcome`.
    Hello {
        /// The name that messages will carry as `from`.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The secret that says who this is, where the gateway asks for one.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// Asks for the messages of a room from now on, or from `since`. Answered with `joined`.
    Join {
        /// A room's name, or a pattern.
        room: String,
        /// The last message already seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Position>,
        /// Whether to be told of members who come and go.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        presence: bool,
        /// The answer to a `challenge`. Only datagrams need one, and the transport fills it in.
        #[serde(skip_serializing_if = "Option::is_none")]
        cookie: Option<String>,
    },
    /// Ends a join. Answered with `left`.
    Leave {
        /// As in the join.
        room: String,
    },
    /// Publishes a message. Answered with `published`.
    Publish {
        /// The room's name.
        room: String,
        /// Any JSON value, which travels as it stands here.
        data: Box<RawValue>,
        /// Whether the sender, if it is in the room, hears itself.
        echo: bool,
        /// Makes a repetition harmless: the gateway takes one message per key and room. The client
        /// fills it in where it is absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// Asks for the newest messages of a room. Answered with `history`.
    History {
        /// The room's name.
        room: String,
        /// How many at most; the gateway has a bound of its own.
        limit: u32,
    },
    /// Asks who is in a room. Answered with `members`.
    Members {
        /// The room's name.
        room: String,
    },
    /// Asks for a sign of life. Answered with `pong`.
    Ping,
}

/// A command on the wire: the command's own fields, and the number its answer will carry.
#[derive(Serialize)]
struct Frame<'a> {
    id: u64,
    #[serde(flatten)]
    command: &'a Command,
}

impl Command {
    /// A publish that the sender does not hear itself.
    pub fn publish(room: impl Into<String>, data: Box<RawValue>) -> Self {
        Self::Publish {
            room: room.into(),
            data,
            echo: false,
            key: None,
        }
    }

    /// A join from now on.
    pub fn join(room: impl Into<String>) -> Self {
        Self::Join {
            room: room.into(),
            since: None,
            presence: false,
            cookie: None,
        }
    }

    /// One JSON object without a line break in it, so that it can stand on any of the wires.
    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let frame = Frame { id, command: self };
        let mut json = serde_json::to_vec(&frame)
            .expect("a command holds strings, numbers and checked JSON, which always serialize");
        // Only `data` can hold raw line breaks, and there they are insignificant white space.
        for byte in &mut json {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        json
    }

    /// What this command counts for in a bounded buffer, in bytes.
    pub(super) fn weight(&self) -> usize {
        let text = match self {
            Self::Hello { name, token } => {
                name.as_ref().map_or(0, String::len) + token.as_ref().map_or(0, String::len)
            }
            Self::Publish { room, data, .. } => room.len() + data.get().len(),
            Self::Join { room, .. }
            | Self::Leave { room }
            | Self::History { room, .. }
            | Self::Members { room } => room.len(),
            Self::Ping => 0,
        };
        text + size_of::<Self>()
    }
}

/// `text` as a JSON string, ready to be published.
#[expect(clippy::missing_panics_doc, reason = "a string always serializes")]
pub fn json_string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string always serializes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command, expected: &str) {
        let encoded = String::from_utf8(command.encode(7)).expect("JSON is UTF-8");
        assert_eq!(encoded, expected);
    }

    #[test]
    fn absent_fields_are_not_sent() {
        check(
            &Command::Hello {
                name: None,
                token: None,
            },
            r#"{"id":7,"type":"hello"}"#,
        );
        check(
            &Command::join("lobby"),
            r#"{"id":7,"type":"join","room":"lobby"}"#,
        );
        check(&Command::Ping, r#"{"id":7,"type":"ping"}"#);
    }

    #[test]
    fn a_join_carries_where_to_resume_and_its_cookie() {
        check(
            &Command::Join {
                room: "a".to_owned(),
                since: Some(Position {
                    epoch: "e".to_owned(),
                    offset: 3,
                }),
                presence: true,
                cookie: Some("c".to_owned()),
            },
            r#"{"id":7,"type":"join","room":"a","since":{"epoch":"e","offset":3},"presence":true,"cookie":"c"}"#,
        );
    }

    #[test]
    fn data_travels_verbatim_but_on_one_line() {
        let data = RawValue::from_string("{\"a\":\r\n 1.0e1, \"b\": \"\\n\"}".to_owned());
        check(
            &Command::publish("r", data.expect("valid JSON")),
            r#"{"id":7,"type":"publish","room":"r","data":{"a":   1.0e1, "b": "\n"},"echo":false}"#,
        );
    }
}
