//! The HTTP API and the pages: every endpoint, what HEAD and OPTIONS say, and the description of it.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use roomwire_tests::{Heard, TestGateway};

/// What there is: a path, its type, and what `Allow` lists.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", "GET, HEAD, OPTIONS"),
    ("/admin", "text/html; charset=utf-8", "GET, HEAD, OPTIONS"),
    (
        "/assets/chat.js",
        "text/javascript; charset=utf-8",
        "GET, HEAD, OPTIONS",
    ),
    (
        "/assets/base.css",
        "text/css; charset=utf-8",
        "GET, HEAD, OPTIONS",
    ),
    ("/assets/icon.svg", "image/svg+xml", "GET, HEAD, OPTIONS"),
    (
        "/healthz",
        "text/plain; charset=utf-8",
        "GET, HEAD, OPTIONS",
    ),
    ("/readyz", "text/plain; charset=utf-8", "GET, HEAD, OPTIONS"),
    (
        "/metrics",
        "text/plain; version=0.0.4; charset=utf-8",
        "GET, HEAD, OPTIONS",
    ),
    ("/openapi.json", "application/json", "GET, HEAD, OPTIONS"),
    ("/v1/connections", "application/json", "GET, HEAD, OPTIONS"),
    ("/v1/rooms", "application/json", "GET, HEAD, OPTIONS"),
    (
        "/v1/rooms/tea/members",
        "application/json",
        "GET, HEAD, OPTIONS",
    ),
    (
        "/v1/rooms/tea/messages",
        "application/json",
        "GET, POST, HEAD, OPTIONS",
    ),
    ("/v1/stats", "application/json", "GET, HEAD, OPTIONS"),
];

