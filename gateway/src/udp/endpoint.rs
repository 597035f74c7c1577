//! One UDP socket of one worker: receiving batches, echoing them, handing them to their handler.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use roomwire_metrics::{BlockId, Id};
use rustix::net::sockopt;
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::send::{Outgoing, Sender, Via};
use super::{errors, option};
use crate::config::Handler;
use crate::listener::DatagramSocket;
use crate::shared::Shared;
use crate::worker::{Core, ReadyQueue, SlotWaker, endpoint_slot};

/// Bytes one receive slot holds. The kernel may hand over several datagrams of one peer as one
/// (GRO), up to this much; a smaller slot would cut them off without saying so.
pub(super) const SLOT_BYTES: usize = 64 * 1024;

/// Receive calls per turn and socket, so that a flood leaves the other sockets their turn.
const BATCHES_PER_TURN: usize = 8;

/// RFC 6335 §6: ports below are those of well-known services.
const FIRST_CLIENT_PORT: u16 = 1024;

/// A UDP socket registered with this worker's runtime.
pub(crate) struct Endpoint {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
    pub(super) handler: Handler,
    pub(super) listener: u16,
    waker: Waker,
    slot_waker: Arc<SlotWaker>,
    /// Bound to one address of the host, from which it answers without being told.
    bound_to_one: bool,
    /// Ports of services of ours that answer, which nobody asks from.
    services: Vec<u16>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Where datagrams are received: one set per worker, made when the first one comes.
#[derive(Default)]
pub(crate) struct ReceiveBuffers {
    pub(super) bytes: Vec<u8>,
    pub(super) meta: Vec<RecvMeta>,
}

impl fmt::Debug for ReceiveBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffers")
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl ReceiveBuffers {
    fn prepare(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = vec![0; BATCH_SIZE * SLOT_BYTES];
            self.meta = vec![RecvMeta::default(); BATCH_SIZE];
        }
    }
}

/// What came of one peer: one datagram, or several of `stride` bytes each.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) from: SocketAddr,
    /// The address of ours that was asked, where the socket is bound to all of them.
    pub(super) asked: Option<IpAddr>,
    pub(super) via: Via,
    pub(super) contents: &'a [u8],
    pub(super) stride: usize,
}

/// Registers a worker's UDP sockets with its runtime.
///
/// # Errors
///
/// When a socket cannot be set up.
pub(crate) fn register(
    sockets: Vec<DatagramSocket>,
    shared: &Shared,
    queue: &Arc<ReadyQueue>,
) -> io::Result<Vec<Endpoint>> {
    let services: Vec<u16> = shared
        .listeners
        .iter()
        .filter(|it| it.protocol == "udp")
        .map(|it| it.address.port())
        .collect();
    let endpoint = |(index, given): (usize, DatagramSocket)| {
        let socket = UdpSocket::from_std(given.socket)?;
        let address = socket.local_addr()?;
        let bound_to_one = !address.ip().is_unspecified();
        let state = prepare(&socket, address.is_ipv4(), bound_to_one)?;
        if errors::has_sessions(given.handler) {
            state.enable_transport_errors((&socket).into())?;
        }
        let index = u16::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let slot_waker = SlotWaker::new(queue, endpoint_slot(index));
        let waker = Waker::from(Arc::clone(&slot_waker));
        waker.wake_by_ref();
        Ok(Endpoint {
            socket,
            state,
            handler: given.handler,
            listener: given.listener,
            waker,
            slot_waker,
            bound_to_one,
            services: services.clone(),
        })
    };
    sockets.into_iter().enumerate().map(endpoint).collect()
}

/// Has a socket receive in batches.
pub(super) fn prepare(
    socket: &UdpSocket,
    is_ipv4: bool,
    bound_to_one: bool,
) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    option::say_less(socket, is_ipv4, bound_to_one)?;
    // quinn-udp forbids fragments, because QUIC looks for the path's MTU itself. What we answer may
    // be larger than that, as an echo of what came in fragments is.
    if is_ipv4 {
        sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::WANT)?;
    } else {
        sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::WANT)?;
    }
    Ok(state)
}

