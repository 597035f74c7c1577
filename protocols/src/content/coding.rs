//! `Accept-Encoding` (RFC 9110 §12.5.3): how an answer may be compressed.

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding, those first that are taken where the client wants none more than another.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The word in `Accept-Encoding` and `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of a file in this coding ends in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The coding of `available` that the client wants most, earlier ones where it wants several alike;
/// `None` where it wants none more than no coding at all.
pub fn choose(field: &[u8], available: &[Coding]) -> Option<Coding> {
    let plain = weight(field, b"identity").unwrap_or(1);
    let mut best = None;
    for coding in available {
        let word = coding.as_str().as_bytes();
        let wanted = weight(field, word).or_else(|| weight(field, b"*"));
        let wanted = wanted.unwrap_or(0);
        let wins = best.is_none_or(|(_, most)| wanted > most);
        if wanted > 0 && wins && wanted >= plain {
            best = Some((*coding, wanted));
        }
    }
    best.map(|(coding, _)| coding)
}

/// How much the field wants a coding, in thousandths; `None` where it does not name it.
fn weight(field: &[u8], coding: &[u8]) -> Option<u16> {
    field.split(|byte| *byte == b',').find_map(|item| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        if !name.eq_ignore_ascii_case(coding) {
            return None;
        }
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_at_checked(2)?;
            name.eq_ignore_ascii_case(b"q=").then_some(value)
        });
        Some(quality.map_or(1000, thousandths))
    })
}

/// RFC 9110 §12.4.2: `0`, `1`, and up to three digits behind the point; nothing else is wanted.
fn thousandths(value: &[u8]) -> u16 {
    let (whole, rest) = match value {
        [whole @ (b'0' | b'1'), rest @ ..] => (u16::from(*whole - b'0'), rest),
        _ => return 0,
    };
    let digits = match rest {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return 0,
    };
    let mut thousandths = whole * 1000;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit - b'0') * worth;
    }
    thousandths.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_that_is_wanted_most_is_taken() {
        let check = |field: &str, expected: Option<Coding>| {
            assert_eq!(choose(field.as_bytes(), &Coding::ALL), expected, "{field}");
        };
        check("", None);
        check("gzip", Some(Coding::Gzip));
        check("gzip, deflate, br, zstd", Some(Coding::Brotli));
        check("GZIP;q=1.0, br;q=0.5, identity;q=0.1", Some(Coding::Gzip));
        check("br;q=0.5, gzip;q=0.5, identity;q=0.5", Some(Coding::Brotli));
        check("*", Some(Coding::Brotli));
        check("*, br;q=0", Some(Coding::Zstd));
        check("br;q=0, gzip;q=0, *;q=0", None);
        check("identity", None);
        check("identity, gzip;q=0.5", None);
        check("identity;q=0, gzip;q=0.001", Some(Coding::Gzip));
        check("deflate", None);
        check("gzip;q=x, br;q=2", None);
        check("gzip;q=0.1234", None);
        check("x-gzip", None);
        assert_eq!(choose(b"br", &[Coding::Gzip]), None);
    }

    #[test]
    fn a_coding_with_a_weight_below_one_is_taken_over_an_unnamed_plain_one() {
        assert_eq!(choose(b"gzip;q=0.5", &Coding::ALL), Some(Coding::Gzip));
    }
}
