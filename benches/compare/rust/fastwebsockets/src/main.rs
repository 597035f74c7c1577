//! fastwebsockets behind hyper, as its documentation has it: a task for each connection, and a channel
//! for each member of the room.
//!
//! usage: compare-fastwebsockets PORT      serves /echo and /room on 127.0.0.1

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Default)]
struct Room {
    members: Mutex<HashMap<u64, UnboundedSender<Bytes>>>,
    next: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let port = std::env::args()
        .nth(1)
        .ok_or("usage: compare-fastwebsockets PORT")?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let room = Arc::new(Room::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = answer(request, &room);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // Connections end as they like; the load generator tells what it missed.
            connection.with_upgrades().await.ok();
        });
    }
}

fn answer(mut request: Request<Incoming>, room: &Arc<Room>) -> Response<Empty<Bytes>> {
    let is_room = request.uri().path() == "/room";
    if is_upgrade_request(&request)
        && let Ok((response, upgrade)) = upgrade(&mut request)
    {
        let room = Arc::clone(room);
        tokio::spawn(async move {
            if is_room {
                chat(upgrade, &room).await.ok();
            } else {
                echo(upgrade).await.ok();
            }
        });
        return response;
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

async fn echo(upgrade: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = fastwebsockets::FragmentCollector::new(upgrade.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn chat(upgrade: UpgradeFut, room: &Room) -> Result<(), WebSocketError> {
    let (mut reader, mut writer) = upgrade.await?.split(tokio::io::split);
    let (sender, mut news) = unbounded_channel::<Bytes>();
    let members = || room.members.lock().unwrap_or_else(PoisonError::into_inner);
    let seat = room.next.fetch_add(1, Ordering::Relaxed);
    members().insert(seat, sender);
    let writing = tokio::spawn(async move {
        while let Some(text) = news.recv().await {
            let frame = Frame::text(Payload::Borrowed(&text));
            if writer.write_frame(frame).await.is_err() {
                break;
            }
        }
    });
    let mut ignore = async |_| Ok::<_, Failure>(());
    while let Ok(frame) = reader.read_frame(&mut ignore).await {
        match frame.opcode {
            OpCode::Close => break,
            OpCode::Text => {
                let text = Bytes::copy_from_slice(&frame.payload);
                for member in members().values() {
                    // Whoever is leaving hears nothing any more.
                    member.send(text.clone()).ok();
                }
            }
            _ => {}
        }
    }
    members().remove(&seat);
    writing.abort();
    Ok(())
}
