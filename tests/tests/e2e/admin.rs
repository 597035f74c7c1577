//! What is for operators: the token, the admin page's figures, lists that are searched, the drain.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use http::Method;
use roomwire::Phase;
use roomwire::config::{Handler, Protocol, Span, TokenPolicy};
use roomwire_tests::{EventStream, GatewayOptions, Http, TestGateway, within};
use serde_json::Value;

const FIGURES: &str = "/v1/stats/events";

/// A gateway with one more listener, `open`, that other machines could reach.
fn open_gateway() -> TestGateway {
    let options = GatewayOptions::new().config(|config| config.gateway.open = true);
    let open = (Ipv4Addr::UNSPECIFIED, 0).into();
    options
        .build(|builder| builder.listen("open", Protocol::Http, open, Handler::Http))
        .start()
}

fn token(gateway: &TestGateway) -> String {
    let page = gateway.admin_page().expect("there is an HTTP listener");
    page.token.expect("a listener asks for it")
}

/// Every request that is for operators: those that go well without a body.
const GUARDED: &[(Method, &str, u16)] = &[
    (Method::GET, "/v1/connections", 200),
    (Method::DELETE, "/v1/connections/0000000000000000", 404),
    (Method::POST, "/v1/emit/something", 200),
];

#[tokio::test]
async fn from_elsewhere_what_is_for_operators_takes_the_token() {
    let gateway = open_gateway();
    let token = token(&gateway);
    let (bearer, cookie) = (
        format!("Bearer {token}"),
        format!("a=b; roomwire_admin={token}"),
    );
    let mut http = gateway.http1_at("open").await;
    let mut refused = 0;
    for (method, path, status) in GUARDED {
        for headers in [
            vec![],
            vec![("authorization", "Bearer 000000000000000000000000")],
            vec![("cookie", "roomwire_admin=")],
        ] {
            let answer = http.request(method.clone(), path, &headers, "").await;
            assert_eq!(
                (answer.status, &*answer.problem()),
                (401, "admin_token"),
                "{path}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            refused += 1;
        }
        for headers in [("authorization", &*bearer), ("cookie", &*cookie)] {
            let answer = http.request(method.clone(), path, &[headers], "").await;
            assert_eq!(answer.status, *status, "{path}");
        }
    }
    for path in [FIGURES, "/v1/drain"] {
        let method = if path == FIGURES {
            Method::GET
        } else {
            Method::POST
        };
        let answer = http.request(method, path, &[], "").await;
        assert_eq!(answer.problem(), "admin_token", "{path}");
        refused += 1;
    }
    assert_eq!(gateway.phase(), Phase::Ready);
    gateway
        .reaches("admin_requests_refused_total", refused)
        .await;
    // What clients need is open as ever.
    for path in ["/v1/rooms", "/metrics", "/healthz", "/"] {
        assert_eq!(http.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn on_loopback_no_token_is_asked_for_unless_a_proxy_is_in_between() {
    let gateway = TestGateway::with(|config| {
        config.gateway.origins = vec!["https://chat.example".to_owned()];
    });
    let path = "/v1/connections";
    for mut http in [gateway.http1().await, gateway.https2().await] {
        assert_eq!(http.get(path).await.status, 200);
        for header in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
            let answer = http
                .request(Method::GET, path, &[(header, "192.0.2.1")], "")
                .await;
            assert_eq!(answer.status, 401, "{header}");
        }
    }
    // A proxy that passes on only the name under which it was asked.
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(
        format!("GET {path} HTTP/1.1\r\nhost: chat.example\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
    .await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let page = gateway.admin_page().unwrap();
    assert_eq!(
        (page.token.as_deref(), page.link()),
        (None, page.url.clone())
    );
}

#[tokio::test]
async fn the_token_can_be_asked_for_on_loopback_as_well() {
    let gateway = TestGateway::with(|config| config.admin.token = TokenPolicy::Always);
    let mut http = gateway.http1().await;
    assert_eq!(http.get("/v1/connections").await.status, 401);
    let bearer = format!("Bearer {}", token(&gateway));
    let shown = [("authorization", &*bearer)];
    let answer = http
        .request(Method::GET, "/v1/connections", &shown, "")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_link_opens_the_page_and_leaves_no_token_in_its_address() {
    let gateway = open_gateway();
    let page = gateway.admin_page().unwrap();
    let link = page.link();
    assert!(!format!("{page:?}").contains(&token(&gateway)), "{page:?}");
    let (_, path) = link.split_once("/admin").expect("a link to the page");
    let path = format!("/admin{path}");
    let mut http = gateway.http1_at("open").await;
    let asked = http.get("/admin").await;
    assert_eq!(asked.status, 401);
    assert!(asked.text().contains("name=\"token\""), "{}", asked.text());
    assert!(!asked.text().contains("admin.js"));
    let wrong = http
        .get("/admin?token=0123456789abcdef0123456789abcdef")
        .await;
    assert_eq!(wrong.status, 401);
    let answer = http.get(&path).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/admin"));
    let cookie = answer.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure"),
        "a browser would not keep it: {cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let shown = [("cookie", pair)];
    let opened = http.request(Method::GET, "/admin", &shown, "").await;
    assert_eq!(opened.status, 200);
    assert!(opened.text().contains("admin.js"));
}

async fn figures(http: Http) -> (EventStream, Value) {
    let mut stream = EventStream::open_at(http, FIGURES, None).await;
    let hello = stream.next().await;
    assert_eq!(hello.event, "hello");
    (stream, serde_json::from_str(&hello.data).unwrap())
}

async fn sample(stream: &mut EventStream) -> Value {
    let sample = stream.next().await;
    assert_eq!(sample.event, "sample");
    serde_json::from_str(&sample.data).unwrap()
}

fn counter(hello: &Value, sample: &Value, name: &str) -> u64 {
    let counters = hello["counters"].as_array().unwrap();
    let at = counters.iter().position(|it| it["name"] == name);
    sample["counters"][at.expect(name)].as_u64().unwrap()
}

#[tokio::test]
async fn figures_come_each_second_with_their_past_and_are_those_of_the_clients() {
    let gateway = TestGateway::start();
    let (mut early, hello) = figures(gateway.http1().await).await;
    let mut client = gateway.websocket().await;
    client.join("tea").await;
    for n in 0..25 {
        client.publish("tea", &n.to_string()).await;
    }
    let mut times = BTreeSet::new();
    let mut last = sample(&mut early).await;
    while counter(&hello, &last, "hub_publishes_total") < 25 || times.len() < 2 {
        times.insert(last["at_ms"].as_u64().unwrap());
        last = sample(&mut early).await;
    }
    assert_eq!(counter(&hello, &last, "hub_publishes_total"), 25);
    assert_eq!(counter(&hello, &last, "hub_deliveries_total"), 25);
    assert_eq!(last["state"], "running");
    let blocks = last["blocks"].as_array().unwrap();
    let http = blocks.iter().find(|it| it["label"] == "http").unwrap();
    assert_eq!(http["figures"]["listener_sessions"], 2);
    let steps: Vec<u64> = times
        .iter()
        .zip(times.iter().skip(1))
        .map(|(a, b)| b - a)
        .collect();
    assert!(steps.iter().all(|step| *step > 500), "{steps:?}");
    // Whoever comes later gets the same past, over HTTP/2 and TLS as well.
    let (_late, hello) = figures(gateway.https2().await).await;
    let series = hello["series"].as_array().unwrap();
    let history = &hello["history"];
    let seconds = history["at_ms"].as_array().unwrap().len();
    assert!(seconds >= 3, "{seconds}");
    let values = history["values"].as_array().unwrap();
    assert_eq!(values.len(), series.len());
    assert!(
        values
            .iter()
            .all(|it| it.as_array().unwrap().len() == seconds)
    );
    let at = series.iter().position(|it| it["name"] == "in").unwrap();
    let rates = values[at].as_array().unwrap().iter();
    let all: f64 = rates.filter_map(Value::as_f64).sum();
    assert!(
        (20.0..30.0).contains(&all),
        "{all} messages in seconds of about 1 s"
    );
    let names: Vec<&str> = series
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    for name in [
        "sessions",
        "flush_p99",
        "request_p99",
        "lag_p99",
        "cpu_0",
        "cpu_1",
        "memory",
    ] {
        assert!(names.contains(&name), "no {name}");
    }
}

#[tokio::test]
async fn no_more_look_on_than_may_and_who_leaves_makes_room() {
    let gateway = TestGateway::with(|config| config.admin.max_viewers = 2);
    let first = figures(gateway.http1().await).await;
    let _second = figures(gateway.http2().await).await;
    let mut third = gateway.http1().await;
    let answer = third.get(FIGURES).await;
    assert_eq!((answer.status, &*answer.problem()), (503, "overloaded"));
    gateway.reaches("admin_viewers_refused_total", 1).await;
    gateway.reaches("admin_viewers", 2).await;
    drop(first);
    let room = async {
        while third.get("/v1/stats").await.json()["counters"]["admin_viewers"]["value"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    within("room for another", room).await;
    let (_stream, _) = figures(third).await;
}

#[tokio::test]
async fn a_drain_can_be_asked_for_and_waits_for_nobody_who_looks_on() {
    let gateway = TestGateway::with(|config| config.gateway.drain = Span::minutes(5));
    let mut client = gateway.lines().await;
    client.join("end").await;
    let (mut stream, _) = figures(gateway.http1().await).await;
    let (mut other, _) = figures(gateway.https2().await).await;
    let mut http = gateway.http1().await;
    let answer = http.post("/v1/drain", "").await;
    assert_eq!(answer.status, 202);
    let told = answer.json();
    assert_eq!(
        (&told["state"], &told["drain_ms"]),
        (&"draining".into(), &300_000.into())
    );
    let again = gateway.phase();
    assert_eq!(again, Phase::Draining);
    let began = Instant::now();
    let goodbye = client.next().await;
    assert_eq!(goodbye.string("type"), "goodbye");
    client.rest().await;
    for stream in [&mut stream, &mut other] {
        let last = loop {
            let event = stream.next().await;
            if event.event == "end" {
                break stream.try_next().await;
            }
        };
        assert_eq!(last, None);
    }
    drop((stream, other, http));
    gateway.reaches("sessions", 0).await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "it waits for those who look on"
    );
    assert_eq!(gateway.drain().await.cut, 0);
}

#[tokio::test]
async fn lists_are_searched_where_they_are() {
    let gateway = TestGateway::start();
    let mut clients = Vec::new();
    for n in 0..30 {
        let mut client = gateway.lines().await;
        client.hello(&format!("Client-{n:02}")).await;
        client.join(&format!("room.{}", n % 10)).await;
        if n % 10 == 7 {
            client.join("popular").await;
        }
        clients.push(client);
    }
    let mut http = gateway.http1().await;
    let mut get = async |path: &str| http.get(path).await.json();
    let list = get("/v1/connections?search=client-2&limit=1000").await;
    let names = list["connections"].as_array().unwrap().iter();
    let names: BTreeSet<&str> = names.map(|it| it["name"].as_str().unwrap()).collect();
    let expected: BTreeSet<String> = (20..30).map(|n| format!("Client-{n}")).collect();
    assert_eq!(names, expected.iter().map(String::as_str).collect());
    let list = get("/v1/connections?search=popular").await;
    assert_eq!(list["connections"].as_array().unwrap().len(), 3, "{list}");
    let list = get("/v1/connections?limit=7").await;
    assert_eq!(list["connections"].as_array().unwrap().len(), 7);
    let list = get("/v1/connections?search=nobody%20is%20called%20so").await;
    assert_eq!(list["connections"].as_array().unwrap().len(), 0);
    let rooms = get("/v1/rooms?search=ROOM.&limit=3").await;
    let names = rooms["rooms"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|it| it["room"].as_str().unwrap()).collect();
    assert_eq!(
        (names, &rooms["total"]),
        (vec!["room.0", "room.1", "room.2"], &10.into())
    );
    clients[0].join("aaa").await;
    clients[1].join("popular").await;
    let rooms = get("/v1/rooms?order=members&limit=1").await;
    assert_eq!(rooms["rooms"][0]["room"], "popular");
    let bad = http.get("/v1/rooms?order=size").await;
    assert_eq!(bad.problem(), "bad_query");
}
