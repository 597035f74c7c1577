//! UDP: sockets read and written in batches, an echo, and rooms for peers that have no connection.
//!
//! A peer is a session like any other once it has said something valid; what is special is that
//! its address may be forged. So joining needs a cookie that was sent to that address, and until
//! one came back at most three times the bytes that came are ever sent there.

mod echo;
mod endpoint;
mod room;

pub(crate) use endpoint::{Endpoint, ReceiveBuffers, register};
