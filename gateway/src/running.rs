//! A gateway that runs: started, looked at, published to, shut down.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use roomwire_hub::emitter::{Emitter, RegisterError, Scheduler, name};
use roomwire_hub::{HistoryLimits, HubOptions, Pattern, RoomSettings, WorkerId};
use roomwire_metrics::{Id, Page, PageError, PageOptions, Snapshot, default_page_path};
use roomwire_protocols::cookie::CookieKey;
use tokio::sync::watch;

use crate::admin::{Feed, Feeder, Guard};
use crate::builder::Builder;
use crate::config::{
    Config, CountersPolicy, Handler, HistoryConfig, ListenerConfig, Route, SlowPolicy,
};
use crate::event::BoundAddress;
use crate::exec::House;
use crate::http::{Lists, Pipeline, Router, Sites, Store};
use crate::lifecycle::{Asked, Clock, Phase, Pulse, Signals};
use crate::listener::{Admission, BindError, Sockets, bind_all};
use crate::proxy::UpstreamPool;
use crate::rate::Quotas;
use crate::rooms::{Rooms, SendError, publish};
use crate::shared::{Bounds, RoomHub, Rules, Shared};
use crate::tls::{Keeper, Setup};
use crate::udp::RateLimit;
use crate::work::{Pool, Work};
use crate::worker;

/// Most workers of one gateway: what a client id has room for.
const MAX_WORKERS: usize = 1024;

/// Idempotency keys kept per room. Chosen: at the documented 300 bytes a key, 300 KiB a room.
const MAX_KEYS_PER_ROOM: usize = 1000;

/// Descriptors kept back for files, event loops and listeners.
const RESERVED_DESCRIPTORS: u64 = 128;

