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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_text() {
        let check =
            |line: &str, expected| assert_eq!(parse(line.as_bytes()), Ok(expected), "{line:?}");
        check("hello there", ChatLine::Text("hello there"));
        check("  two spaces ", ChatLine::Text("  two spaces "));
        check(" /who", ChatLine::Text(" /who"));
        check("", ChatLine::Empty);
        check(" \t ", ChatLine::Empty);
        check("/nick Ada L.", ChatLine::Nick("Ada L."));
        check("/nick\tAda  ", ChatLine::Nick("Ada"));
        check("/nick", ChatLine::Nick(""));
        check("/join  news.* ", ChatLine::Join("news.*"));
        check("/join", ChatLine::Join(""));
        check("/leave", ChatLine::Leave);
        check("/leave now", ChatLine::Leave);
        check("/who", ChatLine::Who);
        check("/help ", ChatLine::Help);
        check("/quit", ChatLine::Quit);
        check("/", ChatLine::Unknown("/"));
        check("/Nick a", ChatLine::Unknown("/Nick"));
        check("/etc/hosts is a file", ChatLine::Unknown("/etc/hosts"));
        assert_eq!(parse(b"caf\xe9"), Err(ChatError::NotUtf8));
    }

    #[test]
    fn what_a_member_says_is_one_visible_line() {
        let check = |from: &str, data: &str, expected: &str| {
            let mut out = Vec::new();
            render(&mut out, from, data.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
        };
        check("ada", r#""hi""#, "ada: hi");
        check("ada", r#""""#, "ada: ");
        check(
            "ada",
            r#""\u00e9 \ud83c\udf89 \"q\" \\""#,
            "ada: é 🎉 \"q\" \\",
        );
        check("ada", r#""a\nroot: b""#, "ada: a\\nroot: b");
        check("ada", r#""\u001b[2J""#, "ada: \\u{1b}[2J");
        check("ada", "\"\u{9b}2J\"", "ada: \\u{9b}2J");
        check("a\nb", "1", "a\\nb: 1");
        check("ada", "{\n\t\"a\": [1,\r2]\n}", "ada: {  \"a\": [1, 2] }");
        check("ada", "[\"a\\nb\u{9b}\"]", "ada: [\"a\\nb\\u{9b}\"]");
        check("ada", "null", "ada: null");
    }

    #[test]
    fn notices_and_help_are_marked_lines() {
        let mut out = Vec::new();
        notice(&mut out, "ada\nleft");
        assert_eq!(out, b"* ada\\nleft\n");
        assert!(HELP.ends_with('\n') && HELP.lines().all(|line| line.starts_with("* ")));
        for word in ["/nick", "/join", "/leave", "/who", "/help", "/quit"] {
            assert!(HELP.contains(word), "{word}");
        }
    }

    #[test]
    fn typed_text_is_shown_as_it_was_typed() {
        for text in ["hi", "\"quoted\"", "back\\slash", "é🎉", "{}"] {
            let (mut data, mut out) = (Vec::new(), Vec::new());
            json_string(&mut data, text);
            render(&mut out, "me", &data);
            assert_eq!(String::from_utf8(out).unwrap(), format!("me: {text}\n"));
        }
    }
}
