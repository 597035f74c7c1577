//! The end of a connection whose peer may not have been read to its end: our side is closed, and for a
//! moment what still comes is read and thrown away, because closing on unread input would destroy our
//! last words on their way (RFC 1122 §4.2.2.13, RFC 9112 §9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::session::Stream;

/// How long, and for how many bytes, a peer is read from.
pub(super) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// What is left of the patience with one peer.
pub(super) struct Linger {
    deadline: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    pub(super) fn begin() -> Self {
        Self {
            deadline: Box::pin(tokio::time::sleep(LINGER)),
            left: LINGER_BYTES,
        }
    }

    /// Ready when the peer has ended as well, or was read from for long enough.
    pub(super) fn poll_over(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        let mut sink = [0; 4096];
        loop {
            match stream.poll_read_into(cx, &mut sink) {
                Poll::Ready(Ok(read)) if read > 0 && self.left > 0 => {
                    self.left = self.left.saturating_sub(read);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.as_mut().poll(cx),
            }
        }
    }
}
