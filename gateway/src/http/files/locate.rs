//! From names to an open file. The kernel sees to it that none of them leads out of the root
//! (`openat2` with `RESOLVE_BENEATH`), however links are laid meanwhile.

use std::os::fd::OwnedFd;

use roomwire_protocols::content::{Coding, choose, is_compressible, media_type};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::kept::Identity;
use super::listing;
use super::path::Segments;
use crate::config::StaticRoute;

/// What a request wants of a route. Owned, because it may go to another thread.
#[derive(Debug)]
pub(super) struct Wanted {
    segments: Segments,
    /// `Accept-Encoding`, where siblings in a coding may be sent.
    pub(super) accept_encoding: Option<Vec<u8>>,
    /// Whether the client takes the fallback page.
    pub(super) pages: bool,
}

impl Wanted {
    pub(super) fn new(segments: Segments) -> Self {
        Self {
            segments,
            accept_encoding: None,
            pages: false,
        }
    }
}

/// Whether looking may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    AtHand,
    Wait,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Located {
    File(OpenFile),
    /// A directory's page.
    Listing(Vec<u8>),
    /// A directory, asked for without the slash behind its name.
    NoSlash,
    Missing,
}

/// A regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: OwnedFd,
    pub(super) size: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(super) modified: (u64, u64),
    /// What it is compressed with, being a sibling of what was asked for.
    pub(super) coding: Option<Coding>,
    /// It stands in for pages that do not exist.
    pub(super) is_fallback: bool,
    /// Where it was found, below the root.
    pub(super) name: Vec<u8>,
    pub(super) identity: Identity,
    media_type: &'static str,
}

impl OpenFile {
    /// The type of what was asked for, whatever coding it is sent in.
    pub(super) fn media_type(&self) -> &'static str {
        self.media_type
    }
}

/// Why something was not opened.
enum Miss {
    /// The kernel would have to wait.
    NotAtHand,
    Missing,
}

/// Finds what is wanted. `None` where that would take a disk and may not wait for it.
pub(super) fn locate(route: &StaticRoute, wanted: &Wanted, attempt: Attempt) -> Option<Located> {
    let search = Search {
        route,
        wanted,
        attempt,
    };
    match search.run() {
        Ok(found) => Some(found),
        Err(Miss::Missing) => Some(Located::Missing),
        Err(Miss::NotAtHand) => None,
    }
}

struct Search<'a> {
    route: &'a StaticRoute,
    wanted: &'a Wanted,
    attempt: Attempt,
}

impl Search<'_> {
    fn run(&self) -> Result<Located, Miss> {
        let (route, segments) = (self.route, &self.wanted.segments);
        // Opened anew each time, so that a root which is a link can be laid to a new release.
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = self.open(CWD, route.root.as_os_str().as_encoded_bytes(), flags, false)?;
        match self.look(&root, &segments.path) {
            Ok(Looked::File(_)) if segments.directory => self.fallback(&root),
            Ok(Looked::File(file)) => self.sibling(&root, &segments.path, file),
            Ok(Looked::Directory(_)) if !segments.directory => Ok(Located::NoSlash),
            Ok(Looked::Directory(directory)) => self.directory(&root, directory),
            Err(Miss::Missing) => self.fallback(&root),
            Err(Miss::NotAtHand) => Err(Miss::NotAtHand),
        }
    }

    /// A directory's index, else its listing.
    fn directory(&self, root: &OwnedFd, directory: OwnedFd) -> Result<Located, Miss> {
        let (route, segments) = (self.route, &self.wanted.segments);
        for name in &route.index {
            let mut path = segments.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            match self.look(root, &path) {
                Ok(Looked::File(file)) => return self.sibling(root, &path, file),
                Ok(Looked::Directory(_)) | Err(Miss::Missing) => {}
                Err(Miss::NotAtHand) => return Err(Miss::NotAtHand),
            }
        }
        if !route.listing {
            return self.fallback(root);
        }
        if self.attempt == Attempt::AtHand {
            return Err(Miss::NotAtHand);
        }
        let page = listing::page(&directory, route).map_err(|_| Miss::Missing)?;
        Ok(Located::Listing(page))
    }

    /// The page that stands in for those that do not exist.
    fn fallback(&self, root: &OwnedFd) -> Result<Located, Miss> {
        let fallback = self.route.fallback.as_ref();
        let Some(name) = fallback.filter(|_| self.wanted.pages) else {
            return Err(Miss::Missing);
        };
        let Looked::File(mut file) = self.look(root, name.as_bytes())? else {
            return Err(Miss::Missing);
        };
        file.is_fallback = true;
        self.sibling(root, name.as_bytes(), file)
    }

    /// The file, or the same in a coding that the client takes, where that lies beside it.
    fn sibling(&self, root: &OwnedFd, path: &[u8], file: OpenFile) -> Result<Located, Miss> {
        let Some(accepted) = &self.wanted.accept_encoding else {
            return Ok(Located::File(file));
        };
        if !is_compressible(file.media_type.as_bytes()) {
            return Ok(Located::File(file));
        }
        let mut available = Coding::ALL.to_vec();
        while let Some(coding) = choose(accepted, &available) {
            let path = [path, coding.extension().as_bytes()].concat();
            match self.look(root, &path) {
                Ok(Looked::File(sibling)) => {
                    return Ok(Located::File(OpenFile {
                        coding: Some(coding),
                        media_type: file.media_type,
                        is_fallback: file.is_fallback,
                        ..sibling
                    }));
                }
                Ok(Looked::Directory(_)) | Err(Miss::Missing) => {}
                Err(Miss::NotAtHand) => return Err(Miss::NotAtHand),
            }
            available.retain(|other| *other != coding);
        }
        Ok(Located::File(file))
    }

    fn look(&self, root: &OwnedFd, path: &[u8]) -> Result<Looked, Miss> {
        let path_or_root = if path.is_empty() { b"." } else { path };
        // Nothing here may wait for a writer of a FIFO.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open(root, path_or_root, flags, true)?;
        let stat = fstat(&file).map_err(|_| Miss::Missing)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Looked::File(OpenFile {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: (
                    u64::try_from(stat.st_mtime).unwrap_or(0),
                    stat.st_mtime_nsec,
                ),
                coding: None,
                is_fallback: false,
                media_type: media_type(path),
                name: path.to_vec(),
                identity: Identity::of(&stat),
                file,
            })),
            FileType::Directory => Ok(Looked::Directory(file)),
            _ => Err(Miss::Missing),
        }
    }

    fn open(
        &self,
        at: impl std::os::fd::AsFd,
        path: &[u8],
        flags: OFlags,
        confined: bool,
    ) -> Result<OwnedFd, Miss> {
        let flags = flags | OFlags::CLOEXEC;
        let mut resolve = ResolveFlags::empty();
        if confined {
            resolve |= ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            if !self.route.symlinks {
                resolve |= ResolveFlags::NO_SYMLINKS;
            }
        }
        if self.attempt == Attempt::AtHand {
            resolve |= ResolveFlags::CACHED;
        }
        match openat2(at, path, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(file),
            // Kernels before 5.12 do not know `RESOLVE_CACHED`.
            Err(Errno::AGAIN | Errno::INVAL) if self.attempt == Attempt::AtHand => {
                Err(Miss::NotAtHand)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG) => {
                Err(Miss::Missing)
            }
            Err(error) => {
                tracing::debug!(%error, "a file could not be opened");
                Err(Miss::Missing)
            }
        }
    }
}

enum Looked {
    File(OpenFile),
    Directory(OwnedFd),
}
