//! The strict look at HTTP/1.1: the pieces in which bytes come change nothing, and `httparse`, which
//! parses for the gateway, finds the same requests in what has passed.
//!
//! Input: limits, the cut, and the connection's bytes. The look is stricter than `httparse`, so
//! nothing is asked about what it refuses but that it does so wherever it was cut, after the same
//! requests. Which of several faults in one head is named may depend on what of it was there.

use arbitrary::Unstructured;
use roomwire_protocols::http1::{Inspector, Limits, Violation, is_host, wants_websocket};

use super::{byte, pieces};

/// What of a connection passed, and what was refused of it.
type Outcome = (usize, Option<Violation>, u64);

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let wide = byte(&mut input) & 3 != 0;
    let limits = Limits {
        max_head: if wide { 8192 } else { 100 },
        max_target: if wide { 2048 } else { 20 },
        max_field: if wide { 4096 } else { 30 },
        max_fields: if wide { 64 } else { 3 },
    };
    let cut = byte(&mut input);
    let stream = input.take_rest();
    let whole = inspect(stream, 0, &limits);
    for cut in [1, cut] {
        let (passed, refused, heads) = inspect(stream, cut, &limits);
        let verdict = (passed, refused.is_some(), heads);
        assert_eq!(
            verdict,
            (whole.0, whole.1.is_some(), whole.2),
            "cut by {cut}"
        );
    }
    let (passed, refused, heads) = whole;
    if let Some(violation) = refused {
        assert!((400..=505).contains(&violation.status()) && !violation.reason().is_empty());
    }
    assert_eq!(requests(&stream[..passed]), heads);
    if is_host(stream) {
        // Nothing that ends a host for another reader, or makes two of it.
        let ambiguous = |byte: &u8| byte.is_ascii_control() || b" ,;@/\\?#\"<>".contains(byte);
        assert!(!stream.iter().any(ambiguous) && stream.is_ascii());
    }
}

/// Shows a connection's bytes as its reader does: what did not pass is shown again with the next.
fn inspect(stream: &[u8], cut: u8, limits: &Limits) -> Outcome {
    let mut inspector = Inspector::new(*limits);
    let (mut passed, mut shown) = (0, 0);
    for piece in pieces(&mut stream.to_vec(), cut) {
        shown += piece.len();
        let inspected = inspector.inspect(&stream[passed..shown]);
        passed += inspected.passed;
        assert!(passed <= shown);
        if let Some(violation) = inspected.refused {
            return (passed, Some(violation), inspector.heads());
        }
        let kept = shown - passed;
        assert!(
            kept == 0 || inspector.in_head(),
            "of a body nothing is kept"
        );
        assert!(kept <= limits.max_head + 16, "{kept} bytes of a head");
    }
    (passed, None, inspector.heads())
}

/// The requests that `httparse` finds in what has passed. The last may lack a part of its body.
fn requests(mut rest: &[u8]) -> u64 {
    let mut heads = 0;
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(end) = request.parse(rest).expect("it passed") else {
            panic!("half a head has passed");
        };
        heads += 1;
        rest = &rest[end..];
        let values = |name: &str| -> Vec<&[u8]> {
            let named = request.headers.iter();
            let named = named.filter(|it| it.name.eq_ignore_ascii_case(name));
            named.map(|it| it.value).collect()
        };
        if values("upgrade").into_iter().any(wants_websocket) {
            return heads;
        }
        rest = match (
            &values("content-length")[..],
            &values("transfer-encoding")[..],
        ) {
            ([], []) => rest,
            ([length], []) => {
                let length = std::str::from_utf8(length)
                    .ok()
                    .and_then(|it| it.parse().ok());
                let length: u64 = length.expect("it is a number");
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                rest.get(length..).unwrap_or_default()
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => after_chunks(rest),
            both => panic!("two readers may find different ends: {both:?}"),
        };
    }
    heads
}

/// What follows a chunked body; nothing when it has not ended.
fn after_chunks(mut rest: &[u8]) -> &[u8] {
    loop {
        let Ok(httparse::Status::Complete((end, size))) = httparse::parse_chunk_size(rest) else {
            return &[];
        };
        rest = &rest[end..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .saturating_add(2);
        rest = rest.get(size..).unwrap_or_default();
    }
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(rest, &mut fields) {
        Ok(httparse::Status::Complete((end, _))) => &rest[end..],
        _ => &[],
    }
}

/// Requests one after the other, bodies of both kinds, and what is smuggled.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |text: &str| [b"\x01\x03", text.as_bytes()].concat();
    let post = "POST /v1/rooms/r/messages HTTP/1.1\r\nHost: a\r\n";
    let get = "GET /ws?a=b HTTP/1.1\r\nHost: [::1]:8080\r\n";
    vec![
        seed(&format!("\r\n{get}\r\n{get}\r\n")),
        seed(&format!(
            "{get}Upgrade: h2c, websocket\r\n\r\n\u{81}anything"
        )),
        seed(&format!("{post}Content-Length: 5\r\n\r\nhello{get}\r\n")),
        seed(&format!(
            "{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{get}\r\n"
        )),
        seed(&format!(
            "{post}Transfer-Encoding: chunked\r\n\r\nA ;a = b;c=\"d\\\"\"\r\n0123456789\r\n0\r\n\
             Trailer: x\r\n\r\n{get}\r\n"
        )),
        seed(&format!(
            "{post}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc"
        )),
        seed(&format!("{post}Content-Length: 3, 3\r\n\r\nabc")),
        seed(&format!(
            "{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n"
        )),
        seed(&format!(
            "{post}Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc{get}\r\n"
        )),
        seed(&format!(
            "{post}Transfer-Encoding: chunked\r\n\r\n010\r\n{}\r\n0\r\n\r\n{get}\r\n",
            "x".repeat(16)
        )),
        seed(&format!(
            "{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        )),
        seed(&format!("{get}a : b\r\n\r\n")),
        seed(&format!("{get}a: b\r\n c\r\n\r\n")),
        seed(&format!("{get}a: b\n\r\n")),
        seed("OPTIONS * HTTP/1.0\r\n\r\n"),
        seed("CONNECT a.example:443 HTTP/1.1\r\n\r\n"),
        seed("GET https://a/b?c HTTP/2.0\r\n\r\n"),
        seed("127.0.0.1:8080"),
        b"\x00\x01GET /a-target-that-is-too-long HTTP/1.1\r\n".to_vec(),
        b"\x00\x01GET / HTTP/1.1\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n".to_vec(),
    ]
}
