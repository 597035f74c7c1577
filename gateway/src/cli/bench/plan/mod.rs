//! What is asked for on the command line, and the checked plan that comes of it.
//!
//! The options of all modes are one flat list, as they are typed; which of them a mode knows and what
//! its defaults are is decided here, so that the rest sees values only.

mod tcp;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(super) use self::tcp::TcpArgs;
use super::super::terminal::room_argument;
use super::content::Content;
use super::socketio;
use crate::client::url::{Scheme, ServerUrl};
use crate::config::{ByteSize, Span};

const MAX_CONNECTIONS: usize = 1_000_000;
/// Bounds the numbers that a fan-out remembers.
pub(super) const MAX_IN_FLIGHT: usize = 4096;
const MAX_PAYLOAD: usize = 16 << 20;
/// What one connection may have in flight, in bytes.
const MAX_IN_FLIGHT_BYTES: usize = 256 << 20;
const MAX_THREADS: usize = 64;
const MAX_RATE: u32 = 1_000_000;
const MAX_DURATION: Duration = Duration::from_secs(3600);

const EXAMPLES: &str = "\
Examples:
  roomwire bench ws ws://localhost --in-flight 16            100 connections, echo
  roomwire bench ws ws://localhost:9001/ --size 1KiB         any other echo server
  roomwire bench ws ws://localhost --mode fanout -c 1000     16 publications in flight
  roomwire bench ws ws://localhost --mode fanout --rate 100  or 100 in a second
  roomwire bench ws ws://localhost:9001/ --mode fanout --protocol raw
                                          a server that sends every message to everyone
  roomwire bench ws ws://localhost:3000 --protocol socketio
                                          Socket.IO, whose server echoes the event `echo`
  roomwire bench ws ws://localhost --mode fanout --rate 1000 --size 1KiB --stalled 50
                                          50 more members never read
  roomwire bench ws ws://localhost --mode fanout --size 512B --content json --deflate
                                          compressed, where the server agrees
  roomwire bench ws ws://localhost --mode idle -c 50000      memory for each connection
  roomwire bench ws ws://localhost --mode churn              connect, handshake, close

CPU and memory of the server are told when it runs on this machine: its process is found by its
listening socket, or named with --pid. Load and server share the cores; compare CPU for each
message before messages for each second, and use --release builds. Memory for each connection is meaningful
only with a server that was just started: what it has kept from earlier runs costs nothing again.

Prints one JSON object on stdout and a table on stderr. Ctrl-C ends a run early and prints what was
measured so far.
Exit codes: 0 measured, 1 failed or not as it should be (lost, closed, wrong), 2 usage.";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Messages that come back; against /echo
    Echo,
    /// One publisher, and members that receive
    Fanout,
    /// Connections that do nothing
    Idle,
    /// Connect, handshake, close
    Churn,
    /// Bytes that the server takes; of `bench tcp`
    #[value(skip)]
    Send,
}

/// What messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// Fan-out: members join a room, the publisher publishes to it; echo: plain messages
    Roomwire,
    /// Plain messages; a fan-out's go to all connections
    Raw,
    /// Socket.IO's WebSocket transport: the event `echo` comes back, `publish` goes to all
    Socketio,
    /// Bytes without frames; of `bench tcp`
    #[value(skip)]
    Bytes,
}

/// When the next publication is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as fewer than this many have not arrived at all members.
    InFlight(usize),
    /// So many in each second, whatever has arrived.
    Rate(u32),
}

