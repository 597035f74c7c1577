//! Members that do not read: what the room's policy makes of them, and that nobody waits for them.

use std::net::SocketAddr;

use bytes::BytesMut;
use roomwire::config::{ByteSize, Config, HistoryConfig, RoomPattern, SlowPolicy, Span};
use roomwire_tests::{
    Client, Event, EventStream, Heard, Http, PATIENCE, Socket, Task, TestGateway, eventually,
    within,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::wire::Wire;

/// Messages between two looks.
const ROUND: u64 = 50;

/// At most so many rounds: 20 MB, more than any kernel buffers for a socket.
const ROUNDS: u64 = 400;

fn gateway(slow: SlowPolicy) -> TestGateway {
    gateway_with(slow, |_| {})
}

fn gateway_with(slow: SlowPolicy, change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        config.rooms.slow = slow;
        config.rooms.history.messages = 10;
        config.limits.max_message = ByteSize::kib(2);
        config.limits.max_outbox_bytes = ByteSize::kib(16);
        config.limits.max_outbox_messages = 16;
        // Here the policy decides, not the clock.
        config.limits.write_timeout = Span::minutes(5);
        change(config);
    })
}

/// A connection whose own side buffers as little as it can.
async fn narrow(to: SocketAddr) -> Socket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("an option");
    Box::new(socket.connect(to).await.expect("it listens"))
}

async fn slow_member(gateway: &TestGateway, wire: Wire) -> Client {
    let mut client = match wire {
        Wire::WebSocket => {
            Client::websocket(narrow(gateway.http()).await, gateway.http(), "/ws").await
        }
        _ => Client::lines_on(narrow(gateway.tcp()).await),
    };
    client.join("room").await;
    client
}

/// Members that read, and what was said to them.
struct Talk<'a> {
    gateway: &'a TestGateway,
    members: Vec<Client>,
    said: u64,
}

impl<'a> Talk<'a> {
    async fn begin(gateway: &'a TestGateway) -> Self {
        let mut members = vec![
            gateway.websocket().await,
            gateway.lines().await,
            gateway.websocket_tls().await,
        ];
        for member in &mut members {
            member.join("room").await;
        }
        Self {
            gateway,
            members,
            said: 0,
        }
    }

    /// Talks; everybody who reads gets everything.
    async fn round(&mut self) {
        let data = format!("\"{}\"", "x".repeat(1000));
        for _ in 0..ROUND {
            self.said += 1;
            let offset = self.gateway.publish("room", "x", data.as_bytes());
            assert_eq!(offset, Ok(self.said));
            // One by one, so that those who read always keep up.
            for member in &mut self.members {
                assert_eq!(member.message().await.offset, self.said, "nobody waits");
            }
        }
    }

    /// Talks until `done`.
    async fn until(&mut self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..ROUNDS {
            self.round().await;
            if done() {
                return;
            }
        }
        let mut http = self.gateway.http1().await;
        let connections = http.get("/v1/connections").await;
        panic!(
            "{what}: not after {} messages; still there: {}",
            self.said,
            connections.text()
        );
    }
}

/// Where a slow member stands: what comes next must begin there.
struct Heeded {
    next: u64,
    dropped: u64,
}

impl Heeded {
    fn new() -> Self {
        Self {
            next: 1,
            dropped: 0,
        }
    }

    fn take(&mut self, event: &Event) {
        match event.kind() {
            "message" => {
                assert_eq!(event.number("offset"), self.next);
                self.next += 1;
            }
            "gap" => {
                assert_eq!(event["room"], "room");
                let (from, to) = (event.number("from"), event.number("to"));
                assert_eq!(from, self.next, "a gap begins where the messages end");
                assert!(to >= from);
                self.dropped += to + 1 - from;
                self.next = to + 1;
            }
            other => panic!("{other}: {}", event.text()),
        }
    }
}

#[tokio::test]
async fn a_slow_member_is_disconnected_and_told_so() {
    for wire in [Wire::WebSocket, Wire::Lines] {
        let gateway = gateway(SlowPolicy::Disconnect);
        let mut slow = slow_member(&gateway, wire).await;
        let mut talk = Talk::begin(&gateway).await;
        // One delivery in each round goes to somebody who reads nothing.
        let all = |said: u64| said * 4;
        let counters = gateway.counters();
        let mut rounds = 0;
        loop {
            talk.round().await;
            rounds += 1;
            assert!(rounds < ROUNDS, "{wire:?}: never disconnected");
            let deliveries = counters.delta("hub_deliveries_total");
            if deliveries + 2 * ROUND < all(talk.said) {
                break;
            }
        }
        let mut heeded = Heeded::new();
        let mut goodbye = None;
        let close = loop {
            match slow.hear().await {
                Heard::Event(event) if event.kind() == "goodbye" => goodbye = Some(event),
                Heard::Event(event) => heeded.take(&event),
                Heard::Closed(close) => break close,
            }
        };
        assert!(heeded.next > 1, "{wire:?}: it got what had left already");
        assert_eq!(heeded.dropped, 0, "{wire:?}");
        let goodbye = goodbye.expect("it was told goodbye");
        assert_eq!(goodbye["reason"], "slow", "{wire:?}");
        assert_eq!(goodbye["reconnect"], true, "{wire:?}");
        if wire == Wire::WebSocket {
            assert_eq!(close, Some((3008, "slow".to_owned())));
        }
        drop(slow);
        talk.round().await;
        counters
            .complained(&[("session_close_slow_total", 1)])
            .await;
    }
}

