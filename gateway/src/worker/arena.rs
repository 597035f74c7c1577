//! Where outgoing bytes are encoded: chunks that many sessions share, without an atomic operation.
//!
//! A frame is encoded once into the open [`Arena`] and every session that shall have it queues a
//! [`Slice`] of that chunk. A chunk is sealed before the first flush that reads it; frames that
//! follow each other in a chunk are adjacent in memory, so what one turn queued for a session is
//! usually one `iovec`. Memory is reused when the last slice of a chunk is gone.
//!
//! What goes to many is also logged, and a member that keeps up queues nothing at all: it notes a
//! [`Burst`], the first and the number of the frames that it is given, and one write sends them.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use roomwire_hub::{Origin, OutboxLimits};

use crate::session::Framing;

/// Bytes after which a chunk is closed and another one begun. Chosen: large enough that a turn
/// seldom needs two, small enough that a recycled one may be kept.
const CHUNK_BYTES: usize = 256 * 1024;

/// Sealed chunks kept for reuse by one arena.
const KEPT_CHUNKS: usize = 4;

/// A chunk whose capacity grew beyond this is freed instead of kept.
const KEPT_BYTES: usize = 2 * CHUNK_BYTES;

/// Filled exactly once, when the arena seals it.
type Chunk = OnceCell<Vec<u8>>;

/// A frame's bytes inside a shared chunk.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    chunk: Rc<Chunk>,
    start: u32,
    end: u32,
}

impl Slice {
    /// A slice with a chunk of its own.
    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        let end = u32::try_from(bytes.len()).expect("frames are bounded by max_message, 64 MiB");
        Self {
            chunk: Rc::new(OnceCell::from(bytes)),
            start: 0,
            end,
        }
    }

    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// The bytes; empty while the chunk is not sealed, which a flush never sees.
    pub(crate) fn bytes(&self) -> &[u8] {
        debug_assert!(
            self.chunk.get().is_some(),
            "arenas are sealed before a flush"
        );
        self.chunk
            .get()
            .and_then(|bytes| bytes.get(self.start as usize..self.end as usize))
            .unwrap_or_default()
    }

    /// The slice from its `skip`th byte on, to be joined with its neighbours.
    pub(crate) fn run(&self, skip: usize) -> Run<'_> {
        Run {
            chunk: &self.chunk,
            start: self.start as usize + skip,
            end: self.end as usize,
        }
    }

    /// True when keeping this slice keeps much more memory alive than its own bytes.
    fn pins_more_than_it_needs(&self) -> bool {
        self.chunk
            .get()
            .is_some_and(|bytes| bytes.capacity() > 2 * self.len() + 64)
    }

    /// Gives the slice a chunk of its own where it would otherwise keep a shared one alive, so that
    /// a peer that does not read costs its outbox's bytes and not whole chunks.
    pub(crate) fn detach(&mut self) {
        if self.pins_more_than_it_needs() {
            *self = Self::owned(self.bytes().to_vec());
        }
    }
}

/// Neighbouring frames of one chunk, written as one piece.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    chunk: &'a Rc<Chunk>,
    start: usize,
    end: usize,
}

impl<'a> Run<'a> {
    /// Grows the run by `next` where `next` begins in the same chunk at the run's end.
    pub(crate) fn extend(&mut self, next: &Slice) -> bool {
        let adjacent = self.end == next.start as usize && Rc::ptr_eq(self.chunk, &next.chunk);
        if adjacent {
            self.end = next.end as usize;
        }
        adjacent
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.chunk
            .get()
            .and_then(|bytes| bytes.get(self.start..self.end))
            .unwrap_or_default()
    }
}

/// A frame that goes to many.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) frame: Slice,
    pub(crate) origin: Option<Origin>,
    /// Bytes of all frames of this log before this one.
    before: u64,
}

/// Frames of one log, one after another: what a session was given since it was flushed last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Burst {
    first: u32,
    count: u32,
}

impl Burst {
    pub(crate) const fn is_empty(self) -> bool {
        self.count == 0
    }

    pub(crate) const fn len(self) -> usize {
        self.count as usize
    }

    const fn range(self) -> Range<usize> {
        self.first as usize..self.first as usize + self.count as usize
    }
}

/// The chunk being written and the sealed ones that may be written again.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    open: Option<(Rc<Chunk>, Vec<u8>)>,
    sealed: Vec<Rc<Chunk>>,
    log: Vec<Logged>,
}

