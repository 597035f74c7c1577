//! A proxy for datagrams: each client gets a socket of its own towards an upstream, so that what the
//! upstream answers finds its way back.
//!
//! A client is its address. Nobody says goodbye over UDP, so it is forgotten when nothing has come for
//! `idle_timeout` either way. Its address may be forged: it is sent at most `proxy.amplification` times
//! what came from it, and where there is no place the oldest client that spoke only once makes room.
//! What an upstream's host says by ICMP is counted, ends the client's session and is not passed on; the
//! next datagram goes to the next upstream.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use quinn_udp::{BATCH_SIZE, UdpSocketState};
use roomwire_metrics::{BlockId, Id};
use smallvec::SmallVec;
use tokio::net::UdpSocket;

use super::endpoint::{self, Received, SLOT_BYTES};
use super::peer::Peer;
use super::send::{Outgoing, Sender, Via};
use crate::listener::{Admission, Full, Permit};
use crate::proxy::{Place, UpstreamPool, tell};
use crate::session::{ClientId, CloseReason, Io, Wire};
use crate::worker::{Core, NewSession};

/// Upstreams that are looked at for one client.
const MAX_TRIES: usize = 4;

/// Receive calls per turn and client.
const BATCHES_PER_TURN: usize = 4;

/// Clients remembered as having spoken once. Chosen: far more than begin within a round trip; those
/// beyond are not found when room is wanted.
const MAX_FRESH: usize = 65_536;

/// The way from one client to an upstream and back.
pub(crate) struct Flow {
    /// Connected to the upstream, so that nobody else can answer.
    socket: UdpSocket,
    state: UdpSocketState,
    pool: Arc<UpstreamPool>,
    upstream: usize,
    /// Counted at the upstream for as long as this lives.
    #[allow(dead_code, reason = "given back when the flow is dropped")]
    place: Place,
    /// The client's first datagram was taken.
    spoke: bool,
    /// And another one after it.
    spoke_again: bool,
    /// The upstream has answered.
    answered: bool,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Flow {
    /// Whether the upstream's host has said that nobody is there, before the upstream ever answered. The
    /// runtime wakes nobody for it, and the client may not send again.
    pub(crate) fn is_refused(&self) -> bool {
        !self.answered && self.socket.take_error().is_ok_and(|error| error.is_some())
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            socket: &self.socket,
            segments: self.state.max_gso_segments() > 1,
        }
    }
}

/// Clients of this worker's proxies in the order in which they came, but for those that are gone or
/// have spoken again since.
#[derive(Debug, Default)]
pub(crate) struct FreshFlows {
    clients: VecDeque<ClientId>,
}

impl FreshFlows {
    fn push(&mut self, client: ClientId) {
        if self.clients.len() >= MAX_FRESH {
            self.clients.pop_front();
        }
        self.clients.push_back(client);
    }
}