/// Measures a WebSocket server.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct WsArgs {
    /// The server: ws:// or wss://; without a path /echo, for a fan-out /ws
    #[arg(value_name = "URL", value_parser = Address::parse)]
    url: Address,
    /// What is measured
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// Connections; for a fan-out the members [default: 100, fanout 1000, idle 10000, churn 16]
    #[arg(long, short, value_name = "N")]
    connections: Option<usize>,
    /// Messages always in flight, on each connection for echo [default: echo 1, fanout 16]
    #[arg(long, short = 'w', value_name = "N", conflicts_with = "rate")]
    in_flight: Option<usize>,
    /// Fan-out: publications in a second, instead of a number in flight
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Size of a message; in a room, of the JSON string that is published
    #[arg(long, value_name = "SIZE", default_value = "64B")]
    size: ByteSize,
    /// Echo: binary messages instead of text
    #[arg(long)]
    binary: bool,
    /// How long to measure, up to 1h
    #[arg(long, short, value_name = "DURATION", default_value = "5s")]
    duration: Span,
    /// Load before that which is not measured
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    warmup: Span,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// What the server speaks
    #[arg(long, value_enum, default_value = "roomwire")]
    protocol: Protocol,
    /// What messages are filled with
    #[arg(long, value_enum, default_value = "filler")]
    content: Content,
    /// Offer permessage-deflate, without context takeover; our own messages stay as they are
    #[arg(long)]
    deflate: bool,
    /// Fan-out: other members that join and then never read
    #[arg(long, value_name = "N", default_value_t = 0)]
    stalled: usize,
    /// Fan-out: the room; without it a new one
    #[arg(long, value_name = "ROOM", value_parser = room_argument)]
    room: Option<String>,
    /// The server's process, or several, instead of the one that listens at URL
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Trust only the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Neither progress nor a table on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// A URL as it was typed: whether it had a path decides what is requested.
#[derive(Clone, Debug)]
struct Address {
    url: ServerUrl,
    path: Option<String>,
}

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        let url: ServerUrl = text.parse().map_err(|error| format!("{error}"))?;
        if !matches!(url.scheme(), Scheme::Ws | Scheme::Wss) {
            return Err("a WebSocket server has a ws:// or wss:// URL".to_owned());
        }
        let rest = text.split_once("://").map_or("", |it| it.1);
        let path = rest.find('/').and_then(|at| rest.get(at..));
        // `ServerUrl` takes the root for no path, and other servers than ours serve it.
        let path = match path {
            Some("/") => Some("/".to_owned()),
            Some(_) => Some(url.path().to_owned()),
            None => None,
        };
        Ok(Self { url, path })
    }
}

/// A run, checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) url: ServerUrl,
    pub(super) path: String,
    pub(super) mode: Mode,
    pub(super) connections: usize,
    /// Of echo, for each connection; at least 1.
    pub(super) in_flight: usize,
    /// Of a fan-out.
    pub(super) pace: Pace,
    /// Bytes.
    pub(super) size: usize,
    pub(super) binary: bool,
    pub(super) duration: Duration,
    pub(super) warmup: Duration,
    /// Not more than connections.
    pub(super) threads: usize,
    pub(super) protocol: Protocol,
    pub(super) content: Content,
    /// Whether permessage-deflate is offered.
    pub(super) deflate: bool,
    /// Of a fan-out: members that never read, besides `connections`.
    pub(super) stalled: usize,
    pub(super) room: String,
    pub(super) pids: Vec<u32>,
    pub(super) ca: Option<PathBuf>,
    pub(super) quiet: bool,
}

impl Plan {
    /// Checks the options; the inner error is the person's mistake.
    pub(super) fn new(args: WsArgs) -> anyhow::Result<Result<Self, String>> {
        let mode = args.mode;
        let connections = args.connections.unwrap_or(match mode {
            Mode::Echo => 100,
            Mode::Fanout => 1000,
            Mode::Idle => 10_000,
            Mode::Churn | Mode::Send => 16,
        });
        let in_flight = args.in_flight.unwrap_or(match mode {
            Mode::Fanout => 16,
            Mode::Echo | Mode::Idle | Mode::Churn | Mode::Send => 1,
        });
        let path = args.url.path.unwrap_or_else(|| {
            let path = match (args.protocol, mode) {
                (Protocol::Socketio, _) => socketio::PATH,
                (_, Mode::Fanout) => "/ws",
                (_, Mode::Echo | Mode::Idle | Mode::Churn | Mode::Send) => "/echo",
            };
            path.to_owned()
        });
        let room = args
            .room
            .unwrap_or_else(|| format!("bench-{:08x}", RandomState::new().hash_one(0) >> 32));
        let plan = Self {
            url: args.url.url,
            path,
            mode,
            connections,
            in_flight,
            pace: args.rate.map_or(Pace::InFlight(in_flight), Pace::Rate),
            size: args.size.as_usize(),
            binary: args.binary,
            duration: args.duration.get(),
            warmup: args.warmup.get(),
            threads: args.threads.min(connections),
            protocol: args.protocol,
            content: args.content,
            deflate: args.deflate,
            stalled: args.stalled,
            room,
            pids: args.pid,
            ca: args.ca,
            quiet: args.quiet,
        };
        Ok(plan.checked(args.rate.is_some()))
    }

    fn checked(self, has_rate: bool) -> Result<Self, String> {
        match self.mistake(has_rate) {
            Some(mistake) => Err(mistake),
            None => Ok(self),
        }
    }

