//! `roomwire bench udp`: datagrams to a server and back, counted one by one.
//!
//! UDP has no connections, no order and no end, so nothing of the other modes fits: each peer is a
//! socket, each datagram has a number and the time at which it was sent, and a thread sends and receives
//! in batches. Next file to read: `load.rs`.

mod load;
mod tally;

use std::io::{IsTerminal, stderr};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use self::load::{Clock, Found, HEADER, Load, Peer};
use super::super::terminal;
use super::process::{Processes, own_cpu};
use super::report::{Memory, Outcome, Report, Window};
use crate::config::{ByteSize, Span};

/// Each is a socket here, and 8 KiB to account for what it sent.
const MAX_PEERS: usize = 10_000;
const MAX_IN_FLIGHT: usize = 4096;
const MAX_THREADS: usize = 64;
const MAX_RATE: usize = 10_000_000;
const MAX_DURATION: Duration = Duration::from_secs(3600);
/// RFC 768 with RFC 791: 65535 less 8 bytes of UDP and 20 of IP header.
const MAX_SIZE: usize = 65_507;
const DEFAULT_PORT: u16 = 7007;
const TICK: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  roomwire bench udp 127.0.0.1 -c 16 -w 8            16 peers, 8 datagrams in flight each
  roomwire bench udp 127.0.0.1 --size 1200B --burst  one send for all that are due (GSO)
  roomwire bench udp [::1]:9000 --rate 100000        so many a second, whatever comes back
  roomwire bench udp udp://host:9 --mode send        as many as can be sent; nothing comes back

An echo counts what got lost, came late, doubled or changed. With a number in flight, what has not
come back after --patience is lost, and sent anew; with --rate nothing is. CPU and memory of the
server are told when it runs on this machine: its process is found by its socket, or named with
--pid.

Prints one JSON object on stdout and a table on stderr. Ctrl-C ends a run early.
Exit codes: 0 measured, 1 failed (nothing came back, or it was changed), 2 usage.";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Datagrams that come back
    Echo,
    /// Datagrams one way
    Send,
}

/// Measures a UDP server.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct UdpArgs {
    /// The server: HOST, HOST:PORT or udp://HOST:PORT; without a port 7007
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// What is measured
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// Sockets that send, each from a port of its own
    #[arg(long, short = 'c', value_name = "N", default_value_t = 16)]
    peers: usize,
    /// Datagrams always in flight of each peer
    #[arg(
        long,
        short = 'w',
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "rate"
    )]
    in_flight: usize,
    /// Datagrams in a second of all peers together, instead of a number in flight
    #[arg(long, value_name = "N")]
    rate: Option<usize>,
    /// Size of a datagram
    #[arg(long, value_name = "SIZE", default_value = "64B")]
    size: ByteSize,
    /// Hand all datagrams of a peer that are due to the kernel as one (GSO), and take them so (GRO)
    #[arg(long)]
    burst: bool,
    /// How long to measure, up to 1h
    #[arg(long, short, value_name = "DURATION", default_value = "5s")]
    duration: Span,
    /// Load before that which is not measured
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    warmup: Span,
    /// How long a datagram may take before it counts as lost
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    patience: Span,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// The server's process, or several, instead of the one that has a socket at ADDRESS
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Neither progress nor a table on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// A run, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    address: SocketAddr,
    mode: Mode,
    peers: usize,
    in_flight: usize,
    rate: Option<usize>,
    size: usize,
    burst: bool,
    duration: Duration,
    warmup: Duration,
    patience: Duration,
    threads: usize,
}

impl Plan {
    /// Checks the options; the error is the person's mistake.
    pub(super) fn new(args: &UdpArgs) -> Result<Self, String> {
        let plan = Self {
            address: resolve(&args.address)?,
            mode: args.mode,
            peers: args.peers,
            in_flight: args.in_flight,
            rate: args.rate,
            size: args.size.as_usize(),
            burst: args.burst,
            duration: args.duration.get(),
            warmup: args.warmup.get(),
            patience: args.patience.get(),
            threads: args.threads.min(args.peers),
        };
        plan.mistake().map_or(Ok(plan), Err)
    }

