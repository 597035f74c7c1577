//! The directory that uploads go to. Everything here waits for a disk, so it runs on threads for files.
//!
//! What comes is written to a file without a name (`O_TMPFILE`), which the kernel removes by itself
//! whatever happens to us; where a file system has none of those, to one whose name begins with
//! [`TEMPORARY`], which goes when its [`Incoming`] does, or at the next start. It gets its name when it
//! is whole and on the disk, in one step. Names are single ones below the open directory, and a link
//! that lies there is replaced and not followed: there is no way out.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use roomwire_protocols::content::{Conditions, Validators, Verdict};
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::UploadsConfig;

/// What names of files that are not whole begin with, where they have names.
const TEMPORARY: &str = ".upload-";

/// Bytes after which what was written goes to the disk, before more is taken: a network that is faster
/// than the disk would fill the kernel's memory instead, and the last step would take long.
const SYNC_EVERY: u64 = 64 * 1024 * 1024;

/// How often at most the directory is counted again because it seems full.
const RECOUNT: Duration = Duration::from_secs(1);

/// The directory, and how much is in it.
#[derive(Debug)]
pub(crate) struct Store {
    directory: OwnedFd,
    max_file: u64,
    max_total: u64,
    max_files: usize,
    max_at_once: usize,
    at_once: AtomicUsize,
    ledger: Mutex<Ledger>,
    /// Held while a file gets its name, so that conditions hold when it does.
    naming: Mutex<()>,
}

/// How much there is. Whoever else writes to the directory is noticed when it seems full.
#[derive(Debug)]
struct Ledger {
    files: usize,
    bytes: u64,
    /// Places taken by uploads that are not whole yet.
    coming_files: usize,
    coming_bytes: u64,
    counted: Instant,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file is larger than a file may be")]
    TooLarge,
    #[error("there is no room for it")]
    NoRoom,
    #[error("the present file is not as the request wants it")]
    Condition,
    #[error("something else has that name")]
    Occupied,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoRoom,
            errno => Self::Io(errno.into()),
        }
    }
}

/// A name that a file may have: one name, not hidden, that every system can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn new(name: &str) -> Option<Self> {
        let odd = |c: char| c.is_control() || matches!(c, '/' | '\\');
        let fits = (1..=255).contains(&name.len()) && !name.starts_with('.') && !name.contains(odd);
        fits.then(|| Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The fields of a request that say what must be there before. Owned, because they go to a thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) if_match: Option<Vec<u8>>,
    pub(super) if_none_match: Option<Vec<u8>>,
    /// Seconds since 1970.
    pub(super) if_unmodified_since: Option<u64>,
}

/// A file that is there.
#[derive(Clone, Copy, Debug)]
struct Present {
    size: u64,
    modified: (u64, u64),
}

/// A file that was taken.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) sha256: digest::Digest,
    pub(super) etag: String,
    pub(super) replaced: bool,
}

