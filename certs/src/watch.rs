//! Noticing that files were changed: which file is there, and when it was written.
//!
//! Links are followed, so that a link which is pointed elsewhere counts as a change: certbot and
//! Kubernetes replace certificates that way, and no event of the directory that holds the path
//! would tell it. Nothing is read, and no clock or task is known here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is behind some paths at one moment. Two are equal where nothing changed between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamp(Vec<Option<FileStamp>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    /// Also set by `chmod` and by a copy that keeps the time of modification.
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at every path. A file that cannot be looked at counts as absent.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let look = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some(FileStamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                mode: metadata.mode(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        };
        Self(paths.into_iter().map(look).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_rewritten_file_a_missing_file_and_a_link_turned_elsewhere_are_changes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("one")).unwrap();
        std::fs::create_dir(at("two")).unwrap();
        for (file, text) in [("one/cert", "a"), ("two/cert", "a")] {
            std::fs::write(at(file), text).unwrap();
        }
        symlink("one", at("data")).unwrap();
        let path = at("data/cert");
        let look = || Stamp::of([path.as_path()]);

        let first = look();
        assert_eq!(look(), first);
        symlink("two", at("data.new")).unwrap();
        std::fs::rename(at("data.new"), at("data")).unwrap();
        let turned = look();
        assert_ne!(turned, first);
        std::fs::write(at("two/cert"), "longer").unwrap();
        let written = look();
        assert_ne!(written, turned);
        std::fs::remove_file(at("two/cert")).unwrap();
        assert_ne!(look(), written);
    }
}
