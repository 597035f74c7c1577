//! Making the file of a page, and taking a path over from a gateway that ended.
//!
//! The owner of a page holds an exclusive advisory lock on its file as long as it lives. The kernel
//! lets go of it at any kind of end, so a process id that is in use again deceives nobody. Who
//! wants to know whether the lock is held asks for a shared one, so that askers never meet each
//! other.
//!
//! A new page is made beside its path, as `PATH.new`, locked there and moved over the path with the
//! lock held: nobody ever sees half a page, readers of the old file keep their mapping, and of
//! gateways that start at once the one that locks `PATH.new` goes on, while the others find it
//! alive a moment later.

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

/// How often another gateway's start at the same path is waited for, 5 ms each. Chosen: writing a
/// page of the largest size takes less than the whole.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Where a page is made before it is moved to its path.
pub(super) fn new_path(path: &Path) -> PathBuf {
    let mut new_path = OsString::from(path);
    new_path.push(".new");
    PathBuf::from(new_path)
}

/// Writes the image as the page at `path`. The descriptor returned holds the lock. The image is
/// asked for when the path is ours, so that it may depend on the page that is there.
pub(super) fn create<'a>(
    path: &Path,
    image: impl FnOnce() -> &'a Vec<u64>,
) -> Result<(Words, OwnedFd), PageError> {
    let new_path = new_path(path);
    let file = claim_in_time(&new_path, path)?;
    let created = check_free(path)
        .and_then(|()| fill(file, &new_path, image()))
        .and_then(|made| {
            rustix::fs::rename(&new_path, path).map_err(io_error("replace", path))?;
            Ok(made)
        });
    if created.is_err() {
        // The error to report is the first one; the next start clears away what stays.
        rustix::fs::unlink(&new_path).ok();
    }
    created
}

/// Removes the page at `path` if its gateway is gone. A start at the same path waits for this, and
/// this for a start, so that a page that has just been made is never taken for the old one.
pub(super) fn remove(path: &Path) -> Result<(), PageError> {
    let new_path = new_path(path);
    let claimed = claim_in_time(&new_path, path)?;
    let removed =
        check_free(path).and_then(|()| rustix::fs::unlink(path).map_err(io_error("remove", path)));
    rustix::fs::unlink(&new_path).ok();
    drop(claimed);
    removed
}

fn claim_in_time(new_path: &Path, path: &Path) -> Result<OwnedFd, PageError> {
    for _ in 0..TRIES {
        if let Some(file) = claim(new_path)? {
            return Ok(file);
        }
    }
    Err(PageError::InUse {
        path: path.to_owned(),
        pid: None,
    })
}

/// Makes the new file, empty, and locks it. None if another gateway is at it: try again.
fn claim(new_path: &Path) -> Result<Option<OwnedFd>, PageError> {
    // NONBLOCK: a FIFO at the path must not stop the start.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = rustix::fs::open(new_path, flags, mode).map_err(open_error(new_path))?;
    let stat = check_ours(&file, new_path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            thread::sleep(PAUSE);
            return Ok(None);
        }
        Err(error) => return Err(io_error("lock", new_path)(error)),
    }
    if !is_at(new_path, &stat) {
        // Its maker has moved it to its path since it was opened here.
        return Ok(None);
    }
    if stat.st_size != 0 {
        // Left by a start that was killed. A fresh file has the right mode and no mapping.
        rustix::fs::unlink(new_path).map_err(io_error("clear the way for", new_path))?;
        return Ok(None);
    }
    Ok(Some(file))
}

/// Makes sure that no living gateway and nothing foreign is at the path.
fn check_free(path: &Path) -> Result<(), PageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(open_error(path)(error)),
    };
    check_ours(&file, path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let pid = read_word(&file, word::PID).and_then(|pid| u32::try_from(pid).ok());
            Err(PageError::InUse {
                path: path.to_owned(),
                pid,
            })
        }
        Err(error) => Err(io_error("lock", path)(error)),
    }
}

/// Refuses what is neither empty nor begins as a page does.
fn check_ours(file: &OwnedFd, path: &Path) -> Result<Stat, PageError> {
    let stat = rustix::fs::fstat(file).map_err(io_error("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PageError::NotAFile {
            path: path.to_owned(),
        });
    }
    if stat.st_size != 0 && read_word(file, word::MAGIC) != Some(u64::from_ne_bytes(MAGIC)) {
        return Err(PageError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(stat)
}

/// Writes and maps the page. Every byte is written, empty lanes included: a page of shared memory
/// that has no memory when it is first stored to ends the process with SIGBUS, while `write` returns
/// an error.
fn fill(file: OwnedFd, path: &Path, image: &[u64]) -> Result<(Words, OwnedFd), PageError> {
    let bytes: Vec<u8> = image.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut file = std::fs::File::from(file);
    file.write_all(&bytes).map_err(io_error("write", path))?;
    let file = OwnedFd::from(file);
    let words = Words::map(&file, bytes.len()).map_err(io_error("map", path))?;
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

fn open_error(path: &Path) -> impl FnOnce(Errno) -> PageError {
    move |error| match error {
        Errno::LOOP | Errno::ISDIR | Errno::NXIO => PageError::NotAFile {
            path: path.to_owned(),
        },
        error => io_error("open", path)(error),
    }
}

fn io_error<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> PageError {
    move |error| PageError::Io {
        action,
        path: path.to_owned(),
        source: error.into(),
    }
}