impl Store {
    /// Opens the directory, and removes what uploads left there that a crash cut off.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or nothing be written to it.
    pub(crate) fn open(path: &Path, config: &UploadsConfig) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let store = Self {
            directory: fs::open(path, flags, Mode::empty())?,
            max_file: config.max_file.get(),
            max_total: config.max_total.get(),
            max_files: config.max_files,
            max_at_once: config.max_at_once,
            at_once: AtomicUsize::new(0),
            ledger: Mutex::new(Ledger {
                files: 0,
                bytes: 0,
                coming_files: 0,
                coming_bytes: 0,
                counted: Instant::now(),
            }),
            naming: Mutex::default(),
        };
        for entry in Dir::read_from(&store.directory)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_bytes()
                .starts_with(TEMPORARY.as_bytes())
            {
                fs::unlinkat(&store.directory, entry.file_name(), AtFlags::empty())?;
            }
        }
        store.count(&mut store.ledger())?;
        // Whether something can be written is better known now than at the first upload.
        store.nameless().map_err(|fault| match fault {
            Fault::Io(error) => error,
            other => io::Error::other(other),
        })?;
        Ok(store)
    }

    /// The largest file.
    pub(super) fn max_file(&self) -> u64 {
        self.max_file
    }

    /// A place among the uploads at a time, until it is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        if self.at_once.fetch_add(1, Ordering::Relaxed) < self.max_at_once {
            return Some(Place(Arc::clone(self)));
        }
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Begins to take a file that is to have this name.
    ///
    /// # Errors
    ///
    /// [`Fault`], as far as it can be told beforehand.
    pub(super) fn begin(self: &Arc<Self>, name: &Name, wanted: &Wanted) -> Result<Incoming, Fault> {
        let present = self.look(name)?;
        wanted.check(present)?;
        let takes_place = present.is_none();
        if takes_place {
            self.reserve(|ledger| ledger.files + ledger.coming_files < self.max_files)?
                .coming_files += 1;
        }
        let mut incoming = Incoming {
            store: Arc::clone(self),
            file: None,
            temporary: None,
            hash: digest::Context::new(&digest::SHA256),
            size: 0,
            unsynced: 0,
            takes_place,
        };
        let (file, temporary) = self.nameless()?;
        incoming.file = Some(file);
        incoming.temporary = temporary;
        Ok(incoming)
    }

    /// A file without a name; where there can be none, with a name of its own.
    fn nameless(&self) -> Result<(File, Option<String>), Fault> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(&self.directory, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok((File::from(file), None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                let name = temporary_name();
                let flags = flags | OFlags::CREATE | OFlags::EXCL;
                let file = fs::openat(&self.directory, &*name, flags, mode)?;
                Ok((File::from(file), Some(name)))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// What has a name now; an error where that is no file.
    fn look(&self, name: &Name) -> Result<Option<Present>, Fault> {
        let found = fs::statat(&self.directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        let stat = match found {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Fault::Occupied);
        }
        Ok(Some(Present::of(&stat)))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger, once there is room; the directory is counted where there seems to be none.
    fn reserve(&self, fits: impl Fn(&Ledger) -> bool) -> Result<MutexGuard<'_, Ledger>, Fault> {
        let mut ledger = self.ledger();
        if !fits(&ledger) && ledger.counted.elapsed() >= RECOUNT {
            self.count(&mut ledger)?;
        }
        if fits(&ledger) {
            Ok(ledger)
        } else {
            Err(Fault::NoRoom)
        }
    }

    fn count(&self, ledger: &mut Ledger) -> io::Result<()> {
        let (mut files, mut bytes) = (0, 0_u64);
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            // One that has just gone is none.
            let name = entry.file_name();
            if let Ok(stat) = fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                files += 1;
                bytes = bytes.saturating_add(Present::of(&stat).size);
            }
        }
        ledger.files = files;
        ledger.bytes = bytes;
        ledger.counted = Instant::now();
        Ok(())
    }
}

