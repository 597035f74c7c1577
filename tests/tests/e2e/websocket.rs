//! RFC 6455 after the handshake, byte by byte: fragments, control frames, text, lengths and closes.
//!
//! Every test writes its frames itself, so that what it proves is on the wire. What
//! ends a session of rooms, and what is counted then, is in `malformed`.

use std::time::Duration;

use http::Method;
use roomwire::config::{ByteSize, Span};
use roomwire_tests::{PATIENCE, Raw, Task, TestGateway, eventually, frame, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

async fn echo(gateway: &TestGateway) -> Raw {
    let mut raw = gateway.raw(gateway.http()).await;
    raw.upgrade("/echo").await;
    raw
}

fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// Shows that the session has seen all that was sent to it, and goes on.
async fn goes_on(raw: &mut Raw) {
    raw.write(&frame(FIN | PING, b"still there?")).await;
    assert_eq!(raw.read_frame().await, (PONG, b"still there?".to_vec()));
}

#[tokio::test]
async fn a_ping_between_fragments_is_answered_before_the_message_ends() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    raw.write(&frame(TEXT, b"Hel")).await;
    raw.write(&frame(FIN | PING, b"between")).await;
    assert_eq!(raw.read_frame().await, (PONG, b"between".to_vec()));
    raw.write(&frame(0, b"")).await;
    raw.write(&frame(FIN | PONG, b"unasked")).await;
    goes_on(&mut raw).await;
    raw.write(&frame(FIN, b"lo")).await;
    assert_eq!(raw.read_frame().await, (TEXT, b"Hello".to_vec()));
}

#[tokio::test]
async fn a_close_between_fragments_ends_the_session() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    raw.write(&frame(TEXT, b"never")).await;
    raw.write(&close(1000)).await;
    assert_eq!(raw.read_frame().await, (CLOSE, vec![3, 0xe8]));
    assert_eq!(raw.read_to_end().await, b"");
}

#[tokio::test]
async fn fragments_of_any_size_make_one_message_of_the_first_ones_kind() {
    let gateway = TestGateway::start();
    let text = "κόσμε🎉 and so on ".repeat(20);
    for (kind, size) in [(TEXT, 1), (TEXT, 7), (BINARY, 1), (BINARY, 100)] {
        let mut raw = echo(&gateway).await;
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let mut stream = frame(kind, b"");
        for piece in pieces {
            stream.extend(frame(0, piece));
        }
        stream.extend(frame(FIN, b""));
        raw.write(&stream).await;
        assert_eq!(raw.read_frame().await, (kind, text.as_bytes().to_vec()));
        raw.write(&frame(FIN | TEXT, b"next")).await;
        assert_eq!(raw.read_frame().await, (TEXT, b"next".to_vec()));
    }
}

#[tokio::test]
async fn pings_and_messages_of_one_read_are_answered_in_order() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for length in 0..=125_u8 {
        let payload = vec![length; usize::from(length)];
        sent.extend(frame(FIN | PING, &payload));
        sent.extend(frame(FIN | BINARY, &payload));
        expected.push((PONG, payload.clone()));
        expected.push((BINARY, payload));
    }
    raw.write(&sent).await;
    for expected in expected {
        assert_eq!(raw.read_frame().await, expected);
    }
}

