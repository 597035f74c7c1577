//! Patterns over dot-separated room names, as NATS subjects are matched.
//!
//! `*` stands for exactly one token, a last token `>` for one or more. Anything else stands for
//! itself. This file owns one pattern and its matching; `trie` finds all patterns that match a
//! name, `table` is the hub's shared record of who subscribed to which. Length and characters of a
//! subject are the caller's to check.

mod table;
mod trie;

use std::fmt;
use std::str::FromStr;

pub(crate) use table::{Matching, PatternTable, TooManyPatterns};
pub(crate) use trie::Trie;

/// Whether a subject is a pattern: a token of it is `*`, or its last token is `>`.
pub(crate) fn is_pattern(subject: &str) -> bool {
    let mut tokens = subject.split('.');
    tokens.next_back() == Some(">") || subject.split('.').any(|token| token == "*")
}

/// A pattern, or a plain name that matches only itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern covers a room of this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut wanted = self.0.split('.').peekable();
        let mut tokens = name.split('.');
        while let Some(want) = wanted.next() {
            let Some(token) = tokens.next() else {
                return false;
            };
            if want == ">" && wanted.peek().is_none() {
                return true;
            }
            if want != "*" && want != token {
                return false;
            }
        }
        tokens.next().is_none()
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is nothing in it.
    Empty,
    /// A token `>` stands before the last one.
    TailNotLast,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a pattern is at least one character long",
            Self::TailNotLast => "`>` may only be the last token of a pattern",
        })
    }
}

impl std::error::Error for PatternError {}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut tokens = text.split('.');
        tokens.next_back();
        if tokens.any(|token| token == ">") {
            return Err(PatternError::TailNotLast);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, pattern, whether it matches.
    pub(super) const CASES: &[(&str, &str, bool)] = &[
        ("news", "news", true),
        ("news", "new", false),
        ("news", "*", true),
        ("news", ">", true),
        ("news.a", "*", false),
        ("news.a", ">", true),
        ("news.a", "news.*", true),
        ("news.a.b", "news.*", false),
        ("news.a.b", "news.>", true),
        ("news", "news.>", false),
        ("news", "news.*", false),
        ("news.a.b", "news.*.b", true),
        ("news.a.b", "*.*.*", true),
        ("news.a.b", "*.a.>", true),
        ("news.a", "*.a.>", false),
        ("news.a.b", "*.b.>", false),
        ("news.star", "news.*tar", false),
        ("news.*tar", "news.*tar", true),
        ("a..b", "a.*.b", true),
        ("a.", "a.*", true),
        ("a.", "a.>", true),
        (".", "*.*", true),
        ("", "*", true),
        ("a.b", "a.b.>", false),
    ];

    #[test]
    fn a_star_is_one_token_and_a_tail_is_one_or_more() {
        for &(name, pattern, expected) in CASES {
            let parsed: Pattern = pattern.parse().expect("the table holds patterns");
            assert_eq!(parsed.matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_tail_anywhere_but_last_is_refused() {
        assert_eq!("a.>.b".parse::<Pattern>(), Err(PatternError::TailNotLast));
        assert_eq!(">.>".parse::<Pattern>(), Err(PatternError::TailNotLast));
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert!("a.b>.c".parse::<Pattern>().is_ok());
    }

    #[test]
    fn only_whole_tokens_make_a_subject_a_pattern() {
        for (subject, expected) in [
            ("a.*", true),
            ("*", true),
            (">", true),
            ("a.>", true),
            ("a.*.b", true),
            ("a.b*", false),
            ("a>", false),
            (">.a", false),
            ("plain", false),
        ] {
            assert_eq!(is_pattern(subject), expected, "{subject}");
        }
    }
}
