//! WebSocket (RFC 6455), the server's side, with permessage-deflate (RFC 7692).
//!
//! [`Decoder`] turns bytes into messages and control frames, the functions of `frame` write frames,
//! [`handshake`] decides about upgrades, [`deflate`] about compression, which it does as well, and
//! [`close`] knows the close codes. Nothing here answers a
//! ping or a close by itself: items are yielded, and the session decides. Next: `decoder`, then
//! `header`, which mirrors the figure of RFC 6455 §5.2.

pub mod close;
mod decoder;
pub mod deflate;
mod frame;
pub mod handshake;
mod header;
mod mask;
mod message;
#[cfg(test)]
mod tests;
mod utf8;
mod violation;

pub use decoder::{Decoder, Item, Limits};
pub use frame::{MAX_HEADER, close_frame, frame, frame_compressed, header};
pub use header::Opcode;
pub use violation::Violation;

/// RFC 6455 §5.5: the payload of a control frame has at most so many bytes.
pub const MAX_CONTROL_PAYLOAD: usize = 125;
