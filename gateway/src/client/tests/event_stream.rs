//! Server-sent events and requests, against a hyper server.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use super::*;
use crate::client::{Command, json_string};

type Body = BoxBody<Bytes, Infallible>;

/// What the test sees of a request.
#[derive(Debug)]
struct Seen {
    method: Method,
    target: String,
    last_event_id: Option<String>,
    body: Value,
}

/// The server's answers and what it was asked.
#[derive(Default)]
struct Script {
    /// One receiver per event stream to come: what is sent through it arrives as bytes, and the stream
    /// ends with it.
    streams: Mutex<VecDeque<mpsc::Receiver<String>>>,
    answers: Mutex<VecDeque<(StatusCode, Value)>>,
}

struct Server {
    url: String,
    script: Arc<Script>,
    seen: mpsc::Receiver<Seen>,
    listener: TcpListener,
    report: mpsc::Sender<Seen>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (report, seen) = mpsc::channel(64);
        Self {
            url: format!("http://{}", listener.local_addr().expect("bound")),
            script: Arc::new(Script::default()),
            seen,
            listener,
            report,
        }
    }

    /// The next event stream, in the order in which they are opened.
    fn stream(&self) -> mpsc::Sender<String> {
        let (sender, receiver) = mpsc::channel(64);
        lock(&self.script.streams).push_back(receiver);
        sender
    }

    fn answer(&self, status: StatusCode, body: Value) {
        lock(&self.script.answers).push_back((status, body));
    }

    /// Serves while `client` runs, then returns what was asked.
    async fn serve(self, client: impl Future<Output = ()>) -> Vec<Seen> {
        let Self {
            script,
            mut seen,
            listener,
            report,
            ..
        } = self;
        let connections = async {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (script, report) = (Arc::clone(&script), report.clone());
                let service = service_fn(move |request| {
                    let (script, report) = (Arc::clone(&script), report.clone());
                    async move { Ok::<_, Infallible>(script.respond(request, &report).await) }
                });
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        };
        let both = async {
            tokio::select! {
                () = connections => {}
                () = client => {}
            }
        };
        play(both, async {}).await;
        drop(report);
        std::iter::from_fn(|| seen.try_recv().ok()).collect()
    }
}

impl Script {
    async fn respond(
        &self,
        request: Request<Incoming>,
        report: &mpsc::Sender<Seen>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a whole request").to_bytes();
        let last_event_id = parts.headers.get("last-event-id");
        let seen = Seen {
            method: parts.method,
            target: parts.uri.to_string(),
            last_event_id: last_event_id.map(|id| id.to_str().expect("ASCII").to_owned()),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let events = seen.target.ends_with("/events");
        report.send(seen).await.expect("the test runs");
        let stream = if events {
            lock(&self.streams).pop_front()
        } else {
            None
        };
        match stream {
            Some(receiver) => event_stream(receiver),
            None => {
                let answer = lock(&self.answers).pop_front();
                let (status, body) = answer.expect("an answer was prepared");
                let body = Full::new(Bytes::from(body.to_string())).boxed();
                let response = Response::builder().status(status).body(body);
                response.expect("a valid response")
            }
        }
    }
}

fn event_stream(receiver: mpsc::Receiver<String>) -> Response<Body> {
    let chunks = stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(chunk))), receiver))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(BodyExt::boxed(StreamBody::new(chunks)))
        .expect("a valid response")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with it")
}

fn sse(epoch: &str, offset: u64) -> String {
    format!("id: {epoch}:{offset}\ndata: {}\n\n", message(offset))
}

async fn enter(url: &str) -> Client {
    let mut client = connect(url).await;
    client.send(Command::join("lobby")).expect("room for it");
    expect_connected(&mut client, false).await;
    client
}

#[tokio::test]
async fn a_broken_stream_is_resumed_by_its_last_id_and_a_gap_is_noticed() {
    let server = Server::start().await;
    let (first, second) = (server.stream(), server.stream());
    let url = server.url.clone();
    let seen = server
        .serve(async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            first.send(sse("e1", 8)).await.expect("a stream");
            assert_eq!(
                expect_message(&mut client, 8).await.epoch.as_deref(),
                Some("e1")
            );
            drop(first);
            expect_disconnected(&mut client).await;
            expect_connected(&mut client, true).await;
            expect_joined(&mut client, None).await;
            second.send(sse("e1", 10)).await.expect("a stream");
            let gap = server_event(&mut client).await;
            assert!(
                matches!(gap, ServerEvent::Gap { from: 9, to: 9, .. }),
                "{gap:?}"
            );
            expect_message(&mut client, 10).await;
        })
        .await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0].target, "/v1/rooms/lobby/events");
    assert_eq!(seen[0].last_event_id, None);
    assert_eq!(seen[1].last_event_id.as_deref(), Some("e1:8"));
}

#[tokio::test]
async fn another_life_of_the_room_is_noticed_after_a_resume() {
    let server = Server::start().await;
    let (first, second) = (server.stream(), server.stream());
    let url = server.url.clone();
    server
        .serve(async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            first.send(sse("e1", 8)).await.expect("a stream");
            expect_message(&mut client, 8).await;
            drop(first);
            expect_disconnected(&mut client).await;
            expect_connected(&mut client, true).await;
            expect_joined(&mut client, None).await;
            second.send(sse("e2", 1)).await.expect("a stream");
            expect_joined(&mut client, Some(false)).await;
            expect_message(&mut client, 1).await;
        })
        .await;
}