#[tokio::test]
async fn who_does_not_read_its_echo_is_not_read_from_and_loses_nothing() {
    /// 32 MB in all, far more than kernels buffer for a socket.
    const MESSAGES: usize = 1000;
    /// What may wait in the gateway for one session: the answers to a read, and the read behind them.
    const MOST_WAITING: u64 = 1024 * 1024;
    let gateway = TestGateway::with(|config| {
        config.limits.write_timeout = Span::minutes(5);
        // The echo of one read is more than such an outbox takes.
        config.limits.max_outbox_bytes = ByteSize::kib(128);
    });
    for tls in [false, true] {
        let mut raw = if tls {
            Raw::new(gateway.tls(b"http/1.1").await)
        } else {
            gateway.raw(gateway.http()).await
        };
        raw.upgrade("/echo").await;
        let counters = gateway.counters();
        let (mut reader, mut writer) = tokio::io::split(raw.into_socket());
        let message = |index: usize| vec![u8::try_from(index % 251).unwrap(); 32_000 + index];
        let writing = Task::spawn(async move {
            for index in 0..MESSAGES {
                let mut frames = frame(FIN | BINARY, &message(index));
                frames.extend(frame(FIN | PING, &index.to_be_bytes()));
                writer.write_all(&frames).await.expect("it goes on");
            }
            writer.flush().await.expect("it goes on");
            writer
        });
        eventually(PATIENCE, || match counters.delta("sessions_paused_total") {
            0 => Err("never paused"),
            _ => Ok(()),
        })
        .await;
        let waiting = gateway.snapshot().value("outbox_bytes");
        assert!(
            waiting.is_some_and(|bytes| bytes <= MOST_WAITING),
            "{waiting:?}"
        );
        for index in 0..MESSAGES {
            let mut header = [0; 4];
            within("a header", reader.read_exact(&mut header))
                .await
                .expect("it goes on");
            let expected = message(index);
            let length = u16::try_from(expected.len()).unwrap().to_be_bytes();
            assert_eq!(
                header,
                [FIN | BINARY, 126, length[0], length[1]],
                "message {index}"
            );
            let mut payload = vec![0; expected.len()];
            within("a payload", reader.read_exact(&mut payload))
                .await
                .expect("it goes on");
            assert!(payload == expected, "message {index}");
            let mut pong = [0; 10];
            within("a pong", reader.read_exact(&mut pong))
                .await
                .expect("it goes on");
            assert_eq!(pong[..2], [FIN | PONG, 8], "pong {index}");
            assert_eq!(pong[2..], index.to_be_bytes(), "pong {index}");
        }
        drop(writing.join().await);
        gateway.reaches("outbox_bytes", 0).await;
        gateway.settled_counters().await;
        assert_eq!(counters.delta("ws_messages_in_total"), MESSAGES as u64);
        assert_eq!(counters.delta("wire_frames_out_total"), 2 * MESSAGES as u64);
        assert!(
            counters.complaints().is_empty(),
            "{:?}",
            counters.complaints()
        );
    }
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    let stream = [
        frame(TEXT, "é".as_bytes()),
        frame(FIN | PING, b"p"),
        frame(FIN, &[b'x'; 130]),
    ]
    .concat();
    for byte in stream {
        let counters = gateway.counters();
        raw.write(&[byte]).await;
        // Otherwise the kernel could hand over several at once.
        counters.moved(&[("wire_reads_total", 1)]).await;
    }
    assert_eq!(raw.read_frame().await, (PONG, b"p".to_vec()));
    let expected = format!("é{}", "x".repeat(130)).into_bytes();
    assert_eq!(raw.read_frame().await, (TEXT, expected));
}

#[tokio::test]
async fn text_fails_at_its_first_bad_byte_and_not_before() {
    let gateway = TestGateway::start();
    // Good so far, and the byte after which no character can come any more (Unicode, table 3-7).
    let table: &[(&[u8], u8)] = &[
        (b"ok", 0x80),
        (b"ok", 0xc0),
        (b"ok", 0xc1),
        (b"ok", 0xf5),
        (b"ok", 0xff),
        (b"\xc3", 0xc3),
        (b"\xe0", 0x9f),
        (b"\xe2\x82", 0x20),
        (b"\xed", 0xa0),
        (b"\xf0", 0x8f),
        (b"\xf0\x9f\x8e", 0xc0),
        (b"\xf4", 0x90),
    ];
    for (good, bad) in table {
        // Inside a frame that announces much more than what ever comes.
        let mut raw = echo(&gateway).await;
        let announced = frame(FIN | TEXT, &[good, &[*bad; 1000][..]].concat());
        raw.write(&announced[..8 + good.len() + 1]).await;
        assert_eq!(raw.read_close().await.0, 1007, "{good:x?} {bad:x}");

        // In a fragment of which the message's end is yet to come.
        let mut raw = echo(&gateway).await;
        raw.write(&frame(TEXT, good)).await;
        goes_on(&mut raw).await;
        raw.write(&frame(0, &[*bad])).await;
        assert_eq!(raw.read_close().await.0, 1007, "{good:x?} {bad:x}");
    }
}

#[tokio::test]
async fn text_may_not_end_inside_a_character() {
    let gateway = TestGateway::start();
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x8e"] {
        let mut raw = echo(&gateway).await;
        raw.write(&frame(TEXT, cut)).await;
        goes_on(&mut raw).await;
        raw.write(&frame(FIN, b"")).await;
        assert_eq!(raw.read_close().await.0, 1007, "{cut:x?}");
    }
}

#[tokio::test]
async fn binary_may_hold_any_byte() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    let every: Vec<u8> = (0..=255).collect();
    raw.write(&frame(FIN | BINARY, &every)).await;
    assert_eq!(raw.read_frame().await, (BINARY, every));
}

