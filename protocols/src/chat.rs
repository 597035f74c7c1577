//! Plain chat for people on a TCP line: `/` commands in, `NAME: text` out.
//!
//! Whatever members send, a terminal gets one line of visible text for it; see `control`. Knows
//! neither rooms nor members: `/nick` and `/join` yield what was typed, and the caller checks it
//! ([`crate::name`], [`crate::room`]). Next: [`crate::line`], which makes the lines.

use std::borrow::Cow;

use crate::control::push_visible;
use crate::json;

/// What one line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatLine<'a> {
    /// Nothing: white space only.
    Empty,
    /// `/help`.
    Help,
    /// `/join ROOM`; empty when no room was named.
    Join(&'a str),
    /// `/leave`.
    Leave,
    /// `/nick NAME`; empty when no name was given.
    Nick(&'a str),
    /// `/quit`.
    Quit,
    /// A line to publish, as it was typed.
    Text(&'a str),
    /// Another word that begins with `/`, which it includes.
    Unknown(&'a str),
    /// `/who`.
    Who,
}

/// Why a line means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatError {
    /// The bytes are not UTF-8.
    NotUtf8,
}

/// What `/help` shows, as whole notice lines.
pub const HELP: &str = "\
* /nick NAME   call yourself NAME
* /join ROOM   enter ROOM; what you type goes to the room you entered last
* /leave       leave that room
* /who         show who is there
* /help        show this
* /quit        say goodbye
* Any other line is sent to the room.
";

/// Reads one line, given without its end.
///
/// # Errors
/// [`ChatError::NotUtf8`].
pub fn parse(line: &[u8]) -> Result<ChatLine<'_>, ChatError> {
    let text = std::str::from_utf8(line).map_err(|_| ChatError::NotUtf8)?;
    if text.trim().is_empty() {
        return Ok(ChatLine::Empty);
    }
    if !text.starts_with('/') {
        return Ok(ChatLine::Text(text));
    }
    let (word, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Ok(match word {
        "/help" => ChatLine::Help,
        "/join" => ChatLine::Join(argument.trim()),
        "/leave" => ChatLine::Leave,
        "/nick" => ChatLine::Nick(argument.trim()),
        "/quit" => ChatLine::Quit,
        "/who" => ChatLine::Who,
        _ => ChatLine::Unknown(word),
    })
}

/// Appends `text` as the JSON string that is published for it.
pub fn json_string(out: &mut Vec<u8>, text: &str) {
    json::push_string(out, text);
}

/// Appends `NAME: text` and a newline. A JSON string shows as its text, other JSON as it stands,
/// both on one line and without a raw control character.
pub fn render(out: &mut Vec<u8>, from: &str, data: &[u8]) {
    push_visible(out, from);
    out.extend_from_slice(b": ");
    if let Some(text) = json::unescape(data) {
        push_visible(out, &text);
    } else {
        push_json(out, &String::from_utf8_lossy(data));
    }
    out.push(b'\n');
}

/// White space between JSON tokens may be any; in strings it is escaped already.
fn push_json(out: &mut Vec<u8>, data: &str) {
    let space = |character| matches!(character, '\n' | '\r' | '\t');
    let line: Cow<'_, str> = match data.contains(space) {
        true => Cow::Owned(data.replace(space, " ")),
        false => Cow::Borrowed(data),
    };
    push_visible(out, &line);
}

/// Appends `* text` and a newline: something that nobody said.
pub fn notice(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"* ");
    push_visible(out, text);
    out.push(b'\n');
}
