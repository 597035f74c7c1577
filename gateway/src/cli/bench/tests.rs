//! Each mode against a gateway in this process, with tiny numbers; and against a server of another
//! kind, which sends every message to everyone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use roomwire_protocols::websocket::deflate::{Compressor, Window};
use roomwire_protocols::websocket::{Opcode, frame, frame_compressed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::control;
use super::plan::tcp_tests::plan as tcp_plan;
use super::plan::tests::plan;
use crate::Gateway;
use crate::config::{Handler, Protocol};

fn gateway() -> Gateway {
    Gateway::builder()
        .workers(2)
        .listen(
            "web",
            Protocol::Http,
            "127.0.0.1:0".parse().expect("an address"),
            Handler::Http,
        )
        .start()
        .expect("it starts")
}

/// Runs one mode and returns its report, in which there must be no problem.
fn measure(options: &[&str]) -> Value {
    let gateway = gateway();
    let report = run(&gateway, options);
    gateway.shutdown();
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert_eq!(report["server"]["pids"][0], std::process::id());
    report
}

fn run(gateway: &Gateway, options: &[&str]) -> Value {
    let short = ["--duration", "200ms", "--warmup", "20ms", "--quiet"];
    let options: Vec<&str> = options.iter().chain(&short).copied().collect();
    let mut plan = plan(&options).expect("valid options");
    let address = gateway.address("web").expect("it listens");
    plan.url = format!("ws://{address}").parse().expect("a URL");
    let report = control::measure(plan).expect("a report");
    serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

#[test]
fn echoes_come_back_and_are_timed() {
    let report = measure(&["-c", "8", "-w", "4", "--threads", "2"]);
    assert!(count(&report["messages"]) > 32, "{report}");
    assert_eq!(report["round_trip_us"]["count"], report["messages"]);
    assert_eq!(report["unanswered"], 0);
}

#[test]
fn echoes_larger_than_a_read_come_back_whole() {
    let report = measure(&["-c", "2", "-w", "12", "--size", "60KiB", "--binary"]);
    assert!(count(&report["messages"]) > 24, "{report}");
}

#[test]
fn a_fan_out_reaches_every_member_once_and_in_order() {
    for threads in ["1", "3"] {
        let fanout = ["--mode", "fanout", "-c", "7", "-w", "5"];
        let options: Vec<&str> = fanout.into_iter().chain(["--threads", threads]).collect();
        let report = measure(&options);
        let whole = &report["whole_run"];
        assert!(count(&report["deliveries"]) > 35, "{report}");
        assert_eq!(count(&whole["published"]) * 7, count(&whole["received"]));
        assert_eq!(whole["lost"], 0);
    }
}

#[test]
fn a_fan_out_keeps_its_rate() {
    let options = ["--mode", "fanout", "-c", "3", "--rate", "100"];
    let report = measure(&options);
    // 220 ms with the warm-up; the first publication is due at once.
    let published = count(&report["whole_run"]["published"]);
    assert!((10..=40).contains(&published), "{report}");
}

#[test]
fn idle_connections_are_opened_and_closed() {
    let report = measure(&["--mode", "idle", "-c", "50"]);
    assert_eq!(report["opened"], 50);
    assert_eq!(report["lost"], 0);
    assert!(report["server"]["resident_bytes"]["after"].is_u64());
}

#[test]
fn churn_counts_whole_cycles() {
    let report = measure(&["--mode", "churn", "-c", "4"]);
    assert!(count(&report["cycles"]) > 4, "{report}");
    assert_eq!(report["failures"], 0);
}

#[test]
fn what_goes_wrong_is_told_with_what_was_measured() {
    let gateway = gateway();
    let mut plan = plan(&["-c", "2", "--quiet"]).expect("valid options");
    let address = gateway.address("web").expect("it listens");
    plan.url = format!("ws://{address}").parse().expect("a URL");
    plan.path = "/nowhere".to_owned();
    let report = control::measure(plan.clone()).expect("a report");
    let problem = report.problem().expect("there is no such path");
    assert!(problem.contains("404"), "{problem}");
    gateway.shutdown();
    let error = control::measure(plan).expect_err("nothing listens");
    assert!(error.to_string().contains("nothing answers"), "{error}");
}

/// A certificate for `localhost`, and the authority that issued it.
fn certificates() -> (ServerConfig, NamedTempFile) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])
        .expect("a name")
        .signed_by(&key, &issuer)
        .expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("safe versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a matching key");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut ca = NamedTempFile::new().expect("a file");
    ca.write_all(issuer.pem().as_bytes()).expect("written");
    (config, ca)
}

