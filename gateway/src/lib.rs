//! Roomwire: a realtime networking gateway.
//!
//! One event-driven program serves TCP, UDP, WebSocket, HTTPS and HTTP/2 listeners and joins what
//! they carry in one hub: a message published to a room over any wire reaches every member of that
//! room on every other wire. The binary `roomwire` is this library with a command line; a program
//! can embed it as well:
//!
//! ```
//! use roomwire::config::{Handler, Protocol};
//! use roomwire::event::Connection;
//! use roomwire::{Gateway, Reply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::builder()
//!     .listen("chat", Protocol::Tcp, "127.0.0.1:0".parse()?, Handler::Rooms)
//!     .listen("web", Protocol::Http, "127.0.0.1:0".parse()?, Handler::Http)
//!     .on_payload("connection", |peer: &Connection| println!("{} came", peer.id()))
//!     .room("lobby", |said| println!("{}: {:?}", said.message.from(), said.message.data()))
//!     .get("/hello", |request| async move {
//!         Reply::text(format!("hello, {}", request.query("name").unwrap_or_default()))
//!     })
//!     .start()?;
//!
//! println!("nc {}", gateway.address("chat").expect("it was bound"));
//! gateway.publish("lobby", "host", br#""welcome""#)?;
//! gateway.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! # Finding the way
//!
//! [`Gateway`] runs, [`Builder`] is what it is made with, [`event`] lists what it emits,
//! [`config`] what can be set. `ARCHITECTURE.md` at the root of the repository explains how it
//! works inside.

mod admin;
mod builder;
pub mod cli;
pub mod client;
pub mod config;
pub mod event;
mod exec;
mod http;
mod lifecycle;
mod listener;
mod log;
mod message;
mod proxy;
mod rate;
mod rooms;
mod running;
mod session;
mod shared;
mod tls;
mod udp;
pub mod work;
mod worker;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use builder::Builder;
pub use http::{Json, Reply, Request};
pub use lifecycle::Phase;
pub use listener::BindError;
pub use message::Message;
pub use rooms::{Rooms, SendError};
pub use roomwire_certs::Identity;
pub use roomwire_hub::emitter;
pub use running::{AdminPage, Drained, Gateway, StartError};
pub use session::{ClientId, CloseInfo, CloseReason, Fault};