impl Core {
    /// Passes on what clients sent.
    pub(super) fn proxy_batch(&mut self, endpoint: u16, batch: &[Received<'_>]) {
        // Each client's datagrams together, in the order in which they came.
        let mut slots: SmallVec<[Option<u32>; BATCH_SIZE]> = SmallVec::new();
        for received in batch {
            let slot = self.flow(endpoint, received.from);
            if slot.is_none() {
                let datagrams = received.contents.len().div_ceil(received.stride).max(1);
                self.lane.add(Id::UdpRefused, datagrams as u64);
            }
            slots.push(slot);
        }
        for at in 0..batch.len() {
            let Some(Some(slot)) = slots.get(at).copied() else {
                continue;
            };
            let mut mine: SmallVec<[&Received<'_>; BATCH_SIZE]> = SmallVec::new();
            let mut outgoing: SmallVec<[Outgoing<'_>; BATCH_SIZE]> = SmallVec::new();
            for (received, of) in batch.iter().zip(&mut slots).skip(at) {
                if *of == Some(slot) {
                    *of = None;
                    mine.push(received);
                    outgoing.push(Outgoing {
                        to: None,
                        contents: received.contents,
                        segment: received.stride,
                        via: Via {
                            from: None,
                            ecn: received.via.ecn,
                        },
                    });
                }
            }
            // An upstream that turns out to have gone is not asked twice; another one is, once.
            if !self.pass_up(slot, &mine, &outgoing)
                && let Some(first) = mine.first()
                && let Some(slot) = self.flow(endpoint, first.from)
            {
                self.pass_up(slot, &mine, &outgoing);
            }
        }
    }

    fn note_client(&mut self, slot: u32, received: &Received<'_>) {
        let now_ms = self.now_ms;
        let Some(session) = self.session(slot) else {
            return;
        };
        if let Wire::DatagramProxy(flow) = &mut session.wire {
            flow.spoke_again = std::mem::replace(&mut flow.spoke, true);
        }
        session.heard_ms = now_ms;
        if let Io::Datagram(peer) = &mut session.io {
            peer.asked = received.asked;
            peer.lease.earn(received.contents.len());
        }
    }

    /// Sends what a client sent to its upstream. False when the upstream is not there.
    fn pass_up(
        &mut self,
        slot: u32,
        received: &[&Received<'_>],
        outgoing: &[Outgoing<'_>],
    ) -> bool {
        for received in received {
            self.note_client(slot, received);
        }
        let Some(session) = self.sessions.get(slot as usize) else {
            return true;
        };
        let Wire::DatagramProxy(flow) = &session.wire else {
            return true;
        };
        let mut lost = false;
        let sent = flow.sender().send_all(outgoing, &mut |_, error| {
            tracing::debug!(%error, "to an upstream over udp");
            lost |= is_refusal(error);
        });
        self.lane.add(Id::ProxyBytesUp, sent.bytes);
        self.lane.add(Id::UdpDatagramsOut, sent.datagrams);
        self.lane.add(Id::UdpBytesOut, sent.bytes);
        self.lane.add(Id::UdpDatagramsDropped, sent.dropped);
        self.lane.add(Id::UdpErrors, sent.errors);
        if lost {
            self.upstream_refused(slot);
        }
        !lost
    }

    /// The session of a client, made if there is none and there is place.
    fn flow(&mut self, endpoint: u16, client: SocketAddr) -> Option<u32> {
        if let Some(&slot) = self.peers.get(&(endpoint, client))
            && self.session(slot).is_some_and(|session| session.is_open())
        {
            return Some(slot);
        }
        if self.drain.is_some() {
            return None;
        }
        let listener = self.endpoints.get(usize::from(endpoint))?.listener;
        let permit = match self.admit_client(listener, client) {
            Ok(permit) => permit,
            Err(full) => {
                self.lane.increment(full.counter());
                let block = self.listener_block(listener);
                self.lane.block_add(block, BlockId::ListenerRefused, 1);
                return None;
            }
        };
        let pool = self.shared.pool(listener)?;
        let flow = match self.open_flow(&pool) {
            Ok(flow) => flow,
            Err(error) => {
                self.lane.increment(Id::ProxyConnectErrors);
                tracing::debug!(%error, "no upstream for a client over udp");
                return None;
            }
        };
        let new = NewSession {
            io: Io::Datagram(Peer::new(endpoint, None)),
            wire: Wire::DatagramProxy(Box::new(flow)),
            listener,
            peer: client,
            permit: Some(permit),
            identity: None,
        };
        let id = self.add(new)?;
        self.fresh.push(id);
        self.lane.gauge_add(Id::UdpSessions, 1);
        self.peers.insert((endpoint, client), id.slot());
        Some(id.slot())
    }

    /// A place for one more client; the oldest one that spoke only once may have to give up its own.
    fn admit_client(&mut self, listener: u16, client: SocketAddr) -> Result<Permit, Full> {
        let admitted = Admission::admit(&self.shared, listener).or_else(|full| {
            if self.evict_fresh() {
                Admission::admit(&self.shared, listener)
            } else {
                Err(full)
            }
        });
        let mut permit = admitted?;
        permit.claim(client.ip())?;
        Ok(permit)
    }

    fn evict_fresh(&mut self) -> bool {
        while let Some(oldest) = self.fresh.clients.pop_front() {
            let Some(session) = self.find(oldest) else {
                continue;
            };
            let spoke_once = match &session.wire {
                Wire::DatagramProxy(flow) => !flow.spoke_again,
                _ => false,
            };
            if spoke_once && session.is_open() {
                // Given back at once, and not when the session is removed at the turn's end.
                drop(session.permit.take());
                self.lane.increment(Id::UdpEvicted);
                self.die(oldest.slot(), CloseReason::LimitReached);
                return true;
            }
        }
        false
    }

    fn open_flow(&self, pool: &Arc<UpstreamPool>) -> io::Result<Flow> {
        let mut tried = Vec::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no upstream's name is known");
        while tried.len() < MAX_TRIES
            && let Some(index) = pool.choose(&tried, self.now_ms)
        {
            tried.push(index);
            let Some(address) = pool.address(index) else {
                continue;
            };
            self.lane.increment(Id::ProxyConnects);
            match connected_to(address) {
                Ok((socket, state)) => {
                    return Ok(Flow {
                        socket,
                        state,
                        pool: Arc::clone(pool),
                        upstream: index,
                        place: pool.occupy(index),
                        spoke: false,
                        spoke_again: false,
                        answered: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Passes on what an upstream sent to its client. True when more may be waiting.
    pub(crate) fn read_upstream(&mut self, slot: u32) -> bool {
        let mut buffers = std::mem::take(&mut self.datagrams);
        let mut more = true;
        for _ in 0..BATCHES_PER_TURN {
            let session = self.sessions.get(slot as usize);
            let Some(session) = session.filter(|session| session.is_open()) else {
                more = false;
                break;
            };
            let Wire::DatagramProxy(flow) = &session.wire else {
                more = false;
                break;
            };
            match endpoint::receive(&flow.socket, &flow.state, &session.waker, &mut buffers) {
                Poll::Pending => {
                    more = false;
                    break;
                }
                Poll::Ready(Ok(count)) => self.pass_down(slot, &buffers, count),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "from an upstream over udp");
                    if is_refusal(&error) {
                        self.upstream_refused(slot);
                    } else {
                        self.lane.increment(Id::UdpErrors);
                    }
                }
            }
        }
        self.datagrams = buffers;
        if more && let Some(session) = self.session(slot) {
            session.waker.wake_by_ref();
        }
        more
    }

    fn pass_down(&mut self, slot: u32, buffers: &endpoint::ReceiveBuffers, count: usize) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let (Wire::DatagramProxy(flow), Io::Datagram(peer)) = (&mut session.wire, &mut session.io)
        else {
            return;
        };
        let Some(socket) = self.endpoints.get(usize::from(peer.endpoint)) else {
            return;
        };
        session.heard_ms = self.now_ms;
        if !std::mem::replace(&mut flow.answered, true) {
            let verdict = flow.pool.succeeded(flow.upstream, false);
            tell(&self.lane, &flow.pool, flow.upstream, verdict);
        }
        let times = match flow.pool.config.amplification {
            0 => u64::MAX,
            times => times as u64,
        };
        let mut outgoing: SmallVec<[Outgoing<'_>; BATCH_SIZE]> = SmallVec::new();
        let slots = buffers.bytes.chunks(SLOT_BYTES).zip(&buffers.meta);
        for (slot, meta) in slots.take(count) {
            let stride = meta.stride.max(1);
            let datagrams = meta.len.div_ceil(stride).max(1);
            self.lane.add(Id::UdpDatagramsIn, datagrams as u64);
            self.lane.add(Id::UdpBytesIn, meta.len as u64);
            let mut length = meta.len;
            while length > 0 && !peer.lease.spend(length, times) {
                // The last datagram of them is left out.
                length = (length - 1) / stride * stride;
                self.lane.increment(Id::UdpAmplificationRefused);
            }
            if length == 0 && meta.len > 0 {
                continue;
            }
            outgoing.push(Outgoing {
                to: Some(session.peer),
                contents: slot.get(..length).unwrap_or_default(),
                segment: stride,
                via: Via {
                    from: peer.asked,
                    ecn: meta.ecn,
                },
            });
        }
        let sent = socket.sender().send_all(&outgoing, &mut |_, error| {
            tracing::debug!(%error, "to a client over udp");
        });
        self.lane.add(Id::ProxyBytesDown, sent.bytes);
        sent.count(&self.lane, self.listener_block(socket.listener));
    }

    /// The upstream's host said that nobody is there.
    pub(crate) fn upstream_refused(&mut self, slot: u32) {
        self.lane.increment(Id::UdpUpstreamErrors);
        if let Some(session) = self.sessions.get(slot as usize)
            && let Wire::DatagramProxy(flow) = &session.wire
        {
            let verdict = flow.pool.failed(flow.upstream, self.now_ms);
            tell(&self.lane, &flow.pool, flow.upstream, verdict);
        }
        self.die(slot, CloseReason::UpstreamReset);
    }
}

fn connected_to(upstream: SocketAddr) -> io::Result<(UdpSocket, UdpSocketState)> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(upstream)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let state = endpoint::prepare(&socket, upstream.is_ipv4(), true)?;
    Ok((socket, state))
}

/// Whether an error is what ICMP says about an upstream that is not there.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