#[tokio::test]
async fn lengths_are_written_in_their_shortest_form() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::kib(256);
    });
    let mut raw = echo(&gateway).await;
    for (length, header) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        raw.write(&frame(FIN | BINARY, &vec![7; length])).await;
        assert_eq!(raw.read(header.len()).await, header);
        assert_eq!(raw.read(length).await, vec![7; length]);
    }
}

#[tokio::test]
async fn lengths_are_taken_in_their_shortest_form_and_of_63_bits_only() {
    let gateway = TestGateway::start();
    for length in [
        &[0xfe, 0, 0][..],
        &[0xfe, 0, 125],
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        for opcode in [TEXT, BINARY] {
            let mut raw = echo(&gateway).await;
            raw.write(&[&[FIN | opcode], length].concat()).await;
            assert_eq!(raw.read_close().await.0, 1002, "{length:x?}");
        }
    }
}

#[tokio::test]
async fn masks_of_any_kind_are_removed() {
    let gateway = TestGateway::start();
    let mut raw = echo(&gateway).await;
    for key in [[0; 4], [0xff; 4], [1, 2, 4, 8], *b"Hell"] {
        let masked = b"Hello".iter().zip(key.iter().cycle());
        let masked: Vec<u8> = masked.map(|(byte, key)| byte ^ key).collect();
        raw.write(&[&[0x81, 0x85], &key[..], &masked].concat())
            .await;
        assert_eq!(raw.read_frame().await, (TEXT, b"Hello".to_vec()));
    }
}

#[tokio::test]
async fn every_reserved_bit_and_opcode_is_refused() {
    let gateway = TestGateway::start();
    for first in (0..=255_u8).filter(|first| {
        let reserved = first & 0x70 != 0;
        let known = matches!(first & 0x0f, 0..=2 | 8..=10);
        // Seen from its first byte already; one value for each bit or opcode is enough here.
        (reserved && first & 0x0f == 9 && first & FIN != 0) || (!reserved && !known)
    }) {
        let mut raw = echo(&gateway).await;
        raw.write(&[first]).await;
        assert_eq!(raw.read_close().await.0, 1002, "{first:x}");
    }
}

#[tokio::test]
async fn the_peers_close_code_is_answered_by_the_same() {
    let gateway = TestGateway::start();
    let allowed = (1000..=1003_u16).chain(1007..=1014);
    for code in allowed.chain([3000, 3999, 4000, 4999]) {
        for reason in ["", "so long, κόσμε"] {
            let mut raw = echo(&gateway).await;
            let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
            raw.write(&frame(FIN | CLOSE, &payload)).await;
            let (opcode, answer) = raw.read_frame().await;
            assert_eq!((opcode, &answer[..2]), (CLOSE, &code.to_be_bytes()[..]));
            assert_eq!(raw.read_to_end().await, b"", "the server closes first");
        }
    }
    let mut raw = echo(&gateway).await;
    raw.write(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(raw.read_frame().await, (CLOSE, Vec::new()), "none to none");
    assert_eq!(raw.read_to_end().await, b"");
}

#[tokio::test]
async fn close_codes_that_may_not_be_sent_are_answered_by_1002() {
    let gateway = TestGateway::start();
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let mut raw = echo(&gateway).await;
        raw.write(&close(code)).await;
        assert_eq!(raw.read_close().await.0, 1002, "{code}");
    }
}

#[tokio::test]
async fn a_close_payload_is_a_whole_code_and_utf8_of_125_bytes_at_most() {
    let gateway = TestGateway::start();
    for (payload, code) in [
        (&b"\x03"[..], 1002),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8caf\xc3", 1007),
        (&[b'r'; 126], 1002),
    ] {
        let mut raw = echo(&gateway).await;
        raw.write(&frame(FIN | CLOSE, payload)).await;
        assert_eq!(raw.read_close().await.0, code, "{payload:x?}");
    }
    let longest = [&[3, 0xe8][..], &[b'r'; 123]].concat();
    let mut raw = echo(&gateway).await;
    raw.write(&frame(FIN | CLOSE, &longest)).await;
    assert_eq!(raw.read_frame().await.0, CLOSE);
}

