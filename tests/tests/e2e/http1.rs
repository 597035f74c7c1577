//! HTTP/1.1 byte by byte: what is answered, what is refused with which status, and what of several
//! requests on one connection.

use std::time::Duration;

use roomwire::config::{ByteSize, Span};
use roomwire_tests::{Raw, TestGateway, pass};

/// A head of POST to a room with these further fields, and what follows it.
fn post(fields: &str, rest: &str) -> String {
    format!(
        "POST /v1/rooms/a/messages HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\n{fields}\r\n{rest}"
    )
}

fn get(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\n{fields}\r\n")
}

/// The statuses of all answers on a connection that ends.
fn statuses(answers: &str) -> Vec<&str> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads
        .filter_map(|head| head.get(..3))
        .filter(|status| status.parse::<u16>().is_ok())
        .collect()
}

async fn answers(raw: &mut Raw) -> String {
    String::from_utf8_lossy(&raw.read_to_end().await).into_owned()
}

const DATA: &str = "{\"data\":1}";

#[tokio::test]
async fn a_request_that_is_not_written_by_the_rules_is_refused_and_the_connection_ends() {
    let gateway = TestGateway::start();
    let home = |fields: &str| get("GET /healthz", fields);
    let long = "y".repeat(9000);
    let many = "x: y\r\n".repeat(101);
    let cases: Vec<(String, &str)> = vec![
        // Line ends and whitespace.
        ("GET /healthz HTTP/1.1\nhost: localhost\n\n".into(), "400"),
        (home("host: localhost\nx: y\r\n"), "400"),
        (home("host: localhost\r\n x: y\r\n"), "400"),
        (home("host: localhost\r\nx: y\r\n\tz\r\n"), "400"),
        (home("host: localhost\r\nx : y\r\n"), "400"),
        (home("host: localhost\r\nx\r\n"), "400"),
        (home("host: localhost\r\nx: y\rz\r\n"), "400"),
        (home("host: localhost\r\nx: \0\r\n"), "400"),
        (home(" host: localhost\r\n"), "400"),
        // The request line.
        (get("GET  /healthz", "host: localhost\r\n"), "400"),
        (get("GET\t/healthz", "host: localhost\r\n"), "400"),
        (get("GE(T /healthz", "host: localhost\r\n"), "400"),
        (get("GET *", "host: localhost\r\n"), "400"),
        (get("GET healthz", "host: localhost\r\n"), "400"),
        (get("GET /h\u{e4}", "host: localhost\r\n"), "400"),
        (get("GET /#a", "host: localhost\r\n"), "400"),
        (get("GET ftp://localhost/", "host: localhost\r\n"), "400"),
        (get("GET http://a@localhost/", "host: localhost\r\n"), "400"),
        ("GET /healthz\r\n\r\n".into(), "400"),
        ("GET /healthz HTTP/1.1 x\r\n\r\n".into(), "400"),
        ("GET /healthz HTTP/x.1\r\n\r\n".into(), "400"),
        ("GET /healthz HTTP/9.9\r\n\r\n".into(), "505"),
        ("GET /healthz HTTP/2.0\r\n\r\n".into(), "505"),
        (format!("{}X / HTTP/1.1\r\n\r\n", "X".repeat(40)), "501"),
        (get(&format!("GET /{long}"), "host: localhost\r\n"), "414"),
        (home(&format!("host: localhost\r\nx: {long}\r\n")), "431"),
        (home(&format!("host: localhost\r\n{many}")), "431"),
        // How long a body is.
        (post("content-length: 10\r\ntransfer-encoding: chunked\r\n", DATA), "400"),
        (post("transfer-encoding: chunked\r\ncontent-length: 10\r\n", DATA), "400"),
        (post("content-length: 10\r\ncontent-length: 10\r\n", DATA), "400"),
        (post("content-length: 10\r\ncontent-length: 11\r\n", DATA), "400"),
        (post("content-length: 10, 10\r\n", DATA), "400"),
        (post("content-length: +10\r\n", DATA), "400"),
        (post("content-length: 0xa\r\n", DATA), "400"),
        (post("content-length: 99999999999999999999\r\n", DATA), "400"),
        (post("transfer-encoding: chunked, chunked\r\n", DATA), "400"),
        (post("transfer-encoding: xchunked\r\n", DATA), "400"),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", DATA), "400"),
        (post("transfer-encoding: gzip, chunked\r\n", DATA), "501"),
        (
            "POST /v1/rooms/a/messages HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
                .into(),
            "400",
        ),
    ];
    for (request, expected) in cases {
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.http()).await;
        // What is in line behind it must never be taken for a request.
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
        raw.write((request.clone() + smuggled).as_bytes()).await;
        let answers = answers(&mut raw).await;
        assert_eq!(statuses(&answers), [expected], "{request:?}: {answers}");
        assert!(answers.contains("connection: close\r\n"), "{answers}");
        assert!(answers.contains("application/problem+json"), "{answers}");
        counters.complained(&[("http_bad_requests_total", 1)]).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_written_by_the_rules_is_refused_and_the_connection_ends() {
    let gateway = TestGateway::start();
    for chunks in [
        "x\r\n",
        "a \r\n{\"data\":1}\r\n0\r\n\r\n",
        "a\n{\"data\":1}\r\n0\r\n\r\n",
        "0xa\r\n{\"data\":1}\r\n0\r\n\r\n",
        "a;\r\n{\"data\":1}\r\n0\r\n\r\n",
        "a;b\nc\r\n{\"data\":1}\r\n0\r\n\r\n",
        "a\r\n{\"data\":1}0\r\n\r\n",
        "9\r\n{\"data\":1}\r\n0\r\n\r\n",
        "a\r\n{\"data\":1}\n0\r\n\r\n",
        "fffffffffffffffff\r\n{\"data\":1}\r\n0\r\n\r\n",
        "a\r\n{\"data\":1}\r\n0\r\nx : y\r\n\r\n",
    ] {
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.http()).await;
        let request = post("transfer-encoding: chunked\r\n", chunks) + "GET / HTTP/1.1\r\n\r\n";
        raw.write(request.as_bytes()).await;
        let answers = answers(&mut raw).await;
        assert_eq!(statuses(&answers), ["400"], "{chunks:?}: {answers}");
        counters.complained(&[("http_bad_requests_total", 1)]).await;
        assert_eq!(counters.delta("hub_publishes_total"), 0, "{chunks:?}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_served_says_why_and_the_connection_goes_on() {
    let gateway = TestGateway::with(|config| config.limits.max_body = ByteSize::kib(64));
    let large = "y".repeat(70_000);
    let plain = "host: localhost\r\n";
    let cases: Vec<(String, &str, &str)> = vec![
        (get("GET /healthz", plain), "200", ""),
        (
            get("GET http://localhost/healthz", "host: other\r\n"),
            "200",
            "",
        ),
        (get("HEAD /healthz", plain), "200", "content-length: "),
        (get("OPTIONS *", plain), "204", "allow: "),
        (
            get("OPTIONS /healthz", plain),
            "204",
            "allow: GET, HEAD, OPTIONS",
        ),
        (
            get("DELETE /healthz", plain),
            "405",
            "allow: GET, HEAD, OPTIONS",
        ),
        (
            get("BREW /healthz", plain),
            "405",
            "allow: GET, HEAD, OPTIONS",
        ),
        (get("CONNECT localhost:80", plain), "501", ""),
        (get("GET https://localhost/healthz", plain), "421", ""),
        (get("GET /nothing", plain), "404", ""),
        (get("GET /healthz", ""), "400", "bad_host"),
        (
            get("GET /healthz", "host: localhost\r\nhost: localhost\r\n"),
            "400",
            "bad_host",
        ),
        (get("GET /healthz", "host: \r\n"), "400", "bad_host"),
        (get("GET /healthz", "host: a, b\r\n"), "400", "bad_host"),
        (
            get("GET /healthz", "host: a@localhost\r\n"),
            "400",
            "bad_host",
        ),
        (
            get("GET /healthz", "host: localhost:x\r\n"),
            "400",
            "bad_host",
        ),
        (get("GET http://localhost/healthz", ""), "400", "bad_host"),
        (
            get("GET /healthz", "host: localhost\r\nexpect: cake\r\n"),
            "417",
            "",
        ),
        (post("", ""), "411", "length_required"),
        (post("content-length: 0\r\n", ""), "400", "bad_json"),
        (post("content-length: 10\r\n", DATA), "201", ""),
        (
            post(
                "transfer-encoding: chunked\r\n",
                "4;a=\"b\"\r\n{\"da\r\n6\r\nta\":1}\r\n0\r\nx: y\r\n\r\n",
            ),
            "201",
            "",
        ),
        (
            post(
                "transfer-encoding: chunked\r\n",
                &format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
            ),
            "413",
            "",
        ),
    ];
    for (request, expected, part) in cases {
        let shown = &request[..request.len().min(300)];
        let mut raw = gateway.raw(gateway.http()).await;
        let last = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        raw.write((request.clone() + last).as_bytes()).await;
        let answers = answers(&mut raw).await;
        let wanted = [expected, "200"];
        assert_eq!(statuses(&answers), wanted, "{shown:?}: {answers}");
        assert!(answers.contains(part), "{shown:?}: {answers}");
    }
}

#[tokio::test]
async fn requests_in_line_are_answered_in_order_however_they_are_cut() {
    let gateway = TestGateway::start();
    let mut input = String::new();
    let mut expected = Vec::new();
    for round in 0..20 {
        input += &get("GET /healthz", "host: localhost\r\n");
        input += &post("content-length: 10\r\n", DATA);
        input += "\r\n";
        input += &post(
            "transfer-encoding: chunked\r\n",
            "a\r\n{\"data\":2}\r\n0\r\n\r\n",
        );
        expected.extend(["200", "201", "201"]);
        if round % 2 == 0 {
            input += &get("GET /nothing", "host: localhost\r\n");
            expected.push("404");
        }
    }
    // A refusal comes behind the answers that come before it.
    input += "GET / HTTP/1.1\r\nhost : localhost\r\n\r\n";
    expected.push("400");
    for piece in [1, 7, 1000, input.len()] {
        let mut raw = gateway.raw(gateway.http()).await;
        for piece in input.as_bytes().chunks(piece) {
            raw.write(piece).await;
        }
        let answers = answers(&mut raw).await;
        assert_eq!(statuses(&answers), expected, "by {piece}");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on_or_not_to() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let head = post("content-length: 10\r\nexpect: 100-continue\r\n", "");
    raw.write(head.as_bytes()).await;
    let told = raw.read_head().await;
    assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
    raw.write(DATA.as_bytes()).await;
    let answer = raw.read_head().await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let mut raw = gateway.raw(gateway.http()).await;
    let head = post("content-length: 70000\r\nexpect: 100-continue\r\n", "");
    raw.write(head.as_bytes()).await;
    let answer = raw.read_head().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_more_than_is_wanted_gets_the_answer_and_no_reset() {
    let gateway = TestGateway::start();
    for _ in 0..5 {
        let mut raw = gateway.raw(gateway.http()).await;
        let head = post("content-length: 500000\r\n", &"y".repeat(300_000));
        raw.write(head.as_bytes()).await;
        let answers = answers(&mut raw).await;
        assert_eq!(statuses(&answers), ["413"]);
        assert!(answers.ends_with('}'), "{answers}");
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_answered_408() {
    let gateway = TestGateway::with(|config| {
        config.limits.header_timeout = Span::millis(300);
        config.limits.idle_http = Span::minutes(1);
    });
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(get("GET /healthz", "host: localhost\r\n").as_bytes())
        .await;
    raw.write(b"GET /healthz HTTP/1.1\r\nhost: local").await;
    let answers = answers(&mut raw).await;
    assert_eq!(statuses(&answers), ["200", "408"], "{answers}");
    // The peer keeps its side open for longer than a head may take, which is no second complaint.
    pass(Duration::from_millis(800)).await;
    counters.complained(&[("http_timeouts_total", 1)]).await;
}

#[tokio::test]
async fn a_broken_preface_of_http2_is_answered_by_goaway() {
    let gateway = TestGateway::with(|config| config.limits.handshake_timeout = Span::millis(300));
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/1.1\r\nhost: a\r\n\r\n",
        // Nothing follows it.
        b"PRI * HTTP",
        b"INVALID CONNECTION PREFACE\r\n\r\n",
        b"pri * http/2.0\r\n\r\nsm\r\n\r\n",
        // It was left out.
        b"\0\0\0\x04\0\0\0\0\0",
    ] {
        let counters = gateway.counters();
        let mut raw = gateway.raw(gateway.http()).await;
        raw.write(preface).await;
        let answer = raw.read_to_end().await;
        assert!(answer.ends_with(&goaway), "{preface:?}: {answer:?}");
        counters.complained(&[("http_bad_requests_total", 1)]).await;
    }
}

#[tokio::test]
async fn over_http2_the_same_targets_and_hosts_are_refused() {
    let gateway = TestGateway::start();
    let mut http = gateway.http2().await;
    for (target, expected) in [
        (format!("/healthz?{}", "y".repeat(8000)), 200),
        (format!("/healthz?{}", "y".repeat(9000)), 414),
    ] {
        assert_eq!(http.get(&target).await.status, expected);
    }
}

/// What a connection answers to a request with these fields more, without what differs by itself.
async fn told(gateway: &TestGateway, line: &str, more: &str) -> Vec<String> {
    let mut raw = gateway.raw(gateway.http()).await;
    let request = get(
        line,
        &format!("host: localhost\r\nx-request-id: 1\r\n{more}"),
    );
    let last = get("GET /nothing", "host: localhost\r\nconnection: close\r\n");
    raw.write((request + &last).as_bytes()).await;
    let all = answers(&mut raw).await;
    let (first, _) = all
        .split_once("HTTP/1.1 404")
        .expect("the last request is answered");
    let mut lines: Vec<String> = first.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_answered_directly_is_answered_as_by_hyper() {
    let gateway = TestGateway::start();
    for line in [
        "GET /healthz",
        "HEAD /healthz",
        "OPTIONS /healthz",
        "DELETE /healthz",
        "GET /",
        "HEAD /",
        "GET /admin",
        "GET /v1/rooms",
        "GET /ws",
        "GET /healthz?a=b%20c",
    ] {
        let directly = told(&gateway, line, "").await;
        assert!(directly.len() > 3, "{line}: {directly:?}");
        // An option of the connection that means nothing.
        let by_hyper = told(&gateway, line, "connection: x-nothing\r\n").await;
        assert_eq!(directly, by_hyper, "{line}");
    }
}

#[tokio::test]
async fn requests_of_both_kinds_are_answered_in_their_order() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let plain = get("GET /healthz", "host: localhost\r\n");
    let missing = get("GET /nothing", "host: localhost\r\n");
    let publish = post(&format!("content-length: {}\r\n", DATA.len()), DATA);
    let last = get("GET /healthz", "host: localhost\r\nconnection: close\r\n");
    let all = [&plain, &missing, &plain, &publish, &missing, &plain, &last].map(String::as_str);
    raw.write(all.concat().as_bytes()).await;
    let answered = answers(&mut raw).await;
    let expected = ["200", "404", "200", "201", "404", "200", "200"];
    assert_eq!(statuses(&answered), expected, "{answered}");
}

#[tokio::test]
async fn pipelined_answers_that_are_not_read_wait_and_then_come_whole() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let many = get("GET /openapi.json", "host: localhost\r\n").repeat(200);
    let last = get("GET /healthz", "host: localhost\r\nconnection: close\r\n");
    raw.write((many + &last).as_bytes()).await;
    // More than the kernel keeps for a peer that does not read.
    pass(Duration::from_millis(100)).await;
    let answered = answers(&mut raw).await;
    assert_eq!(statuses(&answered).len(), 201);
    assert!(answered.ends_with("\r\n\r\nok\n"), "the last one");
}
