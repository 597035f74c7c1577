//! Just enough JSON (RFC 8259) for the hot path: check a text in one pass, find the parts of a
//! command in it, read and write strings and numbers.
//!
//! Nothing here builds a tree or allocates for a text without escapes, and nothing recurses: a
//! depth bomb meets [`MAX_DEPTH`]. The texts accepted are those that `serde_json` accepts (so lone
//! surrogate escapes are refused), except that a number is checked for form only, never for range.
//! Next: `scanner`, then [`crate::command`], its main user.

mod scanner;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

pub(crate) use scanner::{Kind, Scanner, Value};
pub use scanner::{check, unescape};
pub(crate) use writer::push_display;
pub use writer::{push_number, push_string};

/// Deepest nesting of arrays and objects that is accepted. Chosen: the limit that `serde_json`
/// has by default, since a receiver that uses it must be able to read what we pass on.
pub const MAX_DEPTH: u8 = 127;

/// Where and why a text is not JSON. `Display` gives both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Byte offset of the fault in the text.
    pub at: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A backslash is followed by something that is no escape.
    BadEscape,
    /// A number is not of the form that JSON has.
    BadNumber,
    /// The text is not UTF-8.
    BadUtf8,
    /// A string contains a control character below U+0020 that is not escaped.
    ControlCharacter,
    /// An object's key is not followed by a colon.
    ExpectedColon,
    /// A value in an array or object is followed by neither a comma nor the end.
    ExpectedCommaOrEnd,
    /// An object's member does not begin with a string.
    ExpectedKey,
    /// The text is JSON, but not an object, which is what is wanted.
    ExpectedObject,
    /// There is no value where there must be one.
    ExpectedValue,
    /// An escape names half of a surrogate pair.
    LoneSurrogate,
    /// Arrays and objects are nested too deeply.
    TooDeep,
    /// Something follows the value.
    TrailingText,
    /// The text ends inside a value.
    UnexpectedEnd,
}

impl Fault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BadEscape => "invalid escape",
            Self::BadNumber => "invalid number",
            Self::BadUtf8 => "invalid UTF-8",
            Self::ControlCharacter => "control character in a string",
            Self::ExpectedColon => "expected a colon",
            Self::ExpectedCommaOrEnd => "expected a comma or the end of the array or object",
            Self::ExpectedKey => "expected a key in quotes",
            Self::ExpectedObject => "expected an object",
            Self::ExpectedValue => "expected a value",
            Self::LoneSurrogate => "half of a surrogate pair",
            Self::TooDeep => "nested too deeply",
            Self::TrailingText => "text after the end of the value",
            Self::UnexpectedEnd => "the text ends too early",
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault.as_str(), self.at)
    }
}

impl std::error::Error for JsonError {}
