//! UTF-8 that comes in pieces, checked as it comes.
//!
//! A piece may end inside a character. The bytes of that character are carried to the next piece,
//! and a byte that no valid text could have there is an error at once, not at the message's end.

/// A text so far: whole characters, and the beginning of one more.
#[derive(Debug, Default)]
pub(super) struct PartialText {
    text: String,
    /// Bytes of `tail` in use.
    tail_length: u8,
    /// A proper prefix of one character.
    tail: [u8; 3],
}

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl PartialText {
    /// Bytes so far.
    pub(super) const fn len(&self) -> usize {
        self.text.len() + self.tail_length as usize
    }

    /// The text, when it does not end inside a character.
    pub(super) fn complete(&self) -> Result<&str, NotUtf8> {
        if self.tail_length == 0 {
            Ok(&self.text)
        } else {
            Err(NotUtf8)
        }
    }

    /// Makes room for `additional` bytes, and no more than that.
    pub(super) fn reserve(&mut self, additional: usize) {
        self.text
            .reserve_exact(additional + usize::from(self.tail_length));
    }

    pub(super) const fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Appends a piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let rest = self.finish_character(piece)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(error) => {
                let (valid, tail) = rest.split_at(error.valid_up_to());
                self.text
                    .push_str(std::str::from_utf8(valid).map_err(|_| NotUtf8)?);
                for byte in tail {
                    self.carry(*byte)?;
                }
            }
        }
        Ok(())
    }

    /// Completes the carried character with the first bytes of `piece`; returns the others.
    fn finish_character<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], NotUtf8> {
        let mut rest = piece;
        while self.tail_length > 0 {
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            self.carry(*byte)?;
            rest = after;
        }
        Ok(rest)
    }

    /// Adds one byte to the carried character, which moves to the text when it is whole.
    fn carry(&mut self, byte: u8) -> Result<(), NotUtf8> {
        let [first, second, third] = self.tail;
        let (character, length) = match self.tail_length {
            0 => ([byte, 0, 0, 0], 1),
            1 => ([first, byte, 0, 0], 2),
            2 => ([first, second, byte, 0], 3),
            _ => ([first, second, third, byte], 4),
        };
        match std::str::from_utf8(character.get(..length).unwrap_or_default()) {
            Ok(character) => {
                self.text.push_str(character);
                self.tail_length = 0;
                Ok(())
            }
            // A proper prefix has at most three bytes.
            Err(error) if error.error_len().is_none() && length < 4 => {
                let [first, second, third, _] = character;
                self.tail = [first, second, third];
                self.tail_length += 1;
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes `bytes` one by one: how many were taken before an error, and whether a text may end
    /// there.
    fn one_by_one(bytes: &[u8]) -> (usize, bool) {
        let mut text = PartialText::default();
        for (index, byte) in bytes.iter().enumerate() {
            if text.push(&[*byte]).is_err() {
                return (index, false);
            }
        }
        (bytes.len(), text.complete().is_ok())
    }

    #[test]
    fn an_impossible_byte_is_refused_at_once_wherever_the_pieces_end() {
        let check = |bytes: &[u8], taken: usize| {
            assert_eq!(one_by_one(bytes), (taken, false), "{bytes:x?}");
            for cut in 0..taken {
                let mut text = PartialText::default();
                text.push(&bytes[..cut]).unwrap();
                assert_eq!(
                    text.push(&bytes[cut..]),
                    Err(NotUtf8),
                    "{bytes:x?} cut at {cut}"
                );
            }
        };
        check(b"\x80", 0);
        check(b"\xc0\x80", 0);
        check(b"\xc1", 0);
        check(b"\xf5", 0);
        check(b"\xff", 0);
        check(b"a\xc3a", 2);
        check(b"\xe0\x80", 1);
        check(b"\xe0\x9f", 1);
        check(b"\xed\xa0", 1);
        check(b"\xef\xbf\x7f", 2);
        check(b"\xf0\x8f", 1);
        check(b"\xf4\x90", 1);
        check(b"\xf0\x9f\x8e\x20", 3);
    }

    #[test]
    fn a_text_may_not_end_inside_a_character() {
        for bytes in ["é", "世", "🎉", "aé", "世🎉"].map(str::as_bytes) {
            assert_eq!(one_by_one(bytes), (bytes.len(), true));
            let shorter = &bytes[..bytes.len() - 1];
            assert_eq!(one_by_one(shorter), (shorter.len(), false));
        }
    }

    #[test]
    fn every_character_survives_every_cut() {
        let all: String = [
            'a',
            '\u{7f}',
            '\u{80}',
            '\u{7ff}',
            '\u{800}',
            '\u{ffff}',
            '\u{10000}',
            char::MAX,
        ]
        .iter()
        .collect();
        for first in 0..=all.len() {
            for second in first..=all.len() {
                let mut text = PartialText::default();
                for piece in [0..first, first..second, second..all.len()] {
                    text.push(&all.as_bytes()[piece]).unwrap();
                }
                assert_eq!(text.complete(), Ok(&*all), "cut at {first} and {second}");
                assert_eq!(text.len(), all.len());
            }
        }
    }
    #[test]
    fn a_long_text_is_judged_as_the_standard_library_does_wherever_it_is_wrong() {
        // Longer than the vectors that it is checked in, with characters across all their edges.
        let valid = "aé世🎉".repeat(40).into_bytes();
        let mut text = PartialText::default();
        text.push(&valid).unwrap();
        assert_eq!(text.complete().map(str::as_bytes), Ok(&*valid));
        for at in 0..valid.len() {
            for wrong in [0x80, 0xc0, 0xed, 0xff] {
                let mut bytes = valid.clone();
                bytes[at] = wrong;
                let expected = std::str::from_utf8(&bytes).is_ok();
                let mut text = PartialText::default();
                let pushed = text.push(&bytes).is_ok() && text.complete().is_ok();
                assert_eq!(pushed, expected, "{wrong:x} at {at}");
            }
        }
    }
}
