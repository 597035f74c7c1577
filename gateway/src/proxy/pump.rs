//! Moving bytes between a client and its upstream, both ways, in the worker's turns.
//!
//! What one end sends is written to the other directly from the worker's read buffer. Only what the
//! other end does not take is kept, at most one read each way, and nothing more is read from the
//! first until that is gone: a slow end stops the fast one through the kernel's own windows. An end
//! of input is passed on as one (half-close), a reset as a reset. A flow whose reads are large is left
//! to the kernel while they are: the bound is the same, one pipe in place of one read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use roomwire_metrics::{Id, LaneWriter};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::pipe::{Pipe, Pipes};
use super::pool::Place;
use crate::session::{CloseReason, Io, Stream, Wire};
use crate::worker::{Core, READ_BYTES};

/// Reads each way in one turn. Chosen: as for other sessions, 256 KiB before the next one is served.
const READS_PER_TURN: usize = 4;

/// The upstream's half of a proxied session.
#[derive(Debug)]
pub(crate) struct Proxied {
    upstream: Stream,
    /// From the client to the upstream.
    up: Way,
    /// From the upstream to the client.
    down: Way,
    #[allow(dead_code, reason = "given back when the session is dropped")]
    place: Place,
}

/// A read of so much makes it worth while to have the kernel move what follows. Chosen: a splice costs
/// two system calls and some page handling, which a copy of less outruns.
const LARGE_READ: usize = 48 * 1024;
/// A splice of less means that the flow is large no more.
const SMALL_SPLICE: usize = 16 * 1024;

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// What was read and not taken yet; owns no memory while there is nothing.
    pending: Vec<u8>,
    /// How much of `pending` was taken.
    taken: usize,
    /// The last read was large, so the next ones are left to the kernel.
    large: bool,
    /// What they pass through; there only while the flow is busy.
    pipe: Option<Pipe>,
    /// The source sends no more.
    over: bool,
    /// The sink was told so, or will be by the session's end.
    shut: bool,
    /// The sink's own end has been passed on the other way.
    drops_sink: bool,
    /// Since when the sink takes nothing of what waits for it.
    blocked_ms: Option<u64>,
}

/// Which end an error came from.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// What a splice did.
enum Spliced {
    Some,
    /// The source has nothing, or the sink takes nothing.
    Waits,
    /// There is no pipe.
    Not,
}

/// How far one direction came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing to do until a socket is ready again.
    Waits,
    /// The budget is used up.
    More,
}

impl Proxied {
    pub(super) fn new(upstream: Stream, place: Place) -> Self {
        Self {
            upstream,
            up: Way::default(),
            down: Way::default(),
            place,
        }
    }

    /// Why the session must end, if an end has taken nothing for `stall_ms`.
    pub(crate) fn stalled(&self, now_ms: u64, stall_ms: u64) -> Option<CloseReason> {
        let past = |way: &Way| {
            way.blocked_ms
                .is_some_and(|since| now_ms >= since.saturating_add(stall_ms))
        };
        if past(&self.up) {
            Some(CloseReason::UpstreamTimeout)
        } else if past(&self.down) {
            Some(CloseReason::WriteTimeout)
        } else {
            None
        }
    }

    fn is_over(&self) -> bool {
        self.up.shut && self.down.shut
    }
}

impl Core {
    /// Moves what can be moved for a proxied session.
    pub(crate) fn pump(&mut self, slot: u32) {
        let Self {
            sessions,
            lane,
            read_buffer,
            pipes,
            now_ms,
            ..
        } = self;
        let Some(session) = sessions.get_mut(slot as usize) else {
            return;
        };
        let (Io::Stream(client), Wire::Proxy(proxied)) = (&mut session.io, &mut session.wire)
        else {
            return;
        };
        let Proxied {
            upstream, up, down, ..
        } = &mut **proxied;
        let mut pump = Pump {
            cx: Context::from_waker(&session.waker),
            buffer: read_buffer.get_mut(..READ_BYTES).unwrap_or_default(),
            pipes,
            lane,
            now_ms: *now_ms,
            moved: 0,
        };
        // Whose own end was passed on has nothing left to be read: dropping its socket ends it.
        let drops = |sink: &Stream, back: &Way| back.shut && sink.ends_when_dropped();
        up.drops_sink = drops(upstream, down);
        let upward = pump.transfer(client, upstream, up, Id::ProxyBytesUp);
        down.drops_sink = drops(client, up);
        let downward = match upward {
            Ok(_) => pump.transfer(upstream, client, down, Id::ProxyBytesDown),
            Err(_) => Ok(Progress::Waits),
        };
        if pump.moved > 0 {
            session.heard_ms = *now_ms;
        }
        let end = match (upward, downward) {
            (Ok(upward), Ok(downward)) => {
                if upward == Progress::More || downward == Progress::More {
                    session.waker.wake_by_ref();
                }
                proxied.is_over().then_some(CloseReason::Ended)
            }
            // A reset is passed on as one, or the other end would take a part for the whole.
            (Err(Broken::Source(error)), _) | (_, Err(Broken::Sink(error))) => {
                upstream.reset_on_close();
                Some(CloseReason::of(&error))
            }
            (Err(Broken::Sink(error)), _) | (_, Err(Broken::Source(error))) => {
                client.reset_on_close();
                tracing::debug!(%error, "an upstream's connection failed");
                Some(CloseReason::UpstreamReset)
            }
        };
        if let Some(reason) = end {
            self.die(slot, reason);
        }
    }
}

