//! One UDP socket of one worker: receiving batches, echoing, sending what sessions have queued.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use roomwire_metrics::{BlockId, Id};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::echo::{self, Reply};
use crate::config::Handler;
use crate::listener::DatagramSocket;
use crate::session::{CloseReason, Io};
use crate::worker::{Core, ReadyQueue, SlotWaker, endpoint_slot};

/// Bytes one receive slot holds. The kernel may hand over several datagrams of one peer as one
/// (GRO), up to this much; a smaller slot would cut them off without saying so.
const SLOT_BYTES: usize = 64 * 1024;

/// Receive calls per turn and socket, so that a flood leaves the other sockets their turn.
const BATCHES_PER_TURN: usize = 8;

/// The kernel's buffers we ask for. Chosen: two batches of full receive slots.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// RFC 6335 §6: ports below are those of well-known services.
const FIRST_CLIENT_PORT: u16 = 1024;

/// A UDP socket registered with this worker's runtime.
pub(crate) struct Endpoint {
    socket: UdpSocket,
    state: UdpSocketState,
    pub(crate) handler: Handler,
    pub(crate) listener: u16,
    waker: Waker,
    slot_waker: Arc<SlotWaker>,
    /// Bound to one address of the host, from which it answers without being told.
    bound_to_one: bool,
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
    bytes: Vec<u8>,
    meta: Vec<RecvMeta>,
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

/// Registers a worker's UDP sockets with its runtime.
///
/// # Errors
///
/// When a socket cannot be set up.
pub(crate) fn register(
    sockets: Vec<DatagramSocket>,
    queue: &Arc<ReadyQueue>,
) -> io::Result<Vec<Endpoint>> {
    let endpoint = |(index, given): (usize, DatagramSocket)| {
        let socket = UdpSocket::from_std(given.socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Only a wish: the kernel takes the smaller of it and its own limit.
        let _receive = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let _send = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let bound_to_one = !socket.local_addr()?.ip().is_unspecified();
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
        })
    };
    sockets.into_iter().enumerate().map(endpoint).collect()
}