    fn mistake(&self, has_rate: bool) -> Option<String> {
        let is_fanout = self.mode == Mode::Fanout;
        let is_socketio = self.protocol == Protocol::Socketio;
        let least = match (is_fanout, self.content, is_socketio) {
            // Whoever only opens and closes need not say anything.
            _ if self.protocol == Protocol::Bytes && self.mode == Mode::Churn => 0,
            (true, content, _) | (_, content @ Content::Json, _) => content.least(),
            // The quotes of a JSON string.
            (false, Content::Filler, true) => 2,
            (false, Content::Filler, false) => 1,
        };
        let outside = |name: &str, value: usize, min: usize, max: usize| {
            let is_outside = !(min..=max).contains(&value);
            is_outside.then(|| format!("{name} must be from {min} to {max}, not {value}"))
        };
        let rate = match self.pace {
            Pace::Rate(rate) => rate as usize,
            Pace::InFlight(_) => 1,
        };
        outside("--connections", self.connections, 1, MAX_CONNECTIONS)
            .or_else(|| outside("--in-flight", self.in_flight, 1, MAX_IN_FLIGHT))
            .or_else(|| outside("--size", self.size, least, MAX_PAYLOAD))
            .or_else(|| outside("--threads", self.threads, 1, MAX_THREADS))
            .or_else(|| outside("--rate", rate, 1, MAX_RATE as usize))
            .or_else(|| {
                let bytes = self.size.saturating_mul(self.in_flight);
                (bytes > MAX_IN_FLIGHT_BYTES)
                    .then(|| "--size times --in-flight must be at most 256 MiB".to_owned())
            })
            .or_else(|| {
                let longest = self.duration.max(self.warmup);
                (self.duration.is_zero() || longest > MAX_DURATION)
                    .then(|| "--duration must be from 1ms to 1h".to_owned())
            })
            .or_else(|| outside("--stalled", self.stalled, 0, MAX_CONNECTIONS))
            .or_else(|| {
                let is_meant_for_rooms = has_rate || self.stalled > 0;
                (is_meant_for_rooms && !is_fanout)
                    .then(|| "--rate and --stalled are for --mode fanout".to_owned())
            })
            .or_else(|| {
                (self.binary && is_socketio)
                    .then(|| "--binary and --protocol socketio do not go together".to_owned())
            })
    }

    /// Connections of each thread, besides the publisher and the stalled members of a fan-out, which
    /// are the first thread's.
    pub(super) fn share(&self, thread: usize) -> usize {
        let extra = usize::from(thread < self.connections % self.threads);
        self.connections / self.threads + extra
    }

    /// Connections that are ready before the load begins; churn opens its own under load.
    pub(super) fn standing(&self) -> usize {
        match self.mode {
            Mode::Churn => 0,
            Mode::Fanout => self.connections + 1 + self.stalled,
            Mode::Echo | Mode::Idle | Mode::Send => self.connections,
        }
    }

    /// All parameters, as the report states them.
    pub(super) fn json(&self) -> serde_json::Value {
        let mut all = serde_json::json!({
            "connections": self.connections,
            "threads": self.threads,
            "duration_s": self.duration.as_secs_f64(),
            "warmup_s": self.warmup.as_secs_f64(),
        });
        if self.protocol == Protocol::Bytes {
            if self.mode == Mode::Echo {
                all["in_flight"] = self.in_flight.into();
            }
            if self.mode != Mode::Idle {
                all["size"] = self.size.into();
            }
            return all;
        }
        all["protocol"] = serde_json::json!(self.protocol);
        all["deflate"] = self.deflate.into();
        match self.mode {
            Mode::Echo => {
                all["in_flight"] = self.in_flight.into();
                all["size"] = self.size.into();
                all["binary"] = self.binary.into();
                all["content"] = serde_json::json!(self.content);
            }
            Mode::Fanout => {
                match self.pace {
                    Pace::InFlight(count) => all["in_flight"] = count.into(),
                    Pace::Rate(rate) => all["rate"] = rate.into(),
                }
                all["size"] = self.size.into();
                all["content"] = serde_json::json!(self.content);
                all["stalled"] = self.stalled.into();
            }
            Mode::Idle | Mode::Churn | Mode::Send => {}
        }
        all
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let (n, size) = (self.connections, self.size);
        let stalled = match self.stalled {
            0 => String::new(),
            count => format!(" and {count} that never read"),
        };
        let what = match (self.mode, self.pace) {
            (Mode::Echo, _) => {
                let in_flight = self.in_flight;
                format!("echo, {n} connections with {in_flight} in flight, {size} B")
            }
            (Mode::Fanout, Pace::InFlight(k)) => {
                format!("fan-out to {n} members{stalled}, {k} in flight, {size} B")
            }
            (Mode::Fanout, Pace::Rate(rate)) => {
                format!("fan-out to {n} members{stalled}, {rate}/s, {size} B")
            }
            (Mode::Idle, _) => format!("{n} idle connections"),
            (Mode::Churn, _) if self.protocol == Protocol::Bytes => {
                format!("connect, echo {size} B and close, {n} at a time")
            }
            (Mode::Churn, _) => format!("connect, handshake and close, {n} at a time"),
            (Mode::Send, _) => format!("send, {n} connections, {size} B at a time"),
        };
        let scheme = self.url.scheme().as_str();
        format!("{what}  ({scheme}://{}{})", self.url.authority(), self.path)
    }
}

