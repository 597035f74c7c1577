//! Requests to a room that wait for replies: `gather` as it is spoken on the wire.
//!
//! The worker of the session that asked keeps the request; replies are sent to it from the workers
//! of the members. A request ends when its mode is satisfied, when everybody has answered, or at
//! its deadline; each ends in exactly one `replies` or `error`.

use std::collections::HashMap;
use std::sync::Arc;

use roomwire_hub::{BroadcastError, WorkerId};
use roomwire_metrics::Id;
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::command::Mode;
use roomwire_protocols::event::{self, ReplyView};

use super::{Control, Core};
use crate::session::{ClientId, Refusal};

/// Names a request in the whole gateway: the worker that keeps it, a number there, and random bits
/// that only those know who were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    pub(crate) worker: u16,
    pub(crate) number: u64,
    pub(crate) secret: u64,
}

impl RequestId {
    /// The id as it stands in the `request` push.
    pub(crate) fn encode(self) -> String {
        format!("{:x}-{:x}-{:016x}", self.worker, self.number, self.secret)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let id = Self {
            worker: u16::from_str_radix(parts.next()?, 16).ok()?,
            number: u64::from_str_radix(parts.next()?, 16).ok()?,
            secret: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(id)
    }
}

/// One member's answer, on its way to the worker that asked.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The command's own number, for an error.
    pub(crate) id: Option<u64>,
    pub(crate) request: RequestId,
    pub(crate) client: ClientId,
    pub(crate) from: Arc<str>,
    pub(crate) data: Arc<[u8]>,
    /// The member says why it refuses.
    pub(crate) error: Option<Arc<str>>,
}

impl Reply {
    /// What the reply takes in the answer, at most.
    fn cost(&self) -> usize {
        /// Keys and punctuation.
        const ENVELOPE: usize = 48;
        /// A control character is six in JSON.
        const ESCAPED: usize = 6;
        let error = self.error.as_ref().map_or(0, |error| error.len());
        ENVELOPE + self.data.len() + ESCAPED * (self.from.len() + error)
    }
}

/// A request as its members see it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) request: RequestId,
    pub(crate) client: ClientId,
    pub(crate) from: Arc<str>,
    pub(crate) data: Arc<[u8]>,
}

#[derive(Debug)]
struct Pending {
    secret: u64,
    client: ClientId,
    id: Option<u64>,
    room: Arc<str>,
    mode: Mode,
    /// Members who were asked.
    asked: usize,
    replies: Vec<Reply>,
    bytes: usize,
    deadline_ms: u64,
}

/// The requests that sessions of this worker wait for; bounded by sessions times
/// `max_requests_per_session`.
#[derive(Debug, Default)]
pub(crate) struct RequestTable {
    pending: HashMap<u64, Pending>,
    last: u64,
}

impl RequestTable {
    /// Forgets what a session that is gone had asked.
    pub(crate) fn forget(&mut self, client: ClientId) {
        if !self.pending.is_empty() {
            self.pending.retain(|_, pending| pending.client != client);
        }
    }
}

/// What a session asks of a room.
#[derive(Debug)]
pub(crate) struct NewRequest<'a> {
    pub(crate) id: Option<u64>,
    pub(crate) room: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) mode: Mode,
    pub(crate) timeout_ms: u64,
}

