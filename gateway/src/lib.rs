//! Roomwire: one event-driven gateway that joins TCP, UDP, WebSocket, HTTPS and HTTP/2 in one hub.

pub mod cli {
    //! The command line.

    pub mod join;
    pub mod publish;
    mod terminal;
}
pub mod client;
