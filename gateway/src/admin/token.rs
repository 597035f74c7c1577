//! The admin token: where it is kept, and who has to show it.
//!
//! It is made at the first start that needs one, readable by its owner alone, and lasts until somebody
//! removes the file. Whoever comes from this machine to a listener on loopback needs none, unless
//! `admin.token = "always"` says so: that is how one develops. A proxy on this machine makes everybody
//! come from it; what it adds to requests gives it away, and so does the name it passes on.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, TokenPolicy};
use crate::running::{StartError, data_dir};

/// The file's name in the data directory.
const FILE: &str = "admin-token";

/// Random bytes in a token that is made here. Chosen: guessing is hopeless from 16 on.
const RANDOM_BYTES: usize = 24;

const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// The most that is read of the file.
const MAX_FILE_BYTES: u64 = 1024;

/// The token. It is printed nowhere but where [`expose`](Self::expose) is called.
#[derive(Clone)]
pub(crate) struct AdminToken(String);

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// The token's text.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is the token. Takes as long however much of it is right.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        use aws_lc_rs::constant_time::verify_slices_are_equal;
        verify_slices_are_equal(self.0.as_bytes(), shown.as_bytes()).is_ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // What may stand in a header, in a cookie and in an Authorization (RFC 6750 §2.1) alike.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
        let good = LENGTHS.contains(&text.len()) && text.bytes().all(plain);
        good.then(|| Self(text.to_owned()))
    }

    fn random() -> Result<Self, StartError> {
        let bytes = crate::running::random_bytes::<RANDOM_BYTES>()?;
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Ok(Self(digits.collect()))
    }
}

/// Who has to show the token, and which it is.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: TokenPolicy,
    /// `None` where nobody who would have to show it can come.
    token: Option<AdminToken>,
    file: Option<PathBuf>,
    made: bool,
}

impl Guard {
    /// Reads the token, and makes it where it is missing and one of `listeners`, which are the
    /// addresses of HTTP listeners, needs it.
    ///
    /// # Errors
    ///
    /// For a file that is no token or that others may read, and for one that is named and not there.
    pub(crate) fn load(config: &Config, listeners: &[SocketAddr]) -> Result<Self, StartError> {
        let admin = &config.admin;
        let always = admin.token == TokenPolicy::Always;
        let open = listeners.iter().any(|at| !is_loopback(at.ip()));
        let needed = !listeners.is_empty() && (always || open);
        let own = admin.token_file.is_none();
        let in_data_dir = || data_dir(config).map(|directory| directory.join(FILE));
        let file = admin.token_file.clone().or_else(in_data_dir);
        let mut guard = Self {
            policy: admin.token,
            token: None,
            file,
            made: false,
        };
        let Some(path) = guard.file.clone() else {
            // Without a place it lasts as long as the gateway.
            guard.token = needed.then(AdminToken::random).transpose()?;
            guard.made = needed;
            return Ok(guard);
        };
        let failed = |reason: String| StartError::AdminToken {
            path: path.clone(),
            reason,
        };
        guard.token = read(&path, own).map_err(failed)?;
        if guard.token.is_none() && (needed || !own) {
            if !own {
                return Err(failed("there is no such file".to_owned()));
            }
            let token = AdminToken::random()?;
            match write(&path, &token) {
                Ok(true) => (guard.made, guard.token) = (true, Some(token)),
                // Somebody else was first.
                Ok(false) => guard.token = read(&path, own).map_err(failed)?,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the admin token cannot be kept; it lasts until the end");
                    (guard.file, guard.made, guard.token) = (None, true, Some(token));
                }
            }
        }
        Ok(guard)
    }

    /// Whether `shown` is the token.
    pub(crate) fn accepts(&self, shown: &str) -> bool {
        self.token
            .as_ref()
            .is_some_and(|token| token.matches(shown))
    }

    /// Whether a request to a listener bound at `bound` from `peer` needs no token, if nothing in it
    /// says that it came through a proxy.
    pub(crate) fn trusts(&self, bound: IpAddr, peer: IpAddr) -> bool {
        self.policy == TokenPolicy::Auto && is_loopback(bound) && is_loopback(peer)
    }

    /// The token, for whoever started the gateway.
    pub(crate) fn token(&self) -> Option<&AdminToken> {
        self.token.as_ref()
    }

    /// Where it is kept.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it was made at this start.
    pub(crate) fn is_new(&self) -> bool {
        self.made
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The token in a file; `None` where there is no file.
fn read(path: &Path, own: bool) -> Result<Option<AdminToken>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            use io::ErrorKind::{NotADirectory, NotFound};
            let missing = matches!(error.kind(), NotADirectory | NotFound);
            return if missing {
                Ok(None)
            } else {
                Err(error.to_string())
            };
        }
    };
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.mode() & 0o777;
    if own && mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!(
            "others may read it (mode {mode:o}): remove it for a new one, or run `chmod 600 {path}`"
        ));
    }
    if !own && mode & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "everybody on this machine may read the admin token");
    }
    let mut text = String::new();
    let mut bounded = file.take(MAX_FILE_BYTES);
    bounded
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let bad = "it does not hold a token: 16 to 256 letters, digits and -_.~+/= on one line";
    let token = AdminToken::parse(&text).ok_or(bad)?;
    Ok(Some(token))
}

