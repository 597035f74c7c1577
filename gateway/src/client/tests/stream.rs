//! Sessions over byte streams: TCP lines and WebSocket play the same scripts.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message as WsMessage,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use super::*;
use crate::client::{Command, ConnectError, SendError, json_string};

/// The server's end of one session.
enum Peer {
    Lines(BufStream<TcpStream>),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Peer {
    async fn accept(listener: &TcpListener, wire: Wire) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        match wire {
            Wire::Tcp => Self::Lines(BufStream::new(stream)),
            Wire::WebSocket => {
                let stream = accept_hdr_async(stream, select_subprotocol).await;
                Self::WebSocket(Box::new(stream.expect("a WebSocket handshake")))
            }
        }
    }

    /// The next object, None at the end of the session.
    async fn try_receive(&mut self) -> Option<Value> {
        let text = match self {
            Self::Lines(lines) => {
                let mut line = String::new();
                lines.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
                line
            }
            Self::WebSocket(stream) => loop {
                match stream.next().await?.ok()? {
                    WsMessage::Text(text) => break text.to_string(),
                    WsMessage::Close(_) => return None,
                    _ => {}
                }
            },
        };
        Some(serde_json::from_str(&text).expect("one JSON object"))
    }

    async fn receive(&mut self, kind: &str) -> Value {
        let value = self.try_receive().await.expect("the client goes on");
        assert_eq!(value["type"], kind, "{value}");
        value
    }

    async fn send(&mut self, value: Value) {
        let text = value.to_string();
        match self {
            Self::Lines(lines) => {
                lines.write_all(text.as_bytes()).await.expect("a reader");
                lines.write_all(b"\r\n").await.expect("a reader");
                lines.flush().await.expect("a reader");
            }
            Self::WebSocket(stream) => {
                let sent = stream.send(WsMessage::text(text)).await;
                sent.expect("a reader");
            }
        }
    }

    /// Answers `hello` and `join` of a first connection.
    async fn admit(&mut self, offset: u64) {
        let hello = self.receive("hello").await;
        self.send(welcome(&hello["id"], "c1")).await;
        let join = self.receive("join").await;
        assert_eq!(join["since"], Value::Null, "nothing was seen yet");
        self.send(joined(&join["id"], offset, None)).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Wire {
    Tcp,
    WebSocket,
}

const WIRES: [Wire; 2] = [Wire::Tcp, Wire::WebSocket];

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the signature of tungstenite's callback"
)]
fn select_subprotocol(
    request: &Request,
    mut response: Response,
) -> Result<Response, ErrorResponse> {
    let offered = request.headers()["sec-websocket-protocol"].clone();
    assert_eq!(offered, "roomwire.v1");
    assert_eq!(request.uri().path(), "/ws");
    response
        .headers_mut()
        .insert("sec-websocket-protocol", offered);
    Ok(response)
}

async fn listen(wire: Wire) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let scheme = match wire {
        Wire::Tcp => "tcp",
        Wire::WebSocket => "ws",
    };
    (listener, format!("{scheme}://{address}"))
}

async fn enter(url: &str) -> Client {
    let mut client = connect(url).await;
    client.send(Command::join("lobby")).expect("room for it");
    expect_connected(&mut client, false).await;
    client
}

#[tokio::test]
async fn a_lost_connection_is_resumed_after_the_last_message_seen() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        let server = async {
            let mut peer = Peer::accept(&listener, wire).await;
            peer.admit(7).await;
            peer.send(message(8)).await;
            drop(peer);
            let mut peer = Peer::accept(&listener, wire).await;
            peer.receive("hello").await;
            let join = peer.receive("join").await;
            assert_eq!(
                join["since"],
                json!({"epoch": "e1", "offset": 8}),
                "{wire:?}"
            );
            peer.send(joined(&join["id"], 9, Some(true))).await;
            peer.send(message(9)).await;
            let fence = peer.receive("ping").await;
            peer.send(pong(&fence["id"])).await;
            assert!(peer.try_receive().await.is_none(), "the client leaves");
        };
        let client = async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            expect_message(&mut client, 8).await;
            expect_disconnected(&mut client).await;
            expect_connected(&mut client, true).await;
            expect_joined(&mut client, Some(true)).await;
            expect_message(&mut client, 9).await;
            client.close().await;
        };
        play(server, client).await;
    }
}

