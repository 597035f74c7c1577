//! A proxy for datagrams, between clients and upstreams of the test's own.

use std::net::SocketAddr;
use std::time::Duration;

use roomwire::config::{Config, Handler, ListenerConfig, Protocol, Span, Upstream};
use roomwire_tests::{TestGateway, stays, within};
use tokio::net::UdpSocket;

fn proxy(upstreams: &[Upstream], change: impl FnOnce(&mut ListenerConfig)) -> TestGateway {
    let bind = ([127, 0, 0, 1], 0).into();
    let mut door = ListenerConfig::new("door", Protocol::Udp, bind).with_handler(Handler::Proxy);
    door.proxy.upstreams = upstreams.to_vec();
    change(&mut door);
    TestGateway::with(|config: &mut Config| config.listeners.push(door))
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("loopback")
}

fn at(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

async fn client(gateway: &TestGateway) -> UdpSocket {
    let client = socket().await;
    let door = gateway.address("door").expect("it listens");
    client.connect(door).await.expect("loopback");
    client
}

async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut datagram = vec![0; 65_536];
    let (length, from) = within("a datagram", socket.recv_from(&mut datagram))
        .await
        .expect("it is there");
    datagram.truncate(length);
    (datagram, from)
}

#[tokio::test]
async fn each_client_has_a_way_of_its_own_to_the_upstream_and_back() {
    let upstream = socket().await;
    let gateway = proxy(&[at(&upstream).into()], |_| {});
    let counters = gateway.counters();
    let (one, other) = (client(&gateway).await, client(&gateway).await);
    one.send(b"one").await.unwrap();
    let (said, from_one) = heard(&upstream).await;
    assert_eq!(said, b"one");
    other.send(b"other").await.unwrap();
    let (said, from_other) = heard(&upstream).await;
    assert_eq!(said, b"other");
    assert_ne!(from_one, from_other);
    upstream.send_to(b"to other", from_other).await.unwrap();
    upstream.send_to(b"to one", from_one).await.unwrap();
    assert_eq!(heard(&one).await.0, b"to one");
    assert_eq!(heard(&other).await.0, b"to other");
    // Sizes and order are kept, and a client keeps its way.
    for size in [0, 1, 1200, 1200, 1200, 9000] {
        one.send(&vec![b'x'; size]).await.unwrap();
        let (said, from) = heard(&upstream).await;
        assert_eq!((said.len(), from), (size, from_one));
    }
    // Nobody but the upstream is listened to.
    socket().await.send_to(b"forged", from_one).await.unwrap();
    upstream.send_to(b"next", from_one).await.unwrap();
    assert_eq!(heard(&one).await.0, b"next");
    counters
        .moved(&[
            ("proxy_connects_total", 2),
            ("sessions_opened_total", 2),
            ("proxy_bytes_down_total", 18),
        ])
        .await;
    assert_eq!(gateway.snapshot().value("udp_sessions"), Some(2));
}