/// A place among the uploads at a time.
#[derive(Debug)]
pub(super) struct Place(Arc<Store>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that is being taken. Dropping it leaves nothing behind, and may wait for a disk.
pub(super) struct Incoming {
    store: Arc<Store>,
    /// There until it is dropped.
    file: Option<File>,
    /// Its name, where it has one for the time being.
    temporary: Option<String>,
    hash: digest::Context,
    size: u64,
    unsynced: u64,
    /// It is counted among the files that come.
    takes_place: bool,
}

impl Incoming {
    /// Writes what came next.
    ///
    /// # Errors
    ///
    /// [`Fault`]; the file is not to be gone on with.
    pub(super) fn write(&mut self, pieces: &[Bytes]) -> Result<(), Fault> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if self.size + length > self.store.max_file {
            return Err(Fault::TooLarge);
        }
        let max = self.store.max_total;
        let fits = |ledger: &Ledger| {
            let sum = ledger.bytes.saturating_add(ledger.coming_bytes);
            sum.saturating_add(length) <= max
        };
        self.store.reserve(fits)?.coming_bytes += length;
        self.size += length;
        let Some(file) = &mut self.file else {
            return Err(Fault::Io(io::ErrorKind::BrokenPipe.into()));
        };
        for piece in pieces {
            file.write_all(piece).map_err(fault)?;
            self.hash.update(piece);
        }
        self.unsynced += length;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            file.sync_data().map_err(fault)?;
        }
        Ok(())
    }

    /// Gives the file its name, in the place of what has it now.
    ///
    /// # Errors
    ///
    /// [`Fault`]; whatever had the name before has it still.
    pub(super) fn finish(mut self, name: &Name, wanted: &Wanted) -> Result<Stored, Fault> {
        let Some(file) = &self.file else {
            return Err(Fault::Io(io::ErrorKind::BrokenPipe.into()));
        };
        file.sync_all().map_err(fault)?;
        let store = Arc::clone(&self.store);
        let naming = store.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let before = store.look(name)?;
        wanted.check(before)?;
        let temporary = match &self.temporary {
            Some(temporary) => temporary.clone(),
            None => {
                let temporary = temporary_name();
                let file = format!("/proc/self/fd/{}", file.as_raw_fd());
                let flags = AtFlags::SYMLINK_FOLLOW;
                fs::linkat(CWD, file, &store.directory, &*temporary, flags)?;
                self.temporary.insert(temporary).clone()
            }
        };
        fs::renameat(
            &store.directory,
            &*temporary,
            &store.directory,
            name.as_str(),
        )?;
        self.temporary = None;
        let after = Present::of(&fs::fstat(file)?);
        self.account(before);
        drop(naming);
        fs::fsync(&store.directory)?;
        Ok(Stored {
            size: after.size,
            sha256: self.hash.clone().finish(),
            etag: after.etag(),
            replaced: before.is_some(),
        })
    }

    /// What came is there now.
    fn account(&mut self, before: Option<Present>) {
        let mut ledger = self.store.ledger();
        self.give_back(&mut ledger);
        match before {
            Some(before) => ledger.bytes = ledger.bytes.saturating_sub(before.size),
            None => ledger.files += 1,
        }
        ledger.bytes = ledger.bytes.saturating_add(self.size);
        drop(ledger);
        self.takes_place = false;
        self.size = 0;
    }

    fn give_back(&self, ledger: &mut Ledger) {
        ledger.coming_files -= usize::from(self.takes_place);
        ledger.coming_bytes = ledger.coming_bytes.saturating_sub(self.size);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.give_back(&mut self.store.ledger());
        if let Some(name) = self.temporary.take() {
            let removed = fs::unlinkat(&self.store.directory, &*name, AtFlags::empty());
            if let Err(error) = removed {
                tracing::debug!(%error, name, "what was left of an upload could not be removed");
            }
        }
    }
}

impl Wanted {
    /// Whether what is there is what the request wants to be there (RFC 9110 §13.2.2).
    fn check(&self, present: Option<Present>) -> Result<(), Fault> {
        let Some(present) = present else {
            // §13.1.1: no tag is that of nothing.
            return match self.if_match {
                Some(_) => Err(Fault::Condition),
                None => Ok(()),
            };
        };
        let conditions = Conditions {
            if_match: self.if_match.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            if_unmodified_since: self.if_unmodified_since,
            if_modified_since: None,
        };
        let etag = present.etag();
        let validators = Validators {
            etag: &etag,
            modified: present.modified.0,
        };
        match conditions.evaluate(validators) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed | Verdict::NotModified => Err(Fault::Condition),
        }
    }
}

impl Present {
    fn of(stat: &fs::Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (
                u64::try_from(stat.st_mtime).unwrap_or(0),
                stat.st_mtime_nsec,
            ),
        }
    }

    /// The same as a static route over the directory has.
    fn etag(&self) -> String {
        super::super::files::etag(self.modified, self.size, "")
    }
}

fn fault(error: io::Error) -> Fault {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw_os_error(code).into(),
        None => Fault::Io(error),
    }
}

fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Its keys are random.
    let random = RandomState::new().hash_one(count);
    format!("{TEMPORARY}{random:016x}{count:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(directory: &Path, change: impl FnOnce(&mut UploadsConfig)) -> Arc<Store> {
        let mut config = UploadsConfig::default();
        change(&mut config);
        Arc::new(Store::open(directory, &config).unwrap())
    }

    fn put(store: &Arc<Store>, name: &str, data: &'static str) -> Result<Stored, Fault> {
        let (name, wanted) = (Name::new(name).unwrap(), Wanted::default());
        let mut incoming = store.begin(&name, &wanted)?;
        incoming.write(&[Bytes::from_static(data.as_bytes())])?;
        incoming.finish(&name, &wanted)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|it| name(it).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in [
            "a",
            "a.txt",
            "a b",
            "\u{e4}\u{f6}",
            "a..b",
            &"a".repeat(255),
        ] {
            assert!(Name::new(name).is_some(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".a",
            ".upload-1",
            "a/b",
            "/a",
            "../a",
            "a\0",
            "a\n",
            "a\\b",
            "\u{85}",
            &"a".repeat(256),
        ] {
            assert!(Name::new(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join(".upload-1"), "left by a crash").unwrap();
        let store = store(path, |_| {});
        assert_eq!(names(path), [""; 0]);
        let name = Name::new("a").unwrap();
        let mut broken = store.begin(&name, &Wanted::default()).unwrap();
        broken.write(&[Bytes::from_static(b"half")]).unwrap();
        assert!(names(path).iter().all(|it| it.starts_with('.')));
        drop(broken);
        assert_eq!(names(path), [""; 0]);
        assert!(!put(&store, "a", "whole").unwrap().replaced);
        let stored = put(&store, "a", "another").unwrap();
        assert!(stored.replaced && stored.size == 7);
        assert_eq!(std::fs::read(path.join("a")).unwrap(), b"another");
        assert_eq!(names(path), ["a"]);
    }

    #[test]
    fn there_is_room_for_so_many_files_and_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), |config| {
            config.max_files = 2;
            config.max_total = crate::config::ByteSize::bytes(10);
            config.max_file = crate::config::ByteSize::bytes(8);
        });
        put(&store, "a", "1234").unwrap();
        assert!(matches!(
            put(&store, "a", "123456789"),
            Err(Fault::TooLarge)
        ));
        assert!(matches!(put(&store, "b", "1234567"), Err(Fault::NoRoom)));
        put(&store, "b", "123456").unwrap();
        assert!(matches!(put(&store, "c", ""), Err(Fault::NoRoom)));
        // What is replaced takes no other place, but its bytes are there twice for a moment.
        assert!(matches!(put(&store, "a", "1"), Err(Fault::NoRoom)));
        // Somebody else made room, which is noticed when it is looked for.
        std::fs::remove_file(directory.path().join("b")).unwrap();
        store.ledger().counted -= RECOUNT;
        put(&store, "c", "123456").unwrap();
        let ledger = store.ledger();
        assert_eq!((ledger.files, ledger.bytes), (2, 10));
        assert_eq!((ledger.coming_files, ledger.coming_bytes), (0, 0));
    }

    #[test]
    fn a_link_is_replaced_and_not_followed_and_a_directory_stays() {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = other.path().join("target");
        std::fs::write(&target, "untouched").unwrap();
        std::os::unix::fs::symlink(&target, directory.path().join("a")).unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let store = store(directory.path(), |_| {});
        put(&store, "a", "new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
        assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"new");
        assert!(matches!(put(&store, "d", "new"), Err(Fault::Occupied)));
    }

    #[test]
    fn conditions_hold_when_a_file_gets_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), |_| {});
        let name = Name::new("a").unwrap();
        let new = Wanted {
            if_none_match: Some(b"*".to_vec()),
            ..Wanted::default()
        };
        let first = store.begin(&name, &new).unwrap();
        let second = store.begin(&name, &new).unwrap();
        let stored = first.finish(&name, &new).unwrap();
        assert!(matches!(second.finish(&name, &new), Err(Fault::Condition)));
        assert!(matches!(store.begin(&name, &new), Err(Fault::Condition)));
        let wanted = |etag: &str| Wanted {
            if_match: Some(etag.as_bytes().to_vec()),
            ..Wanted::default()
        };
        assert!(store.begin(&name, &wanted(&stored.etag)).is_ok());
        assert!(store.begin(&name, &wanted("*")).is_ok());
        assert!(matches!(
            store.begin(&name, &wanted("\"x\"")),
            Err(Fault::Condition)
        ));
        let other = Name::new("b").unwrap();
        assert!(matches!(
            store.begin(&other, &wanted("*")),
            Err(Fault::Condition)
        ));
        assert_eq!(names(directory.path()), ["a"]);
    }
}
