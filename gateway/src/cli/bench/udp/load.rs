//! One thread of the load: its peers' sockets, what is sent on them and what comes back.
//!
//! A datagram carries the run's mark, its number and the time at which it was sent. What is due on a
//! socket leaves with one system call, and one takes what has come.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use smallvec::SmallVec;

use super::super::latency::Latency;
use super::tally::{Came, Tally};
use super::{Mode, Plan};

/// Mark, number, time.
pub(super) const HEADER: usize = 16;
/// Datagrams sent with one call.
const MAX_BATCH: usize = 64;
/// What one receive slot holds: with GRO, all that the kernel joins.
const SLOT: usize = 64 * 1024;
const KERNEL_BUFFER: usize = 4 << 20;
const MAX_EVENTS: usize = 256;
/// How long events are waited for where nothing else is due.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// RFC 791: what one send holds, less 8 bytes of UDP and 20 of IP header.
const MAX_SEND: usize = 65_507;

/// When what happens; all threads see the same.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    begin: Instant,
    end: Instant,
    last: Instant,
    is_over: AtomicBool,
}

impl Clock {
    pub(super) fn start(plan: &Plan) -> Self {
        let start = Instant::now();
        let begin = start + plan.warmup;
        let end = begin + plan.duration;
        Self {
            start,
            begin,
            end,
            last: end + plan.patience,
            is_over: AtomicBool::new(false),
        }
    }

    /// When measuring begins.
    pub(super) fn begin(&self) -> Instant {
        self.begin
    }

    /// When it ends, and nothing more is sent.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// When what has not come back is lost.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    pub(super) fn interrupt(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What was counted while measuring.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// Came after one that was sent after it.
    pub(super) late: u64,
    /// Came again, or after it was given up.
    pub(super) doubled: u64,
    /// Came, and was not as it was sent.
    pub(super) wrong: u64,
    /// Not sent because the socket was full.
    pub(super) not_taken: u64,
    pub(super) errors: u64,
    pub(super) latency: Latency,
}

impl Found {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            received: 0,
            lost: 0,
            late: 0,
            doubled: 0,
            wrong: 0,
            not_taken: 0,
            errors: 0,
            latency: Latency::new(),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.not_taken += other.not_taken;
        self.errors += other.errors;
        self.latency.merge(&other.latency);
    }
}

/// One peer: its socket, and what it has on its way.
#[derive(Debug)]
pub(super) struct Peer {
    socket: UdpSocket,
    state: UdpSocketState,
    tally: Tally,
    heard: Instant,
}

/// One thread's part of the load.
#[derive(Debug)]
pub(super) struct Load {
    plan: Plan,
    clock: Arc<Clock>,
    mark: u32,
    peers: Vec<Peer>,
    epoll: OwnedFd,
    /// What is about to be sent, one datagram after another.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    meta: Vec<RecvMeta>,
    found: Found,
    /// Of a rate: datagrams that have been due since the start, and whose turn it is.
    due: u64,
    turn: usize,
    /// This thread's part of the rate.
    rate: Option<f64>,
    measures: bool,
}

impl Load {
    /// # Errors
    ///
    /// When there is no epoll.
    pub(super) fn new(plan: Plan, peers: Vec<Peer>, clock: Arc<Clock>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (peer, index) in peers.iter().zip(0_u64..) {
            let data = EventData::new_u64(index);
            epoll::add(&epoll, &peer.socket, data, EventFlags::IN | EventFlags::ET)?;
        }
        let mut mark = [0; 4];
        aws_lc_rs::rand::fill(&mut mark).map_err(io::Error::other)?;
        let rate = plan
            .rate
            .map(|rate| rate as f64 * peers.len() as f64 / plan.peers as f64);
        Ok(Self {
            plan,
            clock,
            mark: u32::from_le_bytes(mark),
            peers,
            epoll,
            outgoing: Vec::new(),
            incoming: vec![0; BATCH_SIZE * SLOT],
            meta: vec![RecvMeta::default(); BATCH_SIZE],
            found: Found::new(),
            due: 0,
            turn: 0,
            rate,
            measures: false,
        })
    }

