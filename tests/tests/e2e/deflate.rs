//! permessage-deflate (RFC 7692): what is agreed, that a room's message is compressed once for all who
//! agreed to the same, and what a compressed message may cost. The other side is another
//! implementation of DEFLATE than the gateway's.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use roomwire::config::ByteSize;
use roomwire_tests::{Event, Raw, TestGateway, frame};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const SMALL_OFFER: &str = "permessage-deflate; server_max_window_bits=9";

const TEXT: u8 = 0x81;
const COMPRESSED: u8 = 0x40;
const COMPRESSED_TEXT: u8 = TEXT | COMPRESSED;
const COMPRESSED_BINARY: u8 = 0x82 | COMPRESSED;

/// A message as a client compresses it.
fn deflate(message: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(message.len() + 1024);
    Compress::new(Compression::best(), false)
        .compress_vec(message, &mut compressed, FlushCompress::Sync)
        .expect("there is room");
    compressed.truncate(compressed.len() - 4);
    compressed
}

/// What a client makes of a compressed message.
fn inflate(compressed: &[u8]) -> String {
    let mut message = Vec::with_capacity(1024 * 1024);
    let input = [compressed, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false)
        .decompress_vec(&input, &mut message, FlushDecompress::Sync)
        .expect("it is DEFLATE");
    String::from_utf8(message).expect("UTF-8")
}

/// A WebSocket that offered compression.
async fn compressing(gateway: &TestGateway, path: &str) -> Raw {
    let mut raw = gateway.raw(gateway.http()).await;
    let agreed = raw.upgrade_offering(path, &[OFFER]).await;
    assert_eq!(agreed.as_deref(), Some(AGREED));
    raw
}

/// A member of `room` that offered these extensions.
async fn member(gateway: &TestGateway, room: &str, offers: &[&str]) -> Raw {
    let mut raw = gateway.raw(gateway.http()).await;
    let agreed = raw.upgrade_offering("/ws", offers).await;
    assert_eq!(agreed.is_some(), !offers.is_empty());
    let join = format!(r#"{{"type":"join","room":"{room}","id":1}}"#);
    raw.write(&frame(TEXT, join.as_bytes())).await;
    let (_, joined) = next(&mut raw, "joined").await;
    assert!(!joined.is_empty());
    raw
}

/// The next frame that holds an object of this type: its first byte and its payload as it came.
async fn next(raw: &mut Raw, kind: &str) -> (u8, Vec<u8>) {
    loop {
        let (first, payload) = raw.read_any_frame().await;
        let text = if first & COMPRESSED == 0 {
            String::from_utf8(payload.clone()).expect("UTF-8")
        } else {
            inflate(&payload)
        };
        if Event::parse(text).kind() == kind {
            return (first, payload);
        }
    }
}

#[tokio::test]
async fn a_rooms_message_is_compressed_once_for_each_window_and_not_for_each_member() {
    const EACH: usize = 5;
    let gateway = TestGateway::with(|config| config.gateway.workers = 1);
    let mut members = Vec::new();
    for _ in 0..EACH {
        for offers in [&[][..], &[OFFER], &[SMALL_OFFER]] {
            members.push(member(&gateway, "room", offers).await);
        }
    }
    let counters = gateway.settled_counters().await;
    let data = format!("{:?}", "all the same ".repeat(100));
    gateway.publish("room", "host", data.as_bytes()).unwrap();

    let mut frames = Vec::new();
    for member in &mut members {
        frames.push(next(member, "message").await);
    }
    let (plain, compressed): (Vec<_>, Vec<_>) =
        frames.iter().partition(|(first, _)| *first == TEXT);
    assert_eq!((plain.len(), compressed.len()), (EACH, 2 * EACH));
    for (first, payload) in compressed {
        assert_eq!(*first, COMPRESSED_TEXT);
        assert!(payload.len() < plain[0].1.len() / 4, "{}", payload.len());
        assert_eq!(inflate(payload).as_bytes(), plain[0].1);
    }
    counters.moved(&[("ws_compressed_total", 2)]).await;
    let before = counters.delta("ws_compressed_bytes_in_total");
    assert_eq!(before, 2 * plain[0].1.len() as u64);
}

#[tokio::test]
async fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
    let gateway = TestGateway::start();
    let mut member = member(&gateway, "room", &[OFFER]).await;
    gateway.publish("room", "host", b"1").unwrap();
    assert_eq!(next(&mut member, "message").await.0, TEXT);
    let mut echo = compressing(&gateway, "/echo").await;
    let noise: Vec<u8> = (0..1024_u32)
        .flat_map(|n| {
            (n + 1)
                .wrapping_mul(2_654_435_761)
                .rotate_left(n)
                .to_le_bytes()
        })
        .collect();
    echo.write(&frame(0x82, &noise)).await;
    assert_eq!(echo.read_any_frame().await, (0x82, noise));
}

