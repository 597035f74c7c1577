//! Rooms over UDP: who a datagram is from, what it proves, and what it may cost.

use std::net::{IpAddr, SocketAddr};

use roomwire_metrics::Id;
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::event;

use super::endpoint::Received;
use super::peer::Peer;
use crate::session::{CloseReason, Framing, Io, Wire};
use crate::shared::UdpPlace;
use crate::worker::{Core, NewSession};

/// Sessions of one worker whose address proved nothing. Chosen: at half a KiB each, half a MiB; far
/// more than handshakes can be under way at once.
const MAX_UNPROVEN: usize = 1024;

impl Core {
    /// Takes datagrams of `roomwire.v1`, all of one peer.
    pub(super) fn room_datagrams(&mut self, endpoint: u16, received: &Received<'_>) {
        if received.contents.is_empty() {
            self.lane.increment(Id::UdpRefused);
        }
        let (from, asked) = (received.from, received.asked);
        for datagram in received.contents.chunks(received.stride) {
            self.room_datagram(endpoint, from, asked, datagram);
        }
    }

    fn room_datagram(
        &mut self,
        endpoint: u16,
        from: SocketAddr,
        asked: Option<IpAddr>,
        datagram: &[u8],
    ) {
        let Some(slot) = self.peer(endpoint, from) else {
            self.lane.increment(Id::UdpRefused);
            return;
        };
        let now_ms = self.now_ms;
        let Some(session) = self.session(slot) else {
            return;
        };
        session.heard_ms = now_ms;
        if let Io::Datagram(peer) = &mut session.io {
            peer.asked = asked;
            peer.lease.earn(datagram.len());
        }
        let max = self.shared.bounds.max_message;
        if datagram.len() > max {
            self.lane.increment(Id::ErrorsTooLarge);
            let text = format!("a datagram is at most {max} bytes (limits.max_message)");
            self.say(slot, |out| {
                event::error(out, None, ErrorCode::TooLarge, &text)
            });
        } else if self.shared.hub.is_congested() {
            // There is no connection to stop reading from; the peer must try again.
            self.lane.increment(Id::PublishesCongested);
            let text = "the gateway is overloaded; try again";
            self.say(slot, |out| {
                event::error(out, None, ErrorCode::Overloaded, text)
            });
        } else {
            self.command(slot, datagram.trim_ascii_end());
        }
        // A burst of commands must not fill the outbox for our own batching.
        if self.is_half_full(slot) {
            self.output.arenas.seal();
            self.flush(slot);
        }
    }

    /// The session of this address, made if there is none. An address that proved nothing gets one of
    /// few places, and the oldest such session makes room: whoever forges addresses can neither use
    /// up memory nor keep others out, since a cookie is good without a session.
    fn peer(&mut self, endpoint: u16, peer: SocketAddr) -> Option<u32> {
        if let Some(&slot) = self.peers.get(&(endpoint, peer))
            && self.session(slot).is_some_and(|session| session.is_open())
        {
            return Some(slot);
        }
        if self.drain.is_some() {
            return None;
        }
        if self.unproven.len() >= MAX_UNPROVEN
            && let Some(oldest) = self.unproven.pop_front()
            && self
                .find(oldest)
                .is_some_and(|session| !session.is_proven())
        {
            self.lane.increment(Id::UdpEvicted);
            self.die(oldest.slot(), CloseReason::LimitReached);
        }
        let listener = self.endpoints.get(usize::from(endpoint))?.listener;
        let new = NewSession {
            io: Io::Datagram(Peer::new(endpoint, None)),
            wire: Wire::Datagram,
            listener,
            peer,
            permit: None,
            identity: None,
        };
        let id = self.add(new)?;
        self.unproven.push_back(id);
        self.lane.gauge_add(Id::UdpSessions, 1);
        self.peers.insert((endpoint, peer), id.slot());
        Some(id.slot())
    }

    /// Whether a join must be answered with a challenge (which is sent) instead of being obeyed.
    /// Only addresses of UDP peers have anything to prove.
    pub(crate) fn must_prove(
        &mut self,
        slot: u32,
        id: Option<u64>,
        room: &str,
        cookie: Option<&str>,
    ) -> bool {
        let now_s = self.shared.clock.now_ms() / 1000;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return true;
        };
        let address = address_bytes(session.peer);
        let Io::Datagram(peer) = &mut session.io else {
            return false;
        };
        debug_assert_eq!(session.framing, Framing::Datagram);
        if peer.lease.is_proven() {
            return false;
        }
        let cookies = &self.shared.cookies;
        if cookie.is_some_and(|cookie| cookies.verify(&address, cookie, now_s)) {
            peer.lease.place = UdpPlace::take(&self.shared);
            if peer.lease.is_proven() {
                return false;
            }
            peer.recent.forget_last(id);
            self.lane.increment(Id::UdpRefused);
            let text = "no place for another UDP session (limits.max_udp_sessions)";
            self.say(slot, |out| {
                event::error(out, id, ErrorCode::Overloaded, text);
            });
            return true;
        }
        // A challenge is no end of the command.
        peer.recent.forget_last(id);
        if cookie.is_some() {
            self.lane.increment(Id::ErrorsCookie);
        }
        self.lane.increment(Id::UdpChallenges);
        let cookie = cookies.mint(&address, now_s).to_string();
        self.say(slot, |out| event::challenge(out, id, room, &cookie));
        true
    }
}

/// An address as a cookie covers it: IP and port.
fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}
