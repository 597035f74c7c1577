//! The page as other processes see it: files, readers that come early, late or after a crash, and
//! pages that are damaged on purpose.
//!
//! All of it maps files, which Miri cannot; the unit tests beside the code run under Miri.

#![cfg(not(miri))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod crash;
mod exposition;
mod hostile;
mod layout;
mod lifecycle;
mod stress;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roomwire_metrics::{CATALOGUE, Kind, Metric, Page, PageOptions};
use tempfile::TempDir;

// By kind, so that rows may be renamed and removed.
const COUNTER: &Metric = nth(Kind::Counter, 0);
const OTHER_COUNTER: &Metric = nth(Kind::Counter, 1);
const GAUGE: &Metric = nth(Kind::Gauge, 0);
const HIGH: &Metric = nth(Kind::High, 0);
const HISTOGRAM: &Metric = nth(Kind::Histogram, 0);

const fn nth(kind: Kind, mut n: usize) -> &'static Metric {
    let mut i = 0;
    loop {
        let metric = &CATALOGUE[i];
        if metric.kind as u8 == kind as u8 {
            if n == 0 {
                return metric;
            }
            n -= 1;
        }
        i += 1;
    }
}

/// A directory of this test, and the path of a page in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("there is room for temporary files");
    let path = directory.path().join("roomwire.main");
    (directory, path)
}

fn options(workers: u16) -> PageOptions {
    PageOptions {
        version: "1.2.3".to_owned(),
        start_unix_ms: 1_000,
        ..PageOptions::new("main", workers)
    }
}

fn create(path: &Path, workers: u16) -> Arc<Page> {
    Page::create(path, &options(workers)).expect("nobody else has this path")
}

/// The word at a byte offset.
fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn set_word(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
}

/// FNV-1a with 64 bits, which seals the catalogue.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
