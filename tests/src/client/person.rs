//! A person with `nc`: plain lines.

use std::fmt;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use super::Socket;
use super::json::read_line;
use crate::gateway::connect;
use crate::patience::within;

/// Somebody who types.
pub struct Person {
    socket: Socket,
    buffer: BytesMut,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}

impl Person {
    /// Connects.
    pub async fn connect(to: SocketAddr) -> Self {
        Self {
            socket: connect(to).await,
            buffer: BytesMut::new(),
        }
    }

    /// Types a line.
    pub async fn types(&mut self, line: &str) {
        let line = format!("{line}\n");
        let written = within("a write", self.socket.write_all(line.as_bytes())).await;
        written.expect("the gateway reads");
    }

    /// The next line on the screen; `None` once the gateway hung up.
    pub async fn try_read(&mut self) -> Option<String> {
        let line = read_line(&mut self.socket, &mut self.buffer);
        within("a line", line).await
    }

    /// The next line on the screen.
    pub async fn reads(&mut self) -> String {
        self.try_read().await.expect("the gateway hung up")
    }

    /// The next line that somebody said; notices, which begin with `*`, are passed over.
    pub async fn hears(&mut self) -> String {
        loop {
            let line = self.reads().await;
            if !line.starts_with("* ") {
                return line;
            }
        }
    }

    /// Types a command and reads the notice that answers it.
    pub async fn command(&mut self, line: &str) -> String {
        self.types(line).await;
        self.reads().await
    }

    /// Enters a room.
    pub async fn join(&mut self, room: &str) -> String {
        let answer = self.command(&format!("/join {room}")).await;
        assert!(answer.contains(room), "{answer}");
        answer
    }
}
