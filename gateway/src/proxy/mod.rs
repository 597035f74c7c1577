//! Proxying: a client's connection is joined with one to an upstream, byte for byte.
//!
//! Which upstream it is, `pool.rs` decides; `keeper.rs` looks after names and health; `connect.rs`
//! opens the connection, as a task of a moment; and once both are there they are one session, whose
//! bytes `pump.rs` moves in the worker's turns through the worker's own buffer. A session owns
//! memory only while one end takes less than the other gives, and then at most one read each way. Large
//! flows between two sockets without TLS are moved by the kernel, through a pipe (`pipe.rs`).

mod connect;
mod keeper;
mod pipe;
mod pool;
mod pump;

pub(crate) use connect::connect;
pub(crate) use keeper::{keep, tell};
pub(crate) use pipe::Pipes;
pub(crate) use pool::{Place, UpstreamPool};
pub(crate) use pump::Proxied;
