//! HTTP/1.1 as it may be written (RFC 9110, RFC 9112): a strict look at a request's bytes before a
//! more lenient parser gets them.
//!
//! An [`Inspector`] follows one connection's input through heads and bodies and says how much of it
//! is beyond doubt, or what is wrong. What two parsers could read differently is refused: that is
//! what requests are smuggled with. It builds no request; parsing stays with whoever serves it.
//!
//! Read `head.rs` for heads and `chunk.rs` for chunked bodies.

mod chunk;
mod head;
mod host;
mod violation;

pub use head::{Limits, Plain, wants_websocket};
pub use host::is_host;
pub use violation::Violation;

use chunk::Chunks;
use head::Framing;

/// Follows the input of one connection.
#[derive(Debug)]
pub struct Inspector {
    limits: Limits,
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    /// Between requests or in a head, whose first bytes up to here hold no end of it.
    Head {
        searched: usize,
    },
    /// So many bytes of a body are still to come.
    Length(u64),
    Chunks(Chunks),
    /// What follows may be another protocol's.
    Opaque,
}

/// What is known of the bytes that were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// So many of them are beyond doubt. The rest is an unfinished head, to be shown again with what
    /// follows it, or what was refused.
    pub passed: usize,
    /// Why nothing more of this connection should be looked at.
    pub refused: Option<Violation>,
}

impl Inspector {
    /// At the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head { searched: 0 },
            heads: 0,
        }
    }

    /// Heads that passed so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the input stands between two requests or in a head, not in a body.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Looks at bytes that follow those that passed.
    pub fn inspect(&mut self, bytes: &[u8]) -> Inspected {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.step(rest) {
                Ok(0) => break,
                Ok(more) => passed += more,
                Err((more, violation)) => {
                    return Inspected {
                        passed: passed + more,
                        refused: Some(violation),
                    };
                }
            }
        }
        Inspected {
            passed,
            refused: None,
        }
    }

    /// Passes some bytes; none where a head is not finished.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (usize, Violation)> {
        match &mut self.state {
            State::Head { searched } => {
                let found = head::inspect(bytes, *searched, &self.limits);
                let Some(head) = found.map_err(|violation| (0, violation))? else {
                    *searched = bytes.len();
                    return Ok(0);
                };
                self.heads += 1;
                self.state = match head.framing {
                    _ if head.websocket => State::Opaque,
                    Framing::Length(0) => State::Head { searched: 0 },
                    Framing::Length(length) => State::Length(length),
                    Framing::Chunked => State::Chunks(Chunks::new(self.limits.max_head)),
                };
                Ok(head.end)
            }
            State::Length(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::Head { searched: 0 };
                }
                Ok(here)
            }
            State::Chunks(chunks) => {
                let (taken, ended) = chunks.inspect(bytes)?;
                if ended {
                    self.state = State::Head { searched: 0 };
                }
                Ok(taken)
            }
            State::Opaque => Ok(bytes.len()),
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
