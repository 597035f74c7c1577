//! Roomwire: one event-driven gateway that joins TCP, UDP, WebSocket, HTTPS and HTTP/2 in one hub.

pub mod client;
