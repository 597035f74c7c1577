//! The fields that commands have, found in one pass and interpreted when a command asks for them.
//!
//! A field means the same in every command that has it, so the scan need not know the `type` yet.
//! Interpreting late keeps two promises: a field that the command does not have is ignored like an
//! unknown one, and `id` is found wherever it stands.

use std::borrow::Cow;

use super::{MAX_COMMAND_DEPTH, MAX_KEY_BYTES, Since};
use crate::code::ErrorCode;
use crate::json::{Fault, JsonError, Kind, Scanner, Value};
use crate::name;
use crate::room::{self, Subject};

macro_rules! fields {
    ($($variant:ident = $word:literal,)+) => {
        /// A field with a meaning, alphabetically.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Field {
            $($variant,)+
        }

        impl Field {
            const COUNT: usize = [$(Self::$variant),+].len();

            #[inline]
            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

fields! {
    Cookie = "cookie",
    Data = "data",
    Echo = "echo",
    Epoch = "epoch",
    Error = "error",
    From = "from",
    Id = "id",
    Key = "key",
    Limit = "limit",
    Mode = "mode",
    Name = "name",
    Offset = "offset",
    Presence = "presence",
    Request = "request",
    Room = "room",
    Since = "since",
    TimeoutMs = "timeout_ms",
    Token = "token",
    Type = "type",
}

/// Why a command is refused, before it is known which number the answer carries.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn with_id(self, id: Option<u64>) -> super::CommandError {
        super::CommandError {
            id,
            code: self.code,
            message: self.message.into_owned(),
        }
    }

    #[cold]
    pub(super) fn wrong(field: Field, allowed: &str) -> Self {
        let message = format!("{} must be {allowed}", field.as_str());
        Self {
            code: ErrorCode::BadField,
            message: message.into(),
        }
    }

    #[cold]
    fn missing(field: Field, allowed: &str) -> Self {
        let message = format!("{} is missing; it must be {allowed}", field.as_str());
        Self {
            code: ErrorCode::BadField,
            message: message.into(),
        }
    }
}

impl From<JsonError> for Refusal {
    #[cold]
    fn from(error: JsonError) -> Self {
        let message = match error.fault {
            Fault::TooDeep => format!("{error}; allowed are {MAX_COMMAND_DEPTH} levels"),
            _ => error.to_string(),
        };
        Self {
            code: ErrorCode::BadJson,
            message: message.into(),
        }
    }
}

/// Where the known fields of one object lie.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Option<Value<'a>>; Field::COUNT],
    duplicate: Option<Field>,
}

const TEXT: &str = "a string";
const UNSIGNED: &str = "an unsigned integer below 2^64";
const DATA: &str = "a JSON value";
const SINCE: &str = "an object with epoch (a string) and offset (an unsigned integer)";

impl<'a> Fields<'a> {
    /// Passes over a whole text. What was found before a fault is returned beside the fault.
    pub(super) fn scan(text: &'a str) -> (Self, Result<(), JsonError>) {
        let mut fields = Self::default();
        let scanned = fields.fill(text);
        (fields, scanned)
    }

    fn fill(&mut self, text: &'a str) -> Result<(), JsonError> {
        let mut scanner = Scanner::new(text);
        if scanner.enter_object().is_none() {
            // Another value is no command, but its own fault, if it has one, says more.
            scanner.value(MAX_COMMAND_DEPTH)?;
            scanner.end()?;
            return Err(JsonError {
                at: 0,
                fault: Fault::ExpectedObject,
            });
        }
        let mut first = true;
        while let Some(key) = scanner.key(first)? {
            first = false;
            let value = scanner.value(MAX_COMMAND_DEPTH - 1)?;
            if let Some(field) = key.text().and_then(|word| Field::from_word(&word)) {
                self.put(field, value);
            }
        }
        scanner.end()
    }

    fn put(&mut self, field: Field, value: Value<'a>) {
        let slot = &mut self.values[field as usize];
        if slot.is_some() {
            self.duplicate = self.duplicate.or(Some(field));
        } else {
            *slot = Some(value);
        }
    }

    /// RFC 8259 §4 leaves open which of two equal names counts; two readers of one command must
    /// never disagree about it.
    pub(super) fn check_duplicates(&self) -> Result<(), Refusal> {
        match self.duplicate {
            None => Ok(()),
            Some(field) => Err(Refusal {
                code: ErrorCode::BadField,
                message: format!("{} stands twice", field.as_str()).into(),
            }),
        }
    }

    /// A field that is there and not `null`.
    fn value(&self, field: Field) -> Option<Value<'a>> {
        self.values[field as usize].filter(|value| value.kind != Kind::Null)
    }

    fn optional<T>(
        &self,
        field: Field,
        allowed: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Refusal::wrong(field, allowed)),
        }
    }

    pub(super) fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.optional(field, TEXT, Value::text)
    }

    pub(super) fn required_text(&self, field: Field) -> Result<Cow<'a, str>, Refusal> {
        self.text(field)?
            .ok_or_else(|| Refusal::missing(field, TEXT))
    }

    pub(super) fn number(&self, field: Field) -> Result<Option<u64>, Refusal> {
        self.optional(field, UNSIGNED, Value::unsigned)
    }

    pub(super) fn boolean(&self, field: Field, default: bool) -> Result<bool, Refusal> {
        Ok(self
            .optional(field, "true or false", Value::boolean)?
            .unwrap_or(default))
    }

    /// `data` as it stands; `null` is a value like any other.
    pub(super) fn data(&self) -> Result<&'a [u8], Refusal> {
        let data = self.values[Field::Data as usize];
        data.map_or_else(
            || Err(Refusal::missing(Field::Data, DATA)),
            |it| Ok(it.raw.as_bytes()),
        )
    }

    pub(super) fn subject(&self) -> Result<(Cow<'a, str>, Subject), Refusal> {
        let room = self.required_text(Field::Room)?;
        match room::check(&room) {
            Ok(subject) => Ok((room, subject)),
            Err(error) => Err(Refusal {
                code: ErrorCode::InvalidRoom,
                message: error.to_string().into(),
            }),
        }
    }

    pub(super) fn member_name(&self, field: Field) -> Result<Option<Cow<'a, str>>, Refusal> {
        let Some(name) = self.text(field)? else {
            return Ok(None);
        };
        match name::check(&name) {
            Ok(()) => Ok(Some(name)),
            Err(error) => Err(Refusal {
                code: ErrorCode::InvalidName,
                message: error.to_string().into(),
            }),
        }
    }

    pub(super) fn idempotency_key(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        let key = self.text(Field::Key)?;
        match key.as_ref().map_or(1, |key| key.len()) {
            1..=MAX_KEY_BYTES => Ok(key),
            _ => Err(Refusal::wrong(Field::Key, "a string of 1 to 128 bytes")),
        }
    }

    pub(super) fn since(&self) -> Result<Option<Since<'a>>, Refusal> {
        self.optional(Field::Since, SINCE, position)
    }
}

/// The members of a `since` object. It was checked with the whole, so only its form can be wrong.
fn position(value: Value<'_>) -> Option<Since<'_>> {
    let (fields, scanned) = Fields::scan(value.raw);
    scanned.ok()?;
    if fields.duplicate.is_some() {
        return None;
    }
    let epoch = fields.value(Field::Epoch)?.text()?;
    let offset = fields.value(Field::Offset)?.unsigned()?;
    Some(Since { epoch, offset })
}
