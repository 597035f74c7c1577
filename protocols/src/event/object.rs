//! Writes JSON objects and arrays field by field into a byte buffer.
//!
//! Keys are ours and need no escaping. A builder consumes itself with every field, so an object
//! cannot be left half open without saying so at the call.

use std::fmt::Display;

use super::{MemberView, MessageView, ReplyView};
use crate::json::{push_display, push_number, push_string};

/// An object whose closing brace is still to come.
#[must_use = "an object needs its end"]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Begins a push.
    pub(super) fn event(out: &'o mut Vec<u8>, kind: &'static str) -> Self {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out, empty: false }
    }

    /// Begins an answer to the command `id`.
    pub(super) fn answer(out: &'o mut Vec<u8>, kind: &'static str, id: Option<u64>) -> Self {
        let object = Self::event(out, kind);
        match id {
            Some(id) => object.number("id", id),
            None => object,
        }
    }

    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &'static str) {
        self.out
            .extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.empty = false;
    }

    pub(super) fn string(mut self, key: &'static str, value: &str) -> Self {
        self.key(key);
        push_string(self.out, value);
        self
    }

    pub(super) fn string_or_null(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.string(key, value),
            None => self.raw(key, b"null"),
        }
    }

    pub(super) fn display(mut self, key: &'static str, value: &(impl Display + ?Sized)) -> Self {
        self.key(key);
        push_display(self.out, value);
        self
    }

    pub(super) fn number(mut self, key: &'static str, value: u64) -> Self {
        self.key(key);
        push_number(self.out, value);
        self
    }

    pub(super) fn boolean_if_some(self, key: &'static str, value: Option<bool>) -> Self {
        match value {
            None => self,
            Some(true) => self.raw(key, b"true"),
            Some(false) => self.raw(key, b"false"),
        }
    }

    /// `json` is a checked JSON value.
    pub(super) fn raw(mut self, key: &'static str, json: &[u8]) -> Self {
        self.key(key);
        self.out.extend_from_slice(json);
        self
    }

    pub(super) fn nested(
        mut self,
        key: &'static str,
        fill: impl FnOnce(Object<'_>) -> Object<'_>,
    ) -> Self {
        self.key(key);
        fill(Object::begin(self.out)).end();
        self
    }

    pub(super) fn array<T>(
        mut self,
        key: &'static str,
        items: impl Iterator<Item = T>,
        mut push: impl FnMut(&mut Array<'_>, T),
    ) -> Self {
        self.key(key);
        self.out.push(b'[');
        let mut array = Array {
            out: self.out,
            empty: true,
        };
        for item in items {
            push(&mut array, item);
        }
        self.out.push(b']');
        self
    }

    pub(super) fn message(self, message: &MessageView<'_>) -> Self {
        self.string("room", message.room)
            .number("offset", message.offset)
            .string("from", message.from)
            .number("time", message.time_ms)
            .raw("data", message.data)
    }

    pub(super) fn member<C: Display>(self, member: &MemberView<'_, C>) -> Self {
        self.display("client", &member.client)
            .string_or_null("name", member.name)
    }

    pub(super) fn reply(self, reply: &ReplyView<'_>) -> Self {
        let object = self.string("from", reply.from).raw("data", reply.data);
        match reply.error {
            Some(error) => object.string("error", error),
            None => object,
        }
    }
}

/// An array whose closing bracket is still to come.
pub(super) struct Array<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl Array<'_> {
    pub(super) fn object(&mut self, fill: impl FnOnce(Object<'_>) -> Object<'_>) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        fill(Object::begin(self.out)).end();
    }
}
