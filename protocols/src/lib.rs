//! Bytes to typed commands and events, and back: every wire format that Roomwire speaks.
//!
//! Everything here is a pure function or a small state machine over byte slices. The crate has
//! never seen a socket, a clock, a task or a log: time is an argument, more input is another call,
//! and what a violation leads to is the caller's decision. It knows the word "room" as a checked
//! token in a command, never who is in one.
//!
//! The one idea: in the common case nothing is copied. A decoder yields a frame as a slice of the
//! caller's read buffer, [`command::parse`] borrows from that slice, and encoders append to a
//! buffer that the caller owns. Memory is taken only for what arrives in pieces, and never more
//! than the limit that was passed in.
//!
//! Start reading at [`command`] and [`event`] (the words of `roomwire.v1`), then [`websocket`].

#![forbid(unsafe_code)]

pub mod chat;
pub mod code;
pub mod command;
pub mod content;
mod control;
pub mod cookie;
pub mod event;
pub mod forwarded;
pub mod frame;
pub mod http1;
pub mod http2;
pub mod json;
pub mod line;
pub mod multipart;
pub mod name;
pub mod opening;
pub mod problem;
pub mod proxy_header;
pub mod room;
pub mod sse;
pub mod websocket;
mod word;
