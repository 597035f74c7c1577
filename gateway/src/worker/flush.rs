//! Sending what is queued: one vectored write for each session that was touched.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use roomwire_hub::{Outbox, OutboxLimits};
use roomwire_metrics::{Block, BlockId, Id, LaneWriter};
use roomwire_protocols::event;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

use super::core::Output;
use super::{Burst, Core, Slice};
use crate::session::{CloseReason, Framing, Io, Session, Stage, Stream, TaskSide, moment};

/// Pieces in one vectored write. Chosen: neighbouring frames count as one piece, so 64 is seldom
/// reached; Linux allows 1024.
const MAX_PIECES: usize = 64;

/// How an attempt to empty an outbox ended.
enum Flushed {
    All,
    /// The socket is full; its waker is registered.
    Full,
    Failed(CloseReason),
}

impl Core {
    /// Flushes every session touched since the last call.
    pub(crate) fn flush_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.output.touched);
        while !touched.is_empty() {
            self.output.arenas.seal();
            // In the order in which they were touched: whoever was first is not made last.
            for slot in touched.drain(..) {
                let Some(session) = self.sessions.get_mut(slot as usize) else {
                    continue;
                };
                session.touched = false;
                // A stalled session's waker is registered: trying again before it fires is a wasted
                // system call for each slow peer and turn.
                if session.stalled_ms.is_some() {
                    self.output.settle(session, &self.shared.bounds.outbox);
                    count_queue(session, &self.lane);
                } else {
                    self.flush(slot);
                    self.output.arenas.seal();
                }
            }
            // What was flushed may have caused more to be said.
            std::mem::swap(&mut touched, &mut self.output.touched);
        }
        self.output.touched = touched;
        self.send_departing();
        self.output.arenas.clear_logs();
    }

    /// Sends as much of a session's outbox as its socket takes. The arenas must be sealed.
    pub(crate) fn flush(&mut self, slot: u32) {
        let now_ms = self.now_ms;
        let limits = &self.shared.bounds.outbox;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let block = self
            .shared
            .page
            .listener_block(usize::from(session.listener));
        if !session.burst.is_empty() && send_burst(session, &self.output, limits, &self.lane, block)
        {
            return self.drained(slot);
        }
        self.output.settle(session, limits);
        if session.outbox.has_gaps() {
            self.resolve_gaps(slot);
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let Session {
            io,
            outbox,
            waker,
            stalled_ms,
            ..
        } = session;
        let flushed = match io {
            Io::Datagram(_) => return self.flush_datagrams(slot),
            Io::Task(side) => {
                // Its task takes what is queued; until it has, its peer is not reading.
                if !outbox.is_empty() && stalled_ms.is_none() {
                    *stalled_ms = moment(now_ms);
                }
                TaskSide::wake(side);
                return count_queue(session, &self.lane);
            }
            Io::Stream(stream) => {
                let had = stream.written();
                let mut cx = Context::from_waker(waker);
                let flushed = write_out(stream, outbox, &mut cx, &self.lane, block);
                match flushed {
                    Flushed::Full if stalled_ms.is_none() => {
                        outbox.for_each_frame_mut(|frame, _| frame.detach());
                        *stalled_ms = moment(now_ms);
                    }
                    Flushed::Full if stream.written() > had => *stalled_ms = moment(now_ms),
                    Flushed::All => *stalled_ms = None,
                    Flushed::Full | Flushed::Failed(_) => {}
                }
                flushed
            }
        };
        if matches!(flushed, Flushed::Full) {
            let waiting = outbox.bytes() as u64;
            self.lane.increment(Id::WritesBlocked);
            self.lane.record(Id::OutboxDepthBytes, waiting);
        }
        count_queue(session, &self.lane);
        match flushed {
            Flushed::All => self.drained(slot),
            Flushed::Full => {}
            Flushed::Failed(reason) => self.die(slot, reason),
        }
    }

    /// Turns notices of dropped messages into frames of the session's wire.
    pub(crate) fn resolve_gaps(&mut self, slot: u32) {
        let Self {
            sessions, seats, ..
        } = self;
        let Some(session) = sessions.get_mut(slot as usize) else {
            return;
        };
        let framing = session.framing;
        session.outbox.resolve_gaps(|gap| {
            let room = seats.room_name(gap.room)?;
            let mut json = Vec::new();
            event::gap(&mut json, room, gap.from, gap.to);
            let mut frame = Vec::new();
            match framing {
                Framing::Chat => {
                    let missed = gap.to - gap.from + 1;
                    let text = format!("{missed} messages in {room} were dropped: too slow");
                    roomwire_protocols::chat::notice(&mut frame, &text);
                }
                _ => super::frame(framing, &json, &mut frame),
            }
            let bytes = frame.len();
            Some((Slice::owned(frame), bytes))
        });
    }

    /// The outbox is empty: an ending session closes its side, a paused one is read again.
    fn drained(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if let Stage::Ending {
            reason,
            deadline_ms,
            shut: false,
        } = session.stage
        {
            if let Io::Stream(stream) = &mut session.io {
                let mut cx = Context::from_waker(&session.waker);
                match Pin::new(stream).poll_shutdown(&mut cx) {
                    Poll::Ready(Ok(())) => {
                        session.stage = Stage::Ending {
                            reason,
                            deadline_ms,
                            shut: true,
                        };
                        session.waker.wake_by_ref();
                    }
                    Poll::Ready(Err(_)) => self.die(slot, reason),
                    Poll::Pending => {}
                }
            }
            return;
        }
        if session.paused {
            session.paused = false;
            session.restart_pong(self.now_ms);
            session.waker.wake_by_ref();
            self.emit_drain(slot);
        }
    }
}

