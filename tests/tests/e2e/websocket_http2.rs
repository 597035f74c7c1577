//! RFC 8441: WebSockets as streams of one HTTP/2 connection, each a session and a window of its own.
//!
//! The client is the h2 crate with room enough on its side of the connection, so that whatever is
//! held up is held up by the gateway.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use roomwire::config::{ByteSize, Span};
use roomwire_tests::{Raw, Socket, Task, TestGateway, Tunnel, frame, within};
use tokio::net::TcpStream;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// Of a stream the client takes so much before it gives more credit.
const WINDOW: u32 = 64 * 1024;

struct Connection {
    sender: h2::client::SendRequest<Bytes>,
    authority: SocketAddr,
    scheme: &'static str,
    task: Task<Result<(), h2::Error>>,
}

impl Connection {
    async fn clear(gateway: &TestGateway) -> Self {
        let stream = TcpStream::connect(gateway.http()).await;
        let stream = Box::new(stream.expect("it listens"));
        Self::on(stream, gateway.http(), "http").await
    }

    async fn tls(gateway: &TestGateway) -> Self {
        Self::on(gateway.tls(b"h2").await, gateway.https(), "https").await
    }

    async fn on(socket: Socket, authority: SocketAddr, scheme: &'static str) -> Self {
        let shaken = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(64 * 1024 * 1024)
            // What the gateway answers to small frames is small frames.
            .data_frame_budget(usize::MAX)
            .handshake(socket);
        let (mut sender, connection) = within("an HTTP/2 preface", shaken).await.unwrap();
        let task = Task::spawn(connection);
        within("SETTINGS_ENABLE_CONNECT_PROTOCOL", async {
            while !sender.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
                sender = sender.clone().ready().await.unwrap();
            }
        })
        .await;
        Self {
            sender,
            authority,
            scheme,
            task,
        }
    }

    async fn connect(
        &mut self,
        protocol: &'static str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (http::Response<h2::RecvStream>, h2::SendStream<Bytes>) {
        let uri = format!("{}://{}{path}", self.scheme, self.authority);
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .extension(h2::ext::Protocol::from_static(protocol));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender = within("a free stream", self.sender.clone().ready())
            .await
            .unwrap();
        let request = request.body(()).unwrap();
        let (answer, send) = self.sender.send_request(request, false).unwrap();
        let answer = within("an extended CONNECT", answer).await;
        (answer.expect("an answer"), send)
    }

    async fn tunnel(&mut self, path: &str) -> Tunnel {
        let version = [("sec-websocket-version", "13")];
        let (answer, send) = self.connect("websocket", path, &version).await;
        assert_eq!(answer.status(), StatusCode::OK);
        Tunnel::new(answer.into_body(), send)
    }

    async fn open(&mut self, path: &str) -> Raw {
        Raw::new(Box::new(self.tunnel(path).await))
    }
}

