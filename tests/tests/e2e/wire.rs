//! The three wires that speak `roomwire.v1`, for tests that must hold on each.

use roomwire_tests::{Client, TestGateway};

/// A wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Datagrams,
    Lines,
    WebSocket,
}

/// All of them.
pub(crate) const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Lines, Wire::Datagrams];

impl Wire {
    pub(crate) async fn connect(self, gateway: &TestGateway) -> Client {
        match self {
            Self::Datagrams => gateway.datagrams().await,
            Self::Lines => gateway.lines().await,
            Self::WebSocket => gateway.websocket().await,
        }
    }

    /// As [`connect`](Self::connect); over UDP a join has proved the address, so that answers of any
    /// length come.
    pub(crate) async fn proven(self, gateway: &TestGateway) -> Client {
        let mut client = self.connect(gateway).await;
        if self == Self::Datagrams {
            client.join("proof").await;
        }
        client
    }
}
