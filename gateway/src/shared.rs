//! What the workers share: settings, the hub, the emitter, the counter page and the phase.
//!
//! Everything here is either immutable after the start or has its own synchronisation; the lock
//! table in ARCHITECTURE.md lists the locks behind it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use roomwire_certs::Challenges;
use roomwire_hub::{Hub, OutboxLimits, emitter::Emitter};
use roomwire_metrics::{Page, SharedLane};
use roomwire_protocols::cookie::CookieKey;
use roomwire_protocols::websocket;
use tokio::sync::watch;

use crate::admin::{Feed, Guard};
use crate::config::{Config, Limits, ListenerConfig, Protocol, Span};
use crate::event::BoundAddress;
use crate::exec::House;
use crate::http::{Lists, Pipeline, Router, Sites, Store};
use crate::lifecycle::{Clock, Phase, Pulse};
use crate::listener::Admission;
use crate::message::Message;
use crate::proxy::UpstreamPool;
use crate::rate::Quotas;
use crate::udp::RateLimit;
use crate::work::{Pool, Work};
use crate::worker::Control;

/// The hub as the gateway uses it.
pub(crate) type RoomHub = Hub<Arc<Message>, Control>;

/// Shared by every worker and by the handles that embedding programs hold.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) bounds: Bounds,
    /// By listener.
    pub(crate) rules: Vec<Rules>,
    /// By listener.
    pub(crate) sites: Vec<Sites>,
    /// By listener; `None` where it is no proxy.
    pub(crate) pools: Vec<Option<Arc<UpstreamPool>>>,
    /// By listener; `None` where addresses may send as much as they like.
    pub(crate) rate_limits: Vec<Option<RateLimit>>,
    /// By listener; `None` where there is no program.
    pub(crate) houses: Vec<Option<Arc<House>>>,
    pub(crate) hub: Arc<RoomHub>,
    pub(crate) emitter: Emitter,
    pub(crate) clock: Clock,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) page: Arc<Page>,
    pub(crate) lane: SharedLane,
    pub(crate) cookies: CookieKey,
    pub(crate) listeners: Vec<BoundAddress>,
    pub(crate) router: Router,
    /// What ACME authorities are answered.
    pub(crate) challenges: Arc<Challenges>,
    /// Connections against their bounds.
    pub(crate) admission: Admission,
    /// How often clients may connect and ask.
    pub(crate) quotas: Quotas,
    pub(crate) pipeline: Pipeline,
    /// Where uploads go.
    pub(crate) uploads: Option<Arc<Store>>,
    /// Who may use what is for operators.
    pub(crate) guard: Guard,
    pub(crate) lists_of_rooms: Lists,
    pub(crate) lists_of_connections: Lists,
    /// Figures for admin pages.
    pub(crate) feed: Arc<Feed>,
    /// Threads that wait for disks.
    pub(crate) files: Arc<Pool>,
    /// Threads for work of the embedding program.
    pub(crate) work: Work,
    /// Sessions of all workers. The counter page says the same, but a turn later.
    pub(crate) sessions: AtomicUsize,
    /// UDP peers with a proven address, of all workers.
    pub(crate) udp_places: AtomicUsize,
    /// A worker failed, which ended the gateway.
    pub(crate) failed: AtomicBool,
    pub(crate) workers: u16,
    pub(crate) pulse: Pulse,
    /// Where the workers begin to count sessions: client ids of another run are not seen again.
    pub(crate) first_generation: u32,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("workers", &self.workers)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// How long sessions of a listener may last.
    pub(crate) fn rules(&self, listener: u16) -> Rules {
        let rules = self.rules.get(usize::from(listener)).copied();
        rules.unwrap_or(Rules::NONE)
    }

    /// The programs of an exec listener.
    pub(crate) fn house(&self, listener: u16) -> Option<Arc<House>> {
        self.houses.get(usize::from(listener))?.clone()
    }

    /// The upstreams of a proxy listener.
    pub(crate) fn pool(&self, listener: u16) -> Option<Arc<UpstreamPool>> {
        self.pools.get(usize::from(listener))?.clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Begins a drain; false where one had begun.
    pub(crate) fn begin_drain(&self) -> bool {
        self.page.set_ready(false);
        self.advance(Phase::Draining)
    }

    /// Advances the phase and tells whether that was anything new; never goes back.
    pub(crate) fn advance(&self, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let advances = *phase < to;
            if advances {
                *phase = to;
            }
            advances
        })
    }
}

/// One place among `max_udp_sessions`, of all workers together. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct UdpPlace {
    shared: Arc<Shared>,
}

