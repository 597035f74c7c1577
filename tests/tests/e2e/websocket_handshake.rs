//! RFC 6455 §4 on the wire: which requests become a WebSocket over HTTP/1.1, and what is answered.
//!
//! Heads are written as text, so that nothing puts in order what a test wants out of order. Over
//! HTTP/2 it is `websocket_http2`.

use roomwire_tests::{Raw, TestGateway, frame};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Header fields of a good handshake, to be changed.
struct Head {
    line: &'static str,
    fields: Vec<(String, String)>,
}

impl Head {
    fn new() -> Self {
        let fields = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            line: "GET /ws HTTP/1.1",
            fields: fields.map(owned).to_vec(),
        }
    }

    fn line(mut self, line: &'static str) -> Self {
        self.line = line;
        self
    }

    fn without(mut self, name: &str) -> Self {
        let before = self.fields.len();
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        assert!(self.fields.len() < before, "{name}");
        self
    }

    fn and(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n"
    }
}

/// A head of an answer.
#[derive(Debug)]
struct Answered {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Answered {
    /// The values of a field, as often as it is there.
    fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

async fn shake(gateway: &TestGateway, head: &Head) -> (Answered, Raw) {
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(head.text().as_bytes()).await;
    let text = raw.read_head().await;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("a field");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let answered = Answered {
        status: status.and_then(|it| it.parse().ok()).expect("a status"),
        fields: fields.collect(),
    };
    (answered, raw)
}

async fn accepts(gateway: &TestGateway, head: &Head) -> Answered {
    let (answered, mut raw) = shake(gateway, head).await;
    assert_eq!(answered.status, 101, "{}{answered:?}", head.text());
    raw.write(&frame(0x89, b"p")).await;
    assert_eq!(raw.read_frame().await, (10, b"p".to_vec()));
    answered
}

/// The status and what the body of the problem says is wrong.
async fn refuses(gateway: &TestGateway, head: &Head) -> (Answered, String) {
    let (answered, mut raw) = shake(gateway, head).await;
    assert_ne!(answered.status, 101, "{}", head.text());
    let length = answered.all("content-length");
    let length = length.first().and_then(|it| it.parse().ok());
    let body = raw.read(length.unwrap_or(0)).await;
    (answered, String::from_utf8(body).expect("UTF-8"))
}

#[tokio::test]
async fn the_answer_has_each_field_once_and_no_other_of_websockets() {
    let gateway = TestGateway::start();
    let answered = accepts(&gateway, &Head::new()).await;
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        // RFC 6455 §1.3 has this pair of key and answer.
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ] {
        let values = answered.all(name);
        assert_eq!(values.len(), 1, "{name}: {answered:?}");
        assert!(values[0].eq_ignore_ascii_case(value), "{answered:?}");
    }
    for name in [
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-version",
        "content-length",
        "transfer-encoding",
    ] {
        assert!(answered.all(name).is_empty(), "{name}: {answered:?}");
    }
}

#[tokio::test]
async fn fields_may_come_in_any_order_case_and_list() {
    let gateway = TestGateway::start();
    let mut reversed = Head::new();
    reversed.fields.reverse();
    accepts(&gateway, &reversed).await;
    let mut shouted = Head::new();
    for (name, _) in &mut shouted.fields {
        *name = name.to_ascii_uppercase();
    }
    accepts(&gateway, &shouted).await;
    for (name, value) in [
        ("Connection", "keep-alive, Upgrade"),
        ("Connection", "upgrade"),
        ("Connection", "UPGRADE , keep-alive"),
        ("Upgrade", "WebSocket"),
        ("Upgrade", "h2c, websocket"),
    ] {
        accepts(&gateway, &Head::new().with(name, value)).await;
    }
    let two = Head::new().with("Connection", "keep-alive");
    accepts(&gateway, &two.and("Connection", "Upgrade")).await;
}

#[tokio::test]
async fn a_handshake_is_a_get_over_http_1_1() {
    let gateway = TestGateway::start();
    for line in [
        "POST /ws HTTP/1.1",
        "PUT /ws HTTP/1.1",
        "HEAD /ws HTTP/1.1",
        "DELETE /echo HTTP/1.1",
    ] {
        let (answered, _) = shake(&gateway, &Head::new().line(line)).await;
        assert_eq!(answered.status, 405, "{line}");
        assert!(answered.all("allow")[0].contains("GET"), "{answered:?}");
    }
    let old = Head::new().line("GET /ws HTTP/1.0");
    let (answered, said) = refuses(&gateway, &old).await;
    assert_eq!(answered.status, 400);
    assert!(said.contains("HTTP/1.1"), "{said}");
}

#[tokio::test]
async fn what_is_missing_or_not_once_is_a_bad_handshake() {
    let gateway = TestGateway::start();
    let heads = [
        Head::new().without("Host"),
        Head::new().and("Host", "localhost"),
        Head::new().without("Upgrade"),
        Head::new().with("Upgrade", "websockets"),
        Head::new().with("Upgrade", "h2c"),
        Head::new().without("Connection"),
        Head::new().with("Connection", "keep-alive"),
        Head::new().with("Connection", "Upgraded"),
        Head::new().without("Sec-WebSocket-Key"),
        Head::new().and("Sec-WebSocket-Key", KEY),
    ];
    for head in &heads {
        let (answered, said) = refuses(&gateway, head).await;
        assert_eq!(answered.status, 400, "{}{said}", head.text());
        assert!(said.contains("\"detail\":\""), "{said}");
    }
}

#[tokio::test]
async fn a_key_is_sixteen_bytes_in_base64() {
    let gateway = TestGateway::start();
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAA AAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA-_==",
    ] {
        let head = Head::new().with("Sec-WebSocket-Key", key);
        let (answered, said) = refuses(&gateway, &head).await;
        assert_eq!(answered.status, 400, "{key}: {said}");
        assert!(said.contains("Sec-WebSocket-Key"), "{said}");
    }
}

