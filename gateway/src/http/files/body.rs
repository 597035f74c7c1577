//! A file as an answer's body: read in pieces as the peer takes them, so that a file of any size takes
//! the memory of one piece.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::locate::OpenFile;
use crate::work::{Pool, Working};

/// Bytes read at a time. Chosen: a read of 64 KiB costs about as much as the system call itself.
const PIECE: u64 = 64 * 1024;

/// What separates several parts of a file. It must not occur in them, so it is as random as it can be
/// without being so: nobody who writes a file knows it, because it has the file's own figures.
fn boundary(file: &OpenFile) -> String {
    let (seconds, nanos) = file.modified;
    format!("part-{seconds:x}-{nanos:x}-{:x}", file.size)
}

/// Parts of a file, with what stands between them.
pub(crate) struct FileBody {
    file: Arc<OwnedFd>,
    pool: Arc<Pool>,
    segments: VecDeque<Segment>,
    left: u64,
    reading: Option<Working<io::Result<Bytes>>>,
}

#[derive(Debug)]
enum Segment {
    Between(Bytes),
    Part(Range<u64>),
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileBody");
        shown.field("left", &self.left).finish_non_exhaustive()
    }
}

impl FileBody {
    pub(super) fn new(
        file: OwnedFd,
        pool: Arc<Pool>,
        parts: impl IntoIterator<Item = Range<u64>>,
    ) -> Self {
        Self::of(file, pool, parts.into_iter().map(Segment::Part).collect())
    }

    fn of(file: OwnedFd, pool: Arc<Pool>, segments: VecDeque<Segment>) -> Self {
        let length = |segment: &Segment| match segment {
            Segment::Between(bytes) => bytes.len() as u64,
            Segment::Part(part) => part.end - part.start,
        };
        Self {
            left: segments.iter().map(length).sum(),
            file: Arc::new(file),
            pool,
            segments,
            reading: None,
        }
    }

    /// Bytes that are still to be sent.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece. A file that has become shorter is an error: its length was told before.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let piece = if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            read.unwrap_or_else(|given_up| Err(io::Error::other(given_up)))
        } else {
            match self.segments.front() {
                None => return Poll::Ready(None),
                Some(Segment::Between(bytes)) => Ok(bytes.clone()),
                Some(Segment::Part(part)) => {
                    let (at, length) = (part.start, (part.end - part.start).min(PIECE));
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    match read_at_hand(&self.file, at, length) {
                        Some(read) => read,
                        None => {
                            let file = Arc::clone(&self.file);
                            let read = move || read(&file, at, length);
                            self.reading = Some(self.pool.run_begun(read));
                            return self.poll_piece(cx);
                        }
                    }
                }
            }
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                self.segments.clear();
                return Poll::Ready(Some(Err(error)));
            }
        };
        let read = piece.len() as u64;
        self.left = self.left.saturating_sub(read);
        let ended = match self.segments.front_mut() {
            Some(Segment::Part(part)) => {
                part.start += read;
                part.start >= part.end
            }
            Some(Segment::Between(_)) | None => true,
        };
        if ended {
            self.segments.pop_front();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Some parts of a file: one as it is, several as `multipart/byteranges` (RFC 9110 §14.6). Sets the
/// fields that tell which.
pub(super) fn partial(
    file: OpenFile,
    pool: Arc<Pool>,
    parts: Vec<Range<u64>>,
    media_type: &str,
    headers: &mut HeaderMap,
) -> FileBody {
    let size = file.size;
    let told = |part: &Range<u64>| format!("bytes {}-{}/{size}", part.start, part.end - 1);
    let value = |text: &str| HeaderValue::from_str(text).expect("letters, digits and punctuation");
    if let [part] = &parts[..] {
        headers.insert(header::CONTENT_RANGE, value(&told(part)));
        return FileBody::new(file.file, pool, parts);
    }
    let boundary = boundary(&file);
    let whole = format!("multipart/byteranges; boundary={boundary}");
    headers.insert(header::CONTENT_TYPE, value(&whole));
    let mut segments = VecDeque::new();
    for part in parts {
        let between = format!(
            "\r\n--{boundary}\r\ncontent-type: {media_type}\r\ncontent-range: {}\r\n\r\n",
            told(&part)
        );
        segments.push_back(Segment::Between(between.into()));
        segments.push_back(Segment::Part(part));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    segments.push_back(Segment::Between(end.into()));
    FileBody::of(file.file, pool, segments)
}

/// Reads what the kernel has at hand; `None` where it would wait.
pub(super) fn read_at_hand(file: &OwnedFd, at: u64, length: usize) -> Option<io::Result<Bytes>> {
    let mut bytes = vec![0; length];
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    match preadv2(file, slices, at, ReadWriteFlags::NOWAIT) {
        Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        Ok(read) => {
            // Less may be at hand than was wanted, or there.
            bytes.truncate(read);
            (read == length || read as u64 >= PIECE / 16).then_some(Ok(bytes.into()))
        }
        // Not every file system knows `RWF_NOWAIT`.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::INTR) => None,
        Err(error) => Some(Err(error.into())),
    }
}

/// Reads as much, however long it takes.
pub(super) fn read(file: &OwnedFd, at: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, at + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes.into())
}
