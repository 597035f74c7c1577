//! What workers tell each other through their inboxes, besides messages.

use std::fmt;
use std::sync::Arc;

use roomwire_certs::Identity;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Core;
use super::request::{Ask, Reply};
use crate::session::{ClientId, CloseReason, Session};

/// A request from one worker, or from a thread that is none, to another worker.
#[derive(Clone)]
pub(crate) enum Control {
    /// End a session; the answer says whether it was there.
    Close {
        client: ClientId,
        reason: CloseReason,
        answer: mpsc::Sender<bool>,
    },
    /// Send one JSON text to a session in its own framing.
    Send { client: ClientId, json: Arc<[u8]> },
    /// List sessions.
    List(Listing),
    /// A request to the members of a room.
    Ask(Arc<Ask>),
    /// A member's reply, to the worker that asked.
    Reply(Reply),
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close { .. } => "Close",
            Self::Send { .. } => "Send",
            Self::List(_) => "List",
            Self::Ask(_) => "Ask",
            Self::Reply(_) => "Reply",
        })
    }
}

/// Sessions that one turn looks at for a listing. Chosen: they take about a millisecond.
const MAX_LOOKED_AT: usize = 1000;

/// Which sessions are to be listed.
#[derive(Clone)]
pub(crate) struct Listing {
    /// What they have somewhere in their id, name, address, wire, listener or rooms; in lower case.
    pub(crate) search: Arc<str>,
    /// The first slot that is looked at.
    pub(crate) from: usize,
    pub(crate) limit: usize,
    pub(crate) answer: mpsc::Sender<Listed>,
}

/// What a worker found in a part of its sessions.
pub(crate) struct Listed {
    pub(crate) worker: u16,
    pub(crate) found: Vec<ConnectionInfo>,
    /// The slot to go on from, if there is more to be looked at.
    pub(crate) next: Option<usize>,
}

/// One session in a listing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionInfo {
    /// The client id.
    pub(crate) id: String,
    /// The protocol it speaks.
    pub(crate) wire: &'static str,
    /// The listener it came by.
    pub(crate) listener: String,
    /// The peer's address.
    pub(crate) peer: String,
    /// The name it gave itself.
    pub(crate) name: Option<String>,
    /// Whom its certificate names.
    pub(crate) certificate: Option<CertificateEntry>,
    /// The rooms and patterns it is in.
    pub(crate) rooms: Vec<String>,
    /// When it came, in milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// Bytes waiting to be sent to it.
    pub(crate) queued_bytes: usize,
}

impl ConnectionInfo {
    fn has(&self, search: &str) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        let fields = [&self.id, self.wire, &self.listener, &self.peer, name];
        let rooms = self.rooms.iter().map(String::as_str);
        let has = |field: &str| field.to_lowercase().contains(search);
        search.is_empty() || fields.into_iter().chain(rooms).any(has)
    }
}

/// A client's certificate in a listing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CertificateEntry {
    /// Its subject, as `CN=…, O=…`.
    subject: String,
    /// Its alternative names.
    names: Vec<String>,
    /// SHA-256 of it, in hexadecimal digits.
    fingerprint: String,
}

impl CertificateEntry {
    fn of(identity: &Identity) -> Self {
        Self {
            subject: identity.subject.clone(),
            names: identity.names.clone(),
            fingerprint: identity.fingerprint.clone(),
        }
    }
}

impl Core {
    /// Carries out what another worker asked.
    pub(crate) fn control(&mut self, control: Control) {
        match control {
            Control::Close {
                client,
                reason,
                answer,
            } => {
                let found = self.find(client).is_some_and(|session| session.is_open());
                if found {
                    self.end(client.slot(), reason);
                }
                // The one who asked may be gone, which is as good as having told it.
                answer.try_send(found).unwrap_or_default();
            }
            Control::Send { client, json } => {
                if self.find(client).is_some() {
                    self.say(client.slot(), |out| out.extend_from_slice(&json));
                }
            }
            Control::List(listing) => {
                let listed = self.list(&listing);
                // Whoever asked may be gone.
                drop(listing.answer.try_send(listed));
            }
            Control::Ask(_) => debug_assert!(false, "requests come as broadcasts"),
            Control::Reply(reply) => self.take_reply(reply),
        }
    }

    /// Lists the next sessions, of a bounded part of them: a turn has other things to do.
    fn list(&self, listing: &Listing) -> Listed {
        let slots = self.sessions.capacity();
        let end = listing.from.saturating_add(MAX_LOOKED_AT).min(slots);
        let mut found = Vec::new();
        let mut next = (end < slots).then_some(end);
        for slot in listing.from..end {
            let Some(session) = self.sessions.get(slot) else {
                continue;
            };
            let info = self.describe(slot, session);
            if info.has(&listing.search) {
                found.push(info);
            }
            if found.len() >= listing.limit {
                next = None;
                break;
            }
        }
        Listed {
            worker: self.worker.0,
            found,
            next,
        }
    }

    fn describe(&self, slot: usize, session: &Session) -> ConnectionInfo {
        let rooms = u32::try_from(slot).map_or_else(
            |_| Vec::new(),
            |slot| self.seats.subjects(slot).map(str::to_owned).collect(),
        );
        let listener = self.shared.listeners.get(usize::from(session.listener));
        let age_ms = self.now_ms.saturating_sub(session.opened_ms);
        ConnectionInfo {
            id: session.id.to_string(),
            wire: session.wire.name(),
            listener: listener.map_or_else(String::new, |listener| listener.name.to_string()),
            peer: session.peer.to_string(),
            name: session.name.as_deref().map(str::to_owned),
            certificate: session.identity.as_deref().map(CertificateEntry::of),
            rooms,
            since_ms: crate::lifecycle::Clock::unix_ms().saturating_sub(age_ms),
            queued_bytes: session.outbox.bytes(),
        }
    }
}
