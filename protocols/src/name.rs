//! Names that members give themselves (`hello`'s `name`, `/nick`).
//!
//! A name is shown to people and travels as `from`; it identifies nobody and need not be unique.
//! Next: [`crate::room`], the same rules for rooms.

use std::fmt;

use crate::control::has_control;

/// Longest name in bytes. Chosen: 16 characters in the widest UTF-8 form, 64 in the narrowest.
pub const MAX_BYTES: usize = 64;

/// Why a name was refused. `Display` says what is wrong and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It contains a control character.
    ControlCharacter,
    /// It has no bytes.
    Empty,
    /// It is longer than [`MAX_BYTES`].
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self {
            Self::ControlCharacter => "contains a control character",
            Self::Empty => "is empty",
            Self::TooLong => "is too long",
        };
        write!(
            f,
            "the name {problem}; allowed are 1 to {MAX_BYTES} bytes of UTF-8 without control characters"
        )
    }
}

impl std::error::Error for NameError {}

/// Checks a name: 1 to [`MAX_BYTES`] bytes without control characters.
///
/// # Errors
/// The first rule broken, in the order empty, too long, control character.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_BYTES {
        return Err(NameError::TooLong);
    }
    if has_control(name) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_64_bytes_without_control_characters() {
        let expect = |name: &str, expected| assert_eq!(check(name), expected, "{name:?}");
        expect("ada", Ok(()));
        expect("Ada Lovelace 👩‍💻", Ok(()));
        expect(&"a".repeat(64), Ok(()));
        expect(&"a".repeat(65), Err(NameError::TooLong));
        expect(&"ü".repeat(32), Ok(()));
        expect(&"ü".repeat(33), Err(NameError::TooLong));
        expect("", Err(NameError::Empty));
        expect("a\nb", Err(NameError::ControlCharacter));
        expect("a\u{85}b", Err(NameError::ControlCharacter));
    }
}
