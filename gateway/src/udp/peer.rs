//! What a worker knows of the other end of a UDP session: where it asked, and what it proved.

use std::net::IpAddr;

use super::recent::Recent;
use crate::shared::UdpPlace;

/// A peer of one of this worker's UDP sockets.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Which socket.
    pub(crate) endpoint: u16,
    /// The address of ours that it asked last, where the socket is bound to all of them: answers come
    /// from there.
    pub(crate) asked: Option<IpAddr>,
    pub(crate) lease: Lease,
    pub(super) recent: Recent,
}

impl Peer {
    pub(super) fn new(endpoint: u16, asked: Option<IpAddr>) -> Box<Self> {
        Box::new(Self {
            endpoint,
            asked,
            lease: Lease::default(),
            recent: Recent::default(),
        })
    }
}

/// What a UDP peer has proved and what it was sent.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// The place among `max_udp_sessions` that the peer got when it sent back a cookie, which shows
    /// that it receives at the address it sends from.
    pub(super) place: Option<UdpPlace>,
    /// Bytes that came from an unproven address.
    received: u64,
    /// Bytes sent to an unproven address.
    sent: u64,
}

impl Lease {
    /// RFC 9000 §8.1's limit on what an address that proved nothing is sent.
    pub(super) const AMPLIFICATION: u64 = 3;

    pub(crate) fn is_proven(&self) -> bool {
        self.place.is_some()
    }

    /// Notes what came.
    pub(super) fn earn(&mut self, bytes: usize) {
        if !self.is_proven() {
            self.received = self.received.saturating_add(bytes as u64);
        }
    }

    /// Whether `bytes` more may be sent to an address that proved nothing: all that it was sent is at
    /// most `times` what came from it. If so they are noted.
    pub(super) fn spend(&mut self, bytes: usize, times: u64) -> bool {
        if self.is_proven() {
            return true;
        }
        let sent = self.sent.saturating_add(bytes as u64);
        let allowed = sent <= self.received.saturating_mul(times);
        if allowed {
            self.sent = sent;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unproven_address_is_sent_at_most_three_times_what_came_from_it() {
        let mut lease = Lease::default();
        lease.earn(10);
        assert!(lease.spend(30, Lease::AMPLIFICATION));
        assert!(!lease.spend(1, Lease::AMPLIFICATION));
        lease.earn(1);
        assert!(lease.spend(3, Lease::AMPLIFICATION));
        assert!(!lease.spend(1, Lease::AMPLIFICATION));
    }
}