/// Receives a batch, or has `waker` woken when there is one.
pub(super) fn receive(
    socket: &UdpSocket,
    state: &UdpSocketState,
    waker: &Waker,
    buffers: &mut ReceiveBuffers,
) -> Poll<io::Result<usize>> {
    buffers.prepare();
    let slots = buffers.bytes.chunks_mut(SLOT_BYTES).map(IoSliceMut::new);
    let mut slots: SmallVec<[IoSliceMut<'_>; BATCH_SIZE]> = slots.collect();
    let mut cx = Context::from_waker(waker);
    loop {
        match socket.poll_recv_ready(&mut cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        let received = socket.try_io(Interest::READABLE, || {
            state.recv(socket.into(), &mut slots, &mut buffers.meta)
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) if count < BATCH_SIZE => {
                // The socket is empty: asking it once more would be a system call to learn the
                // same. What comes from here on is an event of its own.
                let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                drop(socket.try_io(Interest::READABLE, empty));
                return Poll::Ready(Ok(count));
            }
            other => return Poll::Ready(other),
        }
    }
}

impl Endpoint {
    fn receive(&self, buffers: &mut ReceiveBuffers) -> Poll<io::Result<usize>> {
        receive(&self.socket, &self.state, &self.waker, buffers)
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        Sender {
            socket: &self.socket,
            segments: self.state.max_gso_segments() > 1,
        }
    }

    /// Whether datagrams from there come from a service that would answer an echo, as if forged: two
    /// services that answer each other do so for ever (RFC 862's known flaw).
    fn is_service(&self, peer: SocketAddr) -> bool {
        peer.port() < FIRST_CLIENT_PORT || self.services.contains(&peer.port())
    }
}

impl Core {
    /// Receives from one socket. True when more may be waiting.
    pub(crate) fn receive(&mut self, endpoint: u16) -> bool {
        let mut buffers = std::mem::take(&mut self.datagrams);
        let mut more = true;
        for _ in 0..BATCHES_PER_TURN {
            let Some(socket) = self.endpoints.get(usize::from(endpoint)) else {
                break;
            };
            socket.slot_waker.taken();
            match socket.receive(&mut buffers) {
                Poll::Ready(Ok(count)) => self.take_batch(endpoint, &mut buffers, count),
                Poll::Ready(Err(error)) => {
                    // An ICMP error for something sent earlier; the socket itself is fine. Whose it
                    // is, `hear_errors` finds out.
                    tracing::debug!(%error, "udp receive");
                }
                Poll::Pending => {
                    more = false;
                    break;
                }
            }
        }
        self.datagrams = buffers;
        if more && let Some(socket) = self.endpoints.get(usize::from(endpoint)) {
            socket.waker.wake_by_ref();
        }
        more
    }

    /// Has a socket received from in the next turn.
    pub(crate) fn look_again(&self, endpoint: u16) {
        if let Some(socket) = self.endpoints.get(usize::from(endpoint)) {
            socket.slot_waker.taken();
            socket.waker.wake_by_ref();
        }
    }

    fn take_batch(&mut self, endpoint: u16, buffers: &mut ReceiveBuffers, count: usize) {
        let Some(socket) = self.endpoints.get(usize::from(endpoint)) else {
            return;
        };
        let handler = socket.handler;
        let ReceiveBuffers { bytes, meta } = buffers;
        let slots = bytes.chunks(SLOT_BYTES).zip(meta.iter()).take(count);
        let mut batch: SmallVec<[Received<'_>; BATCH_SIZE]> = SmallVec::new();
        for (slot, meta) in slots {
            batch.extend(self.admit(socket, slot, meta));
        }
        match handler {
            Handler::Echo => self.echo_datagrams(socket, &batch),
            Handler::Rooms => {
                for received in &batch {
                    self.room_datagrams(endpoint, received);
                }
            }
            Handler::Proxy => self.proxy_batch(endpoint, &batch),
            Handler::Discard | Handler::Exec | Handler::Http => {}
        }
    }

    /// Counts what came in one slot, and gives what of it is taken.
    fn admit<'a>(
        &self,
        socket: &Endpoint,
        slot: &'a [u8],
        meta: &RecvMeta,
    ) -> Option<Received<'a>> {
        let stride = meta.stride.max(1);
        let datagrams = meta.len.div_ceil(stride).max(1);
        let block = self.listener_block(socket.listener);
        self.lane.add(Id::UdpDatagramsIn, datagrams as u64);
        self.lane.add(Id::UdpBytesIn, meta.len as u64);
        self.lane
            .block_add(block, BlockId::ListenerBytesIn, meta.len as u64);
        // Port 0 cannot be answered; the kernel refuses the attempt as nonsense.
        if meta.addr.port() == 0 {
            self.lane.add(Id::UdpPortZero, datagrams as u64);
            return None;
        }
        let limit = self.shared.rate_limits.get(usize::from(socket.listener));
        let ip = meta.addr.ip();
        let taken = match limit.and_then(Option::as_ref) {
            Some(limit) if !self.shared.quotas.exempts(ip) => {
                limit.take(ip, datagrams, self.now_us)
            }
            Some(_) | None => datagrams,
        };
        if taken < datagrams {
            let refused = (datagrams - taken) as u64;
            self.lane.add(Id::UdpRateLimited, refused);
            self.lane
                .block_add(block, BlockId::ListenerRefused, refused);
            if taken == 0 {
                return None;
            }
        }
        let asked = meta.dst_ip.filter(|_| !socket.bound_to_one);
        Some(Received {
            from: meta.addr,
            asked,
            via: Via {
                from: asked,
                ecn: meta.ecn,
            },
            contents: slot.get(..meta.len.min(taken.saturating_mul(stride)))?,
            stride,
        })
    }

    /// Sends a batch back to where it came from.
    fn echo_datagrams(&self, socket: &Endpoint, batch: &[Received<'_>]) {
        let mut outgoing: SmallVec<[Outgoing<'_>; BATCH_SIZE]> = SmallVec::new();
        for received in batch {
            if socket.is_service(received.from) {
                self.lane.increment(Id::UdpServicesRefused);
                continue;
            }
            outgoing.push(Outgoing {
                to: Some(received.from),
                contents: received.contents,
                segment: received.stride,
                via: received.via,
            });
        }
        if outgoing.is_empty() {
            return;
        }
        let sent = socket.sender().send_all(&outgoing, &mut |_, error| {
            tracing::debug!(%error, "udp echo");
        });
        sent.count(&self.lane, self.listener_block(socket.listener));
    }
}