    fn mistake(&self) -> Option<String> {
        let outside = |name: &str, value: usize, min: usize, max: usize| {
            let is_outside = !(min..=max).contains(&value);
            is_outside.then(|| format!("{name} must be from {min} to {max}, not {value}"))
        };
        outside("--peers", self.peers, 1, MAX_PEERS)
            .or_else(|| outside("--in-flight", self.in_flight, 1, MAX_IN_FLIGHT))
            .or_else(|| outside("--rate", self.rate.unwrap_or(1), 1, MAX_RATE))
            .or_else(|| outside("--size", self.size, HEADER, MAX_SIZE))
            .or_else(|| outside("--threads", self.threads, 1, MAX_THREADS))
            .or_else(|| {
                let longest = self.duration.max(self.warmup).max(self.patience);
                (self.duration.is_zero() || self.patience.is_zero() || longest > MAX_DURATION)
                    .then(|| "--duration and --patience must be from 1ms to 1h".to_owned())
            })
    }

    /// Peers of each thread.
    fn share(&self, thread: usize) -> usize {
        self.peers / self.threads + usize::from(thread < self.peers % self.threads)
    }

    fn text(&self) -> String {
        let address = self.address;
        let (peers, size) = (self.peers, self.size);
        let what = match (self.mode, self.rate) {
            (Mode::Send, None) => "as many as can be sent".to_owned(),
            (_, Some(rate)) => format!("{rate}/s"),
            (Mode::Echo, None) => format!("{} in flight each", self.in_flight),
        };
        let mode = match self.mode {
            Mode::Echo => "echo",
            Mode::Send => "send",
        };
        let burst = if self.burst { ", in bursts" } else { "" };
        format!("{mode}, {peers} peers, {what}, {size} B{burst}  (udp://{address})")
    }

    fn json(&self) -> serde_json::Value {
        let mut all = json!({
            "peers": self.peers,
            "threads": self.threads,
            "duration_s": self.duration.as_secs_f64(),
            "warmup_s": self.warmup.as_secs_f64(),
            "size": self.size,
            "burst": self.burst,
        });
        match (self.mode, self.rate) {
            (_, Some(rate)) => all["rate"] = rate.into(),
            (Mode::Echo, None) => {
                all["in_flight"] = self.in_flight.into();
                all["patience_s"] = self.patience.as_secs_f64().into();
            }
            (Mode::Send, None) => {}
        }
        all
    }
}

/// Runs what the command line asks for.
///
/// # Errors
///
/// Where nothing could be measured at all.
pub(super) fn measure(args: &UdpArgs, plan: Plan) -> anyhow::Result<Report> {
    let address = plan.address;
    super::control::raise_descriptors(plan.peers)?;
    let processes = if args.pid.is_empty() {
        Processes::receiving_on(address)
    } else {
        Processes::new(args.pid.clone())
    };
    let mut peers: Vec<Peer> = (0..plan.peers)
        .map(|_| Peer::new(address))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("no sockets towards {address}"))?;
    // Opening sockets takes a while, which is none of the run's.
    let clock = Arc::new(Clock::start(&plan));
    let loads: Vec<Load> = (0..plan.threads)
        .map(|thread| {
            let share = peers.split_off(peers.len() - plan.share(thread));
            Load::new(plan, share, Arc::clone(&clock))
        })
        .collect::<std::io::Result<_>>()?;
    let threads: Vec<_> = loads
        .into_iter()
        .map(|load| thread::Builder::new().spawn(move || load.run()))
        .collect::<std::io::Result<_>>()?;
    let window = observe(&plan, &processes, &clock, args.quiet)?;
    let mut found = Found::new();
    for thread in threads {
        let part = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        found.merge(&part?);
    }
    let outcome = outcome(&plan, &found, &window);
    let url = format!("udp://{address}");
    let head = plan.text();
    Ok(Report::of(
        head,
        json!(plan.mode),
        url,
        plan.json(),
        outcome,
        window,
    ))
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let host = text
        .strip_prefix("udp://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let mut found = host
        .to_socket_addrs()
        .or_else(|_| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            (bare, DEFAULT_PORT).to_socket_addrs()
        })
        .map_err(|error| format!("{text}: {error}"))?;
    found
        .find(|address| address.port() != 0)
        .ok_or_else(|| format!("{text} is no address to send to"))
}