#[test]
fn echoes_come_back_through_tls() {
    let (config, ca) = certificates();
    let bind = "127.0.0.1:0".parse().expect("an address");
    let gateway = Gateway::builder()
        .workers(1)
        .listen("web", Protocol::Https, bind, Handler::Http)
        .tls(Arc::new(config))
        .start()
        .expect("it starts");
    let options = ["-c", "3", "-w", "4", "--size", "30KiB", "--quiet"];
    let mut plan = plan(&[&options[..], &["--duration", "200ms"]].concat()).expect("valid");
    let port = gateway.address("web").expect("it listens").port();
    plan.url = format!("wss://localhost:{port}").parse().expect("a URL");
    plan.ca = Some(ca.path().to_owned());
    let report = control::measure(plan).expect("a report");
    assert_eq!(report.problem(), None);
    let report: Value =
        serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON");
    assert!(count(&report["messages"]) > 12, "{report}");
    gateway.shutdown();
}

/// Sends every text message to all connections; `change` may spoil what is sent.
fn broadcaster(change: fn(u64, &mut Vec<u8>)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let all: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    // The threads end with the connections, the first with the test's process.
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let all = Arc::clone(&all);
            thread::spawn(move || {
                let copy = stream.try_clone().expect("a descriptor");
                let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
                // Under the lock, so that nothing is sent between the handshake and the entry.
                let mut entries = lock();
                // Connections that only look whether someone listens do not shake hands.
                let Ok(mut socket) = tungstenite::accept(stream) else {
                    return;
                };
                entries.push(copy);
                drop(entries);
                let mut number = 0;
                while let Ok(message) = socket.read() {
                    if let tungstenite::Message::Text(text) = message {
                        let mut out = Vec::new();
                        frame(&mut out, Opcode::Text, text.as_bytes());
                        change(number, &mut out);
                        number += 1;
                        for member in lock().iter_mut() {
                            member.write_all(&out).ok();
                        }
                    }
                }
            });
        }
    });
    port
}

/// Hands each connection to `handle`, on a thread of its own.
fn serve(handle: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || handle(stream));
        }
    });
    port
}

fn measure_at(port: u16, options: &[&str]) -> Value {
    let short = ["--duration", "100ms", "--warmup", "10ms", "--quiet"];
    let mut plan = plan(&[options, &short[..]].concat()).expect("valid options");
    plan.url = format!("ws://127.0.0.1:{port}").parse().expect("a URL");
    let report = control::measure(plan).expect("a report");
    serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON")
}

fn fan_out_raw(port: u16) -> Value {
    let options = [
        "--mode",
        "fanout",
        "--protocol",
        "raw",
        "-c",
        "5",
        "-w",
        "3",
    ];
    measure_at(port, &options)
}

#[test]
fn a_server_that_broadcasts_needs_no_rooms() {
    let report = fan_out_raw(broadcaster(|_, _| ()));
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert!(count(&report["deliveries"]) > 15, "{report}");
}

#[test]
fn lost_and_repeated_deliveries_are_found() {
    let losing = |number, out: &mut Vec<u8>| {
        if number == 4 {
            out.clear();
        }
    };
    let report = fan_out_raw(broadcaster(losing));
    assert_eq!(report["whole_run"]["lost"], 5, "{report}");
    assert!(report["problem"].is_string());

    let repeating = |number, out: &mut Vec<u8>| {
        if number == 4 {
            out.extend_from_within(..);
        }
    };
    let report = fan_out_raw(broadcaster(repeating));
    assert_eq!(report["whole_run"]["duplicated"], 5, "{report}");
    assert_eq!(report["whole_run"]["lost"], 0);
    assert!(report["problem"].is_string());
}

#[test]
fn members_that_never_read_are_told_apart_and_not_waited_for() {
    let options = ["--mode", "fanout", "-c", "3", "-w", "4", "--stalled", "2"];
    let report = measure(&options);
    assert_eq!(report["stalled"]["members"], 2, "{report}");
    let whole = &report["whole_run"];
    assert_eq!(count(&whole["published"]) * 3, count(&whole["received"]));
    assert!(report["server"]["resident_bytes"]["highest"].is_u64());
}

