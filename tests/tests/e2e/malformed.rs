//! Bad input on every wire: what is answered, what is counted, and that nobody else notices.

use std::collections::BTreeMap;

use http::Method;
use roomwire::config::ByteSize;
use roomwire_tests::{PATIENCE, Person, Raw, TestGateway, Transport, eventually, frame};
use tokio::net::UdpSocket;

use crate::wire::WIRES;
use crate::witness::Witness;

const JSON: &str = "command_errors_json_total";
const FIELD: &str = "command_errors_field_total";
const TYPE: &str = "command_errors_type_total";
const ROOM: &str = "command_errors_room_total";
const NAME: &str = "command_errors_name_total";
const OTHER: &str = "command_errors_other_total";
const TOO_LARGE: &str = "command_errors_too_large_total";
const VIOLATIONS: &str = "ws_violations_total";

/// A command, the code of the error that answers it, and the counter that moves by one. Where the
/// command has an `id` that can be read, it is 7.
const COMMANDS: &[(&str, &str, &str)] = &[
    (r#"{"id":7,"type":"ping""#, "bad_json", JSON),
    (r#"{"id":7,"type":"ping"}}"#, "bad_json", JSON),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":{a:1}}"#,
        "bad_json",
        JSON,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":01}"#,
        "bad_json",
        JSON,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":NaN}"#,
        "bad_json",
        JSON,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":"\x"}"#,
        "bad_json",
        JSON,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":'1'}"#,
        "bad_json",
        JSON,
    ),
    (r#"["ping"]"#, "bad_json", JSON),
    (r#""ping""#, "bad_json", JSON),
    ("GET / HTTP/1.1", "bad_json", JSON),
    (r#"{"id":7}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":7}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":null}"#, "bad_field", FIELD),
    (r#"{"id":-1,"type":"ping"}"#, "bad_field", FIELD),
    (r#"{"id":1.5,"type":"ping"}"#, "bad_field", FIELD),
    (r#"{"id":"7","type":"ping"}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":"join"}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":"join","room":5}"#, "bad_field", FIELD),
    (
        r#"{"id":7,"type":"join","room":["calm"]}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"join","room":"calm","since":3}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"join","room":"calm","since":{"epoch":"1"}}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"join","room":"calm","since":{"epoch":"1","offset":-1}}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"join","room":"calm","presence":"yes"}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"join","room":"calm","room":"calm"}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm"}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":1,"echo":1}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":1,"key":""}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm","data":1,"key":5}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"history","room":"calm","limit":"all"}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"request","room":"calm","data":1,"mode":"most"}"#,
        "bad_field",
        FIELD,
    ),
    (
        r#"{"id":7,"type":"request","room":"calm","data":1,"timeout_ms":-5}"#,
        "bad_field",
        FIELD,
    ),
    (r#"{"id":7,"type":"reply","data":1}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":"hello","name":5}"#, "bad_field", FIELD),
    (r#"{"id":7,"type":"dance"}"#, "unknown_type", TYPE),
    (r#"{"id":7,"type":""}"#, "unknown_type", TYPE),
    (r#"{"id":7,"type":"PING"}"#, "unknown_type", TYPE),
    (r#"{"id":7,"type":"welcome"}"#, "unknown_type", TYPE),
    (r#"{"id":7,"type":"join","room":""}"#, "invalid_room", ROOM),
    (
        r#"{"id":7,"type":"join","room":"a\u0000b"}"#,
        "invalid_room",
        ROOM,
    ),
    (
        r#"{"id":7,"type":"join","room":"a\nb"}"#,
        "invalid_room",
        ROOM,
    ),
    (
        r#"{"id":7,"type":"join","room":"a.>.b"}"#,
        "invalid_room",
        ROOM,
    ),
    (
        r#"{"id":7,"type":"publish","room":"","data":1}"#,
        "invalid_room",
        ROOM,
    ),
    (
        r#"{"id":7,"type":"publish","room":"calm.*","data":1}"#,
        "pattern_not_allowed",
        ROOM,
    ),
    (r#"{"id":7,"type":"hello","name":""}"#, "invalid_name", NAME),
    (
        r#"{"id":7,"type":"hello","name":"a\u001b[2J"}"#,
        "invalid_name",
        NAME,
    ),
    (
        r#"{"id":7,"type":"leave","room":"elsewhere"}"#,
        "not_a_member",
        OTHER,
    ),
    (
        r#"{"id":7,"type":"members","room":"elsewhere"}"#,
        "unknown_room",
        OTHER,
    ),
    (
        r#"{"id":7,"type":"reply","request":"0-999","data":1}"#,
        "unknown_request",
        OTHER,
    ),
];

fn long_commands() -> Vec<(String, &'static str, &'static str)> {
    let long = |length| "r".repeat(length);
    let deep = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        (
            format!(r#"{{"id":7,"type":"join","room":"{}"}}"#, long(256)),
            "invalid_room",
            ROOM,
        ),
        (
            format!(r#"{{"id":7,"type":"hello","name":"{}"}}"#, long(1000)),
            "invalid_name",
            NAME,
        ),
        (
            format!(
                r#"{{"id":7,"type":"publish","room":"calm","data":{}}}"#,
                deep(200)
            ),
            "bad_json",
            JSON,
        ),
        (
            format!(
                r#"{{"id":7,"type":"publish","room":"calm","data":1,"key":"{}"}}"#,
                long(129)
            ),
            "bad_field",
            FIELD,
        ),
    ]
}

#[tokio::test]
async fn a_bad_command_is_answered_with_its_code_and_the_session_goes_on() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    let long = long_commands();
    let long = long
        .iter()
        .map(|(text, code, counter)| (text.as_str(), *code, *counter));
    let table: Vec<_> = COMMANDS.iter().copied().chain(long).collect();
    for wire in WIRES {
        let mut client = wire.proven(&gateway).await;
        // TCP takes a first line that is no object for a person's.
        client.ping().await;
        for &(command, code, counter) in &table {
            let counters = gateway.counters();
            client.send(command).await;
            let answer = client.next().await;
            let told = (answer.kind(), answer["code"].as_str());
            assert_eq!(
                told,
                ("error", Some(code)),
                "{wire:?} {command}: {}",
                answer.text()
            );
            if command.starts_with(r#"{"id":7"#) && code != "bad_json" {
                assert_eq!(answer["id"], 7, "{wire:?} {command}");
            }
            let message = answer.string("message");
            assert!(!message.is_empty(), "{wire:?} {command}");
            client.ping().await;
            counters.moved(&[(counter, 1)]).await;
            let complaints = counters.complaints();
            let others = complaints.keys().filter(|name| *name != counter).count();
            assert_eq!(others, 0, "{wire:?} {command}: {complaints:?}");
        }
        witness.hears_all(&format!("{wire:?}")).await;
    }
}

#[tokio::test]
async fn what_is_not_utf8_is_refused() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    let counters = gateway.counters();
    let bad = b"{\"id\":7,\"type\":\"publish\",\"room\":\"calm\",\"data\":\"\xff\"}\n";

    let mut raw = gateway.raw(gateway.tcp()).await;
    raw.write(b"{\"type\":\"ping\",\"id\":1}\n").await;
    raw.read(b"{\"type\":\"pong\",\"id\":1}\n".len()).await;
    raw.write(bad).await;
    raw.write(b"{\"type\":\"hello\"}\n").await;
    raw.shutdown().await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.contains(r#""code":"bad_utf8""#), "{answer}");

    let mut client = gateway.datagrams().await;
    client.join("other").await;
    if let Transport::Datagram(socket) = client.transport() {
        socket.send(bad).await.unwrap();
    }
    assert_eq!(client.next().await["code"], "bad_utf8");
    client.ping().await;

    let mut person = gateway.raw(gateway.tcp()).await;
    person.write(b"caf\xe9\n").await;
    let expected = "* that line is not UTF-8; it was not sent\n";
    assert_eq!(person.read(expected.len()).await, expected.as_bytes());

    let mut websocket = gateway.raw_websocket().await;
    websocket.write(&frame(0x81, bad)).await;
    assert_eq!(websocket.read_close().await.0, 1007);
    drop(websocket);

    counters
        .complained(&[
            (JSON, 3),
            (VIOLATIONS, 1),
            ("session_close_bad_data_total", 1),
        ])
        .await;
    witness.hears_all("bytes that are not UTF-8").await;
}

#[tokio::test]
async fn a_line_over_the_limit_is_an_error_and_the_end() {
    let gateway = TestGateway::with(|config| config.limits.max_message = ByteSize::kib(1));
    let mut witness = Witness::of(&gateway, "calm").await;
    let publish = |length: usize| {
        let empty = r#"{"id":1,"type":"publish","room":"fit","data":""}"#;
        let text = "x".repeat(length - empty.len());
        format!(r#"{{"id":1,"type":"publish","room":"fit","data":"{text}"}}"#)
    };
    let counters = gateway.counters();
    for line_end in ["\n", "\r\n"] {
        let mut raw = gateway.raw(gateway.tcp()).await;
        raw.write(format!("{}{line_end}", publish(1024)).as_bytes())
            .await;
        let published = raw.read(r#"{"type":"published""#.len()).await;
        assert_eq!(published, br#"{"type":"published""#, "as long as may be");
    }
    assert!(counters.complaints().is_empty());

    for tail in ["\n", "", "\n{\"type\":\"ping\",\"id\":2}\n"] {
        let mut raw = gateway.raw(gateway.tcp()).await;
        raw.write(format!("{}{tail}", publish(1025)).as_bytes())
            .await;
        let rest = String::from_utf8(raw.read_to_end().await).unwrap();
        let error: serde_json::Value = serde_json::from_str(&rest).expect("one line");
        assert_eq!(
            (&error["type"], &error["code"]),
            (&"error".into(), &"line_too_long".into())
        );
    }
    let mut person = Person::connect(gateway.tcp()).await;
    person.types(&"x".repeat(1025)).await;
    assert_eq!(
        person.reads().await,
        "* a line is at most 1024 bytes; goodbye"
    );
    assert_eq!(person.try_read().await, None);
    drop(person);
    counters
        .complained(&[(TOO_LARGE, 4), ("session_close_too_big_total", 4)])
        .await;
    witness.hears_all("long lines").await;
}

#[tokio::test]
async fn a_datagram_over_the_limit_is_an_error() {
    let gateway = TestGateway::with(|config| config.limits.max_message = ByteSize::kib(1));
    let mut witness = Witness::of(&gateway, "calm").await;
    let mut client = gateway.datagrams().await;
    client.join("udp").await;
    let counters = gateway.counters();
    client
        .send(&format!(
            r#"{{"type":"ping","id":1,"x":"{}"}}"#,
            "x".repeat(1024)
        ))
        .await;
    assert_eq!(client.next().await["code"], "too_large");
    if let Transport::Datagram(socket) = client.transport() {
        socket.send(b"").await.unwrap();
    }
    client.ping().await;
    counters
        .complained(&[(TOO_LARGE, 1), ("udp_datagrams_refused_total", 1)])
        .await;
    witness.hears_all("large datagrams").await;
}

#[tokio::test]
async fn a_frame_that_breaks_rfc_6455_ends_the_session_with_the_code_for_it() {
    const PROTOCOL: &str = "session_close_protocol_error_total";
    const BAD_DATA: &str = "session_close_bad_data_total";
    const TOO_BIG: &str = "session_close_too_big_total";
    const POLICY: &str = "session_close_policy_violation_total";
    let ping = br#"{"type":"ping"}"#;
    let unmasked = [&[0x81, 15][..], ping].concat();
    let mut not_minimal = vec![0x81, 0x80 | 126, 0, 2, 0, 0, 0, 0];
    not_minimal.extend(b"{}");
    let mut out_of_range = vec![0x81, 0x80 | 127];
    out_of_range.extend((1_u64 << 63).to_be_bytes());
    out_of_range.extend([0; 4]);
    let over_limit = vec![0x81, 0x80 | 126, 4, 1, 0, 0, 0, 0];
    let mut fragments = frame(0x01, b"{");
    for _ in 0..8 {
        fragments.extend(frame(0x00, b""));
    }
    let in_pieces = [frame(0x01, &[b' '; 1000]), frame(0x80, &[b' '; 25])].concat();
    let utf8_in_pieces = [frame(0x01, b"\"\xc3"), frame(0x80, b"\xc3\"")].concat();
    let table: &[(&str, Vec<u8>, u16, &str)] = &[
        ("unmasked", unmasked, 1002, PROTOCOL),
        ("RSV1", frame(0xc1, ping), 1002, PROTOCOL),
        ("RSV2", frame(0xa1, ping), 1002, PROTOCOL),
        ("RSV3", frame(0x91, ping), 1002, PROTOCOL),
        ("opcode 3", frame(0x83, b""), 1002, PROTOCOL),
        ("opcode 11", frame(0x8b, b""), 1002, PROTOCOL),
        ("fragmented ping", frame(0x09, b""), 1002, PROTOCOL),
        ("long ping", frame(0x89, &[0; 126]), 1002, PROTOCOL),
        ("continuation of nothing", frame(0x80, ping), 1002, PROTOCOL),
        (
            "message in a message",
            [frame(0x01, b"{"), frame(0x81, ping)].concat(),
            1002,
            PROTOCOL,
        ),
        ("length not minimal", not_minimal, 1002, PROTOCOL),
        ("length of 64 bits", out_of_range, 1002, PROTOCOL),
        ("close of one byte", frame(0x88, &[3]), 1002, PROTOCOL),
        (
            "close with 1005",
            frame(0x88, &1005_u16.to_be_bytes()),
            1002,
            PROTOCOL,
        ),
        (
            "close with 999",
            frame(0x88, &999_u16.to_be_bytes()),
            1002,
            PROTOCOL,
        ),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), 1007, BAD_DATA),
        (
            "bad UTF-8",
            frame(0x81, b"\"\xed\xa0\x80\""),
            1007,
            BAD_DATA,
        ),
        ("UTF-8 cut off", frame(0x81, b"\"\xf0\x9f"), 1007, BAD_DATA),
        ("bad UTF-8 across frames", utf8_in_pieces, 1007, BAD_DATA),
        ("announced too big", over_limit, 1009, TOO_BIG),
        ("too big in pieces", in_pieces, 1009, TOO_BIG),
        ("too many fragments", fragments, 1008, POLICY),
    ];
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::kib(1);
        config.limits.max_fragments = 8;
    });
    let mut witness = Witness::of(&gateway, "calm").await;
    for (what, bytes, code, counter) in table {
        let counters = gateway.counters();
        let mut raw = gateway.raw_websocket().await;
        // Something good before it is still carried out and answered.
        raw.write(&frame(0x81, br#"{"id":1,"type":"ping"}"#)).await;
        assert_eq!(raw.read_frame().await.0, 1, "{what}");
        raw.write(bytes).await;
        let (got, reason) = raw.read_close().await;
        assert_eq!(got, *code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
        drop(raw);
        counters.complained(&[(VIOLATIONS, 1), (*counter, 1)]).await;
        witness.hears_all(what).await;
    }
}

#[tokio::test]
async fn a_binary_message_is_refused_where_words_are_spoken() {
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let mut raw = gateway.raw_websocket().await;
    raw.write(&frame(0x82, br#"{"id":1,"type":"ping"}"#)).await;
    let (opcode, payload) = raw.read_frame().await;
    let answer = String::from_utf8(payload).unwrap();
    assert_eq!(opcode, 1);
    assert!(
        answer.contains(r#""code":"binary_not_supported""#),
        "{answer}"
    );
    raw.write(&frame(0x81, br#"{"id":2,"type":"ping"}"#)).await;
    let (_, payload) = raw.read_frame().await;
    assert_eq!(payload, br#"{"type":"pong","id":2}"#, "the session goes on");
    counters
        .complained(&[("command_errors_binary_total", 1)])
        .await;

    let mut echo = gateway.raw(gateway.http()).await;
    echo.upgrade("/echo").await;
    echo.write(&frame(0x82, b"\x00\xff")).await;
    assert_eq!(
        echo.read_frame().await,
        (2, b"\x00\xff".to_vec()),
        "an echo takes it"
    );
}

async fn answer_of(raw: &mut Raw) -> String {
    String::from_utf8_lossy(&raw.read_to_end().await).into_owned()
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_request() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    for garbage in [
        &b"\x01\x02\x03\x04\r\n\r\n"[..],
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"{\"type\":\"ping\"}\r\n\r\n",
    ] {
        let counters = gateway.counters();
        let what = String::from_utf8_lossy(garbage).into_owned();
        let mut raw = gateway.raw(gateway.http()).await;
        raw.write(garbage).await;
        let answer = answer_of(&mut raw).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what:?}: {answer:?}");
        counters.complained(&[("http_bad_requests_total", 1)]).await;
        witness.hears_all(&what).await;
    }
}

#[tokio::test]
async fn frames_that_break_rfc_9113_are_bad_requests() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for (what, garbage) in [
        // A HEADERS frame on stream 0 (§6.2), a PING of 7 bytes (§6.7), a frame over 16,384 bytes (§4.2).
        ("headers on stream 0", vec![0, 0, 1, 1, 4, 0, 0, 0, 0, 0x82]),
        (
            "short ping",
            vec![0, 0, 7, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7],
        ),
        ("large frame", vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
    ] {
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.http()).await;
        raw.write(&[&preface[..], &settings, &garbage].concat())
            .await;
        let answer = raw.read_to_end().await;
        // GOAWAY is frame type 7; its header follows some other frame.
        assert!(
            answer.windows(6).any(|it| it[0] == 7 && it[2..6] == [0; 4]),
            "{what}: {answer:?}"
        );
        counters.complained(&[("http_bad_requests_total", 1)]).await;
        witness.hears_all(what).await;
    }
}

#[tokio::test]
async fn what_is_not_tls_is_counted_and_plain_http_is_told_so() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    for garbage in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x16\x16\x16\x16\x16\x16\x16",
        b"\x00\x00\x00\x00",
        b"{\"type\":\"ping\"}\n",
    ] {
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.https()).await;
        raw.write(garbage).await;
        raw.read_to_end().await;
        counters
            .complained(&[
                ("tls_handshake_errors_total", 1),
                ("tls_errors_malformed_total", 1),
            ])
            .await;
        witness.hears_all(&String::from_utf8_lossy(garbage)).await;
    }
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.https()).await;
    raw.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let answer = answer_of(&mut raw).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with("use https:// instead of http:\n"),
        "{answer}"
    );
    counters.complained(&[("tls_plain_http_total", 1)]).await;
    witness.hears_all("plain HTTP").await;
}

#[tokio::test]
async fn a_bad_request_over_http_is_a_problem_document() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::kib(2);
        config.limits.max_body = ByteSize::kib(3);
    });
    let mut witness = Witness::of(&gateway, "calm").await;
    let json = ("content-type", "application/json");
    let long = format!(r#"{{"data":"{}"}}"#, "x".repeat(2048));
    let body = format!(r#"{{"data":1,"x":"{}"}}"#, "x".repeat(4096));
    let calm = "/v1/rooms/calm/messages";
    type Row<'a> = (
        Method,
        &'a str,
        Option<(&'a str, &'a str)>,
        &'a [u8],
        u16,
        &'a str,
        &'a [(&'a str, u64)],
    );
    let table: &[Row<'_>] = &[
        (
            Method::PUT,
            calm,
            Some(json),
            b"{\"data\":1}",
            405,
            "method_not_allowed",
            &[],
        ),
        (
            Method::POST,
            "/healthz",
            Some(json),
            b"{}",
            405,
            "method_not_allowed",
            &[],
        ),
        (
            Method::POST,
            calm,
            None,
            b"{\"data\":1}",
            415,
            "unsupported_media_type",
            &[("http_wrong_content_type_total", 1)],
        ),
        (
            Method::POST,
            calm,
            Some(("content-type", "text/plain")),
            b"{\"data\":1}",
            415,
            "unsupported_media_type",
            &[("http_wrong_content_type_total", 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            body.as_bytes(),
            413,
            "too_large",
            &[(TOO_LARGE, 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            long.as_bytes(),
            413,
            "too_large",
            &[(TOO_LARGE, 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            b"{\"data\":",
            400,
            "bad_json",
            &[(JSON, 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            b"",
            411,
            "length_required",
            &[],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            b"\xff",
            400,
            "bad_utf8",
            &[(JSON, 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            b"{}",
            400,
            "bad_field",
            &[(FIELD, 1)],
        ),
        (
            Method::POST,
            calm,
            Some(json),
            b"{\"data\":1,\"from\":\"\"}",
            400,
            "invalid_name",
            &[(NAME, 1)],
        ),
        (
            Method::POST,
            "/v1/rooms/a%00b/messages",
            Some(json),
            b"{\"data\":1}",
            400,
            "invalid_room",
            &[],
        ),
        (
            Method::GET,
            "/v1/rooms/%ff/members",
            None,
            b"",
            400,
            "bad_path",
            &[],
        ),
        (
            Method::GET,
            "/v1/rooms/calm/messages?since=x",
            None,
            b"",
            400,
            "bad_query",
            &[],
        ),
        (
            Method::GET,
            "/v1/rooms/calm/messages?limit=x",
            None,
            b"",
            400,
            "bad_query",
            &[],
        ),
        (
            Method::GET,
            "/v1/rooms/calm/messages?wait=x",
            None,
            b"",
            400,
            "bad_query",
            &[],
        ),
        (Method::GET, "/nothing", None, b"", 404, "not_found", &[]),
        (
            Method::GET,
            "/assets/nothing.js",
            None,
            b"",
            404,
            "not_found",
            &[],
        ),
        (
            Method::GET,
            "/ws",
            None,
            b"",
            400,
            "bad_handshake",
            &[("ws_handshakes_refused_total", 1)],
        ),
    ];
    for mut http in [
        gateway.http1().await,
        gateway.https1().await,
        gateway.http2().await,
        gateway.https2().await,
    ] {
        let version = format!("{http:?}");
        let counters = gateway.counters();
        let mut asked = 0;
        let mut expected = BTreeMap::new();
        for (method, path, header, body, status, code, complaints) in table {
            // Over HTTP/2 this is no handshake at all.
            if *path == "/ws" && matches!(http.version(), http::Version::HTTP_2) {
                continue;
            }
            let headers: Vec<(&str, &str)> = header.iter().copied().collect();
            let answer = http.request(method.clone(), path, &headers, body).await;
            let what = format!("{version} {method} {path}");
            assert_eq!(answer.status, *status, "{what}: {}", answer.text());
            assert_eq!(answer.problem(), *code, "{what}");
            if *status == 405 {
                assert!(
                    answer.header("allow").contains("GET"),
                    "{what}: {:?}",
                    answer.headers
                );
            }
            asked += 1;
            for (counter, count) in *complaints {
                *expected.entry(*counter).or_insert(0) += count;
            }
        }
        counters
            .moved(&[
                ("http_requests_total", asked),
                ("http_responses_client_error_total", asked),
            ])
            .await;
        let expected: Vec<_> = expected.into_iter().collect();
        counters.complained(&expected).await;
        witness.hears_all(&version).await;
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.http()).await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    // It may be refused before all of it is written.
    drop(raw.try_write(head.as_bytes()).await);
    let answer = answer_of(&mut raw).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    counters.complained(&[("http_bad_requests_total", 1)]).await;
    witness.hears_all("a large head").await;
}

#[tokio::test]
async fn a_line_is_whole_however_it_was_cut() {
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("cut").await;
    let data = r#""é€🎉\u00e9""#;
    let line = format!("{{\"id\":1,\"type\":\"publish\",\"room\":\"cut\",\"data\":{data}}}\r\n");
    let line = line.as_bytes();
    let mut raw = gateway.raw(gateway.tcp()).await;
    for cut in 1..line.len() {
        let counters = gateway.counters();
        raw.write(&line[..cut]).await;
        // Until the beginning was read, both parts could still arrive as one.
        eventually(PATIENCE, || match counters.delta("wire_reads_total") {
            0 => Err("not read"),
            _ => Ok(()),
        })
        .await;
        raw.write(&line[cut..]).await;
        assert_eq!(member.message().await.data, data, "cut at {cut}");
    }
    for &byte in line {
        raw.write(&[byte]).await;
    }
    assert_eq!(member.message().await.data, data, "byte by byte");
    raw.write(&[line, line, line].concat()).await;
    for _ in 0..3 {
        assert_eq!(member.message().await.data, data, "three at once");
    }

    let mut person = gateway.raw(gateway.tcp()).await;
    person.write(b"/join cut\n").await;
    gateway.has_members("cut", 2).await;
    let line = "é€🎉\r\n".as_bytes();
    for cut in 1..line.len() {
        let counters = gateway.counters();
        person.write(&line[..cut]).await;
        eventually(PATIENCE, || match counters.delta("wire_reads_total") {
            0 => Err("not read"),
            _ => Ok(()),
        })
        .await;
        person.write(&line[cut..]).await;
        assert_eq!(member.message().await.data, "\"é€🎉\"", "cut at {cut}");
    }
}

#[tokio::test]
async fn an_address_that_proved_nothing_is_sent_at_most_three_times_what_it_sent() {
    let gateway = TestGateway::start();
    let data = format!("\"{}\"", "x".repeat(900));
    for _ in 0..5 {
        gateway.publish("big", "x", data.as_bytes()).unwrap();
    }
    let counters = gateway.counters();
    let mut sent = 0;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(gateway.udp()).await.unwrap();
    for command in [
        r#"{"type":"x"}"#,
        r#"{"id":1,"type":"history","room":"big"}"#,
        r#"{"id":1,"type":"join","room":"big"}"#,
        r#"{"type":"join","room":"big"}"#,
        r#"{"id":2,"type":"members","room":"big"}"#,
        r#"{"id":3,"type":"hello","name":"a"}"#,
        "{",
        "",
    ] {
        for _ in 0..10 {
            sent += socket.send(command.as_bytes()).await.unwrap() as u64;
        }
    }
    counters
        .moved(&[
            ("udp_datagrams_in_total", 80),
            ("udp_datagrams_refused_total", 10),
        ])
        .await;
    let mut received = 0;
    let out = counters.delta("udp_datagrams_out_total");
    assert!(out > 0, "something was answered");
    let mut datagram = [0; 65_536];
    for _ in 0..out {
        received += socket.recv(&mut datagram).await.unwrap() as u64;
    }
    assert!(received <= 3 * sent, "{received} bytes for {sent}");
    assert_eq!(counters.delta("udp_bytes_out_total"), received);
    assert!(counters.delta("udp_amplification_refused_total") > 0);
}

#[tokio::test]
async fn joining_over_udp_needs_the_cookie_that_was_sent_to_this_address() {
    let gateway = TestGateway::start();
    let mut witness = Witness::of(&gateway, "calm").await;
    let join = r#""type":"join","room":"udp""#;
    let counters = gateway.counters();
    let mut other = gateway.datagrams().await;
    let foreign = other.ask(join, "challenge").await;
    let foreign = foreign.string("cookie");

    let mut client = gateway.datagrams().await;
    let challenge = client.ask(join, "challenge").await;
    assert_eq!(challenge["room"], "udp");
    counters
        .moved(&[
            ("udp_challenges_total", 2),
            ("command_errors_cookie_total", 0),
        ])
        .await;
    let wrong = ["wrong", "", "AAAAAAAAAAAAAAAAAAAAAA", foreign];
    for cookie in wrong {
        let join = format!(r#"{join},"cookie":"{cookie}""#);
        client.ask(&join, "challenge").await;
    }
    counters
        .complained(&[("command_errors_cookie_total", 4)])
        .await;
    gateway.publish("udp", "x", b"1").unwrap();
    let cookie = challenge.string("cookie");
    client
        .ask(&format!(r#"{join},"cookie":"{cookie}""#), "joined")
        .await;
    gateway.publish("udp", "x", b"2").unwrap();
    assert_eq!(
        client.message().await.data,
        "2",
        "the first one came before it was a member"
    );
    // Once proven, no further cookie is asked for.
    client.ask(r#""type":"join","room":"more""#, "joined").await;
    witness.hears_all("joins without a cookie").await;
}

#[tokio::test]
async fn an_origin_that_is_not_ours_may_not_act() {
    let gateway = TestGateway::with(|config| {
        config.gateway.origins = vec!["https://app.example".to_owned()];
    });
    let own = format!("http://{}", gateway.http());
    for (origin, allowed) in [
        ("http://evil.example", false),
        ("null", false),
        ("http://localhost", false),
        (own.as_str(), true),
        ("https://app.example", true),
    ] {
        let counters = gateway.counters();
        for mut http in [gateway.http1().await, gateway.http2().await] {
            let headers = [("origin", origin), ("content-type", "application/json")];
            let path = "/v1/rooms/o/messages";
            let answer = http
                .request(Method::POST, path, &headers, r#"{"data":1}"#)
                .await;
            if allowed {
                assert_eq!(answer.status, 201, "{origin}");
            } else {
                assert_eq!(
                    (answer.status, &*answer.problem()),
                    (403, "origin_refused"),
                    "{origin}"
                );
            }
            let read = http
                .request(Method::GET, "/v1/rooms", &headers[..1], "")
                .await;
            assert_eq!(read.status, 200, "{origin}: reading is not acting");
        }
        let mut raw = gateway.raw(gateway.http()).await;
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            gateway.http()
        );
        raw.write(request.as_bytes()).await;
        let expected = if allowed {
            "HTTP/1.1 101 "
        } else {
            "HTTP/1.1 403 "
        };
        let head = raw.read_head().await;
        assert!(head.starts_with(expected), "{origin}: {head}");
        let refused = if allowed { 0 } else { 3 };
        counters
            .moved(&[("http_origin_refused_total", refused)])
            .await;
    }
}

#[tokio::test]
async fn a_handshake_that_rfc_6455_refuses_is_refused() {
    let gateway = TestGateway::start();
    let good = [
        ("host", "localhost"),
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value, status) in [
        ("upgrade", "h2c", "400"),
        ("connection", "close", "400"),
        ("sec-websocket-version", "8", "426"),
        ("sec-websocket-key", "short", "400"),
        ("sec-websocket-key", "", "400"),
    ] {
        let counters = gateway.counters();
        let mut request = "GET /ws HTTP/1.1\r\n".to_owned();
        for (known, good) in good {
            let value = if known == name { value } else { good };
            request += &format!("{known}: {value}\r\n");
        }
        let mut raw = gateway.raw(gateway.http()).await;
        raw.write(format!("{request}\r\n").as_bytes()).await;
        let head = raw.read_head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {value}: {head}"
        );
        if status == "426" {
            assert!(head.contains("sec-websocket-version: 13"), "{head}");
        }
        counters
            .complained(&[("ws_handshakes_refused_total", 1)])
            .await;
    }
}
