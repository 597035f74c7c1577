//! Accepting: one task per listener and worker; what comes is admitted, then handed on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use roomwire_certs::TlsHandle;
use roomwire_metrics::{BlockId, Id};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::StreamSocket;
use super::admission::{Admission, Full, Permit};
use crate::config::{AcceptConfig, Handler, ListenerConfig, WhenFull};
use crate::event::Refused;
use crate::lifecycle::Phase;
use crate::rate::Quotas;
use crate::session::{Framed, Stream, Wire};
use crate::worker::{NewSession, Worker};

/// How long accepting pauses when the process or the host is out of descriptors or memory. Chosen:
/// long enough not to spin, short against a client's patience.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Refused connections of a listener and worker that are told why at a time; others are closed. Chosen:
/// they have no place among `max_connections`, so they must be few.
const MAX_REFUSALS: usize = 64;

/// How often that is said. Chosen: whoever comes and goes at the limit must not fill the log.
const EXHAUSTED_SAID_MS: u64 = 60_000;

/// Starts accepting on one socket.
///
/// # Errors
///
/// When the socket cannot be registered with the runtime.
pub(crate) fn accept(worker: &Rc<Worker>, socket: StreamSocket) -> io::Result<()> {
    let listener = TcpListener::from_std(socket.socket)?;
    let door = Rc::new(Door {
        worker: Rc::clone(worker),
        handler: socket.handler,
        listener: socket.listener,
        tls: socket.tls,
        refusals: Rc::default(),
    });
    let phase = worker.shared.phase.subscribe();
    worker
        .scope
        .spawn("accept", accept_loop(listener, door, phase));
    Ok(())
}

/// Where a connection came in.
pub(crate) struct Door {
    pub(crate) worker: Rc<Worker>,
    pub(crate) handler: Handler,
    pub(crate) listener: u16,
    pub(crate) tls: Option<TlsHandle>,
    /// Counts, by its references, connections that are being told why they are refused.
    refusals: Rc<()>,
}

async fn accept_loop(listener: TcpListener, door: Rc<Door>, mut phase: watch::Receiver<Phase>) {
    // HTTP is served through a drain, so that whoever asks /readyz is told, and not refused like
    // one who asks a gateway that is gone.
    let last = if door.handler == Handler::Http {
        Phase::Closing
    } else {
        Phase::Draining
    };
    let mut said_ms = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= last) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                door.worker.count(Id::ConnectionsAccepted);
                door.count(BlockId::ListenerAccepted);
                match Admission::admit(&door.worker.shared, door.listener) {
                    Ok(permit) => door.enter(stream, peer, permit),
                    Err(full) if door.accept().when_full == WhenFull::Refuse => {
                        door.refuse(peer, full);
                    }
                    Err(_) => {
                        door.worker.count(Id::ConnectionsWaited);
                        // What comes meanwhile stays in the kernel's backlog.
                        let permit = tokio::select! {
                            biased;
                            _ = phase.wait_for(|phase| *phase >= last) => return,
                            permit = Admission::admit_later(&door.worker.shared, door.listener) => permit,
                        };
                        door.enter(stream, peer, permit);
                    }
                }
            }
            Err(error) if is_exhaustion(&error) => {
                door.worker.count(Id::AcceptErrors);
                let shared = &door.worker.shared;
                let now_ms = shared.clock.now_ms();
                shared.pulse.exhaust(now_ms);
                if said_ms.is_none_or(|said_ms| now_ms >= said_ms + EXHAUSTED_SAID_MS) {
                    said_ms = Some(now_ms);
                    tracing::error!(%error, "cannot accept; pausing until descriptors are free");
                }
                tokio::select! {
                    () = tokio::time::sleep(EXHAUSTED_PAUSE) => {}
                    _ = phase.wait_for(|phase| *phase >= last) => return,
                }
            }
            // The connection was gone before it was accepted; the next one is unharmed.
            Err(error) => {
                door.worker.count(Id::AcceptErrors);
                tracing::debug!(%error, "a connection failed before it was accepted");
            }
        }
    }
}

impl Door {
    fn config(&self) -> &ListenerConfig {
        let listeners = &self.worker.shared.config.listeners;
        let listener = listeners.get(usize::from(self.listener));
        listener.expect("a door is made for a configured listener")
    }

    /// The listener's name.
    pub(crate) fn name(&self) -> &str {
        &self.config().name
    }

