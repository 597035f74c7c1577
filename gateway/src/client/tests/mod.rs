//! The client against small scripted servers on loopback, one per wire.
//!
//! Each test runs both sides in one task: a script that says what the server expects and answers, and
//! the client's side that says what is told. No side sleeps; the bound in [`play`] only ends a test
//! that has gone wrong.

mod datagram;
mod event_stream;
mod stream;
mod tls;

use std::{future::Future, time::Duration};

use serde_json::{Value, json};

use super::{
    Client, ClientOptions, Event, Joined, Message, ServerEvent, transport::UdpTiming,
    url::ServerUrl,
};

/// Runs both sides to their ends.
async fn play(server: impl Future<Output = ()>, client: impl Future<Output = ()>) {
    let both = async { tokio::join!(server, client) };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("both sides come to their end");
}

/// Options that wait for nothing longer than needed.
fn options(url: &str) -> ClientOptions {
    let url: ServerUrl = url.parse().expect("a valid URL");
    let mut options = ClientOptions::new(url);
    options.timing.first_delay = Duration::from_millis(1);
    options.timing.max_delay = Duration::from_millis(10);
    options.timing.udp = UdpTiming {
        retry: Duration::from_millis(20),
        tries: 5,
        renew: Duration::from_millis(50),
    };
    options
}

async fn connect(url: &str) -> Client {
    Client::connect(options(url))
        .await
        .expect("a server is there")
}

/// The next thing the gateway said; connections that come and go must have been seen before.
async fn server_event(client: &mut Client) -> ServerEvent {
    match client.next().await {
        Event::Server(event) => event,
        other => panic!("the gateway said nothing, but {other:?}"),
    }
}

async fn expect_connected(client: &mut Client, again: bool) {
    match client.next().await {
        Event::Connected { again: actual } => assert_eq!(actual, again),
        other => panic!("not connected, but {other:?}"),
    }
}

async fn expect_joined(client: &mut Client, recovered: Option<bool>) -> Joined {
    loop {
        match server_event(client).await {
            ServerEvent::Welcome { .. } => {}
            ServerEvent::Joined(joined) => {
                assert_eq!(joined.recovered, recovered);
                return joined;
            }
            other => panic!("not joined, but {other:?}"),
        }
    }
}

async fn expect_message(client: &mut Client, offset: u64) -> Message {
    match server_event(client).await {
        ServerEvent::Message(message) => {
            assert_eq!(message.offset, offset);
            message
        }
        other => panic!("not a message, but {other:?}"),
    }
}

async fn expect_disconnected(client: &mut Client) -> (String, Duration) {
    match client.next().await {
        Event::Disconnected { reason, retry_in } => (reason, retry_in),
        other => panic!("not disconnected, but {other:?}"),
    }
}

async fn expect_ended(client: &mut Client, failed: bool) -> String {
    for _ in 0..2 {
        match client.next().await {
            Event::Ended { failed: actual, .. } => assert_eq!(actual, failed),
            other => panic!("not ended, but {other:?}"),
        }
    }
    match client.next().await {
        Event::Ended { reason, .. } => reason,
        other => panic!("the end did not last: {other:?}"),
    }
}

fn message(offset: u64) -> Value {
    json!({"type": "message", "room": "lobby", "offset": offset, "from": "ann", "time": 1, "data": "x"})
}

fn joined(id: &Value, offset: u64, recovered: Option<bool>) -> Value {
    let mut joined = json!({"type": "joined", "id": id, "room": "lobby", "epoch": "e1",
        "offset": offset, "members": [], "member_count": 1});
    if let Some(recovered) = recovered {
        joined["recovered"] = recovered.into();
    }
    joined
}

fn pong(id: &Value) -> Value {
    json!({"type": "pong", "id": id})
}

fn welcome(id: &Value, client: &str) -> Value {
    json!({"type": "welcome", "id": id, "client": client, "name": null, "session_ttl": 30})
}