/// Waits while the threads work, and reads what the server costs meanwhile.
fn observe(
    plan: &Plan,
    processes: &Processes,
    clock: &Clock,
    quiet: bool,
) -> anyhow::Result<Window> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let memory_before = processes.memory();
        wait(clock, clock.begin(), "warming up", quiet).await;
        let (server, client) = (processes.cpu(), own_cpu());
        let loaded = processes.memory();
        let began = Instant::now();
        let interrupted = wait(clock, clock.end(), "measuring", quiet).await;
        // Threads count by their own clocks, whenever this one gets its turn.
        let length = if interrupted {
            began.elapsed()
        } else {
            plan.duration
        };
        let server = processes.cpu().zip(server).map(|(end, begin)| end - begin);
        let client = own_cpu() - client;
        let highest = processes.memory();
        if plan.mode == Mode::Echo {
            wait(clock, clock.last(), "waiting for what is in flight", quiet).await;
        }
        Ok(Window {
            length,
            server,
            client,
            memory: Memory {
                before: memory_before,
                loaded,
                highest,
                after: processes.memory(),
            },
            pids: processes.pids().to_vec(),
            names: processes.names(),
            is_interrupted: interrupted,
            ..Window::default()
        })
    })
}

/// Waits until a moment of the run; true when Ctrl-C ended it before.
async fn wait(clock: &Clock, until: Instant, what: &str, quiet: bool) -> bool {
    let shows = !quiet && stderr().is_terminal();
    let mut interrupted = clock.is_over();
    while !interrupted && Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        if shows {
            terminal::tell(&format!("\r\x1b[K{what}, {:.0} s left", left.as_secs_f64()));
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(TICK)) => {}
            _ = tokio::signal::ctrl_c() => interrupted = true,
        }
    }
    if shows {
        terminal::tell("\r\x1b[K");
    }
    if interrupted {
        clock.interrupt();
    }
    interrupted
}

