//! Figures that must be true: gauges after every kind of ending, what is counted apart per listener
//! and room, and histograms, all against what the clients themselves did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::select_all;
use http::Method;
use roomwire::config::{ByteSize, RoomPattern, Span};
use roomwire_metrics::{BlockKind, Snapshot};
use roomwire_tests::{
    EventStream, GatewayOptions, Http, PATIENCE, TestGateway, eventually, find_program, frame,
    pass, run_program, skipped, within,
};

fn block(snapshot: &Snapshot, kind: BlockKind, label: &str, figure: &str) -> u64 {
    let mut blocks = snapshot.blocks.iter();
    let found = blocks.find(|block| block.kind == kind && block.label == label);
    let found = found.unwrap_or_else(|| panic!("no block {label}"));
    found
        .value(figure)
        .unwrap_or_else(|| panic!("no figure {figure}"))
}

/// Waits until a check of the figures holds.
async fn settles(gateway: &TestGateway, check: impl Fn(&Snapshot) -> Result<(), String>) {
    eventually(PATIENCE, || check(&gateway.snapshot())).await;
}

fn same(what: &str, found: u64, expected: u64) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found}, expected {expected}"))
    }
}

/// Nobody is here, nothing waits, and nothing ever went below that.
async fn is_empty(gateway: &TestGateway, ending: &str) {
    settles(gateway, |seen| {
        let value = |name: &str| seen.value(name).unwrap_or(u64::MAX);
        same(ending, value("sessions"), 0)?;
        same(ending, value("udp_sessions"), 0)?;
        same(ending, value("outbox_bytes"), 0)?;
        let (opened, closed) = (
            value("sessions_opened_total"),
            value("sessions_closed_total"),
        );
        same(ending, opened, closed)?;
        let listeners = seen
            .blocks
            .iter()
            .filter(|it| it.kind == BlockKind::Listener);
        let mut all_opened = 0;
        for listener in listeners {
            let figure = |name: &str| listener.value(name).unwrap_or(u64::MAX);
            same(&listener.label, figure("listener_sessions"), 0)?;
            let (opened, closed) = (
                figure("listener_sessions_opened_total"),
                figure("listener_sessions_closed_total"),
            );
            same(&listener.label, opened, closed)?;
            all_opened += opened;
        }
        same("sessions of all listeners", all_opened, opened)
    })
    .await;
}

