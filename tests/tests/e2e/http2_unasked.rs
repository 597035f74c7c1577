//! What HTTP/2 has beside requests and answers: files that are pushed, early hints, trailers, and
//! streams that share a connection fairly.

use std::collections::BTreeMap;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request};
use roomwire::Reply;
use roomwire_tests::{
    Frame, GatewayOptions, Task, TestGateway, field, find_program, run_program, within,
};
use tokio::net::TcpStream;

async fn connect(gateway: &TestGateway, push: bool) -> (SendRequest<Bytes>, Task<()>) {
    let stream = TcpStream::connect(gateway.http())
        .await
        .expect("it listens");
    let shaken = Builder::new()
        .enable_push(push)
        // Files are looked at one after the other, so all of them must fit.
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(stream);
    let (sender, connection) = within("an HTTP/2 preface", shaken).await.unwrap();
    let connection = Task::spawn(async move { drop(connection.await) });
    (
        within("the connection", sender.ready()).await.unwrap(),
        connection,
    )
}

fn get(gateway: &TestGateway, path: &str) -> Request<()> {
    let uri = format!("http://{}{path}", gateway.http());
    Request::builder().uri(uri).body(()).unwrap()
}

async fn whole(mut body: h2::RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(piece) = within("a body", body.data()).await {
        let piece = piece.expect("it comes whole");
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    whole
}

#[tokio::test]
async fn a_page_brings_its_files_along_where_that_is_configured_and_taken() {
    let gateway = TestGateway::with(|config| config.http2.push = true);
    let counters = gateway.counters();
    let (mut sender, _connection) = connect(&gateway, true).await;
    let (mut answer, _) = sender.send_request(get(&gateway, "/"), true).unwrap();
    let mut promises = answer.push_promises();
    let page = within("the page", answer).await.unwrap();
    let page = String::from_utf8(whole(page.into_body()).await).unwrap();
    let mut pushed = 0;
    while let Some(promise) = within("a promise", promises.push_promise()).await {
        let (request, answer) = promise.unwrap().into_parts();
        assert_eq!(request.method(), http::Method::GET);
        let path = request.uri().path();
        assert!(
            page.contains(&format!("\"{path}\"")),
            "{path} is no part of it"
        );
        let answer = within("a pushed answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
        let file = whole(answer.into_body()).await;
        // What is pushed is what would have been answered.
        let asked = gateway.http1().await.get(path).await;
        assert!(file == asked.body, "{path}");
        pushed += 1;
    }
    assert!(pushed > 3, "{pushed} files");
    counters
        .moved(&[
            ("http2_pushes_total", pushed),
            ("http2_early_hints_total", 0),
        ])
        .await;
}

#[tokio::test]
async fn a_client_that_takes_no_push_hears_early_which_files_a_page_needs() {
    let gateway = TestGateway::with(|config| config.http2.push = true);
    let counters = gateway.counters();
    let (mut sender, _connection) = connect(&gateway, false).await;
    let (mut answer, _) = sender.send_request(get(&gateway, "/admin"), true).unwrap();
    let hints = std::future::poll_fn(|cx| answer.poll_informational(cx));
    let hints = within("early hints", hints).await.expect("hints").unwrap();
    assert_eq!(hints.status(), 103);
    let links = hints.headers()["link"].to_str().unwrap();
    assert!(
        links.contains("</assets/admin.css>; rel=preload; as=style"),
        "{links}"
    );
    assert!(links.contains("rel=modulepreload"), "{links}");
    assert_eq!(within("the page", answer).await.unwrap().status(), 200);
    // Nobody needs hints for what is no page.
    let (answer, _) = sender
        .send_request(get(&gateway, "/healthz"), true)
        .unwrap();
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    counters
        .moved(&[("http2_pushes_total", 0), ("http2_early_hints_total", 1)])
        .await;
    let gateway = TestGateway::with(|config| config.http2.early_hints = false);
    let counters = gateway.counters();
    assert_eq!(gateway.http2().await.get("/").await.status, 200);
    counters
        .moved(&[("http2_pushes_total", 0), ("http2_early_hints_total", 0)])
        .await;
}

#[tokio::test]
async fn nghttp_gets_pushes_and_hints() {
    let Some(nghttp) = find_program("nghttp") else {
        return;
    };
    let gateway = TestGateway::with(|config| config.http2.push = true);
    let url = format!("http://127.0.0.1:{}/", gateway.http().port());
    let output = run_program(&nghttp, &["-nv", &url], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("recv PUSH_PROMISE frame"), "{said}");
    let output = run_program(&nghttp, &["-nv", "--no-push", &url], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":status: 103"), "{said}");
    assert!(!said.contains("recv PUSH_PROMISE frame"), "{said}");
}

fn echoing() -> TestGateway {
    GatewayOptions::new()
        .build(|builder| {
            builder
                .post("/trailers", |request| async move {
                    let sum = request.trailers().get("x-sum").cloned();
                    let sum = sum.unwrap_or(HeaderValue::from_static("none"));
                    Reply::text("behind this").with_trailer(HeaderName::from_static("x-sum"), sum)
                })
                .get("/large", |_| async {
                    Reply::bytes("x/y", vec![b'x'; 4 << 20])
                })
        })
        .start()
}

#[tokio::test]
async fn fields_behind_a_body_come_and_go_over_both_versions() {
    let gateway = echoing();
    let (mut sender, _connection) = connect(&gateway, false).await;
    let uri = format!("http://{}/trailers", gateway.http());
    let request = Request::post(uri).body(()).unwrap();
    let (answer, mut send) = sender.send_request(request, false).unwrap();
    send.send_data(Bytes::from_static(b"data"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1234"));
    send.send_trailers(trailers).unwrap();
    let answer = within("an answer", answer).await.unwrap();
    let mut body = answer.into_body();
    let data = within("a body", body.data()).await.unwrap().unwrap();
    assert_eq!(data, "behind this");
    let trailers = within("trailers", body.trailers()).await.unwrap();
    assert_eq!(trailers.expect("trailers")["x-sum"], "1234");

    let mut raw = gateway.raw(gateway.http()).await;
    for (te, expected) in [
        (
            "te: trailers\r\n",
            "b\r\nbehind this\r\n0\r\nx-sum: 5678\r\n\r\n",
        ),
        ("", "b\r\nbehind this\r\n0\r\n\r\n"),
    ] {
        let request = format!(
            "POST /trailers HTTP/1.1\r\nhost: localhost\r\n{te}transfer-encoding: chunked\r\n\r\n\
             4\r\ndata\r\n0\r\nx-sum: 5678\r\n\r\n"
        );
        raw.write(request.as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let body = raw.read(expected.len()).await;
        let body = String::from_utf8_lossy(&body).to_ascii_lowercase();
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn streams_of_one_connection_have_equal_shares_and_a_small_answer_passes_them() {
    let gateway = echoing();
    // SETTINGS_INITIAL_WINDOW_SIZE, and as much for the connection: 1 GiB.
    let mut frames = gateway.frames(false, &[0, 4, 0x40, 0, 0, 0]).await;
    frames
        .write(&Frame::new(8, 0, 0, &[0x3f, 0, 0, 0]).bytes())
        .await;
    let get = |stream: u32, path: &str| {
        let block = [
            field(":method", "GET"),
            field(":scheme", "http"),
            field(":path", path),
            field(":authority", "localhost"),
        ];
        Frame::new(1, 5, stream, &block.concat()).bytes()
    };
    let large = [1, 3, 5, 7];
    let asked: Vec<u8> = large.iter().flat_map(|it| get(*it, "/large")).collect();
    frames.write(&asked).await;
    let mut came: BTreeMap<u32, usize> = BTreeMap::new();
    let mut small_after = None;
    let first = loop {
        let frame = frames.next().await.expect("more");
        if frame.kind != 0 {
            continue;
        }
        let total: usize = came.values().sum();
        if frame.stream == 9 {
            small_after.get_or_insert(total);
            continue;
        }
        if total == 0 {
            // All four are on their way.
            frames.write(&get(9, "/healthz")).await;
        }
        *came.entry(frame.stream).or_default() += frame.payload.len();
        if frame.flags & 1 == 1 {
            break frame.stream;
        }
    };
    assert_eq!(came.len(), large.len(), "{came:?}");
    for (stream, bytes) in &came {
        assert!(
            *bytes > 2 << 20,
            "{stream} had {bytes} when {first} ended: {came:?}"
        );
    }
    let total: usize = came.values().sum();
    let small = small_after.expect("the small answer came before the first large one ended");
    assert!(small < total, "{small} of {total}");
}
