//! What a program sees that embeds the gateway: events, routes, and that its faults stay its own.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use roomwire::event::{
    BoundAddress, Change, Closed, Connection, Inbound, Membership, Publication, Refused,
};
use roomwire::{CloseReason, Json, Reply, Request};
use roomwire_tests::{GatewayOptions, Heard, PATIENCE, TestGateway, eventually};

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn reads(&self, expected: &[&str]) {
        eventually(PATIENCE, || {
            let lines = self.lines();
            if lines == expected {
                Ok(())
            } else {
                Err(lines)
            }
        })
        .await;
    }
}

fn listening_to_all(diary: &Diary) -> GatewayOptions {
    let note = |what: &'static str| {
        let diary = diary.clone();
        move |rest: String| diary.note(format!("{what} {rest}"))
    };
    let (connection, message, join) = (note("connection"), note("message"), note("join"));
    let (leave, publish, close) = (note("leave"), note("publish"), note("close"));
    let (request, drop, listening) = (note("request"), note("drop"), note("listening"));
    GatewayOptions::new().build(|builder| {
        builder
            .on_payload("listening", move |it: &BoundAddress| {
                listening(it.name.to_string())
            })
            .on_payload("connection", move |it: &Connection| {
                connection(it.listener().expect("it runs").name.to_string());
            })
            .on_payload("message", move |it: &Inbound| {
                message(String::from_utf8_lossy(&it.data).into_owned());
            })
            .on_payload("join", move |it: &Membership| {
                assert_eq!(it.change, Change::Joined);
                join(format!("{} {:?}", it.room, it.connection.name()));
            })
            .on_payload("leave", move |it: &Membership| {
                assert_eq!(it.change, Change::Left);
                leave(format!("{} {:?}", it.room, it.connection.name()));
            })
            .on_payload("publish", move |it: &Publication| {
                let data = String::from_utf8_lossy(it.message.data());
                publish(format!(
                    "{} {} {} {data}",
                    it.room,
                    it.offset,
                    it.message.from()
                ));
            })
            .on_payload("close", move |it: &Closed| {
                close(format!("{:?}", it.reason))
            })
            .on_payload("request", move |it: &Request| {
                request(format!("{} {}", it.method(), it.path()))
            })
            .on_payload("drop", move |_: &Refused| drop(String::new()))
    })
}

