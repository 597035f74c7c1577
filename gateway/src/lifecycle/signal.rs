//! What the operating system asks of the process: SIGTERM and SIGINT both mean "drain", SIGHUP means
//! "read the certificates again", SIGUSR1 "log more", and the next one "no more".

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end; the signal's name.
    End(&'static str),
    /// To read certificates again.
    Reload,
    /// To log what helps to find a fault, or no more.
    Debug,
}

/// The signals, registered from construction on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    /// Registers for all of them; their default action (ending the process) is off from here on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot install a signal handler.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next of them.
    ///
    /// # Cancel safety
    ///
    /// A signal that arrives between two calls is not lost.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Debug,
        }
    }
}
