//! One connection: its socket, how far it has come, and the bytes that had to wait.
//!
//! A link that has nothing half-done owns no buffer, so that ten thousand idle ones weigh little.

use std::io;

use super::stream::Stream;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// TCP is being opened.
    Connecting,
    /// The request was sent, or TLS was begun; the answer is not whole.
    Upgrading,
    /// The WebSocket is there, and what speaks on it has not said that it is ready.
    Greeting,
    /// Messages flow.
    Open,
    /// Our close frame was sent; what else the server sends is not ours any more.
    Closing,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) stage: Stage,
    /// Tells this link from an earlier one under the same key.
    pub(super) generation: u32,
    /// When the connect was begun, in nanoseconds of the run's clock.
    pub(super) began: u64,
    /// Whether the server may compress.
    pub(super) deflate: bool,
    /// What was read behind the last whole frame.
    pub(super) partial: Vec<u8>,
    /// What the socket did not take. Bounded by what a load keeps in flight.
    unsent: Vec<u8>,
    /// Its end has been noted; it is removed before the next event.
    pub(super) is_ending: bool,
}

impl Link {
    pub(super) fn new(stream: Stream, generation: u32, began: u64) -> Self {
        Self {
            stream,
            stage: Stage::Connecting,
            generation,
            began,
            deflate: false,
            partial: Vec::new(),
            unsent: Vec::new(),
            is_ending: false,
        }
    }

    /// Writes, or keeps what cannot be written yet.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            let done = self.stream.write(bytes)?;
            self.unsent
                .extend_from_slice(bytes.get(done..).unwrap_or_default());
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Writes what was kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        if !self.unsent.is_empty() {
            let done = self.stream.write(&self.unsent)?;
            self.unsent.drain(..done);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
        Ok(())
    }
}
