//! The client's two pure parsers: a server's event stream, and the URL that a person typed.
//!
//! Both are files of the gateway's crate, taken as they are. Input: the limit, the cut, and the
//! stream, which is also tried as a URL. The pieces in which an event stream comes change nothing;
//! a URL that was read is read back from what it shows as itself.

use roomwire_protocols::{json, sse as writer};

use crate::target::pieces;
use sse::{SseDecoder, SseEvent};
use url::ServerUrl;

#[allow(dead_code, reason = "only a part is called here")]
#[path = "../../../gateway/src/client/transport/sse.rs"]
mod sse;
#[allow(dead_code, reason = "only a part is called here")]
#[path = "../../../gateway/src/client/url.rs"]
mod url;

/// Checks one input.
pub fn run(data: &[u8]) {
    let (settings, stream) = data.split_at(data.len().min(2));
    let setting = |index: usize| settings.get(index).copied().unwrap_or_default();
    let max = 4 * usize::from(setting(0));
    let whole = decode(stream, max, 0);
    for cut in [1, setting(1)] {
        assert_eq!(decode(stream, max, cut), whole, "cut by {cut}");
    }
    let text = String::from_utf8_lossy(stream);
    what_is_written_is_read(&text, setting(1));
    if let Ok(url) = text.parse::<ServerUrl>() {
        assert!(!url.host().is_empty() && url.port() != 0);
        assert_eq!(url.to_string().parse::<ServerUrl>().ok(), Some(url));
    }
}

/// The events, and whether something was too large.
fn decode(stream: &[u8], max: usize, cut: u8) -> (Vec<SseEvent>, bool) {
    let mut decoder = SseDecoder::new(max);
    let mut events = Vec::new();
    for piece in pieces(&mut stream.to_vec(), cut) {
        let pushed = decoder.push(piece);
        events.extend(std::iter::from_fn(|| decoder.pop()));
        if pushed.is_err() {
            return (events, true);
        }
    }
    (events, false)
}

fn what_is_written_is_read(text: &str, cut: u8) {
    let mut string = Vec::new();
    json::push_string(&mut string, text);
    let mut out = Vec::new();
    writer::comment(&mut out, text);
    writer::event(&mut out, "gap", &string);
    writer::message(&mut out, &"e", 7, &string);
    let (events, too_large) = decode(&out, out.len(), cut);
    assert!(!too_large);
    let read: Vec<_> = events
        .iter()
        .map(|it| (&it.name[..], it.id.as_deref()))
        .collect();
    assert_eq!(read, [("gap", None), ("", Some("e:7"))]);
    for event in events {
        assert_eq!(json::unescape(event.data.as_bytes()).as_deref(), Some(text));
    }
}

/// Streams with every kind of line end, and every kind of URL.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "id: e:1\ndata: {\"a\":1}\n\n: hello\n\nevent: gap\r\ndata: {}\r\n\r\ndata\rdata:x\r\r",
        "\u{feff}data: a\n\nid\n\ndata: \u{0}\nid: \u{0}\nretry: 5\n\n",
        "ws://localhost:8080/ws?x=1",
        "wss://[::1]:8443",
        "tcp://127.0.0.1:7000",
        "udp://h/",
        "https://h:2/prefix/",
        "ws://me@h/",
    ];
    texts
        .map(|text| [b"\xff\x03", text.as_bytes()].concat())
        .into()
}