    /// Runs until the end, and gives what was counted.
    ///
    /// # Errors
    ///
    /// When events cannot be waited for.
    pub(super) fn run(mut self) -> io::Result<Found> {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        loop {
            let now = Instant::now();
            let is_over = self.clock.is_over();
            self.measures = !is_over && now >= self.clock.begin && now < self.clock.end;
            let sends = !is_over && now < self.clock.end;
            let in_flight = self.peers.iter().any(|peer| peer.tally.in_flight() > 0);
            let waits = self.plan.mode == Mode::Echo && now < self.clock.last && in_flight;
            if !sends && (!waits || is_over) {
                break;
            }
            let wait = if sends { self.feed(now) } else { LONGEST_WAIT };
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            events.clear();
            let space = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, space, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for &Event { data, .. } in &events {
                self.hear(usize::try_from(data.u64()).unwrap_or(usize::MAX), sends);
            }
        }
        for peer in &mut self.peers {
            self.found.lost += u64::from(peer.tally.give_up());
        }
        Ok(self.found)
    }

    /// Sends what is due, and tells how long nothing more is.
    fn feed(&mut self, now: Instant) -> Duration {
        match (self.rate, self.plan.mode) {
            (Some(rate), _) => self.feed_rate(rate, now),
            (None, Mode::Send) => {
                for index in 0..self.peers.len() {
                    self.send(index, MAX_BATCH);
                }
                Duration::ZERO
            }
            (None, Mode::Echo) => {
                self.feed_silent(now);
                LONGEST_WAIT
            }
        }
    }

    /// Spreads what is due by now over the peers.
    fn feed_rate(&mut self, rate: f64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.clock.start);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate of ten million for an hour fits"
        )]
        let due = (elapsed.as_secs_f64() * rate) as u64;
        let mut count = usize::try_from(due - self.due).unwrap_or(usize::MAX);
        // After a pause, what could not be sent in time is not sent at once.
        count = count.min(MAX_BATCH * self.peers.len());
        self.due = due;
        let each = count.div_ceil(self.peers.len().max(1)).clamp(1, MAX_BATCH);
        while count > 0 {
            let index = self.turn % self.peers.len().max(1);
            self.turn = index + 1;
            let now = count.min(each);
            self.send(index, now);
            count -= now;
        }
        Duration::from_micros(100)
    }

    /// Begins, and begins again where nothing has come for too long.
    fn feed_silent(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            let idle = peer.tally.in_flight() == 0;
            if idle || now.saturating_duration_since(peer.heard) > self.plan.patience {
                let lost = u64::from(peer.tally.give_up());
                peer.heard = now;
                self.found.lost += if self.measures { lost } else { 0 };
                self.send(index, self.plan.in_flight);
            }
        }
    }

    /// Receives what has come on one socket, and in a closed loop sends as much.
    fn hear(&mut self, index: usize, sends: bool) {
        loop {
            let mut slots: SmallVec<[IoSliceMut<'_>; BATCH_SIZE]> = self
                .incoming
                .chunks_mut(SLOT)
                .map(IoSliceMut::new)
                .collect();
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            let received = peer
                .state
                .recv((&peer.socket).into(), &mut slots, &mut self.meta);
            drop(slots);
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Nobody listens there, says ICMP.
                    self.found.errors += u64::from(self.measures);
                    return;
                }
            };
            let now = Instant::now();
            peer.heard = now;
            let before = peer.tally.in_flight();
            let now = self.clock.nanoseconds(now);
            for (slot, meta) in self.incoming.chunks(SLOT).zip(&self.meta).take(count) {
                let bytes = slot.get(..meta.len).unwrap_or_default();
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    let came = check(datagram, self.plan.size, self.mark)
                        .map(|(number, sent)| (peer.tally.receive(number), sent));
                    if self.measures {
                        self.found.note(came, now);
                    }
                }
            }
            let come = before.saturating_sub(peer.tally.in_flight()) as usize;
            if sends && self.rate.is_none() && come > 0 {
                self.send(index, come);
            }
            if count < BATCH_SIZE {
                return;
            }
        }
    }

    /// Sends so many datagrams of one peer.
    fn send(&mut self, index: usize, mut count: usize) {
        while count > 0 {
            let mut most = count.min(MAX_BATCH);
            if self.plan.burst {
                most = most.min(MAX_SEND / self.plan.size).max(1);
            }
            count -= most;
            self.send_batch(index, most);
        }
    }

    fn send_batch(&mut self, index: usize, count: usize) {
        let (size, address) = (self.plan.size, self.plan.address);
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let now = self.clock.nanoseconds(Instant::now());
        self.outgoing.resize(count * size, b'x');
        let mut numbers: SmallVec<[u32; MAX_BATCH]> = SmallVec::new();
        for datagram in self.outgoing.chunks_mut(size) {
            let (number, lost) = peer.tally.send();
            numbers.push(number);
            self.found.lost += u64::from(lost && self.measures);
            let header = [
                &self.mark.to_le_bytes()[..],
                &number.to_le_bytes(),
                &now.to_le_bytes(),
            ];
            if let Some(place) = datagram.get_mut(..HEADER) {
                place.copy_from_slice(&header.concat());
            }
        }
        let sent = if self.plan.burst {
            let transmit = Transmit {
                destination: address,
                ecn: None,
                contents: &self.outgoing,
                segment_size: (count > 1).then_some(size),
                src_ip: None,
            };
            peer.state
                .try_send((&peer.socket).into(), &transmit)
                .map(|()| count)
        } else {
            send_each(&peer.socket, &self.outgoing, size)
        };
        let taken = *sent.as_ref().unwrap_or(&0);
        for &number in numbers.iter().skip(taken) {
            peer.tally.unsend(number);
        }
        if self.plan.mode == Mode::Send {
            peer.tally.give_up();
        }
        if self.measures {
            self.found.sent += taken as u64;
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.found.errors += 1,
                _ => self.found.not_taken += (count - taken) as u64,
            }
        }
    }
}

