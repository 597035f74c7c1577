//! The reader's side of a page: another process's figures, trusted in nothing.
//!
//! A [`Reader`] maps the file read-only and believes no size, offset or text before it has checked
//! it, so noise, a page that was cut off or one of a future version give a [`ReadError`] that says
//! what is wrong. The catalogue comes from the page itself: a reader of one version shows the
//! counters of another. `parse.rs` checks, `snapshot.rs` is what comes out.
//!
//! Figures are read one word after another while the gateway goes on: each is right, and a counter
//! never goes back, but two of them may be a few microseconds apart.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, LazyLock};
use std::{fmt, io};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::catalogue::{BLOCK_CATALOGUE, CATALOGUE, Kind};
use crate::histogram::{BUCKETS, BUCKETS_SLOT, Histogram, MAX_SLOT, SUM_SLOT};
use crate::layout::{self, Blocks, HEADER_BYTES, Lanes, MAX_PAGE_BYTES, lane_word, word};
use crate::page::Page;
use crate::words::{ReadOnlyWords, View};

mod block;
mod parse;
mod snapshot;

use block::{BlockColumn, ParsedBlocks};
pub use block::{BlockRow, BlockView};
pub use parse::ReadProblem;
use parse::{Column, Parsed};
pub use snapshot::{GatewayState, LaneInfo, Phase, Row, STALLED_AFTER_MS, Snapshot};

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ReadError {
    /// The page.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub problem: ReadProblem,
}

/// Reads a counter page, of a running gateway or of one that ended.
#[derive(Debug)]
pub struct Reader {
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Box<MappedFile>),
    Own(Arc<Page>),
}

struct MappedFile {
    path: PathBuf,
    file: OwnedFd,
    stat: Stat,
    words: ReadOnlyWords,
    parsed: Parsed,
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("path", &self.path)
            .field("words", &self.words)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a page. Needs no more than permission to read the file.
    ///
    /// # Errors
    ///
    /// When there is no page at the path, it may not be read, or what is there is not a page of a
    /// layout this reader knows.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let mapped = MappedFile::open(path).map_err(|problem| ReadError {
            path: path.to_owned(),
            problem,
        })?;
        Ok(Self {
            source: Source::File(Box::new(mapped)),
        })
    }

    /// Reads a page of this process.
    pub fn from_page(page: &Arc<Page>) -> Self {
        Self {
            source: Source::Own(Arc::clone(page)),
        }
    }

    /// The figures as they are now.
    ///
    /// # Errors
    ///
    /// When the file was cut off or overwritten since it was opened. Never for a page of this
    /// process.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        match &self.source {
            Source::Own(page) => Ok(page.snapshot()),
            Source::File(mapped) => mapped.snapshot().map_err(|problem| ReadError {
                path: mapped.path.clone(),
                problem,
            }),
        }
    }

    /// Whether the process that writes this page still lives. Asks the kernel for the lock that the
    /// writer holds, so neither a crash nor a process id used again deceives it.
    pub fn writer_alive(&self) -> bool {
        match &self.source {
            Source::Own(_) => true,
            Source::File(mapped) => mapped.writer_alive(),
        }
    }

    /// Whether another page is at the path by now, or none: the gateway was started again, and the
    /// path is to be opened anew to follow it. This reader keeps showing the old page.
    pub fn is_replaced(&self) -> bool {
        match &self.source {
            Source::Own(_) => false,
            Source::File(mapped) => !rustix::fs::stat(&mapped.path)
                .is_ok_and(|at| (at.st_dev, at.st_ino) == (mapped.stat.st_dev, mapped.stat.st_ino)),
        }
    }
}

impl MappedFile {
    fn open(path: &Path) -> Result<Self, ReadProblem> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => ReadProblem::NotFound,
            Errno::ACCESS | Errno::PERM => ReadProblem::Denied,
            Errno::LOOP | Errno::NXIO => ReadProblem::NotAFile,
            error => ReadProblem::Io(error.into()),
        })?;
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ReadProblem::NotAFile);
        }
        let bytes = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if bytes < HEADER_BYTES {
            return Err(ReadProblem::TooShort { bytes });
        }
        if bytes > MAX_PAGE_BYTES {
            return Err(ReadProblem::NotAPage);
        }
        let words = ReadOnlyWords::map(&file, bytes)?;
        let parsed = parse::parse(words.view(), bytes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            stat,
            words,
            parsed,
        })
    }

    fn snapshot(&self) -> Result<Snapshot, ReadProblem> {
        let view = self.words.view();
        let now = rustix::fs::fstat(&self.file).map_err(io::Error::from)?;
        // Loads from beyond the end of the file would raise SIGBUS. A page is never shortened by a
        // gateway, so the moment between this look and the loads is open only to somebody who cuts
        // off the gateway's file by hand, which would kill the gateway itself.
        let bytes = usize::try_from(now.st_size).unwrap_or(usize::MAX);
        if bytes < view.bytes() {
            return Err(ReadProblem::CutOff {
                expected: view.bytes(),
                bytes,
            });
        }
        if !self.parsed.is_still_of(view) {
            return Err(ReadProblem::Overwritten);
        }
        let Parsed {
            lanes,
            columns,
            blocks,
            ..
        } = &self.parsed;
        Ok(take(view, lanes, columns, blocks.as_ref()))
    }

    fn writer_alive(&self) -> bool {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                // The lock goes with the descriptor anyway; until then a start would have to wait.
                rustix::fs::flock(&self.file, FlockOperation::Unlock).ok();
                false
            }
            Err(Errno::WOULDBLOCK) => true,
            // A file system without locks: the process id is the second best evidence.
            Err(_) => i32::try_from(self.words.view().load(word::PID))
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH)),
        }
    }
}

