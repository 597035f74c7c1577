//! Small files that were sent a moment ago, kept for those who ask next.
//!
//! What is kept is not older than the file. For each answer, or once in [`LOOK_US`], a look at its
//! name says whether that still leads to the very file that was read, and whether that was written
//! since (`stat`: inode, size, times). Where a sibling in another coding or an index could come to
//! take its place, its directory is looked at as well. And for [`AGE_US`] at the most: then everything
//! is found anew, confined to the root. Files and directories that changed just now are not kept,
//! because their next change might have the same time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use rustix::fs::{Stat, stat};

use crate::config::StaticRoute;
use crate::http::service::Call;
use crate::lifecycle::Clock;

/// How long a file is kept without being looked up again.
const AGE_US: u64 = 1_000_000;

/// For how long one look is good. Chosen: less than it takes to answer, to change the file for that and
/// to ask again, and several requests where there are so many that looking counts.
const LOOK_US: u64 = 100;

/// How long ago a file must have changed. Chosen: the coarsest times of a file system, which are
/// FAT's.
const SETTLED: Duration = Duration::from_secs(2);

/// Files kept by one worker.
const MAX_FILES: usize = 256;

/// The longest path, and `Accept-Encoding`, that is remembered.
const MAX_KEY: usize = 512;

/// What a file is reckoned at besides its content: its key, name and fields.
const OVERHEAD: usize = 1024;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// The files of one worker.
#[derive(Default)]
struct Kept {
    files: HashMap<Vec<u8>, File>,
    bytes: usize,
    /// Where keys are written to be looked for.
    key: Vec<u8>,
}

struct File {
    name: PathBuf,
    file: Identity,
    /// Of the directory that it lies in, where that matters.
    directory: Option<Identity>,
    since_us: u64,
    looked_us: u64,
    content: Content,
}

/// What an answer is made of.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) fields: HeaderMap,
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    pub(super) bytes: Bytes,
}

/// What tells a file, or a directory, from any other and from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    fn is_settled(&self) -> bool {
        let Ok(seconds) = u64::try_from(self.changed.0.max(self.modified.0)) else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::from_secs(seconds);
        changed + SETTLED < UNIX_EPOCH + Duration::from_millis(Clock::unix_ms())
    }
}

/// The file that answers, if it was kept and did not change.
pub(super) fn find(route: &StaticRoute, call: &Call) -> Option<Content> {
    let now_us = call.connection.worker.shared.clock.now_us();
    KEPT.with_borrow_mut(|kept| {
        if kept.files.is_empty() || !kept.write_key(route, call) {
            return None;
        }
        let file = kept.files.get_mut(kept.key.as_slice())?;
        let is_fresh = file.looked_us + LOOK_US > now_us;
        if file.since_us + AGE_US > now_us && (is_fresh || file.is_unchanged()) {
            if !is_fresh {
                file.looked_us = now_us;
            }
            return Some(file.content.clone());
        }
        kept.forget();
        None
    })
}

/// Keeps a file that is about to answer, found at `name` below the route's root.
pub(super) fn keep(
    route: &StaticRoute,
    call: &Call,
    name: &[u8],
    identity: Identity,
    content: Content,
) {
    let shared = &call.connection.worker.shared;
    let most = shared.config.limits.max_kept_files.as_usize();
    let name = route.root.join(OsStr::from_bytes(name));
    if !identity.is_settled() {
        return;
    }
    // Only then is the directory of any account: nothing else is looked for in it.
    let path = call.request.uri().path();
    let is_alone = !path.ends_with('/') && !content.fields.contains_key(header::VARY);
    let directory = match name.parent() {
        Some(directory) if !is_alone => match stat(directory) {
            Ok(found) if Identity::of(&found).is_settled() => Some(Identity::of(&found)),
            _ => return,
        },
        _ => None,
    };
    let now_us = shared.clock.now_us();
    KEPT.with_borrow_mut(|kept| {
        if !kept.write_key(route, call) {
            return;
        }
        kept.forget();
        let file = File {
            name,
            file: identity,
            directory,
            since_us: now_us,
            looked_us: 0,
            content,
        };
        if file.cost() > most {
            return;
        }
        while kept.files.len() >= MAX_FILES || kept.bytes + file.cost() > most {
            kept.forget_oldest();
        }
        kept.bytes += file.cost();
        kept.files.insert(kept.key.clone(), file);
    });
}

impl Kept {
    /// Writes what the answer depends on; `false` where that is too much.
    fn write_key(&mut self, route: &StaticRoute, call: &Call) -> bool {
        let headers = call.request.headers();
        let accepted = headers.get(header::ACCEPT_ENCODING);
        let accepted = accepted.filter(|_| route.precompressed);
        let accepted = accepted.map_or(&b""[..], HeaderValue::as_bytes);
        let path = call.request.uri().path().as_bytes();
        self.key.clear();
        // Routes lie where they are as long as the worker lives.
        let which = std::ptr::from_ref(route).addr().to_ne_bytes();
        // No path has a space in it.
        for part in [&which[..], path, b" ", accepted] {
            self.key.extend_from_slice(part);
        }
        self.key.len() <= MAX_KEY && !headers.contains_key(header::RANGE)
    }

    /// Forgets the file of the key that was written last.
    fn forget(&mut self) {
        if let Some(file) = self.files.remove(self.key.as_slice()) {
            self.bytes -= file.cost();
        }
    }

    /// Forgets the file that was not asked for for the longest time.
    fn forget_oldest(&mut self) {
        let oldest = self.files.iter().min_by_key(|(_, file)| file.looked_us);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            self.bytes = 0;
            return;
        };
        if let Some(file) = self.files.remove(&key) {
            self.bytes -= file.cost();
        }
    }
}

impl File {
    fn cost(&self) -> usize {
        self.content.bytes.len() + OVERHEAD
    }

    fn is_unchanged(&self) -> bool {
        let is = |path: &Path, known| stat(path).is_ok_and(|found| Identity::of(&found) == known);
        let directory = self.name.parent().zip(self.directory);
        directory.is_none_or(|(path, known)| is(path, known)) && is(&self.name, self.file)
    }
}
