//! Phases of the gateway's life, the clock, and the tasks that must end before it does.
//!
//! Everything that waits for the end waits on one [`Phase`] carried by a `watch` channel, so a
//! session, an accept loop and a long poll all learn of a drain in the same way. Only [`Clock`]
//! reads the time; the hub and the codecs are told it. Next file to read: `scope.rs`.

mod clock;
mod pulse;
mod scope;
mod signal;

pub(crate) use clock::Clock;
pub(crate) use pulse::Pulse;
pub(crate) use scope::Scope;
pub(crate) use signal::{Asked, Signals};

/// Where the gateway stands in its life. Phases only advance.
///
/// | phase | listeners | new requests and commands | existing sessions |
/// |---|---|---|---|
/// | `Starting` | bound, not accepting | – | – |
/// | `Ready` | accepting | served | served |
/// | `Draining` | TCP closed; HTTP answers, last requests only | plain requests served, new WebSockets and streams refused | told goodbye, closed one after another |
/// | `Closing` | closed | refused | cut |
/// | `Stopped` | closed | – | gone |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are bound; workers are not running yet.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop: no new connections, peers are told, sessions close one after another.
    Draining,
    /// The drain's deadline has passed or a second signal came: what is left is cut.
    Closing,
    /// All workers have ended.
    Stopped,
}

impl Phase {
    /// The phase as a lower-case word, as `/readyz` prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Stopped => "stopped",
        }
    }
}
