//! Sending many datagrams with few system calls.
//!
//! Datagrams of equal size to one peer leave as one segmented send (GSO), those of many peers with one
//! `sendmmsg`. The order of what one peer gets is kept. `sendmmsg` carries no source address and no
//! ECN mark here; what needs one leaves by itself, with `control.rs` saying it. Nothing that a peer
//! can cause switches segmented sends off: one that fails is sent again in single datagrams.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::EcnCodepoint;
use roomwire_metrics::{Block, BlockId, Id, LaneWriter};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;
use socket2::{MsgHdr, SockAddr, SockRef};
use tokio::net::UdpSocket;

use super::control::Control;

/// Datagrams that are usually sent together; more take memory of the heap for a moment.
const USUAL: usize = 32;

/// The kernel's `UDP_MAX_SEGMENTS`, before Linux 6.9 doubled it.
const MAX_SEGMENTS: usize = 64;

/// What one segmented send may hold: the largest datagram over IPv4.
const MAX_SEGMENTED_BYTES: usize = 65_507;

/// On the way to one peer: a datagram, or several of `segment` bytes each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// `None` where the socket is connected.
    pub(super) to: Option<SocketAddr>,
    pub(super) contents: &'a [u8],
    /// The size of all datagrams in `contents` but the last.
    pub(super) segment: usize,
    pub(super) via: Via,
}

/// What a datagram's header shall say besides where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Via {
    /// The source address, where the host has several and one was asked.
    pub(super) from: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
}

impl<'a> Outgoing<'a> {
    /// One datagram.
    pub(super) fn one(to: Option<SocketAddr>, contents: &'a [u8], via: Via) -> Self {
        let segment = contents.len().max(1);
        Self {
            to,
            contents,
            segment,
            via,
        }
    }

    fn is_one(&self) -> bool {
        self.contents.len() <= self.segment
    }

    /// An empty datagram is one too.
    pub(super) fn datagrams(&self) -> usize {
        self.contents.len().div_ceil(self.segment.max(1)).max(1)
    }
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    /// Not sent because the socket was full: waiting would make one peer's traffic another's delay.
    pub(super) dropped: u64,
    pub(super) errors: u64,
    /// Segmented sends.
    pub(super) segmented: u64,
    /// Segmented sends that the kernel refused.
    pub(super) refused: u64,
}

impl Sent {
    pub(super) fn count(&self, lane: &LaneWriter, block: Block) {
        lane.add(Id::UdpDatagramsOut, self.datagrams);
        lane.add(Id::UdpBytesOut, self.bytes);
        lane.add(Id::UdpDatagramsDropped, self.dropped);
        lane.add(Id::UdpErrors, self.errors);
        lane.add(Id::UdpSegmented, self.segmented);
        lane.add(Id::UdpSegmentedRefused, self.refused);
        lane.block_add(block, BlockId::ListenerBytesOut, self.bytes);
        lane.block_add(block, BlockId::ListenerFramesOut, self.datagrams);
    }
}

/// Where datagrams leave. The runtime is not asked whether the socket takes them: nothing waits until it
/// does, and of a new socket the runtime does not know yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) socket: &'a UdpSocket,
    /// Whether the kernel has segmented sends.
    pub(super) segments: bool,
}