#[cfg(test)]
pub(super) use self::tcp::tests as tcp_tests;

#[cfg(test)]
impl Plan {
    /// The plan of a command line without options.
    pub(super) fn example() -> Self {
        tests::plan(&[]).expect("the defaults are valid")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: WsArgs,
    }

    fn plan_of(line: &[&str]) -> Result<Plan, String> {
        let line = ["ws"].iter().chain(line);
        let args = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        Plan::new(args.args).expect("nothing else can go wrong")
    }

    pub(in super::super) fn plan(rest: &[&str]) -> Result<Plan, String> {
        let line: Vec<&str> = ["ws://localhost"].iter().chain(rest).copied().collect();
        plan_of(&line)
    }

    fn refuse(rest: &[&str], problem: &str) {
        let error = plan(rest).expect_err("refused");
        assert!(error.contains(problem), "{rest:?}: {error}");
    }

    #[test]
    fn each_mode_has_its_defaults() {
        let echo = plan(&[]).expect("valid");
        assert_eq!((echo.connections, echo.in_flight), (100, 1));
        let fanout = plan(&["--mode", "fanout"]).expect("valid");
        assert_eq!((fanout.connections, fanout.standing()), (1000, 1001));
        assert_eq!(fanout.pace, Pace::InFlight(16));
        assert_eq!(
            plan(&["--mode", "idle"]).expect("valid").connections,
            10_000
        );
        assert_eq!(plan(&["--mode", "churn"]).expect("valid").standing(), 0);
    }

    #[test]
    fn the_path_is_the_one_that_was_typed() {
        let path = |url, mode| plan_of(&[url, "--mode", mode]).expect("valid").path;
        assert_eq!(path("ws://h", "echo"), "/echo");
        assert_eq!(path("ws://h", "fanout"), "/ws");
        assert_eq!(path("ws://h:9001/", "echo"), "/");
        assert_eq!(path("wss://h/a/b?c", "fanout"), "/a/b?c");
        let plan = plan(&["--protocol", "socketio"]).expect("valid");
        assert_eq!(plan.path, socketio::PATH);
    }

    #[test]
    fn everything_has_a_bound() {
        refuse(&["-c", "0"], "--connections");
        refuse(&["-c", "1000001"], "--connections");
        refuse(&["-w", "4097"], "--in-flight");
        refuse(&["--size", "17MiB"], "--size");
        refuse(&["--size", "16MiB", "-w", "17"], "256 MiB");
        refuse(&["--size", "21B", "--mode", "fanout"], "from 22");
        refuse(&["--duration", "2h"], "1h");
        refuse(&["--threads", "65"], "--threads");
        refuse(&["--rate", "5"], "--mode fanout");
        refuse(&["--stalled", "5"], "--mode fanout");
        refuse(
            &["--stalled", "1000001", "--mode", "fanout"],
            "--stalled must be",
        );
        refuse(&["--size", "1B", "--protocol", "socketio"], "from 2");
        refuse(&["--size", "50B", "--content", "json"], "from 67");
        refuse(&["--binary", "--protocol", "socketio"], "--binary");
        refuse(
            &["--rate", "5", "-w", "1", "--mode", "fanout"],
            "--in-flight",
        );
        assert!(plan_of(&["tcp://h"]).is_err());
    }

    #[test]
    fn threads_share_all_connections() {
        let plan = plan(&["-c", "10", "--threads", "4"]).expect("valid");
        let shares: Vec<usize> = (0..4).map(|thread| plan.share(thread)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
        assert_eq!(
            self::plan(&["-c", "2", "--threads", "4"])
                .expect("valid")
                .threads,
            2
        );
    }
}
