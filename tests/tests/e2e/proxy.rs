//! A proxy between a client and upstreams of the test's own: bytes and their ends both ways, who is
//! chosen, who is left out, and what either side's silence or death does to the other.

use std::net::SocketAddr;
use std::time::Duration;

use roomwire::config::{
    Balance, Config, Handler, ListenerConfig, Protocol, ProxyConfig, SendHeader, Span, Upstream,
};
use roomwire_protocols::proxy_header::{self, Decoded};
use roomwire_tests::{PATIENCE, Task, TestGateway, eventually, stays, within};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback")
}

fn at(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    at(&listen().await)
}

/// A gateway whose listener `door` is a proxy.
fn proxy(upstreams: &[SocketAddr], change: impl FnOnce(&mut ProxyConfig)) -> TestGateway {
    let mut door = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
        .with_handler(Handler::Proxy);
    door.proxy.upstreams = upstreams.iter().copied().map(Upstream::from).collect();
    change(&mut door.proxy);
    TestGateway::with(|config: &mut Config| config.listeners.push(door))
}

async fn client(gateway: &TestGateway) -> TcpStream {
    let door = gateway.address("door").expect("it listens");
    within("a connection", TcpStream::connect(door))
        .await
        .unwrap()
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    within("a proxied connection", listener.accept())
        .await
        .unwrap()
        .0
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    within("bytes", stream.read_exact(&mut bytes))
        .await
        .unwrap();
    bytes
}

async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within("an end", stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    bytes
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways_each_in_its_time() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let counters = gateway.counters();
    let mut client = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    client.write_all(b"question").await.unwrap();
    assert_eq!(read(&mut server, 8).await, b"question");
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut server).await, b"");
    // The client's end is over, the upstream's is not.
    server.write_all(b"an answer ").await.unwrap();
    assert_eq!(read(&mut client, 10).await, b"an answer ");
    server.write_all(b"in two parts").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, b"in two parts");
    counters
        .moved(&[
            ("proxy_connects_total", 1),
            ("proxy_bytes_up_total", 8),
            ("proxy_bytes_down_total", 22),
            ("session_close_ended_total", 1),
        ])
        .await;
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
}

/// Byte `at` of a stream that repeats with no power of two.
fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

#[tokio::test]
async fn many_megabytes_come_whole_through_a_half_close_both_ways_at_once() {
    const LENGTH: usize = 64 << 20;
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let client = client(&gateway).await;
    let server = accepted(&upstream).await;
    let mut tasks = Vec::new();
    for end in [client, server] {
        let (mut reader, mut writer) = end.into_split();
        tasks.push(Task::spawn(async move {
            let block: Vec<u8> = (0..251 * 1000).map(pattern).collect();
            let mut left = LENGTH;
            while left > 0 {
                let part = &block[..left.min(block.len())];
                writer.write_all(part).await.unwrap();
                left -= part.len();
            }
            writer.shutdown().await.unwrap();
        }));
        tasks.push(Task::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            let mut at = 0;
            loop {
                let count = reader.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                for (index, byte) in buffer[..count].iter().enumerate() {
                    assert_eq!(*byte, pattern(at + index), "at {}", at + index);
                }
                at += count;
            }
            assert_eq!(at, LENGTH);
        }));
    }
    for task in tasks {
        tokio::time::timeout(3 * PATIENCE, task.join())
            .await
            .expect("in time");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let counters = gateway.counters();
    let client = client(&gateway).await;
    SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
    let mut server = accepted(&upstream).await;
    let flood = Task::spawn(async move {
        let block = vec![7; 1 << 20];
        while server.write_all(&block).await.is_ok() {}
    });
    // Until nothing has moved for a while, though the upstream would send without end.
    let mut before = u64::MAX;
    loop {
        let moved = counters.delta("proxy_bytes_down_total");
        if moved == before && moved > 0 {
            break;
        }
        before = moved;
        roomwire_tests::pass(Duration::from_millis(500)).await;
    }
    // The kernel's buffers of both connections, and one read of ours.
    assert!(before < 64 << 20, "{before} bytes are buffered");
    drop(client);
    within("the upstream is told", flood.join()).await;
    counters.moved(&[("session_close_reset_total", 1)]).await;
}