#[tokio::test]
async fn what_the_gateway_says_was_not_recovered_is_told_once() {
    let server = Server::start().await;
    let (first, second) = (server.stream(), server.stream());
    let url = server.url.clone();
    server
        .serve(async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            first.send(sse("e1", 8)).await.expect("a stream");
            expect_message(&mut client, 8).await;
            drop(first);
            expect_disconnected(&mut client).await;
            expect_connected(&mut client, true).await;
            expect_joined(&mut client, None).await;
            let told = "event: unrecovered\ndata: {}\n\nevent: novelty\ndata: {}\n\n";
            second.send(told.to_owned()).await.expect("a stream");
            second.send(sse("e1", 20)).await.expect("a stream");
            expect_joined(&mut client, Some(false)).await;
            expect_message(&mut client, 20).await;
        })
        .await;
}

#[tokio::test]
async fn own_messages_are_left_out_and_those_of_others_are_not() {
    let server = Server::start().await;
    let stream = server.stream();
    server.answer(StatusCode::CREATED, json!({"offset": 5}));
    let url = server.url.clone();
    let seen = server
        .serve(async {
            let mut options = options(&url);
            options.name = Some("ann".to_owned());
            let mut client = Client::connect(options).await.expect("a server");
            client.send(Command::join("lobby")).expect("room for it");
            expect_connected(&mut client, false).await;
            expect_joined(&mut client, None).await;
            // Both are on their way before the answer to the publish is.
            stream
                .send(sse("e1", 5) + &sse("e1", 6))
                .await
                .expect("a stream");
            let publish = Command::publish("lobby", json_string("x"));
            client.send(publish).expect("room for it");
            let event = server_event(&mut client).await;
            assert!(
                matches!(event, ServerEvent::Published { offset: 5, .. }),
                "{event:?}"
            );
            expect_message(&mut client, 6).await;
        })
        .await;
    let publish = &seen[1];
    assert_eq!(
        (&publish.method, publish.target.as_str()),
        (&Method::POST, "/v1/rooms/lobby/messages")
    );
    assert_eq!(publish.body["from"], "ann");
    assert!(publish.body["key"].is_string());
}

#[tokio::test]
async fn history_members_and_refusals_are_answers_to_their_commands() {
    let server = Server::start().await;
    let history = json!({"room": "a b", "epoch": "e1", "messages": [message(1), message(2)]});
    server.answer(StatusCode::OK, history);
    let members = json!({"room": "a b", "members": [{"client": "c1", "name": "ann"}]});
    server.answer(StatusCode::OK, members);
    let problem = json!({"title": "Bad Request", "detail": "too large", "code": "too_large"});
    server.answer(StatusCode::PAYLOAD_TOO_LARGE, problem);
    let url = server.url.clone();
    let seen = server
        .serve(async {
            let mut client = connect(&url).await;
            expect_connected(&mut client, false).await;
            server_event(&mut client).await;
            let room = || "a b".to_owned();
            let limit = 2;
            client
                .send(Command::History {
                    room: room(),
                    limit,
                })
                .expect("room for it");
            client
                .send(Command::Members { room: room() })
                .expect("room for it");
            let publish = Command::publish("a b", json_string("x"));
            let refused = client.send(publish).expect("room for it");
            match server_event(&mut client).await {
                ServerEvent::History { messages, .. } => assert_eq!(messages.len(), 2),
                other => panic!("{other:?}"),
            }
            match server_event(&mut client).await {
                ServerEvent::Members { members, .. } => assert_eq!(members.len(), 1),
                other => panic!("{other:?}"),
            }
            match server_event(&mut client).await {
                ServerEvent::Error { id, code, message } => {
                    assert_eq!(id, Some(refused));
                    assert_eq!(
                        (code.as_str(), message.as_str()),
                        ("too_large", "too large")
                    );
                }
                other => panic!("{other:?}"),
            }
            assert!(!client.awaits_answers());
        })
        .await;
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/v1/rooms/a%20b/messages?limit=2",
            "/v1/rooms/a%20b/members",
            "/v1/rooms/a%20b/messages"
        ]
    );
}

#[tokio::test]
async fn a_bad_moment_of_the_gateway_repeats_the_publish_with_its_key() {
    let server = Server::start().await;
    server.answer(
        StatusCode::SERVICE_UNAVAILABLE,
        json!({"title": "draining"}),
    );
    server.answer(StatusCode::CREATED, json!({"offset": 3}));
    let url = server.url.clone();
    let seen = server
        .serve(async {
            let mut client = connect(&url).await;
            let publish = Command::publish("lobby", json_string("x"));
            client.send(publish).expect("room for it");
            expect_connected(&mut client, false).await;
            server_event(&mut client).await;
            let (reason, _) = expect_disconnected(&mut client).await;
            assert!(reason.contains("draining"), "{reason}");
            expect_connected(&mut client, true).await;
            server_event(&mut client).await;
            let event = server_event(&mut client).await;
            assert!(
                matches!(event, ServerEvent::Published { offset: 3, .. }),
                "{event:?}"
            );
        })
        .await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn a_stream_may_say_more_than_messages() {
    let server = Server::start().await;
    let stream = server.stream();
    let url = server.url.clone();
    server
        .serve(async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            let goodbye = json!({"type": "goodbye", "reason": "closed", "reconnect": false});
            let chunk = format!(": comment\n\nevent: goodbye\ndata: {goodbye}\n\n");
            stream.send(chunk).await.expect("a stream");
            let event = server_event(&mut client).await;
            assert!(matches!(event, ServerEvent::Goodbye { .. }), "{event:?}");
            assert_eq!(expect_ended(&mut client, false).await, "closed");
        })
        .await;
}
