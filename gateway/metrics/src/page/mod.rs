//! The writer's side of a page: made once by the gateway, counted into through lanes.
//!
//! A page is a file that other processes map ([`Page::create`]) or memory of this process alone
//! ([`Page::anonymous`]). It owns the memory, gives each worker its lane once and keeps the few
//! words that say how the gateway is. It does not know what the lanes hold. `file.rs` has the rules
//! for taking a path over from a gateway that died.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fmt, io};

use crate::catalogue::{self, BLOCK_SLOTS, BlockKind};
use crate::layout::{
    self, Blocks, FIRST_ROOMS_BLOCK, Identity, LISTENER_BLOCKS, Lanes, MAX_LANES, MAX_PAGE_BYTES,
    ROOMS_BLOCKS, Shape, word,
};
use crate::reader::{self, Phase, Snapshot};
use crate::words::{WORD, Words};
use crate::{LaneWriter, SharedLane};

mod busy;
mod file;
mod keep;
mod stale;

pub use busy::BusyRoom;
pub use stale::{Cleaned, clean_pages, find_instances, remove_page};

/// Most workers a page has lanes for.
pub const MAX_WORKERS: u16 = 1024;

const _: () = assert!(
    MAX_LANES == MAX_WORKERS as usize + 1,
    "one lane is everybody's"
);

/// What a new page says about its gateway.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// Number of worker lanes, 1 to [`MAX_WORKERS`].
    pub workers: u16,
    /// The gateway's name, see [`check_instance`].
    pub instance: String,
    /// The program's version; what does not fit into 63 bytes is cut off.
    pub version: String,
    /// When the gateway started, milliseconds since 1970. Also its first heartbeat.
    pub start_unix_ms: u64,
    /// The gateway's process id.
    pub pid: u32,
    /// Names of the listeners, in their order. Those beyond 32 share a block.
    pub listeners: Vec<String>,
    /// Patterns of rooms that are counted apart, in their order. Those beyond 32 share a block with
    /// all other rooms.
    pub rooms: Vec<String>,
    /// Goes on from the counters of the page that is replaced, where it can be read. Gauges begin
    /// anew.
    pub keep: bool,
}

impl PageOptions {
    /// Options for this process, with this crate's version and no start time.
    pub fn new(instance: &str, workers: u16) -> Self {
        Self {
            workers,
            instance: instance.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_unix_ms: 0,
            pid: std::process::id(),
            listeners: Vec::new(),
            rooms: Vec::new(),
            keep: false,
        }
    }
}

/// A block of a page, for a worker to count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block(u16);

impl Block {
    fn at(index: usize) -> Self {
        Self(u16::try_from(index).unwrap_or(0))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a page could not be made. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A gateway that is alive writes to the page at this path.
    #[error(
        "{path} belongs to a gateway that is running{}: stop it, or start this one with another \
         --instance", of_process(*pid)
    )]
    InUse {
        /// The page.
        path: PathBuf,
        /// The gateway's process id, where its page could be read.
        pid: Option<u32>,
    },
    /// The path leads to something that is not a counter page and is not empty.
    #[error(
        "{path} is not a counter page and is left alone: choose another path for the page, or remove the file"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The path leads to a directory, a device, a symbolic link or the like.
    #[error(
        "{path} is not a regular file (symbolic links are not followed): choose another path for the page"
    )]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The instance's name cannot be used.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The number of workers is 0 or above [`MAX_WORKERS`].
    #[error("a counter page has lanes for 1 to {MAX_WORKERS} workers, not {workers}")]
    Workers {
        /// What was asked for.
        workers: u16,
    },
    /// The page would be larger than readers accept.
    #[error("a counter page of {bytes} bytes is too large: use fewer workers")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The operating system refused something.
    #[error("cannot {action} the counter page {path}: {source} (--page gives it another place)")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The page.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

fn of_process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Why a name is no instance name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an instance name has 1 to 63 letters, digits, '-', '_' or '.' and begins with a letter or digit"
)]
pub struct InstanceError;

/// Checks the name of a gateway instance, which becomes part of a file name.
///
/// # Errors
///
/// When it is not 1 to 63 ASCII letters, digits, `-`, `_` and `.`, the first a letter or digit.
pub fn check_instance(name: &str) -> Result<(), InstanceError> {
    let fine = name.len() < layout::NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fine { Ok(()) } else { Err(InstanceError) }
}

/// Where a gateway keeps its page unless told otherwise: `/dev/shm/roomwire.INSTANCE` on Linux, the
/// directory for temporary files elsewhere. Characters that [`check_instance`] refuses become `_`.
pub fn default_page_path(instance: &str) -> PathBuf {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = instance.chars().map(safe).collect();
    let directory = if cfg!(target_os = "linux") {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    };
    directory.join(format!("roomwire.{name}"))
}

