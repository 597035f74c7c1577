//! What clients send: one JSON object per WebSocket message, TCP line or UDP datagram
//! (`roomwire.v1`), and the bodies of HTTP publishes.
//!
//! [`parse`] passes over the bytes once, remembers where the known fields lie, and then builds the
//! command that `type` names; `type` may stand anywhere in the object. Strings are borrowed unless
//! they have escapes, `data` is always the publisher's own bytes. Rooms and names are checked here,
//! so a [`Command`] holds only well-formed ones. Next: `field`, then [`crate::event`], the answers.

mod field;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::code::ErrorCode;
use crate::json::MAX_DEPTH;
use crate::room::Subject;
use field::{Field, Fields, Refusal};

/// Deepest nesting of the whole command, its own object included. Chosen: a history nests `data`
/// two levels deeper than the command that brought it, and every receiver whose parser stops at
/// [`MAX_DEPTH`] must still be able to read that.
pub const MAX_COMMAND_DEPTH: u8 = 120;

const _: () = assert!(MAX_COMMAND_DEPTH + 2 <= MAX_DEPTH);

/// Longest idempotency key in bytes. Chosen: three UUIDs; keys are kept for minutes, so their size
/// bounds memory.
pub const MAX_KEY_BYTES: usize = 128;

/// A command with the number that its answer shall carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Picked by the client. Without it, only errors are answered.
    pub id: Option<u64>,
    /// What the client wants.
    pub command: Command<'a>,
}

/// Everything a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Says who the client is.
    Hello {
        /// Proof of identity; not checked here.
        token: Option<Cow<'a, str>>,
        /// Passed [`crate::name::check`].
        name: Option<Cow<'a, str>>,
    },
    /// The newest or missed messages of a room.
    History {
        /// A room, not a pattern.
        room: Cow<'a, str>,
        /// At most so many messages.
        limit: Option<u64>,
        /// Only what came after this position.
        since: Option<Since<'a>>,
    },
    /// Becomes a member of a room, or of every room that a pattern matches.
    Join {
        /// A room or pattern.
        room: Cow<'a, str>,
        /// Where the client stopped reading before.
        since: Option<Since<'a>>,
        /// Whether the client wants to hear who comes and goes. Default false.
        presence: bool,
        /// The answer to a `challenge`, over UDP; not checked here.
        cookie: Option<Cow<'a, str>>,
    },
    /// Ends a membership.
    Leave {
        /// A room or pattern.
        room: Cow<'a, str>,
    },
    /// Who is in a room.
    Members {
        /// A room, not a pattern.
        room: Cow<'a, str>,
    },
    /// Asks for a sign of life.
    Ping,
    /// Sends a message to a room.
    Publish {
        /// A room, not a pattern.
        room: Cow<'a, str>,
        /// Any JSON value, verbatim, without the white space around it.
        data: &'a [u8],
        /// Whether the sender gets the message too, when it is a member. Default true.
        echo: bool,
        /// Idempotency key, 1 to [`MAX_KEY_BYTES`] bytes.
        key: Option<Cow<'a, str>>,
    },
    /// Answers a `request` event.
    Reply {
        /// The request's own identifier, as the event gave it; not checked here.
        request: Cow<'a, str>,
        /// Any JSON value, verbatim; `null` when it was left out beside an `error`.
        data: &'a [u8],
        /// Says that the request failed, and how.
        error: Option<Cow<'a, str>>,
    },
    /// Asks the members of a room and gathers their answers.
    Request {
        /// A room, not a pattern.
        room: Cow<'a, str>,
        /// Any JSON value, verbatim.
        data: &'a [u8],
        /// Which answers are waited for.
        mode: Mode,
        /// Longest wait in milliseconds.
        timeout_ms: Option<u64>,
    },
}

/// A position in a room's messages, as the client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// The room's incarnation; not checked here.
    pub epoch: Cow<'a, str>,
    /// The last offset that the client has.
    pub offset: u64,
}

/// Which answers to a request are waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All; the first failure ends it.
    All,
    /// All, whether they succeed or fail.
    #[default]
    AllSettled,
    /// The first success.
    Any,
    /// The first, whether it succeeds or fails.
    Race,
}

impl Mode {
    const WORDS: &str = "one of all, all_settled, race, any";

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "all" => Self::All,
            "all_settled" => Self::AllSettled,
            "any" => Self::Any,
            "race" => Self::Race,
            _ => return None,
        })
    }
}

/// The body of `POST /v1/rooms/{room}/messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// Any JSON value, verbatim.
    pub data: &'a [u8],
    /// Whom the message comes from. Passed [`crate::name::check`].
    pub from: Option<Cow<'a, str>>,
    /// Idempotency key, 1 to [`MAX_KEY_BYTES`] bytes.
    pub key: Option<Cow<'a, str>>,
}

/// Why a command is refused. Carries what the `error` event needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The command's number, when it could be read before or despite the fault.
    pub id: Option<u64>,
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what is allowed.
    pub message: String,
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for CommandError {}

/// Reads one command. Use [`parse_text`] where UTF-8 was checked already.
///
/// # Errors
/// [`ErrorCode::BadUtf8`], and those of [`parse_text`].
pub fn parse(input: &[u8]) -> Result<Envelope<'_>, CommandError> {
    parse_text(checked_text(input)?)
}