#[tokio::test]
async fn an_upstream_may_be_a_name_and_a_silent_client_is_forgotten() {
    let upstream = socket().await;
    let name: Upstream = format!("localhost:{}", at(&upstream).port())
        .parse()
        .unwrap();
    let gateway = proxy(&[name], |door| door.accept.idle_timeout = Span::seconds(1));
    let client = client(&gateway).await;
    // The name may not have been looked up yet; that it resolves to IPv6 first is possible as well.
    let asking = async {
        loop {
            client.send(b"hello").await.unwrap();
            let mut datagram = [0; 16];
            let patience = Duration::from_millis(50);
            if tokio::time::timeout(patience, upstream.recv(&mut datagram))
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    within("a datagram by name", asking).await;
    gateway.reaches("session_close_idle_timeout_total", 1).await;
    gateway.reaches("udp_sessions", 0).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_counted_and_the_next_one_is_asked() {
    let upstream = socket().await;
    let nowhere = at(&socket().await);
    let gateway = proxy(&[nowhere.into(), at(&upstream).into()], |door| {
        door.proxy.fall = 1;
    });
    let counters = gateway.counters();
    let client = client(&gateway).await;
    let mut datagram = [0; 16];
    let asking = async {
        loop {
            client.send(b"anyone").await.unwrap();
            let patience = Duration::from_millis(50);
            if tokio::time::timeout(patience, upstream.recv(&mut datagram))
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    within("a datagram at the other upstream", asking).await;
    counters
        .moved(&[
            ("udp_upstream_errors_total", 1),
            ("session_close_upstream_reset_total", 1),
            ("proxy_upstream_downs_total", 1),
        ])
        .await;
    let mut told = [0; 16];
    stays(Duration::from_millis(100), || {
        match client.try_recv(&mut told) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            heard => Err(format!("{heard:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_is_sent_at_most_so_many_times_what_it_sent() {
    for (times, expected) in [(3, 3), (0, 10)] {
        let upstream = socket().await;
        let gateway = proxy(&[at(&upstream).into()], |door| {
            door.proxy.amplification = times;
        });
        let counters = gateway.counters();
        let client = client(&gateway).await;
        client.send(&[b'?'; 100]).await.unwrap();
        let (_, from) = heard(&upstream).await;
        for _ in 0..10 {
            upstream.send_to(&[b'!'; 100], from).await.unwrap();
        }
        counters
            .moved(&[
                ("proxy_bytes_down_total", 100 * expected),
                ("udp_amplification_refused_total", 10 - expected),
            ])
            .await;
        for _ in 0..expected {
            assert_eq!(heard(&client).await.0.len(), 100);
        }
    }
}

#[tokio::test]
async fn clients_have_so_many_places_and_who_spoke_once_makes_room() {
    let upstream = socket().await;
    let gateway = proxy(&[at(&upstream).into()], |door| {
        door.accept.max_connections = 4;
    });
    let counters = gateway.counters();
    let mut known = Vec::new();
    for _ in 0..2 {
        let client = client(&gateway).await;
        for _ in 0..2 {
            client.send(b"known").await.unwrap();
            heard(&upstream).await;
        }
        known.push(client);
    }
    // On one worker's sockets a flood finds at most the places of that worker's fresh clients.
    for _ in 0..100 {
        client(&gateway).await.send(b"forged").await.unwrap();
    }
    counters.moved(&[("udp_datagrams_in_total", 104)]).await;
    assert!(gateway.snapshot().value("udp_sessions") <= Some(4));
    assert!(counters.delta("udp_unproven_evicted_total") > 0);
    for client in known {
        client.send(b"still here").await.unwrap();
    }
    let mut still_here = 0;
    while still_here < 2 {
        still_here += usize::from(heard(&upstream).await.0 == b"still here");
    }
}

#[tokio::test]
async fn an_address_has_so_many_clients_and_others_have_theirs() {
    let upstream = socket().await;
    let gateway = proxy(&[at(&upstream).into()], |door| {
        door.accept.max_per_address = 2;
    });
    let counters = gateway.counters();
    let clients = [
        client(&gateway).await,
        client(&gateway).await,
        client(&gateway).await,
    ];
    for client in &clients {
        client.send(b"one address").await.unwrap();
    }
    counters
        .moved(&[("listener_connections_refused_address_total", 1)])
        .await;
    let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let door = gateway.address("door").unwrap();
    other.send_to(b"another", door).await.unwrap();
    while heard(&upstream).await.0 != b"another" {}
}

#[tokio::test]
async fn a_drain_ends_what_a_proxy_holds() {
    let upstream = socket().await;
    let gateway = proxy(&[at(&upstream).into()], |_| {});
    let client = client(&gateway).await;
    client.send(b"hello").await.unwrap();
    heard(&upstream).await;
    assert_eq!(gateway.drain().await.cut, 0);
}
