//! What the gateway said: one object of `roomwire.v1`, as text and as a value.

use std::ops::Index;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An object that the gateway sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    text: String,
    value: Value,
}

impl Event {
    /// Reads one object; panics where the gateway sent something else.
    pub fn parse(text: impl Into<String>) -> Self {
        let text = text.into();
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("the gateway sent no JSON: {error}: {text:?}"));
        assert!(value.is_object(), "the gateway sent no object: {text:?}");
        Self { text, value }
    }

    /// Its `type`.
    pub fn kind(&self) -> &str {
        self.value["type"].as_str().unwrap_or_default()
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A field that must be a string.
    pub fn string(&self, field: &str) -> &str {
        let found = self.value[field].as_str();
        found.unwrap_or_else(|| panic!("no string {field:?} in {}", self.text))
    }

    /// A field that must be a number.
    pub fn number(&self, field: &str) -> u64 {
        let found = self.value[field].as_u64();
        found.unwrap_or_else(|| panic!("no number {field:?} in {}", self.text))
    }

    /// Its `data`, byte for byte.
    pub fn data(&self) -> &str {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let data: Data<'_> = serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("no data: {error}: {}", self.text));
        data.data.get()
    }

    /// It as a `message`, which it must be.
    pub fn message(&self) -> Message {
        assert_eq!(self.kind(), "message", "{}", self.text);
        self.as_message()
    }

    fn as_message(&self) -> Message {
        Message {
            room: self.string("room").to_owned(),
            offset: self.number("offset"),
            from: self.string("from").to_owned(),
            time_ms: self.number("time"),
            data: self.data().to_owned(),
        }
    }

    /// The messages in an answer from history, where they need no `type`.
    pub fn messages(&self) -> Vec<Message> {
        #[derive(Deserialize)]
        struct Messages<'a> {
            #[serde(borrow)]
            messages: Vec<&'a RawValue>,
        }
        let all: Messages<'_> = serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("no messages: {error}: {}", self.text));
        let parse = |message: &&RawValue| Self::parse(message.get()).as_message();
        all.messages.iter().map(parse).collect()
    }
}

impl Index<&str> for Event {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.value[field]
    }
}

/// A message as a member gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub room: String,
    /// Its place in the room's order.
    pub offset: u64,
    /// Who said it.
    pub from: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The JSON text, byte for byte.
    pub data: String,
}
