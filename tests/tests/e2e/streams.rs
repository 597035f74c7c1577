//! Bytes over TCP in bulk and in crowds: whole through half-closes, stopped by who does not read, and
//! nothing left of connections that ended badly.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomwire::config::Span;
use roomwire_tests::{PATIENCE, Raw, Task, TestGateway, eventually, within};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Byte `at` of a stream that repeats with no power of two.
fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

async fn connect(to: SocketAddr) -> TcpStream {
    within("a connection", TcpStream::connect(to))
        .await
        .unwrap()
}

#[tokio::test]
async fn an_echo_gives_back_every_byte_of_many_and_then_the_end() {
    const LENGTH: usize = 128 << 20;
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let (mut reader, mut writer) = connect(gateway.echo()).await.into_split();
    let write = Task::spawn(async move {
        let block: Vec<u8> = (0..251 * 1000).map(pattern).collect();
        let mut left = LENGTH;
        while left > 0 {
            let part = &block[..left.min(block.len())];
            writer.write_all(part).await.unwrap();
            left -= part.len();
        }
        // The rest comes back through a connection of which one half is closed.
        writer.shutdown().await.unwrap();
    });
    let block: Vec<u8> = (0..251 * 1000 + (1 << 18)).map(pattern).collect();
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        let count = within("bytes", reader.read(&mut buffer)).await.unwrap();
        if count == 0 {
            break;
        }
        let from = at % 251;
        assert!(buffer[..count] == block[from..from + count], "at {at}");
        at += count;
    }
    assert_eq!(at, LENGTH);
    within("the writer", write.join()).await;
    counters.moved(&[("session_close_ended_total", 1)]).await;
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
}

#[tokio::test]
async fn who_does_not_read_its_echo_is_stopped_and_ended_and_others_notice_nothing() {
    let gateway = TestGateway::with(|config| config.limits.write_timeout = Span::seconds(1));
    let counters = gateway.counters();
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = within("a connection", socket.connect(gateway.echo()))
            .await
            .unwrap();
        deaf.push(Task::spawn(async move {
            let block = vec![7; 1 << 20];
            let mut written = 0;
            while let Ok(count) = stream.write(&block).await {
                written += count;
            }
            written
        }));
    }
    let mut other = Raw::new(Box::new(connect(gateway.echo()).await));
    let mut worst = Duration::ZERO;
    while counters.delta("session_close_write_timeout_total") < 8 {
        let began = Instant::now();
        other.write(b"still here").await;
        assert_eq!(other.read(10).await, b"still here");
        worst = worst.max(began.elapsed());
    }
    // Chosen: the scheduling of a loaded machine, and far below the second in which they are stuck.
    assert!(worst < Duration::from_millis(700), "{worst:?}");
    for task in deaf {
        // What the kernel's buffers take, and one read.
        let written = within("a deaf client", task.join()).await;
        assert!(written < 32 << 20, "{written}");
    }
    gateway.reaches("outbox_bytes", 0).await;
    gateway.reaches("sessions", 1).await;
}

#[tokio::test]
async fn of_connections_that_are_torn_down_in_any_state_nothing_is_left() {
    const ROUNDS: usize = 300;
    let gateway = TestGateway::with(|config| {
        config.limits.max_connections = 64;
    });
    let counters = gateway.counters();
    let ports = [
        gateway.echo(),
        gateway.tcp(),
        gateway.address("discard").unwrap(),
    ];
    for round in 0..ROUNDS {
        for to in ports {
            let mut stream = connect(to).await;
            match round % 5 {
                // Reset before anything was said.
                0 => {}
                1 => stream.write_all(b"half a li").await.unwrap(),
                // An echo that nobody waits for.
                2 => stream.write_all(&[b'x'; 70_000]).await.unwrap(),
                3 => stream.shutdown().await.unwrap(),
                _ => {
                    stream.write_all(b"\n").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(stream);
            // At the bound they would be refused; what ended gives its place back at once.
            eventually(PATIENCE, || {
                let open = gateway.snapshot().value("sessions");
                if open < Some(32) { Ok(()) } else { Err(open) }
            })
            .await;
        }
    }
    gateway.reaches("sessions", 0).await;
    let opened = counters.delta("sessions_opened_total");
    assert!(opened > (ROUNDS * ports.len()) as u64 / 2, "{opened}");
    assert_eq!(counters.delta("sessions_closed_total"), opened);
    assert_eq!(counters.delta("listener_connections_refused_total"), 0);
    let mut raw = Raw::new(Box::new(connect(gateway.echo()).await));
    raw.write(b"well").await;
    assert_eq!(raw.read(4).await, b"well");
}