impl UdpPlace {
    /// A place, if there is one.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        if shared.udp_places.fetch_add(1, Ordering::Relaxed) >= shared.bounds.max_udp_sessions {
            shared.udp_places.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self {
            shared: Arc::clone(shared),
        })
    }
}

impl Drop for UdpPlace {
    fn drop(&mut self) {
        self.shared.udp_places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long sessions of one listener may last; `u64::MAX` is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Without anything from the peer.
    pub(crate) idle_ms: u64,
    /// In all.
    pub(crate) lifetime_ms: u64,
    /// With something waiting for an end of a proxied connection that takes nothing.
    pub(crate) stall_ms: u64,
}

/// How long a client of a UDP proxy is remembered that sends nothing and gets nothing. RFC 4787 §4.3
/// wants NATs to wait for two minutes; chosen: less, because a client that comes back only gets another
/// port on the upstream's side, and a forged one holds a descriptor this long.
const DATAGRAM_IDLE_MS: u64 = 30_000;

impl Rules {
    const NONE: Self = Self {
        idle_ms: u64::MAX,
        lifetime_ms: u64::MAX,
        stall_ms: u64::MAX,
    };

    pub(crate) fn new(listener: &ListenerConfig) -> Self {
        let accept = &listener.accept;
        let bound = |span: Span| match span.as_millis() {
            0 => u64::MAX,
            bound => bound,
        };
        let is_datagrams = listener.protocol == Protocol::Udp;
        let idle_ms = match bound(accept.idle_timeout) {
            // Nobody says goodbye over UDP.
            u64::MAX if is_datagrams => DATAGRAM_IDLE_MS,
            idle_ms => idle_ms,
        };
        Self {
            idle_ms,
            lifetime_ms: bound(accept.max_lifetime),
            stall_ms: bound(listener.proxy.stall_timeout),
        }
    }
}

/// The configured limits in the units that the code counts in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_message: usize,
    pub(crate) websocket: websocket::Limits,
    pub(crate) outbox: OutboxLimits,
    /// Half of the outbox's limits: where a session is flushed early, or no longer read from.
    pub(crate) outbox_half_messages: usize,
    pub(crate) outbox_half_bytes: usize,
    pub(crate) max_rooms_per_session: usize,
    pub(crate) max_members_listed: usize,
    pub(crate) max_history_page: usize,
    pub(crate) max_requests_per_session: u16,
    pub(crate) max_request_replies: usize,
    pub(crate) max_udp_sessions: usize,
    pub(crate) max_udp_datagram: usize,
    pub(crate) max_udp_answers: usize,
    pub(crate) max_waiters: usize,
    pub(crate) ping_interval_ms: u64,
    pub(crate) pong_timeout_ms: u64,
    pub(crate) handshake_timeout_ms: u64,
    pub(crate) write_timeout_ms: u64,
    pub(crate) close_timeout_ms: u64,
    pub(crate) udp_lease_ms: u64,
    pub(crate) request_timeout_ms: u64,
    pub(crate) max_request_timeout_ms: u64,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_message: limits.max_message.as_usize(),
            websocket: websocket::Limits {
                max_message: limits.max_message.as_usize(),
                max_fragments: limits.max_fragments,
            },
            outbox: OutboxLimits {
                max_messages: limits.max_outbox_messages,
                max_bytes: limits.max_outbox_bytes.as_usize(),
            },
            outbox_half_messages: (limits.max_outbox_messages / 2).max(1),
            outbox_half_bytes: (limits.max_outbox_bytes.as_usize() / 2).max(1),
            max_rooms_per_session: limits.max_rooms_per_session,
            max_members_listed: limits.max_members_listed,
            max_history_page: limits.max_history_page,
            max_requests_per_session: u16::try_from(limits.max_requests_per_session)
                .unwrap_or(u16::MAX),
            max_request_replies: limits.max_request_replies,
            max_udp_sessions: limits.max_udp_sessions,
            max_udp_datagram: limits.max_udp_datagram.as_usize(),
            max_udp_answers: limits.max_udp_answers,
            max_waiters: limits.max_waiters,
            ping_interval_ms: limits.ping_interval.as_millis(),
            pong_timeout_ms: limits.pong_timeout.as_millis(),
            handshake_timeout_ms: limits.handshake_timeout.as_millis(),
            write_timeout_ms: limits.write_timeout.as_millis(),
            close_timeout_ms: limits.close_timeout.as_millis(),
            udp_lease_ms: limits.udp_lease.as_millis(),
            request_timeout_ms: limits.request_timeout.as_millis(),
            max_request_timeout_ms: limits.max_request_timeout.as_millis(),
        }
    }
}
