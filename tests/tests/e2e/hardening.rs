//! What one peer must not be able to do to the gateway, to a room, or to another stream of its own
//! connection: bursts, large requests, forged replies, peers that take nothing, long histories.
//!
//! Limits are small here, so that what takes a crowd against the defaults takes one client.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use roomwire::config::{ByteSize, Span};
use roomwire_tests::{Client, Event, Heard, Raw, Socket, Task, TestGateway, pass, stays, within};
use tokio::net::{TcpSocket, TcpStream};

use crate::wire::WIRES;

const LARGE: usize = 7000;

fn text(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length))
}

/// A connection whose own side buffers as little as it can.
async fn narrow(to: SocketAddr) -> Socket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("an option");
    Box::new(socket.connect(to).await.expect("it listens"))
}

/// What is kept of a room: one megabyte in a hundred messages.
fn fill(gateway: &TestGateway, room: &str) {
    let data = text(10_000);
    for _ in 0..100 {
        gateway.publish(room, "x", data.as_bytes()).unwrap();
    }
}

fn get(gateway: &TestGateway, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", gateway.http())
}

/// An HTTP/2 connection of which a test sees the windows.
struct Http2 {
    sender: h2::client::SendRequest<Bytes>,
    gateway: SocketAddr,
    _connection: Task<()>,
}

impl Http2 {
    /// Of each stream `window` bytes are taken until more is asked for.
    async fn connect(gateway: &TestGateway, window: u32) -> Self {
        let stream = TcpStream::connect(gateway.http())
            .await
            .expect("it listens");
        let shaken = h2::client::Builder::new()
            .initial_window_size(window)
            .handshake(stream);
        let (sender, connection) = within("an HTTP/2 preface", shaken).await.unwrap();
        let connection = Task::spawn(async move { drop(connection.await) });
        let mut sender = within("the connection", sender.ready()).await.unwrap();
        within("the gateway's settings", async {
            while !sender.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
                sender = sender.clone().ready().await.unwrap();
            }
        })
        .await;
        Self {
            sender,
            gateway: gateway.http(),
            _connection: connection,
        }
    }

    fn begin(
        &mut self,
        path: &str,
    ) -> impl Future<Output = Result<http::Response<h2::RecvStream>, h2::Error>> + use<> {
        let uri = format!("http://{}{path}", self.gateway);
        let request = Request::builder().uri(uri).body(()).unwrap();
        let (answer, _) = self.sender.send_request(request, true).unwrap();
        answer
    }

    /// Opens a WebSocket; the streams are open for as long as they are kept.
    async fn websocket(&mut self) -> (StatusCode, h2::RecvStream, h2::SendStream<Bytes>) {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{}/ws", self.gateway))
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let (answer, send) = self.sender.send_request(request, false).unwrap();
        let answer = within("an extended CONNECT", answer).await.unwrap();
        (answer.status(), answer.into_body(), send)
    }
}

#[tokio::test]
async fn a_burst_of_datagrams_ends_nobody_and_no_gateway() {
    let gateway = TestGateway::with(|config| config.limits.max_outbox_messages = 16);
    let mut member = gateway.datagrams().await;
    member.join("calm").await;
    let counters = gateway.counters();
    let flood = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    flood.connect(gateway.udp()).expect("loopback");
    for _ in 0..2000 {
        flood.send(br#"{"type":"ping","id":1}"#).expect("loopback");
    }
    // The kernel drops what the gateway cannot take, so ours may have to be repeated.
    let mut answered = false;
    for _ in 0..100 {
        member.send(r#"{"type":"ping","id":7}"#).await;
        let answer = tokio::time::timeout(Duration::from_millis(200), member.hear()).await;
        if let Ok(Heard::Event(event)) = answer {
            assert_eq!(event.kind(), "pong", "{}", event.text());
            answered = true;
            break;
        }
    }
    assert!(answered, "the gateway answers");
    assert_eq!(counters.delta("session_close_slow_total"), 0);
    gateway.publish("calm", "x", b"1").unwrap();
    assert_eq!(member.next_of("message").await.data(), "1");
}

#[tokio::test]
async fn a_burst_of_large_requests_ends_no_member_that_reads() {
    const ASKERS: usize = 16;
    const EACH: usize = 8;
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::kib(8);
        config.limits.max_outbox_bytes = ByteSize::kib(64);
    });
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(gateway.lines().await);
        members.push(gateway.websocket().await);
    }
    for member in &mut members {
        member.join("room").await;
    }
    let counters = gateway.counters();
    let reading: Vec<_> = members
        .into_iter()
        .map(|mut member| {
            Task::spawn(async move {
                for _ in 0..ASKERS * EACH {
                    let asked = member.next().await;
                    assert_eq!(asked.kind(), "request", "{}", asked.text());
                    assert_eq!(asked.data().len(), LARGE + 2);
                }
                member.ping().await;
            })
        })
        .collect();
    let ask = format!(
        "{{\"type\":\"request\",\"room\":\"room\",\"timeout_ms\":100,\"data\":{}}}\n",
        text(LARGE)
    );
    let burst = ask.repeat(EACH);
    let mut askers = Vec::new();
    for _ in 0..ASKERS {
        askers.push(gateway.raw(gateway.tcp()).await);
    }
    for asker in &mut askers {
        asker.write(burst.as_bytes()).await;
    }
    for member in reading {
        member.join().await;
    }
    assert_eq!(counters.delta("session_close_slow_total"), 0);
}

