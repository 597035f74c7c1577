//! UDP as its peers see it: from where and how they are answered, what is refused, and what a network
//! does to both ends.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use roomwire::config::{Config, Handler, ListenerConfig, Protocol};
use roomwire_tests::{PATIENCE, TestGateway, eventually, stays, within};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A gateway with one more UDP listener, `door`.
fn with_door(
    bind: &str,
    handler: Handler,
    change: impl FnOnce(&mut ListenerConfig),
) -> TestGateway {
    let bind: SocketAddr = bind.parse().unwrap();
    let mut door = ListenerConfig::new("door", Protocol::Udp, bind).with_handler(handler);
    change(&mut door);
    TestGateway::with(|config: &mut Config| {
        config.gateway.open = true;
        config.listeners.push(door);
    })
}

fn door(gateway: &TestGateway) -> SocketAddr {
    gateway.address("door").expect("it listens")
}

async fn bound(address: &str) -> UdpSocket {
    UdpSocket::bind(address).await.expect("loopback")
}

async fn connected(to: SocketAddr) -> UdpSocket {
    let socket = bound(if to.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    })
    .await;
    socket.connect(to).await.expect("loopback");
    socket
}

/// The next datagram, and who it is from.
async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut datagram = vec![0; 65_536];
    let (length, from) = within("a datagram", socket.recv_from(&mut datagram))
        .await
        .expect("it is there");
    datagram.truncate(length);
    (datagram, from)
}

async fn says(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).await.expect("loopback");
    String::from_utf8(heard(socket).await.0).expect("UTF-8")
}

/// A socket that sends in bursts and says what marks datagrams carry.
struct Marked {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Marked {
    async fn towards(to: SocketAddr) -> Self {
        let socket = connected(to).await;
        let state = UdpSocketState::new((&socket).into()).expect("options of a socket");
        Self { socket, state }
    }

    async fn send(&self, contents: &[u8], segment: Option<usize>, ecn: Option<EcnCodepoint>) {
        let transmit = Transmit {
            destination: self.socket.peer_addr().expect("it is connected"),
            ecn,
            contents,
            segment_size: segment,
            src_ip: None,
        };
        let sending = self.socket.async_io(Interest::WRITABLE, || {
            self.state.try_send((&self.socket).into(), &transmit)
        });
        within("a send", sending).await.expect("loopback");
    }

    /// Datagrams until there are `count`, and the mark of the last.
    async fn hear(&self, count: usize) -> (Vec<Vec<u8>>, Option<EcnCodepoint>) {
        let mut all = Vec::new();
        let mut mark = None;
        while all.len() < count {
            let mut bytes = vec![0; BATCH_SIZE * 65_536];
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let hearing = self.socket.async_io(Interest::READABLE, || {
                let slots = bytes.chunks_mut(65_536).map(IoSliceMut::new);
                let mut slots: Vec<_> = slots.collect();
                self.state
                    .recv((&self.socket).into(), &mut slots, &mut meta)
            });
            let heard = within("datagrams", hearing).await.expect("loopback");
            for (slot, meta) in bytes.chunks(65_536).zip(&meta).take(heard) {
                let datagrams = slot[..meta.len].chunks(meta.stride.max(1));
                all.extend(datagrams.map(<[u8]>::to_vec));
                mark = meta.ecn;
            }
        }
        (all, mark)
    }
}

#[tokio::test]
async fn who_asks_one_of_many_addresses_is_answered_from_there() {
    let gateway = with_door("0.0.0.0:0", Handler::Echo, |_| {});
    let port = door(&gateway).port();
    for ip in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 9, 8, 7]] {
        let asked = SocketAddr::from((ip, port));
        let socket = bound("127.0.0.1:0").await;
        for size in [1, 1, 1200, 9000] {
            socket.send_to(&vec![7; size], asked).await.unwrap();
            let (datagram, from) = heard(&socket).await;
            assert_eq!((datagram.len(), from), (size, asked));
        }
    }
    let gateway = with_door("0.0.0.0:0", Handler::Rooms, |_| {});
    let asked = SocketAddr::from(([127, 0, 0, 3], door(&gateway).port()));
    let socket = bound("127.0.0.1:0").await;
    let ping = br#"{"id":1,"type":"ping"}"#;
    socket.send_to(ping, asked).await.unwrap();
    assert_eq!(heard(&socket).await.1, asked);
}

