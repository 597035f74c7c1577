//! JSON lines over TCP.
//!
//! The first byte a gateway sees is `{`, which is what makes the session one of programs rather than
//! of people. Lines that the gateway sends are bounded by [`MAX_INCOMING_BYTES`].

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    select,
};

use super::{Dialer, LinkError, MAX_INCOMING_BYTES, Wire, describe};
use crate::client::{event::ServerEvent, url::ServerUrl};

/// Read at once; a guess at one segment burst, it bounds nothing.
const READ_BYTES: usize = 16 * 1024;

pub(in crate::client) struct Tcp {
    url: ServerUrl,
    read: ReadHalf<Box<dyn Wire>>,
    write: WriteHalf<Box<dyn Wire>>,
    incoming: BytesMut,
    /// `incoming[..searched]` holds no line break.
    searched: usize,
    outgoing: BytesMut,
}

impl Tcp {
    pub(super) async fn connect(dialer: &Dialer) -> Result<Self, LinkError> {
        let (read, write) = split(dialer.open().await?);
        Ok(Self {
            url: dialer.url().clone(),
            read,
            write,
            incoming: BytesMut::new(),
            searched: 0,
            outgoing: BytesMut::new(),
        })
    }

    pub(super) fn queue(&mut self, json: &[u8]) {
        self.outgoing.extend_from_slice(json);
        self.outgoing.extend_from_slice(b"\n");
    }

    pub(super) async fn next(&mut self) -> Result<ServerEvent, LinkError> {
        loop {
            if let Some(event) = self.take_line()? {
                return Ok(event);
            }
            self.incoming.reserve(READ_BYTES);
            select! {
                written = self.write.write(&self.outgoing), if !self.outgoing.is_empty() => {
                    let written = written.map_err(|error| self.lost(&error))?;
                    self.outgoing.advance(written);
                }
                read = self.read.read_buf(&mut self.incoming) => {
                    if read.map_err(|error| self.lost(&error))? == 0 {
                        return Err(LinkError::Lost(format!("{} closed the connection", self.url)));
                    }
                }
            }
        }
    }

    /// The next whole line, if there is one. Empty lines are skipped.
    fn take_line(&mut self) -> Result<Option<ServerEvent>, LinkError> {
        loop {
            let unsearched = self.incoming.get(self.searched..).unwrap_or_default();
            let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.incoming.len();
                return if self.incoming.len() > MAX_INCOMING_BYTES {
                    Err(LinkError::oversize("a line"))
                } else {
                    Ok(None)
                };
            };
            let line = self.incoming.split_to(self.searched + at + 1);
            self.searched = 0;
            let line = line.trim_ascii();
            if !line.is_empty() {
                return ServerEvent::parse(line)
                    .map(Some)
                    .map_err(|error| LinkError::foreign(&self.url, error));
            }
        }
    }

    fn lost(&self, error: &std::io::Error) -> LinkError {
        LinkError::Lost(describe(&self.url, error))
    }

    /// Sends what is queued, then says that nothing more will come.
    pub(super) async fn close(mut self) {
        if self.write.write_all_buf(&mut self.outgoing).await.is_ok() {
            // The session is over either way.
            drop(self.write.shutdown().await);
        }
    }
}
