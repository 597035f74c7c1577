//! What comes before a connection's first byte for its handler: a proxy's word on whose it is.
//!
//! One task per connection, for a moment, bounded by `handshake_timeout`. Nothing beyond the header
//! is read, so that whoever comes next, TLS included, finds the connection at its beginning. Next:
//! `roomwire_protocols::proxy_header`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use roomwire_metrics::Id;
use roomwire_protocols::proxy_header::{self, Decoded};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Door, Permit};
use crate::lifecycle::Phase;
use crate::session::CloseReason;

/// Bytes looked at without taking them. Chosen: what proxies send has up to some hundred.
const PEEK_BYTES: usize = 512;

/// Reads the header that a trusted proxy sends first, then hands the connection on as its client's.
pub(super) async fn behind_proxy(
    door: Rc<Door>,
    mut stream: TcpStream,
    proxy: SocketAddr,
    permit: Permit,
) {
    let worker = &door.worker;
    let patience = worker.shared.config.limits.handshake_timeout.get();
    let mut phase = worker.shared.phase.subscribe();
    let read = tokio::select! {
        read = timeout(patience, read_header(&mut stream)) => read,
        _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return,
    };
    match read {
        Ok(Ok(client)) => {
            worker.count(Id::ProxyHeaders);
            door.hand_on(stream, client.unwrap_or(proxy), permit);
        }
        Ok(Err(error)) => {
            worker.count(Id::ProxyHeaderErrors);
            tracing::debug!(%proxy, %error, "no PROXY header");
        }
        Err(_) => {
            worker.count(CloseReason::HandshakeTimeout.info().counter);
            tracing::debug!(%proxy, "no PROXY header in time");
        }
    }
}

/// The client's address; `None` where the proxy speaks for itself.
async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    loop {
        let mut peeked = [0; PEEK_BYTES];
        let count = stream.peek(&mut peeked).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let had = header.len();
        header.extend_from_slice(peeked.get(..count).unwrap_or_default());
        let decoded = proxy_header::decode(&header)
            .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed.reason()))?;
        // What is incomplete belongs to the header as a whole, so all of it may be taken.
        let (taken, client) = match decoded {
            Decoded::Incomplete => (count, None),
            Decoded::Complete { length, addresses } => {
                let client = addresses.map(|addresses| addresses.source);
                (length.saturating_sub(had).min(count), Some(client))
            }
        };
        stream
            .read_exact(peeked.get_mut(..taken).unwrap_or_default())
            .await?;
        if let Some(client) = client {
            return Ok(client);
        }
    }
}