impl Endpoint {
    fn receive(&self, buffers: &mut ReceiveBuffers) -> Poll<io::Result<usize>> {
        buffers.prepare();
        let slots = buffers.bytes.chunks_mut(SLOT_BYTES).map(IoSliceMut::new);
        let mut slots: SmallVec<[IoSliceMut<'_>; BATCH_SIZE]> = slots.collect();
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match self.socket.poll_recv_ready(&mut cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state
                    .recv((&self.socket).into(), &mut slots, &mut buffers.meta)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) if count < BATCH_SIZE => {
                    // The socket is empty: asking it once more would be a system call to learn the
                    // same. What comes from here on is an event of its own.
                    let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    drop(self.socket.try_io(Interest::READABLE, empty));
                    return Poll::Ready(Ok(count));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// Sends bytes to one peer: one datagram, or several of `segment` bytes each.
    fn send(
        &self,
        to: SocketAddr,
        contents: &[u8],
        segment: Option<usize>,
        from: Option<&RecvMeta>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: from.and_then(|meta| meta.ecn),
            contents,
            segment_size: segment,
            // Hosts with several addresses answer from the one that was asked.
            src_ip: from.and_then(|meta| meta.dst_ip),
        };
        self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.socket).into(), &transmit)
        })
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
                    // An ICMP error for something sent earlier; the socket itself is fine.
                    self.lane.increment(Id::UdpErrors);
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
        let ReceiveBuffers { bytes, meta } = buffers;
        let mut replies: SmallVec<[Reply<'_>; BATCH_SIZE]> = SmallVec::new();
        for (slot, meta) in bytes.chunks_mut(SLOT_BYTES).zip(meta.iter()).take(count) {
            let Some(received) = slot.get_mut(..meta.len) else {
                continue;
            };
            let stride = meta.stride.max(1);
            self.lane
                .add(Id::UdpDatagramsIn, meta.len.div_ceil(stride).max(1) as u64);
            self.lane.add(Id::UdpBytesIn, meta.len as u64);
            // Port 0 cannot be answered, and trying would switch segmented sends off for good.
            if meta.addr.port() == 0 {
                self.lane.increment(Id::UdpPortZero);
                continue;
            }
            let Some(socket) = self.endpoints.get(usize::from(endpoint)) else {
                return;
            };
            let block = self.listener_block(socket.listener);
            self.lane
                .block_add(block, BlockId::ListenerBytesIn, meta.len as u64);
            match socket.handler {
                Handler::Echo if self.is_service(meta.addr) => {
                    self.lane.increment(Id::UdpServicesRefused);
                }
                Handler::Echo if echo::is_plain(meta, socket.bound_to_one) => {
                    let (to, contents) = (meta.addr, &*received);
                    replies.push(Reply { to, contents });
                }
                Handler::Echo => {
                    // What came first leaves first.
                    self.send_replies(endpoint, &mut replies);
                    self.echo_datagrams(endpoint, received, meta);
                }
                Handler::Rooms => {
                    for datagram in received.chunks_mut(stride) {
                        self.room_datagram(endpoint, meta.addr, datagram);
                    }
                    if received.is_empty() {
                        self.lane.increment(Id::UdpRefused);
                    }
                }
                Handler::Discard | Handler::Exec | Handler::Http | Handler::Proxy => {}
            }
        }
        self.send_replies(endpoint, &mut replies);
    }

    fn send_replies(&self, endpoint: u16, replies: &mut SmallVec<[Reply<'_>; BATCH_SIZE]>) {
        if let Some(socket) = self.endpoints.get(usize::from(endpoint))
            && !replies.is_empty()
        {
            let (datagrams, bytes) = echo::send_all(&socket.socket, replies, &self.lane);
            let block = self.listener_block(socket.listener);
            self.lane.block_add(block, BlockId::ListenerBytesOut, bytes);
            self.lane
                .block_add(block, BlockId::ListenerFramesOut, datagrams);
        }
        replies.clear();
    }

    /// Whether datagrams from there come from a service that would answer an echo, as if forged: two
    /// services that answer each other do so for ever (RFC 862's known flaw).
    fn is_service(&self, peer: SocketAddr) -> bool {
        let mut ours = self
            .shared
            .listeners
            .iter()
            .filter(|it| it.protocol == "udp");
        peer.port() < FIRST_CLIENT_PORT || ours.any(|it| it.address.port() == peer.port())
    }

    fn echo_datagrams(&self, endpoint: u16, received: &[u8], meta: &RecvMeta) {
        let Some(socket) = self.endpoints.get(usize::from(endpoint)) else {
            return;
        };
        let stride = meta.stride.max(1);
        let per_send = stride
            .saturating_mul(socket.state.max_gso_segments())
            .max(stride);
        // An empty datagram is one too.
        let pieces = if received.is_empty() {
            1
        } else {
            received.len().div_ceil(per_send)
        };
        for piece in 0..pieces {
            let end = received.len().min((piece + 1) * per_send);
            let contents = received.get(piece * per_send..end).unwrap_or_default();
            let segment = (contents.len() > stride).then_some(stride);
            let datagrams = contents.len().div_ceil(stride).max(1) as u64;
            match socket.send(meta.addr, contents, segment, Some(meta)) {
                Ok(()) => {
                    self.lane.add(Id::UdpDatagramsOut, datagrams);
                    self.lane.add(Id::UdpBytesOut, contents.len() as u64);
                    let block = self.listener_block(socket.listener);
                    self.lane
                        .block_add(block, BlockId::ListenerBytesOut, contents.len() as u64);
                    self.lane
                        .block_add(block, BlockId::ListenerFramesOut, datagrams);
                }
                // UDP may drop; waiting would make one peer's traffic another's delay.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.lane.add(Id::UdpDatagramsDropped, datagrams);
                }
                Err(error) => {
                    self.lane.increment(Id::UdpErrors);
                    tracing::debug!(%error, to = %meta.addr, "udp send");
                }
            }
        }
    }

    /// Sends what a UDP session has queued, one datagram a frame.
    pub(crate) fn flush_datagrams(&mut self, slot: u32) {
        let Self {
            sessions,
            endpoints,
            lane,
            shared,
            ..
        } = self;
        let Some(session) = sessions.get_mut(slot as usize) else {
            return;
        };
        let Io::Datagram { endpoint, lease } = &mut session.io else {
            return;
        };
        let Some(socket) = endpoints.get(usize::from(*endpoint)) else {
            return;
        };
        let block = shared.page.listener_block(usize::from(session.listener));
        let mut refused = false;
        while let Some((frame, _)) = session.outbox.pop() {
            if !lease.spend(frame.len()) {
                lane.increment(Id::UdpAmplificationRefused);
                continue;
            }
            match socket.send(session.peer, frame.bytes(), None, None) {
                Ok(()) => {
                    lane.increment(Id::UdpDatagramsOut);
                    lane.increment(Id::FramesOut);
                    lane.add(Id::UdpBytesOut, frame.len() as u64);
                    lane.block_add(block, BlockId::ListenerBytesOut, frame.len() as u64);
                    lane.block_add(block, BlockId::ListenerFramesOut, 1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    lane.increment(Id::UdpDatagramsDropped);
                }
                Err(error) => {
                    lane.increment(Id::UdpErrors);
                    refused = error.kind() == io::ErrorKind::ConnectionRefused;
                }
            }
        }
        if refused {
            self.die(slot, CloseReason::Reset);
        }
    }
}