/// What both directions of one session use.
struct Pump<'a> {
    cx: Context<'a>,
    buffer: &'a mut [u8],
    pipes: &'a mut Pipes,
    lane: &'a LaneWriter,
    now_ms: u64,
    moved: usize,
}

impl Pump<'_> {
    fn transfer(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        way: &mut Way,
        counter: Id,
    ) -> Result<Progress, Broken> {
        let before = self.moved;
        let progress = self.transfer_some(source, sink, way);
        let moved = self.moved - before;
        if moved > 0 {
            self.lane.add(counter, moved as u64);
            // TLS holds back what its socket did not take.
            if let Poll::Ready(Err(error)) = Pin::new(sink).poll_flush(&mut self.cx) {
                return Err(Broken::Sink(error));
            }
        }
        progress
    }

    fn transfer_some(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        way: &mut Way,
    ) -> Result<Progress, Broken> {
        for _ in 0..READS_PER_TURN {
            if !self.give_pending(sink, way)? {
                return Ok(Progress::Waits);
            }
            if way.over {
                return self.pass_on_end(sink, way);
            }
            if (way.large || way.pipe.is_some())
                && let Some((from, to)) = source.as_plain().zip(sink.as_plain())
            {
                match self.splice(from, to, way)? {
                    Spliced::Some => continue,
                    Spliced::Waits => return Ok(Progress::Waits),
                    Spliced::Not => {}
                }
            }
            let read = source.poll_read_into(&mut self.cx, self.buffer);
            let count = match read {
                Poll::Pending => return Ok(Progress::Waits),
                Poll::Ready(Err(error)) => return Err(Broken::Source(error)),
                Poll::Ready(Ok(0)) => {
                    way.over = true;
                    continue;
                }
                Poll::Ready(Ok(count)) => count,
            };
            self.lane.increment(Id::Reads);
            way.large = count >= LARGE_READ;
            let input = self.buffer.get(..count).unwrap_or_default();
            let written = match Pin::new(&mut *sink).poll_write(&mut self.cx, input) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Err(Broken::Sink(error)),
                Poll::Pending => 0,
            };
            self.lane.increment(Id::Writes);
            self.moved += written;
            if let Some(rest) = input.get(written..).filter(|rest| !rest.is_empty()) {
                way.pending = rest.to_vec();
                way.taken = 0;
                way.blocked_ms = Some(self.now_ms);
            }
        }
        Ok(Progress::More)
    }

    /// Has the kernel move some bytes.
    fn splice(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        way: &mut Way,
    ) -> Result<Spliced, Broken> {
        let Some(mut pipe) = way.pipe.take().or_else(|| self.pipes.take()) else {
            self.lane.increment(Id::ProxyPipesMissing);
            way.large = false;
            return Ok(Spliced::Not);
        };
        if pipe.is_empty() {
            match pipe.fill(from, &mut self.cx) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.lane.increment(Id::Reads);
                    way.large = count >= SMALL_SPLICE;
                }
                Poll::Ready(Err(error)) => return Err(Broken::Source(error)),
                ended => {
                    self.pipes.give(pipe);
                    way.large = false;
                    way.over = ended.is_ready();
                    return Ok(if way.over {
                        Spliced::Some
                    } else {
                        Spliced::Waits
                    });
                }
            }
        }
        while !pipe.is_empty() {
            match pipe.drain(to, &mut self.cx) {
                Poll::Ready(Ok(count)) => {
                    self.lane.increment(Id::Writes);
                    self.lane.add(Id::ProxyBytesSpliced, count as u64);
                    self.moved += count;
                    way.blocked_ms = way.blocked_ms.map(|_| self.now_ms);
                }
                Poll::Ready(Err(error)) => return Err(Broken::Sink(error)),
                Poll::Pending => {
                    self.lane.increment(Id::WritesBlocked);
                    way.blocked_ms.get_or_insert(self.now_ms);
                    way.pipe = Some(pipe);
                    return Ok(Spliced::Waits);
                }
            }
        }
        way.blocked_ms = None;
        if way.large {
            way.pipe = Some(pipe);
        } else {
            self.pipes.give(pipe);
        }
        Ok(Spliced::Some)
    }

    /// Writes what waits; false while something is left.
    fn give_pending(&mut self, sink: &mut Stream, way: &mut Way) -> Result<bool, Broken> {
        while let Some(rest) = way.pending.get(way.taken..).filter(|it| !it.is_empty()) {
            match Pin::new(&mut *sink).poll_write(&mut self.cx, rest) {
                Poll::Ready(Ok(written)) => {
                    self.lane.increment(Id::Writes);
                    self.moved += written;
                    way.taken += written;
                    way.blocked_ms = Some(self.now_ms);
                }
                Poll::Ready(Err(error)) => return Err(Broken::Sink(error)),
                Poll::Pending => {
                    self.lane.increment(Id::WritesBlocked);
                    return Ok(false);
                }
            }
        }
        if way.taken > 0 {
            way.pending = Vec::new();
            way.taken = 0;
            way.blocked_ms = None;
        }
        Ok(true)
    }

    fn pass_on_end(&mut self, sink: &mut Stream, way: &mut Way) -> Result<Progress, Broken> {
        if way.drops_sink {
            way.shut = true;
        }
        if !way.shut {
            match Pin::new(sink).poll_shutdown(&mut self.cx) {
                Poll::Ready(Ok(())) => way.shut = true,
                // Whose other half is gone too needs to hear nothing.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                    way.shut = true;
                }
                Poll::Ready(Err(error)) => return Err(Broken::Sink(error)),
                Poll::Pending => {}
            }
        }
        Ok(Progress::Waits)
    }
}
