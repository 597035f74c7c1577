//! permessage-deflate (RFC 7692), the server's side, without context takeover in either direction.
//!
//! [`negotiate`] chooses among a client's offers. Because no message depends on one before it, a
//! connection owns no compression state: a [`Compressor`] serves a whole worker, and one compressed
//! frame every member of a room who agreed to the same [`Window`]; an [`InflatePool`] lends an
//! inflater for the time of one message. The decoder inflates by itself, see
//! [`Decoder::next_inflating`](super::Decoder::next_inflating). Next: `inflate`, where the limits
//! are.

mod compress;
mod incoming;
mod inflate;
mod negotiation;
#[cfg(test)]
mod tests;

pub use compress::{Compressor, DEFAULT_LEVEL, DEFAULT_MIN_LENGTH};
pub use inflate::{DEFAULT_MAX_RATIO, InflatePool, RATIO_FREE};
pub use negotiation::{Negotiated, negotiate};

pub(super) use incoming::Compressed;

/// What a compressed message loses at its end when it is sent: the last four bytes of an empty
/// stored block (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How far back what the server compresses may refer. A message is compressed once for each that
/// its receivers agreed to, so there are few: an offer in between gets the next smaller one.
///
/// 256 bytes (an offer of 8 bits) is not among them: zlib and what descends from it cannot compress
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// 512 bytes.
    Bits9,
    /// 2 KiB.
    Bits11,
    /// 32 KiB: whoever does not ask for less.
    Bits15,
}

impl Window {
    /// Every window, the smallest first.
    pub const ALL: [Self; 3] = [Self::Bits9, Self::Bits11, Self::Bits15];

    /// The logarithm of its size in bytes, as in `server_max_window_bits`.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits9 => 9,
            Self::Bits11 => 11,
            Self::Bits15 => 15,
        }
    }

    /// The largest window of at most so many bits.
    fn at_most(bits: u8) -> Option<Self> {
        let fits = |window: &Self| window.bits() <= bits;
        Self::ALL.into_iter().rev().find(fits)
    }
}
