//! One client per wire.

mod frames;
mod http;
mod json;
mod person;
mod poll;
mod raw;
mod sse;
mod tunnel;

use tokio::io::{AsyncRead, AsyncWrite};

pub use frames::{Frame, Frames, field};
pub use http::{Answer, Body, Http};
pub use json::{Client, Heard, Transport};
pub use person::Person;
pub use poll::LongPoll;
pub use raw::{Raw, frame};
pub use sse::{EventStream, ServerSent};
pub use tunnel::Tunnel;

/// A byte stream, clear or TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection.
pub type Socket = Box<dyn ByteStream>;
