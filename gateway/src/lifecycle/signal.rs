//! What the operating system asks of the process: SIGTERM and SIGINT both mean "drain".

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The termination signals, registered from construction on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers for both signals; their default action (ending the process) is off from here on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot install a signal handler.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them and names it.
    ///
    /// # Cancel safety
    ///
    /// A signal that arrives between two calls is not lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