impl Arena {
    /// Appends what `encode` writes and returns it as a slice.
    pub(crate) fn write(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Slice {
        if self
            .open
            .as_ref()
            .is_some_and(|(_, bytes)| bytes.len() >= CHUNK_BYTES)
        {
            self.seal();
        }
        let (chunk, bytes) = match &mut self.open {
            Some(open) => open,
            none => none.insert(Self::begin(&mut self.sealed)),
        };
        let start = bytes.len();
        encode(bytes);
        let (start, end) = u32::try_from(start)
            .and_then(|start| Ok((start, u32::try_from(bytes.len())?)))
            .expect("a chunk is closed at 256 KiB and one frame is bounded by max_message, 64 MiB");
        Slice {
            chunk: Rc::clone(chunk),
            start,
            end,
        }
    }

    /// Appends and logs what `encode` writes, for many sessions; returns its place in the log.
    pub(crate) fn log(&mut self, origin: Option<Origin>, encode: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let frame = self.write(encode);
        let last = self.log.last();
        let before = last.map_or(0, |last| last.before + last.frame.len() as u64);
        let index = u32::try_from(self.log.len()).expect("it is cleared after each batch");
        self.log.push(Logged {
            frame,
            origin,
            before,
        });
        index
    }

    pub(crate) fn logged(&self, index: u32) -> Option<&Logged> {
        self.log.get(index as usize)
    }

    /// The frames of a burst.
    pub(crate) fn burst(&self, burst: Burst) -> &[Logged] {
        self.log.get(burst.range()).unwrap_or_default()
    }

    /// Adds `count` frames of the log, from `index` on, to a burst. False, and nothing changed, where
    /// they do not follow the burst's last frame, or the burst would be more than an outbox may hold.
    pub(crate) fn grow(
        &self,
        burst: &mut Burst,
        index: u32,
        count: u32,
        limits: &OutboxLimits,
    ) -> bool {
        let first = if burst.is_empty() { index } else { burst.first };
        if first + burst.count != index || count == 0 {
            return false;
        }
        let (Some(begin), Some(end)) = (self.logged(first), self.logged(index + count - 1)) else {
            return false;
        };
        let bytes = end.before - begin.before + end.frame.len() as u64;
        let frames = burst.len() + count as usize;
        let fits = frames <= limits.max_messages && bytes <= limits.max_bytes as u64;
        if fits {
            burst.first = first;
            burst.count += count;
        }
        fits
    }

    /// The bytes of a burst, where they lie in one chunk.
    pub(crate) fn bytes_of(&self, burst: Burst) -> Option<&[u8]> {
        let frames = self.burst(burst);
        let (first, last) = (&frames.first()?.frame, &frames.last()?.frame);
        // A chunk is written from its beginning to its end, so what lies between is the others.
        Rc::ptr_eq(&first.chunk, &last.chunk)
            .then(|| {
                first
                    .chunk
                    .get()?
                    .get(first.start as usize..last.end as usize)
            })
            .flatten()
    }

    /// Makes every slice handed out readable. Writing goes on in another chunk.
    pub(crate) fn seal(&mut self) {
        let Some((chunk, bytes)) = self.open.take() else {
            return;
        };
        let unset = chunk.set(bytes);
        debug_assert!(unset.is_ok(), "a chunk is sealed once");
        if self.sealed.len() < KEPT_CHUNKS {
            self.sealed.push(chunk);
        }
    }

    fn begin(sealed: &mut Vec<Rc<Chunk>>) -> (Rc<Chunk>, Vec<u8>) {
        let free = sealed.iter().position(|chunk| Rc::strong_count(chunk) == 1);
        let Some(mut chunk) = free.map(|index| sealed.swap_remove(index)) else {
            return (Rc::new(OnceCell::new()), Vec::new());
        };
        let mut bytes = Rc::get_mut(&mut chunk)
            .and_then(OnceCell::take)
            .unwrap_or_default();
        bytes.clear();
        if bytes.capacity() > KEPT_BYTES {
            bytes = Vec::new();
        }
        (chunk, bytes)
    }

    /// Frees the chunks kept for reuse; called when the worker has been idle for a while.
    pub(crate) fn release(&mut self) {
        self.sealed = Vec::new();
    }
}

/// An arena for each framing, so that what one member gets lies together.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    answers: Arena,
    by_framing: [Arena; Framing::COUNT],
    /// Something was written since all were sealed.
    unsealed: bool,
    /// Something was logged since the logs were cleared.
    logged: bool,
}

impl Arenas {
    /// The arena of messages in this framing.
    pub(crate) fn of(&self, framing: Framing) -> &Arena {
        self.by_framing
            .get(framing.index())
            .unwrap_or(&self.answers)
    }

    /// Writes and logs what goes to many sessions of a framing.
    pub(crate) fn log(
        &mut self,
        framing: Framing,
        origin: Option<Origin>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        self.unsealed = true;
        self.logged = true;
        let arena = self.by_framing.get_mut(framing.index());
        arena.unwrap_or(&mut self.answers).log(origin, encode)
    }

