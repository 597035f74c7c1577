//! Problem documents: how HTTP answers say what went wrong (RFC 9457).
//!
//! `type` is always `about:blank`, so `title` is the status's own phrase; `code` is an extension
//! member with a word from [`crate::code`] where one fits.

use crate::json::{push_number, push_string};

/// The media type of what [`render`] writes.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Appends a problem document.
pub fn render(out: &mut Vec<u8>, status: u16, title: &str, detail: &str, code: &str) {
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
    push_string(out, title);
    out.extend_from_slice(b",\"status\":");
    push_number(out, u64::from(status));
    out.extend_from_slice(b",\"detail\":");
    push_string(out, detail);
    out.extend_from_slice(b",\"code\":");
    push_string(out, code);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_json_object_whatever_its_words_contain() {
        let mut out = Vec::new();
        render(
            &mut out,
            415,
            "Unsupported Media Type",
            "got \"a/b\"\n",
            "bad_field",
        );
        let problem: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Unsupported Media Type", "status": 415,
            "detail": "got \"a/b\"\n", "code": "bad_field",
        });
        assert_eq!(problem, expected);
    }
}
