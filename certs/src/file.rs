//! Files that hold certificates and keys: bounded reads, permission checks, atomic writes.
//!
//! A key is never on disk with wider permissions than its final ones: the mode is given at
//! creation, not set afterwards. A write is a rename, so that a reader finds the old file or the
//! new one, and a crash leaves at worst a `.tmp` file that the next write replaces.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::Error;

/// The most that is read of a certificate or key file, in bytes. Chosen: a chain of four RSA
/// certificates takes about 8 KiB, so this stops a device or a log file named by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Mode of a private key: its owner alone.
pub(crate) const KEY_MODE: u32 = 0o600;

/// Mode of a certificate, which is public.
pub(crate) const CERTIFICATE_MODE: u32 = 0o644;

/// Bits that a key made by this crate must not have: anything for group or others.
pub(crate) const OWNER_ONLY: u32 = 0o077;

/// Bits that an operator's key must not have: anything for others, and writing for the group. A
/// group may read, because Debian keeps keys as `root:ssl-cert` with mode 640.
pub(crate) const GROUP_MAY_READ: u32 = 0o027;

/// Reads a whole file of at most [`MAX_FILE_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    read_open(&file, path)
}

/// Reads a private key, unless its mode has one of the bits in `forbidden`.
///
/// The mode is that of the opened file, so it cannot change between the check and the read.
pub(crate) fn read_key(path: &Path, forbidden: u32) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_file() && mode & forbidden != 0 {
        return Err(Error::KeyExposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(&file, path)
}

fn read_open(file: &File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_FILE_BYTES + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(bytes)
}

/// Reads a file that [`write_private`] wrote; `None` where there is none.
///
/// # Errors
///
/// [`Error::KeyExposed`] where others may read it, [`Error::Io`] and [`Error::TooLarge`].
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_key(path, OWNER_ONLY) {
        Ok(contents) => Ok(Some(contents)),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file at `path` by one that its owner alone can read, at once or not at all. The
/// directory is made where it is missing. Blocks until it is on the disk.
///
/// # Errors
///
/// Names the file or directory that cannot be written, or that others could change.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let nowhere = || Error::Io {
        action: "write",
        path: path.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
    };
    let directory = path.parent().ok_or_else(nowhere)?;
    let name = path.file_name().and_then(|name| name.to_str());
    LockedDirectory::open(directory)?.write(name.ok_or_else(nowhere)?, contents, KEY_MODE)
}

/// A directory that this process holds alone until the value is dropped.
///
/// The lock is on the directory itself, so nothing but certificates and keys lies in it.
#[derive(Debug)]
pub(crate) struct LockedDirectory<'a> {
    path: &'a Path,
    handle: File,
}

impl<'a> LockedDirectory<'a> {
    /// Creates the directory with mode 700 where it is missing, and waits for its lock.
    ///
    /// # Errors
    ///
    /// A directory that another user owns or may write to is refused: its keys could be swapped.
    pub(crate) fn open(path: &'a Path) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(Error::io("create the directory", path))?;
        let handle = File::open(path).map_err(Error::io("open", path))?;
        let metadata = handle.metadata().map_err(Error::io("read", path))?;
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(Error::DirectoryExposed {
                path: path.to_owned(),
                mode,
            });
        }
        let user = rustix::process::geteuid().as_raw();
        // Root may use anyone's directory: a container often runs as root on a mounted one.
        if user != 0 && metadata.uid() != user && metadata.uid() != 0 {
            let owner = metadata.uid();
            return Err(Error::DirectoryForeign {
                path: path.to_owned(),
                owner,
                user,
            });
        }
        handle.lock().map_err(Error::io("lock", path))?;
        Ok(Self { path, handle })
    }

    /// Replaces the file `name` by one with these contents and this mode, at once or not at all.
    pub(crate) fn write(&self, name: &str, contents: &[u8], mode: u32) -> Result<(), Error> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!(".{name}.tmp"));
        // The lock is ours, so a temporary file is what a crash left behind.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &temporary)(error));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .map_err(Error::io("create", &temporary))?;
        file.write_all(contents)
            .map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(Error::io("create", &path))?;
        self.handle
            .sync_all()
            .map_err(Error::io("write", self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_written_key_is_its_owners_alone_and_so_is_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data/certs");
        let directory = LockedDirectory::open(&path).unwrap();
        directory.write("key.pem", b"secret", KEY_MODE).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("key.pem")), 0o600);
        assert_eq!(
            read_key(&path.join("key.pem"), OWNER_ONLY).unwrap(),
            b"secret"
        );
    }

    #[test]
    fn a_write_replaces_the_file_and_what_a_crash_left() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("certs");
        let directory = LockedDirectory::open(&path).unwrap();
        std::fs::write(path.join(".key.pem.tmp"), b"half").unwrap();
        directory.write("key.pem", b"one", KEY_MODE).unwrap();
        directory.write("key.pem", b"two", KEY_MODE).unwrap();
        assert_eq!(read(&path.join("key.pem")).unwrap(), b"two");
        assert!(!path.join(".key.pem.tmp").exists());
    }

    #[test]
    fn an_operators_key_may_be_read_by_its_group_but_not_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        std::fs::write(&path, b"secret").unwrap();
        for (mode, allowed) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o660, false),
        ] {
            set_mode(&path, mode);
            assert_eq!(
                read_key(&path, GROUP_MAY_READ).is_ok(),
                allowed,
                "mode {mode:o}"
            );
        }
        set_mode(&path, 0o644);
        let message = read_key(&path, GROUP_MAY_READ).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "the private key {0} is open to other users (mode 644): run `chmod 600 {0}`",
                path.display()
            )
        );
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        set_mode(parent.path(), 0o777);
        let error = LockedDirectory::open(parent.path()).unwrap_err();
        assert!(
            matches!(error, Error::DirectoryExposed { mode: 0o777, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_file_too_large_for_a_certificate_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.pem");
        File::create(&path)
            .unwrap()
            .set_len(MAX_FILE_BYTES + 1)
            .unwrap();
        assert!(matches!(read(&path), Err(Error::TooLarge { .. })));
    }
}