#[tokio::test]
async fn compressed_messages_come_whole_in_fragments_and_empty() {
    let gateway = TestGateway::start();
    let mut echo = compressing(&gateway, "/echo").await;
    let text = "é and more of it, ".repeat(100);
    let compressed = deflate(text.as_bytes());
    echo.write(&frame(COMPRESSED_TEXT, &compressed)).await;
    let (first, payload) = echo.read_any_frame().await;
    assert_eq!((first, inflate(&payload)), (COMPRESSED_TEXT, text.clone()));

    // RFC 7692 §6.1: only the first fragment has the bit; a ping may stand between them.
    let (one, two) = compressed.split_at(compressed.len() / 2);
    echo.write(&frame(0x42, one)).await;
    echo.write(&frame(0x89, b"between")).await;
    echo.write(&frame(0x80, two)).await;
    assert_eq!(echo.read_any_frame().await, (0x8a, b"between".to_vec()));
    let (first, payload) = echo.read_any_frame().await;
    assert_eq!((first, inflate(&payload)), (COMPRESSED_BINARY, text));

    // §7.2.3.6: an empty message is one zero byte.
    echo.write(&frame(COMPRESSED_TEXT, &[0])).await;
    assert_eq!(echo.read_any_frame().await, (TEXT, Vec::new()));
}

#[tokio::test]
async fn large_answers_are_compressed_and_what_was_missed_is_not() {
    let gateway = TestGateway::start();
    let data = format!("{:?}", "again ".repeat(100));
    for _ in 0..10 {
        gateway.publish("room", "host", data.as_bytes()).unwrap();
    }
    let mut raw = compressing(&gateway, "/ws").await;
    let join = br#"{"type":"join","room":"room","since":{"epoch":"0","offset":0}}"#;
    raw.write(&frame(TEXT, join)).await;
    for _ in 0..10 {
        assert_eq!(next(&mut raw, "message").await.0, TEXT);
    }
    let history = br#"{"type":"history","room":"room","id":2,"limit":10}"#;
    raw.write(&frame(TEXT, history)).await;
    assert_eq!(next(&mut raw, "history").await.0, COMPRESSED_TEXT);
}

#[tokio::test]
async fn a_message_that_inflates_too_far_ends_its_session_with_1009() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::mib(1);
        config.limits.max_outbox_bytes = ByteSize::mib(2);
    });
    let counters = gateway.counters();
    // A hundred times its size, though below the limit on a message: the ratio decides.
    let bomb = deflate(&[b' '; 512 * 1024]);
    assert!(bomb.len() < 1024);
    let mut raw = compressing(&gateway, "/ws").await;
    raw.write(&frame(COMPRESSED_TEXT, &bomb)).await;
    assert_eq!(raw.read_close().await.0, 1009);
    counters.moved(&[("ws_violations_total", 1)]).await;
    // Beyond the limit on a message nothing helps.
    let gateway = TestGateway::with(|config| config.limits.max_inflate_ratio = 1000);
    let mut raw = compressing(&gateway, "/echo").await;
    raw.write(&frame(COMPRESSED_BINARY, &deflate(&[0; 65 * 1024])))
        .await;
    assert_eq!(raw.read_close().await.0, 1009);
}

#[tokio::test]
async fn what_is_not_deflate_ends_its_session_with_1007() {
    let gateway = TestGateway::start();
    let mut raw = compressing(&gateway, "/ws").await;
    raw.write(&frame(COMPRESSED_TEXT, &[0xff; 64])).await;
    assert_eq!(raw.read_close().await.0, 1007);
}

#[tokio::test]
async fn nobody_compresses_who_did_not_agree_to_it() {
    let gateway = TestGateway::with(|config| config.websocket.compression = false);
    let mut raw = gateway.raw(gateway.http()).await;
    assert_eq!(raw.upgrade_offering("/ws", &[OFFER]).await, None);
    raw.write(&frame(COMPRESSED_TEXT, &deflate(b"{}"))).await;
    assert_eq!(raw.read_close().await.0, 1002);
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let unknown = "permessage-deflate; window=3, x-webkit-deflate-frame";
    assert_eq!(raw.upgrade_offering("/ws", &[unknown]).await, None);
}

#[tokio::test]
async fn of_several_offers_the_first_that_can_be_kept_is_taken() {
    let gateway = TestGateway::start();
    for (offers, agreed) in [
        (
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate"][..],
            AGREED,
        ),
        (
            &["permessage-deflate; server_max_window_bits=10", OFFER],
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=9",
        ),
        (&["x-other", OFFER], AGREED),
    ] {
        let mut raw = gateway.raw(gateway.http()).await;
        let answer = raw.upgrade_offering("/echo", offers).await;
        assert_eq!(answer.as_deref(), Some(agreed), "{offers:?}");
    }
}

#[tokio::test]
async fn a_malformed_offer_is_refused_with_400() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let request = "GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
                   connection: Upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-extensions: permessage-deflate;;\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    raw.write(request.as_bytes()).await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn streams_of_http2_compress_too() {
    let gateway = TestGateway::start();
    let offer = ("sec-websocket-extensions", OFFER);
    let (agreed, socket) = gateway.http2().await.tunnel("/echo", offer).await;
    assert_eq!(agreed["sec-websocket-extensions"], AGREED);
    let mut raw = Raw::new(socket);
    let text = "over HTTP/2 ".repeat(50);
    let compressed = deflate(text.as_bytes());
    raw.write(&frame(COMPRESSED_TEXT, &compressed)).await;
    let (first, payload) = raw.read_any_frame().await;
    assert_eq!((first, inflate(&payload)), (COMPRESSED_TEXT, text));
}
