//! Finding out what a connection speaks where that is not the listener's word alone: TLS before the
//! handler's bytes, and with `detect` TLS, HTTP or the handler's bytes on one port.
//!
//! One task per connection, for a moment, bounded by `handshake_timeout`. What was read to find out
//! is given back, so that whoever comes next finds the connection at its beginning. Next:
//! `roomwire_protocols::opening`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use roomwire_metrics::Id;
use roomwire_protocols::opening::{self, Opening};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::handshake::shake_hands;
use super::{Door, Permit};
use crate::http::{self, Version};
use crate::lifecycle::Phase;
use crate::session::{CloseReason, Stream};

/// What a connection turned out to be.
enum Greeted {
    /// For the listener's handler.
    Bytes(Stream),
    Http(Stream, Version),
    /// It is over.
    Gone,
}

/// Finds out what a connection speaks, then hands it on.
pub(super) async fn greet(door: Rc<Door>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
    let worker = Rc::clone(&door.worker);
    let patience = worker.shared.config.limits.handshake_timeout.get();
    let deadline = Instant::now() + patience;
    let mut phase = worker.shared.phase.subscribe();
    let greeted = tokio::select! {
        greeted = Box::pin(find_out(&door, stream, deadline)) => greeted,
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
    };
    match greeted {
        Ok(Greeted::Bytes(stream)) => door.begin(stream, peer, permit),
        Ok(Greeted::Http(stream, version)) => {
            worker.count(Id::ConnectionsDetectedHttp);
            let serve = http::serve(
                Rc::clone(&worker),
                door.listener,
                stream,
                version,
                peer,
                permit,
            );
            worker.scope.spawn("http connection", serve);
        }
        Ok(Greeted::Gone) => {}
        Err(error) if Instant::now() >= deadline => {
            worker.count(CloseReason::HandshakeTimeout.info().counter);
            tracing::debug!(%peer, %error, "nothing that can be told apart came in time");
        }
        Err(error) => tracing::debug!(%peer, %error, "a connection ended in its handshake"),
    }
}

async fn find_out(door: &Door, stream: TcpStream, deadline: Instant) -> io::Result<Greeted> {
    let detects = door.detects();
    let begins_with_tls = !detects || {
        let mut first = [0];
        match timeout_at(deadline, stream.peek(&mut first)).await?? {
            0 => return Ok(Greeted::Gone),
            _ => opening::detect(&first) == Some(Opening::Tls),
        }
    };
    let mut stream = match door.tls.as_ref().filter(|_| begins_with_tls) {
        None => Stream::tcp(stream),
        Some(tls) => {
            if detects {
                door.worker.count(Id::ConnectionsDetectedTls);
            }
            let Some(stream) = shake_hands(door, tls.config(), stream, deadline).await? else {
                return Ok(Greeted::Gone);
            };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Stream::tls(stream);
            if h2 {
                return Ok(Greeted::Http(stream, Version::Http2));
            }
            stream
        }
    };
    if !detects {
        return Ok(Greeted::Bytes(stream));
    }
    match first_words(&mut stream, deadline).await? {
        None => Ok(Greeted::Gone),
        Some(Opening::Http) => {
            let found = http::detect(&door.worker, stream, deadline).await?;
            Ok(found.map_or(Greeted::Gone, |(stream, version)| {
                Greeted::Http(stream, version)
            }))
        }
        // A second handshake inside the first one is no business of ours.
        Some(Opening::Tls | Opening::Other) => Ok(Greeted::Bytes(stream)),
    }
}

/// What the first bytes are, which stay in the stream. `None` when it ends without any.
async fn first_words(stream: &mut Stream, deadline: Instant) -> io::Result<Option<Opening>> {
    let mut first = BytesMut::with_capacity(Opening::LOOKED_AT);
    let opening = loop {
        let mut more = [0; Opening::LOOKED_AT];
        let room = Opening::LOOKED_AT - first.len();
        let room = more.get_mut(..room).unwrap_or_default();
        let count = timeout_at(deadline, stream.read(room)).await??;
        if count == 0 {
            break (!first.is_empty()).then_some(Opening::Other);
        }
        first.extend_from_slice(more.get(..count).unwrap_or_default());
        if let Some(opening) = opening::detect(&first) {
            break Some(opening);
        }
    };
    stream.unread(first.freeze());
    Ok(opening)
}