impl Found {
    fn note(&mut self, came: Option<(Came, u64)>, now: u64) {
        let Some((came, sent)) = came else {
            self.wrong += 1;
            return;
        };
        match came {
            Came::Again => {
                self.doubled += 1;
                return;
            }
            Came::Late => self.late += 1,
            Came::InOrder => {}
        }
        self.received += 1;
        self.latency.record(sent, now);
    }
}

impl Peer {
    /// # Errors
    ///
    /// When no socket can be had.
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Only a wish: the kernel takes the smaller of it and its own limit.
        state
            .set_recv_buffer_size((&socket).into(), KERNEL_BUFFER)
            .ok();
        state
            .set_send_buffer_size((&socket).into(), KERNEL_BUFFER)
            .ok();
        Ok(Self {
            socket,
            state,
            tally: Tally::new(),
            heard: Instant::now(),
        })
    }
}

/// Sends datagrams of `size` bytes with one call; gives how many were taken.
fn send_each(socket: &UdpSocket, datagrams: &[u8], size: usize) -> io::Result<usize> {
    let slices: SmallVec<[[IoSlice<'_>; 1]; MAX_BATCH]> = datagrams
        .chunks(size)
        .map(|datagram| [IoSlice::new(datagram)])
        .collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; MAX_BATCH]> = slices
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let mut messages: SmallVec<[MMsgHdr<'_>; MAX_BATCH]> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    Ok(sendmmsg(socket, &mut messages, SendFlags::DONTWAIT)?)
}

/// The number of a datagram of ours, and when it was sent; `None` where it was changed.
fn check(datagram: &[u8], size: usize, mark: u32) -> Option<(u32, u64)> {
    let (header, filler) = datagram.split_first_chunk::<HEADER>()?;
    let (marked, rest) = header.split_first_chunk::<4>()?;
    let (number, time) = rest.split_first_chunk::<4>()?;
    let time: [u8; 8] = time.try_into().ok()?;
    let whole = datagram.len() == size && u32::from_le_bytes(*marked) == mark;
    let intact = filler.last().is_none_or(|&last| last == b'x');
    (whole && intact).then(|| (u32::from_le_bytes(*number), u64::from_le_bytes(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_is_taken_for_an_echo() {
        let mut datagram = vec![b'x'; 20];
        datagram[..4].copy_from_slice(&7_u32.to_le_bytes());
        datagram[4..8].copy_from_slice(&9_u32.to_le_bytes());
        datagram[8..16].copy_from_slice(&11_u64.to_le_bytes());
        assert_eq!(check(&datagram, 20, 7), Some((9, 11)));
        assert_eq!(check(&datagram, 20, 8), None);
        assert_eq!(check(&datagram[..19], 20, 7), None);
        assert_eq!(check(&datagram[..8], 20, 7), None);
        datagram[19] = b'y';
        assert_eq!(check(&datagram, 20, 7), None);
    }
}
