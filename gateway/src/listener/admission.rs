//! Who gets in: connections of all workers against the bounds of the gateway, of a listener and of
//! an address.
//!
//! A place is a [`Permit`], which lives as long as the connection and gives the place back when it is
//! dropped, whatever ends the connection. Counts are atomics; only where connections from one address
//! are bounded does a listener have a table, under a lock of its own, with as many entries as it has
//! connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use roomwire_metrics::Id;
use tokio::sync::Notify;

use crate::config::{ListenerConfig, Protocol};
use crate::rate::customer;
use crate::shared::Shared;

/// Counts connections of all workers against their bounds.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    max: usize,
    gates: Vec<Gate>,
    /// Told of places that are given back, while somebody waits.
    freed: Notify,
    waiting: AtomicUsize,
}

/// One listener's bounds.
#[derive(Debug)]
struct Gate {
    open: AtomicUsize,
    max: usize,
    max_per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// `limits.max_connections`.
    Gateway,
    /// The listener's `max_connections`.
    Listener,
    /// The listener's `max_per_address`.
    Address,
    /// The address has connected as often as `rate.connections` says.
    Rate {
        /// Seconds until it may again.
        retry_s: u64,
    },
}

impl Full {
    /// What counts a connection that is refused for it.
    pub(crate) const fn counter(self) -> Id {
        match self {
            Self::Gateway => Id::ConnectionsRefused,
            Self::Listener => Id::ConnectionsRefusedListener,
            Self::Address => Id::ConnectionsRefusedAddress,
            Self::Rate { .. } => Id::ConnectionsRefusedRate,
        }
    }
}

impl Admission {
    /// `max` is the bound of all listeners together.
    pub(crate) fn new(max: usize, listeners: &[ListenerConfig]) -> Self {
        let bound = |max: usize| if max == 0 { usize::MAX } else { max };
        let of_listener = |listener: &ListenerConfig| match listener.accept.max_connections {
            // Whoever forges addresses must not take the others' descriptors.
            0 if listener.protocol == Protocol::Udp => max.div_ceil(2),
            set => bound(set),
        };
        let gate = |listener: &ListenerConfig| Gate {
            open: AtomicUsize::new(0),
            max: of_listener(listener),
            max_per_address: bound(listener.accept.max_per_address),
            addresses: Mutex::default(),
        };
        Self {
            open: AtomicUsize::new(0),
            max,
            gates: listeners.iter().map(gate).collect(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place for one more connection of a listener.
    ///
    /// # Errors
    ///
    /// [`Full`], of the gateway or of the listener.
    pub(crate) fn admit(shared: &Arc<Shared>, listener: u16) -> Result<Permit, Full> {
        let this = &shared.admission;
        take(&this.open, this.max, Full::Gateway)?;
        if let Some(gate) = this.gate(listener)
            && let Err(full) = take(&gate.open, gate.max, Full::Listener)
        {
            this.open.fetch_sub(1, Ordering::Relaxed);
            return Err(full);
        }
        Ok(Permit {
            shared: Arc::clone(shared),
            listener,
            address: None,
        })
    }

    /// As [`admit`](Self::admit), and waits while there is no place.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes no place.
    pub(crate) async fn admit_later(shared: &Arc<Shared>, listener: u16) -> Permit {
        let this = &shared.admission;
        let _waiting = Waiting::begin(&this.waiting);
        loop {
            let freed = this.freed.notified();
            tokio::pin!(freed);
            // Before the look, so that a place given back right after it is not missed.
            freed.as_mut().enable();
            match Self::admit(shared, listener) {
                Ok(permit) => return permit,
                Err(_) => freed.await,
            }
        }
    }

    fn gate(&self, listener: u16) -> Option<&Gate> {
        self.gates.get(usize::from(listener))
    }

    fn give_back(&self, listener: u16, address: Option<IpAddr>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(gate) = self.gate(listener) {
            gate.open.fetch_sub(1, Ordering::Relaxed);
            if let Some(address) = address {
                gate.forget(address);
            }
        }
        // SeqCst, with that of `Waiting`: who begins to wait after this look finds the place.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }
}

impl Gate {
    /// Counts a connection from `address`; false at its bound.
    fn note(&self, address: IpAddr) -> bool {
        let mut addresses = self.lock();
        let count = addresses.entry(address).or_insert(0);
        let fits = *count < self.max_per_address;
        if fits {
            *count += 1;
        }
        fits
    }

    fn forget(&self, address: IpAddr) {
        let mut addresses = self.lock();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(open: &AtomicUsize, max: usize, full: Full) -> Result<(), Full> {
    if open.fetch_add(1, Ordering::Relaxed) < max {
        return Ok(());
    }
    open.fetch_sub(1, Ordering::Relaxed);
    Err(full)
}

/// Somebody waits for a place for as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One admitted connection.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    listener: u16,
    /// Counted under this address, where those are bounded.
    address: Option<Box<IpAddr>>,
}

impl Permit {
    /// Counts the connection under its client's address, once that is known.
    ///
    /// # Errors
    ///
    /// [`Full::Address`] when that address has as many as it may.
    pub(crate) fn claim(&mut self, ip: IpAddr) -> Result<(), Full> {
        let Some(gate) = self.shared.admission.gate(self.listener) else {
            return Ok(());
        };
        if gate.max_per_address == usize::MAX || self.address.is_some() {
            return Ok(());
        }
        let address = customer(ip);
        if !gate.note(address) {
            return Err(Full::Address);
        }
        self.address = Some(Box::new(address));
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let address = self.address.as_deref().copied();
        self.shared.admission.give_back(self.listener, address);
    }
}
