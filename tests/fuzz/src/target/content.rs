//! What of a file an answer carries: ranges, codings and conditions, from any header fields.
//!
//! Input: the file's size as eight bytes, then the field, which is tried as each of them. Ranges lie
//! in the file and are together no more than it; a single one is read plainly, too. A coding was
//! named or meant by `*`, and not refused.

use arbitrary::Unstructured;
use roomwire_protocols::content::{
    Coding, Conditions, MAX_RANGES, Ranges, Validators, Verdict, allows_range, choose,
    is_compressible, media_type, ranges,
};

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let size: u64 = input.arbitrary().unwrap_or_default();
    let field = input.take_rest();
    for size in [size, size % 1000, 0] {
        parts(field, size);
    }
    codings(field);
    conditions(field);
    assert!(media_type(field).contains('/'));
    let upper = field.to_ascii_uppercase();
    assert_eq!(is_compressible(field), is_compressible(&upper));
    assert_eq!(media_type(field), media_type(&upper));
}

fn parts(field: &[u8], size: u64) {
    let found = ranges(field, size);
    if let Ranges::Parts(parts) = &found {
        assert!((1..=MAX_RANGES).contains(&parts.len()));
        let lengths = parts.iter().map(|part| {
            assert!(
                part.start < part.end && part.end <= size,
                "{part:?} of {size}"
            );
            u128::from(part.end - part.start)
        });
        assert!(lengths.sum::<u128>() <= u128::from(size));
    }
    let text = std::str::from_utf8(field).ok();
    let Some((first, last)) = text.and_then(|it| it.strip_prefix("bytes=")?.split_once('-')) else {
        return;
    };
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    // Numbers past any file are alike, so that of two such none is the larger.
    let number = |it: &str| u128::from(it.parse().unwrap_or(u64::MAX));
    let size = u128::from(size);
    let (start, end) = match (digits(first), digits(last)) {
        (true, true) if number(first) > number(last) => return assert_eq!(found, Ranges::Whole),
        (true, true) => (number(first), number(last).saturating_add(1).min(size)),
        (true, false) if last.is_empty() => (number(first), size),
        (false, true) if first.is_empty() => (size.saturating_sub(number(last)), size),
        _ => return,
    };
    match found {
        Ranges::Whole => panic!("a range was not understood"),
        Ranges::Unsatisfiable => assert!(start >= end),
        Ranges::Parts(parts) => {
            let [part] = &parts[..] else {
                panic!("{parts:?} of one");
            };
            assert_eq!((part.start.into(), part.end.into()), (start, end));
        }
    }
}

fn codings(field: &[u8]) {
    let lower = field.to_ascii_lowercase();
    for available in [&Coding::ALL[..], &Coding::ALL[1..], &[]] {
        let Some(coding) = choose(field, available) else {
            continue;
        };
        assert!(available.contains(&coding));
        let mut items = lower.split(|byte| *byte == b',');
        let meant = items.any(|item| {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let refused = parts.next() == Some(b"q=0");
            (name == coding.as_str().as_bytes() || name == b"*") && !refused
        });
        assert!(meant, "{coding:?} was not asked for");
    }
}

fn conditions(field: &[u8]) {
    let text = String::from_utf8_lossy(field);
    for etag in ["\"a\"", "W/\"a\"", &text] {
        let modified = field.len() as u64;
        let of = Validators { etag, modified };
        let none = Conditions::default();
        assert_eq!(none.evaluate(of), Verdict::Proceed);
        let wanted = Conditions {
            if_match: Some(field),
            ..none
        };
        assert_ne!(wanted.evaluate(of), Verdict::NotModified);
        let known = Conditions {
            if_none_match: Some(field),
            ..none
        };
        assert_ne!(known.evaluate(of), Verdict::Failed);
        // A strong match is a weak one as well.
        if wanted.evaluate(of) == Verdict::Proceed {
            assert_eq!(known.evaluate(of), Verdict::NotModified);
        }
        assert!(allows_range(field, Some(modified), of));
        if allows_range(field, None, of) && !etag.contains(',') {
            assert_eq!(wanted.evaluate(of), Verdict::Proceed);
        }
    }
}

/// Fields as browsers and players send them, and their edges.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "bytes=0-499",
        "bytes=500-",
        "bytes=-500",
        "bytes=0-0,-1",
        "bytes=5-4",
        "bytes=18446744073709551615-",
        "bytes=0-18446744073709551616",
        "bytes=36893488147419103232-18446744073709551616",
        "BYTES = 0-1 , 1-2",
        "bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-",
        "gzip, deflate, br, zstd",
        "gzip;q=1.000, br;q=0.5, *;q=0",
        "identity;q=0.5, *;q=0.3",
        "*",
        "\"a\"",
        "W/\"a\", \"b\"",
        "style.min.CSS",
        "Text/Event-Stream; charset=utf-8",
        "application/problem+json",
    ];
    texts
        .map(|text| [&[0x10, 0x27, 0, 0, 0, 0, 0, 0], text.as_bytes()].concat())
        .into()
}
