//! One HTTP connection: TLS or clear, version by ALPN or by the first bytes, then served until it
//! ends, is closed over the API, or the gateway drains.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use roomwire_certs::Identity;
use roomwire_metrics::Id;
use roomwire_protocols::problem;
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::client::{self, CONNECTIONS};
use super::watch::{FAREWELL, Verdict};
use crate::lifecycle::Phase;
use crate::listener::{Door, Full, Permit, linger, shake_hands};
use crate::session::{ClientId, CloseReason, Io, Stream, TaskSide, Wire};
use crate::worker::{NewSession, Worker};

/// RFC 9113 §3.4: what an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What tells the preface from every request of HTTP/1.1: nothing else has this method.
const PREFACE_METHOD: &[u8] = b"PRI ";

/// Bytes of a connection that are read before it is known what they are. Chosen: more than most heads have.
const FIRST_READ: usize = 2048;

/// What a frame of HTTP/2 begins with that is shorter than 64 KiB, and no request of HTTP/1.1.
const FRAME_START: u8 = 0;

/// What somebody gets who goes on differently, or leaves it out: empty SETTINGS, then GOAWAY for stream 0 with
/// PROTOCOL_ERROR (RFC 9113 §3.4).
pub(super) const BROKEN_PREFACE: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// How long a client has to ask, so that it gets the answer that it may not connect.
const REFUSAL: Duration = Duration::from_secs(5);

/// What a request's handler knows of the connection it came by.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    /// The connection's own session.
    pub(crate) session: ClientId,
    pub(crate) listener: u16,
    pub(crate) peer: SocketAddr,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
    /// Whom the client's certificate names, where it showed one.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) side: Rc<RefCell<TaskSide>>,
    /// What the connection was admitted with; an upgrade takes it along.
    pub(crate) permit: RefCell<Option<Permit>>,
    /// How the connection's session will have ended: by an upgrade, once one was granted.
    pub(crate) ending: Cell<CloseReason>,
    /// Which host the last request was for that might be served; it was looked at.
    pub(crate) host: RefCell<SmallVec<[u8; 24]>>,
}

