//! What a listener does with a connection before its handler: bounds, a proxy's word on whose it is,
//! and how long a connection may last.

use std::net::SocketAddr;

use roomwire::config::{Config, Handler, ListenerConfig, Protocol, Span, WhenFull};
use roomwire_protocols::proxy_header::{Addresses, Version, encode};
use roomwire_tests::{PATIENCE, Raw, TestGateway, eventually, stays, within};
use tokio::net::TcpStream;

/// A gateway whose listener `door` is made as `change` says.
fn with_door(handler: Handler, change: impl FnOnce(&mut ListenerConfig)) -> TestGateway {
    let mut door = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
        .with_handler(handler);
    change(&mut door);
    TestGateway::with(|config: &mut Config| config.listeners.push(door))
}

fn door(gateway: &TestGateway) -> SocketAddr {
    gateway.address("door").expect("it listens")
}

async fn echoes(raw: &mut Raw) {
    raw.write(b"hello").await;
    assert_eq!(raw.read(5).await, b"hello");
}

fn header(version: Version, client: &str) -> Vec<u8> {
    let mut header = Vec::new();
    let addresses = Addresses {
        source: client.parse().unwrap(),
        destination: "198.51.100.1:443".parse().unwrap(),
    };
    encode(&mut header, version, &addresses);
    header
}

/// Peers of the sessions on a listener, as the API lists them.
async fn peers(gateway: &TestGateway, wire: &str) -> Vec<String> {
    let mut http = gateway.http1().await;
    let answer = http.get("/v1/connections?limit=1000").await.json();
    let connections = answer["connections"].as_array().expect("a list").clone();
    let of_wire = connections.iter().filter(|it| it["wire"] == wire);
    of_wire
        .map(|it| it["peer"].as_str().expect("an address").to_owned())
        .collect()
}

#[tokio::test]
async fn a_trusted_proxy_tells_whose_connection_it_is_in_both_versions_and_in_any_pieces() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    });
    let counters = gateway.counters();
    for (version, client) in [
        (Version::V1, "192.0.2.7:4711"),
        (Version::V2, "192.0.2.8:4712"),
        (Version::V2, "[2001:db8::9]:4713"),
    ] {
        let header = header(version, client);
        let mut raw = gateway.raw(door(&gateway)).await;
        let (first, second) = header.split_at(header.len() / 2);
        raw.write(first).await;
        raw.write(&second[..1]).await;
        let mut rest = second[1..].to_vec();
        rest.extend(b"at once");
        raw.write(&rest).await;
        assert_eq!(raw.read(7).await, b"at once");
        echoes(&mut raw).await;
        let listed = peers(&gateway, "tcp-echo").await;
        assert_eq!(listed, [client]);
        raw.shutdown().await;
        assert_eq!(raw.read_to_end().await, b"");
    }
    counters.moved(&[("listener_proxy_headers_total", 3)]).await;
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_keeps_its_own_address() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut raw = gateway.raw(door(&gateway)).await;
    raw.write(b"PROXY UNKNOWN\r\n").await;
    echoes(&mut raw).await;
    let listed = peers(&gateway, "tcp-echo").await;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].starts_with("127.0.0.1:"), "{listed:?}");
}

#[tokio::test]
async fn a_trusted_proxy_without_a_header_is_closed_and_counted() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    });
    let counters = gateway.counters();
    let mut raw = gateway.raw(door(&gateway)).await;
    raw.write(b"hello").await;
    assert_eq!(raw.read_to_end().await, b"");
    let gone = gateway.raw(door(&gateway)).await;
    drop(gone);
    counters
        .complained(&[("listener_proxy_header_errors_total", 2)])
        .await;
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_taken_as_it_comes() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.proxy_protocol = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let mut raw = gateway.raw(door(&gateway)).await;
    raw.write(b"PROXY UNKNOWN\r\n").await;
    assert_eq!(raw.read(15).await, b"PROXY UNKNOWN\r\n");
}

#[tokio::test]
async fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_handshake() {
    let mut door_config = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into());
    door_config.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    let gateway = TestGateway::with(|config| {
        config.listeners.push(door_config);
        config.limits.handshake_timeout = Span::millis(200);
    });
    let counters = gateway.counters();
    let mut raw = gateway.raw(door(&gateway)).await;
    raw.write(b"PROXY TCP4 ").await;
    assert_eq!(raw.read_to_end().await, b"");
    counters
        .complained(&[("session_close_handshake_timeout_total", 1)])
        .await;
}

