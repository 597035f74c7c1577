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

    /// Takes what came after the last line end, when the peer will send no more. `None` where that is
    /// nothing, or the rest of a line that was too long.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let yielded = std::mem::take(&mut self.yielded);
        let partial = std::mem::take(&mut self.partial);
        let discarding = std::mem::take(&mut self.discarding);
        (!yielded && !discarding && !partial.is_empty()).then_some(partial)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Lines = Vec<Result<Vec<u8>, LineTooLong>>;

    /// Feeds the pieces as a session does: call until there is no line, then the next piece.
    fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, max: usize) -> (Lines, LineDecoder) {
        let mut decoder = LineDecoder::new();
        let mut lines = Vec::new();
        for piece in pieces {
            let mut rest = piece;
            loop {
                let (consumed, line) = decoder.next(rest, max);
                rest = &rest[consumed..];
                match line {
                    Some(line) => lines.push(line.map(<[u8]>::to_vec)),
                    None => break,
                }
            }
            assert!(rest.is_empty(), "without a line all input is used up");
            assert!(decoder.partial.capacity() <= 2 * (max + 2).max(8));
        }
        (lines, decoder)
    }

    fn naive(input: &[u8], max: usize) -> Lines {
        let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
        let unfinished = lines.pop().unwrap_or_default();
        let mut lines: Lines = lines
            .into_iter()
            .map(|line| within(line, max).map(<[u8]>::to_vec))
            .collect();
        if within(unfinished, max).is_err() {
            lines.push(Err(LineTooLong));
        }
        lines
    }

    #[test]
    fn lines_end_with_a_newline_and_an_optional_carriage_return() {
        let check = |input: &[u8], expected: &[&[u8]]| {
            let expected: Lines = expected.iter().map(|line| Ok(line.to_vec())).collect();
            assert_eq!(decode([input], 9).0, expected, "{}", input.escape_ascii());
            assert_eq!(
                decode(input.chunks(1), 9).0,
                expected,
                "{}",
                input.escape_ascii()
            );
        };
        check(b"", &[]);
        check(b"a", &[]);
        check(b"\n", &[b""]);
        check(b"\r\n", &[b""]);
        check(b"a\nb\r\nc", &[b"a", b"b"]);
        check(b"a\rb\n", &[b"a\rb"]);
        check(b"a\r\r\n", &[b"a\r"]);
        check("é\n世\n".as_bytes(), &["é".as_bytes(), "世".as_bytes()]);
    }

    #[test]
    fn the_limit_counts_a_line_without_its_end() {
        let check = |input: &[u8], expected: Lines| {
            assert_eq!(decode([input], 3).0, expected, "{}", input.escape_ascii());
            assert_eq!(
                decode(input.chunks(1), 3).0,
                expected,
                "{}",
                input.escape_ascii()
            );
        };
        check(b"abc\n", vec![Ok(b"abc".to_vec())]);
        check(b"abc\r\n", vec![Ok(b"abc".to_vec())]);
        check(b"abcd\nx\n", vec![Err(LineTooLong), Ok(b"x".to_vec())]);
        check(b"abc\rd\n", vec![Err(LineTooLong)]);
        check(b"abc\r\r\nx\n", vec![Err(LineTooLong), Ok(b"x".to_vec())]);
        check(b"abcd", vec![Err(LineTooLong)]);
        check(b"abc", vec![]);
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_before_its_end_comes_and_kept_nowhere() {
        let mut decoder = LineDecoder::new();
        assert_eq!(decoder.next(b"abc", 3), (3, None));
        assert_eq!(decoder.next(b"", 3), (0, None));
        assert_eq!(decoder.next(b"d", 3), (1, Some(Err(LineTooLong))));
        for _ in 0..1000 {
            assert_eq!(decoder.next(&[b'x'; 1000], 3), (1000, None));
        }
        assert_eq!(decoder.partial.capacity(), 0);
        assert_eq!(decoder.next(b"x\nok\n", 3), (5, Some(Ok(&b"ok"[..]))));
        assert!(decoder.is_idle());
    }

    #[test]
    fn whole_lines_are_slices_of_the_input_and_an_idle_decoder_owns_nothing() {
        let input = b"hello\r\n";
        let mut decoder = LineDecoder::new();
        let (_, line) = decoder.next(input, 9);
        assert!(std::ptr::eq(
            line.unwrap().unwrap().as_ptr(),
            input.as_ptr()
        ));
        assert!(decoder.is_idle());
        let (_, decoder) = decode([&b"he"[..], b"llo\n"], 9);
        assert!(decoder.is_idle());
    }

    #[test]
    fn framed_json_is_one_line() {
        let check = |json: &str, expected: &str| {
            let mut out = b"x\n".to_vec();
            frame(&mut out, json.as_bytes());
            assert_eq!(out, [b"x\n", expected.as_bytes()].concat());
        };
        check("{}", "{}\n");
        check("{\r\n\t\"a\\n\": 1\n}", "{  \t\"a\\n\": 1 }\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn the_pieces_in_which_a_stream_comes_change_nothing(
            input in prop::collection::vec(prop::sample::select(b"ab\xc3\r\r\n\n".to_vec()), 0..40),
            max in 0_usize..6,
            size in 1_usize..9,
        ) {
            let expected = naive(&input, max);
            prop_assert_eq!(&decode([&input[..]], max).0, &expected);
            prop_assert_eq!(&decode(input.chunks(size), max).0, &expected);
            for cut in 0..=input.len() {
                let (first, second) = input.split_at(cut);
                prop_assert_eq!(&decode([first, second], max).0, &expected, "cut at {}", cut);
            }
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_given_when_no_more_comes() {
        let mut decoder = LineDecoder::new();
        assert_eq!(decoder.finish(), None);
        assert_eq!(decoder.next(b"one\ntw", 10), (4, Some(Ok(&b"one"[..]))));
        assert_eq!(decoder.next(b"tw", 10), (2, None));
        assert_eq!(decoder.finish().as_deref(), Some(&b"tw"[..]));
        assert_eq!(decoder.finish(), None);
        assert!(matches!(
            decoder.next(b"much too long", 4),
            (_, Some(Err(_)))
        ));
        assert_eq!(decoder.finish(), None, "what was refused is not given");
    }
}
