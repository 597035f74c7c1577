//! What every answer goes through, over both versions: request ids, other origins, compression, panics,
//! the access log.

use std::io::Read;

use http::Method;
use roomwire::config::{ByteSize, Config, Route, Span, StaticRoute};
use roomwire::{Reply, StatusCode};
use roomwire_tests::{Answer, GatewayOptions, Http, PATIENCE, TestGateway, eventually};

const ORIGIN: &str = "https://app.example";

async fn each(gateway: &TestGateway) -> [Http; 4] {
    [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https1().await,
        gateway.https2().await,
    ]
}

async fn get(http: &mut Http, path: &str, headers: &[(&str, &str)]) -> Answer {
    http.request(Method::GET, path, headers, b"").await
}

fn with_route(change: impl FnOnce(&mut Config)) -> TestGateway {
    let text = "all of this is said again and again. ".repeat(4000);
    GatewayOptions::new()
        .config(change)
        .build(|builder| {
            builder
                .get("/text", move |_| {
                    let text = text.clone();
                    async move { Reply::text(text) }
                })
                .get("/short", |_| async { Reply::text("short") })
                .get("/fails", |_| async {
                    Reply::text("no").with_status(StatusCode::INTERNAL_SERVER_ERROR)
                })
                .get("/id", |request| async move {
                    let id = request.headers().get("x-request-id");
                    Reply::text(id.map_or("", |id| id.to_str().unwrap_or_default()))
                })
        })
        .start()
}

#[tokio::test]
async fn an_answer_has_the_requests_id_or_a_new_one() {
    let gateway = with_route(|_| {});
    let mut seen = std::collections::BTreeSet::new();
    for mut http in each(&gateway).await {
        for _ in 0..3 {
            let answer = get(&mut http, "/id", &[]).await;
            let id = answer.header("x-request-id").to_owned();
            assert_eq!(answer.text(), id, "its handler sees the same");
            assert!(seen.insert(id.clone()), "{id} was given twice");
        }
        let own = [("x-request-id", "from-a-proxy_1")];
        let answer = get(&mut http, "/nothing", &own).await;
        assert_eq!(answer.header("x-request-id"), "from-a-proxy_1");
        let odd = [("x-request-id", "a\"b")];
        let answer = get(&mut http, "/id", &odd).await;
        assert_ne!(answer.header("x-request-id"), "a\"b");
        assert!(answer.header("date").ends_with(" GMT"), "{answer:?}");
    }
    let gateway = with_route(|config| config.http.request_id = false);
    let answer = get(&mut gateway.http1().await, "/id", &[]).await;
    assert_eq!(answer.header("x-request-id"), "");
}

