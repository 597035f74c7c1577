//! From the first connection to the last goodbye: drains, keepalives, leases, limits, leaks.

use std::io::ErrorKind;
use std::time::Duration;

use http::Method;
use roomwire::Phase;
use roomwire::config::Span;
use roomwire_tests::{
    Client, Event, EventStream, GatewayOptions, Heard, LongPoll, TestGateway, frame, stays, within,
};
use tokio::net::TcpStream;

use crate::wire::WIRES;

#[tokio::test]
async fn a_drain_says_goodbye_on_every_wire_and_cuts_nobody_who_leaves() {
    let gateway = TestGateway::start();
    let mut clients = Vec::new();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        client.join("end").await;
        clients.push((format!("{wire:?}"), client));
    }
    let mut tls = gateway.websocket_tls().await;
    tls.join("end").await;
    clients.push(("tls".to_owned(), tls));
    let mut stream = gateway.websocket_http2().await;
    stream.join("end").await;
    clients.push(("http/2".to_owned(), stream));
    let mut person = gateway.person().await;
    person.join("end").await;
    let mut streams = Vec::new();
    for http in [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https2().await,
    ] {
        streams.push(EventStream::open(http, "end", None).await);
    }
    let mut poll = LongPoll::open(gateway.https1().await, "end").await;
    let mut ready = gateway.http1().await;
    assert_eq!(ready.get("/readyz").await.status, 200);
    gateway.publish("end", "x", b"\"last words\"").unwrap();
    assert_eq!(poll.message().await.data, "\"last words\"");
    let counters = gateway.settled_counters().await;
    let members = clients.len() as u64 + 1;

    let told = async {
        for (wire, client) in &mut clients {
            assert_eq!(client.message().await.data, "\"last words\"", "{wire}");
            let goodbye = client.next().await;
            assert_eq!(goodbye.kind(), "goodbye", "{wire}: {}", goodbye.text());
            assert_eq!(goodbye["reason"], "shutdown", "{wire}");
            assert_eq!(goodbye["reconnect"], true, "{wire}");
            assert!(goodbye["after_ms"].is_u64(), "{wire}");
            if wire == "Datagrams" {
                continue;
            }
            let Heard::Closed(close) = client.hear().await else {
                panic!("{wire}: something after the goodbye")
            };
            if ["WebSocket", "tls", "http/2"].contains(&wire.as_str()) {
                assert_eq!(close, Some((1001, "shutdown".to_owned())), "{wire}");
            }
        }
        clients.clear();
        assert_eq!(person.hears().await.split(": ").last(), Some("last words"));
        assert_eq!(person.reads().await, "* goodbye: shutdown");
        assert_eq!(person.try_read().await, None);
        drop(person);
        for stream in &mut streams {
            assert_eq!(stream.message().await.data, "\"last words\"");
            let goodbye = stream.next().await;
            assert_eq!(goodbye.event, "notice");
            let goodbye = Event::parse(goodbye.data);
            assert_eq!(
                (goodbye.kind(), &goodbye["reason"]),
                ("goodbye", &"shutdown".into())
            );
            assert_eq!(stream.try_next().await, None);
        }
        streams.clear();
    };
    let polled = async {
        // It waits; the drain answers it, with an empty list.
        let answer = poll.ask(15).await;
        assert_eq!(answer.status, 200);
        assert!(answer.event().messages().is_empty());
    };
    let drain = async {
        gateway.reaches("http_long_polls_total", 1).await;
        gateway.drain().await
    };
    let (drained, (), ()) = tokio::join!(drain, told, polled);
    assert_eq!(drained.cut, 0);
    assert_eq!(gateway.snapshot().value("sessions"), Some(0));
    assert_eq!(gateway.snapshot().value("udp_sessions"), Some(0));
    assert!(!gateway.snapshot().ready);
    let closed = counters.delta("session_close_shutdown_total");
    assert!(closed >= members, "{closed}");
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_takes_nobody_new() {
    let gateway = TestGateway::start();
    // It does not answer the close, so that there is time to look.
    let mut stubborn = gateway.raw_websocket().await;
    stubborn.write(&frame(0x81, br#"{"type":"hello"}"#)).await;
    let mut http = gateway.http1().await;
    assert_eq!(http.get("/readyz").await.text(), "ready\n");
    assert_eq!(gateway.phase(), Phase::Ready);
    gateway.begin_shutdown();
    assert_eq!(gateway.phase(), Phase::Draining);
    assert!(!gateway.snapshot().ready);
    // The accept loops end in their next turn.
    let refused = async {
        loop {
            // One that was not accepted yet is reset when its socket closes.
            match TcpStream::connect(gateway.tcp()).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    within("a refused connection", refused).await;
    // Whoever asks whether to send work here is told, and gets no more than that.
    for mut http in [gateway.http1().await, gateway.https1().await] {
        let answer = http.get("/readyz").await;
        assert_eq!((answer.status, answer.text()), (503, "draining\n"));
    }
    for path in ["/v1/rooms/a/events", "/v1/rooms/a/messages?wait=5"] {
        let answer = gateway.http1().await.get(path).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (503, "shutting_down"),
            "{path}"
        );
    }
    let mut late = gateway.raw(gateway.http()).await;
    late.write(
        b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert!(late.read_head().await.starts_with("HTTP/1.1 503 "));
    let (opcode, payload) = stubborn.read_frame().await;
    let goodbye = String::from_utf8(payload).unwrap();
    assert_eq!(opcode, 1);
    assert!(goodbye.contains(r#""type":"goodbye""#), "{goodbye}");
    assert_eq!(stubborn.read_close().await.0, 1001);
    drop(stubborn);
    gateway.drain().await;
}

#[tokio::test]
async fn while_it_drains_readiness_is_told_over_http2_as_well() {
    let gateway = TestGateway::start();
    let mut stubborn = gateway.raw_websocket().await;
    stubborn.write(&frame(0x81, br#"{"type":"hello"}"#)).await;
    gateway.begin_shutdown();
    for mut http in [gateway.http2().await, gateway.https2().await] {
        let answer = http.get("/readyz").await;
        assert_eq!((answer.status, answer.text()), (503, "draining\n"));
    }
}

#[tokio::test]
async fn a_drain_cuts_and_counts_who_does_not_leave_in_time() {
    let gateway = TestGateway::with(|config| config.gateway.drain = Span::seconds(1));
    // Neither answers the goodbye: one WebSocket, one TCP connection that is never closed.
    let mut websocket = gateway.raw_websocket().await;
    websocket.write(&frame(0x81, br#"{"type":"hello"}"#)).await;
    let mut lines = gateway.lines().await;
    lines.join("stay").await;
    let drained = gateway.drain().await;
    assert_eq!(drained.cut, 2);
    let snapshot = gateway.snapshot();
    assert_eq!(snapshot.value("session_close_shutdown_cut_total"), Some(2));
    assert_eq!(snapshot.value("sessions"), Some(0));
    assert_eq!(
        lines.next().await.kind(),
        "goodbye",
        "it was told all the same"
    );
    assert_eq!(lines.hear().await, Heard::Closed(None));
}

#[tokio::test]
async fn a_second_request_to_shut_down_cuts_at_once() {
    let gateway = TestGateway::start();
    let mut stubborn = gateway.raw_websocket().await;
    stubborn.write(&frame(0x81, br#"{"type":"hello"}"#)).await;
    gateway.begin_shutdown();
    gateway.begin_shutdown();
    let drained = gateway.drain().await;
    assert_eq!(drained.cut, 1);
    assert_eq!(gateway.drain().await, drained, "idempotent");
}

#[tokio::test]
async fn what_is_under_way_over_http_is_finished_in_a_drain() {
    let gateway = GatewayOptions::new()
        .build(|builder| {
            builder.get("/slow", |_| async {
                roomwire_tests::pass(Duration::from_millis(400)).await;
                roomwire::Reply::text("done")
            })
        })
        .start();
    let mut http1 = gateway.http1().await;
    let mut http2 = gateway.http2().await;
    let requests = async { tokio::join!(http1.get("/slow"), http2.get("/slow")) };
    let drain = async {
        gateway.reaches("http_requests_total", 2).await;
        gateway.drain().await
    };
    let ((first, second), drained) = tokio::join!(requests, drain);
    assert_eq!((first.status, first.text()), (200, "done"));
    assert_eq!((second.status, second.text()), (200, "done"));
    assert_eq!(drained.cut, 0);
    http1.ended().await;
    http2.ended().await;
}

#[tokio::test]
async fn a_silent_websocket_is_pinged_and_lives_while_it_answers() {
    let gateway = TestGateway::with(|config| {
        config.limits.ping_interval = Span::seconds(1);
        config.limits.pong_timeout = Span::seconds(1);
    });
    let counters = gateway.counters();
    let mut polite = gateway.raw_websocket().await;
    let mut silent = gateway.raw_websocket().await;
    let stream = EventStream::open(gateway.http1().await, "idle", None);
    let mut stream = stream.await;
    for _ in 0..2 {
        let (opcode, payload) = polite.read_frame().await;
        assert_eq!(opcode, 9);
        polite.write(&frame(0x8a, &payload)).await;
    }
    assert_eq!(silent.read_close().await, (1008, "pong_timeout".to_owned()));
    drop(silent);
    counters
        .complained(&[("session_close_pong_timeout_total", 1)])
        .await;
    counters.moved(&[("ws_pongs_in_total", 2)]).await;
    polite
        .write(&frame(0x81, br#"{"id":1,"type":"ping"}"#))
        .await;
    let (_, payload) = loop {
        let (opcode, payload) = polite.read_frame().await;
        if opcode == 1 {
            break (opcode, payload);
        }
    };
    assert_eq!(payload, br#"{"type":"pong","id":1}"#);
    gateway.publish("idle", "x", b"1").unwrap();
    stream.message().await;
    assert!(
        stream.comments.iter().any(|comment| comment == "ping"),
        "{:?}",
        stream.comments
    );
}

#[tokio::test]
async fn a_ping_of_the_peers_is_answered_with_its_payload() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw_websocket().await;
    raw.write(&frame(0x89, b"are you there")).await;
    assert_eq!(raw.read_frame().await, (10, b"are you there".to_vec()));
    // Between the frames of a message as well (RFC 6455 §5.4).
    raw.write(&frame(0x01, br#"{"id":1,"#)).await;
    raw.write(&frame(0x89, b"")).await;
    assert_eq!(raw.read_frame().await, (10, Vec::new()));
    raw.write(&frame(0x80, br#""type":"ping"}"#)).await;
    assert_eq!(
        raw.read_frame().await,
        (1, br#"{"type":"pong","id":1}"#.to_vec())
    );
    // A close is answered with its code.
    raw.write(&frame(0x88, b"\x0f\xa0bye")).await;
    assert_eq!(raw.read_close().await.0, 4000);
    drop(raw);
    gateway.reaches("session_close_closed_total", 1).await;
}

#[tokio::test]
async fn a_udp_membership_is_a_lease_that_any_datagram_renews() {
    let gateway = TestGateway::with(|config| config.limits.udp_lease = Span::seconds(1));
    let mut watcher = gateway.lines().await;
    watcher.join_with("lease", r#","presence":true"#).await;
    let mut gone = gateway.datagrams().await;
    gone.hello("gone").await;
    gone.join("lease").await;
    let mut here = gateway.datagrams().await;
    let ttl = here.hello("here").await;
    assert_eq!(ttl["session_ttl"], 1);
    here.join("lease").await;
    for name in ["gone", "here"] {
        let joined = watcher.next().await;
        assert_eq!(
            (joined.kind(), &joined["member"]["name"]),
            ("member_joined", &name.into())
        );
    }
    let left = {
        let renewing = async {
            loop {
                here.ping().await;
                roomwire_tests::pass(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            left = watcher.next() => left,
            () = renewing => unreachable!("it goes on"),
        }
    };
    assert_eq!(
        (left.kind(), &left["member"]["name"]),
        ("member_left", &"gone".into())
    );
    gateway
        .reaches("session_close_lease_expired_total", 1)
        .await;
    assert_eq!(gateway.snapshot().value("udp_sessions"), Some(1));
    gateway.publish("lease", "x", b"1").unwrap();
    // The last ping may have been left before its pong came.
    assert_eq!(here.next_of("message").await.message().data, "1");
}

#[tokio::test]
async fn who_begins_no_handshake_is_closed_where_there_is_one() {
    let gateway = TestGateway::with(|config| {
        config.limits.handshake_timeout = Span::millis(300);
        config.limits.header_timeout = Span::millis(300);
    });
    // A person with `nc` may think before the first line: there is no handshake to wait for.
    let person = gateway.raw(gateway.tcp()).await;
    for (what, address) in [("http", gateway.http()), ("https", gateway.https())] {
        let mut raw = gateway.raw(address).await;
        assert_eq!(raw.read_to_end().await, b"", "{what}");
    }
    gateway
        .reaches("session_close_handshake_timeout_total", 2)
        .await;
    gateway.reaches("sessions", 1).await;
    drop(person);
    gateway.reaches("sessions", 0).await;
    // Who has said something may be silent afterwards.
    let mut client = gateway.lines().await;
    client.ping().await;
    gateway.reaches("sessions", 1).await;
    stays(Duration::from_millis(1500), || {
        match gateway.snapshot().value("sessions") {
            Some(1) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    client.ping().await;
}

#[tokio::test]
async fn an_http_request_that_does_not_come_whole_is_given_up() {
    let gateway = TestGateway::with(|config| config.limits.header_timeout = Span::millis(300));
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(
        b"POST /v1/rooms/a/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
          content-length: 10\r\n\r\n{",
    )
    .await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    counters.moved(&[("http_timeouts_total", 2)]).await;
}

#[tokio::test]
async fn an_http_connection_without_requests_is_closed_after_a_while() {
    let gateway = TestGateway::with(|config| {
        config.limits.idle_http = Span::seconds(1);
        config.limits.header_timeout = Span::millis(500);
    });
    let mut http1 = gateway.http1().await;
    let mut http2 = gateway.http2().await;
    let stream = EventStream::open(gateway.http1().await, "idle", None);
    let mut stream = stream.await;
    for http in [&mut http1, &mut http2] {
        assert_eq!(http.get("/healthz").await.status, 200);
    }
    http1.ended().await;
    http2.ended().await;
    // A stream is a request under way.
    gateway.publish("idle", "x", b"1").unwrap();
    stream.message().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_and_places_come_back() {
    let gateway = TestGateway::with(|config| config.limits.max_connections = 2);
    let mut first = gateway.lines().await;
    let mut second = gateway.lines().await;
    first.ping().await;
    second.ping().await;
    let mut third = gateway.raw(gateway.tcp()).await;
    assert_eq!(third.read_to_end().await, b"");
    gateway
        .reaches("listener_connections_refused_total", 1)
        .await;
    drop(first);
    gateway.reaches("sessions", 1).await;
    let mut fourth = gateway.websocket().await;
    fourth.ping().await;
    let mut fifth = gateway.raw(gateway.http()).await;
    assert_eq!(fifth.read_to_end().await, b"");
    drop(fourth);
    gateway.reaches("sessions", 1).await;
    let mut sixth = gateway.http1().await;
    assert_eq!(sixth.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn five_hundred_who_vanish_leave_nothing_behind() {
    let gateway = TestGateway::with(|config| {
        config.rooms.history.messages = 0;
        config.limits.udp_lease = Span::seconds(1);
    });
    let mut clients: Vec<Client> = Vec::new();
    let mut streams = Vec::new();
    for number in 0..500 {
        let room = format!("gone.{}", number % 50);
        match number % 5 {
            0..3 => {
                let mut client = WIRES[number % 3].connect(&gateway).await;
                client.join(&room).await;
                client.join("gone.*").await;
                clients.push(client);
            }
            3 => streams.push(EventStream::open(gateway.http1().await, &room, None).await),
            _ => streams.push(EventStream::open(gateway.https2().await, &room, None).await),
        }
    }
    gateway.publish("gone.1", "x", b"1").unwrap();
    assert!(gateway.snapshot().value("sessions") >= Some(500));
    drop((clients, streams));
    for gauge in [
        "sessions",
        "udp_sessions",
        "hub_rooms",
        "hub_patterns",
        "hub_history_messages",
    ] {
        gateway.reaches(gauge, 0).await;
    }
    let snapshot = gateway.snapshot();
    assert_eq!(
        snapshot.value("sessions_opened_total"),
        snapshot.value("sessions_closed_total")
    );
    let reasons = snapshot
        .rows
        .iter()
        .filter(|row| row.name.starts_with("session_close_"));
    let reasons: u64 = reasons.map(|row| row.value).sum();
    assert_eq!(
        Some(reasons),
        snapshot.value("sessions_closed_total"),
        "each for one reason"
    );
    assert_eq!(snapshot.value("session_panics_total"), Some(0));
    // It is as good as new.
    let mut client = gateway.websocket().await;
    client.join("gone.1").await;
    client.publish("gone.1", "1").await;
    client.message().await;
}

#[tokio::test]
async fn who_closes_its_side_still_gets_what_it_asked_for() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.tcp()).await;
    raw.write(b"{\"id\":1,\"type\":\"ping\"}\n{\"id\":2,\"type\":\"ping\"}\n")
        .await;
    raw.shutdown().await;
    let answers = String::from_utf8(raw.read_to_end().await).unwrap();
    assert_eq!(
        answers,
        "{\"type\":\"pong\",\"id\":1}\n{\"type\":\"pong\",\"id\":2}\n"
    );
    let mut echo = gateway.raw(gateway.echo()).await;
    let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut got = Vec::new();
    for piece in sent.chunks(10_000) {
        echo.write(piece).await;
        got.extend(echo.read(piece.len()).await);
    }
    echo.shutdown().await;
    assert!(got == sent, "an echo gives back every byte");
    assert_eq!(echo.read_to_end().await, b"");
    gateway.reaches("session_close_ended_total", 2).await;
}

#[tokio::test]
async fn a_datagram_is_echoed_as_it_is() {
    let gateway = TestGateway::start();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(gateway.echo_udp()).await.unwrap();
    let mut buffer = vec![0; 65_536];
    for length in [0, 1, 100, 1200, 1472, 9000, 65_507] {
        let sent = vec![b'x'; length];
        socket.send(&sent).await.unwrap();
        let length = within("an echo", socket.recv(&mut buffer)).await.unwrap();
        assert!(buffer[..length] == sent, "{length} of {}", sent.len());
    }
}

#[tokio::test]
async fn dropping_a_gateway_ends_everything() {
    let gateway = TestGateway::start();
    let mut client = gateway.lines().await;
    client.join("a").await;
    let address = gateway.tcp();
    let http = gateway.http1().await;
    let request = async move {
        let mut http = http;
        http.try_request(Method::GET, "/v1/rooms/a/messages?wait=30", &[], "")
            .await
    };
    let dropping = async {
        gateway.reaches("http_long_polls_total", 1).await;
        drop(gateway);
    };
    // Whatever a poll is answered whose session is cut under it, if anything: it does not hang.
    let (_, ()) = tokio::join!(request, dropping);
    let (events, _) = client.rest().await;
    assert!(events.len() <= 1, "{events:?}");
    assert!(TcpStream::connect(address).await.is_err());
}