#[tokio::test]
async fn a_program_sees_all_that_happens_in_order() {
    let diary = Diary::default();
    let gateway = listening_to_all(&diary)
        .config(|config| {
            config.gateway.workers = 1;
            config.limits.max_connections = 1;
        })
        .start();
    let mut expected: Vec<String> = gateway
        .addresses()
        .iter()
        .map(|bound| format!("listening {}", bound.name))
        .collect();
    assert_eq!(expected.len(), 7);
    let mut client = gateway.lines().await;
    client.hello("ada").await;
    client.join("tea").await;
    client.publish("tea", "1").await;
    gateway.publish("tea", "host", b"2").unwrap();
    let mut refused = gateway.raw(gateway.tcp()).await;
    assert_eq!(refused.read_to_end().await, b"");
    client.ask(r#""type":"leave","room":"tea""#, "left").await;
    client.join("more").await;
    drop(client);
    expected.extend(
        [
            "connection rooms",
            r#"message {"id":1,"type":"hello","name":"ada"}"#,
            r#"message {"id":2,"type":"join","room":"tea"}"#,
            r#"join tea Some("ada")"#,
            r#"message {"id":3,"type":"publish","room":"tea","data":1}"#,
            "publish tea 1 ada 1",
            "publish tea 2 host 2",
            "drop ",
            r#"message {"id":4,"type":"leave","room":"tea"}"#,
            r#"leave tea Some("ada")"#,
            r#"message {"id":5,"type":"join","room":"more"}"#,
            r#"join more Some("ada")"#,
            r#"leave more Some("ada")"#,
            "close Ended",
        ]
        .map(str::to_owned),
    );
    let all: Vec<&str> = expected.iter().map(String::as_str).collect();
    diary.reads(&all).await;
    let mut http = gateway.http1().await;
    assert_eq!(http.get("/healthz").await.status, 200);
    assert_eq!(http.publish("tea", "3", "").await.status, 201);
    let lines = diary.lines();
    let more = [
        "connection http",
        "request GET /healthz",
        "request POST /v1/rooms/tea/messages",
        "publish tea 3 api 3",
    ];
    assert_eq!(lines[all.len()..], more);
}

#[tokio::test]
async fn a_session_of_every_wire_is_a_connection_and_ends_with_a_close() {
    let diary = Diary::default();
    let gateway = listening_to_all(&diary).start();
    let count = |begin: &str| {
        let lines = diary.lines();
        lines.iter().filter(|line| line.starts_with(begin)).count()
    };
    let mut clients = vec![
        gateway.websocket().await,
        gateway.websocket_tls().await,
        gateway.lines().await,
        gateway.datagrams().await,
    ];
    for client in &mut clients {
        client.join("all").await;
        client.publish("all", "1").await;
    }
    assert_eq!((count("join "), count("publish ")), (4, 4));
    // An upgrade ends an HTTP session and begins another.
    eventually(PATIENCE, || match count("connection ") {
        6 => Ok(()),
        other => Err(other),
    })
    .await;
    drop(clients.drain(..3));
    eventually(PATIENCE, || match count("close ") {
        5 => Ok(()),
        other => Err(format!("{other} of {:?}", diary.lines())),
    })
    .await;
}

#[tokio::test]
async fn a_program_may_answer_and_close_a_connection() {
    let gateway = GatewayOptions::new()
        .build(|builder| {
            builder.on_payload("message", |it: &Inbound| {
                if it.data.ends_with(br#""room":"out"}"#) {
                    assert!(it.connection.close());
                } else {
                    assert!(
                        it.connection
                            .send(r#"{"type":"echo","from":"the program"}"#)
                    );
                }
            })
        })
        .start();
    for mut client in [gateway.websocket().await, gateway.lines().await] {
        client.send(r#"{"type":"ping"}"#).await;
        let sent = client.next().await;
        assert_eq!(
            (sent.kind(), &sent["from"]),
            ("echo", &"the program".into())
        );
        client.send(r#"{"type":"leave","room":"out"}"#).await;
        assert_eq!(client.next().await["code"], "not_a_member");
        let goodbye = client.next().await;
        assert_eq!(
            (goodbye.kind(), &goodbye["reason"]),
            ("goodbye", &"kicked".into())
        );
        assert_eq!(goodbye["reconnect"], false);
        let Heard::Closed(close) = client.hear().await else {
            panic!("something after the goodbye")
        };
        assert!(close.is_none_or(|close| close == (1008, "kicked".to_owned())));
    }
    gateway.reaches("session_close_kicked_total", 2).await;
}

#[tokio::test]
async fn a_program_may_publish_from_a_listener() {
    let gateway = GatewayOptions::new()
        .build(|builder| {
            builder.on_payload("publish", |it: &Publication| {
                if &*it.room == "questions" {
                    it.rooms()
                        .publish("answers", "bot", b"42")
                        .expect("a publish");
                }
            })
        })
        .start();
    let mut client = gateway.websocket().await;
    client.join("answers").await;
    client.publish("questions", "\"?\"").await;
    let answer = client.message().await;
    assert_eq!(
        (&*answer.room, &*answer.from, &*answer.data),
        ("answers", "bot", "42")
    );
}

fn with_routes() -> TestGateway {
    GatewayOptions::new()
        .build(|builder| {
            builder
                .get("/hello", |request: Arc<Request>| async move {
                    Reply::text(format!(
                        "hello, {}",
                        request.query("name").unwrap_or_default()
                    ))
                })
                .get("/users/{id}", |request: Arc<Request>| async move {
                    let id = request.parameter("id").unwrap_or_default();
                    Reply::json(&serde_json::json!({ "id": id }))
                })
                .post("/sum", |request: Arc<Request>| async move {
                    match request.json::<Vec<u64>>() {
                        Ok(numbers) => Reply::text(numbers.iter().sum::<u64>().to_string())
                            .with_status(StatusCode::CREATED),
                        Err(error) => {
                            Reply::text(error.to_string()).with_status(StatusCode::BAD_REQUEST)
                        }
                    }
                })
                .get("/panic", |request: Arc<Request>| async move {
                    assert!(request.path().is_empty(), "a route's own fault");
                    Reply::text("")
                })
                .get("/panic-early", |request: Arc<Request>| {
                    assert!(request.path().is_empty(), "a route's own fault");
                    async { Reply::text("") }
                })
                .get("/publish", |request: Arc<Request>| async move {
                    let offset = request.rooms().publish("from.route", "route", b"true");
                    Reply::text(offset.expect("a publish").to_string())
                })
        })
        .start()
}

#[tokio::test]
async fn routes_of_the_program_answer_on_every_version() {
    let gateway = with_routes();
    for mut http in [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https2().await,
    ] {
        let answer = http.get("/hello?name=Zo%C3%AB+L.").await;
        assert_eq!((answer.status, answer.text()), (200, "hello, Zoë L."));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        let head = http.request(Method::HEAD, "/hello?name=a", &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), "8");
        let user = http.get("/users/a%2Fb").await;
        assert_eq!(user.json()["id"], "a/b");
        let sum = http.post("/sum", "[1,2,3]").await;
        assert_eq!((sum.status, sum.text()), (201, "6"));
        assert_eq!(http.post("/sum", "[").await.status, 400);
        let wrong = http.get("/sum").await;
        assert_eq!(
            (wrong.status, &*wrong.problem()),
            (405, "method_not_allowed")
        );
        assert_eq!(wrong.header("allow"), "POST, OPTIONS");
        assert_eq!(http.get("/publish").await.status, 200);
        let large = "1,".repeat(100_000);
        let large = http.post("/sum", &large).await;
        assert_eq!((large.status, &*large.problem()), (413, "too_large"));
    }
    let history = gateway
        .http1()
        .await
        .get("/v1/rooms/from.route/messages")
        .await;
    assert_eq!(history.event().messages().len(), 3);
}

#[tokio::test]
async fn a_route_that_panics_is_an_internal_error_and_nothing_else() {
    let gateway = with_routes();
    let mut bystander = gateway.websocket().await;
    bystander.join("calm").await;
    for path in ["/panic", "/panic-early"] {
        for mut http in [gateway.http1().await, gateway.http2().await] {
            let answer = http.get(path).await;
            assert_eq!(
                (answer.status, &*answer.problem()),
                (500, "internal"),
                "{path}"
            );
            assert!(!answer.text().contains("own fault"), "{}", answer.text());
            assert_eq!(
                http.get("/hello").await.status,
                200,
                "the connection goes on"
            );
        }
    }
    bystander.publish("calm", "1").await;
    bystander.message().await;
    gateway
        .reaches("http_responses_server_error_total", 4)
        .await;
    gateway.reaches("session_panics_total", 0).await;
}

#[tokio::test]
async fn a_listener_that_panics_or_fails_disturbs_nobody() {
    let diary = Diary::default();
    let (errors, others) = (diary.clone(), Diary::default());
    let after = others.clone();
    let gateway = GatewayOptions::new()
        .build(|mut builder| {
            for event in [
                "connection",
                "message",
                "join",
                "leave",
                "publish",
                "close",
                "request",
            ] {
                builder = builder.on(event, move |it| {
                    assert!(it.name().is_empty(), "a listener's own fault");
                });
                let after = after.clone();
                builder = builder.on(event, move |_| after.note(event));
            }
            builder
                .on("join", |_| Err::<(), _>("refused by a listener"))
                .on_payload("error", move |error: &roomwire::emitter::ListenerError| {
                    errors.note(error.event.to_string());
                })
        })
        .start();
    for wire in crate::wire::WIRES {
        let mut client = wire.connect(&gateway).await;
        client.join("calm").await;
        client.publish("calm", "1").await;
        assert_eq!(client.message().await.data, "1");
        client.ask(r#""type":"leave","room":"calm""#, "left").await;
    }
    assert_eq!(gateway.http1().await.get("/healthz").await.status, 200);
    gateway.reaches("session_panics_total", 0).await;
    let count = |lines: Vec<String>, event: &str| lines.iter().filter(|it| *it == event).count();
    assert_eq!(count(diary.lines(), "publish"), 3);
    assert_eq!(count(diary.lines(), "join"), 6, "a panic and an error each");
    for (event, least) in [
        ("connection", 3),
        ("message", 9),
        ("join", 3),
        ("leave", 3),
        ("publish", 3),
        ("request", 2),
    ] {
        let heard = count(others.lines(), event);
        assert!(
            heard >= least,
            "{event}: the listeners after it still ran ({heard})"
        );
    }
}

#[tokio::test]
async fn an_event_may_be_emitted_over_http() {
    let diary = Diary::default();
    let note = diary.clone();
    let gateway = GatewayOptions::new()
        .build(|builder| {
            builder.on_payload("orderPlaced", move |it: &Json| {
                note.note(String::from_utf8_lossy(&it.0));
            })
        })
        .start();
    for mut http in [gateway.http1().await, gateway.https2().await] {
        let answer = http.post("/v1/emit/orderPlaced", r#"{ "id" : 1}"#).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["listened"], true);
        assert_eq!(answer.json()["event"], "orderPlaced");
        let empty = http
            .request(Method::POST, "/v1/emit/orderPlaced", &[], "")
            .await;
        assert_eq!(empty.status, 200);
        let nobody = http.post("/v1/emit/nobody.listens", "1").await;
        assert_eq!(
            (nobody.status, &nobody.json()["listened"]),
            (200, &false.into())
        );
        for reserved in ["publish", "close", "error", "GET%20%2Fhello"] {
            let refused = http.post(&format!("/v1/emit/{reserved}"), "1").await;
            assert_eq!(
                (refused.status, &*refused.problem()),
                (403, "reserved_event"),
                "{reserved}"
            );
        }
        let bad = http.post("/v1/emit/orderPlaced", "{").await;
        assert_eq!((bad.status, &*bad.problem()), (400, "bad_json"));
        let text = [("content-type", "text/plain")];
        let wrong = http
            .request(Method::POST, "/v1/emit/orderPlaced", &text, "1")
            .await;
        assert_eq!(
            (wrong.status, &*wrong.problem()),
            (415, "unsupported_media_type")
        );
    }
    let once = [r#"{ "id" : 1}"#, "null"];
    assert_eq!(diary.lines(), [once, once].concat());
}

#[tokio::test]
async fn a_listener_that_is_dropped_hears_nothing_more_even_from_other_threads() {
    let gateway = TestGateway::start();
    let diary = Diary::default();
    let note = diary.clone();
    let guard = gateway
        .emitter()
        .on_payload("publish", move |it: &Publication| {
            note.note(it.offset.to_string())
        })
        .expect("a listener");
    let once = diary.clone();
    let forever = gateway
        .emitter()
        .once_payload("publish", move |_: &Publication| once.note("once"))
        .expect("a listener");
    let mut client = gateway.lines().await;
    client.publish("a", "1").await;
    client.publish("a", "2").await;
    drop(guard);
    client.publish("a", "3").await;
    assert_eq!(diary.lines(), ["1", "once", "2"]);
    drop(forever);
    assert_eq!(gateway.emitter().listener_count("publish"), 0);
}

#[test]
fn every_reason_has_a_counter_on_the_page() {
    let gateway = TestGateway::start();
    let snapshot = gateway.snapshot();
    for reason in CloseReason::ALL {
        let name = format!("session_close_{}_total", reason.info().word);
        assert!(snapshot.value(&name).is_some(), "{name}");
    }
}
