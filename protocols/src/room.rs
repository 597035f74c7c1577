//! Room names and room patterns, as one checked token.
//!
//! Names are dot-separated like NATS subjects: a pattern has a token that is exactly `*` (any one
//! token) or a last token that is exactly `>` (one or more tokens). What a pattern matches, and who
//! is in a room, is the hub's business. Next: [`crate::command`], which checks every room it reads.

use std::fmt;

use crate::control::has_control;

/// Longest room name in bytes (the words of `roomwire.v1`).
pub const MAX_BYTES: usize = 255;

/// What a well-formed subject names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Any number of rooms: it can be joined and left, nothing else.
    Pattern,
    /// One room.
    Room,
}

/// Why a room name was refused. `Display` says what is wrong and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomNameError {
    /// It contains a control character.
    ControlCharacter,
    /// It has no bytes.
    Empty,
    /// The token `>` stands before the last position.
    TailNotLast,
    /// It is longer than [`MAX_BYTES`].
    TooLong,
}

impl fmt::Display for RoomNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self {
            Self::ControlCharacter => "contains a control character",
            Self::Empty => "is empty",
            Self::TailNotLast => {
                return f.write_str(
                    "the token `>` stands for the rest of a room name; it is allowed only at the end",
                );
            }
            Self::TooLong => "is too long",
        };
        write!(
            f,
            "the room name {problem}; allowed are 1 to {MAX_BYTES} bytes of UTF-8 without control characters"
        )
    }
}

impl std::error::Error for RoomNameError {}

/// Checks a room name or pattern and tells which it is.
///
/// Empty tokens (`a..b`) are ordinary, and so are `*` and `>` inside longer tokens (`a*`).
///
/// # Errors
/// The first rule broken, in the order empty, too long, control character, misplaced `>`.
pub fn check(name: &str) -> Result<Subject, RoomNameError> {
    if name.is_empty() {
        return Err(RoomNameError::Empty);
    }
    if name.len() > MAX_BYTES {
        return Err(RoomNameError::TooLong);
    }
    if has_control(name) {
        return Err(RoomNameError::ControlCharacter);
    }
    if !name.bytes().any(|byte| byte == b'*' || byte == b'>') {
        return Ok(Subject::Room);
    }
    check_tokens(name)
}

fn check_tokens(name: &str) -> Result<Subject, RoomNameError> {
    let mut subject = Subject::Room;
    let mut tokens = name.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            ">" if tokens.peek().is_some() => return Err(RoomNameError::TailNotLast),
            "*" | ">" => subject = Subject::Pattern,
            _ => {}
        }
    }
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_told_apart() {
        let expect = |name: &str, expected| assert_eq!(check(name), expected, "{name:?}");
        for room in [
            "lobby",
            "news.sport",
            "a..b",
            ".",
            "a*",
            "*a.b",
            "a>.b",
            "räume.日本",
            "a b",
        ] {
            expect(room, Ok(Subject::Room));
        }
        for pattern in [
            "*", ">", "news.*", "*.sport", "news.>", "a.*.c", "a.*.>", "..>",
        ] {
            expect(pattern, Ok(Subject::Pattern));
        }
        for misplaced in [">.a", "a.>.b", ">.>", ">.*"] {
            expect(misplaced, Err(RoomNameError::TailNotLast));
        }
    }

    #[test]
    fn names_are_1_to_255_bytes_without_control_characters() {
        let expect = |name: &str, expected| assert_eq!(check(name), expected, "{name:?}");
        expect("", Err(RoomNameError::Empty));
        expect(&"r".repeat(255), Ok(Subject::Room));
        expect(&"r".repeat(256), Err(RoomNameError::TooLong));
        expect(&"é".repeat(128), Err(RoomNameError::TooLong));
        expect("a\0", Err(RoomNameError::ControlCharacter));
        expect("a\u{9b}", Err(RoomNameError::ControlCharacter));
        expect("a\u{7f}.>", Err(RoomNameError::ControlCharacter));
    }

    #[test]
    fn errors_say_what_is_allowed() {
        assert!(RoomNameError::Empty.to_string().contains("1 to 255 bytes"));
        assert!(
            RoomNameError::TailNotLast
                .to_string()
                .contains("only at the end")
        );
    }
}
