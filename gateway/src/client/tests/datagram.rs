//! Sessions over datagrams: the cookie challenge, repetition, leases.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::*;
use crate::client::{Command, json_string};

/// The server's socket, and the client it last heard.
struct Responder {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
}

impl Responder {
    async fn bind() -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        (Self { socket, peer: None }, format!("udp://{address}"))
    }

    async fn receive_any(&mut self) -> Value {
        let mut buffer = vec![0; 65_536];
        let (length, peer) = self
            .socket
            .recv_from(&mut buffer)
            .await
            .expect("a datagram");
        self.peer = Some(peer);
        serde_json::from_slice(&buffer[..length]).expect("one JSON object")
    }

    async fn send(&self, value: Value) {
        let peer = self.peer.expect("a client was heard");
        let sent = self
            .socket
            .send_to(value.to_string().as_bytes(), peer)
            .await;
        sent.expect("loopback takes datagrams");
    }

    /// Answers everything in the ordinary way until a command of `kind` comes, which is returned
    /// unanswered. Renewals are answered as the session `client`.
    async fn until(&mut self, kind: &str, client: &str) -> Value {
        loop {
            let command = self.receive_any().await;
            let id = &command["id"];
            match command["type"].as_str() {
                Some(actual) if actual == kind => return command,
                Some("ping") => self.send(pong(id)).await,
                Some("hello") => self.send(welcome(id, client)).await,
                other => panic!("waited for {kind}, got {other:?}"),
            }
        }
    }

    /// Plays the challenge and admits the client.
    async fn admit(&mut self, offset: u64, recovered: Option<bool>) -> Value {
        let join = self.until("join", "c1").await;
        assert_eq!(join["cookie"], Value::Null);
        let challenge =
            json!({"type": "challenge", "id": join["id"], "room": "lobby", "cookie": "k1"});
        self.send(challenge).await;
        let join = self.until("join", "c1").await;
        assert_eq!(join["cookie"], "k1");
        self.send(joined(&join["id"], offset, recovered)).await;
        join
    }
}

async fn enter(url: &str) -> Client {
    let mut client = connect(url).await;
    client.send(Command::join("lobby")).expect("room for it");
    expect_connected(&mut client, false).await;
    client
}

#[tokio::test]
async fn a_join_answers_the_challenge_and_messages_follow() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        responder.admit(4, None).await;
        responder.send(message(5)).await;
    };
    let client = async {
        let mut client = enter(&url).await;
        expect_joined(&mut client, None).await;
        expect_message(&mut client, 5).await;
    };
    play(server, client).await;
}

#[tokio::test]
async fn unanswered_commands_are_repeated_one_at_a_time_and_in_order() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        let mut seen = Vec::new();
        for text in ["one", "two"] {
            let lost = responder.until("publish", "c1").await;
            let repeated = responder.until("publish", "c1").await;
            assert_eq!(lost, repeated, "the repetition has the same id and key");
            assert_eq!(repeated["data"], text);
            seen.push(repeated["key"].clone());
            let answer =
                json!({"type": "published", "id": repeated["id"], "room": "lobby", "offset": 1});
            responder.send(answer).await;
        }
        assert_ne!(seen[0], seen[1]);
    };
    let client = async {
        let mut client = connect(&url).await;
        for text in ["one", "two"] {
            let publish = Command::publish("lobby", json_string(text));
            client.send(publish).expect("room for it");
        }
        expect_connected(&mut client, false).await;
        for _ in 0..2 {
            let event = server_event(&mut client).await;
            assert!(matches!(event, ServerEvent::Published { .. }), "{event:?}");
        }
    };
    play(server, client).await;
}

