//! Opening the connection to an upstream: one after another until one accepts.
//!
//! One task per client, for as long as that takes. The client is not read from meanwhile, so what it
//! sends waits in the kernel, which stops it when that is full.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use roomwire_metrics::Id;
use roomwire_protocols::proxy_header::{self, Addresses, Version};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::keeper::tell;
use super::{Proxied, UpstreamPool};
use crate::config::SendHeader;
use crate::lifecycle::Phase;
use crate::listener::{Door, Permit, is_exhaustion, keepalive};
use crate::session::{CloseReason, Stream, Wire};
use crate::worker::{NewSession, Worker};

/// Upstreams that are tried for one client. Chosen: with `fall` failures each is left out soon, and a
/// client must not wait for a dozen timeouts.
const MAX_TRIES: usize = 4;

/// Connects a client to an upstream of the listener's pool and makes both a session.
pub(crate) async fn connect(door: Rc<Door>, client: Stream, peer: SocketAddr, permit: Permit) {
    let worker = Rc::clone(&door.worker);
    let Some(pool) = worker.shared.pool(door.listener) else {
        return;
    };
    let header = header(&pool, &client, peer);
    let mut phase = worker.shared.phase.subscribe();
    let connected = tokio::select! {
        connected = reach(&worker, &pool, &header) => connected,
        _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return,
    };
    let (upstream, index) = match connected {
        Ok(connected) => connected,
        Err(reason) => {
            worker.count(reason.info().counter);
            let reason = reason.info().word;
            return tracing::debug!(%peer, reason, "no upstream for a client");
        }
    };
    let keepalive = door.accept().keepalive.get();
    if let Err(error) = prepare(&upstream, keepalive) {
        tracing::debug!(%error, "an option of an upstream's socket");
    }
    let proxied = Proxied::new(Stream::tcp(upstream), pool.occupy(index));
    let wire = Wire::Proxy(Box::new(proxied));
    let identity = client.identity();
    let new = NewSession::stream(client, wire, door.listener, peer, permit);
    let new = new.identified(identity);
    worker.with(|core| core.add(new));
}

fn prepare(upstream: &TcpStream, silence: Duration) -> io::Result<()> {
    upstream.set_nodelay(true)?;
    if let Some(keepalive) = keepalive(silence) {
        SockRef::from(upstream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// What the upstream is told first.
fn header(pool: &UpstreamPool, client: &Stream, peer: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    let version = match pool.config.send_proxy_protocol {
        SendHeader::None => return header,
        SendHeader::V1 => Version::V1,
        SendHeader::V2 => Version::V2,
    };
    if let Some(destination) = client.local_addr() {
        let addresses = Addresses {
            source: peer,
            destination,
        };
        proxy_header::encode(&mut header, version, &addresses);
    }
    header
}

/// A connection to one of the upstreams, its header sent, and which one it is.
async fn reach(
    worker: &Worker,
    pool: &Arc<UpstreamPool>,
    header: &[u8],
) -> Result<(TcpStream, usize), CloseReason> {
    let patience = pool.config.connect_timeout.get();
    let mut tried = Vec::new();
    let mut reason = CloseReason::UpstreamFailed;
    for _ in 0..MAX_TRIES {
        let now_ms = worker.shared.clock.now_ms();
        let Some(index) = pool.choose(&tried, now_ms) else {
            break;
        };
        tried.push(index);
        worker.count(Id::ProxyConnects);
        match timeout(patience, open(pool, index, header)).await {
            Ok(Ok(stream)) => {
                tell(&worker.lane, pool, index, pool.succeeded(index, false));
                return Ok((stream, index));
            }
            Ok(Err(error)) => {
                worker.count(Id::ProxyConnectErrors);
                if is_exhaustion(&error) {
                    // We are out of descriptors, which is no fault of the upstream's.
                    return Err(CloseReason::LimitReached);
                }
                reason = CloseReason::UpstreamFailed;
                tracing::debug!(%error, "an upstream does not accept");
            }
            Err(_) => {
                worker.count(Id::ProxyConnectTimeouts);
                reason = CloseReason::UpstreamTimeout;
            }
        }
        let now_ms = worker.shared.clock.now_ms();
        tell(&worker.lane, pool, index, pool.failed(index, now_ms));
    }
    Err(reason)
}

async fn open(pool: &UpstreamPool, index: usize, header: &[u8]) -> io::Result<TcpStream> {
    let patience = pool.config.connect_timeout.get();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in pool.addresses(index, patience).await {
        match TcpStream::connect(address).await {
            Ok(mut stream) => {
                stream.write_all(header).await?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
