//! A chunked body (RFC 9112 §7.1), byte by byte: sizes, extensions, data, trailers. What passes has no
//! chunk that a lenient parser would see elsewhere.

use super::head;
use super::is_token_byte;
use super::violation::Violation;

/// Bytes of one chunk's size and extensions. Chosen: nobody uses extensions; signatures by chunk, the
/// longest that are seen, take about 100.
const MAX_LINE: usize = 256;

/// Where the input stands in a chunked body.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The present chunk's size.
    size: u64,
    /// Bytes of the present size line, or of all trailers.
    line: usize,
    max_trailers: usize,
    /// The unfinished line of a trailer.
    trailer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a size's first digit.
    Size,
    Digits,
    /// Whitespace, that only an extension's `;` may follow.
    BeforeExtension,
    /// Behind `;`.
    BeforeName,
    Name,
    /// Whitespace behind a name, that only `=` or `;` may follow.
    AfterName,
    /// Behind `=`.
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterQuoted,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailer,
    TrailerLineFeed,
}

impl Chunks {
    pub(super) fn new(max_trailers: usize) -> Self {
        Self {
            state: State::Size,
            size: 0,
            line: 0,
            max_trailers,
            trailer: Vec::new(),
        }
    }

    /// Takes bytes of the body; tells how many were its, and whether it has ended. An error comes with
    /// the number of bytes before it.
    pub(super) fn inspect(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Violation)> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.state == State::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let here = left.min(bytes.len() - at);
                self.size -= here as u64;
                at += here;
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            let ended = self.step(*byte).map_err(|violation| (at, violation))?;
            at += 1;
            if ended {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Violation> {
        match self.state {
            State::Data => {}
            State::DataReturn if byte == b'\r' => self.state = State::DataLineFeed,
            State::DataLineFeed if byte == b'\n' => {
                (self.state, self.line) = (State::Size, 0);
            }
            State::DataReturn | State::DataLineFeed => return Err(Violation::Chunk),
            State::Trailer | State::TrailerLineFeed => return self.trailer(byte),
            State::SizeLineFeed if byte == b'\n' => {
                self.state = if self.size == 0 {
                    State::Trailer
                } else {
                    State::Data
                };
                self.line = 0;
            }
            State::SizeLineFeed => return Err(Violation::Chunk),
            _ => self.size_line(byte)?,
        }
        Ok(false)
    }

    fn size_line(&mut self, byte: u8) -> Result<(), Violation> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(Violation::Chunk);
        }
        let blank = matches!(byte, b' ' | b'\t');
        self.state = match (self.state, byte) {
            (State::Size | State::Digits, _) if byte.is_ascii_hexdigit() => {
                self.digit(byte)?;
                State::Digits
            }
            (State::Digits | State::Name | State::Token | State::AfterQuoted, b'\r') => {
                State::SizeLineFeed
            }
            (State::Digits | State::BeforeExtension, b';') => State::BeforeName,
            (State::Name | State::AfterName | State::Token | State::AfterQuoted, b';') => {
                State::BeforeName
            }
            (State::Digits | State::BeforeExtension, _) if blank => State::BeforeExtension,
            (State::Token | State::AfterQuoted, _) if blank => State::BeforeExtension,
            (State::BeforeName, _) if blank => State::BeforeName,
            (State::BeforeName | State::Name, _) if is_token_byte(byte) => State::Name,
            (State::Name | State::AfterName, b'=') => State::BeforeValue,
            (State::Name | State::AfterName, _) if blank => State::AfterName,
            (State::BeforeValue, _) if blank => State::BeforeValue,
            (State::BeforeValue, b'"') => State::Quoted,
            (State::BeforeValue | State::Token, _) if is_token_byte(byte) => State::Token,
            (State::Quoted, b'"') => State::AfterQuoted,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Quoted | State::Escaped, _) if byte == b'\t' || !byte.is_ascii_control() => {
                State::Quoted
            }
            _ => return Err(Violation::Chunk),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Violation> {
        if self.state == State::Size {
            self.size = 0;
        }
        let digit = char::from(byte).to_digit(16).ok_or(Violation::Chunk)?;
        let size = self.size.checked_mul(16).ok_or(Violation::Chunk)?;
        self.size = size + u64::from(digit);
        // As with lengths: no more than a file can have.
        if i64::try_from(self.size).is_err() {
            return Err(Violation::Chunk);
        }
        Ok(())
    }

    /// A byte of the trailer section; tells whether it ended there.
    fn trailer(&mut self, byte: u8) -> Result<bool, Violation> {
        self.line += 1;
        if self.line > self.max_trailers {
            return Err(Violation::Trailer);
        }
        if self.state == State::Trailer {
            match byte {
                b'\r' => self.state = State::TrailerLineFeed,
                b'\n' => return Err(Violation::Trailer),
                _ => self.trailer.push(byte),
            }
            return Ok(false);
        }
        if byte != b'\n' {
            return Err(Violation::Trailer);
        }
        if self.trailer.is_empty() {
            return Ok(true);
        }
        head::field(&self.trailer).map_err(|_| Violation::Trailer)?;
        self.trailer.clear();
        self.state = State::Trailer;
        Ok(false)
    }
}
