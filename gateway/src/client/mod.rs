//! A client for `roomwire.v1` over every wire a gateway speaks.
//!
//! [`Client`] keeps one connection alive: it reconnects with backoff, joins its rooms again from the
//! last message it has seen, and sends again what was not answered. What it does not know is what the
//! messages mean. The one idea: [`Client::send`] only queues, and everything else happens inside
//! [`Client::next`], so a program is one loop around it. Next: [`url`] for the addresses,
//! `transport` for the wires, `resume` for what is remembered of a room.

use std::{collections::VecDeque, fmt, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, Sleep, sleep},
};

mod backoff;
mod command;
mod event;
mod pending;
mod random;
mod resume;
#[cfg(test)]
mod tests;
mod transport;
pub(crate) mod trust;
pub mod url;

pub use backoff::{FIRST_DELAY, MAX_DELAY};
pub use command::{Command, Position, json_string};
pub use event::{Event, EventError, Joined, Member, Message, ServerEvent};
pub use transport::MAX_INCOMING_BYTES;
pub use trust::TrustError;

use backoff::Backoff;
use pending::Pending;
use resume::Resume;
use transport::{Dialer, LinkError, Transport, UdpTiming};
use url::ServerUrl;

/// As a gateway's default for one session.
const MAX_ROOMS: usize = 128;
/// As a gateway's default for the sessions it serves (DESIGN: ping 25 s, pong wait 10 s).
const PING_AFTER: Duration = Duration::from_secs(25);
const PONG_WAIT: Duration = Duration::from_secs(10);
/// A gateway may ask for a later return, but not for a client that never comes back.
const MAX_ASKED_DELAY: Duration = Duration::from_secs(300);

/// What a client needs to know before it connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the gateway is.
    pub url: ServerUrl,
    /// What messages carry as `from`; the client id where there is none.
    pub name: Option<String>,
    /// The secret for `hello`.
    pub token: Option<String>,
    /// Trust the certificates in this PEM file and no others.
    pub ca: Option<PathBuf>,
    /// Whether a broken connection is made again. Without it the first loss ends the client.
    pub reconnect: bool,
    timing: Timing,
}

/// Every wait, so that tests need not.
#[derive(Clone, Debug)]
struct Timing {
    connect: Duration,
    close: Duration,
    first_delay: Duration,
    max_delay: Duration,
    udp: UdpTiming,
}

impl ClientOptions {
    /// A nameless client that reconnects.
    pub fn new(url: ServerUrl) -> Self {
        Self {
            url,
            name: None,
            token: None,
            ca: None,
            reconnect: true,
            timing: Timing {
                connect: Duration::from_secs(10),
                close: Duration::from_secs(1),
                first_delay: FIRST_DELAY,
                max_delay: MAX_DELAY,
                udp: UdpTiming::default(),
            },
        }
    }
}

/// Why there is no connection to begin with.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The gateway was not reached, or is none.
    #[error("{0}")]
    Link(String),
    /// TLS has nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Why a command was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client has ended.
    #[error("the session is over")]
    Ended,
    /// Too many commands wait for their answers; see [`Client::has_room`].
    #[error("too many commands wait for the gateway's answers")]
    Full,
    /// More rooms than one session may be in.
    #[error("a client is in at most {MAX_ROOMS} rooms")]
    TooManyRooms,
}

/// One session with a gateway that outlives its connections.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use roomwire::client::{Client, ClientOptions, Command, Event, ServerEvent, json_string};
///
/// let mut client = Client::connect(ClientOptions::new("ws://localhost".parse()?)).await?;
/// client.send(Command::join("lobby"))?;
/// client.send(Command::publish("lobby", json_string("hello")))?;
/// while let Event::Server(event) = client.next().await {
///     if let ServerEvent::Message(message) = event {
///         assert_eq!(message.room, "lobby");
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Client {
    options: ClientOptions,
    dialer: Arc<Dialer>,
    link: Link,
    backoff: Backoff,
    resume: Resume,
    pending: Pending,
    ready: VecDeque<Event>,
    /// Above 0: the datagram transport has that number for itself.
    next_id: u64,
    /// The ping that went out right after the joins of this connection.
    fence: Option<u64>,
    /// Begins this client's idempotency keys, so that no other client has the same.
    nonce: u64,
    silence: Silence,
}

/// ```text
///            ┌──────────(failed)──────────┐
///            ▼                            │
/// Up ──► Waiting ──(delay over)──► Connecting ──► Up
///  │                                      │
///  └──► Closing (goodbye) ──► Waiting     └──(cannot help)──► Ended
/// ```
enum Link {
    Up(Transport),
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>, Farewell),
    Waiting(Pin<Box<Sleep>>),
    Connecting(Pin<Box<dyn Future<Output = Result<Transport, LinkError>> + Send>>),
    Ended { reason: String, failed: bool },
}

/// What the gateway said when it ended the session.
struct Farewell {
    reason: String,
    reconnect: bool,
    after: Duration,
}

