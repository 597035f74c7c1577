//! HTTP/2's frames by their headers alone (RFC 9113 §4.1): whether a peer only makes work.
//!
//! What frames mean is left to who serves them, and payloads are passed over unseen. An [`Inspector`]
//! counts the frames that cost their sender next to nothing and the receiver an answer, a flush or a
//! walk over all streams, and it knows which streams the peer ended. It costs a few instructions per
//! frame, so every byte of a connection may go through it.
//!
//! The tables of attacks and of RFC 9113 that go over real sockets are in `tests/tests/e2e`.

/// The time in which frames are counted, in milliseconds. Chosen: long enough that a page's burst is
/// no flood, short enough that the limits can be told as a rate.
pub const PERIOD_MS: u64 = 10_000;

/// What a client says first (RFC 9113 §3.4), in bytes. Whether it says that is not looked at here.
const PREFACE: u32 = 24;

const HEADER: usize = 9;

/// Streams that the peer ended or reset, of which is known that nothing more may come. Chosen: a scan
/// of them is shorter than parsing a header block.
const REMEMBERED: usize = 16;

/// What each `WINDOW_UPDATE` beyond the limit must be paid for with, in bytes that the peer was sent.
/// A client that gives back every DATA frame at once, to the stream and to the connection, sends two
/// for at least ten bytes.
const BYTES_PER_WINDOW_UPDATE: u64 = 5;

/// Frames of each kind that a peer may send in [`PERIOD_MS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// PING, both ways.
    pub pings: u32,
    /// SETTINGS, acknowledgements included.
    pub settings: u32,
    /// RST_STREAM.
    pub resets: u32,
    /// PRIORITY, and frames of types that are not known.
    pub priorities: u32,
    /// WINDOW_UPDATE, besides those that what was sent accounts for.
    pub window_updates: u32,
    /// Frames without a payload that end nothing.
    pub empty: u32,
    /// CONTINUATION frames of one header block, whenever they come.
    pub continuations: u32,
}

/// What a peer did that its connection should end for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// A header block in more pieces than there may be.
    Continuations,
    /// More empty frames than there may be.
    Empty,
    /// A frame shorter or longer than its type allows (RFC 9113 §6).
    FrameSize,
    /// More pings than there may be.
    Pings,
    /// More frames without a meaning than there may be.
    Priorities,
    /// More streams given up than there may be.
    Resets,
    /// More settings than there may be.
    Settings,
    /// A frame on a stream that the peer itself has ended or reset (RFC 9113 §5.1).
    StreamClosed,
    /// More window updates than there may be.
    WindowUpdates,
}

/// Where and why nothing more of a connection should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Bytes before the frame that is refused.
    pub passed: usize,
    /// Why.
    pub violation: Violation,
}

/// Follows the input of one connection.
#[derive(Debug)]
pub struct Inspector {
    limits: Limits,
    /// Of a payload, or of the preface, still to be passed over.
    skip: u32,
    /// A frame's header as far as it came; `have < HEADER` between calls.
    header: [u8; HEADER],
    have: usize,
    period_began_ms: u64,
    /// Since the period began: by [`Kind`].
    counts: [u32; Kind::COUNT],
    /// What had been written when the period began.
    written_before: u64,
    /// CONTINUATION frames of the header block that is not ended.
    continuations: u32,
    last_opened: u32,
    opened: u64,
    closed: Recent,
}

/// The last streams that the peer ended or reset.
#[derive(Debug, Default)]
struct Recent {
    /// A ring; 0 stands for none.
    streams: [u32; REMEMBERED],
    oldest: usize,
}

impl Recent {
    fn add(&mut self, stream: u32) {
        if let Some(oldest) = self.streams.get_mut(self.oldest) {
            *oldest = stream;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }

    fn has(&self, stream: u32) -> bool {
        stream != 0 && self.streams.contains(&stream)
    }
}

/// What is counted, an index.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Empty,
    Ping,
    Priority,
    Reset,
    Settings,
    WindowUpdate,
}

impl Kind {
    const COUNT: usize = 6;
}

/// RFC 9113 §6.
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;

    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

