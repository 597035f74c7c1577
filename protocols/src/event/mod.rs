//! What the gateway sends: answers and pushes of `roomwire.v1`.
//!
//! Each function appends one JSON object, on one line as far as it wrote it itself, without a
//! newline at its end; framing is for [`crate::line`], [`crate::websocket`] and [`crate::sse`].
//! `data` is appended verbatim: the caller took it from a checked command. An answer carries the
//! `id` of its command when there was one. Next: `object`, which writes the fields.

mod object;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use crate::code::ErrorCode;
use object::Object;

/// A published message, as members and history see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// Where it was published.
    pub room: &'a str,
    /// Its place in the room's order.
    pub offset: u64,
    /// The sender's name or client id.
    pub from: &'a str,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The publisher's JSON, verbatim.
    pub data: &'a [u8],
}

/// A member of a room. `C` is anything that displays as the client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView<'a, C = &'a str> {
    /// The client id.
    pub client: C,
    /// The name that the client gave itself.
    pub name: Option<&'a str>,
}

/// One member's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyView<'a> {
    /// The member's name or client id.
    pub from: &'a str,
    /// The member's JSON, verbatim.
    pub data: &'a [u8],
    /// Set when the member says that the request failed.
    pub error: Option<&'a str>,
}

/// `message`: something was published.
pub fn message(out: &mut Vec<u8>, message: &MessageView<'_>) {
    // Keys, digits and punctuation come to less than 110 bytes, escapes aside.
    out.reserve(message.room.len() + message.from.len() + message.data.len() + 110);
    Object::event(out, "message").message(message).end();
}

/// `welcome` answers `hello`. `session_ttl_s`: seconds that a silent session is kept.
pub fn welcome(
    out: &mut Vec<u8>,
    id: Option<u64>,
    client: &str,
    name: Option<&str>,
    session_ttl_s: u64,
) {
    Object::answer(out, "welcome", id)
        .string("client", client)
        .string_or_null("name", name)
        .number("session_ttl", session_ttl_s)
        .end();
}

/// `joined` answers `join`. `member_count` counts all members, of which `members` may list fewer;
/// `recovered` is given exactly when the command had `since`.
pub fn joined<'m, C: Display>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    room: &str,
    epoch: &dyn Display,
    offset: u64,
    members: impl Iterator<Item = MemberView<'m, C>>,
    member_count: u64,
    recovered: Option<bool>,
) {
    Object::answer(out, "joined", id)
        .string("room", room)
        .display("epoch", epoch)
        .number("offset", offset)
        .array("members", members, |list, member| {
            list.object(|object| object.member(&member))
        })
        .number("member_count", member_count)
        .boolean_if_some("recovered", recovered)
        .end();
}

/// `left` answers `leave`.
pub fn left(out: &mut Vec<u8>, id: Option<u64>, room: &str) {
    Object::answer(out, "left", id).string("room", room).end();
}

/// `published` answers `publish` with the message's place in the room.
pub fn published(out: &mut Vec<u8>, id: Option<u64>, room: &str, offset: u64) {
    Object::answer(out, "published", id)
        .string("room", room)
        .number("offset", offset)
        .end();
}

/// `history` answers `history`; `messages` ascend by offset.
pub fn history<'m>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    room: &str,
    epoch: &dyn Display,
    messages: impl Iterator<Item = MessageView<'m>>,
) {
    Object::answer(out, "history", id)
        .string("room", room)
        .display("epoch", epoch)
        .array("messages", messages, |list, message| {
            list.object(|it| it.message(&message))
        })
        .end();
}

/// `members` answers `members`. `member_count` counts all, of which `members` may list fewer.
pub fn members<'m, C: Display>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    room: &str,
    members: impl Iterator<Item = MemberView<'m, C>>,
    member_count: u64,
) {
    Object::answer(out, "members", id)
        .string("room", room)
        .array("members", members, |list, member| {
            list.object(|object| object.member(&member))
        })
        .number("member_count", member_count)
        .end();
}

/// `replies` answers `request`. `missing` counts members that were asked and did not answer.
pub fn replies<'r>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    room: &str,
    replies: impl Iterator<Item = ReplyView<'r>>,
    missing: u64,
) {
    Object::answer(out, "replies", id)
        .string("room", room)
        .array("replies", replies, |list, reply| {
            list.object(|it| it.reply(&reply))
        })
        .number("missing", missing)
        .end();
}

/// `pong` answers `ping`.
pub fn pong(out: &mut Vec<u8>, id: Option<u64>) {
    Object::answer(out, "pong", id).end();
}

/// `challenge` answers a `join` over UDP that carries no valid cookie.
pub fn challenge(out: &mut Vec<u8>, id: Option<u64>, room: &str, cookie: &str) {
    Object::answer(out, "challenge", id)
        .string("room", room)
        .string("cookie", cookie)
        .end();
}

/// `error`: a command was refused, or the session is about to end for what the peer did.
pub fn error(out: &mut Vec<u8>, id: Option<u64>, code: ErrorCode, message: &str) {
    Object::answer(out, "error", id)
        .string("code", code.as_str())
        .string("message", message)
        .end();
}

/// `member_joined`: someone became a member.
pub fn member_joined<C: Display>(out: &mut Vec<u8>, room: &str, member: &MemberView<'_, C>) {
    presence(out, "member_joined", room, member);
}

/// `member_left`: someone is no longer a member.
pub fn member_left<C: Display>(out: &mut Vec<u8>, room: &str, member: &MemberView<'_, C>) {
    presence(out, "member_left", room, member);
}

fn presence<C: Display>(
    out: &mut Vec<u8>,
    kind: &'static str,
    room: &str,
    member: &MemberView<'_, C>,
) {
    Object::event(out, kind)
        .string("room", room)
        .nested("member", |object| object.member(member))
        .end();
}

/// `request`: a member asks, and a `reply` that names `request` answers.
pub fn request(out: &mut Vec<u8>, request: &str, room: &str, from: &str, data: &[u8]) {
    Object::event(out, "request")
        .string("request", request)
        .string("room", room)
        .string("from", from)
        .raw("data", data)
        .end();
}

/// `gap`: this client was not sent the offsets `from` to `to`, both included.
pub fn gap(out: &mut Vec<u8>, room: &str, from: u64, to: u64) {
    Object::event(out, "gap")
        .string("room", room)
        .number("from", from)
        .number("to", to)
        .end();
}

/// `goodbye`: the session ends for a reason that is not the peer's fault. `after_ms`: how long the
/// client shall wait before it connects again, if `reconnect` says that it should.
pub fn goodbye(out: &mut Vec<u8>, reason: &str, reconnect: bool, after_ms: u64) {
    Object::event(out, "goodbye")
        .string("reason", reason)
        .boolean_if_some("reconnect", Some(reconnect))
        .number("after_ms", after_ms)
        .end();
}
