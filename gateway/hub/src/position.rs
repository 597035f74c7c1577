//! Where a client stands in a room: the room's epoch and an offset in it.
//!
//! Offsets count from 1 within one incarnation of a room. The epoch tells incarnations apart, so a
//! client that comes back after the room vanished, or after the gateway restarted, does not take
//! the new room's offsets for the old one's. Nothing here knows rooms.

use std::fmt;
use std::str::FromStr;

/// Tells one incarnation of a room from all others, across restarts of the gateway too.
///
/// Written as 16 lower-case hexadecimal digits; parsing accepts exactly what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the `counter`th room of a hub with this seed.
    ///
    /// For one seed, different counters always give different epochs: the mix is a bijection.
    #[must_use]
    pub const fn derive(seed: u64, counter: u64) -> Self {
        // splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
        let mut z = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEpoch;

impl fmt::Display for InvalidEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch is 16 lower-case hexadecimal digits")
    }
}

impl std::error::Error for InvalidEpoch {}

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        // `from_str_radix` alone would let a sign, upper case and other lengths pass.
        let strict = text.len() == 16
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !strict {
            return Err(InvalidEpoch);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidEpoch)
    }
}

/// The last message a client has seen: everything up to and including `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The incarnation of the room that `offset` counts in.
    pub epoch: Epoch,
    /// 0: nothing seen yet.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_what_it_wrote() {
        for epoch in [
            Epoch(0),
            Epoch(1),
            Epoch(u64::MAX),
            Epoch(0x00ab_cdef_0123_4567),
        ] {
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
            assert_eq!(epoch.to_string().len(), 16);
        }
    }

    #[test]
    fn an_epoch_is_parsed_strictly() {
        for text in [
            "",
            "0",
            "000000000000000",
            "00000000000000000",
            "000000000000000A",
            "+000000000000001",
            "000000000000000g",
            "00000000000000\u{e9}",
            " 00000000000000 ",
        ] {
            assert_eq!(text.parse::<Epoch>(), Err(InvalidEpoch), "{text:?}");
        }
    }

    #[test]
    fn epochs_of_one_seed_differ_and_seeds_move_them() {
        let mut seen: Vec<u64> = (0..1_000).map(|n| Epoch::derive(7, n).0).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1_000);
        assert_ne!(Epoch::derive(7, 1), Epoch::derive(8, 1));
    }
}