#[tokio::test]
async fn a_membership_is_renewed_and_a_gateway_that_forgot_it_is_joined_again() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        responder.admit(4, None).await;
        for _ in 0..3 {
            let renewal = responder.until("hello", "c1").await;
            responder.send(welcome(&renewal["id"], "c1")).await;
        }
        let renewal = responder.until("hello", "c1").await;
        responder.send(welcome(&renewal["id"], "c2")).await;
        let join = responder.admit(6, Some(true)).await;
        assert_eq!(join["since"], json!({"epoch": "e1", "offset": 4}));
    };
    let client = async {
        let mut client = enter(&url).await;
        expect_joined(&mut client, None).await;
        let (reason, _) = expect_disconnected(&mut client).await;
        assert!(reason.contains("forgotten"), "{reason}");
        expect_connected(&mut client, true).await;
        expect_joined(&mut client, Some(true)).await;
    };
    play(server, client).await;
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left_and_resumed() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        responder.admit(4, None).await;
        responder.send(message(5)).await;
        let publish = responder.until("publish", "c1").await;
        // Not answered, and neither is its repetition: five are sent before the link is given up.
        for _ in 0..4 {
            assert_eq!(responder.receive_any().await, publish);
        }
        let join = responder.admit(6, Some(true)).await;
        assert_eq!(join["since"]["offset"], 5);
        responder.send(message(6)).await;
        assert_eq!(responder.until("publish", "c1").await, publish);
    };
    let client = async {
        let mut client = enter(&url).await;
        expect_joined(&mut client, None).await;
        expect_message(&mut client, 5).await;
        let publish = Command::publish("lobby", json_string("x"));
        client.send(publish).expect("room for it");
        let (reason, _) = expect_disconnected(&mut client).await;
        assert!(reason.contains("does not answer"), "{reason}");
        expect_connected(&mut client, true).await;
        expect_joined(&mut client, Some(true)).await;
        expect_message(&mut client, 6).await;
        // The repeated publish goes out while the client waits for what comes next.
        expect_disconnected(&mut client).await;
    };
    play(server, client).await;
}

#[tokio::test]
async fn cookies_that_are_never_accepted_end_the_join() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        for round in 0..4 {
            let join = responder.until("join", "c1").await;
            let cookie = format!("k{round}");
            let challenge =
                json!({"type": "challenge", "id": join["id"], "room": "lobby", "cookie": cookie});
            responder.send(challenge).await;
        }
    };
    let client = async {
        let mut client = enter(&url).await;
        let event = server_event(&mut client).await;
        assert!(
            matches!(&event, ServerEvent::Error { code, .. } if code == "challenge"),
            "{event:?}"
        );
    };
    play(server, client).await;
}

#[tokio::test]
async fn rubbish_from_elsewhere_and_what_does_not_fit_are_no_end() {
    let (mut responder, url) = Responder::bind().await;
    let server = async {
        responder.until("members", "c1").await;
        let busy = json!({"type": "error", "code": "overloaded", "message": "try again"});
        responder.send(busy).await;
        let peer = responder.peer.expect("heard");
        let sent = responder.socket.send_to(b"\xff rubbish", peer).await;
        sent.expect("loopback takes datagrams");
        let members = responder.until("members", "c1").await;
        let answer =
            json!({"type": "members", "id": members["id"], "room": "lobby", "members": []});
        responder.send(answer).await;
    };
    let client = async {
        let mut client = connect(&url).await;
        let text = "x".repeat(70_000);
        let publish = Command::publish("lobby", json_string(&text));
        let refused = client.send(publish).expect("room for it");
        let room = "lobby".to_owned();
        client.send(Command::Members { room }).expect("room for it");
        expect_connected(&mut client, false).await;
        let event = server_event(&mut client).await;
        assert!(matches!(event, ServerEvent::Error { .. }), "{event:?}");
        assert_eq!(event.id(), Some(refused));
        let event = server_event(&mut client).await;
        assert!(matches!(event, ServerEvent::Members { .. }), "{event:?}");
    };
    play(server, client).await;
}

#[tokio::test]
async fn nobody_listening_fails_the_first_connection() {
    let (responder, url) = Responder::bind().await;
    drop(responder);
    let error = Client::connect(options(&url))
        .await
        .expect_err("nobody is there");
    assert!(error.to_string().contains(&url), "{error}");
}
