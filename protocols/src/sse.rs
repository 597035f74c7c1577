//! Server-sent events: the stream format of `EventSource` (WHATWG HTML §9.2).
//!
//! Messages have no `event:` field, so that `onmessage` gets them, and their `id` is
//! `epoch:offset`, which comes back as `Last-Event-ID`. Every function appends one whole event.
//! What is in a message: [`crate::event`].

use std::fmt::Display;
use std::io::Write;

use crate::json::push_number;
use crate::line::push_on_one_line;

/// Appends a message with the position after which a reader goes on.
pub fn message(out: &mut Vec<u8>, epoch: &dyn Display, offset: u64, json: &[u8]) {
    out.extend_from_slice(b"id: ");
    write!(out, "{epoch}").ok();
    out.push(b':');
    push_number(out, offset);
    out.push(b'\n');
    data(out, json);
}

/// Appends an event that is no message and does not move the reader's position.
pub fn event(out: &mut Vec<u8>, name: &str, json: &[u8]) {
    out.extend_from_slice(b"event: ");
    push_on_one_line(out, name.as_bytes());
    out.push(b'\n');
    data(out, json);
}

/// Appends a comment, which readers ignore: a sign of life.
pub fn comment(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b": ");
    push_on_one_line(out, text.as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn data(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"data: ");
    push_on_one_line(out, json);
    out.extend_from_slice(b"\n\n");
}

/// Splits `epoch:offset`, as [`message`] writes it. `None` for anything else.
pub fn parse_id(id: &str) -> Option<(&str, u64)> {
    let (epoch, offset) = id.split_once(':')?;
    let digits = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
    if epoch.is_empty() || !digits {
        return None;
    }
    Some((epoch, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_ends_with_one_blank_line_and_has_one_line_of_data() {
        let check = |actual: String, expected: &str| assert_eq!(actual, expected);
        check(
            written(|out| message(out, &"00ff", 7, b"{\"a\":1}")),
            "id: 00ff:7\ndata: {\"a\":1}\n\n",
        );
        check(
            written(|out| message(out, &"e", u64::MAX, b"{\r\n\"a\":\n1}")),
            "id: e:18446744073709551615\ndata: {  \"a\": 1}\n\n",
        );
        check(
            written(|out| event(out, "gap", b"{}")),
            "event: gap\ndata: {}\n\n",
        );
        check(
            written(|out| event(out, "a\nid: 1", b"{}")),
            "event: a id: 1\ndata: {}\n\n",
        );
        check(written(|out| comment(out, "")), ": \n\n");
        check(
            written(|out| comment(out, "a\rdata: forged")),
            ": a data: forged\n\n",
        );
    }

    #[test]
    fn ids_are_read_back_exactly_as_written_or_not_at_all() {
        let check = |id: &str, expected| assert_eq!(parse_id(id), expected, "{id:?}");
        check("00ff:7", Some(("00ff", 7)));
        check("e:18446744073709551615", Some(("e", u64::MAX)));
        check("e:18446744073709551616", None);
        for wrong in [
            "", ":", "e", "e:", ":7", "e:+7", "e:-7", "e: 7", "e:7:8", "e:7 ",
        ] {
            check(wrong, None);
        }
    }
}