fn outcome(plan: &Plan, found: &Found, window: &Window) -> Outcome {
    let count = match plan.mode {
        Mode::Echo => found.received,
        Mode::Send => found.sent,
    };
    let mut outcome = Outcome::new("datagram", count);
    outcome.rate("datagrams", count, window);
    let bytes = count.saturating_mul(plan.size as u64) as f64;
    let rate = bytes * 8.0 / 1e6 / window.length.as_secs_f64().max(1e-9);
    outcome.field("megabits_per_second", json!(super::latency::rounded(rate)));
    outcome.field("sent", json!(found.sent));
    outcome.field("not_taken", json!(found.not_taken));
    outcome.field("errors", json!(found.errors));
    if plan.mode == Mode::Echo {
        let share = found.lost as f64 / (found.sent.max(1)) as f64;
        outcome.field("lost", json!(found.lost));
        outcome.field("lost_share", json!(share));
        outcome.field("late", json!(found.late));
        outcome.field("doubled", json!(found.doubled));
        outcome.field("wrong", json!(found.wrong));
        outcome.field("latency_us", found.latency.json());
        outcome.line("round trip", found.latency.text());
        outcome.line(
            "lost",
            format!(
                "{} ({:.4} %), {} out of order, {} doubled",
                found.lost,
                share * 100.0,
                found.late,
                found.doubled
            ),
        );
        if count == 0 {
            outcome.problem("nothing came back".to_owned());
        }
        if found.wrong > 0 {
            outcome.problem(format!("{} datagrams were not what was sent", found.wrong));
        }
    }
    if found.not_taken > 0 || found.errors > 0 {
        let (full, errors) = (found.not_taken, found.errors);
        outcome.line(
            "not sent",
            format!("{full} (the socket was full), {errors} errors"),
        );
    }
    outcome
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UdpArgs,
    }

    fn plan(line: &[&str]) -> Result<Plan, String> {
        let line = ["udp", "127.0.0.1"].iter().chain(line);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        Plan::new(&line.args)
    }

    #[test]
    fn everything_has_a_bound() {
        for (line, named) in [
            (&["-c", "0"][..], "--peers"),
            (&["-w", "4097"], "--in-flight"),
            (&["--size", "8B"], "--size"),
            (&["--size", "64KiB"], "--size"),
            (&["--rate", "0"], "--rate"),
            (&["--rate", "5", "-w", "1"], "--in-flight"),
            (&["--duration", "2h"], "1h"),
            (&["--threads", "65", "-c", "100"], "--threads"),
        ] {
            let mistake = plan(line).expect_err("refused");
            assert!(mistake.contains(named), "{line:?}: {mistake}");
        }
        let plan = plan(&["-c", "5", "--threads", "2"]).expect("valid");
        assert_eq!([plan.share(0), plan.share(1)], [3, 2]);
    }

    /// Runs a plan against `to` for a moment.
    fn run(to: SocketAddr, options: &[&str]) -> serde_json::Value {
        let to = to.to_string();
        let short = ["--duration", "300ms", "--warmup", "20ms", "--quiet"];
        let line = ["udp", &to]
            .into_iter()
            .chain(short)
            .chain(options.iter().copied());
        let line = Line::try_parse_from(line).expect("valid options");
        let plan = Plan::new(&line.args).expect("a valid plan");
        let report = measure(&line.args, plan).expect("a report");
        serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON")
    }

    /// The same, again and again until enough came back: on a machine that is busy with other things
    /// the load may not get its turn in so short a time.
    fn run_until(to: SocketAddr, options: &[&str], least: u64) -> serde_json::Value {
        for _ in 0..20 {
            let report = run(to, options);
            if report["datagrams"].as_u64() >= Some(least) {
                return report;
            }
        }
        panic!("{options:?}: never {least} datagrams");
    }

    #[test]
    fn what_an_echo_brings_back_is_counted_and_nothing_is_made_up() {
        let gateway = crate::Gateway::builder()
            .workers(1)
            .listen(
                "echo",
                crate::config::Protocol::Udp,
                ([127, 0, 0, 1], 0).into(),
                crate::config::Handler::Echo,
            )
            .start()
            .expect("it starts");
        let echo = gateway.address("echo").expect("it listens");
        for options in [
            &["-c", "4", "-w", "8"][..],
            &["-c", "2", "-w", "32", "--size", "1200B", "--burst"],
            &["-c", "3", "--rate", "2000"],
        ] {
            let report = run_until(echo, options, 1);
            assert_eq!(report["problem"], serde_json::Value::Null, "{report}");
            for figure in ["doubled", "late", "wrong", "errors"] {
                assert_eq!(report[figure], 0, "{options:?}: {figure} in {report}");
            }
            assert_eq!(report["latency_us"]["count"], report["datagrams"]);
            assert_eq!(report["server"]["pids"][0], std::process::id());
        }
        run_until(echo, &["--mode", "send", "-c", "1"], 1);
        gateway.shutdown();
    }

    #[test]
    fn what_a_network_does_to_datagrams_is_found_out() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = server.local_addr().expect("it is bound");
        let patience = Some(Duration::from_secs(1));
        server.set_read_timeout(patience).expect("an option");
        // Of four datagrams one is lost, two change places, and one comes twice.
        let serving = thread::spawn(move || {
            let mut held = Vec::new();
            let mut datagram = [0; 2048];
            while let Ok((length, from)) = server.recv_from(&mut datagram) {
                held.push(datagram[..length].to_vec());
                if held.len() == 4 {
                    for nth in [2, 1, 3, 3] {
                        server.send_to(&held[nth], from).ok();
                    }
                    held.clear();
                }
            }
        });
        let options = ["-c", "1", "--rate", "1000", "--patience", "100ms"];
        let report = run_until(address, &options, 40);
        let count = |figure: &str| report[figure].as_u64().unwrap_or_default();
        assert_eq!(report["problem"], serde_json::Value::Null, "{report}");
        for figure in ["lost", "late", "doubled"] {
            assert!(count(figure) > 5, "{figure} in {report}");
            assert!(
                count(figure) <= count("datagrams") / 2,
                "{figure} in {report}"
            );
        }
        serving.join().expect("no panic");
        assert_eq!(run(address, &["-c", "1"])["problem"], "nothing came back");
    }

    #[test]
    fn an_address_may_be_written_in_the_usual_ways() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                resolve(text).map(|it| it.to_string()),
                Ok(expected.to_owned())
            );
        };
        check("127.0.0.1", "127.0.0.1:7007");
        check("127.0.0.1:9", "127.0.0.1:9");
        check("udp://127.0.0.1:9", "127.0.0.1:9");
        check("[::1]:9", "[::1]:9");
        check("::1", "[::1]:7007");
        assert!(resolve("127.0.0.1:0").is_err());
    }
}