impl Connection {
    /// Resolves when the connection's session was ended from elsewhere.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn closed(&self) -> CloseReason {
        poll_fn(|cx| {
            let mut side = self.side.borrow_mut();
            match side.closed {
                Some(reason) => Poll::Ready(reason),
                None => {
                    side.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Resolves when the gateway drains; for a connection that came during the drain, when it had
    /// time to ask for what it came for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn drained(&self) {
        let mut phase = self.worker.shared.phase.subscribe();
        if *phase.borrow() >= Phase::Draining {
            tokio::time::sleep(FAREWELL).await;
        }
        // The sender lives in `shared`, so the channel cannot be closed.
        drop(phase.wait_for(|phase| *phase >= Phase::Draining).await);
    }
}

impl Connection {
    /// Notes why the watch ends the connection.
    pub(super) fn judged(&self, verdict: Verdict) {
        if verdict == Verdict::HeadTooSlow {
            self.worker.count(Id::HttpTimeouts);
        }
        self.ending.set(verdict.reason());
        let (client, peer) = (self.session, self.peer);
        tracing::debug!(%client, %peer, ?verdict, "http connection ended");
    }
}

/// Tells a client in clear that it has too many connections, or has come too often. Who speaks TLS is
/// closed instead: a handshake costs more than what it would be refused.
pub(crate) async fn refuse_connection(door: &Door, mut stream: TcpStream, full: Full) {
    let worker = &door.worker;
    let deadline = Instant::now() + REFUSAL;
    // An answer that comes before its request is none to some clients.
    let asked = timeout_at(deadline, stream.peek(&mut [0])).await;
    if !matches!(asked, Ok(Ok(1..))) {
        return;
    }
    let (retry_s, detail) = match full {
        Full::Rate { retry_s } => (retry_s, "this address connects too often"),
        Full::Address | Full::Gateway | Full::Listener => {
            (1, "this address has as many connections as it may have")
        }
    };
    let mut body = Vec::new();
    let title = "Too Many Requests";
    problem::render(&mut body, 429, title, detail, "rate_limited");
    let mut answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         connection: close\r\nretry-after: {retry_s}\r\n",
        problem::CONTENT_TYPE,
        body.len()
    );
    if let (Full::Rate { .. }, Some(quota)) = (full, &worker.shared.quotas.connections) {
        let (policy, left) = (
            client::policy(CONNECTIONS, quota),
            client::remaining(CONNECTIONS, 0, retry_s),
        );
        answer.push_str(&format!(
            "ratelimit-policy: {policy}\r\nratelimit: {left}\r\n"
        ));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(&body);
    if matches!(
        timeout_at(deadline, stream.write_all(&answer)).await,
        Ok(Ok(()))
    ) {
        linger(stream).await;
    }
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Serves one connection to its end.
pub(crate) async fn serve_connection(
    door: Rc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: Permit,
) {
    let worker = Rc::clone(&door.worker);
    let patience = worker.shared.config.limits.handshake_timeout.get();
    let deadline = Instant::now() + patience;
    let opened = tokio::select! {
        opened = Box::pin(open(&door, stream, deadline)) => opened,
        () = draining(&worker) => return,
    };
    match opened {
        Ok(Some((stream, version))) => {
            serve(worker, door.listener, stream, version, peer, permit).await;
        }
        Ok(None) => {}
        Err(error) if Instant::now() >= deadline => {
            worker.count(CloseReason::HandshakeTimeout.info().counter);
            tracing::debug!(%peer, %error, "handshake timed out");
        }
        Err(error) => tracing::debug!(%peer, %error, "connection ended in its handshake"),
    }
}

/// Resolves when a drain begins after this was first polled: a connection that comes during one gets
/// its answer, one that was only opened before it is closed.
async fn draining(worker: &Worker) {
    let mut phase = worker.shared.phase.subscribe();
    let last = if *phase.borrow() < Phase::Draining {
        Phase::Draining
    } else {
        Phase::Closing
    };
    drop(phase.wait_for(|phase| *phase >= last).await);
}

async fn open(
    door: &Door,
    stream: TcpStream,
    deadline: Instant,
) -> io::Result<Option<(Stream, Version)>> {
    match &door.tls {
        Some(tls) => open_tls(door, tls.config(), stream, deadline).await,
        None => detect(&door.worker, Stream::tcp(stream), deadline).await,
    }
}

async fn open_tls(
    door: &Door,
    settings: Arc<rustls::ServerConfig>,
    stream: TcpStream,
    deadline: Instant,
) -> io::Result<Option<(Stream, Version)>> {
    let Some(stream) = shake_hands(door, settings, stream, deadline).await? else {
        return Ok(None);
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let version = if h2 { Version::Http2 } else { Version::Http1 };
    Ok(Some((Stream::tls(stream), version)))
}

/// Tells HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes.
pub(crate) async fn detect(
    worker: &Worker,
    mut stream: Stream,
    deadline: Instant,
) -> io::Result<Option<(Stream, Version)>> {
    // Almost everybody's first request comes whole, and is then looked at whole.
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let version = loop {
        if first.first() == Some(&FRAME_START) {
            break Version::Http1;
        }
        if first.starts_with(PREFACE) {
            break Version::Http2;
        }
        if !PREFACE.starts_with(&first) {
            break Version::Http1;
        }
        match timeout_at(deadline, stream.read_buf(&mut first)).await {
            Ok(read) => {
                if read? == 0 {
                    return Ok(None);
                }
            }
            // Whoever got this far hears why it ends.
            Err(_) if first.starts_with(PREFACE_METHOD) => break Version::Http1,
            Err(elapsed) => return Err(elapsed.into()),
        }
    };
    let meant = first.starts_with(PREFACE_METHOD) || first.first() == Some(&FRAME_START);
    if matches!(version, Version::Http1) && meant {
        worker.count(Id::HttpBadRequests);
        stream.write_all(BROKEN_PREFACE).await?;
        linger(stream).await;
        return Ok(None);
    }
    stream.unread(first.freeze());
    Ok(Some((stream, version)))
}

/// Serves a connection of which it is known that it speaks HTTP.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: u16,
    stream: Stream,
    version: Version,
    peer: SocketAddr,
    permit: Permit,
) {
    let side = Rc::new(RefCell::new(TaskSide::default()));
    let io = Io::Task(Rc::clone(&side));
    let (identity, secure) = (stream.identity(), stream.is_tls());
    let new = NewSession {
        io,
        wire: Wire::Http,
        listener,
        peer,
        permit: None,
        identity: identity.clone(),
    };
    let Some(id) = worker.with(|core| core.add(new)) else {
        return;
    };
    let connection = Rc::new(Connection {
        worker: Rc::clone(&worker),
        session: id,
        listener,
        peer,
        secure,
        identity,
        side,
        permit: RefCell::new(Some(permit)),
        ending: Cell::new(CloseReason::Ended),
        host: RefCell::default(),
    });
    let _session = SessionGuard {
        connection: Rc::clone(&connection),
        id,
    };
    match version {
        Version::Http1 => Box::pin(super::h1::serve(&connection, stream)).await,
        Version::Http2 => Box::pin(super::h2::serve(&connection, stream)).await,
    }
}

/// Removes the connection's session when its task ends, however it ends.
struct SessionGuard {
    connection: Rc<Connection>,
    id: ClientId,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let reason = self.connection.ending.get();
        let worker = &self.connection.worker;
        worker.with(|core| core.task_ended(self.id, reason));
    }
}