/// Finds out that the other side is gone when the network does not say so.
struct Silence {
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl Client {
    /// Connects for the first time. Later connections are made inside [`next`](Self::next).
    ///
    /// # Errors
    /// Where the gateway cannot be reached or cannot be trusted: the first failure is not retried,
    /// because a typing error is likelier than a gateway that is just starting.
    pub async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let timing = &options.timing;
        let url = options.url.clone();
        let dialer = Dialer::new(url, options.ca.as_deref(), timing.connect, timing.udp)?;
        let dialer = Arc::new(dialer);
        // Boxed as in `next`: what the handshakes need while they last is not for every caller to hold.
        let connecting = Box::pin(Arc::clone(&dialer).connect());
        let transport = connecting
            .await
            .map_err(|error| ConnectError::Link(error.to_string()))?;
        let mut client = Self {
            backoff: Backoff::new(timing.first_delay, timing.max_delay),
            options,
            dialer,
            link: Link::Ended {
                reason: String::new(),
                failed: false,
            },
            resume: Resume::new(MAX_ROOMS),
            pending: Pending::default(),
            ready: VecDeque::new(),
            next_id: 1,
            fence: None,
            nonce: random::bits(),
            silence: Silence {
                timer: Box::pin(sleep(PING_AFTER)),
                asked: false,
            },
        };
        client.on_connected(transport, false);
        Ok(client)
    }

    /// Whether [`send`](Self::send) takes another command. Where it does not, it will after
    /// [`next`](Self::next) has reported an answer.
    pub fn has_room(&self) -> bool {
        self.pending.has_room()
    }

