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
        self.text.reserve_exact(additional);
    }

    pub(super) const fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Appends a piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let rest = self.finish_character(piece)?;
        match std::str::from_utf8(rest) {
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
