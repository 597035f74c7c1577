//! Looking after one upstream: its name is looked up again and again, and where that is asked for
//! it is connected to, to see whether it accepts.
//!
//! One task per upstream, on the first worker. Everything it finds goes to the pool; only what
//! changes is logged, once.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use roomwire_metrics::{Id, LaneWriter};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};

use super::UpstreamPool;
use super::pool::Verdict;
use crate::lifecycle::Phase;
use crate::worker::Worker;

/// How long a lookup may take. Chosen: resolvers give up by themselves within ten seconds or so.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);

/// Time to the next lookup while a name is not known. Chosen: soon, as at the start of a network.
const LOOKUP_RETRY: Duration = Duration::from_secs(1);

/// Addresses of one name that are kept. Chosen: resolvers seldom give more than a dozen.
const MAX_ADDRESSES: usize = 32;

/// Starts looking after the upstreams of a listener.
pub(crate) fn keep(worker: &Rc<Worker>, pool: &Arc<UpstreamPool>) {
    for (index, upstream) in pool.config.upstreams.iter().enumerate() {
        if upstream.name().is_some() || pool.is_checked() {
            let keeper = Keeper {
                worker: Rc::clone(worker),
                pool: Arc::clone(pool),
                index,
                known: true,
            };
            worker.scope.spawn("upstream keeper", keeper.run());
        }
    }
}

struct Keeper {
    worker: Rc<Worker>,
    pool: Arc<UpstreamPool>,
    index: usize,
    /// The last lookup found something.
    known: bool,
}

impl Keeper {
    async fn run(mut self) {
        let mut phase = self.worker.shared.phase.subscribe();
        tokio::select! {
            biased;
            // The sender lives in `shared`, so the channel cannot be closed.
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => {}
            () = self.look_after() => {}
        }
    }

    async fn look_after(&mut self) {
        let pool = Arc::clone(&self.pool);
        let named = pool.config.upstreams.get(self.index);
        let name = named.and_then(|it| it.name());
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        let mut lookup = if name.is_some() { Instant::now() } else { far };
        let mut check = if pool.is_checked() {
            Instant::now()
        } else {
            far
        };
        loop {
            sleep_until(lookup.min(check)).await;
            if let Some(name) = name.filter(|_| Instant::now() >= lookup) {
                let found = self.look_up(name).await;
                let interval = pool.config.resolve_interval.get();
                lookup = Instant::now() + if found { interval } else { LOOKUP_RETRY };
            }
            if Instant::now() >= check {
                self.check().await;
                check = Instant::now() + pool.config.check_interval.get();
            }
        }
    }

    /// Looks a name up; false when nothing was found, and what was known stays.
    async fn look_up(&mut self, (name, port): (&str, u16)) -> bool {
        let found = timeout(LOOKUP_PATIENCE, lookup_host((name, port))).await;
        let error = match found {
            Ok(Ok(addresses)) => {
                let addresses: Vec<SocketAddr> = addresses.take(MAX_ADDRESSES).collect();
                let known = !addresses.is_empty();
                self.pool.resolved(self.index, addresses);
                if known {
                    self.known = true;
                    return true;
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nobody answered".to_owned(),
        };
        self.worker.count(Id::ProxyLookupErrors);
        if std::mem::take(&mut self.known) {
            tracing::warn!(name, error, "the upstream's name cannot be looked up");
        }
        false
    }

    async fn check(&self) {
        let patience = self.pool.config.connect_timeout.get();
        let addresses = self.pool.addresses(self.index, patience).await;
        let mut well = false;
        for address in addresses {
            let connected = timeout(patience, TcpStream::connect(address)).await;
            well = matches!(connected, Ok(Ok(_)));
            if well {
                break;
            }
        }
        let verdict = if well {
            self.pool.succeeded(self.index, true)
        } else {
            self.worker.count(Id::ProxyChecksFailed);
            let now_ms = self.worker.shared.clock.now_ms();
            self.pool.failed(self.index, now_ms)
        };
        tell(&self.worker.lane, &self.pool, self.index, verdict);
    }
}

/// Logs and counts what changed.
pub(crate) fn tell(lane: &LaneWriter, pool: &UpstreamPool, index: usize, verdict: Verdict) {
    let Some(upstream) = pool.config.upstreams.get(index) else {
        return;
    };
    match verdict {
        Verdict::Unchanged => {}
        Verdict::Down => {
            lane.increment(Id::ProxyUpstreamDowns);
            let (down, of) = (pool.down(), pool.len());
            tracing::warn!(%upstream, down, of, "an upstream does not accept; it is left out");
        }
        Verdict::Up => tracing::info!(%upstream, "an upstream accepts again"),
    }
}