#[tokio::test]
async fn gauges_are_zero_after_every_kind_of_ending() {
    let gateway = TestGateway::with(|config| {
        config.limits.udp_lease = Span::seconds(1);
        config.limits.max_message = ByteSize::kib(1);
        config.limits.close_timeout = Span::millis(200);
    });
    gateway.websocket().await.close().await;
    is_empty(&gateway, "a polite end").await;
    drop((
        gateway.websocket().await,
        gateway.lines().await,
        gateway.person().await,
    ));
    is_empty(&gateway, "connections dropped").await;
    let mut udp = gateway.datagrams().await;
    udp.join("room").await;
    gateway.reaches("udp_sessions", 1).await;
    drop(udp);
    is_empty(&gateway, "a lease that was not renewed").await;
    let mut raw = gateway.raw_websocket().await;
    raw.write(&frame(0x83, b"a reserved opcode")).await;
    raw.read_to_end().await;
    is_empty(&gateway, "a broken protocol").await;
    let mut lines = gateway.lines().await;
    lines
        .send(&format!("{{\"type\":\"{}\"}}", "x".repeat(2_000)))
        .await;
    lines.rest().await;
    is_empty(&gateway, "a line too long").await;
    let mut stream = EventStream::open(gateway.http1().await, "room", None).await;
    gateway.http2().await.publish("room", "1", "").await;
    stream.message().await;
    drop(stream);
    is_empty(&gateway, "an event stream dropped").await;
    let mut kicked = gateway.lines().await;
    let client = kicked.hello("somebody").await["client"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut http = gateway.http1().await;
    let path = format!("/v1/connections/{client}");
    let closed = http.request(Method::DELETE, &path, &[], "").await;
    assert_eq!(closed.status, 204);
    kicked.rest().await;
    drop(http);
    is_empty(&gateway, "kicked").await;
    let mut http = gateway.http1().await;
    http.get("/healthz").await;
    let _crowd = (gateway.lines().await, gateway.websocket().await, http);
    gateway.reaches("sessions", 3).await;
    gateway.drain().await;
    is_empty(&gateway, "a drain").await;
}

#[tokio::test]
async fn bytes_that_wait_are_those_that_the_connections_have_waiting() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_outbox_bytes = ByteSize::mib(4);
        config.limits.max_outbox_messages = 100_000;
        config.limits.write_timeout = Span::minutes(5);
    });
    let mut slow = gateway.lines().await;
    slow.join("room").await;
    let mut http = gateway.http1().await;
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut said = 0;
    while gateway.snapshot().value("outbox_bytes") == Some(0) {
        http.publish("room", &data, "").await;
        said += 1;
        assert!(said < 1_000, "its socket is never full");
    }
    for _ in 0..20 {
        http.publish("room", &data, "").await;
    }
    let list = http.get("/v1/connections").await.json();
    let waiting: u64 = list["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| connection["queued_bytes"].as_u64().unwrap())
        .sum();
    assert!(waiting > 20 * 30_000, "{waiting}");
    gateway.reaches("outbox_bytes", waiting).await;
    let depths = gateway.snapshot();
    let depths = depths.row("outbox_depth_bytes").unwrap();
    assert!(
        depths.value > 0,
        "its depth was seen when its socket was full"
    );
    for _ in 0..said + 20 {
        slow.message().await;
    }
    gateway.reaches("outbox_bytes", 0).await;
}

#[tokio::test]
async fn what_is_counted_apart_adds_up_to_what_the_clients_did() {
    let news = RoomPattern {
        matches: "news.>".to_owned(),
        ..RoomPattern::default()
    };
    let gateway = GatewayOptions::new()
        .config(|config| config.rooms.patterns.push(news))
        .start();
    let mut members = [gateway.lines().await, gateway.lines().await];
    for member in &mut members {
        member.join("news.today").await;
    }
    let mut websocket = gateway.websocket().await;
    websocket.join("news.today").await;
    websocket.join("lobby").await;
    let (rounds, data) = (40, "\"0123456789\"");
    for _ in 0..rounds {
        members[0].publish("news.today", data).await;
        websocket.publish("lobby", data).await;
    }
    for member in &mut members {
        for _ in 0..rounds {
            member.message().await;
        }
    }
    for _ in 0..2 * rounds {
        websocket.message().await;
    }
    settles(&gateway, |seen| {
        let rooms = |label: &str, figure: &str| block(seen, BlockKind::Rooms, label, figure);
        let listener = |label: &str, figure: &str| block(seen, BlockKind::Listener, label, figure);
        same(
            "news",
            rooms("news.>", "rooms_deliveries_total"),
            3 * rounds,
        )?;
        same("others", rooms("other", "rooms_deliveries_total"), rounds)?;
        same("others", rooms("other", "rooms_publishes_total"), rounds)?;
        let bytes = rooms("other", "rooms_publish_bytes_total");
        same("bytes", bytes, rounds * data.len() as u64)?;
        let published = rooms("news.>", "rooms_publishes_total");
        if ![rounds, 2 * rounds].contains(&published) {
            return Err(format!(
                "{published} is not once for each worker with members"
            ));
        }
        same("sessions", listener("rooms", "listener_sessions"), 2)?;
        let all = |figure: &str| -> u64 {
            let listeners = seen
                .blocks
                .iter()
                .filter(|it| it.kind == BlockKind::Listener);
            listeners
                .filter_map(|listener| listener.value(figure))
                .sum()
        };
        let value = |name: &str| seen.value(name).unwrap_or(0);
        same(
            "in",
            all("listener_bytes_in_total"),
            value("wire_bytes_in_total"),
        )?;
        same(
            "out",
            all("listener_bytes_out_total"),
            value("wire_bytes_out_total"),
        )?;
        same(
            "frames",
            all("listener_frames_out_total"),
            value("wire_frames_out_total"),
        )?;
        same("accepted", all("listener_accepted_total"), 3)
    })
    .await;
}