    /// How connections are accepted here.
    pub(crate) fn accept(&self) -> &AcceptConfig {
        &self.config().accept
    }

    /// Whether connections may carry HTTP.
    pub(super) fn speaks_http(&self) -> bool {
        self.config().speaks_http()
    }

    /// Whether the first bytes decide what is spoken.
    pub(super) fn detects(&self) -> bool {
        self.config().detect
    }

    fn count(&self, id: BlockId) {
        let block = self
            .worker
            .shared
            .page
            .listener_block(usize::from(self.listener));
        self.worker.lane.block_add(block, id, 1);
    }

    pub(super) fn refuse(&self, peer: SocketAddr, full: Full) {
        self.worker.count(full.counter());
        self.count(BlockId::ListenerRefused);
        self.worker.with(|core| {
            if core.topics.refused.has_listeners() {
                core.topics.refused.emit(&Refused { peer });
            }
        });
    }

    fn enter(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        if self.accept().is_proxy(peer.ip()) {
            let open = super::open::behind_proxy(Rc::clone(self), stream, peer, permit);
            self.worker.scope.spawn("opening", open);
        } else {
            self.hand_on(stream, peer, permit);
        }
    }

    /// Gives a connection, whose client is now known, to the handler.
    pub(super) fn hand_on(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        mut permit: Permit,
    ) {
        if let Err(full) = self.judge(peer.ip(), &mut permit) {
            self.tell(stream, full);
            return self.refuse(peer, full);
        }
        if self.handler == Handler::Http {
            let task = crate::http::serve_connection(Rc::clone(self), stream, peer, permit);
            return self.worker.scope.spawn("http connection", task);
        }
        if self.tls.is_some() || self.detects() {
            let greet = super::greet::greet(Rc::clone(self), stream, peer, permit);
            return self.worker.scope.spawn("opening", greet);
        }
        self.begin(Stream::tcp(stream), peer, permit);
    }

    /// Whether one more connection is taken from its client. Those of HTTP proxies are many clients'.
    fn judge(&self, ip: IpAddr, permit: &mut Permit) -> Result<(), Full> {
        if self.accept().is_trusted(ip) {
            return Ok(());
        }
        let shared = &self.worker.shared;
        let quotas = &shared.quotas;
        if let Some(quota) = &quotas.connections
            && !quotas.exempts(ip)
        {
            let standing = quota.count(Quotas::address(ip), shared.clock.now_us());
            if standing.evicted {
                self.worker.count(Id::RateEvicted);
            }
            if !standing.allowed {
                let retry_s = standing.reset_s;
                return Err(Full::Rate { retry_s });
            }
        }
        permit.claim(ip)
    }

    /// Tells a client that speaks HTTP in clear why it is refused, unless many are being told.
    fn tell(self: &Rc<Self>, stream: TcpStream, full: Full) {
        let told = Rc::clone(&self.refusals);
        let few = Rc::strong_count(&told) <= MAX_REFUSALS;
        if self.handler == Handler::Http && self.tls.is_none() && few {
            let door = Rc::clone(self);
            self.worker.scope.spawn("refusal", async move {
                crate::http::refuse_connection(&door, stream, full).await;
                drop(told);
            });
        }
    }

    /// Gives a connection to a handler that speaks no HTTP.
    pub(super) fn begin(self: &Rc<Self>, stream: Stream, peer: SocketAddr, permit: Permit) {
        let wire = match self.handler {
            Handler::Rooms => Wire::Undecided,
            Handler::Echo if self.config().framing.is_some() => Wire::Framed(Framed::new(true)),
            Handler::Echo => Wire::Echo,
            Handler::Discard if self.config().framing.is_some() => Wire::Framed(Framed::new(false)),
            Handler::Discard => Wire::Discard,
            Handler::Proxy => {
                let connect = crate::proxy::connect(Rc::clone(self), stream, peer, permit);
                return self.worker.scope.spawn("proxy connect", connect);
            }
            Handler::Exec => {
                let serve = crate::exec::serve(Rc::clone(self), stream, peer, permit);
                return self.worker.scope.spawn("exec connection", serve);
            }
            Handler::Http => return,
        };
        let identity = stream.identity();
        let new = NewSession::stream(stream, wire, self.listener, peer, permit);
        let new = new.identified(identity);
        self.worker.with(|core| core.add(new));
    }
}

/// Whether a socket cannot be had because something is used up, so that trying at once is in vain.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}