#[tokio::test]
async fn what_could_not_be_recovered_and_what_was_left_out_is_told() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        let server = async {
            let mut peer = Peer::accept(&listener, wire).await;
            peer.admit(7).await;
            drop(peer);
            let mut peer = Peer::accept(&listener, wire).await;
            peer.receive("hello").await;
            let join = peer.receive("join").await;
            assert_eq!(join["since"]["offset"], 7);
            peer.send(joined(&join["id"], 20, Some(false))).await;
            peer.send(json!({"type": "gap", "room": "lobby", "from": 21, "to": 22}))
                .await;
            assert!(peer.receive("ping").await["id"].is_u64());
        };
        let client = async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            expect_disconnected(&mut client).await;
            expect_connected(&mut client, true).await;
            expect_joined(&mut client, Some(false)).await;
            let gap = server_event(&mut client).await;
            assert!(
                matches!(
                    gap,
                    ServerEvent::Gap {
                        from: 21,
                        to: 22,
                        ..
                    }
                ),
                "{gap:?}"
            );
        };
        play(server, client).await;
    }
}

#[tokio::test]
async fn an_unanswered_publish_is_sent_again_with_the_same_key() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        let server = async {
            let mut peer = Peer::accept(&listener, wire).await;
            peer.receive("hello").await;
            let first = peer.receive("publish").await;
            assert_eq!(first["echo"], false);
            assert!(first["key"].is_string());
            drop(peer);
            let mut peer = Peer::accept(&listener, wire).await;
            peer.receive("hello").await;
            peer.receive("ping").await;
            let second = peer.receive("publish").await;
            assert_eq!(first, second, "{wire:?}");
            let answer =
                json!({"type": "published", "id": second["id"], "room": "lobby", "offset": 3});
            peer.send(answer).await;
        };
        let client = async {
            let mut client = connect(&url).await;
            let publish = Command::publish("lobby", json_string("x"));
            let sent = client.send(publish).expect("room for it");
            expect_connected(&mut client, false).await;
            expect_disconnected(&mut client).await;
            assert!(client.awaits_answers());
            expect_connected(&mut client, true).await;
            let answer = server_event(&mut client).await;
            assert_eq!(answer.id(), Some(sent), "{answer:?}");
            assert!(!client.awaits_answers());
        };
        play(server, client).await;
    }
}

#[tokio::test]
async fn a_goodbye_without_reconnect_is_the_end() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        let goodbye =
            json!({"type": "goodbye", "reason": "closed", "reconnect": false, "after_ms": 0});
        let server = async {
            let mut peer = Peer::accept(&listener, wire).await;
            peer.admit(0).await;
            peer.send(goodbye).await;
            assert!(peer.try_receive().await.is_none(), "the client leaves");
        };
        let client = async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            let event = server_event(&mut client).await;
            assert!(matches!(event, ServerEvent::Goodbye { .. }), "{event:?}");
            assert_eq!(expect_ended(&mut client, false).await, "closed");
            assert_eq!(client.send(Command::Ping), Err(SendError::Ended));
        };
        play(server, client).await;
    }
}

#[tokio::test]
async fn a_goodbye_with_reconnect_is_followed_no_sooner_than_asked() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        let goodbye =
            json!({"type": "goodbye", "reason": "restart", "reconnect": true, "after_ms": 25});
        let server = async {
            let mut peer = Peer::accept(&listener, wire).await;
            peer.admit(0).await;
            peer.send(goodbye).await;
            assert!(peer.try_receive().await.is_none(), "the client leaves");
            let mut peer = Peer::accept(&listener, wire).await;
            peer.receive("hello").await;
        };
        let client = async {
            let mut client = enter(&url).await;
            expect_joined(&mut client, None).await;
            let event = server_event(&mut client).await;
            assert!(matches!(event, ServerEvent::Goodbye { .. }), "{event:?}");
            let (reason, retry_in) = expect_disconnected(&mut client).await;
            assert_eq!(reason, "restart");
            assert!(retry_in >= Duration::from_millis(25), "{retry_in:?}");
            expect_connected(&mut client, true).await;
            expect_disconnected(&mut client).await;
        };
        play(server, client).await;
    }
}