#[tokio::test]
async fn nobody_answers_a_request_whose_id_it_was_not_told() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut asker = gateway.lines().await;
        let mut member = gateway.websocket().await;
        asker.join(&room).await;
        member.join(&room).await;
        asker
            .send(&format!(
                r#"{{"id":77,"type":"request","room":"{room}","data":1,"mode":"race"}}"#
            ))
            .await;
        let asked = member.next_of("request").await;
        let id = asked.string("request").to_owned();
        let (guessable, secret) = id.rsplit_once('-').expect("a secret after the number");
        assert_eq!(secret.len(), 16, "64 bits: {id}");
        let mut stranger = wire.proven(&gateway).await;
        for forged in [
            guessable.to_owned(),
            format!("{guessable}-0"),
            format!("{guessable}-0000000000000000"),
        ] {
            let reply = format!(r#""type":"reply","request":"{forged}","data":"forged""#);
            let refused = stranger.ask(&reply, "error").await;
            assert_ne!(refused["code"], "internal", "{wire:?}");
        }
        member
            .send(&format!(
                r#"{{"type":"reply","request":"{id}","data":"real"}}"#
            ))
            .await;
        let replies = asker.next_of("replies").await;
        assert_eq!(replies["id"], 77);
        assert_eq!(replies["replies"].as_array().map(Vec::len), Some(1));
        assert_eq!(replies["replies"][0]["data"], "real", "{wire:?}");
    }
}

#[tokio::test]
async fn members_that_refuse_at_length_do_not_end_who_asked() {
    const MEMBERS: usize = 12;
    let gateway = TestGateway::with(|config| {
        config.limits.max_message = ByteSize::kib(8);
        config.limits.max_outbox_bytes = ByteSize::kib(16);
    });
    let mut asker = gateway.lines().await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = gateway.lines().await;
        member.join("room").await;
        members.push(member);
    }
    // Each of these characters takes six bytes in JSON.
    for error in ["\\u0001".repeat(1000), "\\u0001".repeat(1300)] {
        asker
            .send(
                r#"{"id":77,"type":"request","room":"room","data":1,"mode":"all_settled","timeout_ms":700}"#,
            )
            .await;
        for member in &mut members {
            let asked = member.next_of("request").await;
            let request = asked.string("request");
            member
                .send(&format!(
                    r#"{{"type":"reply","request":"{request}","error":"{error}"}}"#
                ))
                .await;
        }
        let answer = asker.next().await;
        assert_eq!(answer["id"], 77);
        assert_eq!(answer.kind(), "replies", "{}", answer.text());
        assert!(answer.text().len() <= 16 * 1024, "{}", answer.text().len());
        asker.ping().await;
        for member in &mut members {
            member.ping().await;
        }
    }
}

