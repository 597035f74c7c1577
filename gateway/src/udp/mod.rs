//! UDP: sockets read and written in batches, an echo, a proxy, and rooms for peers that have no
//! connection.
//!
//! A peer of the rooms or of a proxy is a session like any other; what is special is that its address
//! may be forged. So joining needs a cookie that was sent to that address, and until one came back at
//! most three times the bytes that came are ever sent there. Next file to read: `endpoint.rs`.

mod buffer;
mod control;
mod departing;
mod endpoint;
mod errors;
mod option;
mod peer;
mod proxy;
mod rate;
mod recent;
mod room;
mod send;

pub(crate) use buffer::KernelBuffers;
pub(crate) use departing::Departing;
pub(crate) use endpoint::{Endpoint, ReceiveBuffers, register};
pub(crate) use peer::Peer;
pub(crate) use proxy::{Flow, FreshFlows};
pub(crate) use rate::RateLimit;