/// A snapshot of a page that this process made, whose shape needs no checking.
pub(crate) fn snapshot_of_own(view: View<'_>, lanes: &Lanes, blocks: &Blocks) -> Snapshot {
    static COLUMNS: LazyLock<Vec<Column>> =
        LazyLock::new(|| CATALOGUE.iter().map(Column::from_metric).collect());
    static BLOCK_COLUMNS: LazyLock<Vec<BlockColumn>> = LazyLock::new(|| {
        BLOCK_CATALOGUE
            .iter()
            .map(BlockColumn::from_metric)
            .collect()
    });
    let mut snapshot = take(view, lanes, &COLUMNS, None);
    snapshot.blocks = block::take(view, blocks, lanes.count, &BLOCK_COLUMNS);
    snapshot
}

fn take(
    view: View<'_>,
    lanes: &Lanes,
    columns: &[Column],
    blocks: Option<&ParsedBlocks>,
) -> Snapshot {
    let ready = view.load(word::READY) == 1;
    let phase = Phase::from_word(view.load(word::PHASE));
    // Pairs with the release stores of `set_ready` and `set_stopped`: what the gateway did before
    // them is seen below.
    fence(Ordering::Acquire);
    let workers = lanes.count.saturating_sub(1);
    Snapshot {
        pid: u32::try_from(view.load(word::PID)).unwrap_or(0),
        instance: layout::name(view, word::INSTANCE).unwrap_or_default(),
        version: layout::name(view, word::VERSION).unwrap_or_default(),
        start_unix_ms: view.load(word::START),
        since_unix_ms: view.load(word::SINCE),
        heartbeat_unix_ms: view.load(word::HEARTBEAT),
        phase,
        ready,
        stopped: phase == Phase::Stopped,
        workers: u16::try_from(workers).unwrap_or(u16::MAX),
        lanes: (0..lanes.count)
            .map(|lane| lane_info(view, lanes, lane))
            .collect(),
        rows: columns
            .iter()
            .map(|column| row(view, lanes, column))
            .collect(),
        blocks: blocks.map_or_else(Vec::new, |parsed| {
            block::take(view, &parsed.blocks, lanes.count, &parsed.columns)
        }),
    }
}

fn lane_info(view: View<'_>, lanes: &Lanes, lane: usize) -> LaneInfo {
    let first = lanes.lane(lane);
    let is_worker = view.load(first + lane_word::ROLE) == layout::ROLE_WORKER;
    let worker = view.load(first + lane_word::WORKER);
    LaneInfo {
        worker: is_worker.then(|| u16::try_from(worker).unwrap_or(u16::MAX)),
        publications: view.load(first + lane_word::PUBLICATIONS),
    }
}

fn row(view: View<'_>, lanes: &Lanes, column: &Column) -> Row {
    let first = |lane| lanes.slots(lane) + column.slot;
    let words: Vec<u64> = (0..lanes.count)
        .map(|lane| view.load(first(lane)))
        .collect();
    let mut histogram = None;
    let (value, per_lane) = match column.kind {
        Kind::Counter => (
            words.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)),
            words,
        ),
        Kind::Gauge => {
            let sum = words.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
            (
                at_least_zero(sum),
                words.into_iter().map(at_least_zero).collect(),
            )
        }
        Kind::High => (words.iter().copied().max().unwrap_or(0), words),
        Kind::Histogram => {
            let mut buckets = vec![0u64; BUCKETS];
            let (mut sum, mut max) = (0u64, 0);
            let mut counts = Vec::with_capacity(lanes.count);
            for lane in 0..lanes.count {
                let first = first(lane);
                sum = sum.wrapping_add(view.load(first + SUM_SLOT));
                max = max.max(view.load(first + MAX_SLOT));
                let mut count = 0u64;
                for (bucket, total) in buckets.iter_mut().enumerate() {
                    let values = view.load(first + BUCKETS_SLOT + bucket);
                    *total = total.wrapping_add(values);
                    count = count.wrapping_add(values);
                }
                counts.push(count);
            }
            let all = histogram.insert(Histogram::new(buckets, sum, max));
            (all.count(), counts)
        }
    };
    Row {
        name: Arc::clone(&column.name),
        kind: column.kind,
        unit: Arc::clone(&column.unit),
        level: column.level,
        help: Arc::clone(&column.help),
        value,
        per_lane,
        histogram,
    }
}

/// A gauge's word is signed; a sum below zero is one lane's publication ahead of another's.
const fn at_least_zero(word: u64) -> u64 {
    if word.cast_signed() < 0 { 0 } else { word }
}
