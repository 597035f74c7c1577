//! RFC 9113 and RFC 7541 frame by frame, in clear and over TLS: what is answered, and with which error
//! code a stream or a connection ends. The sections are those that h2spec goes through.

use roomwire::config::Config;
use roomwire_tests::{Frame, Frames, TestGateway, field};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Flags: END_STREAM (or ACK), END_HEADERS, PADDED, PRIORITY.
const ES: u8 = 1;
const EH: u8 = 4;
const PAD: u8 = 8;
const PRIO: u8 = 0x20;

/// Error codes (RFC 9113 §7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

/// What is to happen.
#[derive(Clone, Debug)]
enum Expected {
    /// The stream is answered, and the connection goes on.
    Answer(u32),
    /// Nothing in particular, but the connection goes on.
    Nothing,
    /// A ping is answered by these bytes.
    Pong([u8; 8]),
    /// The stream, or the connection, ends with this code.
    Stream(u32),
    /// The connection ends with one of these codes.
    Connection(&'static [u32]),
}

use Expected::{Answer, Connection, Nothing, Pong, Stream};

fn f(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload).bytes()
}

/// The fields of `GET /healthz`, written without a table.
fn fields(method: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", "/healthz"),
        field(":authority", "localhost"),
    ]
    .concat()
}

fn get(stream: u32) -> Vec<u8> {
    f(HEADERS, ES | EH, stream, &fields("GET"))
}

/// A request whose body does not come, so that nothing is answered.
fn post(stream: u32) -> Vec<u8> {
    let fields = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/v1/rooms/conformance/messages"),
        field(":authority", "localhost"),
        field("content-type", "application/json"),
    ];
    f(HEADERS, EH, stream, &fields.concat())
}

fn post_of(length: &str) -> Vec<u8> {
    let fields = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/v1/rooms/conformance/messages"),
        field(":authority", "localhost"),
        field("content-type", "application/json"),
        field("content-length", length),
    ];
    f(HEADERS, EH, 1, &fields.concat())
}

/// `GET` with these fields as well.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = fields("GET");
    for (name, value) in more {
        block.extend(field(name, value));
    }
    f(HEADERS, ES | EH, 1, &block)
}