#[tokio::test]
async fn many_websockets_share_one_connection() {
    const SOCKETS: usize = 120;
    let gateway = TestGateway::start();
    for mut connection in [
        Connection::clear(&gateway).await,
        Connection::tls(&gateway).await,
    ] {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            sockets.push(connection.open("/echo").await);
        }
        let said = |n: usize| vec![u8::try_from(n).unwrap(); n * 400];
        for (n, socket) in sockets.iter_mut().enumerate() {
            socket.write(&frame(TEXT, b"first")).await;
            socket.write(&frame(BINARY, &said(n))).await;
        }
        for (n, socket) in sockets.iter_mut().enumerate().rev() {
            assert_eq!(socket.read_frame().await, (1, b"first".to_vec()));
            assert_eq!(socket.read_frame().await, (2, said(n)));
        }
        for socket in &mut sockets {
            socket.write(&frame(0x88, &[3, 0xe8])).await;
        }
        for socket in &mut sockets {
            assert_eq!(socket.read_frame().await, (8, vec![3, 0xe8]));
            assert_eq!(socket.read_to_end().await, b"", "the stream ends");
        }
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_read_holds_up_no_other_of_its_connection() {
    const MESSAGES: usize = 200;
    let gateway = TestGateway::with(|config| {
        config.limits.max_outbox_bytes = ByteSize::kib(128);
        // The slow one is to come back.
        config.limits.write_timeout = Span::minutes(5);
    });
    let counters = gateway.counters();
    let mut connection = Connection::clear(&gateway).await;
    let (read, write) = tokio::io::split(connection.tunnel("/echo").await);
    let message = |n: usize| vec![u8::try_from(n % 251).unwrap(); 10_000];
    let writing = Task::spawn(async move {
        let mut slow = Raw::new(Box::new(tokio::io::join(tokio::io::empty(), write)));
        for n in 0..MESSAGES {
            slow.write(&frame(BINARY, &message(n))).await;
        }
        slow
    });
    // Its answers fill the client's window and then its outbox; from then on it is not read.
    counters.moved(&[("sessions_paused_total", 1)]).await;

    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(connection.open("/echo").await);
    }
    for round in 0..50 {
        for (n, other) in others.iter_mut().enumerate() {
            other.write(&frame(BINARY, &message(round + n))).await;
        }
        for (n, other) in others.iter_mut().enumerate() {
            assert_eq!(other.read_frame().await, (2, message(round + n)));
        }
    }
    assert_eq!(counters.delta("sessions_paused_total"), 1);

    let mut slow = Raw::new(Box::new(tokio::io::join(read, tokio::io::sink())));
    for n in 0..MESSAGES {
        assert_eq!(slow.read_frame().await, (2, message(n)), "{n}");
    }
    writing.join().await;
}

#[tokio::test]
async fn a_websocket_that_takes_nothing_is_ended_alone() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_outbox_bytes = ByteSize::kib(128);
        config.limits.write_timeout = Span::millis(300);
    });
    let counters = gateway.counters();
    let mut connection = Connection::clear(&gateway).await;
    let mut other = connection.open("/echo").await;
    let version = [("sec-websocket-version", "13")];
    let (answer, mut send) = connection.connect("websocket", "/echo", &version).await;
    let mut receive = answer.into_body();
    for _ in 0..20 {
        send.send_data(frame(BINARY, &[7; 10_000]).into(), false)
            .unwrap();
    }
    counters
        .complained(&[("session_close_write_timeout_total", 1)])
        .await;
    let end = async {
        loop {
            match receive.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the stream ended as if it were whole"),
            }
        }
    };
    let error = within("the stream's end", end).await;
    assert!(error.is_reset(), "the stream, not the connection: {error}");
    other.write(&frame(TEXT, b"still here")).await;
    assert_eq!(other.read_frame().await, (1, b"still here".to_vec()));
}

#[tokio::test]
async fn many_small_frames_on_many_streams_are_no_attack() {
    // Each window's worth of the smallest messages, on several streams at once.
    const SOCKETS: usize = 16;
    const FRAMES: usize = 4000;
    let gateway = TestGateway::start();
    let mut connection = Connection::clear(&gateway).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let version = [("sec-websocket-version", "13")];
        let (answer, send) = connection.connect("websocket", "/echo", &version).await;
        sockets.push((answer.into_body(), send));
    }
    let small = Bytes::from(frame(TEXT, b"tiny"));
    let mut reading = Vec::new();
    for (mut receive, mut send) in sockets {
        for _ in 0..FRAMES {
            send.send_data(small.clone(), false).unwrap();
        }
        reading.push(Task::spawn(async move {
            let mut missing = FRAMES * 6;
            while missing > 0 {
                let data = receive
                    .data()
                    .await
                    .expect("it goes on")
                    .expect("it is open");
                receive.flow_control().release_capacity(data.len()).unwrap();
                missing -= data.len();
            }
            drop(send);
        }));
    }
    for reading in reading {
        within("all echoes", reading.join()).await;
    }
}