/// A gateway could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The admin token could not be had.
    #[error("the admin token in {}: {reason}", path.display())]
    AdminToken {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates for an https listener could not be had.
    #[error(transparent)]
    Certificates(#[from] roomwire_certs::Error),
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The directory of uploads cannot be used.
    #[error("uploads.directory {directory}")]
    Uploads {
        /// The directory.
        directory: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no place for development certificates.
    #[error("there is no data directory for certificates: set HOME or gateway.data_dir")]
    DataDirectory,
    /// A listener of an event could not be registered.
    #[error("a listener could not be registered")]
    Listener(#[from] RegisterError),
    /// The operating system refused something.
    #[error("{what}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The counter page could not be made.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A worker failed while the gateway ran; the log says why.
    #[error("a worker failed; the log says why")]
    Worker,
    /// A route's path is not valid or clashes with another one.
    #[error("route {path}: {reason}")]
    Route {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
}

/// A running gateway. Dropping it cuts every session; [`shutdown`](Self::shutdown) drains first.
pub struct Gateway {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    finished: watch::Receiver<u16>,
    keeper: Mutex<Option<Keeper>>,
    feeder: Mutex<Option<Feeder>>,
    trust: Option<PathBuf>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Where the admin page is, and what opens it. Its `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminPage {
    /// The page's address.
    pub url: String,
    /// What has to be shown there; `None` where nobody has to show anything.
    pub token: Option<String>,
    /// Where the token is kept; `None` where it lasts as long as the gateway.
    pub token_file: Option<PathBuf>,
    /// Whether it was made at this start.
    pub is_new: bool,
}

impl AdminPage {
    /// A link that opens the page.
    pub fn link(&self) -> String {
        let Some(token) = &self.token else {
            return self.url.clone();
        };
        let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        format!("{}?token={token}", self.url)
    }
}

impl fmt::Debug for AdminPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPage")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were cut because the deadline or a second signal came.
    pub cut: u64,
    /// Workers that did not end within 5 s after that, because a listener or a route holds them up.
    /// Their threads, and the sessions on them, last until it returns or the process ends.
    pub left_behind: usize,
}

impl Gateway {
    /// Starts building a gateway.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Every listener as it is bound.
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.shared.listeners
    }

    /// Where the listener of this name is bound.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let mut listeners = self.shared.listeners.iter();
        listeners
            .find(|bound| &*bound.name == listener)
            .map(|bound| bound.address)
    }

    /// The emitter: listen on it, emit on it, from any thread.
    pub fn emitter(&self) -> &Emitter {
        &self.shared.emitter
    }

    /// The counters as they are now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.page.snapshot()
    }

    /// The phase of the gateway's life.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// Where the admin page is, for whoever started the gateway: on the first HTTP listener that asks
    /// for the token, else on the first. `None` without an HTTP listener.
    pub fn admin_page(&self) -> Option<AdminPage> {
        let guard = &self.shared.guard;
        let asks = |at: &BoundAddress| {
            let ip = at.address.ip();
            !guard.trusts(ip, ip)
        };
        let listeners = &self.shared.listeners;
        let http = || listeners.iter().filter(|it| is_http(it));
        let listener = http().find(|it| asks(it)).or_else(|| http().next())?;
        let address = listener.address;
        let host = if address.ip().is_unspecified() || address.ip().is_loopback() {
            format!("localhost:{}", address.port())
        } else {
            address.to_string()
        };
        let token = guard.token().filter(|_| asks(listener));
        Some(AdminPage {
            url: format!("{}://{host}/admin", listener.protocol),
            token: token.map(|token| token.expose().to_owned()),
            token_file: guard.file().map(Path::to_owned),
            is_new: guard.is_new(),
        })
    }

    /// The certificate of the development CA, where https listeners use one.
    pub fn development_ca(&self) -> Option<&Path> {
        self.trust.as_deref()
    }

    /// Has the certificates, keys and client authorities of all https listeners loaded again, as
    /// SIGHUP does. Returns immediately; open connections keep what they have. What cannot be used
    /// leaves the listener as it was: the log says why, and `tls_reload_errors_total` counts it.
    pub fn reload_certificates(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = &*keeper {
            keeper.reload();
        }
    }

    /// Publishes one JSON text to a room as `from`; gives its offset.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was published then.
    pub fn publish(&self, room: &str, from: &str, data: &[u8]) -> Result<u64, SendError> {
        publish(&self.shared, room, from, data)
    }

    /// Threads for work that takes the processor; may be kept by listeners.
    pub fn work(&self) -> Work {
        self.shared.work.clone()
    }

    /// A handle that publishes and may be kept by listeners: it does not keep the gateway alive.
    pub fn rooms(&self) -> Rooms {
        Rooms::new(&self.shared)
    }

    /// Begins a drain, or with a second call has what is left cut at once. Returns immediately.
    pub fn begin_shutdown(&self) {
        if !self.shared.begin_drain() {
            self.shared.advance(Phase::Closing);
        }
    }

    /// Drains and waits for the end: no new connections, every peer told goodbye, sessions closed
    /// one after another until `gateway.drain` has passed, the rest cut. Idempotent.
    ///
    /// Blocks, and waits for the workers: a listener, which runs on one of them, must call
    /// [`begin_shutdown`](Self::begin_shutdown) instead.
    pub fn shutdown(&self) -> Drained {
        if self.shared.phase() < Phase::Draining {
            self.begin_shutdown();
        }
        let deadline = Instant::now() + self.shared.config.gateway.drain.get();
        while !self.is_drained() && Instant::now() < deadline && self.phase() < Phase::Closing {
            thread::sleep(POLL);
        }
        self.finish()
    }

    /// Serves until SIGTERM or SIGINT, or until somebody begins a drain, then drains; a second signal
    /// ends the drain. SIGHUP reloads certificates, SIGUSR1 has the log of `roomwire serve` say more.
    ///
    /// # Errors
    ///
    /// [`StartError::Os`] when signal handlers cannot be installed; the gateway goes on then.
    /// [`StartError::Worker`] when it ended because a worker failed.
    pub fn wait(&self) -> Result<Drained, StartError> {
        let failed = |what| move |source| StartError::Os { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("the signals' runtime"))?;
        runtime.block_on(async {
            let mut signals = Signals::register().map_err(failed("signal handlers"))?;
            let mut finished = self.finished.clone();
            let mut phase = self.shared.phase.subscribe();
            let all = self.shared.workers;
            let signal = loop {
                tokio::select! {
                    asked = signals.next() => match asked {
                        Asked::Reload => self.reload_certificates(),
                        Asked::Debug => {
                            if let Some(levels) = crate::log::levels() {
                                levels.toggle_debug();
                            }
                        }
                        Asked::End(signal) => break Some(signal),
                    },
                    // Somebody else began a drain: over the API, or the embedding program.
                    _ = phase.wait_for(|phase| *phase >= Phase::Draining) => break None,
                    _ = finished.wait_for(|&ended| ended == all) => return Ok::<_, StartError>(()),
                }
            };
            let drain = self.shared.config.gateway.drain;
            let sessions = self.sessions();
            if let Some(signal) = signal {
                tracing::info!(signal, sessions, %drain, "draining; a second signal ends at once");
                self.begin_shutdown();
            }
            let deadline = tokio::time::Instant::now() + drain.get();
            loop {
                tokio::select! {
                    asked = signals.next() => {
                        if let Asked::End(signal) = asked {
                            tracing::info!(signal, "ending at once");
                            return Ok(());
                        }
                    }
                    _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return Ok(()),
                    () = tokio::time::sleep_until(deadline) => {
                        tracing::warn!("the drain's deadline came; what is left is cut");
                        return Ok(());
                    }
                    () = tokio::time::sleep(POLL) => {
                        if self.is_drained() {
                            return Ok(());
                        }
                    }
                }
            }
        })?;
        let drained = self.finish();
        if self.shared.failed.load(Ordering::Relaxed) || drained.left_behind > 0 {
            return Err(StartError::Worker);
        }
        Ok(drained)
    }

    fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// True once nobody is left.
    fn is_drained(&self) -> bool {
        self.sessions() == 0
    }

    fn finish(&self) -> Drained {
        self.shared.advance(Phase::Closing);
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let left_behind = join_all(workers);
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            keeper.join();
        }
        let feeder = self
            .feeder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(feeder) = feeder {
            feeder.join();
        }
        self.shared.advance(Phase::Stopped);
        let cut = self
            .snapshot()
            .value("session_close_shutdown_cut_total")
            .unwrap_or(0);
        self.shared.page.set_stopped();
        Drained { cut, left_behind }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Waits for the workers' ends and tells how many did not come. A thread cannot be ended from
/// outside, and waiting for one that hangs would keep the process from ever ending.
fn join_all(workers: Vec<JoinHandle<()>>) -> usize {
    let deadline = Instant::now() + END_WITHIN;
    let mut left_behind = 0;
    for worker in workers {
        while !worker.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        if !worker.is_finished() {
            left_behind += 1;
        } else if worker.join().is_err() {
            tracing::error!("a worker panicked at its very end");
        }
    }
    if left_behind > 0 {
        tracing::error!(
            workers = left_behind,
            "workers that a listener or a route holds up are left behind"
        );
    }
    left_behind
}

/// A site whose directory is not there would be a site of 404s.
fn check_sites(config: &Config) -> Result<(), StartError> {
    let sites = config.listeners.iter().flat_map(ListenerConfig::sites);
    for (path, route) in sites.flatten() {
        let Route::Static(site) = route else {
            continue;
        };
        let failed = |reason: String| StartError::Route {
            path: path.clone(),
            reason: format!("{}: {reason}", site.root.display()),
        };
        let metadata = std::fs::metadata(&site.root).map_err(|error| failed(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(failed("this is no directory".to_owned()));
        }
    }
    Ok(())
}

fn open_uploads(config: &Config) -> Result<Option<Arc<Store>>, StartError> {
    let Some(directory) = &config.uploads.directory else {
        return Ok(None);
    };
    let store = Store::open(directory, &config.uploads);
    let store = store.map_err(|source| StartError::Uploads {
        directory: directory.display().to_string(),
        source,
    })?;
    Ok(Some(Arc::new(store)))
}

/// How often a drain looks whether it is done.
const POLL: Duration = Duration::from_millis(20);

/// How long workers may take to end once everything is cut. Chosen: after as long without a turn a
/// worker counts as hanging.
const END_WITHIN: Duration = Duration::from_millis(roomwire_metrics::STALLED_AFTER_MS);

/// How often one that ends is looked at. Chosen: it takes one turn, which is less.
const LOOK: Duration = Duration::from_millis(1);

/// Binds, opens the page, starts the workers and waits until they serve.
pub(crate) fn start(
    config: Config,
    emitter: Emitter,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<Gateway, StartError> {
    config.validate()?;
    check_sites(&config)?;
    let uploads = open_uploads(&config)?;
    let router = match uploads {
        Some(_) => router,
        None => router.without_uploads(),
    };
    let workers = worker_count(&config);
    let max_connections = max_connections(&config);
    let clock = Clock::start();
    let mut tls = Setup::load(&config, tls)?;
    let trust = tls.trust.take();
    let challenges = Arc::clone(&tls.challenges);
    let bound = bind_all(&config.listeners, workers, |listener| tls.handle(listener))?;
    let page = open_page(&config, workers)?;
    let guard = Guard::load(&config, &http_addresses(&config, &bound.addresses))?;
    let shared = Arc::new(Shared {
        bounds: Bounds::new(&config.limits),
        rules: config.listeners.iter().map(Rules::new).collect(),
        sites: config.listeners.iter().map(Sites::new).collect(),
        pools: config.listeners.iter().map(pool).collect(),
        rate_limits: config.listeners.iter().map(rate_limit).collect(),
        houses: config.listeners.iter().map(house).collect(),
        hub: Arc::new(RoomHub::new(hub_options(&config, workers)?)),
        emitter,
        clock,
        phase: watch::Sender::new(Phase::Starting),
        work: Work::new(&config.limits, page.shared()),
        lane: page.shared(),
        page,
        cookies: CookieKey::new(random_bytes()?),
        listeners: bound.addresses,
        router,
        challenges,
        admission: Admission::new(max_connections, &config.listeners),
        quotas: Quotas::new(&config),
        pipeline: Pipeline::new(&config).map_err(|source| StartError::Os {
            what: "the access log cannot be opened",
            source,
        })?,
        uploads,
        files: Arc::new(Pool::new(
            "files",
            config.limits.file_threads,
            config.limits.max_file_queue,
        )),
        guard,
        lists_of_rooms: Lists::default(),
        lists_of_connections: Lists::default(),
        feed: Arc::new(Feed::new(config.admin.max_viewers)),
        sessions: AtomicUsize::new(0),
        udp_places: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        workers,
        pulse: Pulse::new(workers),
        first_generation: u32::from_le_bytes(random_bytes()?),
        config,
    });
    hook_errors(&shared);
    let (finished, on_finished) = watch::channel(0);
    let mut gateway = Gateway {
        shared,
        workers: Mutex::default(),
        finished: on_finished,
        keeper: Mutex::default(),
        feeder: Mutex::default(),
        trust,
    };
    let threads = gateway
        .workers
        .get_mut()
        .unwrap_or_else(PoisonError::into_inner);
    // On an error the gateway is dropped, which ends the workers that did start.
    spawn_all(&gateway.shared, bound.per_worker, finished, threads)?;
    let keeper = Keeper::start(tls, &gateway.shared).map_err(|source| StartError::Os {
        what: "the thread that keeps certificates",
        source,
    })?;
    *gateway
        .keeper
        .get_mut()
        .unwrap_or_else(PoisonError::into_inner) = keeper;
    let feeder = Feeder::start(&gateway.shared).map_err(|source| StartError::Os {
        what: "the thread that reads figures",
        source,
    })?;
    *gateway
        .feeder
        .get_mut()
        .unwrap_or_else(PoisonError::into_inner) = Some(feeder);
    gateway.shared.advance(Phase::Ready);
    gateway.shared.page.heartbeat(Clock::unix_ms());
    gateway.shared.page.set_ready(true);
    for address in gateway.addresses() {
        gateway.emitter().emit(name::LISTENING, address);
    }
    Ok(gateway)
}

/// Where HTTP is listened for, and where it may turn out to be what is spoken.
fn http_addresses(config: &Config, listeners: &[BoundAddress]) -> Vec<SocketAddr> {
    let listeners = config.listeners.iter().zip(listeners);
    let http = listeners.filter(|(config, bound)| config.detect || is_http(bound));
    http.map(|(_, bound)| bound.address).collect()
}

fn is_http(listener: &BoundAddress) -> bool {
    listener.handler == Handler::Http.as_str()
}

fn house(listener: &ListenerConfig) -> Option<Arc<House>> {
    (listener.handler == Handler::Exec).then(|| Arc::new(House::new(&listener.exec)))
}

fn rate_limit(listener: &ListenerConfig) -> Option<RateLimit> {
    let (rate, burst) = (listener.udp.rate, listener.udp.burst);
    let burst = if burst == 0 { rate } else { burst };
    (rate > 0).then(|| RateLimit::new(rate, burst))
}

fn pool(listener: &ListenerConfig) -> Option<Arc<UpstreamPool>> {
    (listener.handler == Handler::Proxy).then(|| Arc::new(UpstreamPool::new(&listener.proxy)))
}

fn worker_count(config: &Config) -> u16 {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let asked = match config.gateway.workers {
        0 => cores(),
        workers => workers,
    };
    u16::try_from(asked.clamp(1, MAX_WORKERS)).unwrap_or(1)
}

/// Raises the limit on descriptors as far as it goes and derives the bound from it.
fn max_connections(config: &Config) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit on open files stays as it is");
        }
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1);
    let derived = usize::try_from(room).unwrap_or(usize::MAX);
    let max = match config.limits.max_connections {
        0 => derived,
        asked => asked.min(derived),
    };
    tracing::info!(
        max_connections = max,
        descriptors,
        "connections are limited"
    );
    max
}

fn open_page(config: &Config, workers: u16) -> Result<Arc<Page>, StartError> {
    let options = PageOptions {
        workers,
        instance: config.gateway.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_unix_ms: Clock::unix_ms(),
        pid: std::process::id(),
        listeners: config.listeners.iter().map(|it| it.name.clone()).collect(),
        rooms: config
            .rooms
            .patterns
            .iter()
            .map(|it| it.matches.clone())
            .collect(),
        keep: config.gateway.counters == CountersPolicy::Keep,
    };
    let page = if config.gateway.page {
        let path = config
            .gateway
            .page_file
            .clone()
            .unwrap_or_else(|| default_page_path(&config.gateway.instance));
        Page::create(&path, &options)?
    } else {
        Page::anonymous(&options)?
    };
    let unlabelled = page.unlabelled(&options) as u64;
    page.shared().gauge_set(Id::UnlabelledBlocks, unlabelled);
    Ok(page)
}

/// Where the gateway keeps what it makes for itself.
pub(crate) fn data_dir(config: &Config) -> Option<PathBuf> {
    let (xdg, home) = (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
    config.gateway.data_dir(xdg.as_deref(), home.as_deref())
}

fn hub_options(config: &Config, workers: u16) -> Result<HubOptions, StartError> {
    let seed = u64::from_le_bytes(random_bytes()?);
    let rooms = &config.rooms;
    let overrides = rooms.patterns.iter().filter_map(|pattern| {
        // What is no pattern was refused when the configuration was checked.
        let name = pattern.matches.parse::<Pattern>().ok()?;
        Some((name, room_settings(&pattern.history, pattern.slow)))
    });
    Ok(HubOptions {
        workers,
        inbox_capacity: config.limits.max_inbox,
        rooms: room_settings(&rooms.history, rooms.slow),
        overrides: overrides.collect(),
        max_rooms: config.limits.max_rooms,
        max_patterns: config.limits.max_patterns,
        max_keys_per_room: MAX_KEYS_PER_ROOM,
        key_ttl_ms: config.limits.idempotency_ttl.as_millis(),
        seed,
    })
}

fn room_settings(history: &HistoryConfig, slow: SlowPolicy) -> RoomSettings {
    RoomSettings {
        history: HistoryLimits {
            messages: history.messages,
            bytes: history.bytes.as_usize(),
            age_ms: history.age.as_millis(),
        },
        slow: match slow {
            SlowPolicy::Disconnect => roomwire_hub::SlowPolicy::Disconnect,
            SlowPolicy::DropOldest => roomwire_hub::SlowPolicy::DropOldest,
            SlowPolicy::KeepLatest => roomwire_hub::SlowPolicy::KeepLatest,
        },
    }
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Os {
        what: "random numbers",
        source: io::Error::other("the operating system gave none"),
    })?;
    Ok(bytes)
}

/// The emitter has no log of its own; the gateway lends it its own.
fn hook_errors(shared: &Arc<Shared>) {
    shared
        .emitter
        .set_warning_hook(|warning| tracing::warn!("{warning}"));
    shared.emitter.set_unhandled_error_hook(|error| {
        if let Some(error) = error.listener_error() {
            tracing::error!(event = %error.event, "a listener failed: {}", error.message);
        }
    });
}

fn spawn_all(
    shared: &Arc<Shared>,
    sockets: Vec<Sockets>,
    finished: watch::Sender<u16>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartError> {
    let failed = |what| move |source| StartError::Os { what, source };
    let (ready, on_ready) = mpsc::sync_channel(sockets.len());
    for (index, sockets) in sockets.into_iter().enumerate() {
        let id = WorkerId(u16::try_from(index).unwrap_or(u16::MAX));
        let lane = shared.page.lane(id.0).ok_or(StartError::Os {
            what: "a worker's lane",
            source: io::ErrorKind::AlreadyExists.into(),
        })?;
        let scheduler = Scheduler::new();
        shared.emitter.attach(&scheduler);
        let start = worker::Start {
            shared: Arc::clone(shared),
            id,
            lane,
            scheduler,
            sockets,
        };
        let (ready, finished) = (ready.clone(), finished.clone());
        let body = move || run_worker(start, &ready, &finished);
        let thread = thread::Builder::new()
            .name(format!("roomwire-{index}"))
            .spawn(body)
            .map_err(failed("a worker's thread"))?;
        threads.push(thread);
    }
    drop(ready);
    for _ in 0..threads.len() {
        let started = on_ready
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        started.map_err(failed("a worker"))?;
    }
    Ok(())
}

fn run_worker(
    start: worker::Start,
    ready: &mpsc::SyncSender<io::Result<()>>,
    finished: &watch::Sender<u16>,
) {
    let id = start.id.0;
    let told = std::cell::Cell::new(false);
    let shared = Arc::clone(&start.shared);
    let run = || {
        worker::run(start, || {
            told.set(true);
            // The starter waits for one word of each worker, so the channel has room and is open.
            drop(ready.send(Ok(())));
        })
    };
    // Connections that the kernel gives to a worker which is gone would wait for ever: the gateway
    // ends as a whole, and whoever runs it starts it again.
    let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(io::Error::other(
            "it panicked; please report the lines above",
        ))
    });
    if let Err(error) = ended {
        tracing::error!(worker = id, %error, "a worker failed; the gateway ends");
        // Its sessions went with it, unaccounted.
        if let Some(lane) = shared.page.lane(id) {
            lane.clear_gauges();
        }
        shared.failed.store(true, Ordering::Relaxed);
        shared.advance(Phase::Closing);
        if !told.get() {
            drop(ready.send(Err(error)));
        }
    }
    finished.send_modify(|ended| *ended += 1);
}