impl Inspector {
    /// At the beginning of a connection, before the preface.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            period_began_ms: 0,
            counts: [0; Kind::COUNT],
            written_before: 0,
            continuations: 0,
            last_opened: 0,
            opened: 0,
            closed: Recent::default(),
        }
    }

    /// Streams that the peer opened so far.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Looks at bytes that follow those looked at before. `written` is how many bytes the peer was sent
    /// so far, `now_ms` a time that does not go back.
    ///
    /// # Errors
    ///
    /// What the connection should end for, and where. Nothing more is to be shown after that.
    pub fn inspect(&mut self, bytes: &[u8], now_ms: u64, written: u64) -> Result<(), Refused> {
        if now_ms.saturating_sub(self.period_began_ms) >= PERIOD_MS {
            self.period_began_ms = now_ms;
            self.counts = [0; Kind::COUNT];
            self.written_before = written;
        }
        let sent = written.saturating_sub(self.written_before);
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.skip > 0 {
                let left = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let passed = left.min(rest.len());
                self.skip -= u32::try_from(passed).unwrap_or(self.skip);
                at += passed;
                continue;
            }
            let wanted = HEADER - self.have;
            let taken = wanted.min(rest.len());
            let into = self.header.get_mut(self.have..self.have + taken);
            into.unwrap_or_default()
                .copy_from_slice(rest.get(..taken).unwrap_or_default());
            if taken < wanted {
                self.have += taken;
                break;
            }
            self.have = 0;
            self.frame(sent).map_err(|violation| Refused {
                passed: at,
                violation,
            })?;
            at += taken;
        }
        Ok(())
    }

    /// A frame's header is whole.
    fn frame(&mut self, sent: u64) -> Result<(), Violation> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        // RFC 9113 §4.1: the first bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        let ends_stream = flags & frame::END_STREAM != 0;
        let ends_headers = flags & frame::END_HEADERS != 0;
        self.skip = length;
        check_length(kind, flags, length)?;
        match kind {
            frame::DATA => {
                if self.closed.has(stream) {
                    return Err(Violation::StreamClosed);
                }
                if ends_stream {
                    self.closed.add(stream);
                } else if length == 0 {
                    self.count(Kind::Empty, self.limits.empty, Violation::Empty)?;
                }
            }
            frame::HEADERS => {
                if stream > self.last_opened {
                    self.last_opened = stream;
                    self.opened += 1;
                } else if self.closed.has(stream) {
                    return Err(Violation::StreamClosed);
                }
                if ends_stream {
                    self.closed.add(stream);
                }
                self.continuations = 0;
                if length == 0 && !ends_headers {
                    self.count(Kind::Empty, self.limits.empty, Violation::Empty)?;
                }
            }
            frame::CONTINUATION => {
                self.continuations += 1;
                if self.continuations > self.limits.continuations {
                    return Err(Violation::Continuations);
                }
                if length == 0 && !ends_headers {
                    self.count(Kind::Empty, self.limits.empty, Violation::Empty)?;
                }
            }
            frame::RST_STREAM => {
                self.closed.add(stream);
                self.count(Kind::Reset, self.limits.resets, Violation::Resets)?;
            }
            frame::SETTINGS => {
                self.count(Kind::Settings, self.limits.settings, Violation::Settings)?;
            }
            frame::PING => self.count(Kind::Ping, self.limits.pings, Violation::Pings)?,
            frame::WINDOW_UPDATE => {
                let earned = u32::try_from(sent / BYTES_PER_WINDOW_UPDATE).unwrap_or(u32::MAX);
                let most = self.limits.window_updates.saturating_add(earned);
                self.count(Kind::WindowUpdate, most, Violation::WindowUpdates)?;
            }
            // Neither may come twice from a client.
            frame::PUSH_PROMISE | frame::GOAWAY => {}
            _ => self.count(
                Kind::Priority,
                self.limits.priorities,
                Violation::Priorities,
            )?,
        }
        Ok(())
    }

    fn count(&mut self, kind: Kind, most: u32, violation: Violation) -> Result<(), Violation> {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count = count.saturating_add(1);
            if *count > most {
                return Err(violation);
            }
        }
        Ok(())
    }
}

/// RFC 9113 §6.3 to §6.9: lengths that a frame's type allows.
fn check_length(kind: u8, flags: u8, length: u32) -> Result<(), Violation> {
    let fits = match kind {
        frame::PRIORITY => length == 5,
        frame::RST_STREAM | frame::WINDOW_UPDATE => length == 4,
        frame::SETTINGS if flags & frame::ACK != 0 => length == 0,
        frame::SETTINGS => length.is_multiple_of(6),
        frame::PING => length == 8,
        frame::GOAWAY => length >= 8,
        _ => true,
    };
    if fits {
        Ok(())
    } else {
        Err(Violation::FrameSize)
    }
}

#[cfg(test)]
mod tests;