/// Writes the token unless there is one: whole or not at all, and never readable by others. Tells
/// whether this one was first.
fn write(path: &Path, token: &AdminToken) -> io::Result<bool> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let unfinished = directory.join(format!(".{FILE}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let opened = options.open(&unfinished).or_else(|error| {
        // What a process of the same number left.
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        std::fs::remove_file(&unfinished)?;
        options.open(&unfinished)
    });
    let mut file = opened?;
    let linked = writeln!(file, "{}", token.expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    std::fs::remove_file(&unfinished)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(directory: &Path) -> Config {
        let mut config = Config::default();
        config.gateway.data_dir = Some(directory.to_owned());
        config
    }

    fn load(config: &Config, bound: &str) -> Result<Guard, StartError> {
        Guard::load(config, &[bound.parse().unwrap()])
    }

    #[test]
    fn a_token_is_made_once_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&directory.path().join("data"));
        let first = load(&config, "0.0.0.0:80").unwrap();
        let again = load(&config, "0.0.0.0:80").unwrap();
        let (token, same) = (first.token().unwrap(), again.token().unwrap());
        assert_eq!(token.expose(), same.expose());
        assert_eq!((first.is_new(), again.is_new()), (true, false));
        assert_eq!(token.expose().len(), 2 * RANDOM_BYTES);
        let mode = std::fs::metadata(first.file().unwrap()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let left = std::fs::read_dir(directory.path().join("data")).unwrap();
        assert_eq!(left.count(), 1, "nothing unfinished stays");
    }

    #[test]
    fn nothing_is_written_where_nobody_needs_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        for bound in ["127.0.0.1:80", "[::1]:80"] {
            let guard = load(&config, bound).unwrap();
            assert!(guard.token().is_none());
            assert!(!guard.accepts(""));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_token_that_cannot_be_kept_lasts_as_long_as_the_gateway() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("no-directory");
        std::fs::write(&file, "").unwrap();
        let guard = load(&config(&file), "0.0.0.0:80").unwrap();
        assert!(guard.token().is_some() && guard.is_new());
        assert_eq!(guard.file(), None);
    }

    #[test]
    fn a_file_that_is_no_token_or_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let config = config(directory.path());
        let refused = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&config, "127.0.0.1:80").unwrap_err().to_string()
        };
        assert!(refused("short\n", 0o600).contains("16 to 256"));
        assert!(refused("", 0o600).contains("16 to 256"));
        assert!(refused("a token with spaces in it", 0o600).contains("16 to 256"));
        assert!(refused("0123456789abcdef0123", 0o644).contains("chmod 600"));
    }

    #[test]
    fn this_machine_is_trusted_on_loopback_only() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        let trusts = |config: &Config, bound: &str, peer: &str| {
            let guard = load(config, &format!("{bound}:80")).unwrap();
            guard.trusts(
                bound.trim_matches(['[', ']']).parse().unwrap(),
                peer.parse().unwrap(),
            )
        };
        assert!(trusts(&config, "127.0.0.1", "127.0.0.1"));
        assert!(trusts(&config, "[::1]", "::1"));
        assert!(!trusts(&config, "0.0.0.0", "127.0.0.1"));
        assert!(!trusts(&config, "127.0.0.1", "192.0.2.1"));
        config.admin.token = TokenPolicy::Always;
        assert!(!trusts(&config, "127.0.0.1", "127.0.0.1"));
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let guard = load(&config(directory.path()), "0.0.0.0:80").unwrap();
        let token = guard.token().unwrap().expose().to_owned();
        assert!(guard.accepts(&token));
        assert!(!guard.accepts(&token[1..]));
        assert!(!guard.accepts(&format!("{token}0")));
        assert!(!guard.accepts(""));
    }
}
