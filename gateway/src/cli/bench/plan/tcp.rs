//! `bench tcp`: its options, and the plan that comes of them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use http::Uri;

use super::{Content, Mode, Pace, Plan, Protocol};
use crate::client::url::{Scheme, ServerUrl};
use crate::config::{ByteSize, Span};

/// Where the default configuration echoes over TCP.
const ECHO_PORT: u16 = 7007;

const EXAMPLES: &str = "\
Examples:
  roomwire bench tcp tcp://localhost                    100 connections, echo of 64 B
  roomwire bench tcp tcp://localhost:9000 -w 16         any other echo server, 16 in flight
  roomwire bench tcp tcp://localhost --size 16KiB -c 1  one connection, larger messages
  roomwire bench tcp tcp://localhost:9009 --mode send   what a server takes that answers nothing
  roomwire bench tcp tcp://localhost --mode churn       connect, echo one message, close
  roomwire bench tcp tcp://localhost --mode churn --size 0   connect and close
  roomwire bench tcp tcp://localhost --mode idle        memory for each connection
  roomwire bench tcp tls://localhost:7443 --ca ca.pem   the same over TLS

CPU and memory of the server are told when it runs on this machine: its process is found by its
listening socket, or named with --pid. What comes back is compared byte for byte.

Prints one JSON object on stdout and a table on stderr. Ctrl-C ends a run early and prints what was
measured so far.
Exit codes: 0 measured, 1 failed or not as it should be (lost, closed, wrong), 2 usage.";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TcpMode {
    /// Messages that come back
    Echo,
    /// Bytes that the server takes, as fast as it does
    Send,
    /// Connections that do nothing
    Idle,
    /// Connect, echo one message, close
    Churn,
}

/// Measures a TCP server.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct TcpArgs {
    /// The server: tcp:// or tls://; without a port 7007, the default echo
    #[arg(value_name = "URL", value_parser = address)]
    url: ServerUrl,
    /// What is measured
    #[arg(long, value_enum, default_value = "echo")]
    mode: TcpMode,
    /// Connections [default: echo 100, send 4, idle 10000, churn 16]
    #[arg(long, short, value_name = "N")]
    connections: Option<usize>,
    /// Echo: messages always in flight on each connection
    #[arg(long, short = 'w', value_name = "N", default_value_t = 1)]
    in_flight: usize,
    /// Size of a message; for send, of one write [default: 64B, send 64KiB]
    #[arg(long, value_name = "SIZE")]
    size: Option<ByteSize>,
    /// How long to measure, up to 1h
    #[arg(long, short, value_name = "DURATION", default_value = "5s")]
    duration: Span,
    /// Load before that which is not measured
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    warmup: Span,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// The server's process, or several, instead of the one that listens at URL
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Trust only the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Neither progress nor a table on stderr
    #[arg(long, short)]
    quiet: bool,
}

fn address(text: &str) -> Result<ServerUrl, String> {
    let url: ServerUrl = text.parse().map_err(|error| format!("{error}"))?;
    if !matches!(url.scheme(), Scheme::Tcp | Scheme::Tls) {
        return Err("a TCP server has a tcp:// or tls:// URL".to_owned());
    }
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if uri.port().is_some() {
        return Ok(url);
    }
    let host = uri.host().unwrap_or_default();
    let scheme = url.scheme().as_str();
    let url = format!("{scheme}://{host}:{ECHO_PORT}").parse();
    url.map_err(|error| format!("{error}"))
}

impl Plan {
    /// Checks the options of `bench tcp`; the error is the person's mistake.
    pub(in super::super) fn tcp(args: TcpArgs) -> Result<Self, String> {
        let (mode, connections, size) = match args.mode {
            TcpMode::Echo => (Mode::Echo, 100, 64),
            TcpMode::Send => (Mode::Send, 4, 64 << 10),
            TcpMode::Idle => (Mode::Idle, 10_000, 64),
            TcpMode::Churn => (Mode::Churn, 16, 64),
        };
        let connections = args.connections.unwrap_or(connections);
        let plan = Self {
            url: args.url,
            path: String::new(),
            mode,
            connections,
            in_flight: args.in_flight,
            pace: Pace::InFlight(args.in_flight),
            size: args.size.map_or(size, ByteSize::as_usize),
            binary: true,
            duration: args.duration.get(),
            warmup: args.warmup.get(),
            threads: args.threads.min(connections),
            protocol: Protocol::Bytes,
            content: Content::Filler,
            deflate: false,
            stalled: 0,
            room: String::new(),
            pids: args.pid,
            ca: args.ca,
            quiet: args.quiet,
        };
        plan.checked(false)
    }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: TcpArgs,
    }

    /// The plan of a command line.
    pub(in super::super::super) fn plan(line: &[&str]) -> Result<Plan, String> {
        let line = ["tcp"].iter().chain(line);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        Plan::tcp(line.args)
    }

    #[test]
    fn a_url_without_a_port_means_the_default_echo() {
        let url = |text: &str| plan(&[text]).expect("valid").url.to_string();
        assert_eq!(url("tcp://localhost"), "tcp://localhost:7007");
        assert_eq!(url("tcp://[::1]/"), "tcp://[::1]:7007");
        assert_eq!(url("tls://h:9"), "tls://h:9");
        assert!(plan(&["ws://h"]).is_err());
    }

    #[test]
    fn each_mode_has_its_defaults_and_its_bounds() {
        let plan = |rest: &[&str]| plan(&[&["tcp://h"], rest].concat());
        assert_eq!(plan(&[]).expect("valid").size, 64);
        let send = plan(&["--mode", "send"]).expect("valid");
        assert_eq!((send.connections, send.size), (4, 64 << 10));
        assert_eq!(
            plan(&["--mode", "churn", "--size", "0"])
                .expect("valid")
                .size,
            0
        );
        assert!(plan(&["--size", "0"]).is_err());
        assert!(plan(&["--size", "17MiB"]).is_err());
        assert!(plan(&["-w", "4097"]).is_err());
    }
}