#[tokio::test]
async fn http_behind_a_proxy_knows_its_client() {
    let gateway = TestGateway::with(|config| {
        for listener in &mut config.listeners {
            if listener.name == "http" {
                listener.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
            }
        }
    });
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(&header(Version::V2, "192.0.2.77:1")).await;
    raw.write(b"GET /v1/rooms/a/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert_eq!(raw.read(15).await, b"HTTP/1.1 200 OK");
    // Listings are for operators; the proxy itself is on this machine.
    let mut operator = gateway.raw(gateway.http()).await;
    operator
        .write(b"PROXY UNKNOWN\r\nGET /v1/connections HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let answer = String::from_utf8(operator.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("192.0.2.77:1"), "{answer}");
}

#[tokio::test]
async fn a_listener_refuses_what_is_over_its_bound_and_others_go_on() {
    let gateway = with_door(Handler::Echo, |door| door.accept.max_connections = 2);
    let counters = gateway.counters();
    let mut first = gateway.raw(door(&gateway)).await;
    let mut second = gateway.raw(door(&gateway)).await;
    echoes(&mut first).await;
    echoes(&mut second).await;
    let mut third = gateway.raw(door(&gateway)).await;
    assert_eq!(third.read_to_end().await, b"");
    let mut elsewhere = gateway.raw(gateway.echo()).await;
    echoes(&mut elsewhere).await;
    counters
        .complained(&[("listener_connections_refused_listener_total", 1)])
        .await;
    drop(first);
    // The place is free once the gateway has seen that the first one left.
    counters.moved(&[("session_close_ended_total", 1)]).await;
    let mut fourth = gateway.raw(door(&gateway)).await;
    echoes(&mut fourth).await;
    echoes(&mut second).await;
}

#[tokio::test]
async fn where_connections_wait_none_is_refused_and_each_has_its_turn() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.max_connections = 1;
        door.accept.when_full = WhenFull::Wait;
    });
    let counters = gateway.counters();
    let mut all = Vec::new();
    for _ in 0..6 {
        let mut raw = gateway.raw(door(&gateway)).await;
        raw.write(b"hello").await;
        all.push(raw);
    }
    // Which one is accepted first is the kernel's choice: whoever is served leaves.
    let mut turns = Vec::new();
    for mut raw in all {
        turns.push(roomwire_tests::Task::spawn(async move {
            assert_eq!(raw.read(5).await, b"hello");
            raw.shutdown().await;
            assert_eq!(raw.read_to_end().await, b"");
        }));
    }
    for turn in turns {
        within("a turn", turn.join()).await;
    }
    assert!(counters.delta("listener_connections_waited_total") > 0);
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
}

#[tokio::test]
async fn one_address_has_no_more_than_its_share() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.max_per_address = 1;
        door.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    });
    let counters = gateway.counters();
    let connect = async |client: &str| {
        let mut raw = gateway.raw(door(&gateway)).await;
        raw.write(&header(Version::V1, client)).await;
        raw
    };
    let mut first = connect("192.0.2.1:1").await;
    echoes(&mut first).await;
    let mut second = connect("192.0.2.1:2").await;
    assert_eq!(second.read_to_end().await, b"");
    let mut other = connect("192.0.2.2:1").await;
    echoes(&mut other).await;
    counters
        .complained(&[("listener_connections_refused_address_total", 1)])
        .await;
    drop(first);
    counters.moved(&[("session_close_ended_total", 1)]).await;
    let mut third = connect("192.0.2.1:3").await;
    echoes(&mut third).await;
}

#[tokio::test]
async fn who_sends_nothing_or_lasts_too_long_is_closed_for_that_reason() {
    let idle = with_door(Handler::Echo, |door| {
        door.accept.idle_timeout = Span::millis(300);
    });
    let counters = idle.counters();
    let mut raw = idle.raw(door(&idle)).await;
    echoes(&mut raw).await;
    assert_eq!(raw.read_to_end().await, b"");
    drop(raw);
    counters
        .complained(&[("session_close_idle_timeout_total", 1)])
        .await;

    let brief = with_door(Handler::Rooms, |door| {
        door.accept.max_lifetime = Span::millis(300);
    });
    let counters = brief.counters();
    let mut raw = brief.raw(door(&brief)).await;
    raw.write(b"{\"type\":\"ping\",\"id\":1}\n").await;
    let heard = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(heard.contains("\"lifetime_over\""), "{heard}");
    drop(raw);
    counters
        .complained(&[("session_close_lifetime_over_total", 1)])
        .await;
}

#[tokio::test]
async fn connections_of_another_listener_are_not_timed() {
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.idle_timeout = Span::millis(100);
        door.accept.max_lifetime = Span::millis(100);
    });
    let mut untimed = gateway.raw(gateway.echo()).await;
    echoes(&mut untimed).await;
    let mut timed = gateway.raw(door(&gateway)).await;
    assert_eq!(timed.read_to_end().await, b"");
    stays(std::time::Duration::from_millis(1200), || Ok::<_, ()>(())).await;
    echoes(&mut untimed).await;
}

#[tokio::test]
async fn connections_wait_in_the_backlog_as_many_as_it_has() {
    // One is accepted and waits for a place, the backlog holds one or two more (the kernel counts
    // one too many); whoever comes then is not answered at all.
    let gateway = with_door(Handler::Echo, |door| {
        door.accept.backlog = 1;
        door.accept.max_connections = 1;
        door.accept.when_full = WhenFull::Wait;
    });
    let mut first = gateway.raw(door(&gateway)).await;
    echoes(&mut first).await;
    let mut connected = Vec::new();
    let mut unanswered = Vec::new();
    for _ in 0..20 {
        let connect = TcpStream::connect(door(&gateway));
        match tokio::time::timeout(std::time::Duration::from_millis(100), connect).await {
            Ok(stream) => connected.push(stream.unwrap()),
            Err(_) => unanswered.push(()),
        }
    }
    assert!(!unanswered.is_empty(), "the backlog has no end");
    drop(connected);
    drop(first);
    eventually(PATIENCE, || match gateway.snapshot().value("sessions") {
        Some(0) => Ok(()),
        other => Err(other),
    })
    .await;
}