#[tokio::test]
async fn who_takes_nothing_for_too_long_ends_the_session() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |proxy| {
        proxy.stall_timeout = Span::millis(300);
    });
    let counters = gateway.counters();
    let mut sender = client(&gateway).await;
    let server = accepted(&upstream).await;
    let block = vec![7; 1 << 20];
    within("the upstream's silence ends it", async {
        while sender.write_all(&block).await.is_ok() {}
    })
    .await;
    counters
        .complained(&[("session_close_upstream_timeout_total", 1)])
        .await;
    drop(server);
    let receiver = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    within("the client's silence ends it", async {
        while server.write_all(&block).await.is_ok() {}
    })
    .await;
    counters
        .complained(&[
            ("session_close_upstream_timeout_total", 1),
            ("session_close_write_timeout_total", 1),
        ])
        .await;
    drop(receiver);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_one_both_ways() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let counters = gateway.counters();
    let reset = |stream: TcpStream| {
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let mut first = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    // Once a byte has passed, the connection is known to stand on both sides.
    first.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut server, 1).await, b"x");
    reset(server);
    let heard = within("the client hears", first.read(&mut [0; 1])).await;
    assert_eq!(
        heard.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let mut second = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    second.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut server, 1).await, b"x");
    reset(second);
    let heard = within("the upstream hears", server.read(&mut [0; 1])).await;
    assert_eq!(
        heard.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    counters
        .complained(&[
            ("session_close_reset_total", 1),
            ("session_close_upstream_reset_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn upstreams_have_their_turns() {
    let upstreams = [listen().await, listen().await, listen().await];
    let gateway = proxy(&upstreams.each_ref().map(at), |_| {});
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(client(&gateway).await);
    }
    for upstream in &upstreams {
        let pair = [accepted(upstream).await, accepted(upstream).await];
        drop(pair);
    }
}

#[tokio::test]
async fn the_upstream_with_the_fewest_connections_gets_the_next() {
    let upstreams = [listen().await, listen().await];
    let gateway = proxy(&upstreams.each_ref().map(at), |proxy| {
        proxy.balance = Balance::LeastConnections;
    });
    let mut held = Vec::new();
    let mut servers = [Vec::new(), Vec::new()];
    let mut connect = async |held: &mut Vec<TcpStream>| {
        held.push(client(&gateway).await);
        let (index, server) = tokio::select! {
            server = upstreams[0].accept() => (0, server),
            server = upstreams[1].accept() => (1, server),
        };
        servers[index].push(server.unwrap().0);
        index
    };
    for _ in 0..4 {
        connect(&mut held).await;
    }
    let listed = async |count: u64| gateway.reaches("sessions", count).await;
    listed(4).await;
    // Two have left the first one: the next two go there.
    let first = connect(&mut held).await;
    listed(5).await;
    let other = connect(&mut held).await;
    assert_ne!(first, other, "equals have their turns");
    listed(6).await;
}

#[tokio::test]
async fn an_upstream_that_fails_is_passed_over_left_out_and_tried_again() {
    let gone = nowhere().await;
    let upstream = listen().await;
    let gateway = proxy(&[gone, at(&upstream)], |proxy| {
        proxy.fall = 2;
        proxy.retry_after = Span::millis(500);
    });
    let counters = gateway.counters();
    for _ in 0..8 {
        let mut client = client(&gateway).await;
        let mut server = accepted(&upstream).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut server, 1).await, b"x");
    }
    gateway.reaches("proxy_upstreams_down", 1).await;
    assert_eq!(counters.delta("proxy_upstream_downs_total"), 1);
    assert_eq!(counters.delta("session_close_upstream_failed_total"), 0);
    let back = TcpListener::bind(gone).await.expect("it was ours");
    let returned = async {
        loop {
            let _client = client(&gateway).await;
            tokio::select! {
                _ = back.accept() => return,
                _ = upstream.accept() => {}
            }
        }
    };
    within("its return", returned).await;
    gateway.reaches("proxy_upstreams_down", 0).await;
}

#[tokio::test]
async fn looks_find_an_upstream_gone_and_well_again_without_a_client() {
    let upstream = listen().await;
    let address = at(&upstream);
    let gateway = proxy(&[address], |proxy| {
        proxy.check_interval = Span::millis(50);
    });
    within("a look", upstream.accept()).await.unwrap();
    drop(upstream);
    gateway.reaches("proxy_upstreams_down", 1).await;
    let back = TcpListener::bind(address).await.expect("it was ours");
    gateway.reaches("proxy_upstreams_down", 0).await;
    drop(back);
}

