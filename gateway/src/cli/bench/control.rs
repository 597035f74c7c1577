//! Takes a run through its phases, and reads what the server costs between them.
//!
//! The loads run on threads of their own; here is one task that waits, for the clock, for Ctrl-C and
//! for the first failure. A run that ends early ends as others do: what was measured is reported.

use std::convert::Infallible;
use std::io::{IsTerminal, stderr};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::super::terminal;
use super::byte_echo::ByteEcho;
use super::byte_send::ByteSend;
use super::churn::Churn;
use super::driver::{Driver, Load};
use super::echo::Echo;
use super::fanout::{Board, Fanout};
use super::idle::Idle;
use super::net::{Net, Target};
use super::plan::{Mode, Plan, Protocol};
use super::process::{Processes, own_cpu};
use super::report::{Memory, Report, Window};
use super::shared::{Phase, Shared};
use super::upgrade::Upgrade;
use crate::client::trust;

/// How often it is looked whether something has happened.
const TICK: Duration = Duration::from_millis(20);
/// How often the server's memory is looked at while it has load. Reading it costs the load generator's
/// core 50 µs.
const WATCH: Duration = Duration::from_millis(200);
/// How long no connection may become ready before the run is given up.
const OPEN_PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing may arrive at the end before what is still in flight counts as lost.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long all of it may take. Chosen: a server that was starved of its core catches up in less.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);
/// How long the server's memory is watched after the last connection has gone.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// A raw server does not say when it has taken a connection into its list; most do it within a
/// turn of their loop after the handshake.
const ENTRY: Duration = Duration::from_millis(200);
/// Memory that has not fallen for this long has settled.
const SETTLED: Duration = Duration::from_secs(1);
/// Descriptors besides connections: standard streams, epoll, timers, wakers, `/proc`.
const OWN_DESCRIPTORS: u64 = 512;

/// Runs a plan.
///
/// # Errors
/// Where nothing could be measured at all: no address, no trust, too few descriptors.
pub(super) fn measure(plan: Plan) -> anyhow::Result<Report> {
    raise_descriptors(plan.connections + plan.stalled)?;
    let target = Arc::new(target(&plan)?);
    let mask = target.mask;
    let run = |plan| Run::new(plan, target);
    let threads = plan.threads;
    match plan.mode {
        Mode::Echo if plan.protocol == Protocol::Bytes => {
            run(plan)?.measure(|plan, _| ByteEcho::new(plan))
        }
        Mode::Send => run(plan)?.measure(|plan, _| ByteSend::new(plan)),
        Mode::Echo => run(plan)?.measure(|plan, _| Echo::new(plan, mask)),
        Mode::Idle => run(plan)?.measure(|_, _| Idle::default()),
        Mode::Churn => run(plan)?.measure(Churn::new),
        Mode::Fanout => {
            let board = Arc::new(Board::new(threads));
            run(plan)?.measure(move |plan, thread| {
                let members = plan.share(thread);
                Fanout::new(plan, Arc::clone(&board), thread, members, mask)
            })
        }
    }
}

fn target(plan: &Plan) -> anyhow::Result<Target> {
    let url = &plan.url;
    let tls = if url.scheme().is_tls() {
        let name = ServerName::try_from(url.host().to_owned())
            .with_context(|| format!("{} is no name that a certificate can have", url.host()))?;
        Some((trust::config(url, plan.ca.as_deref())?, name))
    } else {
        None
    };
    let subprotocol = match (plan.mode, plan.protocol) {
        (Mode::Fanout, Protocol::Roomwire) => Some("roomwire.v1"),
        _ => None,
    };
    let mut mask = [0; 4];
    aws_lc_rs::rand::fill(&mut mask).map_err(|_| anyhow!("the system has no random numbers"))?;
    let upgrade = (plan.protocol != Protocol::Bytes)
        .then(|| Upgrade::new(&url.authority(), &plan.path, subprotocol, plan.deflate));
    Ok(Target {
        address: resolve(url.host(), url.port())?,
        tls,
        upgrade,
        is_socketio: plan.protocol == Protocol::Socketio,
        mask,
    })
}

/// The first address of the host that answers, so that `localhost` finds a server on either family.
fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot find the address of {host}"))?;
    let mut last = None;
    for address in addresses {
        match std::net::TcpStream::connect_timeout(&address, OPEN_PATIENCE) {
            Ok(_) => return Ok(address),
            Err(error) => last = Some((address, error)),
        }
    }
    let (address, error) = last.with_context(|| format!("{host} has no address"))?;
    Err(error).with_context(|| format!("nothing answers at {address}"))
}

