//! Conditional requests (RFC 9110 §13): whether the client's copy is still good.

/// What tells one state of a representation from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The entity tag with its quotes, and `W/` before it where it is weak.
    pub etag: &'a str,
    /// When it was modified last, in seconds since 1970.
    pub modified: u64,
}

/// The conditions of a request: fields as they are, and dates that could be read, in seconds since
/// 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// `If-Match`.
    pub if_match: Option<&'a [u8]>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<u64>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<u64>,
}

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They hold: answer as without them.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client wanted another state.
    Failed,
}

impl Conditions<'_> {
    /// Evaluates the conditions in the order of §13.2.2.
    pub fn evaluate(&self, of: Validators<'_>) -> Verdict {
        if let Some(tags) = self.if_match {
            let strong = !of.etag.starts_with("W/");
            if !(any_tag(tags, |tag| strong && tag == of.etag.as_bytes())) {
                return Verdict::Failed;
            }
        } else if self
            .if_unmodified_since
            .is_some_and(|since| of.modified > since)
        {
            return Verdict::Failed;
        }
        if let Some(tags) = self.if_none_match {
            let same = |tag: &[u8]| opaque(tag) == opaque(of.etag.as_bytes());
            if any_tag(tags, same) {
                return Verdict::NotModified;
            }
        } else if self
            .if_modified_since
            .is_some_and(|since| of.modified <= since)
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }
}

/// `If-Range` (§13.1.5): whether a range may be answered by a part. `date` is the field read as a date.
pub fn allows_range(field: &[u8], date: Option<u64>, of: Validators<'_>) -> bool {
    let strong = !of.etag.starts_with("W/");
    match date {
        Some(date) => date == of.modified,
        None => strong && field.trim_ascii() == of.etag.as_bytes(),
    }
}

/// Whether one of a field's tags is as wanted; `*` is every tag.
fn any_tag(field: &[u8], wanted: impl Fn(&[u8]) -> bool) -> bool {
    // A comma inside of a tag cuts it into parts that are no tags, so it fits nothing of ours.
    let mut tags = field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    field.trim_ascii() == b"*" || tags.any(wanted)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRONG: Validators<'static> = Validators {
        etag: "\"a\"",
        modified: 1000,
    };
    const WEAK: Validators<'static> = Validators {
        etag: "W/\"a\"",
        modified: 1000,
    };

    #[test]
    fn tags_count_before_dates() {
        let check = |conditions: Conditions<'_>, strong, weak| {
            assert_eq!(conditions.evaluate(STRONG), strong, "{conditions:?}");
            assert_eq!(conditions.evaluate(WEAK), weak, "{conditions:?} weak");
        };
        use Verdict::{Failed, NotModified, Proceed};
        let none = Conditions::default();
        check(none, Proceed, Proceed);
        for field in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", " \"a\" "] {
            let if_none_match = Some(field.as_bytes());
            let conditions = Conditions {
                if_none_match,
                ..none
            };
            check(conditions, NotModified, NotModified);
        }
        for field in ["\"b\"", "a", "", "\"a"] {
            let conditions = Conditions {
                if_none_match: Some(field.as_bytes()),
                if_modified_since: Some(2000),
                ..none
            };
            check(conditions, Proceed, Proceed);
        }
        for (since, expected) in [(999, Proceed), (1000, NotModified), (1001, NotModified)] {
            let conditions = Conditions {
                if_modified_since: Some(since),
                ..none
            };
            check(conditions, expected, expected);
        }
        for (field, strong, weak) in [
            ("\"a\"", Proceed, Failed),
            ("W/\"a\"", Failed, Failed),
            ("\"b\"", Failed, Failed),
            ("*", Proceed, Proceed),
        ] {
            let conditions = Conditions {
                if_match: Some(field.as_bytes()),
                if_unmodified_since: Some(1),
                ..none
            };
            check(conditions, strong, weak);
        }
        for (since, expected) in [(999, Failed), (1000, Proceed)] {
            let conditions = Conditions {
                if_unmodified_since: Some(since),
                ..none
            };
            check(conditions, expected, expected);
        }
    }

    #[test]
    fn a_part_is_for_who_has_the_rest_of_the_same_state() {
        assert!(allows_range(b"\"a\"", None, STRONG));
        assert!(!allows_range(b"\"b\"", None, STRONG));
        assert!(!allows_range(b"W/\"a\"", None, WEAK));
        assert!(!allows_range(b"\"a\"", None, WEAK));
        assert!(allows_range(b"-", Some(1000), STRONG));
        assert!(!allows_range(b"-", Some(1001), STRONG));
    }
}