#[tokio::test]
async fn what_follows_the_peers_close_is_not_answered() {
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let mut raw = echo(&gateway).await;
    let late = [
        close(1000),
        frame(FIN | PING, b"late"),
        frame(FIN | TEXT, b"late"),
        close(1001),
        vec![0xff; 100],
    ];
    raw.write(&late.concat()).await;
    assert_eq!(raw.read_frame().await, (CLOSE, vec![3, 0xe8]));
    assert_eq!(raw.read_to_end().await, b"");
    drop(raw);
    counters
        .moved(&[
            ("ws_pings_in_total", 0),
            ("ws_messages_in_total", 0),
            ("ws_violations_total", 0),
            ("session_close_closed_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn what_follows_a_violation_is_not_looked_at() {
    let gateway = TestGateway::with(|config| {
        // So that only the peer can have ended the wait.
        config.limits.close_timeout = Span::minutes(5);
    });
    let counters = gateway.counters();
    let mut raw = echo(&gateway).await;
    raw.write(&[0xff, 0xff]).await;
    let (opcode, payload) = raw.read_frame().await;
    assert_eq!((opcode, &payload[..2]), (CLOSE, &[3, 0xea][..]));
    for late in [frame(FIN | PING, b"late"), vec![0xff; 100], close(1002)] {
        raw.write(&late).await;
    }
    assert_eq!(raw.read_to_end().await, b"");
    raw.shutdown().await;
    gateway.reaches("sessions", 0).await;
    counters
        .moved(&[
            ("ws_pings_in_total", 0),
            ("ws_violations_total", 1),
            ("session_close_protocol_error_total", 1),
        ])
        .await;
}

/// Ends every session from our side, as an operator would.
async fn kick_all(gateway: &TestGateway) {
    let mut http = gateway.http1().await;
    let listed = http.get("/v1/connections").await.json();
    let mut kicked = 0;
    for connection in listed["connections"].as_array().expect("a list") {
        if connection["wire"]
            .as_str()
            .expect("a wire")
            .starts_with("websocket")
        {
            let path = format!("/v1/connections/{}", connection["id"].as_str().unwrap());
            let answer = http.request(Method::DELETE, &path, &[], "").await;
            assert_eq!(answer.status, 204, "{}", answer.text());
            kicked += 1;
        }
    }
    assert!(kicked > 0, "{listed}");
}

#[tokio::test]
async fn a_peer_that_answers_our_close_is_let_go_at_once() {
    let gateway = TestGateway::with(|config| config.limits.close_timeout = Span::minutes(5));
    let mut raw = echo(&gateway).await;
    kick_all(&gateway).await;
    let (opcode, payload) = raw.read_frame().await;
    assert_eq!(
        (opcode, &payload[..2]),
        (CLOSE, &1008_u16.to_be_bytes()[..])
    );
    // Frames that were on their way are thrown away; the socket stays open on this side.
    raw.write(&[frame(FIN | TEXT, b"late"), close(1008)].concat())
        .await;
    assert_eq!(raw.read_to_end().await, b"", "nothing follows a close");
    gateway.reaches("session_close_kicked_total", 1).await;
    gateway.reaches("ws_messages_in_total", 0).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_our_close_is_cut_after_close_timeout() {
    let gateway = TestGateway::with(|config| config.limits.close_timeout = Span::millis(300));
    let mut raw = echo(&gateway).await;
    kick_all(&gateway).await;
    assert_eq!(raw.read_frame().await.0, CLOSE);
    assert_eq!(raw.read_to_end().await, b"");
    gateway
        .reaches_in(Duration::from_secs(5), "session_close_kicked_total", 1)
        .await;
}

#[tokio::test]
async fn no_message_of_a_room_follows_a_close() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw_websocket().await;
    raw.write(&frame(FIN | TEXT, br#"{"id":1,"type":"join","room":"r"}"#))
        .await;
    assert_eq!(raw.read_frame().await.0, TEXT);
    raw.write(&close(1000)).await;
    assert_eq!(raw.read_frame().await, (CLOSE, vec![3, 0xe8]));
    for _ in 0..10 {
        gateway.publish("r", "x", b"1").unwrap();
    }
    assert_eq!(raw.read_to_end().await, b"");
}

#[tokio::test]
async fn a_connection_that_ends_without_a_close_frame_just_ends() {
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let mut raw = echo(&gateway).await;
    raw.write(&frame(TEXT, b"unfinished")).await;
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, b"");
    counters.moved(&[("session_close_ended_total", 1)]).await;
    assert!(counters.complaints().is_empty());
}

#[tokio::test]
async fn tls_says_that_it_ends_also_to_a_peer_that_just_ended() {
    let gateway = TestGateway::start();
    let mut tls = gateway.tls(b"http/1.1").await;
    let request = "GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: Upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tls.write_all(request.as_bytes()).await.unwrap();
    tls.write_all(&frame(FIN | TEXT, b"last")).await.unwrap();
    tls.shutdown().await.unwrap();
    let mut read = Vec::new();
    // rustls tells an end without a close_notify as an error.
    within("close_notify", tls.read_to_end(&mut read))
        .await
        .expect("a clean end");
    assert!(read.ends_with(b"\x81\x04last"), "{read:?}");
}
