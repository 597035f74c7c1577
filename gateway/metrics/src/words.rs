//! The memory of a page, as 64-bit atomic words: the only unsafe code of this crate.
//!
//! Another process writes or reads the same memory, so neither `&[u8]` nor `&[u64]` of it may ever
//! exist. All access is through `AtomicU64`, always whole words, so every word is accessed with one
//! size; text is copied out word by word. Writers get the words themselves ([`Words::as_slice`]),
//! readers only a [`View`], which can do relaxed loads and nothing else: stronger or writing atomics
//! are not allowed on a read-only mapping.

#![allow(
    unsafe_code,
    reason = "turning mapped memory into atomics is what this module is for"
)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io, slice};

use memmap2::{MmapOptions, MmapRaw};

/// Bytes of a word.
pub(crate) const WORD: usize = size_of::<u64>();

/// 128 bytes: two cache lines, since the prefetcher of x86-64 fetches pairs and some arm64 have
/// lines of this size.
pub(crate) const LANE_ALIGN: usize = 128;

#[repr(C, align(128))]
pub(crate) struct Line([AtomicU64; LANE_ALIGN / WORD]);

const _: () = assert!(size_of::<Line>() == LANE_ALIGN && align_of::<Line>() == LANE_ALIGN);

/// Memory that may be written: a mapped file or the heap. Never moves while it lives.
pub(crate) enum Words {
    Heap(Box<[Line]>),
    File(MmapRaw),
}

impl Words {
    /// Words on the heap with the content of `image`, aligned as a mapping would be.
    pub(crate) fn heap(image: &[u64]) -> Self {
        let lines = image.chunks(LANE_ALIGN / WORD).map(|chunk| {
            Line(std::array::from_fn(|i| {
                AtomicU64::new(chunk.get(i).copied().unwrap_or(0))
            }))
        });
        Self::Heap(lines.collect())
    }

    /// Maps the first `bytes` bytes of a file, which must be that long and opened for both.
    pub(crate) fn map(file: &OwnedFd, bytes: usize) -> io::Result<Self> {
        MmapOptions::new().len(bytes).map_raw(file).map(Self::File)
    }

    pub(crate) fn as_slice(&self) -> &[AtomicU64] {
        match self {
            Self::Heap(lines) => {
                let words = lines.len() * (LANE_ALIGN / WORD);
                // SAFETY: a `Line` is exactly 16 `AtomicU64` without padding (asserted above), so
                // the boxed slice is `words` initialised words, allocated as one object and aligned
                // to more than a word. They are borrowed as long as `self` is, and nothing in this
                // crate makes a `&mut` to them.
                unsafe { slice::from_raw_parts(lines.as_ptr().cast(), words) }
            }
            Self::File(map) => {
                let words = map.len() / WORD;
                // SAFETY: the mapping is page-aligned, readable and writable, `map.len()` bytes
                // long (rounded down to whole words here) and stays until `self` is dropped. Any
                // bit pattern is an `AtomicU64`. No reference other than to atomics is ever made to
                // it, in this process or another. The file is as long as the mapping: it was sized
                // before, is made unwritable for others by its mode, and this crate shortens none.
                unsafe { slice::from_raw_parts(map.as_ptr().cast(), words) }
            }
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View(self.as_slice())
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Heap(_) => "heap",
            Self::File(_) => "file",
        };
        write!(f, "Words({kind}, {} words)", self.as_slice().len())
    }
}

/// A file mapped read-only.
pub(crate) struct ReadOnlyWords(MmapRaw);

impl ReadOnlyWords {
    /// Maps the first `bytes` bytes of a file. The caller has checked that it is that long.
    pub(crate) fn map(file: &OwnedFd, bytes: usize) -> io::Result<Self> {
        MmapOptions::new()
            .len(bytes)
            .map_raw_read_only(file)
            .map(Self)
    }

    /// The words, of which none may be loaded while the file is shorter than the mapping: the
    /// kernel would answer with SIGBUS. Look at the file's length first.
    pub(crate) fn view(&self) -> View<'_> {
        let words = self.0.len() / WORD;
        // SAFETY: the mapping is page-aligned, readable, `self.0.len()` bytes long (rounded down to
        // whole words here) and stays until `self` is dropped. Any bit pattern is an `AtomicU64`;
        // the gateway's process changes them only by 8-byte atomic stores. `View` hands out no
        // reference and only loads relaxed, which is what `std::sync::atomic` allows on read-only
        // memory for words of this size.
        View(unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), words) })
    }
}

impl fmt::Debug for ReadOnlyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadOnlyWords({} bytes)", self.0.len())
    }
}

/// Words to be looked at. Copies; no reference into the page leaves it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a>(&'a [AtomicU64]);

impl View<'_> {
    /// Bytes that can be looked at.
    pub(crate) fn bytes(self) -> usize {
        self.0.len() * WORD
    }

    /// One word, relaxed; 0 beyond the end.
    pub(crate) fn load(self, word: usize) -> u64 {
        self.0
            .get(word)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// A copy of `words` words from `first` on; those beyond the end are 0.
    pub(crate) fn copy(self, first: usize, words: usize) -> Vec<u8> {
        (first..first.saturating_add(words))
            .flat_map(|at| self.load(at).to_ne_bytes())
            .collect()
    }
}
