//! Reading server-sent events, as the HTML standard defines them (§9.2.6).
//!
//! Pure: bytes in, events out, whatever way the bytes are cut. Lines end with `\n`, `\r\n` or `\r`; an
//! event is what stands before an empty line. What is unfinished is bounded by a limit in bytes.

use std::collections::VecDeque;

/// One dispatched event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// `event:`; empty for a message.
    pub(super) name: String,
    /// The last `id:` seen, in this event or before it.
    pub(super) id: Option<String>,
    /// The `data:` lines, joined by `\n`.
    pub(super) data: String,
}

/// An event or a line of more bytes than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SseTooLarge;

#[derive(Debug)]
pub(super) struct SseDecoder {
    /// The unfinished line, without its end.
    line: Vec<u8>,
    /// The last byte was `\r`: a `\n` now belongs to it.
    after_cr: bool,
    /// No line has ended yet, so a byte order mark may be there.
    at_start: bool,
    name: String,
    data: String,
    id: Option<String>,
    ready: VecDeque<SseEvent>,
    /// `line`, `data` and `name` together hold no more bytes than this.
    max: usize,
}

impl SseDecoder {
    pub(super) fn new(max: usize) -> Self {
        Self {
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            name: String::new(),
            data: String::new(),
            id: None,
            ready: VecDeque::new(),
            max,
        }
    }

    /// The next finished event.
    pub(super) fn pop(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// Takes what was read. Call [`pop`](Self::pop) until it is empty before the next read: what is
    /// ready is bounded by one read.
    pub(super) fn push(&mut self, mut input: &[u8]) -> Result<(), SseTooLarge> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while let Some(at) = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = input.split_at(at);
            self.extend(head)?;
            self.end_line();
            input = match tail {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.extend(input)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), SseTooLarge> {
        let held = self.line.len() + self.data.len() + self.name.len();
        if held + bytes.len() > self.max {
            return Err(SseTooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = match line.strip_prefix('\u{feff}') {
            Some(rest) if self.at_start => rest,
            _ => &line,
        };
        self.at_start = false;
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // `retry` is not followed: the client has its own backoff. An empty field is a comment.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_some() {
            let id = self.id.clone();
            self.ready.push_back(SseEvent { name, id, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = SseDecoder::new(100);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk).expect("within the limit");
            events.extend(std::iter::from_fn(|| decoder.pop()));
        }
        events
    }

    fn event(name: &str, id: Option<&str>, data: &str) -> SseEvent {
        SseEvent {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        }
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\r\n\r\nid: e:1\ndata: {\"a\":\"\xc3\xa9\"}\n\n\
        event:gap\rdata:one\rdata: two\r\rretry: 5\nevent: none\n\ndata\n\ndata: cut";

    fn expected() -> Vec<SseEvent> {
        vec![
            event("", Some("e:1"), "{\"a\":\"é\"}"),
            event("gap", Some("e:1"), "one\ntwo"),
            event("", Some("e:1"), ""),
        ]
    }

    #[test]
    fn fields_comments_and_every_line_ending_are_understood() {
        assert_eq!(decode(&[STREAM]), expected());
    }

    #[test]
    fn splitting_at_every_byte_gives_the_same_events() {
        for at in 0..=STREAM.len() {
            let (head, tail) = STREAM.split_at(at);
            assert_eq!(decode(&[head, tail]), expected(), "split at {at}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(decode(&bytes), expected());
    }

    #[test]
    fn an_event_over_the_limit_is_an_error() {
        let mut decoder = SseDecoder::new(10);
        assert_eq!(decoder.push(b"data: 1234"), Ok(()));
        assert_eq!(decoder.push(b"5"), Err(SseTooLarge));
        let mut decoder = SseDecoder::new(20);
        for _ in 0..3 {
            decoder.push(b"data: 1234\n").unwrap_or_default();
        }
        assert_eq!(decoder.push(b"data: 1234\n"), Err(SseTooLarge));
    }
}
