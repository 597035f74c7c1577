//! Listening sockets: bound before any worker starts, so that a port in use is told by name, then
//! accepted from by each worker on a socket of its own (`SO_REUSEPORT`).

mod accept;
mod bind;

pub(crate) use accept::{Door, accept};
pub use bind::BindError;
pub(crate) use bind::{DatagramSocket, Sockets, StreamSocket, bind_all};
