//! Hashing for keys that the gateway itself numbers: room ids, slots, member ids.
//!
//! No peer chooses these numbers, so the defence of the default hasher against chosen keys buys
//! nothing, and one multiplication spreads them well. Never for names, keys or anything a peer
//! sends.

use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type IdHash = BuildHasherDefault<IdHasher>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing; the fold brings the well-mixed high half down to the bits that tables
        // index with, and leaves the top bits, which they tag with, as they are.
        let product = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