#[tokio::test]
async fn a_drain_ends_each_event_stream_with_its_last_chunk() {
    const STREAMS: usize = 200;
    let gateway = TestGateway::start();
    let ask = get(&gateway, "/v1/rooms/room/events");
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut raw = gateway.raw(gateway.http()).await;
        raw.write(ask.as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        streams.push(raw);
    }
    let told = async {
        for (n, stream) in streams.iter_mut().enumerate() {
            let rest = String::from_utf8(stream.read_to_end().await).unwrap();
            assert!(rest.contains("goodbye"), "stream {n}: {rest}");
            assert!(rest.ends_with("\r\n0\r\n\r\n"), "stream {n}: {rest}");
        }
    };
    let (drained, ()) = tokio::join!(gateway.drain(), told);
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn a_drain_waits_for_an_answer_that_is_still_being_written() {
    let gateway = TestGateway::with(|config| {
        config.rooms.history.messages = 1000;
        config.rooms.history.bytes = ByteSize::mib(64);
        // With a short limit connections are looked at more often.
        config.limits.header_timeout = Span::millis(200);
    });
    // Together more than the kernel buffers for a socket.
    for _ in 0..10 {
        fill(&gateway, "past");
    }
    let mut raw = Raw::new(narrow(gateway.http()).await);
    let ask = get(&gateway, "/v1/rooms/past/messages?limit=1000");
    raw.write(ask.as_bytes()).await;
    let head = raw.read_head().await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().unwrap();
    assert!(length > 10_000_000, "{head}");
    let read = async {
        // Longer than a drain keeps connections that are only open.
        pass(Duration::from_millis(1500)).await;
        raw.read_to_end().await
    };
    let (drained, body) = tokio::join!(gateway.drain(), read);
    assert_eq!(body.len(), length, "the answer is whole");
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn an_http_peer_that_takes_nothing_is_ended_after_the_write_timeout() {
    let gateway = TestGateway::with(|config| {
        config.limits.write_timeout = Span::millis(400);
        // So that it is known which of both ended it.
        config.limits.idle_http = Span::minutes(5);
    });
    fill(&gateway, "past");
    let counters = gateway.counters();
    let mut raw = Raw::new(narrow(gateway.http()).await);
    let ask = get(&gateway, "/v1/rooms/past/messages");
    raw.write(ask.repeat(20).as_bytes()).await;
    counters
        .complained(&[("session_close_write_timeout_total", 1)])
        .await;
    drop(raw);
}

#[tokio::test]
async fn an_http_peer_that_takes_nothing_is_not_mistaken_for_an_idle_one() {
    let gateway = TestGateway::with(|config| {
        config.limits.write_timeout = Span::seconds(2);
        config.limits.idle_http = Span::seconds(1);
    });
    fill(&gateway, "past");
    let counters = gateway.counters();
    let mut raw = Raw::new(narrow(gateway.http()).await);
    let ask = get(&gateway, "/v1/rooms/past/messages");
    raw.write(ask.repeat(20).as_bytes()).await;
    counters
        .complained(&[("session_close_write_timeout_total", 1)])
        .await;
    drop(raw);
}

#[tokio::test]
async fn an_http2_connection_on_which_nothing_is_asked_is_closed() {
    let gateway = TestGateway::with(|config| {
        config.limits.idle_http = Span::seconds(1);
        // So that it is known which of both ended it.
        config.limits.header_timeout = Span::minutes(5);
    });
    let mut silent = gateway.raw(gateway.http()).await;
    silent
        .write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let mut used = gateway.http2().await;
    assert_eq!(used.get("/healthz").await.status, 200);
    silent.read_to_end().await;
    used.ended().await;
    gateway.reaches("sessions", 0).await;
}

#[tokio::test]
async fn an_http2_connection_on_which_nothing_is_asked_holds_up_no_drain() {
    let gateway = TestGateway::with(|config| {
        // Only the drain may end it; with a short limit connections are looked at more often.
        config.limits.header_timeout = Span::minutes(5);
        config.limits.write_timeout = Span::seconds(1);
        config.gateway.drain = Span::seconds(4);
    });
    let mut silent = gateway.raw(gateway.http()).await;
    silent
        .write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    silent.read(9).await;
    let drained = gateway.drain().await;
    assert_eq!(drained.cut, 0);
    silent.read_to_end().await;
}

#[tokio::test]
async fn an_unread_http2_stream_leaves_the_others_alive() {
    let gateway = TestGateway::with(|config| config.limits.write_timeout = Span::millis(400));
    let mut http = Http2::connect(&gateway, 1000).await;
    let loud = within("a head", http.begin("/v1/rooms/loud/events"));
    let mut loud = loud.await.unwrap().into_body();
    let poll = http.begin("/v1/rooms/quiet/messages?wait=20");
    gateway.reaches("http_long_polls_total", 1).await;
    let data = text(2000);
    for _ in 0..20 {
        gateway.publish("loud", "x", data.as_bytes()).unwrap();
    }
    let ended = async {
        // Nothing is given back, so the window stays shut.
        loop {
            match loud.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the stream ended as if it were whole"),
            }
        }
    };
    let error = within("the stream's end", ended).await;
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    assert!(error.is_reset(), "the stream, not the connection: {error}");
    gateway.publish("quiet", "x", b"\"still here\"").unwrap();
    let mut answer = within("the long poll", poll).await.unwrap().into_body();
    let body = within("its body", answer.data()).await.unwrap().unwrap();
    let body = Event::parse(std::str::from_utf8(&body).unwrap());
    assert_eq!(body.messages()[0].data, "\"still here\"");
}

#[tokio::test]
async fn websockets_over_http2_are_sessions_like_others() {
    let gateway = TestGateway::with(|config| config.limits.max_connections = 4);
    let mut http = Http2::connect(&gateway, 65_535).await;
    let mut open = Vec::new();
    for n in 1..4 {
        let (status, receive, send) = http.websocket().await;
        assert_eq!(status, StatusCode::OK, "WebSocket {n} of 3");
        open.push((receive, send));
    }
    let (status, ..) = http.websocket().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(gateway.snapshot().value("sessions") <= Some(4));
    // A place that is given back can be taken again.
    let (_, mut send) = open.pop().unwrap();
    send.send_reset(h2::Reason::CANCEL);
    within("a free place", async {
        while http.websocket().await.0 != StatusCode::OK {}
    })
    .await;
}

#[tokio::test]
async fn coming_back_to_many_tiny_messages_ends_nobody() {
    const SAID: u64 = 3000;
    let gateway = TestGateway::with(|config| {
        config.rooms.history.messages = 10_000;
        config.limits.max_message = ByteSize::kib(8);
        config.limits.max_outbox_bytes = ByteSize::kib(64);
    });
    // The name takes more than all else in each message.
    let room = "r".repeat(200);
    for _ in 0..SAID {
        gateway.publish(&room, "x", b"1").unwrap();
    }
    let counters = gateway.counters();
    for mut client in [gateway.lines().await, gateway.websocket().await] {
        let epoch = client.join(&room).await.string("epoch").to_owned();
        client
            .ask(&format!(r#""type":"leave","room":"{room}""#), "left")
            .await;
        let joined = client.join_since(&room, &epoch, 0).await;
        assert_eq!(joined["recovered"], false, "half an outbox is not enough");
        assert_eq!(joined.number("offset"), SAID);
        all_from_a_gap(&mut client, SAID).await;
        let answer = client
            .call(&format!(r#""type":"history","room":"{room}","limit":1000"#))
            .await;
        assert!(
            ["history", "error"].contains(&answer.kind()),
            "{}",
            answer.text()
        );
        client.ping().await;
    }
    assert_eq!(counters.delta("session_close_slow_total"), 0);
}

/// A gap, and then every message after it.
async fn all_from_a_gap(client: &mut Client, last: u64) {
    let gap = client.next().await;
    assert_eq!((gap.kind(), gap.number("from")), ("gap", 1));
    let mut next = gap.number("to") + 1;
    assert!(next <= last, "something is replayed");
    while next <= last {
        assert_eq!(client.message().await.offset, next);
        next += 1;
    }
}

#[tokio::test]
async fn an_http2_connection_is_kept_for_idle_http_whatever_frames_come() {
    let gateway = TestGateway::with(|config| {
        config.limits.header_timeout = Span::millis(200);
        config.limits.idle_http = Span::minutes(5);
    });
    let mut raw = gateway.raw(gateway.http()).await;
    let settings_ack = b"\0\0\0\x04\x01\0\0\0\0";
    let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    begin.extend(settings_ack);
    begin.extend(b"\0\0\x08\x06\0\0\0\0\0ping no1");
    raw.write(&begin).await;
    let counters = gateway.counters();
    stays(Duration::from_millis(1000), || {
        match counters.delta("session_close_handshake_timeout_total") {
            0 => Ok(()),
            _ => Err("no head was begun"),
        }
    })
    .await;
    raw.write(b"\0\0\x08\x06\0\0\0\0\0ping no2").await;
    within("the second PING's answer", async {
        let mut read = Vec::new();
        while !read.ends_with(b"ping no2") {
            read.extend(raw.read(1).await);
        }
    })
    .await;
}
