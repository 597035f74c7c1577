//! What ICMP says about datagrams that were sent earlier: whose session ends by it.
//!
//! A socket with many peers is not told of such errors unless it asks for them (`IP_RECVERR`). Then the
//! kernel keeps each with the address that it is about, and tells the next call on the socket that there
//! was one. Sockets that only echo do not ask: what became of an echo is nobody's business.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use roomwire_metrics::Id;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use socket2::SockRef;
use tokio::net::UdpSocket;

use crate::config::Handler;
use crate::session::CloseReason;
use crate::worker::Core;

/// Errors taken off one socket at a time. Chosen: the kernel's queue holds a few hundred, and whoever
/// causes them shall not cost a turn.
const ERRORS_AT_ONCE: usize = 64;

/// One error that the kernel kept: whom it is about, and what happened.
fn next(socket: &UdpSocket) -> Option<(SocketAddr, io::Error)> {
    let socket = SockRef::from(socket);
    // The kernel says what the first error in the queue is here; the queue itself says whose it is.
    let error = socket.take_error().ok().flatten();
    let mut control = RecvAncillaryBuffer::default();
    // The beginning of what was sent, which tells nothing that the address does not.
    let mut sent = [0];
    let mut sent = [IoSliceMut::new(&mut sent)];
    let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
    let received = recvmsg(&*socket, &mut sent, &mut control, flags).ok()?;
    let address = SocketAddr::try_from(received.address?).ok()?;
    let error = error.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into());
    Some((address, error))
}

impl Core {
    /// Ends the sessions whose peers cannot be reached any more, as far as ICMP told.
    pub(crate) fn hear_errors(&mut self) {
        for endpoint in 0..u16::try_from(self.endpoints.len()).unwrap_or(u16::MAX) {
            for _ in 0..ERRORS_AT_ONCE {
                let Some(socket) = self.endpoints.get(usize::from(endpoint)) else {
                    break;
                };
                if !has_sessions(socket.handler) {
                    break;
                }
                let Some((address, error)) = next(&socket.socket) else {
                    break;
                };
                self.lane.increment(Id::UdpUnreachable);
                tracing::debug!(peer = %address, %error, "icmp");
                if let Some(&slot) = self.peers.get(&(endpoint, address)) {
                    self.die(slot, CloseReason::of(&error));
                }
            }
        }
    }
}

/// Whether peers of this handler are remembered.
pub(super) fn has_sessions(handler: Handler) -> bool {
    matches!(handler, Handler::Rooms | Handler::Proxy)
}
