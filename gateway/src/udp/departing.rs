//! Datagrams that sessions have queued, on their way out together: a turn's fan-out over UDP leaves
//! with one system call for many members.

use std::io;
use std::net::{IpAddr, SocketAddr};

use roomwire_metrics::Id;
use smallvec::SmallVec;

use super::peer::Lease;
use super::send::{Outgoing, Via};
use crate::session::{CloseReason, Io};
use crate::worker::{Core, Slice};

/// Datagrams sent with one call. Chosen: what a call costs is paid off by then, and what waits is a
/// reference to memory that is held anyway.
const MAX_DEPARTING: usize = 64;

/// Datagrams of one socket that have left their sessions' outboxes.
#[derive(Debug, Default)]
pub(crate) struct Departing {
    endpoint: u16,
    datagrams: Vec<Departure>,
}

#[derive(Debug)]
struct Departure {
    slot: u32,
    to: SocketAddr,
    from: Option<IpAddr>,
    frame: Slice,
}

impl Core {
    /// Takes what a UDP session has queued, one datagram a frame. It leaves with what others have
    /// queued, at the latest by [`send_departing`](Self::send_departing).
    pub(crate) fn flush_datagrams(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Io::Datagram(peer) = &session.io else {
            return;
        };
        let (endpoint, from, to) = (peer.endpoint, peer.asked, session.peer);
        if endpoint != self.departing.endpoint {
            self.send_departing();
            self.departing.endpoint = endpoint;
        }
        loop {
            let Some(session) = self.sessions.get_mut(slot as usize) else {
                return;
            };
            let Io::Datagram(peer) = &mut session.io else {
                return;
            };
            let Some((frame, _)) = session.outbox.pop() else {
                return;
            };
            if !peer.lease.spend(frame.len(), Lease::AMPLIFICATION) {
                self.lane.increment(Id::UdpAmplificationRefused);
                continue;
            }
            self.departing.datagrams.push(Departure {
                slot,
                to,
                from,
                frame,
            });
            if self.departing.datagrams.len() >= MAX_DEPARTING {
                self.send_departing();
            }
        }
    }

    /// Sends what flushed sessions had queued.
    pub(crate) fn send_departing(&mut self) {
        if self.departing.datagrams.is_empty() {
            return;
        }
        let mut departures = std::mem::take(&mut self.departing.datagrams);
        let Some(socket) = self.endpoints.get(usize::from(self.departing.endpoint)) else {
            return;
        };
        let outgoing: SmallVec<[Outgoing<'_>; MAX_DEPARTING]> = departures
            .iter()
            .map(|it| {
                let via = Via {
                    from: it.from,
                    ecn: None,
                };
                Outgoing::one(Some(it.to), it.frame.bytes(), via)
            })
            .collect();
        let mut unreachable: SmallVec<[(usize, CloseReason); 4]> = SmallVec::new();
        let sent = socket.sender().send_all(&outgoing, &mut |index, error| {
            tracing::debug!(%error, "udp send");
            if is_about_the_peer(error) {
                unreachable.push((index, CloseReason::of(error)));
            }
        });
        drop(outgoing);
        sent.count(&self.lane, self.listener_block(socket.listener));
        self.lane.add(Id::FramesOut, sent.datagrams);
        for (index, reason) in unreachable {
            let Some(departure) = departures.get(index) else {
                continue;
            };
            let (slot, to) = (departure.slot, departure.to);
            if self.session(slot).is_some_and(|session| session.peer == to) {
                self.die(slot, reason);
            }
        }
        // The list keeps its memory; what was sent is dropped.
        departures.clear();
        self.departing.datagrams = departures;
    }
}

/// Whether an error means that the peer cannot be reached, and not that this datagram cannot be sent.
fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}