#[tokio::test]
async fn an_extended_connect_is_refused_as_an_upgrade_is() {
    let gateway = TestGateway::with(|config| {
        config.gateway.origins = vec!["https://app.example".to_owned()];
    });
    let mut connection = Connection::tls(&gateway).await;
    let version = ("sec-websocket-version", "13");
    type Row<'a> = (
        &'static str,
        &'a str,
        &'a [(&'a str, &'a str)],
        u16,
        &'a str,
    );
    let table: &[Row<'_>] = &[
        ("websocket", "/ws", &[], 426, "bad_handshake"),
        (
            "websocket",
            "/ws",
            &[("sec-websocket-version", "8")],
            426,
            "bad_handshake",
        ),
        (
            "websocket",
            "/ws",
            &[version, version],
            426,
            "bad_handshake",
        ),
        (
            "websocket",
            "/ws",
            &[version, ("sec-websocket-protocol", "a b")],
            400,
            "bad_handshake",
        ),
        ("websocket", "/nothing", &[version], 404, "not_found"),
        ("websocket", "/healthz", &[version], 404, "not_found"),
        ("connect-udp", "/ws", &[version], 501, "bad_handshake"),
        (
            "websocket",
            "/ws",
            &[version, ("origin", "https://evil.example")],
            403,
            "origin_refused",
        ),
    ];
    for (protocol, path, headers, status, code) in table {
        let counters = gateway.counters();
        let (answer, _send) = connection.connect(protocol, path, headers).await;
        assert_eq!(answer.status(), *status, "{path} {headers:?}");
        if *status == 426 {
            assert_eq!(answer.headers()["sec-websocket-version"], "13");
        }
        let mut body = answer.into_body();
        let body = within("a body", body.data())
            .await
            .expect("a body")
            .unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], *code, "{problem}");
        counters.moved(&[("ws_handshakes_refused_total", 1)]).await;
    }
    let allowed = [version, ("origin", "https://app.example")];
    let (answer, _send) = connection.connect("websocket", "/ws", &allowed).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_answer_has_nothing_that_only_http_1_1_needs() {
    let gateway = TestGateway::start();
    let mut connection = Connection::clear(&gateway).await;
    let asked = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, roomwire.v1"),
        // It has no meaning here, and is not looked at.
        ("sec-websocket-key", "nonsense"),
    ];
    let (answer, _send) = connection.connect("websocket", "/ws", &asked).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut expected = HeaderMap::new();
    expected.insert("sec-websocket-protocol", "roomwire.v1".parse().unwrap());
    assert_eq!(*answer.headers(), expected);
}

#[tokio::test]
async fn how_a_stream_ends_is_how_a_socket_would() {
    let gateway = TestGateway::start();
    let mut connection = Connection::clear(&gateway).await;

    let counters = gateway.counters();
    let mut broken = connection.open("/echo").await;
    broken.write(&[0xff]).await;
    assert_eq!(broken.read_close().await.0, 1002);
    counters
        .moved(&[("session_close_protocol_error_total", 1)])
        .await;

    let mut half = connection.open("/echo").await;
    half.write(&frame(TEXT, b"last")).await;
    half.shutdown().await;
    assert_eq!(half.read_frame().await, (1, b"last".to_vec()));
    counters.moved(&[("session_close_ended_total", 1)]).await;

    let version = [("sec-websocket-version", "13")];
    let (answer, mut send) = connection.connect("websocket", "/echo", &version).await;
    send.send_reset(h2::Reason::CANCEL);
    drop(answer);
    counters.moved(&[("session_close_reset_total", 1)]).await;

    let mut other = connection.open("/echo").await;
    other.write(&frame(TEXT, b"whole")).await;
    assert_eq!(other.read_frame().await, (1, b"whole".to_vec()));
    drop((broken, half, send, other, connection.sender));
    within("the connection's end", connection.task.join())
        .await
        .expect("it was not an error");
}
