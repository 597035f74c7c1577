//! Pages that gateways left behind: finding them, and clearing them away.
//!
//! A page outlives its gateway on purpose, so that its last figures can be read. Nothing removes it
//! but a start under the same name, or this. A page whose gateway lives is never touched; whether it
//! does, the lock on the file tells, see `file.rs`.

use std::path::{Path, PathBuf};

use super::{PageError, default_page_path, file};
use crate::reader::{GatewayState, Reader};

/// The name every page begins with, where gateways put them unasked.
const PREFIX: &str = "roomwire.";

/// What was found out about one page.
#[derive(Debug)]
pub enum Cleaned {
    /// Its gateway was gone; it is removed.
    Removed(PathBuf),
    /// Its gateway lives.
    InUse(PathBuf),
    /// It could not be removed.
    Failed(PathBuf, PageError),
}

/// Removes the pages in a directory whose gateways are gone. Without one, in the directory where
/// gateways put them unasked.
///
/// # Errors
///
/// When the directory cannot be listed. What goes wrong with one page is told beside it.
pub fn clean_pages(directory: Option<&Path>) -> std::io::Result<Vec<Cleaned>> {
    Ok(pages(directory)?.into_iter().map(clean_one).collect())
}

fn clean_one(path: PathBuf) -> Cleaned {
    if path.extension().is_some_and(|extension| extension == "new") {
        // What a start that was killed left. Removing the page that it would have become claims
        // this file, which clears it away.
        let page = path.with_extension("");
        return match file::remove(&page) {
            Err(PageError::InUse { .. }) => Cleaned::InUse(path),
            // There was no page beside it, which is how it should be.
            _ if !path.exists() => Cleaned::Removed(path),
            Err(error) => Cleaned::Failed(path, error),
            Ok(()) => Cleaned::Removed(path),
        };
    }
    match file::remove(&path) {
        Ok(()) => Cleaned::Removed(path),
        Err(PageError::InUse { .. }) => Cleaned::InUse(path),
        Err(error) => Cleaned::Failed(path, error),
    }
}

/// Names of the gateways that have a page at the default place, and how they are.
pub fn find_instances(now_unix_ms: u64) -> Vec<(String, GatewayState)> {
    let read = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.to_owned();
        let reader = Reader::open(&path).ok()?;
        let state = reader
            .snapshot()
            .ok()?
            .state(now_unix_ms, reader.writer_alive());
        Some((name, state))
    };
    let mut found: Vec<_> = pages(None)
        .unwrap_or_default()
        .into_iter()
        .filter_map(read)
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn pages(directory: Option<&Path>) -> std::io::Result<Vec<PathBuf>> {
    let example = default_page_path("x");
    let directory = directory
        .or_else(|| example.parent())
        .unwrap_or_else(|| Path::new("/"));
    let is_page = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.len() > PREFIX.len() && name.starts_with(PREFIX))
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_page)
        .collect();
    paths.sort();
    Ok(paths)
}

/// Removes the page at `path` if its gateway is gone.
///
/// # Errors
///
/// [`PageError::InUse`] when its gateway lives; otherwise when something else is there or the
/// operating system refuses.
pub fn remove_page(path: &Path) -> Result<(), PageError> {
    file::remove(path)
}
