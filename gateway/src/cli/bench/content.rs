//! What messages say: bytes that are cheap to check, or JSON that compresses as JSON does.
//!
//! Everything is built before a run. The number of a publication stands behind a mark at a fixed
//! place, so that it is written into a frame that is ready, and found again without parsing.

use clap::ValueEnum;
use serde::Serialize;

/// What stands before the number of a publication.
pub(super) const MARK: &[u8] = b"rwb:";
/// Digits of the number.
pub(super) const DIGITS: usize = 16;
/// The smallest filler that can be told from others: mark, number, and the quotes of a JSON string.
pub(super) const MIN_FILLER: usize = MARK.len() + DIGITS + 2;

const ZEROS: &str = "0000000000000000";
const BEFORE_ID: &str = r#"{"id":"rwb:"#;
const BEFORE_QUOTES: &str = r#"","type":"quotes","quotes":["#;
const BEFORE_NOTE: &str = r#"],"note":""#;
const AFTER_NOTE: &str = r#""}"#;
/// The smallest JSON, without any quotes.
const MIN_JSON: usize =
    BEFORE_ID.len() + DIGITS + BEFORE_QUOTES.len() + BEFORE_NOTE.len() + AFTER_NOTE.len();

const SYMBOLS: [&str; 8] = [
    "ACME", "BOLT", "CRUX", "DYNE", "EPIC", "FLUX", "GAIA", "HELM",
];

/// What a message is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    /// The same few bytes again and again
    Filler,
    /// A JSON object with a list of quotes, whose keys repeat and whose values do not
    Json,
}

/// A payload and where the number of a publication stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) payload: Vec<u8>,
    /// Of the mark.
    pub(super) mark: usize,
}

impl Content {
    /// The fewest bytes that hold a number.
    pub(super) fn least(self) -> usize {
        match self {
            Self::Filler => MIN_FILLER,
            Self::Json => MIN_JSON,
        }
    }

    /// `size` bytes with the number zero; as filler a JSON string where JSON is wanted.
    pub(super) fn numbered(self, size: usize, is_quoted: bool) -> Numbered {
        match self {
            Self::Json => Numbered {
                payload: json(size),
                mark: BEFORE_ID.len() - MARK.len(),
            },
            Self::Filler => {
                let quote = if is_quoted { "\"" } else { "" };
                let mut payload = [quote.as_bytes(), MARK].concat();
                payload.resize(size.saturating_sub(quote.len()), b'0');
                payload.extend_from_slice(quote.as_bytes());
                let mark = quote.len();
                Numbered { payload, mark }
            }
        }
    }

    /// `size` bytes that need no number.
    pub(super) fn plain(self, size: usize, is_quoted: bool) -> Vec<u8> {
        let letters = |size| (b'a'..=b'z').cycle().take(size);
        match self {
            Self::Json => json(size),
            Self::Filler if is_quoted => {
                let inside = letters(size.saturating_sub(2));
                [b'"'].into_iter().chain(inside).chain([b'"']).collect()
            }
            Self::Filler => letters(size).collect(),
        }
    }
}

fn json(size: usize) -> Vec<u8> {
    let mut text = [BEFORE_ID, ZEROS, BEFORE_QUOTES].concat();
    let end = size.saturating_sub(BEFORE_NOTE.len() + AFTER_NOTE.len());
    let mut state = 1_u32;
    let mut random = |below: u32| {
        // The generator of Numerical Recipes, whose high bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let mut comma = "";
    loop {
        let symbol = SYMBOLS.get(random(8) as usize).copied().unwrap_or_default();
        let (whole, cents, volume) = (random(900) + 100, random(100), random(10_000));
        let quote = format!(
            r#"{comma}{{"symbol":"{symbol}","price":{whole}.{cents:02},"volume":{volume}}}"#
        );
        if text.len() + quote.len() > end {
            break;
        }
        text.push_str(&quote);
        comma = ",";
    }
    let note = end.saturating_sub(text.len());
    text.push_str(BEFORE_NOTE);
    text.extend(('a'..='z').cycle().take(note));
    text.push_str(AFTER_NOTE);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use roomwire_protocols::websocket::deflate::{Compressor, Window};

    use super::*;

    #[test]
    fn every_content_has_the_size_that_was_asked_for_and_its_mark_where_it_says() {
        for content in [Content::Filler, Content::Json] {
            for is_quoted in [true, false] {
                for size in [content.least(), 512, 4096] {
                    let Numbered { payload, mark } = content.numbered(size, is_quoted);
                    assert_eq!(payload.len(), size, "{content:?}");
                    assert!(payload[mark..].starts_with(MARK));
                    assert_eq!(&payload[mark + MARK.len()..][..DIGITS], ZEROS.as_bytes());
                    assert_eq!(content.plain(size, is_quoted).len(), size);
                    if is_quoted || content == Content::Json {
                        let parse = serde_json::from_slice::<serde_json::Value>;
                        assert!(parse(&payload).is_ok());
                        assert!(parse(&content.plain(size, is_quoted)).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn json_shrinks_as_json_does() {
        let mut out = Vec::new();
        let payload = Content::Json.plain(512, true);
        assert!(Compressor::new(1, 0).compress(&payload, Window::Bits15, &mut out));
        assert!((130..=260).contains(&out.len()), "{}", out.len());
    }
}
