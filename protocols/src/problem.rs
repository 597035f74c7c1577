//! Problem documents: how HTTP answers say what went wrong (RFC 9457).
//!
//! `type` is always `about:blank`, so `title` is the status's own phrase; `code` is an extension
//! member with a word from [`crate::code`] where one fits, and `request_id` another.

use crate::json::{push_number, push_string};

/// The media type of what [`render`] writes.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Appends a problem document.
pub fn render(out: &mut Vec<u8>, status: u16, title: &str, detail: &str, code: &str) {
    render_to(out, status, title, detail, code, None);
}

/// Appends a problem document for the request of this id, as its `x-request-id` has it.
pub fn render_to(
    out: &mut Vec<u8>,
    status: u16,
    title: &str,
    detail: &str,
    code: &str,
    request: Option<&str>,
) {
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
    push_string(out, title);
    out.extend_from_slice(b",\"status\":");
    push_number(out, u64::from(status));
    out.extend_from_slice(b",\"detail\":");
    push_string(out, detail);
    out.extend_from_slice(b",\"code\":");
    push_string(out, code);
    if let Some(request) = request {
        out.extend_from_slice(b",\"request_id\":");
        push_string(out, request);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_json_object_whatever_its_words_contain() {
        let mut out = Vec::new();
        render_to(
            &mut out,
            415,
            "Unsupported Media Type",
            "got \"a/b\"\n",
            "bad_field",
            Some("42-1"),
        );
        let problem: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Unsupported Media Type", "status": 415,
            "detail": "got \"a/b\"\n", "code": "bad_field", "request_id": "42-1",
        });
        assert_eq!(problem, expected);
    }
}
