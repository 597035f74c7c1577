//! The gateway from outside: real sockets on loopback, every wire, and the counters beside them.
//!
//! One binary, so that it is linked once; one module per theme. Every test starts gateways of its own.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod accept;
mod acme;
mod admin;
mod api;
mod crowd;
mod dashboard;
mod deflate;
mod embedding;
mod exec;
mod figures;
mod files;
mod framing;
mod greeting;
mod hardening;
mod host;
mod http1;
mod http2_conformance;
mod http2_floods;
mod http2_unasked;
mod lifecycle;
mod malformed;
mod matrix;
mod pipeline;
mod proxy;
mod rate;
mod request;
mod rooms;
mod slow;
mod strangers;
mod streams;
mod tls;
mod udp;
mod udp_proxy;
mod upload;
mod websocket;
mod websocket_handshake;
mod websocket_http2;
mod wire;
mod witness;
mod work;