impl Core {
    /// Sends a request to the members of a room and keeps it until it is answered.
    ///
    /// # Errors
    ///
    /// The refusal that the session is to be told; nobody was asked then.
    pub(crate) fn ask(&mut self, slot: u32, new: &NewRequest<'_>) -> Result<(), Refusal> {
        let max = self.shared.bounds.max_requests_per_session;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return Ok(());
        };
        if session.requests >= max {
            let text = format!("at most {max} requests may wait at once");
            return Err(Refusal::new(ErrorCode::TooManyRequests, text));
        }
        let (client, from) = (session.id, session.from());
        self.requests.last += 1;
        let number = self.requests.last;
        let mut secret = [0; 8];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| Refusal::overloaded())?;
        let secret = u64::from_le_bytes(secret);
        let request = RequestId {
            worker: self.worker.0,
            number,
            secret,
        };
        let ask = Ask {
            request,
            client,
            from,
            data: new.data.into(),
        };
        let reached = self
            .shared
            .hub
            .broadcast(new.room, Control::Ask(Arc::new(ask)));
        let reached = match reached {
            Ok(reached) => reached,
            Err(BroadcastError::NoSuchRoom) => return Err(Refusal::unknown_room()),
            Err(BroadcastError::Congested) => return Err(Refusal::overloaded()),
        };
        let own = usize::from(self.seats.is_member(slot, new.room));
        let pending = Pending {
            secret,
            client,
            id: new.id,
            room: Arc::from(new.room),
            mode: new.mode,
            asked: reached.saturating_sub(own),
            replies: Vec::new(),
            bytes: 0,
            deadline_ms: self.now_ms + new.timeout_ms,
        };
        self.lane.increment(Id::RequestsAsked);
        if let Some(session) = self.session(slot) {
            session.requests += 1;
        }
        self.requests.pending.insert(number, pending);
        self.settle(number, false);
        Ok(())
    }

    /// Takes a reply that a member sent.
    pub(crate) fn take_reply(&mut self, reply: Reply) {
        let bounds = &self.shared.bounds;
        let number = reply.request.number;
        let pending = self.requests.pending.get_mut(&number);
        let Some(pending) = pending.filter(|it| it.secret == reply.request.secret) else {
            self.lane.increment(Id::RepliesLate);
            self.refuse_reply(&reply);
            return;
        };
        let repeated = pending
            .replies
            .iter()
            .any(|other| other.client == reply.client);
        let full = pending.replies.len() >= bounds.max_request_replies
            || pending.bytes + reply.cost() > bounds.outbox_half_bytes;
        if repeated || full || reply.client == pending.client {
            self.lane.increment(Id::RepliesRefused);
            return;
        }
        pending.bytes += reply.cost();
        pending.replies.push(reply);
        self.lane.increment(Id::RepliesIn);
        self.settle(number, false);
    }

    /// Tells a member, who may be another worker's, that its reply came too late.
    fn refuse_reply(&self, reply: &Reply) {
        let Refusal { code, text } = Refusal::unknown_request();
        let mut json = Vec::new();
        event::error(&mut json, reply.id, code, &text);
        let control = Control::Send {
            client: reply.client,
            json: json.into(),
        };
        let worker = WorkerId(reply.client.worker());
        if self.shared.hub.send(worker, control).is_err() {
            self.lane.increment(Id::ControlsDropped);
        }
    }

    /// Ends the requests whose time is up.
    pub(crate) fn expire_requests(&mut self) {
        let now_ms = self.now_ms;
        let late = self
            .requests
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline_ms <= now_ms);
        let late: Vec<u64> = late.map(|(&number, _)| number).collect();
        for number in late {
            self.lane.increment(Id::RequestsTimedOut);
            self.settle(number, true);
        }
    }

    /// Ends a request if its mode is satisfied, or if its time is up.
    fn settle(&mut self, number: u64, timed_out: bool) {
        let Some(pending) = self.requests.pending.get(&number) else {
            return;
        };
        let Some(verdict) = verdict(pending, timed_out) else {
            return;
        };
        let Some(pending) = self.requests.pending.remove(&number) else {
            return;
        };
        let Some(session) = self.find(pending.client) else {
            return;
        };
        session.requests -= 1;
        let slot = pending.client.slot();
        match verdict {
            Ok(range) => {
                let chosen = pending.replies.get(range).unwrap_or_default();
                // In ascending order of arrival; only the first good one for race and any.
                let views = chosen.iter().map(|reply| ReplyView {
                    from: &reply.from,
                    data: &reply.data,
                    error: reply.error.as_deref(),
                });
                let missing = pending.asked.saturating_sub(pending.replies.len()) as u64;
                if pending.id.is_some() {
                    let (id, room) = (pending.id, &*pending.room);
                    self.say_answer(slot, pending.id, |out| {
                        event::replies(out, id, room, views, missing)
                    });
                }
            }
            Err((code, text)) => {
                let id = pending.id;
                self.say_answer(slot, id, |out| event::error(out, id, code, text));
            }
        }
    }
}

type Verdict = Result<std::ops::Range<usize>, (ErrorCode, &'static str)>;

/// Which replies satisfy a request, if it is over. The modes are those of JavaScript's promises:
/// `all` fails with the first refusal, `all_settled` takes what came, `race` takes the first,
/// `any` the first that is not a refusal.
fn verdict(pending: &Pending, timed_out: bool) -> Option<Verdict> {
    let replies = &pending.replies;
    let complete = replies.len() >= pending.asked;
    let refused = replies.iter().any(|reply| reply.error.is_some());
    let late = Err((ErrorCode::Timeout, "not enough members replied in time"));
    match pending.mode {
        Mode::All if refused => Some(Err((ErrorCode::Refused, "a member refused the request"))),
        Mode::All if complete => Some(Ok(0..replies.len())),
        Mode::AllSettled if complete || timed_out => Some(Ok(0..replies.len())),
        Mode::Race if !replies.is_empty() => Some(Ok(0..1)),
        Mode::Any => match replies.iter().position(|reply| reply.error.is_none()) {
            Some(first) => Some(Ok(first..first + 1)),
            None if complete => Some(Err((
                ErrorCode::Refused,
                "every member refused the request",
            ))),
            None => timed_out.then_some(late),
        },
        Mode::Race if complete => Some(Err((ErrorCode::Refused, "nobody is there to reply"))),
        Mode::All | Mode::AllSettled | Mode::Race => timed_out.then_some(late),
    }
}