#[tokio::test]
async fn browsers_that_came_by_tls_are_told_to_stay_with_it() {
    let gateway = TestGateway::with(|config| config.http.hsts = Span::hours(24));
    let hsts = "strict-transport-security";
    for mut http in [gateway.https1().await, gateway.https2().await] {
        let answer = get(&mut http, "/nothing", &[]).await;
        assert_eq!(answer.header(hsts), "max-age=86400");
    }
    for mut http in [gateway.http1().await, gateway.http2().await] {
        assert_eq!(get(&mut http, "/healthz", &[]).await.header(hsts), "");
    }
    let gateway = TestGateway::start();
    let answer = get(&mut gateway.https1().await, "/healthz", &[]).await;
    assert_eq!(answer.header(hsts), "");
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_read_and_act() {
    let gateway = TestGateway::with(|config| {
        config.gateway.origins = vec![ORIGIN.to_owned()];
        config.http.cors_max_age = Span::minutes(1);
    });
    for mut http in each(&gateway).await {
        let fields = [
            ("origin", ORIGIN),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let room = "/v1/rooms/a/messages";
        let asked = http.request(Method::OPTIONS, room, &fields, b"").await;
        assert_eq!(asked.status, 204);
        assert_eq!(asked.header("access-control-allow-origin"), ORIGIN);
        let methods = asked.header("access-control-allow-methods");
        assert!(methods.contains("POST"), "{methods}");
        let allowed = asked.header("access-control-allow-headers");
        assert!(allowed.contains("content-type"), "{allowed}");
        assert_eq!(asked.header("access-control-max-age"), "60");
        assert_eq!(asked.header("access-control-allow-credentials"), "");

        let fields = [("origin", ORIGIN), ("content-type", "application/json")];
        let posted = http
            .request(Method::POST, room, &fields, b"{\"data\":1}")
            .await;
        assert_eq!(posted.status, 201);
        assert_eq!(posted.header("access-control-allow-origin"), ORIGIN);
        assert!(
            posted
                .header("access-control-expose-headers")
                .contains("retry-after")
        );
        let read = get(&mut http, "/v1/rooms", &[("origin", ORIGIN)]).await;
        assert_eq!(read.header("access-control-allow-origin"), ORIGIN);
        let vary: Vec<_> = read.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|it| *it == "origin"), "{vary:?}");

        let other = [("origin", "https://evil.example")];
        let read = get(&mut http, "/v1/rooms", &other).await;
        assert_eq!(read.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_post_that_a_browser_calls_cross_site_is_refused() {
    let gateway = TestGateway::start();
    for mut http in each(&gateway).await {
        for (site, status) in [("cross-site", 403), ("same-origin", 201), ("none", 201)] {
            let fields = [
                ("sec-fetch-site", site),
                ("content-type", "application/json"),
            ];
            let path = "/v1/rooms/a/messages";
            let posted = http
                .request(Method::POST, path, &fields, b"{\"data\":1}")
                .await;
            assert_eq!(posted.status, status, "{site}");
        }
    }
}

fn plain(answer: &Answer) -> String {
    let mut plain = String::new();
    let body = &answer.body[..];
    match answer.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut plain),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(body)
            .unwrap()
            .read_to_string(&mut plain),
        other => panic!("{other:?}"),
    }
    .unwrap();
    plain
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_take_it() {
    let gateway = with_route(|_| {});
    let counters = gateway.counters();
    for mut http in each(&gateway).await {
        let text = get(&mut http, "/text", &[]).await;
        assert_eq!(text.header("content-encoding"), "");
        assert_eq!(text.header("vary"), "accept-encoding");
        for coding in ["gzip", "br", "zstd"] {
            let fields = [("accept-encoding", coding)];
            let answer = get(&mut http, "/text", &fields).await;
            assert_eq!(answer.header("content-encoding"), coding);
            assert!(answer.body.len() < text.body.len() / 50, "{coding}");
            assert!(plain(&answer) == text.text(), "{coding}");
            // What is small enough is done at once, with its length.
            let page = get(&mut http, "/openapi.json", &fields).await;
            assert!(plain(&page).starts_with('{'), "{coding}");
            let short = get(&mut http, "/short", &fields).await;
            assert_eq!(
                (short.text(), short.header("content-encoding")),
                ("short", "")
            );
        }
        let head = http
            .request(Method::HEAD, "/text", &[("accept-encoding", "br")], b"")
            .await;
        assert_eq!(head.status, 200);
        let icon = get(
            &mut http,
            "/assets/icon.svg",
            &[("accept-encoding", "identity")],
        )
        .await;
        assert_eq!(icon.header("content-encoding"), "");
    }
    assert!(counters.delta("http_compressions_skipped_total") == 0);
    let gateway = with_route(|config| config.http.compression = false);
    let answer = get(
        &mut gateway.http1().await,
        "/text",
        &[("accept-encoding", "br")],
    )
    .await;
    assert_eq!(
        (answer.header("content-encoding"), answer.header("vary")),
        ("", "")
    );
    let gateway = with_route(|config| config.http.compress_from = ByteSize::mib(1));
    let answer = get(
        &mut gateway.http1().await,
        "/text",
        &[("accept-encoding", "br")],
    )
    .await;
    assert_eq!(answer.header("content-encoding"), "");
}

#[tokio::test]
async fn over_tls_nothing_is_compressed_that_another_sites_page_asked_for() {
    let gateway = with_route(|config| {
        config.gateway.origins = vec!["https://app.example".to_owned()];
    });
    let br = ("accept-encoding", "br");
    let foreign = [
        [br, ("sec-fetch-site", "cross-site")],
        [br, ("referer", "https://evil.example/")],
    ];
    for mut http in [gateway.https1().await, gateway.https2().await] {
        for fields in foreign {
            let answer = get(&mut http, "/text", &fields).await;
            assert_eq!(answer.header("content-encoding"), "", "{fields:?}");
        }
        // One that may read the answer learns nothing from its length.
        let listed = ("origin", "https://app.example");
        let answer = get(&mut http, "/text", &[br, foreign[0][1], listed]).await;
        assert_eq!(answer.header("content-encoding"), "br");
    }
    for fields in foreign {
        let answer = get(&mut gateway.http1().await, "/text", &fields).await;
        assert_eq!(answer.header("content-encoding"), "br", "nothing is secret");
    }
}

#[tokio::test]
async fn files_are_compressed_but_not_parts_of_them() {
    let site = tempfile::tempdir().unwrap();
    let text = "0123456789 and so on, ".repeat(50_000);
    std::fs::write(site.path().join("a.txt"), &text).unwrap();
    let route = Route::Static(StaticRoute::new(site.path()));
    let gateway = TestGateway::with(|config| {
        let web = config
            .listeners
            .iter_mut()
            .filter(|it| it.protocol.is_http());
        for listener in web {
            listener.routes.insert("/files/".to_owned(), route.clone());
        }
    });
    for mut http in each(&gateway).await {
        let fields = [("accept-encoding", "zstd")];
        let answer = get(&mut http, "/files/a.txt", &fields).await;
        assert!(plain(&answer) == text);
        assert!(answer.header("etag").starts_with("W/\""), "{answer:?}");
        let again = [fields[0], ("if-none-match", answer.header("etag"))];
        assert_eq!(get(&mut http, "/files/a.txt", &again).await.status, 304);
        let part = [fields[0], ("range", "bytes=0-9999")];
        let part = get(&mut http, "/files/a.txt", &part).await;
        assert_eq!((part.status, part.header("content-encoding")), (206, ""));
        assert_eq!(part.body, &text.as_bytes()[..10_000]);
    }
}

#[tokio::test]
async fn a_stream_of_events_is_not_held_up_by_a_compressor() {
    let gateway = TestGateway::start();
    for mut http in [gateway.http1().await, gateway.http2().await] {
        let fields = [("accept-encoding", "gzip, br, zstd")];
        let opened = http.open(Method::GET, "/v1/rooms/a/events", &fields);
        let (status, headers, _body) = opened.await;
        assert_eq!(status, 200);
        assert!(!headers.contains_key("content-encoding"), "{headers:?}");
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_answer_or_some_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let gateway = with_route(|config| {
        config.gateway.workers = 1;
        config.http.access_log = Some(path.clone());
        config.http.access_log_sample = 10;
    });
    let mut http = gateway.http1().await;
    for _ in 0..30 {
        let fields = [("user-agent", "a \"test\""), ("x-request-id", "one")];
        get(&mut http, "/healthz?token=secret", &fields).await;
    }
    get(&mut http, "/fails", &[]).await;
    eventually(PATIENCE, || {
        let lines = lines();
        if lines.len() == 4 { Ok(()) } else { Err(lines) }
    })
    .await;
    let lines = lines();
    let line = &lines[0];
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/healthz");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 3);
    assert_eq!(line["id"], "one");
    assert_eq!(line["http"], "1.1");
    assert_eq!(line["agent"], "a \"test\"");
    assert!(line["us"].is_u64() && line["time"].is_u64() && line["peer"].is_string());
    // Faults are never left out.
    assert_eq!(lines[3]["status"], 500);
}
