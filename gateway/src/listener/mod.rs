//! Listening sockets: bound before any worker starts, so that a port in use is told by name, then
//! accepted from by each worker on a socket of its own (`SO_REUSEPORT`).

mod accept;
mod admission;
mod bind;
mod greet;
mod handshake;
mod open;

pub(crate) use accept::{Door, accept, is_exhaustion};
pub(crate) use admission::{Admission, Full, Permit};
pub use bind::BindError;
pub(crate) use bind::{DatagramSocket, Sockets, StreamSocket, bind_all, keepalive};
pub(crate) use handshake::{linger, shake_hands};
