//! One running program: started in a process group of its own, so that what it starts ends with it.
//!
//! The group is asked to end (SIGTERM), and killed when `grace` is over. Once the program has ended
//! and closed its output the group is left alone: its number may be another's by then. A
//! [`Program`] that is dropped kills at once.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use roomwire_protocols::line::LineDecoder;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::config::ExecConfig;

/// Lines of one program's standard error that are logged as what they are to operators; what follows
/// is for those who debug. Chosen: a client must not be able to fill a disk by its program.
const LOGGED_LINES: usize = 100;

/// Bytes of one such line.
const LOGGED_BYTES: usize = 1024;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    group: Option<Pid>,
}

/// Its three ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
    pub(super) errors: ChildStderr,
}

impl Program {
    /// Starts the program of a listener. `peer` is whom it serves, which it finds in
    /// `ROOMWIRE_PEER`.
    ///
    /// # Errors
    ///
    /// When it cannot be started, as when there is no such file.
    pub(super) fn start(config: &ExecConfig, peer: Option<String>) -> io::Result<(Self, Ends)> {
        let (program, arguments) = config
            .command
            .split_first()
            .ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(peer) = peer {
            command.env("ROOMWIRE_PEER", peer);
        }
        let mut child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let program = Self {
            group: id.and_then(Pid::from_raw),
            child,
        };
        let (Some(input), Some(output), Some(errors)) = ends else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let ends = Ends {
            input,
            output,
            errors,
        };
        Ok((program, ends))
    }

    /// Waits for a program that has closed its output; its group is then left alone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn wait(&mut self) {
        match self.child.wait().await {
            Ok(status) => {
                self.group = None;
                tracing::debug!(%status, "a program ended");
            }
            Err(error) => tracing::debug!(%error, "a program cannot be waited for"),
        }
    }

    /// Asks the group to end, and kills it when `grace` is over.
    pub(super) async fn end(mut self, grace: Duration) {
        self.signal(Signal::TERM);
        if timeout(grace, self.child.wait()).await.is_err() {
            tracing::debug!("a program did not end when asked to; it is killed");
        }
        // What it started may be left. Its members keep the group's number from being reused.
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::trace!(%error, "a group that is gone needs no signal");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Logs what a program says on its standard error, line by line, until it closes it.
pub(super) async fn log_errors(listener: &str, mut errors: ChildStderr) {
    let mut lines = LineDecoder::new();
    let mut logged = 0;
    let mut buffer = [0; 4096];
    loop {
        let count = match errors.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let mut rest = buffer.get(..count).unwrap_or_default();
        loop {
            let (used, line) = lines.next(rest, LOGGED_BYTES);
            rest = rest.get(used..).unwrap_or_default();
            let text = match line {
                None => break,
                Some(Ok(line)) => String::from_utf8_lossy(line).into_owned(),
                Some(Err(_)) => "(a longer line)".to_owned(),
            };
            logged += 1;
            if logged <= LOGGED_LINES {
                tracing::info!(listener, "program: {}", text.escape_debug());
            } else {
                tracing::debug!(listener, "program: {}", text.escape_debug());
            }
        }
    }
}
