//! A directory's page: a list of links, made on a thread for files.

use std::io;
use std::os::fd::OwnedFd;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::config::StaticRoute;

/// Entries of one page. Chosen: as many as other listings have; more are counted.
const MAX_ENTRIES: usize = 1000;

/// Entries that are looked at, so that a directory of millions does not hold a thread.
const MAX_SEEN: usize = 100_000;

/// What a name keeps in a link.
const LINK: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The page of a directory: its directories, then its files, by name.
pub(super) fn page(directory: &OwnedFd, route: &StaticRoute) -> io::Result<Vec<u8>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)?.take(MAX_SEEN) {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || (!route.hidden && name.starts_with(b".")) {
            continue;
        }
        let follow = if route.symlinks {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let Ok(stat) = statat(directory, entry.file_name(), follow) else {
            continue;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => entries.push((false, name.to_vec(), None)),
            FileType::RegularFile => entries.push((true, name.to_vec(), Some(stat.st_size))),
            _ => {}
        }
    }
    entries.sort();
    let more = entries.len().saturating_sub(MAX_ENTRIES);
    let mut page = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>Files</title>\n<ul>\n\
         <li><a href=\"../\">../</a>\n",
    );
    for (is_file, name, size) in entries.into_iter().take(MAX_ENTRIES) {
        let slash = if is_file { "" } else { "/" };
        let link = percent_encode(&name, LINK);
        let shown = escaped(&String::from_utf8_lossy(&name));
        page.push_str(&format!(
            "<li><a href=\"./{link}{slash}\">{shown}{slash}</a>"
        ));
        if let Some(size) = size {
            page.push_str(&format!(" {size}"));
        }
        page.push('\n');
    }
    page.push_str("</ul>\n");
    if more > 0 {
        page.push_str(&format!("<p>and {more} more\n"));
    }
    Ok(page.into_bytes())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