pub(super) fn raise_descriptors(connections: usize) -> anyhow::Result<()> {
    let needed = connections as u64 + OWN_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum.map(|most| most.min(needed)).or(Some(needed)),
        maximum: limit.maximum,
    };
    let enough = raised.current >= Some(needed) && setrlimit(Resource::Nofile, raised).is_ok();
    // A privileged user may lift the hard limit as well.
    let lifted = Rlimit {
        current: Some(needed),
        maximum: Some(needed),
    };
    if !enough && setrlimit(Resource::Nofile, lifted).is_err() {
        return Err(anyhow!(
            "{connections} connections need {needed} open files, and the limit of this process is \
             {}; raise it with `ulimit -Hn`",
            limit.maximum.unwrap_or_default()
        ));
    }
    Ok(())
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Done,
    Failed,
    Interrupted,
}

struct Run {
    plan: Arc<Plan>,
    target: Arc<Target>,
    shared: Arc<Shared>,
    processes: Processes,
    progress: Progress,
}

impl Run {
    fn new(plan: Plan, target: Arc<Target>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::new(plan.threads)?);
        let processes = if plan.pids.is_empty() {
            Processes::listening_on(target.address)
        } else {
            Processes::new(plan.pids.clone())
        };
        Ok(Self {
            progress: Progress::new(plan.quiet),
            plan: Arc::new(plan),
            target,
            shared,
            processes,
        })
    }

    fn measure<L: Load>(self, load: impl Fn(&Plan, usize) -> L) -> anyhow::Result<Report> {
        let mut memory = Memory {
            before: self.processes.memory(),
            ..Memory::default()
        };
        let mut threads = Vec::with_capacity(self.plan.threads);
        for thread in 0..self.plan.threads {
            threads.push(self.spawn(thread, load(&self.plan, thread))?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let conducted = runtime.block_on(self.conduct(&threads, &mut memory));
        // The threads end whether conducting went well or not.
        self.shared.enter(Phase::Stop);
        let mut whole: Option<L> = None;
        for thread in threads {
            let part = thread
                .join()
                .map_err(|_| anyhow!("a thread has failed"))??;
            match &mut whole {
                Some(whole) => whole.merge(part),
                None => whole = Some(part),
            }
        }
        let mut window = conducted?;
        window.memory = memory;
        if self.plan.mode == Mode::Idle {
            window.memory.after = runtime.block_on(self.settle());
        }
        window.failure = self.shared.failure().map(str::to_owned);
        window.deflating = self.plan.deflate.then(|| self.shared.deflating());
        window.inflated = self.shared.inflated();
        self.progress.clear();
        let whole = whole.context("there is no thread")?;
        let outcome = whole.outcome(&self.plan, &window);
        Ok(Report::new(&self.plan, outcome, window))
    }

    fn spawn<L: Load>(
        &self,
        thread: usize,
        load: L,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<L>>> {
        let besides = match (self.plan.mode, thread) {
            (Mode::Fanout, 0) => 1 + self.plan.stalled,
            _ => 0,
        };
        let wanted = match self.plan.standing() {
            0 => 0,
            _ => self.plan.share(thread) + besides,
        };
        let (target, shared) = (Arc::clone(&self.target), Arc::clone(&self.shared));
        let net = Net::new(thread, wanted, target, shared)?;
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let done = Driver::new(net, load).run();
            if let Err(error) = &done {
                shared.fail(error.to_string());
            }
            done.map_err(anyhow::Error::from)
        };
        let builder = thread::Builder::new().name(format!("bench-{thread}"));
        Ok(builder.spawn(run)?)
    }

    /// From the first connection until nothing is in flight any more.
    async fn conduct<L>(
        &self,
        threads: &[JoinHandle<L>],
        memory: &mut Memory,
    ) -> anyhow::Result<Window> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut window = Window {
            pids: self.processes.pids().to_vec(),
            names: self.processes.names(),
            ..Window::default()
        };
        let mut ended = self.open(&mut interrupt).await;
        let is_silent = self.plan.protocol != Protocol::Roomwire;
        if ended == Wait::Done && self.plan.mode == Mode::Fanout && is_silent {
            ended = self.pause("settling", ENTRY, &mut interrupt).await;
        }
        if ended == Wait::Done {
            self.shared.enter(Phase::Warmup);
            let warmup = self.plan.warmup;
            ended = self.pause("warming up", warmup, &mut interrupt).await;
        }
        if ended == Wait::Done {
            memory.loaded = self.processes.memory();
            let (server, client) = (self.processes.cpu(), own_cpu());
            let began = Instant::now();
            self.shared.enter(Phase::Measure);
            let duration = self.plan.duration;
            ended = tokio::select! {
                ended = self.pause("measuring", duration, &mut interrupt) => ended,
                never = self.watch(&mut memory.highest) => match never {},
            };
            self.shared.enter(Phase::Drain);
            window.length = began.elapsed();
            let now = self.processes.cpu();
            window.server = now.zip(server).map(|(now, then)| now - then);
            window.client = own_cpu() - client;
        }
        window.is_interrupted = ended == Wait::Interrupted;
        if ended == Wait::Failed {
            self.shared.enter(Phase::Stop);
        }
        self.shared.enter(Phase::Drain);
        self.drain(threads, &mut interrupt).await;
        Ok(window)
    }

    /// Waits until all connections are ready.
    async fn open(&self, interrupt: &mut Signal) -> Wait {
        let wanted = self.plan.standing() as u64;
        let (mut ready, mut since) = (0, Instant::now());
        while ready < wanted {
            self.progress
                .show(|| format!("{ready} of {wanted} connections"));
            match self.tick(interrupt).await {
                Wait::Done => {}
                early => return early,
            }
            let now = self.shared.ready();
            if now > ready {
                (ready, since) = (now, Instant::now());
            } else if since.elapsed() > OPEN_PATIENCE {
                let seconds = OPEN_PATIENCE.as_secs();
                self.shared.fail(format!(
                    "{ready} of {wanted} connections are ready, and for {seconds} s no other"
                ));
            }
        }
        Wait::Done
    }

    async fn pause(&self, what: &str, length: Duration, interrupt: &mut Signal) -> Wait {
        let end = Instant::now() + length;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::Done;
            }
            self.progress.show(|| {
                let open = self.shared.ready().saturating_sub(self.shared.closed());
                let seconds = left.as_secs_f64().ceil();
                match self.plan.mode {
                    Mode::Churn => format!("{what}, {seconds} s left"),
                    Mode::Echo | Mode::Fanout | Mode::Idle | Mode::Send => {
                        format!("{open} connections, {what}, {seconds} s left")
                    }
                }
            });
            tokio::select! {
                () = sleep(left.min(TICK)) => {}
                _ = interrupt.recv() => return Wait::Interrupted,
            }
            if self.shared.failure().is_some() {
                return Wait::Failed;
            }
        }
    }

    /// Notes the highest memory of the server.
    async fn watch(&self, highest: &mut Option<u64>) -> Infallible {
        loop {
            *highest = (*highest).max(self.processes.memory());
            sleep(WATCH).await;
        }
    }

    async fn tick(&self, interrupt: &mut Signal) -> Wait {
        tokio::select! {
            () = sleep(TICK) => {}
            _ = interrupt.recv() => return Wait::Interrupted,
        }
        if self.shared.failure().is_some() {
            Wait::Failed
        } else {
            Wait::Done
        }
    }

    /// Waits until the threads have ended. A second Ctrl-C ends the wait.
    async fn drain<L>(&self, threads: &[JoinHandle<L>], interrupt: &mut Signal) {
        let end = Instant::now() + LONGEST_DRAIN;
        let (mut turns, mut since) = (self.shared.turns(), Instant::now());
        while !threads.iter().all(JoinHandle::is_finished) && Instant::now() < end {
            let now = self.shared.turns();
            if now > turns {
                (turns, since) = (now, Instant::now());
            } else if since.elapsed() > DRAIN_PATIENCE {
                return;
            }
            self.progress
                .show(|| "waiting for what is in flight".to_owned());
            if self.tick(interrupt).await == Wait::Interrupted {
                return;
            }
        }
    }

    /// The server's memory once it falls no more.
    async fn settle(&self) -> Option<u64> {
        let end = Instant::now() + SETTLE_PATIENCE;
        let (mut least, mut since) = (self.processes.memory()?, Instant::now());
        while Instant::now() < end && since.elapsed() < SETTLED {
            self.progress
                .show(|| "waiting for the server's memory to settle".to_owned());
            sleep(TICK).await;
            let now = self.processes.memory()?;
            if now < least {
                (least, since) = (now, Instant::now());
            }
        }
        Some(least)
    }
}

/// Where a run stands, on stderr: one line that is written over on a terminal, else one line for
/// each second or so.
struct Progress {
    is_quiet: bool,
    is_terminal: bool,
    last: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    fn new(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            is_terminal: stderr().is_terminal(),
            last: std::cell::Cell::new(None),
        }
    }

    fn show(&self, text: impl FnOnce() -> String) {
        let pause = Duration::from_millis(if self.is_terminal { 200 } else { 1000 });
        let now = Instant::now();
        let is_due = self.last.get().is_none_or(|last| now - last >= pause);
        if self.is_quiet || !is_due {
            return;
        }
        self.last.set(Some(now));
        if self.is_terminal {
            terminal::tell(&format!("\r\x1b[K{}", text()));
        } else {
            terminal::tell(&format!("{}\n", text()));
        }
    }

    fn clear(&self) {
        if self.is_terminal && !self.is_quiet {
            terminal::tell("\r\x1b[K");
        }
    }
}
