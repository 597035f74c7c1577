//! A compressed message that comes in pieces.
//!
//! An inflater is 48 KiB, and a few bytes must not buy it: the first [`HELD_MAX`] bytes of a
//! message are kept as they came, and only when more comes they go into an inflater of their own,
//! as does everything after them. A message that is whole earlier is inflated at its end, at once.

use super::inflate::{InflatePool, Inflater};
use crate::websocket::Violation;
use crate::websocket::message::Plain;

/// So much of a message is kept before it is inflated. Chosen: most commands are smaller, and
/// whoever makes us hold an inflater has sent a tenth of it, the ratio that is allowed elsewhere.
pub(super) const HELD_MAX: usize = 4096;

/// A compressed message so far; without pieces it owns nothing.
#[derive(Debug)]
pub(in crate::websocket) struct Compressed {
    text: bool,
    so_far: Option<Box<SoFar>>,
}

#[derive(Debug)]
struct SoFar {
    /// All that came, while there is no inflater.
    held: Vec<u8>,
    inflater: Option<Inflater>,
    plain: Plain,
}

impl Compressed {
    /// An empty message, of text or not.
    pub(in crate::websocket) const fn new(text: bool) -> Self {
        Self { text, so_far: None }
    }

    /// The most compressed bytes of a message whose content is at most `max_message`: an encoder
    /// may make it a little longer (9 bits for each byte, when it only uses fixed codes), and flush
    /// between fragments. Empty blocks without end are too much.
    pub(in crate::websocket) const fn max_len(max_message: usize) -> usize {
        max_message.saturating_add(max_message / 4 + 64)
    }

    /// Compressed bytes so far.
    pub(in crate::websocket) const fn len(&self) -> usize {
        match &self.so_far {
            Some(so_far) => match &so_far.inflater {
                Some(inflater) => inflater.compressed(),
                None => so_far.held.len(),
            },
            None => 0,
        }
    }

    /// Appends a piece.
    pub(in crate::websocket) fn push(
        &mut self,
        piece: &[u8],
        max_message: usize,
        pool: Option<&mut InflatePool>,
    ) -> Result<(), Violation> {
        let pool = lender(pool)?;
        let text = self.text;
        let so_far = self
            .so_far
            .get_or_insert_with(|| Box::new(SoFar::new(text)));
        if so_far.inflater.is_none() && so_far.held.len() + piece.len() <= HELD_MAX {
            so_far.held.extend_from_slice(piece);
            return Ok(());
        }
        so_far.inflate(piece, max_message, pool)
    }

    /// Appends the last piece and yields the content.
    pub(in crate::websocket) fn finish(
        &mut self,
        piece: &[u8],
        max_message: usize,
        pool: Option<&mut InflatePool>,
    ) -> Result<Plain, Violation> {
        let pool = lender(pool)?;
        let so_far = self.so_far.take();
        let mut so_far = so_far.map_or_else(|| SoFar::new(self.text), |boxed| *boxed);
        so_far.inflate(piece, max_message, pool)?;
        if let Some(mut inflater) = so_far.inflater {
            pool.finish(&mut inflater, max_message, &mut so_far.plain)?;
            pool.take_back(inflater);
        }
        Ok(so_far.plain)
    }
}

impl SoFar {
    fn new(text: bool) -> Self {
        Self {
            held: Vec::new(),
            inflater: None,
            plain: Plain::new(text),
        }
    }

    fn inflate(
        &mut self,
        piece: &[u8],
        max_message: usize,
        pool: &mut InflatePool,
    ) -> Result<(), Violation> {
        let inflater = self.inflater.get_or_insert_with(|| pool.lend());
        let held = std::mem::take(&mut self.held);
        pool.inflate(inflater, &held, max_message, &mut self.plain)?;
        pool.inflate(inflater, piece, max_message, &mut self.plain)
    }
}

/// A message began compressed; its caller no longer allows that.
fn lender(pool: Option<&mut InflatePool>) -> Result<&mut InflatePool, Violation> {
    pool.ok_or(Violation::ReservedBits)
}