#[tokio::test]
async fn a_client_for_whom_there_is_no_upstream_is_closed_and_counted() {
    let gateway = proxy(&[nowhere().await, nowhere().await], |_| {});
    let counters = gateway.counters();
    let mut client = client(&gateway).await;
    assert_eq!(read_to_end(&mut client).await, b"");
    counters
        .complained(&[
            ("proxy_connect_errors_total", 2),
            ("session_close_upstream_failed_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn an_upstream_may_be_a_name() {
    let upstream = listen().await;
    let name = format!("localhost:{}", at(&upstream).port());
    let gateway = proxy(&[], |proxy| proxy.upstreams = vec![name.parse().unwrap()]);
    let mut client = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut server, 1).await, b"x");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_in_time() {
    let gateway = proxy(&[], |proxy| {
        proxy.upstreams = vec!["nowhere.invalid:1".parse().unwrap()];
        proxy.connect_timeout = Span::millis(200);
    });
    let counters = gateway.counters();
    let mut client = client(&gateway).await;
    assert_eq!(read_to_end(&mut client).await, b"");
    eventually(PATIENCE, || {
        let failed = counters.delta("session_close_upstream_failed_total")
            + counters.delta("session_close_upstream_timeout_total");
        if failed == 1 { Ok(()) } else { Err(failed) }
    })
    .await;
}

#[tokio::test]
async fn the_upstream_is_told_whose_connection_it_is() {
    for version in [SendHeader::V1, SendHeader::V2] {
        let upstream = listen().await;
        let gateway = proxy(&[at(&upstream)], |proxy| {
            proxy.send_proxy_protocol = version;
        });
        let mut client = client(&gateway).await;
        client.write_all(b"rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut server = accepted(&upstream).await;
        let bytes = read_to_end(&mut server).await;
        let Ok(Decoded::Complete {
            length,
            addresses: Some(addresses),
        }) = proxy_header::decode(&bytes)
        else {
            panic!("{bytes:?}");
        };
        assert_eq!(addresses.source, client.local_addr().unwrap());
        assert_eq!(addresses.destination, client.peer_addr().unwrap());
        assert_eq!(&bytes[length..], b"rest");
    }
}

#[tokio::test]
async fn a_proxied_session_is_listed_and_can_be_closed() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let mut client = client(&gateway).await;
    let mut server = accepted(&upstream).await;
    // What has come through has a session.
    client.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut server, 1).await, b"x");
    let mut api = gateway.http1().await;
    let listed = api.get("/v1/connections").await.json();
    let session = listed["connections"]
        .as_array()
        .and_then(|all| all.iter().find(|it| it["wire"] == "tcp-proxy").cloned())
        .unwrap_or_else(|| panic!("{listed}"));
    assert_eq!(session["peer"], client.local_addr().unwrap().to_string());
    let path = format!("/v1/connections/{}", session["id"].as_str().unwrap());
    let answer = api.request(http::Method::DELETE, &path, &[], "").await;
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    assert_eq!(read_to_end(&mut client).await, b"");
    assert_eq!(read_to_end(&mut server).await, b"");
}

#[tokio::test]
async fn a_drain_ends_proxied_sessions() {
    let upstream = listen().await;
    let gateway = proxy(&[at(&upstream)], |_| {});
    let mut client = client(&gateway).await;
    let _server = accepted(&upstream).await;
    gateway.reaches("sessions", 1).await;
    let drained = gateway.drain().await;
    assert_eq!(drained.cut, 0);
    assert_eq!(read_to_end(&mut client).await, b"");
}

#[tokio::test]
async fn an_upstream_killed_under_load_leaks_no_session() {
    let upstream = listen().await;
    let address = at(&upstream);
    let gateway = proxy(&[address], |_| {});
    let mut echoes = gateway.raw(gateway.echo()).await;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let mut client = client(&gateway).await;
        tasks.push(Task::spawn(async move {
            let block = vec![7; 1 << 16];
            while client.write_all(&block).await.is_ok() {}
        }));
    }
    let mut servers = Vec::new();
    for _ in 0..50 {
        servers.push(accepted(&upstream).await);
    }
    for server in &mut servers {
        read(server, 1 << 16).await;
    }
    drop(upstream);
    drop(servers);
    for task in tasks {
        within("a client is told", task.join()).await;
    }
    echoes.write(b"alive").await;
    assert_eq!(echoes.read(5).await, b"alive");
    gateway.reaches("sessions", 1).await;
    stays(Duration::from_millis(100), || {
        match gateway.snapshot().value("sessions") {
            Some(1) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
