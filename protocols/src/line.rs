//! Lines over a byte stream: `\n` ends one, a `\r` before it belongs to the end.
//!
//! A line that lies whole in the input is yielded as a slice of it; only an unfinished line is
//! copied, and never more of it than the limit. What a line means, and whether a line that is too
//! long ends the session, is the caller's decision. Next: [`crate::chat`] and [`crate::command`].

use crate::word;

/// A line has more bytes than the limit. Its rest is discarded; the line after it is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

/// Splits a stream into lines.
#[derive(Debug, Default)]
pub struct LineDecoder {
    /// The beginning of a line whose end has not come yet, or, while `yielded`, the line that the
    /// last call returned. At most the limit plus the `\r` and `\n` of the line's end.
    partial: Vec<u8>,
    yielded: bool,
    /// Whether a line was too long and its end has not come yet.
    discarding: bool,
}

impl LineDecoder {
    /// A decoder at the beginning of a line. Owns no memory until a line comes in pieces.
    pub const fn new() -> Self {
        Self {
            partial: Vec::new(),
            yielded: false,
            discarding: false,
        }
    }

    /// Whether the decoder is at the beginning of a line and owns no buffer.
    pub const fn is_idle(&self) -> bool {
        !self.discarding && self.partial.capacity() == 0
    }

    /// Yields the next line, without its end, and how many bytes of `input` were used up.
    ///
    /// Call again with the rest of `input` until there is no line: only that call gives back the
    /// buffer of a line that came in pieces. `max` is the longest line in bytes, its end not
    /// counted. A line that is too long is reported once, as soon as that is certain.
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
        max: usize,
    ) -> (usize, Option<Result<&'a [u8], LineTooLong>>) {
        if self.yielded {
            self.partial = Vec::new();
            self.yielded = false;
        }
        let mut skipped = 0;
        if self.discarding {
            let Some(end) = word::find_byte(input, b'\n') else {
                return (input.len(), None);
            };
            self.discarding = false;
            skipped = end + 1;
        }
        let rest = input.get(skipped..).unwrap_or_default();
        let Some(end) = word::find_byte(rest, b'\n') else {
            return (input.len(), self.keep(rest, max).err().map(Err));
        };
        let consumed = skipped + end + 1;
        let piece = rest.get(..end).unwrap_or_default();
        if self.partial.is_empty() {
            return (consumed, Some(within(piece, max)));
        }
        self.yielded = true;
        // Whatever of the last piece lies past the limit need not be copied to see that it does.
        let room = max
            .saturating_add(2)
            .saturating_sub(self.partial.len())
            .min(piece.len());
        self.partial
            .extend_from_slice(piece.get(..room).unwrap_or_default());
        if room < piece.len() {
            return (consumed, Some(Err(LineTooLong)));
        }
        (consumed, Some(within(&self.partial, max)))
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, piece: &[u8], max: usize) -> Result<(), LineTooLong> {
        let length = self.partial.len() + piece.len();
        // A `\r` at the end may turn out to belong to the line's end.
        let last = piece.last().or_else(|| self.partial.last());
        let counted = length - usize::from(last == Some(&b'\r'));
        if counted > max {
            self.partial = Vec::new();
            self.discarding = true;
            return Err(LineTooLong);
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }
}

fn within(line: &[u8], max: usize) -> Result<&[u8], LineTooLong> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > max {
        Err(LineTooLong)
    } else {
        Ok(line)
    }
}

/// Appends `json` as one line. Raw line ends inside valid JSON are insignificant white space (in
/// strings they are escaped), so they become spaces.
pub fn frame(out: &mut Vec<u8>, json: &[u8]) {
    push_on_one_line(out, json);
    out.push(b'\n');
}

/// Appends `json` with its raw line ends as spaces.
pub(crate) fn push_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in out.iter_mut().skip(start) {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