/// Reads one command from text.
///
/// Unknown fields, and known ones that the command does not have, are ignored whatever their
/// type; `null` for an optional field is the same as leaving it out, but is a value for `data`.
///
/// # Errors
/// * [`ErrorCode::BadJson`]: not one JSON object, or nested deeper than [`MAX_COMMAND_DEPTH`].
/// * [`ErrorCode::BadField`]: a field is missing, has the wrong type, or stands twice.
/// * [`ErrorCode::UnknownType`], [`ErrorCode::InvalidRoom`], [`ErrorCode::InvalidName`].
/// * [`ErrorCode::PatternNotAllowed`]: a pattern where one room is meant.
pub fn parse_text(text: &str) -> Result<Envelope<'_>, CommandError> {
    let mut fields = Fields::default();
    let scanned = fields.fill(text);
    // Read before anything else is looked at, so that every later fault can carry it.
    let id = fields.number(Field::Id);
    let known_id = id.as_ref().ok().copied().flatten();
    let built = match scanned {
        Err(error) => Err(Refusal::from(error)),
        Ok(()) => id.and_then(|id| {
            Ok(Envelope {
                id,
                command: build(&fields)?,
            })
        }),
    };
    built.map_err(|refusal| refusal.with_id(known_id))
}

/// Reads the body of a publish over HTTP.
///
/// # Errors
/// As [`parse`], without those about types and rooms; `id` is always `None`.
pub fn parse_publication(body: &[u8]) -> Result<Publication<'_>, CommandError> {
    let mut fields = Fields::default();
    let built = match fields.fill(checked_text(body)?) {
        Err(error) => Err(Refusal::from(error)),
        Ok(()) => publication(&fields),
    };
    built.map_err(|refusal| refusal.with_id(None))
}

fn checked_text(input: &[u8]) -> Result<&str, CommandError> {
    simdutf8::compat::from_utf8(input).map_err(|error| {
        let message = format!("invalid UTF-8 at byte {}", error.valid_up_to());
        Refusal {
            code: ErrorCode::BadUtf8,
            message: message.into(),
        }
        .with_id(None)
    })
}

fn publication<'a>(fields: &Fields<'a>) -> Result<Publication<'a>, Refusal> {
    fields.check_duplicates()?;
    Ok(Publication {
        data: fields.data()?,
        from: fields.member_name(Field::From)?,
        key: fields.idempotency_key()?,
    })
}

fn build<'a>(fields: &Fields<'a>) -> Result<Command<'a>, Refusal> {
    fields.check_duplicates()?;
    let kind = fields.required_text(Field::Type)?;
    Ok(match &*kind {
        "publish" => Command::Publish {
            room: fields.room()?,
            data: fields.data()?,
            echo: fields.boolean(Field::Echo, true)?,
            key: fields.idempotency_key()?,
        },
        "ping" => Command::Ping,
        "join" => Command::Join {
            room: fields.subject()?.0,
            since: fields.since()?,
            presence: fields.boolean(Field::Presence, false)?,
            cookie: fields.text(Field::Cookie)?,
        },
        "leave" => Command::Leave {
            room: fields.subject()?.0,
        },
        "hello" => Command::Hello {
            token: fields.text(Field::Token)?,
            name: fields.member_name(Field::Name)?,
        },
        "history" => Command::History {
            room: fields.room()?,
            limit: fields.number(Field::Limit)?,
            since: fields.since()?,
        },
        "members" => Command::Members {
            room: fields.room()?,
        },
        "request" => Command::Request {
            room: fields.room()?,
            data: fields.data()?,
            mode: fields.mode()?,
            timeout_ms: fields.number(Field::TimeoutMs)?,
        },
        "reply" => reply(fields)?,
        unknown => return Err(unknown_type(unknown)),
    })
}

fn reply<'a>(fields: &Fields<'a>) -> Result<Command<'a>, Refusal> {
    let request = fields.required_text(Field::Request)?;
    let error = fields.text(Field::Error)?;
    let data = match (fields.data(), &error) {
        (Ok(data), _) => data,
        (Err(_), Some(_)) => b"null",
        (Err(missing), None) => return Err(missing),
    };
    Ok(Command::Reply {
        request,
        data,
        error,
    })
}

#[cold]
fn unknown_type(word: &str) -> Refusal {
    // Chosen: enough to recognise a typing error, too little to make the answer worth attacking.
    let shown: String = word.chars().take(32).collect();
    let message = format!(
        "unknown type {shown:?}; known are hello, join, leave, publish, history, members, request, reply, ping"
    );
    Refusal {
        code: ErrorCode::UnknownType,
        message: message.into(),
    }
}

impl Fields<'_> {
    fn mode(&self) -> Result<Mode, Refusal> {
        let Some(word) = self.text(Field::Mode)? else {
            return Ok(Mode::default());
        };
        Mode::from_word(&word).ok_or_else(|| Refusal::wrong(Field::Mode, Mode::WORDS))
    }
}

impl<'a> Fields<'a> {
    /// A room that is not a pattern.
    fn room(&self) -> Result<Cow<'a, str>, Refusal> {
        match self.subject()? {
            (room, Subject::Room) => Ok(room),
            (_, Subject::Pattern) => Err(Refusal {
                code: ErrorCode::PatternNotAllowed,
                message: "a pattern can only be joined and left; name one room here".into(),
            }),
        }
    }
}
