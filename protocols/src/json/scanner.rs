//! One forward pass over a JSON text.
//!
//! The text is a `&str`, so UTF-8 was checked before; what is left are ASCII decisions. The
//! scanner yields values as slices of the text and interprets none of them. Open arrays and objects
//! are bits of one integer instead of stack frames.

use std::borrow::Cow;

use super::{Fault, JsonError, MAX_DEPTH};
use crate::word;

type Scanned<T> = Result<T, JsonError>;

/// Checks that `input` is exactly one JSON value, with white space around it allowed, and yields
/// the value without that white space.
///
/// # Errors
/// The first fault, with its byte offset in `input`.
pub fn check(input: &[u8]) -> Result<&str, JsonError> {
    let text = simdutf8::compat::from_utf8(input).map_err(|error| JsonError {
        at: error.valid_up_to(),
        fault: Fault::BadUtf8,
    })?;
    let mut scanner = Scanner::new(text);
    let value = scanner.value(MAX_DEPTH)?;
    scanner.end()?;
    Ok(value.raw)
}

/// The text of a JSON string, given with its quotes; borrowed when it has no escapes. `None` when
/// `json` is not exactly one JSON string.
pub fn unescape(json: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(json).ok()?;
    let mut scanner = Scanner::new(text);
    let value = scanner.value(0).ok()?;
    scanner.end().ok()?;
    value.text()
}

/// What a value is, told from its first byte (and, for strings, from the pass over it).
///
/// A whole word: as a byte, it and the padding beside it were moved in overlapping parts, and the
/// loads that wait for these stores stood out in a profile of short commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Array,
    EscapedString,
    False,
    Null,
    Number,
    Object,
    PlainString,
    True,
}

/// A value that was checked, verbatim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) kind: Kind,
    pub(crate) raw: &'a str,
}

impl<'a> Value<'a> {
    /// The text of a string; `None` for any other kind.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inner = || {
            self.raw
                .get(1..self.raw.len().saturating_sub(1))
                .unwrap_or_default()
        };
        match self.kind {
            Kind::PlainString => Some(Cow::Borrowed(inner())),
            Kind::EscapedString => Some(Cow::Owned(resolve_escapes(inner()))),
            Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => {
                None
            }
        }
    }

    /// The value of a number that is written as digits only and fits; `None` otherwise.
    pub(crate) fn unsigned(self) -> Option<u64> {
        // Only `-`, never `+`, can begin a JSON number, and `parse` refuses it.
        (self.kind == Kind::Number)
            .then(|| self.raw.parse().ok())
            .flatten()
    }

    pub(crate) const fn boolean(self) -> Option<bool> {
        match self.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            Kind::Array
            | Kind::EscapedString
            | Kind::Null
            | Kind::Number
            | Kind::Object
            | Kind::PlainString => None,
        }
    }
}

/// The arrays (0) and objects (1) that are open, innermost in the lowest bit.
#[derive(Default)]
struct Nesting {
    objects: u128,
    depth: u8,
}

const _: () = assert!((MAX_DEPTH as u32) < u128::BITS);

impl Nesting {
    const fn push(&mut self, object: bool) {
        self.objects = self.objects << 1 | object as u128;
        self.depth += 1;
    }

