//! Writing to the terminal: a reader that went away is no error.

use std::io::{self, Write};

/// Writes to stdout and flushes.
///
/// # Errors
///
/// What the operating system says; [`is_broken_pipe`] tells the harmless one apart.
pub(super) fn stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes to stderr; when even that fails there is nobody left to tell.
pub(super) fn stderr(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).unwrap_or_default();
}

/// Whether the reader of our output has gone, as `head` does.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
