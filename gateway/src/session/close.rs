//! Why sessions end: one exhaustive table.
//!
//! Every session ends by exactly one [`CloseReason`]. The table says for each what is counted, whose
//! fault it is, what each wire is told, how loudly it is logged, and what an operator can do.

use std::io;

use roomwire_metrics::Id;
use roomwire_protocols::websocket::close;
use tracing::Level;

/// Whose doing the end of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's: an ordinary end.
    None,
    /// The peer broke a rule or did not keep up.
    Peer,
    /// The network or the peer's host failed.
    Network,
    /// Somebody who runs the gateway asked for it.
    Operator,
    /// The gateway's own.
    Gateway,
}

/// What is known about one reason.
#[derive(Clone, Copy, Debug)]
pub struct CloseInfo {
    /// The word on the wire (`goodbye`'s `reason`) and in logs.
    pub word: &'static str,
    /// What counts it.
    pub counter: Id,
    /// Whose doing it is.
    pub fault: Fault,
    /// RFC 6455 §7.4 status code a WebSocket peer gets; `None` where there is nobody to tell.
    pub websocket: Option<u16>,
    /// Whether the peer is told `goodbye` on the other wires, and WebSocket's, before the close.
    pub goodbye: bool,
    /// Whether coming back makes sense, as `goodbye` says it.
    pub reconnect: bool,
    /// The level the end is logged at. A peer cannot cause more than `debug`.
    pub level: Level,
    /// What it means and what to do about it.
    pub help: &'static str,
}

macro_rules! close_reasons {
    ($( $variant:ident $word:literal $counter:ident $fault:ident $websocket:expr, $goodbye:literal
        $reconnect:literal $level:ident $help:literal; )+) => {
        /// Why a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CloseReason {
            $( #[doc = $help] $variant, )+
        }

        impl CloseReason {
            /// Every reason, in the table's order.
            pub const ALL: &[Self] = &[$( Self::$variant, )+];

            /// The reason's row of the table.
            pub const fn info(self) -> CloseInfo {
                match self {
                    $( Self::$variant => CloseInfo {
                        word: $word,
                        counter: Id::$counter,
                        fault: Fault::$fault,
                        websocket: $websocket,
                        goodbye: $goodbye,
                        reconnect: $reconnect,
                        level: Level::$level,
                        help: $help,
                    }, )+
                }
            }
        }
    };
}