impl Sender<'_> {
    /// Sends all of it, as far as the socket takes it. `failed` is told which of `all` could not be
    /// sent, and why.
    pub(super) fn send_all(
        self,
        all: &[Outgoing<'_>],
        failed: &mut dyn FnMut(usize, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        if let [one] = all {
            self.send_group(all, &[0], one, &mut sent, failed);
            return sent;
        }
        let keys: SmallVec<[u64; USUAL]> = all.iter().map(|it| key(it.to)).collect();
        let mut taken: SmallVec<[bool; USUAL]> = all.iter().map(|_| false).collect();
        let mut plain: SmallVec<[usize; USUAL]> = SmallVec::new();
        for (index, first) in all.iter().enumerate() {
            if taken.get(index).is_none_or(|taken| *taken) {
                continue;
            }
            let group = self.group(all, &keys, &mut taken, index);
            if group.len() == 1 && first.is_one() && first.via == Via::default() {
                plain.push(index);
                continue;
            }
            // What came first for a peer leaves first.
            if plain.iter().any(|&it| keys.get(it) == keys.get(index)) {
                self.send_plain(all, &plain, &mut sent, failed);
                plain.clear();
            }
            self.send_group(all, &group, first, &mut sent, failed);
        }
        if !plain.is_empty() {
            self.send_plain(all, &plain, &mut sent, failed);
        }
        sent
    }

    /// The datagrams that can leave together with the one at `index`: those that follow it to the same
    /// peer, of its size; the last one may be shorter.
    fn group(
        self,
        all: &[Outgoing<'_>],
        keys: &[u64],
        taken: &mut [bool],
        index: usize,
    ) -> SmallVec<[usize; USUAL]> {
        let mut group = SmallVec::from_slice(&[index]);
        let Some(first) = all.get(index).filter(|it| it.is_one() && self.segments) else {
            return group;
        };
        let size = first.contents.len();
        let most = (MAX_SEGMENTED_BYTES / size.max(1)).min(MAX_SEGMENTS);
        if size == 0 || most < 2 {
            return group;
        }
        let rest = all.iter().zip(keys).zip(taken).enumerate().skip(index + 1);
        let key = keys.get(index);
        for (at, ((next, next_key), taken)) in rest {
            if Some(next_key) != key || *taken || next.to != first.to {
                continue;
            }
            let fits = next.is_one() && (1..=size).contains(&next.contents.len());
            if !fits || next.via != first.via {
                break;
            }
            *taken = true;
            group.push(at);
            if next.contents.len() < size || group.len() == most {
                break;
            }
        }
        group
    }

    /// Sends what goes to one peer, in one segmented send where it is more than one datagram.
    fn send_group(
        self,
        all: &[Outgoing<'_>],
        group: &[usize],
        first: &Outgoing<'_>,
        sent: &mut Sent,
        failed: &mut dyn FnMut(usize, &io::Error),
    ) {
        let members = || group.iter().filter_map(|&index| all.get(index));
        let pieces: SmallVec<[IoSlice<'_>; USUAL]> =
            members().map(|it| IoSlice::new(it.contents)).collect();
        let datagrams: u64 = members().map(|it| it.datagrams() as u64).sum();
        let bytes: u64 = members().map(|it| it.contents.len() as u64).sum();
        let segment = if datagrams > 1 {
            u16::try_from(first.segment).ok()
        } else {
            None
        };
        let result = match segment {
            // What cannot be sent in segments is sent in single datagrams at once.
            None if datagrams > 1 => Err(io::ErrorKind::Unsupported.into()),
            Some(_) if !self.segments => Err(io::ErrorKind::Unsupported.into()),
            segment => self.send(first.to, &pieces, segment, first.via),
        };
        match result {
            Ok(()) => {
                sent.datagrams += datagrams;
                sent.bytes += bytes;
                sent.segmented += u64::from(datagrams > 1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.dropped += datagrams,
            Err(error) if datagrams == 1 => {
                sent.errors += 1;
                failed(group.first().copied().unwrap_or_default(), &error);
            }
            Err(_) => {
                sent.refused += u64::from(self.segments);
                for &index in group {
                    if let Some(it) = all.get(index) {
                        self.send_singly(index, it, sent, failed);
                    }
                }
            }
        }
    }

    fn send_singly(
        self,
        index: usize,
        outgoing: &Outgoing<'_>,
        sent: &mut Sent,
        failed: &mut dyn FnMut(usize, &io::Error),
    ) {
        for datagram in outgoing.contents.chunks(outgoing.segment.max(1)) {
            match self.send(outgoing.to, &[IoSlice::new(datagram)], None, outgoing.via) {
                Ok(()) => {
                    sent.datagrams += 1;
                    sent.bytes += datagram.len() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.dropped += 1,
                Err(error) => {
                    sent.errors += 1;
                    failed(index, &error);
                }
            }
        }
    }

    /// One `sendmsg`.
    fn send(
        self,
        to: Option<SocketAddr>,
        pieces: &[IoSlice<'_>],
        segment: Option<u16>,
        via: Via,
    ) -> io::Result<()> {
        let control = Control::new(to, segment, via);
        let address = to.map(SockAddr::from);
        let mut message = MsgHdr::new().with_buffers(pieces);
        if let Some(address) = &address {
            message = message.with_addr(address);
        }
        if !control.bytes().is_empty() {
            message = message.with_control(control.bytes());
        }
        let socket = SockRef::from(self.socket);
        let attempt = || socket.sendmsg(&message, libc::MSG_DONTWAIT);
        match attempt() {
            // With many peers it is another one's, most likely.
            Err(error) if to.is_some() && is_earlier(&error) => attempt(),
            result => result,
        }
        .map(|_| ())
    }

    /// Sends single datagrams of many peers.
    fn send_plain(
        self,
        all: &[Outgoing<'_>],
        plain: &[usize],
        sent: &mut Sent,
        failed: &mut dyn FnMut(usize, &io::Error),
    ) {
        let members: SmallVec<[&Outgoing<'_>; USUAL]> =
            plain.iter().filter_map(|&index| all.get(index)).collect();
        let addresses: SmallVec<[SocketAddrAny; USUAL]> = members
            .iter()
            .filter_map(|it| it.to.map(SocketAddrAny::from))
            .collect();
        if addresses.len() < members.len() {
            // A connected socket has one peer, and needs no list of addresses.
            for (&index, it) in plain.iter().zip(&members) {
                self.send_singly(index, it, sent, failed);
            }
            return;
        }
        let slices: SmallVec<[[IoSlice<'_>; 1]; USUAL]> = members
            .iter()
            .map(|it| [IoSlice::new(it.contents)])
            .collect();
        let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; USUAL]> = members
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let mut messages: SmallVec<[MMsgHdr<'_>; USUAL]> = addresses
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
            .collect();
        let mut from = 0;
        let mut tried = false;
        while let Some(rest) = messages.get_mut(from..).filter(|rest| !rest.is_empty()) {
            let left = rest.len() as u64;
            let result = sendmmsg(self.socket, rest, SendFlags::DONTWAIT);
            match result.map_err(io::Error::from) {
                Ok(count) => {
                    let gone = members.iter().skip(from).take(count);
                    sent.datagrams += count as u64;
                    sent.bytes += gone.map(|it| it.contents.len() as u64).sum::<u64>();
                    from += count.max(1);
                    tried = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sent.dropped += left;
                    break;
                }
                Err(error) if is_earlier(&error) && !tried => tried = true,
                Err(error) => {
                    sent.errors += 1;
                    if let Some(&index) = plain.get(from) {
                        failed(index, &error);
                    }
                    from += 1;
                    tried = false;
                }
            }
        }
    }
}

/// Whether an error may be an ICMP message's about a datagram sent earlier, which the socket tells
/// once, in the place of doing what it was asked for.
fn is_earlier(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Tells peers apart nearly always; equal peers have equal keys.
fn key(to: Option<SocketAddr>) -> u64 {
    match to {
        None => 0,
        Some(SocketAddr::V4(to)) => u64::from(to.ip().to_bits()) << 16 | u64::from(to.port()),
        Some(SocketAddr::V6(to)) => {
            let bits = to.ip().to_bits();
            #[allow(clippy::cast_possible_truncation, reason = "both halves are in it")]
            let folded = (bits >> 64) as u64 ^ bits as u64;
            folded.rotate_left(16) ^ u64::from(to.port())
        }
    }
}