#[tokio::test]
async fn a_refused_join_is_told_and_not_repeated() {
    let (listener, url) = listen(Wire::Tcp).await;
    let server = async {
        let mut peer = Peer::accept(&listener, Wire::Tcp).await;
        peer.receive("hello").await;
        let join = peer.receive("join").await;
        let error =
            json!({"type": "error", "id": join["id"], "code": "forbidden", "message": "no"});
        peer.send(error).await;
        drop(peer);
        let mut peer = Peer::accept(&listener, Wire::Tcp).await;
        peer.receive("hello").await;
        peer.receive("ping").await;
        assert!(peer.try_receive().await.is_none(), "no join follows");
    };
    let client = async {
        let mut client = enter(&url).await;
        let event = server_event(&mut client).await;
        assert!(matches!(event, ServerEvent::Error { .. }), "{event:?}");
        expect_disconnected(&mut client).await;
        expect_connected(&mut client, true).await;
        client.close().await;
    };
    play(server, client).await;
}

#[tokio::test]
async fn commands_given_without_a_connection_are_sent_on_the_next_one_in_order() {
    let (listener, url) = listen(Wire::Tcp).await;
    let server = async {
        drop(Peer::accept(&listener, Wire::Tcp).await);
        let mut peer = Peer::accept(&listener, Wire::Tcp).await;
        peer.receive("hello").await;
        peer.receive("ping").await;
        for text in ["one", "two"] {
            assert_eq!(peer.receive("publish").await["data"], text);
        }
    };
    let client = async {
        let mut client = connect(&url).await;
        expect_connected(&mut client, false).await;
        expect_disconnected(&mut client).await;
        for text in ["one", "two"] {
            let publish = Command::publish("lobby", json_string(text));
            client.send(publish).expect("room for it");
        }
        expect_connected(&mut client, true).await;
        let (reason, _) = expect_disconnected(&mut client).await;
        assert!(reason.contains("closed the connection"), "{reason}");
    };
    play(server, client).await;
}

#[tokio::test]
async fn the_window_of_unanswered_commands_is_bounded() {
    let (listener, url) = listen(Wire::Tcp).await;
    let server = async {
        Peer::accept(&listener, Wire::Tcp)
            .await
            .receive("hello")
            .await;
    };
    let client = async {
        let mut client = connect(&url).await;
        while client.has_room() {
            client.send(Command::Ping).expect("room for it");
        }
        assert_eq!(client.send(Command::Ping), Err(SendError::Full));
        expect_connected(&mut client, false).await;
        expect_disconnected(&mut client).await;
    };
    play(server, client).await;
}

#[tokio::test]
async fn a_line_without_end_is_refused_at_the_bound() {
    let (listener, url) = listen(Wire::Tcp).await;
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let endless = vec![b'x'; 64 * 1024];
        while stream.write_all(&endless).await.is_ok() {}
    };
    let client = async {
        let mut client = connect(&url).await;
        expect_connected(&mut client, false).await;
        let reason = expect_ended(&mut client, true).await;
        assert!(reason.contains("more than 1048576 bytes"), "{reason}");
    };
    play(server, client).await;
}

#[tokio::test]
async fn a_server_of_something_else_is_named_as_such() {
    let (listener, url) = listen(Wire::Tcp).await;
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream
            .write_all(b"220 mail ESMTP\r\n")
            .await
            .expect("a reader");
    };
    let client = async {
        let mut client = connect(&url).await;
        expect_connected(&mut client, false).await;
        let reason = expect_ended(&mut client, true).await;
        assert!(reason.contains("does not speak roomwire.v1"), "{reason}");
    };
    play(server, client).await;
}

#[tokio::test]
async fn nobody_listening_fails_the_first_connection_with_advice() {
    for wire in WIRES {
        let (listener, url) = listen(wire).await;
        drop(listener);
        match Client::connect(options(&url)).await {
            Err(ConnectError::Link(reason)) => {
                assert!(reason.contains("roomwire serve"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_gateway_that_has_gone_silent_is_asked_and_then_left() {
    let (listener, url) = listen(Wire::Tcp).await;
    let mut client = connect(&url).await;
    let mut peer = Peer::accept(&listener, Wire::Tcp).await;
    expect_connected(&mut client, false).await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let (reason, _) = expect_disconnected(&mut client).await;
    assert!(reason.contains("gone silent"), "{reason}");
    assert!(before.elapsed() >= Duration::from_secs(35));
    tokio::time::resume();
    drop(client);
    peer.receive("hello").await;
    peer.receive("ping").await;
}
