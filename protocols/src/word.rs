//! Searches that look at eight bytes at a time, in portable code.
//!
//! The inputs are short (a command, a line), so the set-up of a wider search would cost what it
//! saves. Knows nothing of what the bytes mean. Each test marks the high bit of a byte; a borrow
//! can mark wrongly only above a true mark, so the lowest mark is always right.

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

const fn marks_equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// Marks bytes below `bound`, which is at most 0x80.
const fn marks_below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGHS
}

/// Index of the first byte from `from` on for which `marks` (on words) and `is` (on the bytes
/// after the last whole word) hold; the length of `bytes` when there is none.
#[inline]
fn find(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter()
        .position(|&byte| is(byte))
        .map_or(bytes.len(), |index| at + index)
}

/// Index of the first `wanted` byte.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], wanted: u8) -> Option<usize> {
    let at = find(
        bytes,
        0,
        |word| marks_equal(word, wanted),
        |byte| byte == wanted,
    );
    (at < bytes.len()).then_some(at)
}

/// Index of the first byte from `from` on that cannot stand for itself inside a JSON string: a
/// quote, a backslash or a control character; the length of `bytes` when all can.
#[inline]
pub(crate) fn find_json_special(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |word| marks_equal(word, b'"') | marks_equal(word, b'\\') | marks_below(word, 0x20),
        is_json_special,
    )
}

pub(crate) const fn is_json_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_value_is_classified_alike_in_a_word_and_in_the_tail() {
        for byte in 0..=u8::MAX {
            for length in [1, 8, 9, 17] {
                for at in 0..length {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let expected = if is_json_special(byte) { at } else { length };
                    assert_eq!(find_json_special(&bytes, 0), expected, "{byte:#x} at {at}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn word_searches_agree_with_bytewise_ones(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), 0x1e..0x24_u8], 0..80),
            wanted: u8,
            from in 0_usize..90,
        ) {
            prop_assert_eq!(
                find_byte(&bytes, wanted),
                bytes.iter().position(|&byte| byte == wanted)
            );
            let naive = bytes
                .iter()
                .enumerate()
                .skip(from)
                .find(|(_, byte)| is_json_special(**byte))
                .map_or(bytes.len(), |(index, _)| index);
            prop_assert_eq!(find_json_special(&bytes, from), naive);
        }
    }
}
