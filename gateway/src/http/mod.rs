//! HTTP: connections of both versions, one way to answer them.
//!
//! A connection is a task of its worker, because hyper (HTTP/1.1) and h2 (HTTP/2) want to be polled.
//! Both give every request to the same [`pipeline::respond`], which knows neither. Rooms are reached
//! through the worker's core, like from any other session. Next file to read: `connection.rs`.

mod access_log;
mod admin;
mod api;
mod body;
mod client;
mod compress;
mod connection;
mod cork;
mod counted;
mod custom;
mod direct;
mod emit;
mod event_stream;
mod files;
mod h1;
mod h2;
mod health;
mod linger;
mod listing;
mod message;
mod origin;
mod page;
mod pipeline;
mod problem;
mod router;
mod screened;
mod service;
mod site;
mod unasked;
mod upgrade;
mod upload;
mod watch;

pub(crate) use connection::{Version, detect, refuse_connection, serve, serve_connection};
pub(crate) use custom::route_event;
pub use custom::{Reply, Request};
pub use emit::Json;
pub(crate) use listing::Lists;
pub(crate) use pipeline::Pipeline;
pub(crate) use router::Router;
pub(crate) use router::Target;
pub(crate) use site::Sites;
pub(crate) use upload::Store;