/// Echoes the event `echo`, as Socket.IO does, and pings once.
fn socketio(stream: TcpStream) {
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return;
    };
    socket.send(r#"0{"sid":"a"}"#.into()).expect("open");
    while let Ok(message) = socket.read() {
        let tungstenite::Message::Text(text) = message else {
            continue;
        };
        let answers = match text.as_str() {
            "40" => vec![r#"40{"sid":"b"}"#.into(), "2".into()],
            "3" => Vec::new(),
            event if event.starts_with(r#"42["echo","#) => vec![text.clone()],
            other => panic!("{other} is not Socket.IO"),
        };
        for answer in answers {
            if socket.send(tungstenite::Message::Text(answer)).is_err() {
                return;
            }
        }
    }
}

#[test]
fn socket_io_echoes_its_events() {
    let options = ["--protocol", "socketio", "-c", "3", "-w", "2"];
    let report = measure_at(serve(socketio), &options);
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert!(count(&report["messages"]) > 6, "{report}");
}

/// Echoes what it reads, compressed, if that was offered.
fn compressing(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    assert!(head.contains("Sec-WebSocket-Extensions: permessage-deflate;"));
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate; \
         server_no_context_takeover; client_no_context_takeover\r\n\r\n"
    )
    .expect("written");
    let copy = stream.try_clone().expect("a descriptor");
    let mut socket = WebSocket::from_raw_socket(copy, Role::Server, None);
    let mut compressor = Compressor::new(1, 0);
    while let Ok(message) = socket.read() {
        let tungstenite::Message::Text(text) = message else {
            continue;
        };
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        assert!(compressor.compress(text.as_bytes(), Window::Bits15, &mut payload));
        frame_compressed(&mut out, Opcode::Text, &payload);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn compressed_messages_are_inflated_and_compared() {
    let options = [
        "--deflate",
        "--content",
        "json",
        "--size",
        "512B",
        "-c",
        "2",
    ];
    let report = measure_at(serve(compressing), &options);
    assert_eq!(report["problem"], Value::Null, "{report}");
    let deflate = &report["deflate"];
    assert_eq!(deflate["connections"], 2, "{report}");
    assert!(count(&deflate["messages"]) >= count(&report["messages"]));
    let (sent, meant) = (&deflate["compressed_bytes"], &deflate["plain_bytes"]);
    assert!(count(sent) < count(meant) * 2 / 3, "{report}");
}

#[test]
fn a_server_that_does_not_compress_is_measured_as_it_is() {
    let options = [
        "--mode",
        "fanout",
        "--protocol",
        "raw",
        "-c",
        "3",
        "--deflate",
    ];
    let report = measure_at(broadcaster(|_, _| ()), &options);
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert_eq!(report["deflate"]["connections"], 0, "{report}");
}

/// A gateway whose TCP listener has this handler.
fn tcp_gateway(handler: Handler) -> Gateway {
    Gateway::builder()
        .workers(1)
        .listen(
            "tcp",
            Protocol::Tcp,
            "127.0.0.1:0".parse().expect("an address"),
            handler,
        )
        .start()
        .expect("it starts")
}

/// Runs `bench tcp` and returns its report, in which there must be no problem.
fn measure_tcp(handler: Handler, options: &[&str]) -> Value {
    let gateway = tcp_gateway(handler);
    let url = format!("tcp://{}", gateway.address("tcp").expect("it listens"));
    let short = ["--duration", "200ms", "--warmup", "20ms", "--quiet"];
    let line: Vec<&str> = [url.as_str()]
        .iter()
        .chain(options)
        .chain(&short)
        .copied()
        .collect();
    let report = control::measure(tcp_plan(&line).expect("valid options")).expect("a report");
    gateway.shutdown();
    let report: Value =
        serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON");
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert_eq!(report["url"], url);
    report
}

#[test]
fn bytes_come_back_in_order_and_are_timed() {
    let report = measure_tcp(Handler::Echo, &["-c", "3", "-w", "4", "--threads", "2"]);
    assert!(count(&report["messages"]) > 12, "{report}");
    assert_eq!(report["round_trip_us"]["count"], report["messages"]);
    let large = ["-c", "2", "-w", "3", "--size", "300KiB"];
    let report = measure_tcp(Handler::Echo, &large);
    assert!(count(&report["messages"]) > 6, "{report}");
}

#[test]
fn bytes_that_a_server_takes_are_counted() {
    let report = measure_tcp(Handler::Discard, &["--mode", "send", "-c", "2"]);
    assert!(count(&report["bytes"]) > 1 << 20, "{report}");
}

#[test]
fn tcp_connections_are_churned_with_and_without_a_message() {
    for size in ["64B", "0B"] {
        let options = ["--mode", "churn", "-c", "4", "--size", size];
        let report = measure_tcp(Handler::Echo, &options);
        assert!(count(&report["cycles"]) > 4, "{report}");
        assert_eq!(report["failures"], 0);
    }
}

#[test]
fn idle_tcp_connections_are_opened_and_closed() {
    let report = measure_tcp(Handler::Echo, &["--mode", "idle", "-c", "20"]);
    assert_eq!(report["opened"], 20);
}

#[test]
fn a_server_that_does_not_echo_is_found_out() {
    let gateway = tcp_gateway(Handler::Rooms);
    let url = format!("tcp://{}", gateway.address("tcp").expect("it listens"));
    let plan = tcp_plan(&[&url, "--size", "20KiB", "-c", "1", "-q", "-d", "200ms"]);
    let report = control::measure(plan.expect("valid options")).expect("a report");
    gateway.shutdown();
    assert!(report.problem().is_some());
}