/// A request of these fields and no others.
fn only(all: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = all
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    f(HEADERS, ES | EH, 1, &block)
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn rst(stream: u32, code: u32) -> Vec<u8> {
    f(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    f(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn priority(of: u32, on: u32) -> Vec<u8> {
    f(PRIORITY, 0, of, &[&on.to_be_bytes()[..], &[16]].concat())
}

fn block(bytes: &[u8]) -> Vec<u8> {
    f(HEADERS, ES | EH, 1, &[&fields("GET"), bytes].concat())
}

/// The clause, what is sent, and what is to happen.
#[rustfmt::skip]
fn cases() -> Vec<(&'static str, Vec<Vec<u8>>, Expected)> {
    let (head, rest) = (fields("GET"), fields("GET").split_off(20));
    let head = &head[..20];
    let data = |flags, stream, payload: &[u8]| f(DATA, flags, stream, payload);
    let json: &[u8] = b"{\"data\":1}";
    let all = [(":method", "GET"), (":scheme", "http"), (":path", "/healthz"), (":authority", "localhost")];
    let without = |name: &str| {
        let left: Vec<_> = all.iter().copied().filter(|(it, _)| *it != name).collect();
        only(&left)
    };
    vec![
        // What every client does.
        ("§8.1 GET", vec![get(1)], Answer(1)),
        ("§8.1 HEAD", vec![f(HEADERS, ES | EH, 1, &fields("HEAD"))], Answer(1)),
        ("§8.1 POST", vec![post_of("10"), data(ES, 1, json)], Answer(1)),
        ("§8.1 POST in pieces", vec![post(1), data(0, 1, b"{\"data"), data(ES, 1, b"\":1}")], Answer(1)),
        ("§8.1 trailers", vec![post(1), data(0, 1, json), f(HEADERS, ES | EH, 1, &field("x", "y"))], Answer(1)),
        ("§6.1 padded DATA", vec![post(1), data(ES | PAD, 1, &[&[2], json, &[0, 0]].concat())], Answer(1)),
        ("§6.2 padded HEADERS", vec![f(HEADERS, ES | EH | PAD, 1, &[&[3], &fields("GET")[..], &[0; 3]].concat())], Answer(1)),
        ("§6.2 HEADERS with priority", vec![f(HEADERS, ES | EH | PRIO, 1, &[&[0, 0, 0, 0, 255], &fields("GET")[..]].concat())], Answer(1)),
        ("§6.3 PRIORITY of idle streams", vec![priority(1, 0), priority(7, 5), get(9)], Answer(9)),
        ("§6.3 exclusive PRIORITY", vec![priority(1, 1 << 31), get(1)], Answer(1)),
        ("§6.4 RST_STREAM", vec![post(1), rst(1, 8), get(3)], Answer(3)),
        ("§6.5 SETTINGS", vec![f(SETTINGS, 0, 0, &setting(3, 100)), get(1)], Answer(1)),
        ("§6.7 PING", vec![f(PING, 0, 0, b"conforms")], Pong(*b"conforms")),
        ("§6.8 GOAWAY", vec![get(1), f(GOAWAY, 0, 0, &[0; 8])], Answer(1)),
        ("§6.9 WINDOW_UPDATE", vec![update(0, 1), get(1), update(1, 1)], Answer(1)),
        ("§6.10 CONTINUATION", vec![f(HEADERS, ES, 1, head), f(CONTINUATION, EH, 1, &rest)], Answer(1)),
        ("§6.10 CONTINUATION in pieces", vec![f(HEADERS, ES, 1, head), f(CONTINUATION, 0, 1, &rest[..10]), f(CONTINUATION, EH, 1, &rest[10..])], Answer(1)),
        ("RFC 7541 §6.1 indexed", vec![f(HEADERS, ES | EH, 1, &[0x82, 0x86, 0x84, 1, 9, b'l', b'o', b'c', b'a', b'l', b'h', b'o', b's', b't'])], Answer(1)),
        ("RFC 7541 §6.2.1 incremental", vec![block(b"\x40\x01x\x01y\xbe")], Answer(1)),
        ("RFC 7541 §6.2.3 never indexed", vec![block(b"\x10\x01x\x01y")], Answer(1)),
        ("RFC 7541 §5.2 Huffman", vec![block(b"\x00\x01x\x82\x18\xc7")], Answer(1)),
        ("RFC 7541 §6.3 size update", vec![f(HEADERS, ES | EH, 1, &[&[0x20, 0x3f, 0xe1, 0x1f], &fields("GET")[..]].concat())], Answer(1)),
        // §4, §5.
        ("§4.1 unknown type", vec![f(0x16, 0, 0, b"unknown!"), f(PING, 0, 0, b"conforms")], Pong(*b"conforms")),
        ("§4.1 unknown flags", vec![f(PING, 0x16, 0, b"conforms")], Pong(*b"conforms")),
        ("§4.1 reserved bit", vec![f(PING, 0, 1 << 31, b"conforms")], Pong(*b"conforms")),
        ("§4.2 DATA over the limit", vec![post(1), data(ES, 1, &[b' '; 16_385])], Connection(&[FRAME_SIZE])),
        ("§4.2 HEADERS over the limit", vec![f(HEADERS, ES | EH, 1, &[0; 16_385])], Connection(&[FRAME_SIZE])),
        ("§4.3 a block that is none", vec![block(&[0x40])], Connection(&[COMPRESSION, PROTOCOL])),
        ("§4.3 PRIORITY within a block", vec![f(HEADERS, ES, 1, head), priority(1, 0)], Connection(&[PROTOCOL])),
        ("§4.3 another stream's HEADERS within a block", vec![f(HEADERS, ES, 1, head), get(3)], Connection(&[PROTOCOL])),
        ("§5.1 DATA when idle", vec![data(ES, 1, b"x")], Connection(&[PROTOCOL])),
        ("§5.1 RST_STREAM when idle", vec![rst(1, 8)], Connection(&[PROTOCOL])),
        ("§5.1 WINDOW_UPDATE when idle", vec![update(1, 1)], Connection(&[PROTOCOL])),
        ("§5.1 CONTINUATION when idle", vec![f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§5.1 DATA when half closed", vec![get(1), data(ES, 1, b"x")], Stream(STREAM_CLOSED)),
        ("§5.1 HEADERS when half closed", vec![get(1), get(1)], Stream(STREAM_CLOSED)),
        ("§5.1 CONTINUATION when half closed", vec![get(1), f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§5.1 DATA after RST_STREAM", vec![post(1), rst(1, 8), data(ES, 1, b"x")], Stream(STREAM_CLOSED)),
        ("§5.1 HEADERS after RST_STREAM", vec![post(1), rst(1, 8), get(1)], Stream(STREAM_CLOSED)),
        ("§5.1 CONTINUATION after RST_STREAM", vec![post(1), rst(1, 8), f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§5.1 PRIORITY when closed", vec![get(1), rst(1, 8), priority(1, 0), get(3)], Answer(3)),
        ("§5.1.1 an even stream", vec![get(2)], Connection(&[PROTOCOL])),
        ("§5.1.1 a smaller stream", vec![get(5), get(3)], Connection(&[PROTOCOL])),
        ("§5.3.1 PRIORITY on itself", vec![priority(1, 1)], Stream(PROTOCOL)),
        ("§5.3.1 HEADERS on itself", vec![f(HEADERS, ES | EH | PRIO, 1, &[&[0, 0, 0, 1, 16], &fields("GET")[..]].concat())], Stream(PROTOCOL)),
        ("§5.5 an unknown frame within a block", vec![f(HEADERS, ES, 1, head), f(0x16, 0, 0, b"unknown!")], Connection(&[PROTOCOL])),
        // §6, by type of frame.
        ("§6.1 DATA on the connection", vec![data(ES, 0, b"x")], Connection(&[PROTOCOL])),
        ("§6.1 more padding than DATA", vec![post(1), data(ES | PAD, 1, &[6, 0, 0, 0, 0, 0])], Connection(&[PROTOCOL])),
        ("§6.2 HEADERS on the connection", vec![get(0)], Connection(&[PROTOCOL])),
        ("§6.2 more padding than HEADERS", vec![f(HEADERS, ES | EH | PAD, 1, &[9, 0x82])], Connection(&[PROTOCOL])),
        ("§6.3 PRIORITY on the connection", vec![priority(0, 1)], Connection(&[PROTOCOL])),
        ("§6.3 PRIORITY of 4 bytes", vec![f(PRIORITY, 0, 1, &[0; 4])], Stream(FRAME_SIZE)),
        ("§6.4 RST_STREAM on the connection", vec![rst(0, 8)], Connection(&[PROTOCOL])),
        ("§6.4 RST_STREAM of 3 bytes", vec![post(1), f(RST_STREAM, 0, 1, &[0; 3])], Connection(&[FRAME_SIZE])),
        ("§6.5 SETTINGS ACK with a payload", vec![f(SETTINGS, ES, 0, &setting(3, 1))], Connection(&[FRAME_SIZE])),
        ("§6.5 SETTINGS on a stream", vec![f(SETTINGS, 0, 1, &setting(3, 1))], Connection(&[PROTOCOL])),
        ("§6.5 SETTINGS of 3 bytes", vec![f(SETTINGS, 0, 0, &[0, 3, 0])], Connection(&[FRAME_SIZE])),
        ("§6.5.2 ENABLE_PUSH 2", vec![f(SETTINGS, 0, 0, &setting(2, 2))], Connection(&[PROTOCOL])),
        ("§6.5.2 INITIAL_WINDOW_SIZE 2^31", vec![f(SETTINGS, 0, 0, &setting(4, 1 << 31))], Connection(&[FLOW_CONTROL, PROTOCOL])),
        ("§6.5.2 MAX_FRAME_SIZE 16383", vec![f(SETTINGS, 0, 0, &setting(5, 16_383))], Connection(&[PROTOCOL])),
        ("§6.5.2 MAX_FRAME_SIZE 2^24", vec![f(SETTINGS, 0, 0, &setting(5, 1 << 24))], Connection(&[PROTOCOL])),
        ("§6.5.2 an unknown setting", vec![f(SETTINGS, 0, 0, &setting(0xff, 1)), get(1)], Answer(1)),
        ("§6.5.3 the last value counts", vec![f(SETTINGS, 0, 0, &[setting(4, 0), setting(4, 100)].concat()), get(1)], Answer(1)),
        ("§6.7 an answer to no PING", vec![f(PING, ES, 0, b"no, none"), f(PING, 0, 0, b"conforms")], Pong(*b"conforms")),
        ("§6.7 PING on a stream", vec![f(PING, 0, 1, &[0; 8])], Connection(&[PROTOCOL])),
        ("§6.7 PING of 6 bytes", vec![f(PING, 0, 0, &[0; 6])], Connection(&[FRAME_SIZE])),
        ("§6.8 GOAWAY on a stream", vec![f(GOAWAY, 0, 1, &[0; 8])], Connection(&[PROTOCOL])),
        ("§6.9 WINDOW_UPDATE by 0", vec![update(0, 0)], Connection(&[PROTOCOL])),
        ("§6.9 WINDOW_UPDATE by 0 of a stream", vec![post(1), update(1, 0)], Stream(PROTOCOL)),
        ("§6.9 WINDOW_UPDATE of 3 bytes", vec![f(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], Connection(&[FRAME_SIZE])),
        ("§6.9.1 a window over 2^31-1", vec![update(0, (1 << 31) - 1), update(0, (1 << 31) - 1)], Connection(&[FLOW_CONTROL])),
        ("§6.9.1 a stream's window over 2^31-1", vec![post(1), update(1, (1 << 31) - 1), update(1, (1 << 31) - 1)], Stream(FLOW_CONTROL)),
        ("§6.10 CONTINUATION behind a whole block", vec![post(1), f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§6.10 CONTINUATION behind the last", vec![f(HEADERS, 0, 1, head), f(CONTINUATION, EH, 1, &rest), f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§6.10 CONTINUATION on the connection", vec![f(HEADERS, ES, 1, head), f(CONTINUATION, EH, 0, &rest)], Connection(&[PROTOCOL])),
        ("§6.10 CONTINUATION of another stream", vec![f(HEADERS, ES, 1, head), f(CONTINUATION, EH, 3, &rest)], Connection(&[PROTOCOL])),
        ("§6.10 CONTINUATION behind DATA", vec![post(1), data(0, 1, b"x"), f(CONTINUATION, EH, 1, head)], Connection(&[PROTOCOL])),
        ("§7 an unknown code in GOAWAY", vec![f(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])], Nothing),
        ("§7 an unknown code in RST_STREAM", vec![post(1), rst(1, 0xff), f(PING, 0, 0, b"conforms")], Pong(*b"conforms")),
        // §8: requests.
        ("§8.1 trailers that end nothing", vec![post(1), f(HEADERS, EH, 1, &field("x", "y"))], Stream(PROTOCOL)),
        ("§8.1 trailers that end nothing, behind an answer", vec![f(HEADERS, EH, 1, &fields("POST")), f(HEADERS, EH, 1, &field("x", "y"))], Stream(PROTOCOL)),
        ("§8.2.1 upper case", vec![with(&[("X-Test", "y")])], Stream(PROTOCOL)),
        ("§8.2.2 connection", vec![with(&[("connection", "keep-alive")])], Stream(PROTOCOL)),
        ("§8.2.2 transfer-encoding", vec![with(&[("transfer-encoding", "chunked")])], Stream(PROTOCOL)),
        ("§8.2.2 te", vec![with(&[("te", "trailers, deflate")])], Stream(PROTOCOL)),
        ("§8.2.2 te: trailers", vec![with(&[("te", "trailers")])], Answer(1)),
        ("§8.3 an unknown pseudo-header", vec![with(&[(":test", "y")])], Stream(PROTOCOL)),
        ("§8.3 an answer's pseudo-header", vec![with(&[(":status", "200")])], Stream(PROTOCOL)),
        // RFC 9113 §8.3 wants it refused; h2 drops it, and only who decodes HPACK could tell.
        ("§8.3 a pseudo-header among trailers", vec![post(1), data(0, 1, json), f(HEADERS, ES | EH, 1, &field(":method", "GET"))], Answer(1)),
        ("§8.3 a pseudo-header behind others", vec![only(&[all[0], all[1], all[2], ("x", "y"), all[3]])], Stream(PROTOCOL)),
        ("§8.3.1 an empty :path", vec![only(&[all[0], all[1], (":path", ""), all[3]])], Stream(PROTOCOL)),
        ("§8.3.1 no :method", vec![without(":method")], Stream(PROTOCOL)),
        ("§8.3.1 no :scheme", vec![without(":scheme")], Stream(PROTOCOL)),
        ("§8.3.1 no :path", vec![without(":path")], Stream(PROTOCOL)),
        ("§8.3.1 two :method", vec![with(&[(":method", "GET")])], Stream(PROTOCOL)),
        ("§8.3.1 two :scheme", vec![with(&[(":scheme", "http")])], Stream(PROTOCOL)),
        ("§8.3.1 two :path", vec![with(&[(":path", "/")])], Stream(PROTOCOL)),
        ("§8.1.1 less than content-length", vec![post_of("11"), data(ES, 1, json)], Stream(PROTOCOL)),
        ("§8.1.1 more than content-length", vec![post_of("9"), data(0, 1, b"{\"data"), data(ES, 1, b"\":1}")], Stream(PROTOCOL)),
        ("§8.4 PUSH_PROMISE of a client", vec![post(1), f(PUSH_PROMISE, EH, 1, &[&[0, 0, 0, 2], &fields("GET")[..]].concat())], Connection(&[PROTOCOL])),
        // RFC 7541: h2 says PROTOCOL_ERROR of what cannot be decoded.
        ("RFC 7541 §2.3.3 an index of nothing", vec![block(&[0xc6])], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §2.3.3 a name's index of nothing", vec![block(b"\x7f\x07\x01y")], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §4.2 a size update behind fields", vec![block(&[0x20])], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §5.2 padding of 8 bits", vec![block(b"\x00\x01x\x83\x18\xc7\xff")], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §5.2 padding of zeros", vec![block(b"\x00\x01x\x82\x18\xc6")], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §5.2 end of string", vec![block(b"\x00\x01x\x84\xff\xff\xff\xff")], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §6.1 index 0", vec![block(&[0x80])], Connection(&[COMPRESSION, PROTOCOL])),
        ("RFC 7541 §6.3 a size over the limit", vec![f(HEADERS, ES | EH, 1, &[&[0x3f, 0xe2, 0x1f], &fields("GET")[..]].concat())], Connection(&[COMPRESSION, PROTOCOL])),
    ]
}

/// What the gateway did, in the words of [`Expected`].
async fn check(mut frames: Frames, what: &str, expected: &Expected) {
    if matches!(expected, Nothing) {
        return;
    }
    let mut seen = Vec::new();
    loop {
        let Some(frame) = frames.next().await else {
            panic!("{what}: expected {expected:?}, ended after {seen:?}");
        };
        let done = match (expected, frame.kind) {
            (Answer(stream), HEADERS) => frame.stream == *stream,
            (Pong(bytes), PING) => frame.flags == ES && frame.payload == bytes,
            (Stream(code), RST_STREAM | GOAWAY) => {
                assert_eq!(frame.code(), *code, "{what}: {frame:?}");
                true
            }
            (Connection(codes), GOAWAY) => {
                assert!(codes.contains(&frame.code()), "{what}: {frame:?}");
                true
            }
            (Answer(_) | Pong(_), GOAWAY) => panic!("{what}: {frame:?}"),
            _ => false,
        };
        if done {
            break;
        }
        seen.push((frame.kind, frame.flags, frame.stream));
    }
    match expected {
        // The connection ends behind the word that it does.
        Connection(_) => while frames.next().await.is_some() {},
        Answer(_) | Pong(_) => {
            frames.write(&f(PING, 0, 0, b"go on on")).await;
            loop {
                let next = frames.next().await;
                let Some(frame) = next else {
                    // The peer's own GOAWAY ends it when all was answered.
                    assert!(what.contains("GOAWAY"), "{what}: ended behind its answer");
                    break;
                };
                if frame.kind == PING && frame.payload == b"go on on" {
                    break;
                }
            }
        }
        Stream(_) | Nothing => {}
    }
}

async fn conforms(tls: bool) {
    let gateway = TestGateway::start();
    let cases = cases();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for (what, sent, expected) in &cases {
        if !tls {
            let mut frames = gateway.frames(tls, &[]).await;
            frames.write(&sent.concat()).await;
            check(frames, what, expected).await;
        }
        // Frame by frame, so that they are read one by one.
        let mut frames = gateway.frames(tls, &[]).await;
        for frame in sent {
            frames.write(frame).await;
        }
        check(frames, what, expected).await;
    }
}

#[tokio::test]
async fn in_clear_each_rule_of_rfc_9113_and_rfc_7541_is_kept() {
    conforms(false).await;
}

#[tokio::test]
async fn over_tls_each_rule_of_rfc_9113_and_rfc_7541_is_kept() {
    conforms(true).await;
}

fn few_streams(config: &mut Config) {
    config.http2.max_streams = 2;
}

#[tokio::test]
async fn more_streams_than_there_may_be_are_refused_and_the_others_go_on() {
    let gateway = TestGateway::with(few_streams);
    let mut frames = gateway.frames(false, &[]).await;
    for stream in [1, 3, 5] {
        frames.write(&post(stream)).await;
    }
    let refused = loop {
        let frame = frames.next().await.expect("an answer");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((refused.stream, refused.code()), (5, REFUSED));
    let end = f(DATA, ES, 3, b"{\"data\":1}");
    frames.write(&end).await;
    while frames.next().await.expect("an answer").stream != 3 {}
    drop(frames);
    gateway.reaches("http2_requests_unserved_total", 1).await;
}

#[tokio::test]
async fn a_window_of_the_peers_is_kept_to_and_may_change_while_an_answer_is_sent() {
    let gateway = TestGateway::start();
    for tls in [false, true] {
        let mut frames = gateway.frames(tls, &setting(4, 1)).await;
        frames.write(&get(1)).await;
        let first = loop {
            let frame = frames.next().await.expect("an answer");
            if frame.kind == DATA {
                break frame;
            }
        };
        assert_eq!((first.payload.len(), first.flags), (1, 0));
        // RFC 9113 §6.9.2: it is one byte in debt now, which the first update pays.
        frames.write(&f(SETTINGS, 0, 0, &setting(4, 0))).await;
        frames.write(&update(1, 1)).await;
        frames.write(&update(1, 1)).await;
        let second = loop {
            let frame = frames.next().await.expect("more of it");
            if frame.kind == DATA {
                break frame;
            }
        };
        assert_eq!((second.payload.len(), second.flags), (1, 0));
        frames.write(&update(1, 1000)).await;
        loop {
            let frame = frames.next().await.expect("more of it");
            if frame.kind == DATA && frame.flags & ES != 0 {
                break;
            }
        }
    }
}
