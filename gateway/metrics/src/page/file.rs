//! Making the file of a page, and taking a path over from a gateway that ended.
//!
//! The owner of a page holds an exclusive advisory lock on its file as long as it lives; the kernel
//! lets go of it at any kind of end, so a process id that is in use again deceives nobody. A new
//! page is written beside the path, locked and moved over it: readers of the old file keep their
//! mapping, and nobody ever sees half a page. All of that happens under the lock of the file that
//! is at the path already (an empty one is made where there is none), so that of two gateways which
//! start at once exactly one wins.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::PageError;
use crate::layout::{MAGIC, word};
use crate::words::{WORD, Words};

/// Readers ask for the lock for a moment to see whether it is free, and another gateway may be just
/// about to take the path over. Chosen: long enough for both, short enough for a start.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Writes the image as the page at `path`. The descriptor returned holds the lock.
pub(super) fn create(path: &Path, image: &[u64]) -> Result<(Words, OwnedFd), PageError> {
    let _place = claim(path)?;
    let mut new_path = OsString::from(path);
    new_path.push(".new");
    let new_path = PathBuf::from(new_path);
    let created = write_new(&new_path, image).and_then(|made| {
        rustix::fs::rename(&new_path, path).map_err(io_error("replace", path))?;
        Ok(made)
    });
    if created.is_err() {
        // What stays is taken away by the next start; the first error is the one to report.
        rustix::fs::unlink(&new_path).ok();
    }
    created
}

/// Opens what is at the path, makes sure that no living gateway owns it and holds its lock.
fn claim(path: &Path) -> Result<OwnedFd, PageError> {
    for _ in 0..LOCK_TRIES {
        let place = open_place(path)?;
        let stat = rustix::fs::fstat(&place).map_err(io_error("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PageError::NotAFile {
                path: path.to_owned(),
            });
        }
        if stat.st_size != 0 && read_word(&place, word::MAGIC) != Some(u64::from_ne_bytes(MAGIC)) {
            return Err(PageError::Foreign {
                path: path.to_owned(),
            });
        }
        match rustix::fs::flock(&place, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(path, &stat) => return Ok(place),
            // Somebody moved a page of their own over the path in the meantime: look at that one.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(io_error("lock", path)(error)),
        }
    }
    let pid = open_place(path)
        .ok()
        .and_then(|place| read_word(&place, word::PID));
    let pid = pid
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0);
    Err(PageError::InUse {
        path: path.to_owned(),
        pid,
    })
}

fn open_place(path: &Path) -> Result<OwnedFd, PageError> {
    // NONBLOCK: a FIFO at the path must not stop the start.
    let flags =
        OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, page_mode()).map_err(|error| match error {
        Errno::LOOP | Errno::ISDIR | Errno::NXIO => PageError::NotAFile {
            path: path.to_owned(),
        },
        error => io_error("open", path)(error),
    })
}

fn page_mode() -> Mode {
    Mode::RUSR | Mode::WUSR | Mode::RGRP
}

/// Makes the new file. Every byte is written, holes included: a page of shared memory that has no
/// memory when it is first stored to ends the process with SIGBUS, while `write` returns an error.
fn write_new(path: &Path, image: &[u64]) -> Result<(Words, OwnedFd), PageError> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(io_error("clear the way for", path)(error)),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, page_mode()).map_err(io_error("make", path))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(io_error("lock", path))?;
    let file = {
        let mut file = std::fs::File::from(file);
        let bytes: Vec<u8> = image.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.write_all(&bytes).map_err(io_error("write", path))?;
        OwnedFd::from(file)
    };
    let words = Words::map(&file, image.len() * WORD).map_err(io_error("map", path))?;
    Ok((words, file))
}

fn is_at(path: &Path, file: &Stat) -> bool {
    rustix::fs::lstat(path).is_ok_and(|at| (at.st_dev, at.st_ino) == (file.st_dev, file.st_ino))
}

fn read_word(file: &OwnedFd, word: usize) -> Option<u64> {
    let mut bytes = [0; WORD];
    let read = rustix::io::pread(file, &mut bytes, (word * WORD) as u64).ok()?;
    (read == WORD).then(|| u64::from_ne_bytes(bytes))
}

fn io_error<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> PageError {
    move |error| PageError::Io {
        action,
        path: path.to_owned(),
        source: error.into(),
    }
}