#[tokio::test]
async fn histograms_hold_every_message_and_request_once() {
    let gateway = GatewayOptions::new()
        .config(|config| config.gateway.workers = 1)
        .start();
    let mut member = gateway.lines().await;
    member.join("room").await;
    let mut http = gateway.http1().await;
    let mut bytes = 0;
    for length in 1..=50_usize {
        let data = format!("\"{}\"", "x".repeat(length * 10));
        bytes += data.len() as u64;
        assert_eq!(http.publish("room", &data, "").await.status, 201);
        member.message().await;
    }
    settles(&gateway, |seen| {
        let histogram = |name: &str| {
            let row = seen.row(name).expect(name);
            row.histogram.clone().expect("it is a histogram")
        };
        let sizes = histogram("hub_publish_bytes");
        same("sizes", sizes.count(), 50)?;
        same("bytes", sizes.sum(), bytes)?;
        same("largest", sizes.max(), 502)?;
        let median = sizes.p50();
        if median.abs_diff(252) * 100 > 3 * 252 {
            return Err(format!("the median is {median}"));
        }
        let latency = histogram("hub_publish_to_flush_us");
        same("latencies", latency.count(), 50)?;
        if !(1..5_000_000).contains(&latency.max()) {
            return Err(format!("a latency of {} us", latency.max()));
        }
        same("requests", histogram("http_request_us").count(), 50)?;
        let turns = seen.value("worker_turns_total").unwrap_or(0);
        same("turns", histogram("worker_turn_us").count(), turns)?;
        let depth = histogram("hub_inbox_depth");
        if depth.count() == 0 || depth.sum() < 50 {
            return Err(format!("depths {} of {}", depth.count(), depth.sum()));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_busiest_rooms_and_the_process_are_in_the_page() {
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("quiet").await;
    member.join("loud").await;
    for _ in 0..5 {
        member.publish("loud", "1").await;
    }
    settles(&gateway, |seen| {
        let rooms = seen.blocks.iter().filter(|it| it.kind == BlockKind::Room);
        let labels: Vec<&str> = rooms.map(|room| room.label.as_str()).collect();
        if labels.len() != 2 {
            return Err(format!("{labels:?}"));
        }
        same(
            "offset",
            block(seen, BlockKind::Room, "loud", "room_offset"),
            5,
        )?;
        same(
            "members",
            block(seen, BlockKind::Room, "quiet", "room_members"),
            1,
        )?;
        let value = |name: &str| seen.value(name).unwrap_or(0);
        if value("process_memory_bytes") < 1 << 20 || value("process_descriptors") < 10 {
            return Err("no figures of the process".to_owned());
        }
        if value("worker_cpu_us") == 0 || value("process_descriptors_max") == 0 {
            return Err("no figures of the threads".to_owned());
        }
        Ok(())
    })
    .await;
}

/// Reads an exposition from its input with Prometheus' own parser, and prints its families' names.
const PARSE: &str = "
import sys
try:
    from prometheus_client import parser
    from prometheus_client.openmetrics import parser as openmetrics
except ImportError:
    sys.exit(77)
parse = openmetrics if sys.argv[1] == 'openmetrics' else parser
for family in parse.text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, len(family.samples))
";

#[tokio::test]
async fn prometheus_own_parser_takes_what_is_exposed() {
    let Some(python) = find_program("python3") else {
        return;
    };
    let gateway = TestGateway::start();
    let mut member = gateway.websocket().await;
    member.join("room").await;
    member.publish("room", "1").await;
    gateway.reaches("hub_publishes_total", 1).await;
    let mut http = gateway.http1().await;
    for (name, accept, content_type) in [
        (
            "text",
            "text/plain",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "openmetrics",
            "application/openmetrics-text; version=1.0.0; q=0.8, text/plain; q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let headers = [("accept", accept)];
        let answer = http.request(Method::GET, "/metrics", &headers, "").await;
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("vary"), "accept");
        let parsed = run_program(&python, &["-c", PARSE, name], answer.text()).await;
        if parsed.status.code() == Some(77) {
            skipped("Python's prometheus_client");
            return;
        }
        let complaint = String::from_utf8_lossy(&parsed.stderr);
        assert!(parsed.status.success(), "{name}: {complaint}");
        let families = String::from_utf8(parsed.stdout).unwrap();
        for family in [
            "roomwire_hub_publishes counter 1",
            "roomwire_sessions gauge 1",
            "roomwire_listener_sessions gauge 8",
            "roomwire_hub_publish_to_flush_us histogram 31",
        ] {
            assert!(
                families.contains(family),
                "{name}: no {family} in {families}"
            );
        }
    }
}

/// A gateway with a listener that holds up the worker of whoever joins, until the other end goes, and
/// whether it does now.
fn held_up_by_joining() -> (TestGateway, SyncSender<()>, Arc<AtomicBool>) {
    let (release, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    let holds = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&holds);
    let gateway = GatewayOptions::new()
        .build(|builder| {
            builder.on("join", move |_| {
                tells.store(true, Ordering::Relaxed);
                // Ends with an error when the test lets go of the other end.
                held.lock().unwrap().recv().unwrap_or_default();
            })
        })
        .start();
    (gateway, release, holds)
}

/// Asks until the answer has this status, and gives its text.
async fn health_becomes(http: &mut Http, status: u16) -> String {
    within("another state of health", async {
        loop {
            let answer = http.get("/healthz").await;
            if answer.status == status {
                return answer.text().to_owned();
            }
            pass(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_worker_that_hangs_makes_the_gateway_unhealthy() {
    let (gateway, release, _) = held_up_by_joining();
    // What is declared last goes first: a test that fails must not leave the worker held up.
    let release = release;
    let mut connections = Vec::new();
    for _ in 0..32 {
        let mut http = gateway.http1().await;
        assert_eq!(http.get("/healthz").await.text(), "ok\n");
        connections.push(http);
    }
    // Blocks the worker that it is on, and the connections that are on the same one.
    let mut member = gateway.lines().await;
    member.send("{\"type\":\"join\",\"room\":\"room\"}").await;
    let asked = connections.into_iter().map(|mut http| {
        Box::pin(async move {
            // Not the first answer counts, which may come before the join is read.
            health_becomes(&mut http, 503).await;
            http
        })
    });
    let (mut http, ..) = select_all(asked).await;
    let text = health_becomes(&mut http, 503).await;
    let seconds = text
        .strip_prefix("worker ")
        .and_then(|text| text.split_once(" hangs for "))
        .and_then(|(_, text)| text.strip_suffix(" s\n"));
    let seconds: Option<u64> = seconds.and_then(|seconds| seconds.parse().ok());
    assert!(seconds.is_some_and(|seconds| seconds >= 5), "{text}");
    drop(release);
    health_becomes(&mut http, 200).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_worker_that_hangs() {
    let (gateway, release, holds) = held_up_by_joining();
    let release = release;
    let mut member = gateway.lines().await;
    member.send("{\"type\":\"join\",\"room\":\"room\"}").await;
    eventually(PATIENCE, || {
        holds
            .load(Ordering::Relaxed)
            .then_some(())
            .ok_or("it was not called")
    })
    .await;
    gateway.begin_shutdown();
    gateway.begin_shutdown();
    let drained = gateway.drain().await;
    assert_eq!(drained.left_behind, 1, "the one that is held up");
    drop(release);
}
