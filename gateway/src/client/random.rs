//! Randomness for jitter and idempotency keys, from the same library that TLS uses.

use std::hash::{BuildHasher, RandomState};

/// 64 random bits.
pub(super) fn bits() -> u64 {
    let mut bytes = [0_u8; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // The standard library seeds its hash maps from the operating system, too; that is enough
        // for jitter and for keys, neither of which is a secret.
        Err(_) => RandomState::new().hash_one(bytes),
    }
}