#[tokio::test]
async fn another_version_is_told_which_one_is_spoken() {
    let gateway = TestGateway::start();
    for head in [
        Head::new().without("Sec-WebSocket-Version"),
        Head::new().and("Sec-WebSocket-Version", "13"),
        Head::new().with("Sec-WebSocket-Version", "8"),
        Head::new().with("Sec-WebSocket-Version", "14"),
        Head::new().with("Sec-WebSocket-Version", "13, 8"),
        Head::new().with("Sec-WebSocket-Version", "013"),
        Head::new().with("Sec-WebSocket-Version", "thirteen"),
    ] {
        let (answered, _) = refuses(&gateway, &head).await;
        assert_eq!(answered.status, 426, "{}", head.text());
        assert_eq!(answered.all("sec-websocket-version"), ["13"]);
        // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to.
        assert_eq!(answered.all("upgrade"), ["websocket"]);
        assert_eq!(answered.all("connection"), ["upgrade, close"]);
    }
}

#[tokio::test]
async fn a_path_without_a_websocket_is_not_found_or_stays_http() {
    let gateway = TestGateway::start();
    let (answered, _) = refuses(&gateway, &Head::new().line("GET /nothing HTTP/1.1")).await;
    assert_eq!(answered.status, 404);
    let (answered, _) = refuses(&gateway, &Head::new().line("GET /healthz HTTP/1.1")).await;
    assert_eq!(answered.status, 200, "an upgrade may be ignored");
    assert!(answered.all("upgrade").is_empty());
}

#[tokio::test]
async fn a_subprotocol_is_one_of_those_that_were_offered_or_none() {
    let gateway = TestGateway::start();
    let offering = |value| Head::new().and("Sec-WebSocket-Protocol", value);
    for value in ["roomwire.v1", "chat, roomwire.v1", "roomwire.v1,other"] {
        let answered = accepts(&gateway, &offering(value)).await;
        assert_eq!(answered.all("sec-websocket-protocol"), ["roomwire.v1"]);
    }
    let twice = offering("chat").and("Sec-WebSocket-Protocol", "roomwire.v1");
    let answered = accepts(&gateway, &twice).await;
    assert_eq!(answered.all("sec-websocket-protocol"), ["roomwire.v1"]);
    for value in ["chat", "ROOMWIRE.V1", "roomwire.v10", "roomwire.v2, x"] {
        let answered = accepts(&gateway, &offering(value)).await;
        assert!(answered.all("sec-websocket-protocol").is_empty(), "{value}");
    }
    // An echo speaks nothing in particular.
    let echo = offering("roomwire.v1").line("GET /echo HTTP/1.1");
    let answered = accepts(&gateway, &echo).await;
    assert!(answered.all("sec-websocket-protocol").is_empty());
}

#[tokio::test]
async fn a_malformed_list_of_subprotocols_is_a_bad_handshake() {
    let gateway = TestGateway::start();
    for value in [
        "",
        ",",
        "roomwire v1",
        "roomwire.v1, a b",
        "roomwire.v1;q=1",
        "\"roomwire.v1\"",
        "chat/2",
    ] {
        let head = Head::new().and("Sec-WebSocket-Protocol", value);
        let (answered, said) = refuses(&gateway, &head).await;
        assert_eq!(answered.status, 400, "{value}: {said}");
        assert!(said.contains("Sec-WebSocket-Protocol"), "{said}");
    }
}

#[tokio::test]
async fn an_origin_that_may_not_connect_is_told_why() {
    let gateway = TestGateway::with(|config| {
        config.gateway.origins = vec!["https://app.example".to_owned()];
    });
    for path in ["GET /ws HTTP/1.1", "GET /echo HTTP/1.1"] {
        accepts(
            &gateway,
            &Head::new().line(path).and("Origin", "https://app.example"),
        )
        .await;
        let foreign = Head::new().line(path).and("Origin", "https://evil.example");
        let (answered, said) = refuses(&gateway, &foreign).await;
        assert_eq!(answered.status, 403);
        assert!(said.contains("\"code\":\"origin_refused\""), "{said}");
        assert!(said.contains("gateway.origins"), "{said}");
    }
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    let head = Head::new().line("GET /echo HTTP/1.1").text();
    let early = [head.as_bytes(), &frame(0x81, b"early")].concat();
    raw.write(&early).await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.read_frame().await, (1, b"early".to_vec()));
}

#[tokio::test]
async fn what_follows_a_refused_handshake_is_not_taken_for_a_request() {
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.http()).await;
    let refused = Head::new().with("Sec-WebSocket-Version", "8").text();
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    raw.write(format!("{refused}{smuggled}").as_bytes()).await;
    let answers = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answers.starts_with("HTTP/1.1 426 "), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    counters.moved(&[("http_requests_total", 1)]).await;
}
