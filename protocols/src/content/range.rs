//! `Range` (RFC 9110 §14.2): which bytes of a representation are wanted.

use std::ops::Range;

/// Ranges that one request may ask for. Chosen: players and readers of archives ask for one to three;
/// more are what makes a small request cost much.
pub const MAX_RANGES: usize = 16;

/// What a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// Everything: the field is not understood, or asks for more than there is.
    Whole,
    /// Nothing of it exists.
    Unsatisfiable,
    /// These bytes, in the order in which they were asked for; at least one, none empty.
    Parts(Vec<Range<u64>>),
}

/// Reads a `Range` field for a representation of `size` bytes.
pub fn ranges(field: &[u8], size: u64) -> Ranges {
    parse(field, size).unwrap_or(Ranges::Whole)
}

fn parse(field: &[u8], size: u64) -> Option<Ranges> {
    let text = std::str::from_utf8(field).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in set.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        count += 1;
        if count > MAX_RANGES {
            return None;
        }
        parts.extend(part(spec, size)?);
    }
    if count == 0 {
        return None;
    }
    if parts.is_empty() {
        return Some(Ranges::Unsatisfiable);
    }
    // §14.2: a server may ignore ranges that overlap; together they are not worth more than the whole.
    let wanted = parts.iter().map(|part| part.end - part.start);
    let wanted = wanted.fold(0_u64, u64::saturating_add);
    (wanted <= size).then_some(Ranges::Parts(parts))
}

/// One range; nothing where it begins behind the end. `None` where it is none.
fn part(spec: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some((length > 0).then(|| size - length..size));
    }
    let first = number(first)?;
    let end = if last.is_empty() {
        size
    } else {
        let last = number(last)?;
        if last < first {
            return None;
        }
        last.saturating_add(1).min(size)
    };
    Some((first < end).then_some(first..end))
}

/// `1*DIGIT`; a number too large for us is behind every end.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is what is meant"
)]
mod tests {
    use super::*;

    fn check(field: &str, expected: Ranges) {
        assert_eq!(ranges(field.as_bytes(), 100), expected, "{field}");
    }

    fn parts(parts: &[Range<u64>]) -> Ranges {
        Ranges::Parts(parts.to_vec())
    }

    #[test]
    fn a_range_is_first_and_last_or_a_suffix() {
        check("bytes=0-0", parts(&[0..1]));
        check("bytes=0-99", parts(&[0..100]));
        check("bytes=10-", parts(&[10..100]));
        check("bytes=-10", parts(&[90..100]));
        check("bytes=-1000", parts(&[0..100]));
        check("bytes=90-1000", parts(&[90..100]));
        check("Bytes = 1-2", parts(&[1..3]));
        check("bytes=1-18446744073709551615", parts(&[1..100]));
        check("bytes=1-99999999999999999999", parts(&[1..100]));
    }

    #[test]
    fn several_ranges_keep_their_order() {
        check("bytes=50-59, 0-9,-5", parts(&[50..60, 0..10, 95..100]));
        check("bytes=0-9,,200-300,", parts(&[0..10]));
    }

    #[test]
    fn what_does_not_exist_is_unsatisfiable() {
        check("bytes=100-", Ranges::Unsatisfiable);
        check("bytes=-0", Ranges::Unsatisfiable);
        check("bytes=200-300,400-", Ranges::Unsatisfiable);
        assert_eq!(ranges(b"bytes=0-", 0), Ranges::Unsatisfiable);
    }

    #[test]
    fn what_is_not_understood_or_asks_for_too_much_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=1 - 2",
            "lines=1-2",
            "bytes=0-99,0-99",
        ] {
            check(field, Ranges::Whole);
        }
        let many = format!("bytes={}", "0-0,".repeat(17));
        check(&many, Ranges::Whole);
    }
}