close_reasons! {
    // variant         word                 counter                 fault    websocket                     goodbye reconnect level help
    BadData            "bad_data"           CloseBadData            Peer     Some(close::INVALID_DATA),     false false DEBUG "The peer sent text that is not UTF-8. Look at the client.";
    Closed             "closed"             CloseClosed             None     Some(close::NORMAL),           false true  DEBUG "The peer said goodbye in its protocol's way: a close frame or /quit.";
    Ended              "ended"              CloseEnded              None     Some(close::NORMAL),           false true  DEBUG "The peer closed its side of the connection.";
    HandshakeTimeout   "handshake_timeout"  CloseHandshakeTimeout   Peer     Some(close::POLICY),           false true  DEBUG "Nothing that makes sense came within handshake_timeout. Port scanners and half-open clients do this.";
    IdleTimeout        "idle_timeout"       CloseIdleTimeout        Peer     Some(close::POLICY),           true  true  DEBUG "The peer sent nothing for the listener's idle_timeout; over a UDP proxy, nothing came either way.";
    Internal           "internal"           CloseInternal           Gateway  Some(close::INTERNAL),         true  true  ERROR "A fault of the gateway ended one session; the rest goes on. Please report the log line before it.";
    Kicked             "kicked"             CloseKicked             Operator Some(close::POLICY),           true  false DEBUG "Closed over the API or by the program that embeds the gateway.";
    LeaseExpired       "lease_expired"      CloseLeaseExpired       Network  None,                          false true  DEBUG "No datagram came from a UDP peer for udp_lease.";
    LifetimeOver       "lifetime_over"      CloseLifetimeOver       Operator Some(close::GOING_AWAY),       true  true  DEBUG "The connection lasted for the listener's max_lifetime.";
    LimitReached       "limit_reached"      CloseLimitReached       Gateway  Some(close::TRY_AGAIN),        false true  DEBUG "max_connections was reached. Raise it together with the limit on open files.";
    PolicyViolation    "policy_violation"   ClosePolicyViolation    Peer     Some(close::POLICY),           false false DEBUG "The peer broke a rule of ours, such as max_fragments.";
    PongTimeout        "pong_timeout"       ClosePongTimeout        Network  Some(close::POLICY),           false true  DEBUG "A ping was not answered within pong_timeout: the peer's network went away.";
    ProgramEnded       "program_ended"      CloseProgramEnded       None     None,                          false true  DEBUG "The program of an exec listener ended.";
    ProgramFailed      "program_failed"     CloseProgramFailed      Gateway  None,                          false true  DEBUG "The program of an exec listener could not be started. See exec.command.";
    ProgramLimit       "program_limit"      CloseProgramLimit       Operator None,                          false true  DEBUG "A program ran for max_time or printed max_output.";
    ProtocolError      "protocol_error"     CloseProtocolError      Peer     Some(close::PROTOCOL_ERROR),   false false DEBUG "The peer broke its protocol, as by an unmasked frame. Look at the client.";
    Reset              "reset"              CloseReset              Network  None,                          false true  DEBUG "The connection was reset or failed; over UDP, nobody listens at the peer's port any more.";
    Shutdown           "shutdown"           CloseShutdown           Operator Some(close::GOING_AWAY),       true  true  DEBUG "The gateway is draining.";
    ShutdownCut        "shutdown_cut"       CloseShutdownCut        Operator Some(close::GOING_AWAY),       false true  DEBUG "The drain's deadline came before the peer left. Raise gateway.drain if this matters.";
    Slow               "slow"               CloseSlow               Peer     Some(close::SLOW),             true  true  DEBUG "The peer's outbox was full: it reads slower than its rooms talk. See limits.max_outbox_bytes and rooms.slow.";
    TooBig             "too_big"            CloseTooBig             Peer     Some(close::TOO_BIG),          false false DEBUG "A line or message was longer than max_message.";
    Unreachable        "unreachable"        CloseUnreachable        Network  None,                          false true  DEBUG "The network said that it cannot reach the peer's host.";
    Unsupported        "unsupported"        CloseUnsupported        Peer     Some(close::UNSUPPORTED),      false false DEBUG "The peer sent a kind of data that this endpoint does not take.";
    UpstreamFailed     "upstream_failed"    CloseUpstreamFailed     Gateway  None,                          false true  DEBUG "No upstream of a proxy listener accepted the connection. See the log for which are left out.";
    UpstreamReset      "upstream_reset"     CloseUpstreamReset      Network  None,                          false true  DEBUG "The upstream's connection was reset or failed; the client's was reset too. Over UDP, nobody listens there; the client is told nothing, and its next datagram goes to the next upstream.";
    UpstreamTimeout    "upstream_timeout"   CloseUpstreamTimeout    Network  None,                          false true  DEBUG "An upstream did not answer within connect_timeout, or took nothing for stall_timeout.";
    Upgraded           "upgraded"           CloseUpgraded           None     None,                          false true  DEBUG "An HTTP connection became a WebSocket; its session goes on under that name.";
    Vanished           "vanished"           CloseVanished           Network  None,                          false true  DEBUG "The peer's host answers nothing any more: neither what was sent nor keepalives. See the listener's keepalive.";
    WriteTimeout       "write_timeout"      CloseWriteTimeout       Peer     Some(close::TRY_AGAIN),        false true  DEBUG "The peer took nothing off its socket for write_timeout.";
}

impl CloseReason {
    /// The reason that an error of a session's socket stands for.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Vanished,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable,
            // What TLS says of a record that is none.
            io::ErrorKind::InvalidData => Self::ProtocolError,
            _ => Self::Reset,
        }
    }

    /// The reason that stands for a WebSocket close code of our own making.
    pub(crate) const fn from_violation(code: u16) -> Self {
        match code {
            close::INVALID_DATA => Self::BadData,
            close::POLICY => Self::PolicyViolation,
            close::TOO_BIG => Self::TooBig,
            close::UNSUPPORTED => Self::Unsupported,
            _ => Self::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_and_a_counter_of_its_own() {
        let words: HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.info().word)
            .collect();
        let counters: HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.info().counter as u16)
            .collect();
        assert_eq!(words.len(), CloseReason::ALL.len());
        assert_eq!(counters.len(), CloseReason::ALL.len());
    }

    #[test]
    fn an_error_of_a_socket_is_named_by_what_happened() {
        use rustix::io::Errno;
        for (errno, expected) in [
            (Errno::CONNRESET, CloseReason::Reset),
            (Errno::PIPE, CloseReason::Reset),
            (Errno::TIMEDOUT, CloseReason::Vanished),
            (Errno::HOSTUNREACH, CloseReason::Unreachable),
            (Errno::NETUNREACH, CloseReason::Unreachable),
        ] {
            assert_eq!(CloseReason::of(&errno.into()), expected, "{errno}");
        }
    }

    #[test]
    fn no_peer_can_cause_more_than_a_debug_line() {
        for reason in CloseReason::ALL {
            let info = reason.info();
            if matches!(info.fault, Fault::Peer | Fault::Network | Fault::None) {
                assert_eq!(info.level, Level::DEBUG, "{}", info.word);
            }
        }
    }

    #[test]
    fn every_websocket_code_is_one_a_server_may_send() {
        for reason in CloseReason::ALL {
            if let Some(code) = reason.info().websocket {
                assert!(close::may_receive(code), "{}: {code}", reason.info().word);
            }
        }
    }

    #[test]
    fn a_reason_that_says_goodbye_has_somebody_to_say_it_to() {
        for reason in CloseReason::ALL {
            let info = reason.info();
            assert!(!info.goodbye || info.websocket.is_some(), "{}", info.word);
        }
    }
}
