//! The kit that Roomwire's end-to-end tests are made with.
//!
//! [`TestGateway`] runs a whole gateway in the test's process, on free loopback ports, with its
//! certificates in a directory that vanishes with it. The clients speak each wire as strangers would:
//! tungstenite, hyper and h2 rather than code of ours. [`eventually`] is the only wait; every
//! expectation has a deadline, and [`Counters`] tell by exactly how much the gateway's figures moved.
//!
//! The kit panics where an expectation fails, so that tests read as a list of what happens.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test kit fails by panicking; the test runner prints where"
)]

mod browser;
mod client;
mod counter;
mod event;
mod gateway;
mod patience;
mod program;
mod task;
mod tls;

pub use browser::Browser;
pub use client::{
    Answer, Body, ByteStream, Client, EventStream, Frame, Frames, Heard, Http, LongPoll, Person,
    Raw, ServerSent, Socket, Transport, Tunnel, field, frame,
};
pub use counter::Counters;
pub use event::{Event, Message};
pub use gateway::{GatewayOptions, TestGateway};
pub use patience::{PATIENCE, eventually, pass, stays, within};
pub use program::{find_program, run_program, skipped};
pub use task::Task;
pub use tls::{Authority, Files, Issued, TlsClient};