#[tokio::test]
async fn a_slow_member_misses_the_oldest_and_is_told_which() {
    for (wire, policy) in [
        (Wire::WebSocket, SlowPolicy::DropOldest),
        (Wire::Lines, SlowPolicy::DropOldest),
        (Wire::WebSocket, SlowPolicy::KeepLatest),
        (Wire::Lines, SlowPolicy::KeepLatest),
    ] {
        slow_member_misses(&gateway(policy), wire).await;
    }
}

#[tokio::test]
async fn a_pattern_of_rooms_has_a_policy_and_a_history_of_its_own() {
    let pattern = |matches: &str, slow| RoomPattern {
        matches: matches.to_owned(),
        history: HistoryConfig {
            messages: 3,
            ..HistoryConfig::default()
        },
        slow,
    };
    let gateway = gateway_with(SlowPolicy::Disconnect, |config| {
        // The first that matches counts.
        config.rooms.patterns = vec![
            pattern("room.>", SlowPolicy::Disconnect),
            pattern("room", SlowPolicy::KeepLatest),
            pattern("*", SlowPolicy::Disconnect),
        ];
    });
    slow_member_misses(&gateway, Wire::WebSocket).await;
    let mut http = gateway.http1().await;
    for (room, kept) in [("room", 3), ("room.a", 3), ("other.a", 10)] {
        for _ in 0..20 {
            gateway.publish(room, "x", b"1").unwrap();
        }
        let answer = http.get(&format!("/v1/rooms/{room}/messages")).await;
        assert_eq!(answer.event().messages().len(), kept, "{room}");
    }
}

async fn slow_member_misses(gateway: &TestGateway, wire: Wire) {
    let mut slow = slow_member(gateway, wire).await;
    let mut talk = Talk::begin(gateway).await;
    let counters = gateway.counters();
    talk.until("drops", || counters.delta("hub_outbox_dropped_total") > 100)
        .await;
    let mut heeded = Heeded::new();
    while heeded.next <= talk.said {
        heeded.take(&slow.next().await);
    }
    assert!(heeded.dropped > 100, "{wire:?}");
    counters
        .complained(&[("hub_outbox_dropped_total", heeded.dropped)])
        .await;
    // It reads now, so it misses nothing more.
    talk.members.push(slow);
    talk.round().await;
    counters
        .complained(&[("hub_outbox_dropped_total", heeded.dropped)])
        .await;
}

#[tokio::test]
async fn a_slow_event_stream_misses_the_oldest_and_is_told_which() {
    let gateway = gateway(SlowPolicy::DropOldest);
    let http = Http::version1(narrow(gateway.http()).await, gateway.http(), "http").await;
    let mut stream = EventStream::open(http, "room", None).await;
    let mut talk = Talk::begin(&gateway).await;
    let counters = gateway.counters();
    talk.until("drops", || counters.delta("hub_outbox_dropped_total") > 100)
        .await;
    let mut heeded = Heeded::new();
    while heeded.next <= talk.said {
        heeded.take(&Event::parse(stream.next().await.data));
    }
    counters
        .complained(&[("hub_outbox_dropped_total", heeded.dropped)])
        .await;
}

#[tokio::test]
async fn who_takes_nothing_for_the_write_timeout_is_cut() {
    let gateway = TestGateway::with(|config| {
        config.rooms.slow = SlowPolicy::KeepLatest;
        config.limits.max_message = ByteSize::kib(2);
        config.limits.max_outbox_bytes = ByteSize::kib(16);
        config.limits.max_outbox_messages = 16;
        config.limits.write_timeout = Span::millis(300);
    });
    let lines = slow_member(&gateway, Wire::Lines).await;
    let websocket = slow_member(&gateway, Wire::WebSocket).await;
    let http = Http::version1(narrow(gateway.http()).await, gateway.http(), "http").await;
    let stream = EventStream::open(http, "room", None).await;
    let mut talk = Talk::begin(&gateway).await;
    talk.until("all three are gone", || {
        gateway
            .snapshot()
            .value("session_close_write_timeout_total")
            >= Some(3)
    })
    .await;
    talk.round().await;
    drop((lines, websocket, stream));
}

#[tokio::test]
async fn who_asks_faster_than_it_reads_is_not_read_from_and_loses_nothing() {
    /// Each answer has 10 KB, so all together have twice what a socket's buffers hold.
    const ASKED: u64 = 2000;
    let gateway = TestGateway::with(|config| {
        config.limits.max_outbox_messages = 64;
        config.limits.max_outbox_bytes = ByteSize::kib(128);
        config.limits.write_timeout = Span::minutes(5);
    });
    let data = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..10 {
        gateway.publish("past", "x", data.as_bytes()).unwrap();
    }
    let counters = gateway.counters();
    let (mut reader, mut writer) = tokio::io::split(narrow(gateway.tcp()).await);
    let asking = Task::spawn(async move {
        for id in 0..ASKED {
            let line = format!("{{\"id\":{id},\"type\":\"history\",\"room\":\"past\"}}\n");
            writer.write_all(line.as_bytes()).await.expect("it goes on");
        }
        writer
    });
    eventually(PATIENCE, || match counters.delta("sessions_paused_total") {
        0 => Err("never paused"),
        _ => Ok(()),
    })
    .await;
    let mut buffer = BytesMut::new();
    let mut answered = 0;
    while answered < ASKED {
        let read = within("answers", reader.read_buf(&mut buffer)).await;
        assert!(
            read.expect("it goes on") > 0,
            "closed after {answered} answers"
        );
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line = buffer.split_to(end + 1);
            let begin = format!("{{\"type\":\"history\",\"id\":{answered},");
            assert!(line.starts_with(begin.as_bytes()), "answer {answered}");
            assert!(line.len() > 10_000);
            answered += 1;
        }
    }
    drop(asking.join().await);
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
}