#[tokio::test]
async fn every_endpoint_answers_get_head_and_options_on_every_version() {
    let gateway = TestGateway::start();
    let mut client = gateway.lines().await;
    client.join("tea").await;
    for mut http in [
        gateway.http1().await,
        gateway.https1().await,
        gateway.http2().await,
        gateway.https2().await,
    ] {
        for (path, content_type, allow) in ENDPOINTS {
            let what = format!("{http:?} {path}");
            let answer = http.get(path).await;
            assert_eq!(answer.status, 200, "{what}");
            assert_eq!(answer.header("content-type"), *content_type, "{what}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
            assert!(!answer.body.is_empty(), "{what}");
            let head = http.request(Method::HEAD, path, &[], "").await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{what}");
            assert_eq!(head.header("content-type"), *content_type, "{what}");
            assert!(head.headers.contains_key("content-length"), "{what}");
            let options = http.request(Method::OPTIONS, path, &[], "").await;
            assert_eq!(
                (options.status, options.header("allow")),
                (204, *allow),
                "{what}"
            );
            let wrong = http.request(Method::PATCH, path, &[], "").await;
            assert_eq!(
                (wrong.status, &*wrong.problem()),
                (405, "method_not_allowed"),
                "{what}"
            );
            assert_eq!(wrong.header("allow"), *allow, "{what}");
        }
    }
}

#[tokio::test]
async fn pages_may_load_only_what_is_ours() {
    let gateway = TestGateway::start();
    let mut http = gateway.http1().await;
    for path in ["/", "/admin"] {
        let answer = http.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let html = answer.text();
        for foreign in ["http://", "https://", "//cdn"] {
            assert!(!html.contains(&format!("src=\"{foreign}")), "{path}");
            assert!(!html.contains(&format!("href=\"{foreign}")), "{path}");
        }
    }
}

#[tokio::test]
async fn what_the_description_lists_is_there() {
    let uploads = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(|config| {
        config.uploads.directory = Some(uploads.path().to_owned());
    });
    let mut client = gateway.lines().await;
    client.join("tea").await;
    let mut http = gateway.http1().await;
    let description = http.get("/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = description["paths"].as_object().expect("paths");
    let mut operations = 0;
    for (path, item) in paths {
        let filled = path
            .replace("{room}", "tea")
            .replace("{event}", "something")
            .replace("{id}", "0000000000000000");
        let methods: BTreeSet<String> = item
            .as_object()
            .expect("an item")
            .keys()
            .filter(|key| ["get", "post", "put", "delete", "patch"].contains(&&***key))
            .map(|key| key.to_uppercase())
            .collect();
        let options = http.request(Method::OPTIONS, &filled, &[], "").await;
        assert_eq!(options.status, 204, "{path}");
        let allowed: BTreeSet<String> = options
            .header("allow")
            .split(", ")
            .filter(|method| !["HEAD", "OPTIONS"].contains(method))
            .map(str::to_owned)
            .collect();
        assert_eq!(methods, allowed, "{path}");
        for method in &methods {
            let operation = &item[method.to_lowercase()];
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(operation["responses"].is_object(), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations >= 12, "{operations}");
}

#[tokio::test]
async fn rooms_and_stats_tell_what_is() {
    let gateway = TestGateway::start();
    let mut client = gateway.websocket().await;
    client.join("tea").await;
    client.publish("tea", "\"hot\"").await;
    let mut http = gateway.http2().await;
    let rooms = http.get("/v1/rooms").await.json();
    assert_eq!(rooms["total"], 1);
    let room = &rooms["rooms"][0];
    assert_eq!(
        (&room["room"], &room["members"]),
        (&"tea".into(), &1.into())
    );
    assert_eq!(
        (&room["offset"], &room["history_messages"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        http.get("/v1/rooms?limit=0").await.json()["rooms"],
        serde_json::json!([])
    );
    gateway.reaches("hub_publishes_total", 1).await;
    let stats = http.get("/v1/stats").await.json();
    assert_eq!(
        stats["counters"]["hub_publishes_total"]["value"], 1,
        "{stats}"
    );
    assert_eq!(stats["state"], "running");
}

#[tokio::test]
async fn a_connection_is_listed_and_can_be_closed() {
    let gateway = TestGateway::start();
    let mut http = gateway.https2().await;
    for (wire, mut client) in [
        ("websocket", gateway.websocket().await),
        ("tcp", gateway.lines().await),
        ("udp", gateway.datagrams().await),
    ] {
        let welcome = client.hello("ada").await;
        let id = welcome.string("client");
        client.join("tea").await;
        client.join("news.*").await;
        let list = http.get("/v1/connections").await.json();
        let list = list["connections"].as_array().expect("a list");
        let entry = list
            .iter()
            .find(|entry| entry["id"] == id)
            .expect("it is listed");
        assert_eq!(entry["wire"], wire);
        assert_eq!(entry["name"], "ada");
        let rooms: BTreeSet<&str> = entry["rooms"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|it| it.as_str())
            .collect();
        assert_eq!(rooms, BTreeSet::from(["news.*", "tea"]));
        assert!(entry["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        let path = format!("/v1/connections/{id}");
        let closed = http.request(Method::DELETE, &path, &[], "").await;
        assert_eq!((closed.status, closed.body.len()), (204, 0), "{wire}");
        let goodbye = client.next().await;
        assert_eq!(
            (goodbye.kind(), &goodbye["reason"]),
            ("goodbye", &"kicked".into()),
            "{wire}"
        );
        if wire == "websocket" {
            assert_eq!(
                client.hear().await,
                Heard::Closed(Some((1008, "kicked".to_owned())))
            );
        }
        drop(client);
        let again = http.request(Method::DELETE, &path, &[], "").await;
        assert_eq!(
            (again.status, &*again.problem()),
            (404, "unknown_connection"),
            "{wire}"
        );
    }
    for id in ["nonsense", "0000000000000000", "ffffffffffffffff"] {
        let path = format!("/v1/connections/{id}");
        let unknown = http.request(Method::DELETE, &path, &[], "").await;
        assert_eq!(
            (unknown.status, &*unknown.problem()),
            (404, "unknown_connection"),
            "{id}"
        );
    }
    gateway.reaches("session_close_kicked_total", 3).await;
}

#[tokio::test]
async fn a_request_for_a_host_that_is_not_ours_is_misdirected() {
    let gateway = TestGateway::start();
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"GET /v1/rooms HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
        .await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(answer.contains("\"misdirected\""), "{answer}");
    for host in ["localhost", "127.0.0.1", "[::1]:80", "x.localhost:1"] {
        let mut raw = gateway.raw(gateway.http()).await;
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        raw.write(request.as_bytes()).await;
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

/// Reads Prometheus' text as its own parser does, and gives the samples by name and labels.
fn parse_exposition(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let name_is_valid = |name: &str| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|it| it.is_ascii_alphabetic() || it == '_')
            && characters.all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "twice: {line}"
            );
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let name = series.split('{').next().expect("a name");
        assert!(name_is_valid(name), "{line}");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| {
                name.strip_suffix(suffix)
                    .filter(|it| types.contains_key(*it))
            })
            .unwrap_or(name);
        assert!(types.contains_key(family), "no type: {line}");
        let value: f64 = value.parse().expect("a number");
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "twice: {line}"
        );
    }
    samples
}

#[tokio::test]
async fn metrics_are_valid_and_complete() {
    let gateway = TestGateway::start();
    let mut client = gateway.lines().await;
    client.join("tea").await;
    client.publish("tea", "1").await;
    gateway.reaches("hub_publishes_total", 1).await;
    let answer = gateway.http1().await.get("/metrics").await;
    let samples = parse_exposition(answer.text());
    assert_eq!(samples.get("roomwire_hub_publishes_total"), Some(&1.0));
    let mut histograms = 0;
    for row in &gateway.snapshot().rows {
        let name = format!("roomwire_{}", row.name);
        if row.histogram.is_none() {
            assert!(samples.contains_key(&name), "{name}");
            continue;
        }
        histograms += 1;
        let prefix = format!("{name}_bucket{{le=\"");
        let bound = |series: &str| -> Option<f64> {
            series
                .strip_prefix(&prefix)?
                .strip_suffix("\"}")?
                .parse()
                .ok()
        };
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|(series, value)| Some((bound(series)?, *value)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() > 10, "{name}");
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{name}: cumulative"
        );
        let last = buckets.last().expect("+Inf");
        assert_eq!(last.0, f64::INFINITY, "{name}");
        assert_eq!(
            samples.get(&format!("{name}_count")),
            Some(&last.1),
            "{name}"
        );
        assert!(samples.contains_key(&format!("{name}_sum")), "{name}");
    }
    assert!(histograms > 0);
}