    /// True while some command has not been answered.
    pub fn awaits_answers(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Queues a command and returns the number that its answer will carry. While there is no
    /// connection the command waits for the next one.
    ///
    /// # Errors
    /// Where the bounds are reached or the client has ended.
    pub fn send(&mut self, mut command: Command) -> Result<u64, SendError> {
        if matches!(self.link, Link::Ended { .. }) {
            return Err(SendError::Ended);
        }
        if !self.pending.has_room() {
            return Err(SendError::Full);
        }
        let id = self.new_id();
        match &mut command {
            Command::Hello { name, token } => {
                self.options.name.clone_from(name);
                self.options.token.clone_from(token);
            }
            Command::Join {
                room,
                since,
                presence,
                ..
            } => {
                if !self.resume.join(room, since.clone(), *presence) {
                    return Err(SendError::TooManyRooms);
                }
            }
            Command::Leave { room } => self.resume.leave(room),
            Command::Publish { key, .. } => {
                key.get_or_insert_with(|| format!("{:016x}-{id}", self.nonce));
            }
            Command::History { .. } | Command::Members { .. } | Command::Ping => {}
        }
        if let Link::Up(transport) = &mut self.link {
            transport.queue(id, &command);
        }
        self.pending.push(id, command);
        Ok(id)
    }

    /// Waits for the next thing to tell. After [`Event::Ended`] it is that event again, forever.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped, so it can stand in a `select!`. But the session
    /// only lives while this is awaited: a program that stops calling it is soon disconnected.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            match &mut self.link {
                Link::Up(transport) => {
                    let wait = transport.needs_pings();
                    select! {
                        event = transport.next() => match event {
                            Ok(event) => self.on_event(event),
                            Err(error) => self.on_lost(error),
                        },
                        () = &mut self.silence.timer, if wait => self.on_silence(),
                    }
                }
                Link::Closing(closing, _) => {
                    closing.as_mut().await;
                    self.on_closed();
                }
                Link::Waiting(delay) => {
                    delay.as_mut().await;
                    self.link = Link::Connecting(Box::pin(Arc::clone(&self.dialer).connect()));
                }
                Link::Connecting(connecting) => match connecting.as_mut().await {
                    Ok(transport) => self.on_connected(transport, true),
                    Err(error) => self.on_lost(error),
                },
                Link::Ended { reason, failed } => {
                    return Event::Ended {
                        reason: reason.clone(),
                        failed: *failed,
                    };
                }
            }
        }
    }

    /// Sends what is queued and ends the session in the wire's own way, within a second.
    pub async fn close(self) {
        if let Link::Up(transport) = self.link {
            transport.close(self.options.timing.close).await;
        }
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Introduces the client, joins its rooms from where it was, and repeats what was not answered.
    fn on_connected(&mut self, mut transport: Transport, again: bool) {
        let mut opening: Vec<Command> = self
            .resume
            .rejoins()
            .into_iter()
            .map(Command::from)
            .collect();
        let names = self.options.name.is_some() || self.options.token.is_some();
        let hello = Command::Hello {
            name: self.options.name.clone(),
            token: self.options.token.clone(),
        };
        if transport.greets_first() {
            opening.insert(0, hello);
        } else if names {
            opening.push(hello);
        }
        let resumes = again && !opening.is_empty();
        let mut fresh = Vec::with_capacity(opening.len());
        for command in opening {
            let id = match &command {
                Command::Join { room, .. } => self.pending.take_join(room),
                _ => None,
            };
            let id = id.unwrap_or_else(|| self.new_id());
            transport.queue(id, &command);
            fresh.push((id, command));
        }
        self.fence = resumes.then(|| {
            let id = self.new_id();
            transport.queue(id, &Command::Ping);
            id
        });
        for (id, command) in self.pending.iter() {
            transport.queue(id, command);
        }
        for (id, command) in fresh {
            if matches!(command, Command::Join { .. }) {
                self.pending.push(id, command);
            }
        }
        self.link = Link::Up(transport);
        self.silence.heard();
        self.ready.push_back(Event::Connected { again });
    }

    fn on_event(&mut self, event: ServerEvent) {
        self.silence.heard();
        let answered = event.id().and_then(|id| self.pending.take(id));
        match &event {
            ServerEvent::Joined(joined) => {
                self.resume.on_joined(joined);
                self.backoff.reset();
            }
            ServerEvent::Message(message) => self.resume.on_message(message),
            ServerEvent::Gap { room, to, .. } => self.resume.on_gap(room, *to),
            ServerEvent::Published { .. } => self.backoff.reset(),
            ServerEvent::Pong { id } if id.is_some() && *id == self.fence => {
                self.fence = None;
                self.resume.on_fence();
                return;
            }
            // Nobody but this client asked.
            ServerEvent::Pong { .. } if answered.is_none() => return,
            ServerEvent::Error { .. } => {
                if let Some(Command::Join { room, .. }) = &answered {
                    self.resume.leave(room);
                }
            }
            ServerEvent::Goodbye {
                reason,
                reconnect,
                after_ms,
            } => {
                let farewell = Farewell {
                    reason: reason.clone(),
                    reconnect: *reconnect,
                    after: Duration::from_millis(*after_ms).min(MAX_ASKED_DELAY),
                };
                self.on_goodbye(farewell);
            }
            _ => {}
        }
        self.ready.push_back(Event::Server(event));
    }

    /// Leaves at once: a gateway that says goodbye waits for its sessions to go.
    fn on_goodbye(&mut self, farewell: Farewell) {
        let ended = Link::Ended {
            reason: farewell.reason.clone(),
            failed: false,
        };
        if let Link::Up(transport) = std::mem::replace(&mut self.link, ended) {
            let close = transport.close(self.options.timing.close);
            self.link = Link::Closing(Box::pin(close), farewell);
        }
    }

    fn on_closed(&mut self) {
        let ended = Link::Ended {
            reason: String::new(),
            failed: false,
        };
        if let Link::Closing(_, farewell) = std::mem::replace(&mut self.link, ended) {
            if farewell.reconnect && self.options.reconnect {
                self.retry(farewell.reason, farewell.after);
            } else {
                self.link = Link::Ended {
                    reason: farewell.reason,
                    // An orderly end is still a failure for someone who waits for an answer.
                    failed: !self.pending.is_empty(),
                };
            }
        }
    }

    fn on_lost(&mut self, error: LinkError) {
        match error {
            LinkError::Lost(reason) if self.options.reconnect => self.retry(reason, Duration::ZERO),
            LinkError::Lost(reason) | LinkError::Refused(reason) => {
                self.link = Link::Ended {
                    reason,
                    failed: true,
                };
            }
        }
    }

    fn retry(&mut self, reason: String, at_least: Duration) {
        self.resume.on_lost();
        self.fence = None;
        let retry_in = at_least + self.backoff.delay(random::bits());
        self.link = Link::Waiting(Box::pin(sleep(retry_in)));
        self.ready
            .push_back(Event::Disconnected { reason, retry_in });
    }

    fn on_silence(&mut self) {
        if self.silence.asked {
            let reason = format!("{} has gone silent", self.options.url);
            self.on_lost(LinkError::Lost(reason));
            return;
        }
        let id = self.new_id();
        if let Link::Up(transport) = &mut self.link {
            transport.queue(id, &Command::Ping);
        }
        self.silence.asked();
    }
}

impl Silence {
    fn heard(&mut self) {
        self.asked = false;
        self.timer.as_mut().reset(Instant::now() + PING_AFTER);
    }

    fn asked(&mut self) {
        self.asked = true;
        self.timer.as_mut().reset(Instant::now() + PONG_WAIT);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match &self.link {
            Link::Up(_) => "up",
            Link::Closing(..) => "closing",
            Link::Waiting(_) => "waiting",
            Link::Connecting(_) => "connecting",
            Link::Ended { .. } => "ended",
        };
        f.debug_struct("Client")
            .field("url", &self.options.url)
            .field("link", &link)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

impl From<resume::Rejoin> for Command {
    fn from(rejoin: resume::Rejoin) -> Self {
        Self::Join {
            room: rejoin.room,
            since: rejoin.since,
            presence: rejoin.presence,
            cookie: None,
        }
    }
}
