//! Echoing a batch: datagrams of many peers leave in one system call, those of one peer as one
//! segmented send.
//!
//! `sendmmsg` carries no source address and no ECN mark here, so it serves sockets bound to one
//! address and datagrams without a mark, which is nearly all; the rest goes one by one through
//! quinn-udp, which says both. Next: `endpoint.rs`.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use quinn_udp::RecvMeta;
use roomwire_metrics::{Id, LaneWriter};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams of one call: as many as are received at once.
const MAX_REPLIES: usize = quinn_udp::BATCH_SIZE;

/// A datagram that goes back to where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) to: SocketAddr,
    pub(super) contents: &'a [u8],
}

/// Whether what was received can be answered together with others.
pub(super) fn is_plain(meta: &RecvMeta, bound_to_one: bool) -> bool {
    bound_to_one && meta.ecn.is_none() && meta.stride.max(1) >= meta.len
}

/// Sends every reply, as far as the socket takes them, and counts what became of each. Gives how many
/// were sent, and their bytes.
pub(super) fn send_all(socket: &UdpSocket, replies: &[Reply<'_>], lane: &LaneWriter) -> (u64, u64) {
    let addresses: SmallVec<[SocketAddrAny; MAX_REPLIES]> =
        replies.iter().map(|reply| reply.to.into()).collect();
    let slices: SmallVec<[[IoSlice<'_>; 1]; MAX_REPLIES]> = replies
        .iter()
        .map(|reply| [IoSlice::new(reply.contents)])
        .collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; MAX_REPLIES]> = replies
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let mut messages: SmallVec<[MMsgHdr<'_>; MAX_REPLIES]> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    let mut from = 0;
    let (mut datagrams, mut bytes) = (0, 0);
    while let Some(rest) = messages.get_mut(from..).filter(|rest| !rest.is_empty()) {
        let left = rest.len() as u64;
        let sent = socket.try_io(Interest::WRITABLE, || {
            Ok(sendmmsg(socket, rest, SendFlags::DONTWAIT)?)
        });
        match sent {
            Ok(count) => {
                datagrams += count as u64;
                let sent = replies.iter().skip(from).take(count);
                bytes += sent.map(|reply| reply.contents.len() as u64).sum::<u64>();
                from += count.max(1);
            }
            // UDP may drop; waiting would make one peer's traffic another's delay.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                lane.add(Id::UdpDatagramsDropped, left);
                break;
            }
            // It is the first one's, or an ICMP error for something sent earlier.
            Err(error) => {
                lane.increment(Id::UdpErrors);
                tracing::debug!(%error, "udp send");
                from += 1;
            }
        }
    }
    lane.add(Id::UdpDatagramsOut, datagrams);
    lane.add(Id::UdpBytesOut, bytes);
    (datagrams, bytes)
}
