//! Messages in a stream of bytes: told apart, counted, sent back, and refused when they are too long.

use std::sync::{Arc, Mutex};

use roomwire::config::{ByteSize, Handler, ListenerConfig, Protocol};
use roomwire_protocols::frame::{self, Framing};
use roomwire_tests::{GatewayOptions, TestGateway};

fn gateway(framing: &str, handler: Handler) -> TestGateway {
    options(framing, handler).start()
}

fn options(framing: &str, handler: Handler) -> GatewayOptions {
    let mut door = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
        .with_handler(handler);
    door.framing = Some(framing.parse().expect("a framing"));
    GatewayOptions::new().config(|config| {
        config.listeners.push(door);
        config.limits.max_message = ByteSize::kib(1);
    })
}

const FRAMINGS: [&str; 7] = [
    "lines",
    "u16",
    "u16-le",
    "u32",
    "u32-le",
    "fixed:5",
    "delimiter:--",
];

#[tokio::test]
async fn messages_come_back_as_they_were_framed_in_whatever_pieces_they_came() {
    for framing in FRAMINGS {
        let gateway = gateway(framing, Handler::Echo);
        let counters = gateway.counters();
        let framing: Framing = framing.parse().unwrap();
        let mut input = Vec::new();
        for message in [b"hello", b"world", b"12345"] {
            assert!(frame::encode(&mut input, &framing, message));
        }
        let mut raw = gateway.raw(gateway.address("door").unwrap()).await;
        for byte in &input {
            raw.write(&[*byte]).await;
        }
        assert_eq!(raw.read(input.len()).await, input, "{framing}");
        raw.write(&input).await;
        assert_eq!(raw.read(input.len()).await, input, "{framing}");
        counters.moved(&[("tcp_framed_messages_in_total", 6)]).await;
        raw.shutdown().await;
        assert_eq!(raw.read_to_end().await, b"");
    }
}

#[tokio::test]
async fn a_program_that_listens_hears_whole_messages() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let gateway = options("u16", Handler::Discard)
        .build(|builder| {
            builder.on_payload("message", move |input: &roomwire::event::Inbound| {
                hears.lock().unwrap().push(input.data.to_vec());
            })
        })
        .start();
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.address("door").unwrap()).await;
    raw.write(b"\0\x03on").await;
    raw.write(b"e\0\x03two\0").await;
    counters.moved(&[("tcp_framed_messages_in_total", 2)]).await;
    assert_eq!(*heard.lock().unwrap(), [b"one", b"two"]);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_session_and_is_counted() {
    for (framing, input) in [
        ("lines", vec![b'x'; 1025]),
        ("u16", vec![4, 1]),
        ("u32", vec![255; 4]),
        ("delimiter:--", vec![b'x'; 1026]),
    ] {
        let gateway = gateway(framing, Handler::Echo);
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.address("door").unwrap()).await;
        raw.write(&input).await;
        assert_eq!(raw.read_to_end().await, b"", "{framing}");
        drop(raw);
        counters
            .complained(&[
                ("command_errors_too_large_total", 1),
                ("session_close_too_big_total", 1),
            ])
            .await;
    }
}

#[tokio::test]
async fn who_does_not_read_its_echoes_is_not_read_from() {
    let gateway = gateway("u16", Handler::Echo);
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.address("door").unwrap()).await;
    let mut block = Vec::new();
    while block.len() < 1 << 20 {
        frame::encode(&mut block, &"u16".parse().unwrap(), &[7; 1000]);
    }
    let write = async { while raw.try_write(&block).await.is_ok() {} };
    let stopped = async {
        while counters.delta("sessions_paused_total") == 0 {
            roomwire_tests::pass(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = write => {}
        () = stopped => {}
    }
    assert_eq!(counters.delta("session_close_slow_total"), 0);
}