/// A counter page that this process writes.
///
/// Dropping it leaves the file where it is, so that its last figures can still be read; without
/// [`set_stopped`](Self::set_stopped) before, readers take the gateway for dead.
pub struct Page {
    words: Words,
    lanes: Lanes,
    blocks: Blocks,
    /// Listeners and patterns with a block of their own.
    labelled: [usize; 2],
    /// True while a [`LaneWriter`] of that worker exists.
    taken: Box<[AtomicBool]>,
    /// Holds the advisory lock that tells other processes that this one lives. Readers of the page
    /// look at the lock, so it is let go of last.
    _lock: Option<OwnedFd>,
}

impl Page {
    /// Makes the page at `path`, readable for the owner and the group, and takes the place of the
    /// page of a gateway that ended. Readers of that one keep its last figures.
    ///
    /// # Errors
    ///
    /// When a living gateway owns the path, when something else than a counter page is there, when
    /// the options cannot be met, and when the operating system refuses, for want of space for
    /// example. What was at the path is then still there.
    pub fn create(path: &Path, options: &PageOptions) -> Result<Arc<Self>, PageError> {
        let (shape, mut image) = prepare(options)?;
        let (words, lock) = file::create(path, || {
            if options.keep {
                keep::from_page(path, &shape, options, &mut image);
            }
            &image
        })?;
        Ok(Arc::new(Self::new(words, &shape, options, Some(lock))))
    }

    /// Makes a page that only this process sees, for tests and for gateways inside other programs.
    ///
    /// # Errors
    ///
    /// When the options cannot be met.
    pub fn anonymous(options: &PageOptions) -> Result<Arc<Self>, PageError> {
        let (shape, image) = prepare(options)?;
        Ok(Arc::new(Self::new(
            Words::heap(&image),
            &shape,
            options,
            None,
        )))
    }

    fn new(words: Words, shape: &Shape, options: &PageOptions, lock: Option<OwnedFd>) -> Self {
        let lanes = shape.lanes();
        let (listeners, rooms) = (options.listeners.len(), options.rooms.len());
        let taken = (1..lanes.count).map(|_| AtomicBool::new(false)).collect();
        Self {
            words,
            lanes,
            blocks: shape.blocks(),
            labelled: [listeners.min(LISTENER_BLOCKS), rooms.min(ROOMS_BLOCKS)],
            taken,
            _lock: lock,
        }
    }

    /// The writer of a worker's lane; None while another one of that worker exists and for a worker
    /// the page has no lane for. One that is made after another was dropped goes on where that ended.
    pub fn lane(self: &Arc<Self>, worker: u16) -> Option<LaneWriter> {
        let taken = self.taken.get(usize::from(worker))?;
        // Pairs with the release in `give_back`: what the last writer published is seen here.
        if taken.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(LaneWriter::new(Arc::clone(self), worker))
    }

    /// The lane for what happens rarely or outside of workers. Any thread may write to it.
    pub fn shared(self: &Arc<Self>) -> SharedLane {
        SharedLane::new(Arc::clone(self))
    }

    /// The block of a listener by its place in the options, or the one for all others.
    pub fn listener_block(&self, listener: usize) -> Block {
        let own = (listener < self.labelled[0]).then_some(listener);
        Block::at(own.unwrap_or(LISTENER_BLOCKS))
    }

    /// The block of a pattern of rooms by its place in the options, or the one for all others.
    pub fn rooms_block(&self, pattern: usize) -> Block {
        let own = (pattern < self.labelled[1]).then_some(pattern);
        Block::at(FIRST_ROOMS_BLOCK + own.unwrap_or(ROOMS_BLOCKS))
    }

    /// Listeners and patterns in the options that found no block of their own.
    pub fn unlabelled(&self, options: &PageOptions) -> usize {
        options.listeners.len() - self.labelled[0] + options.rooms.len() - self.labelled[1]
    }

    pub(crate) fn blocks_of(&self, kind: BlockKind) -> impl Iterator<Item = Block> + use<> {
        let blocks = match kind {
            BlockKind::Listener => 0..FIRST_ROOMS_BLOCK,
            BlockKind::Rooms => FIRST_ROOMS_BLOCK..layout::FIRST_BUSY_ROOM,
            BlockKind::Room => layout::FIRST_BUSY_ROOM..layout::BLOCKS,
        };
        blocks.map(Block::at)
    }

    /// A lane's part of a block.
    #[inline]
    pub(crate) fn block_part(&self, block: usize, lane: usize) -> &[AtomicU64] {
        let first = self.blocks.part(block, lane);
        &self.words.as_slice()[first..first + BLOCK_SLOTS]
    }

    pub(crate) fn block_header(&self, block: usize) -> &[AtomicU64] {
        let first = self.blocks.block(block);
        &self.words.as_slice()[first..first + layout::BLOCK_HEADER_BYTES / WORD]
    }