/// Brings the gauge of queued bytes up to what this session's outbox holds now.
pub(crate) fn count_queue(session: &mut Session, lane: &LaneWriter) {
    // An outbox has a gigabyte and one frame at most.
    let now = u32::try_from(session.outbox.bytes()).unwrap_or(u32::MAX);
    let before = std::mem::replace(&mut session.counted_bytes, now);
    if now != before {
        // Wraps both ways, which adds up to the same.
        lane.gauge_add(
            Id::OutboxBytes,
            u64::from(now).wrapping_sub(u64::from(before)),
        );
    }
}

/// Sends a burst with one write, if the socket takes all of it. What it did not take, or a failure,
/// is left to be found by an ordinary flush.
fn send_burst(
    session: &mut Session,
    output: &Output,
    limits: &OutboxLimits,
    lane: &LaneWriter,
    block: Block,
) -> bool {
    let Io::Stream(stream) = &mut session.io else {
        return false;
    };
    let Some(bytes) = output.arenas.of(session.framing).bytes_of(session.burst) else {
        return false;
    };
    let mut cx = Context::from_waker(&session.waker);
    let Poll::Ready(Ok(written)) = stream.poll_send(&mut cx, bytes) else {
        return false;
    };
    if written < bytes.len() {
        output.settle(session, limits);
        let frames = session.outbox.advance(written);
        count_write(lane, block, written, frames);
        return false;
    }
    count_write(lane, block, written, session.burst.len());
    session.burst = Burst::default();
    // TLS may have taken the bytes and not sent them.
    matches!(Pin::new(stream).poll_flush(&mut cx), Poll::Ready(Ok(())))
}

pub(super) fn count_write(lane: &LaneWriter, block: Block, bytes: usize, frames: usize) {
    lane.increment(Id::Writes);
    lane.add(Id::BytesOut, bytes as u64);
    lane.add(Id::FramesOut, frames as u64);
    lane.block_add(block, BlockId::ListenerBytesOut, bytes as u64);
    lane.block_add(block, BlockId::ListenerFramesOut, frames as u64);
}

fn write_out(
    stream: &mut Stream,
    outbox: &mut Outbox<Slice>,
    cx: &mut Context<'_>,
    lane: &LaneWriter,
    block: Block,
) -> Flushed {
    while !outbox.is_empty() {
        let mut pieces: SmallVec<[IoSlice<'_>; MAX_PIECES]> = SmallVec::new();
        gather(outbox, &mut pieces);
        // One piece is the common case, and a plain write costs the kernel less.
        let wrote = match pieces.as_slice() {
            [piece] => stream.poll_send(cx, piece),
            pieces => Pin::new(&mut *stream).poll_write_vectored(cx, pieces),
        };
        match wrote {
            Poll::Ready(Ok(0)) => return Flushed::Failed(CloseReason::Reset),
            Poll::Ready(Err(error)) => return Flushed::Failed(CloseReason::of(&error)),
            Poll::Ready(Ok(written)) => {
                drop(pieces);
                let frames = outbox.advance(written);
                count_write(lane, block, written, frames);
            }
            Poll::Pending => return Flushed::Full,
        }
    }
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(Ok(())) => Flushed::All,
        Poll::Ready(Err(error)) => Flushed::Failed(CloseReason::of(&error)),
        Poll::Pending => Flushed::Full,
    }
}

/// The front of the outbox as pieces for one write, neighbours joined.
fn gather<'a>(outbox: &'a Outbox<Slice>, pieces: &mut SmallVec<[IoSlice<'a>; MAX_PIECES]>) {
    let mut run: Option<super::Run<'a>> = None;
    for (frame, skip) in outbox.frames() {
        if run.as_mut().is_some_and(|run| run.extend(frame)) {
            continue;
        }
        if let Some(done) = run.replace(frame.run(skip)) {
            pieces.push(IoSlice::new(done.bytes()));
            if pieces.len() == MAX_PIECES {
                return;
            }
        }
    }
    if let Some(done) = run {
        pieces.push(IoSlice::new(done.bytes()));
    }
}
