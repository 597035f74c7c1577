//! Moving a large flow from one socket to another inside the kernel (splice(2)), so that its bytes are
//! never copied.
//!
//! A pipe costs two descriptors, so a worker has few, and a direction has one only while it is busy.
//! What nobody uses is closed within a second.
//! Next file to read: `pump.rs`, which decides when.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds unless it is told otherwise (pipe(7)), which is also what one read takes.
const PIPE_BYTES: usize = 64 * 1024;

/// Pipes of a worker. Chosen: flows that are busy in the same moment share a core, and the others
/// are copied.
const MAX_PIPES: usize = 64;

/// A worker's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    /// Empty ones, for whoever needs one next.
    free: Vec<Pipe>,
    open: Rc<Cell<usize>>,
}

impl Pipes {
    /// An empty pipe; `None` when there are as many as there may be, or no descriptors.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        self.free.pop().or_else(|| {
            let may_be = self.open.get() < MAX_PIPES;
            may_be.then(|| Pipe::open(&self.open).ok()).flatten()
        })
    }

    /// Closes those that nobody uses; called once a second.
    pub(crate) fn release(&mut self) {
        self.free = Vec::new();
    }

    /// Takes back a pipe, which is closed if it is not empty.
    pub(super) fn give(&mut self, pipe: Pipe) {
        if pipe.held == 0 {
            self.free.push(pipe);
        }
    }
}

/// A pipe that bytes pass through on their way from one socket to another.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes in it.
    held: usize,
    open: Rc<Cell<usize>>,
}

impl Pipe {
    fn open(open: &Rc<Cell<usize>>) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        open.set(open.get() + 1);
        Ok(Self {
            reader,
            writer,
            held: 0,
            open: Rc::clone(open),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what a socket has into the pipe, which must be empty; 0 is the stream's end.
    pub(super) fn fill(
        &mut self,
        source: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(
            self.held, 0,
            "a full pipe would be taken for an empty socket"
        );
        loop {
            ready!(source.poll_read_ready(cx))?;
            let take = || splice_some(source, &self.writer, PIPE_BYTES);
            match source.try_io(Interest::READABLE, take) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => {
                    self.held += taken.as_ref().copied().unwrap_or_default();
                    return Poll::Ready(taken);
                }
            }
        }
    }

    /// Gives as much as a socket takes.
    pub(super) fn drain(
        &mut self,
        sink: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let give = || splice_some(&self.reader, sink, self.held);
            match sink.try_io(Interest::WRITABLE, give) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                given => {
                    self.held -= given.as_ref().copied().unwrap_or_default();
                    return Poll::Ready(given);
                }
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

fn splice_some(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    most: usize,
) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(splice(from, None, to, None, most, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_pipes_than_there_may_be_and_a_dropped_one_makes_room() {
        let mut pipes = Pipes::default();
        let mut taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(taken.len(), MAX_PIPES);
        drop(taken.pop());
        let again = pipes.take().expect("one was dropped");
        assert!(pipes.take().is_none());
        pipes.give(again);
        assert!(pipes.take().is_some());
        drop(taken);
        pipes.release();
        assert_eq!(pipes.open.get(), 0);
    }

    #[test]
    fn a_pipe_that_is_not_empty_is_not_used_again() {
        let mut pipes = Pipes::default();
        let mut pipe = pipes.take().expect("the first one");
        pipe.held = 1;
        pipes.give(pipe);
        assert_eq!((pipes.free.len(), pipes.open.get()), (0, 0));
    }
}