    /// Says whether the gateway takes sessions. True makes it *running*; false after that makes it
    /// *draining*.
    pub fn set_ready(&self, ready: bool) {
        if ready {
            self.word(word::PHASE)
                .store(Phase::Running.to_word(), Ordering::Relaxed);
        } else if self.word(word::PHASE).load(Ordering::Relaxed) == Phase::Running.to_word() {
            self.word(word::PHASE)
                .store(Phase::Draining.to_word(), Ordering::Relaxed);
        }
        // Pairs with the acquire fence of a reader that saw it: everything that was stored before
        // is there as well.
        self.word(word::READY)
            .store(u64::from(ready), Ordering::Release);
    }

    /// Says that the gateway was alive at this time, milliseconds since 1970. To be said at least
    /// every second: after five without, readers call the gateway stalled.
    pub fn heartbeat(&self, unix_ms: u64) {
        self.word(word::HEARTBEAT).store(unix_ms, Ordering::Relaxed);
    }

    /// Says that the gateway ended as it should, so that readers can tell it from a crash.
    pub fn set_stopped(&self) {
        self.word(word::READY).store(0, Ordering::Relaxed);
        // Pairs with a reader's acquire fence: the last published figures are there as well.
        self.word(word::PHASE)
            .store(Phase::Stopped.to_word(), Ordering::Release);
    }

    /// The figures as they are now. Never fails, unlike a [`Reader`](crate::Reader)'s: this process
    /// made the page and knows its shape.
    pub fn snapshot(&self) -> Snapshot {
        reader::snapshot_of_own(self.words.view(), &self.lanes, &self.blocks)
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        &self.words.as_slice()[word]
    }

    /// The shared lane is the last one.
    pub(crate) const fn shared_lane(&self) -> usize {
        self.lanes.count - 1
    }

    pub(crate) fn lane_header(&self, lane: usize) -> &[AtomicU64] {
        let first = self.lanes.lane(lane);
        &self.words.as_slice()[first..first + self.lanes.header]
    }

    pub(crate) fn lane_slots(&self, lane: usize) -> &[AtomicU64] {
        let first = self.lanes.slots(lane);
        &self.words.as_slice()[first..first + self.lanes.slots]
    }

    pub(crate) fn give_back(&self, worker: u16) {
        if let Some(taken) = self.taken.get(usize::from(worker)) {
            taken.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("words", &self.words)
            .field("lanes", &self.lanes)
            .finish()
    }
}

fn prepare(options: &PageOptions) -> Result<(Shape, Vec<u64>), PageError> {
    check_instance(&options.instance)?;
    if options.workers == 0 || options.workers > MAX_WORKERS {
        return Err(PageError::Workers {
            workers: options.workers,
        });
    }
    let catalogue = catalogue::text();
    let block_catalogue = catalogue::block_text();
    let shape = Shape::new(options.workers, catalogue.len(), block_catalogue.len());
    if shape.page_bytes > MAX_PAGE_BYTES {
        return Err(PageError::TooLarge {
            bytes: shape.page_bytes,
        });
    }
    // Readers refuse a version with control characters, as it goes to terminals.
    let version: String = options
        .version
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let identity = Identity {
        instance: &options.instance,
        version: &version,
        pid: options.pid,
        start_unix_ms: options.start_unix_ms,
        listeners: &options.listeners,
        rooms: &options.rooms,
    };
    let image = layout::image(&shape, &catalogue, &block_catalogue, &identity);
    Ok((shape, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_is_safe_in_a_file_name() {
        for good in ["main", "a", "edge-1.eu_west", "0", &"x".repeat(63)] {
            assert_eq!(check_instance(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert_eq!(check_instance(bad), Err(InstanceError), "{bad}");
            let path = default_page_path(bad);
            assert_eq!(path.parent(), default_page_path("main").parent(), "{bad}");
        }
    }

    #[test]
    fn options_that_cannot_be_met_are_refused() {
        for workers in [0, MAX_WORKERS + 1, u16::MAX] {
            let refused = Page::anonymous(&PageOptions::new("main", workers));
            assert!(
                matches!(refused, Err(PageError::Workers { .. })),
                "{workers}"
            );
        }
        let refused = Page::anonymous(&PageOptions::new("../main", 1));
        assert!(matches!(refused, Err(PageError::Instance(InstanceError))));
    }

    #[test]
    fn a_lane_is_given_once_and_again_after_it_came_back() {
        let page = Page::anonymous(&PageOptions::new("main", 2)).unwrap();
        let first = page.lane(0).unwrap();
        assert!(page.lane(0).is_none());
        assert!(page.lane(1).is_some());
        assert!(page.lane(2).is_none(), "the shared lane is nobody's");
        drop(first);
        assert!(page.lane(0).is_some());
    }
}