    /// Writes what is said to one session alone.
    pub(crate) fn answer(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Slice {
        self.unsealed = true;
        self.answers.write(encode)
    }

    pub(crate) fn seal(&mut self) {
        if !std::mem::take(&mut self.unsealed) {
            return;
        }
        self.answers.seal();
        for arena in &mut self.by_framing {
            arena.seal();
        }
    }

    /// Forgets what was logged, when no session has a burst any more.
    pub(crate) fn clear_logs(&mut self) {
        if std::mem::take(&mut self.logged) {
            for arena in &mut self.by_framing {
                arena.log.clear();
            }
        }
    }

    pub(crate) fn release(&mut self) {
        self.answers.release();
        for arena in &mut self.by_framing {
            arena.release();
            arena.log = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_written_one_after_another_are_adjacent() {
        let mut arena = Arena::default();
        let first = arena.write(|out| out.extend_from_slice(b"one"));
        let second = arena.write(|out| out.extend_from_slice(b"two"));
        arena.seal();
        let mut run = first.run(1);
        assert!(run.extend(&second));
        assert_eq!(run.bytes(), b"netwo");
        assert!(!run.extend(&first), "it does not begin at the run's end");
    }

    const LIMITS: OutboxLimits = OutboxLimits {
        max_messages: 3,
        max_bytes: 10,
    };

    fn log(arena: &mut Arena, bytes: &[u8]) -> u32 {
        arena.log(None, |out| out.extend_from_slice(bytes))
    }

    #[test]
    fn a_burst_is_what_follows_one_another_in_the_log() {
        let mut arena = Arena::default();
        let frames = [&b"ab"[..], b"cd", b"ef"].map(|bytes| log(&mut arena, bytes));
        let mut burst = Burst::default();
        assert!(
            arena.grow(&mut burst, frames[1], 1, &LIMITS),
            "it may begin anywhere"
        );
        assert!(arena.grow(&mut burst, frames[2], 1, &LIMITS));
        assert!(
            !arena.grow(&mut burst, frames[0], 1, &LIMITS),
            "it goes forward"
        );
        assert!(
            !arena.grow(&mut burst, frames[2], 1, &LIMITS),
            "one at a time"
        );
        arena.seal();
        assert_eq!(
            (arena.bytes_of(burst), burst.len()),
            (Some(&b"cdef"[..]), 2)
        );
    }

    #[test]
    fn a_burst_is_never_more_than_an_outbox_may_hold() {
        let mut arena = Arena::default();
        let mut burst = Burst::default();
        for frame in [&b"aaaaa"[..], b"bbbb"] {
            let index = log(&mut arena, frame);
            assert!(arena.grow(&mut burst, index, 1, &LIMITS));
        }
        let long = log(&mut arena, b"cc");
        assert!(!arena.grow(&mut burst, long, 1, &LIMITS), "11 bytes");
        let mut burst = Burst::default();
        for index in 0..3 {
            arena.grow(&mut burst, index, 1, &LIMITS);
        }
        let fourth = log(&mut arena, b"");
        assert!(!arena.grow(&mut burst, fourth, 1, &LIMITS), "four frames");
    }

    #[test]
    fn a_burst_over_two_chunks_is_not_one_piece() {
        let mut arena = Arena::default();
        let limits = OutboxLimits {
            max_messages: 9,
            max_bytes: usize::MAX,
        };
        let mut burst = Burst::default();
        for _ in 0..2 {
            let index = log(&mut arena, &[7; CHUNK_BYTES]);
            assert!(arena.grow(&mut burst, index, 1, &limits));
        }
        arena.seal();
        assert_eq!(arena.bytes_of(burst), None);
        assert_eq!(arena.burst(burst).len(), 2);
    }

    #[test]
    fn a_chunk_is_written_again_only_when_no_slice_of_it_is_left() {
        let mut arena = Arena::default();
        let held = arena.write(|out| out.extend_from_slice(b"held"));
        arena.seal();
        let next = arena.write(|out| out.extend_from_slice(b"next"));
        arena.seal();
        assert_eq!(held.bytes(), b"held");
        assert!(!Rc::ptr_eq(&held.chunk, &next.chunk));
        let chunk = Rc::as_ptr(&held.chunk);
        drop(held);
        let again = arena.write(|out| out.extend_from_slice(b"again"));
        assert_eq!(Rc::as_ptr(&again.chunk), chunk);
    }

    #[test]
    fn a_detached_slice_keeps_only_its_own_bytes() {
        let mut arena = Arena::default();
        let mut small = arena.write(|out| out.extend_from_slice(b"small"));
        let _large = arena.write(|out| out.resize(out.len() + 10_000, 0));
        arena.seal();
        let shared = Rc::as_ptr(&small.chunk);
        small.detach();
        assert_ne!(Rc::as_ptr(&small.chunk), shared);
        assert_eq!(small.bytes(), b"small");
        let own = Rc::as_ptr(&small.chunk);
        small.detach();
        assert_eq!(
            Rc::as_ptr(&small.chunk),
            own,
            "nothing to gain, nothing copied"
        );
    }
}