#[tokio::test]
async fn an_echo_keeps_marks_of_congestion_over_both_versions_of_ip() {
    for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let gateway = with_door(bind, Handler::Echo, |_| {});
        let mut to = door(&gateway);
        if to.ip().is_unspecified() {
            let loopback = if to.is_ipv4() { "127.0.0.1" } else { "::1" };
            to.set_ip(loopback.parse().unwrap());
        }
        let client = Marked::towards(to).await;
        for ecn in [
            None,
            Some(EcnCodepoint::Ect0),
            Some(EcnCodepoint::Ect1),
            Some(EcnCodepoint::Ce),
        ] {
            client.send(b"marked", None, ecn).await;
            assert_eq!(
                client.hear(1).await,
                (vec![b"marked".to_vec()], ecn),
                "{bind}"
            );
        }
    }
}

#[tokio::test]
async fn a_burst_comes_back_whole_in_order_and_by_segmented_sends() {
    let gateway = TestGateway::start();
    let client = Marked::towards(gateway.echo_udp()).await;
    let counters = gateway.counters();
    let mut count = 0;
    for size in [1, 64, 1200, 1400] {
        let each: u8 = 40;
        let burst: Vec<u8> = (0..each).flat_map(|it| vec![it; size]).collect();
        client.send(&burst, Some(size), None).await;
        let (datagrams, _) = client.hear(usize::from(each)).await;
        let expected: Vec<_> = (0..each).map(|it| vec![it; size]).collect();
        assert!(datagrams == expected, "{size}");
        count += u64::from(each);
    }
    counters.moved(&[("udp_datagrams_out_total", count)]).await;
    assert!(counters.delta("udp_segmented_sends_total") > 0);
    assert_eq!(counters.delta("udp_segmented_refused_total"), 0);
}

#[tokio::test]
async fn an_address_gets_no_more_than_its_rate_and_others_get_theirs() {
    let gateway = with_door("127.0.0.1:0", Handler::Echo, |door| {
        door.udp.rate = 1;
        door.udp.burst = 10;
    });
    let counters = gateway.counters();
    let (one, other) = (bound("127.0.0.1:0").await, bound("127.0.0.2:0").await);
    for _ in 0..100 {
        one.send_to(b"x", door(&gateway)).await.unwrap();
    }
    counters.moved(&[("udp_datagrams_in_total", 100)]).await;
    let refused = counters.delta("udp_rate_limited_total");
    assert!((80..=90).contains(&refused), "{refused}");
    assert_eq!(counters.delta("udp_datagrams_out_total"), 100 - refused);
    // Another port of the same address is no way around it.
    other.send_to(b"y", door(&gateway)).await.unwrap();
    assert_eq!(heard(&other).await.0, b"y");
}

#[tokio::test]
async fn a_command_that_comes_again_is_answered_again_and_not_obeyed_again() {
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("again").await;
    let counters = gateway.counters();
    let socket = connected(gateway.udp()).await;
    let publish = r#"{"id":7,"type":"publish","room":"again","data":1}"#;
    let answer = says(&socket, publish).await;
    assert!(answer.contains("published"), "{answer}");
    for _ in 0..3 {
        assert_eq!(says(&socket, publish).await, answer);
    }
    counters.moved(&[("udp_commands_repeated_total", 3)]).await;
    // The number of another command, and then of the first one, is a new command.
    let other = publish.replace("\"data\":1", "\"data\":2");
    let second = says(&socket, &other).await;
    assert_ne!(second, answer);
    assert_ne!(says(&socket, publish).await, answer);
    for data in ["1", "2", "1"] {
        assert_eq!(member.message().await.data, data);
    }
    // An error is an answer, too.
    let wrong = r#"{"id":9,"type":"leave","room":"elsewhere"}"#;
    let refused = says(&socket, wrong).await;
    assert!(refused.contains("error"), "{refused}");
    assert_eq!(says(&socket, wrong).await, refused);
    counters.moved(&[("udp_commands_repeated_total", 4)]).await;
}

