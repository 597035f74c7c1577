//! The usual Rust way: a tokio task and a tokio-tungstenite stream for each connection, and a channel
//! for each member of the room, as in tokio-tungstenite's own example of a chat.
//!
//! usage: compare-naive PORT      serves /echo and /room on 127.0.0.1

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

type Failure = Box<dyn Error + Send + Sync>;
type Room = Arc<Mutex<HashMap<SocketAddr, UnboundedSender<Message>>>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let port: u16 = std::env::args()
        .nth(1)
        .ok_or("usage: compare-naive PORT")?
        .parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let room = Room::default();
    loop {
        let (stream, peer) = listener.accept().await?;
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            // Connections end as they like; the load generator tells what it missed.
            serve(stream, peer, room).await.ok();
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, room: Room) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    #[allow(
        clippy::result_large_err,
        reason = "the callback's type is tungstenite's"
    )]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, note).await?;
    if path == "/room" {
        chat(socket, peer, &room).await
    } else {
        echo(socket).await
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Failure> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn chat(
    socket: WebSocketStream<TcpStream>,
    peer: SocketAddr,
    room: &Room,
) -> Result<(), Failure> {
    let (mut sink, mut stream) = socket.split();
    let (sender, mut news) = unbounded_channel();
    let members = || room.lock().unwrap_or_else(PoisonError::into_inner);
    members().insert(peer, sender);
    let writer = tokio::spawn(async move {
        while let Some(message) = news.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        if message.is_text() {
            for member in members().values() {
                // Whoever is leaving hears nothing any more.
                member.send(message.clone()).ok();
            }
        }
    }
    members().remove(&peer);
    writer.await?;
    Ok(())
}