    const fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// A position in a text. Invariant: `at` never passes the end, and lies on a character boundary
/// whenever a slice is taken, as slices begin and end at ASCII bytes.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next value, however large, with at most `max_depth` levels of nesting.
    pub(crate) fn value(&mut self, max_depth: u8) -> Scanned<Value<'a>> {
        self.skip_space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => {
                let kind = self.scalar()?;
                return Ok(self.value_from(kind, start));
            }
        };
        self.nested(max_depth)?;
        Ok(self.value_from(kind, start))
    }

    /// Enters an object: `None` when the next value is something else. Members are then read with
    /// [`Self::key`] and [`Self::value`] in turn.
    pub(crate) fn enter_object(&mut self) -> Option<()> {
        self.skip_space();
        (self.peek() == Some(b'{')).then(|| self.at += 1)
    }

    /// The key of the next member with the colon after it; `None` at the end of the object.
    /// `first` tells whether no member was read yet.
    pub(crate) fn key(&mut self, first: bool) -> Scanned<Option<Value<'a>>> {
        self.skip_space();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
            }
            _ if first => {}
            _ => return self.fault(Fault::ExpectedCommaOrEnd),
        }
        let start = self.at;
        let kind = self.key_string()?;
        let key = self.value_from(kind, start);
        self.colon()?;
        Ok(Some(key))
    }

    /// Checks that nothing but white space follows.
    pub(crate) fn end(&mut self) -> Scanned<()> {
        self.skip_space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.fault(Fault::TrailingText)
        }
    }

    fn value_from(&self, kind: Kind, start: usize) -> Value<'a> {
        Value {
            kind,
            raw: self.text.get(start..self.at).unwrap_or_default(),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// A fault here; at the end of the text it is always that the text ends too early.
    #[cold]
    fn fault<T>(&self, fault: Fault) -> Scanned<T> {
        let fault = if self.at >= self.text.len() {
            Fault::UnexpectedEnd
        } else {
            fault
        };
        Err(JsonError { at: self.at, fault })
    }

    /// An array or object with all that is in it.
    fn nested(&mut self, max_depth: u8) -> Scanned<()> {
        let mut nesting = Nesting::default();
        loop {
            self.skip_space();
            let complete = match self.peek() {
                Some(b'{') => self.open(&mut nesting, true, max_depth)?,
                Some(b'[') => self.open(&mut nesting, false, max_depth)?,
                _ => {
                    self.scalar()?;
                    true
                }
            };
            if complete && self.close(&mut nesting)? {
                return Ok(());
            }
        }
    }

    /// Passes an opening bracket and, in an object, the first key. True when the array or object is
    /// empty and so complete already.
    fn open(&mut self, nesting: &mut Nesting, object: bool, max_depth: u8) -> Scanned<bool> {
        if nesting.depth == max_depth {
            return self.fault(Fault::TooDeep);
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(if object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(true);
        }
        nesting.push(object);
        if object {
            self.member_key()?;
        }
        Ok(false)
    }

    /// After a value: passes all brackets that end here, and the comma (with the key after it)
    /// before the next value. True when the outermost bracket was closed.
    fn close(&mut self, nesting: &mut Nesting) -> Scanned<bool> {
        while nesting.depth > 0 {
            self.skip_space();
            match (self.peek(), nesting.in_object()) {
                (Some(b','), object) => {
                    self.at += 1;
                    if object {
                        self.skip_space();
                        self.member_key()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    nesting.pop();
                }
                _ => return self.fault(Fault::ExpectedCommaOrEnd),
            }
        }
        Ok(true)
    }

    /// A key and the colon after it.
    fn member_key(&mut self) -> Scanned<()> {
        self.key_string()?;
        self.colon()
    }

    fn key_string(&mut self) -> Scanned<Kind> {
        if self.peek() == Some(b'"') {
            self.string()
        } else {
            self.fault(Fault::ExpectedKey)
        }
    }

    fn colon(&mut self) -> Scanned<()> {
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.fault(Fault::ExpectedColon);
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Scanned<Kind> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::True),
            Some(b'f') => self.literal("false", Kind::False),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => self.fault(Fault::ExpectedValue),
        }
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Scanned<Kind> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.fault(Fault::ExpectedValue);
        }
        self.at += word.len();
        Ok(kind)
    }

    /// A string, from its opening quote to after its closing one.
    fn string(&mut self) -> Scanned<Kind> {
        let mut kind = Kind::PlainString;
        self.at += 1;
        loop {
            self.at = word::find_json_special(self.text.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(kind);
                }
                Some(b'\\') => {
                    kind = Kind::EscapedString;
                    self.escape()?;
                }
                _ => return self.fault(Fault::ControlCharacter),
            }
        }
    }

    fn escape(&mut self) -> Scanned<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => self.fault(Fault::BadEscape),
        }
    }

    /// From the `u` of an escape on: one code unit, or the two of a surrogate pair.
    fn unicode_escape(&mut self) -> Scanned<()> {
        let start = self.at;
        let alone = JsonError {
            at: start,
            fault: Fault::LoneSurrogate,
        };
        match self.code_unit()? {
            0xDC00..=0xDFFF => Err(alone),
            0xD800..=0xDBFF => {
                if !self
                    .text
                    .as_bytes()
                    .get(self.at..)
                    .unwrap_or_default()
                    .starts_with(b"\\u")
                {
                    return Err(alone);
                }
                self.at += 1;
                let low = self.code_unit()?;
                if (0xDC00..=0xDFFF).contains(&low) {
                    Ok(())
                } else {
                    Err(alone)
                }
            }
            _ => Ok(()),
        }
    }

    /// `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Scanned<u32> {
        let rest = self.text.as_bytes().get(self.at + 1..).unwrap_or_default();
        let Some(unit) = rest.first_chunk::<4>().and_then(hex_unit) else {
            return self.fault(Fault::BadEscape);
        };
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Scanned<Kind> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return self.fault(Fault::BadNumber);
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    /// One digit or more.
    fn digits(&mut self) -> Scanned<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            self.fault(Fault::BadNumber)
        } else {
            Ok(())
        }
    }
}

fn hex_unit(digits: &[u8; 4]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Replaces the escapes in the inside of a checked string. What is not an escape after all stays
/// as it is, so this cannot fail.
fn resolve_escapes(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (character, length) = resolve_escape(escape).unwrap_or(('\\', 0));
        text.push(character);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// The character that an escape (given from after its backslash) stands for, and the escape's
/// length in bytes.
fn resolve_escape(escape: &str) -> Option<(char, usize)> {
    let character = match escape.as_bytes().first()? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return resolve_unicode_escape(escape),
        other if other.is_ascii() => char::from(*other),
        _ => return None,
    };
    Some((character, 1))
}

fn resolve_unicode_escape(escape: &str) -> Option<(char, usize)> {
    let unit = |from: usize| hex_unit(escape.as_bytes().get(from..)?.first_chunk::<4>()?);
    let high = unit(1)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, 5));
    }
    let low = unit(7)?;
    let code = 0x10000 + ((high & 0x3ff) << 10 | low & 0x3ff);
    Some((char::from_u32(code)?, 11))
}