#[tokio::test]
async fn a_request_that_comes_again_while_it_waits_asks_nobody_again() {
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("ask").await;
    let counters = gateway.counters();
    let socket = connected(gateway.udp()).await;
    let request = br#"{"id":3,"type":"request","room":"ask","data":1,"mode":"race"}"#;
    for _ in 0..3 {
        socket.send(request).await.unwrap();
    }
    let asked = member.next_of("request").await;
    counters
        .moved(&[
            ("udp_commands_repeated_total", 2),
            ("hub_requests_total", 1),
        ])
        .await;
    let id = asked.string("request");
    member
        .send(&format!(r#"{{"type":"reply","request":"{id}","data":42}}"#))
        .await;
    let replies = String::from_utf8(heard(&socket).await.0).unwrap();
    assert!(replies.contains("42"), "{replies}");
    assert_eq!(
        says(&socket, std::str::from_utf8(request).unwrap()).await,
        replies
    );
}

#[tokio::test]
async fn a_member_whose_port_is_closed_is_found_out_by_what_it_is_sent() {
    let gateway = TestGateway::start();
    let mut here = gateway.datagrams().await;
    here.join("gone").await;
    let mut gone = gateway.datagrams().await;
    gone.join("gone").await;
    let counters = gateway.counters();
    drop(gone);
    gateway.publish("gone", "x", b"1").unwrap();
    counters
        .moved(&[
            ("session_close_reset_total", 1),
            ("udp_unreachable_total", 1),
        ])
        .await;
    // Who is there is not made to suffer for it.
    gateway.publish("gone", "x", b"2").unwrap();
    assert_eq!(here.message().await.data, "1");
    assert_eq!(here.message().await.data, "2");
    assert_eq!(gateway.snapshot().value("udp_sessions"), Some(1));
}

#[tokio::test]
async fn forged_addresses_take_neither_memory_nor_anybodys_turn() {
    const FORGED: usize = 5000;
    let gateway = TestGateway::start();
    let mut calm = gateway.datagrams().await;
    calm.join("calm").await;
    let mut echo = gateway.raw(gateway.echo()).await;
    let counters = gateway.counters();
    for number in 0..FORGED {
        let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
        let from = SocketAddr::from(([127, 77, high, low], 0));
        let socket = std::net::UdpSocket::bind(from).unwrap();
        let join = br#"{"id":1,"type":"join","room":"calm"}"#;
        socket.send_to(join, gateway.udp()).unwrap();
        if number % 500 == 0 {
            echo.write(b"here").await;
            assert_eq!(echo.read(4).await, b"here");
        }
    }
    eventually(PATIENCE, || {
        let evicted = counters.delta("udp_unproven_evicted_total");
        // The kernel may have lost some.
        if evicted > 0 { Ok(()) } else { Err(evicted) }
    })
    .await;
    let sessions = gateway.snapshot().value("udp_sessions").unwrap();
    assert!(sessions <= 2 * 1024 + 1, "{sessions}");
    gateway.publish("calm", "x", b"1").unwrap();
    assert_eq!(calm.message().await.data, "1");
    // Who answers a challenge gets in meanwhile.
    gateway.datagrams().await.join("calm").await;
}

#[tokio::test]
async fn nothing_is_said_by_a_discard() {
    let gateway = with_door("127.0.0.1:0", Handler::Discard, |_| {});
    let counters = gateway.counters();
    let socket = connected(door(&gateway)).await;
    for _ in 0..10 {
        socket.send(b"anybody?").await.unwrap();
    }
    counters
        .moved(&[("udp_datagrams_in_total", 10), ("udp_bytes_in_total", 80)])
        .await;
    let silent = |datagram: io::Result<usize>| match datagram {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        heard => Err(format!("{heard:?}")),
    };
    let mut datagram = [0; 16];
    stays(Duration::from_millis(100), || {
        silent(socket.try_recv(&mut datagram))
    })
    .await;
    assert_eq!(counters.delta("udp_datagrams_out_total"), 0);
}
