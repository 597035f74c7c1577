//! The message under way: what came of it, and what its limits leave.
//!
//! A plain message is kept as it comes, a compressed one is inflated as it comes; both end as a
//! [`Plain`], which [`Decoder`](super::Decoder) lends out. Text is checked as it grows.

use super::deflate::{Compressed, InflatePool};
use super::utf8::PartialText;
use super::{Item, Violation};

#[derive(Debug, Default)]
pub(super) enum Message {
    #[default]
    Absent,
    Plain(Plain),
    Compressed(Compressed),
}

/// The content of a message so far.
#[derive(Debug)]
pub(super) enum Plain {
    Binary(Vec<u8>),
    Text(PartialText),
}

impl Message {
    /// An empty message.
    pub(super) fn new(text: bool, compressed: bool) -> Self {
        if compressed {
            Self::Compressed(Compressed::new(text))
        } else {
            Self::Plain(Plain::new(text))
        }
    }

    /// Bytes so far, as they came: those of a compressed message count compressed.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Plain(plain) => plain.len(),
            Self::Compressed(compressed) => compressed.len(),
        }
    }

    /// Whether `payload` more bytes may come.
    #[inline]
    pub(super) fn admits(&self, payload: u64, max_message: usize) -> bool {
        let max = match self {
            Self::Absent | Self::Plain(_) => max_message,
            Self::Compressed(_) => Compressed::max_len(max_message),
        };
        (self.len() as u64).saturating_add(payload) <= max as u64
    }

    /// Appends a piece of payload, of which `missing` more bytes are announced.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        missing: usize,
        max_message: usize,
        pool: Option<&mut InflatePool>,
    ) -> Result<(), Violation> {
        match self {
            Self::Absent => Ok(()),
            Self::Plain(plain) => plain.push(piece, missing),
            Self::Compressed(compressed) => compressed.push(piece, max_message, pool),
        }
    }

    /// Appends the last piece. After it the message is [`Plain`] and can be lent out.
    pub(super) fn finish(
        &mut self,
        piece: &[u8],
        max_message: usize,
        pool: Option<&mut InflatePool>,
    ) -> Result<(), Violation> {
        if let Self::Compressed(compressed) = self {
            *self = Self::Plain(compressed.finish(piece, max_message, pool)?);
        } else {
            self.push(piece, 0, max_message, None)?;
        }
        self.item().map(|_| ())
    }

    pub(super) fn item(&self) -> Result<Item<'_>, Violation> {
        match self {
            Self::Absent | Self::Compressed(_) => Ok(Item::Binary(&[])),
            Self::Plain(Plain::Binary(bytes)) => Ok(Item::Binary(bytes)),
            Self::Plain(Plain::Text(text)) => match text.complete() {
                Ok(text) => Ok(Item::Text(text)),
                Err(_) => Err(Violation::TextNotUtf8),
            },
        }
    }
}

impl Plain {
    /// An empty message.
    pub(super) fn new(text: bool) -> Self {
        if text {
            Self::Text(PartialText::default())
        } else {
            Self::Binary(Vec::new())
        }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Appends a piece. Room is made for what is there, doubling as it grows, but never for more
    /// than the `missing` bytes that may come: a header alone takes no memory.
    pub(super) fn push(&mut self, piece: &[u8], missing: usize) -> Result<(), Violation> {
        let needed = self.len() + piece.len();
        let announced = needed.saturating_add(missing);
        match self {
            Self::Binary(bytes) => {
                if needed > bytes.capacity() {
                    let target = announced.min(2 * bytes.capacity()).max(needed);
                    bytes.reserve_exact(target - bytes.len());
                }
                bytes.extend_from_slice(piece);
            }
            Self::Text(text) => {
                if needed > text.capacity() {
                    let target = announced.min(2 * text.capacity()).max(needed);
                    text.reserve(target - text.len());
                }
                text.push(piece).map_err(|_| Violation::TextNotUtf8)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(plain: &Plain) -> usize {
        match plain {
            Plain::Binary(bytes) => bytes.capacity(),
            Plain::Text(text) => text.capacity(),
        }
    }

    #[test]
    fn memory_follows_what_came_and_never_exceeds_what_was_announced() {
        const ANNOUNCED: usize = 10_000;
        for mut plain in [Plain::new(false), Plain::new(true)] {
            let mut came = 0;
            // Two-byte characters in pieces of seven bytes: every other piece ends inside one.
            for piece in "é".repeat(ANNOUNCED / 2).as_bytes().chunks(7) {
                came += piece.len();
                plain.push(piece, ANNOUNCED - came).unwrap();
                assert_eq!(plain.len(), came);
                assert!((came - 1..=(2 * came).min(ANNOUNCED)).contains(&capacity(&plain)));
            }
            assert_eq!(capacity(&plain), ANNOUNCED);
            assert!(Message::Plain(plain).item().is_ok());
        }
    }
}
