//! Masking (RFC 6455 §5.3): the payload XOR a key of four bytes, over and over.
//!
//! The loop over 16-byte blocks is what compilers turn into vector instructions; it needs no unsafe
//! code. A payload that comes in pieces goes on with the key rotated, see [`rotate`].

/// Masks or unmasks `payload`, whose first byte meets the key's first byte.
#[inline]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let mut block = [0; 16];
    for part in block.as_chunks_mut::<4>().0 {
        *part = key;
    }
    let wide = u128::from_ne_bytes(block);

    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for four in words {
        *four = (u32::from_ne_bytes(*four) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key for what follows after `done` bytes of payload.
#[inline]
pub(super) fn rotate(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(payload: &mut [u8], key: [u8; 4]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[index % 4];
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn wide_and_bytewise_masking_agree(
            mut payload in prop::collection::vec(any::<u8>(), 0..100),
            key: [u8; 4],
            start in 0_usize..20,
        ) {
            let start = start.min(payload.len());
            let mut expected = payload.clone();
            naive(&mut expected[start..], key);
            apply(&mut payload[start..], key);
            prop_assert_eq!(payload, expected);
        }

        #[test]
        fn masking_in_pieces_is_masking_the_whole(
            mut payload in prop::collection::vec(any::<u8>(), 0..100),
            key: [u8; 4],
            cut in 0_usize..100,
        ) {
            let mut expected = payload.clone();
            naive(&mut expected, key);
            let (first, second) = payload.split_at_mut(cut.min(expected.len()));
            apply(first, key);
            apply(second, rotate(key, first.len()));
            prop_assert_eq!(payload, expected);
        }
    }
}
