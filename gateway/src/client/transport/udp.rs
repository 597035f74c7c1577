//! One JSON object per datagram.
//!
//! Datagrams get lost, so commands go out one at a time, each repeated until it is answered; that keeps
//! their order, and their idempotency keys make a repetition harmless. A join is answered with a
//! `challenge` first and goes out again with its cookie. Memberships are leases: whatever is sent
//! renews them, and when nothing was sent for a while a ping or a `hello` is. A `hello` also tells
//! by the client id whether the gateway still means the session that joined: a gateway that has
//! started anew would answer pings as if nothing had happened.
//!
//! ```text
//!   queue ──► flight: send ──(answer)──► next command
//!               ▲       │
//!               └─────(no answer: twice the wait, up to `tries` times, then the link is lost)
//! ```

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use tokio::{
    net::{UdpSocket, lookup_host},
    select,
    time::{Instant, sleep_until},
};

use super::{Dialer, LinkError, describe};
use crate::client::{command::Command, event::ServerEvent, url::ServerUrl};

/// RFC 768 with RFC 791: 65535 less 8 bytes of UDP and 20 of IP header.
const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Commands of the transport itself; a client's own numbers begin at 1.
const RENEWAL_ID: u64 = 0;
/// Fresh cookies asked of one join. A second one is normal when the first has aged; a gateway that
/// never accepts any must not be asked forever.
const MAX_CHALLENGES: u8 = 3;

/// When datagrams are repeated.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct UdpTiming {
    /// Wait for the first answer; doubles with each repetition.
    pub(in crate::client) retry: Duration,
    /// How often one command is sent at most.
    pub(in crate::client) tries: u8,
    /// A renewal goes out when nothing else did for so long. Leases last 30 s, so two may get lost.
    pub(in crate::client) renew: Duration,
}

impl Default for UdpTiming {
    fn default() -> Self {
        Self {
            // chosen: beyond a slow mobile round trip; five tries then last 15.5 s, half a lease.
            retry: Duration::from_millis(500),
            tries: 5,
            renew: Duration::from_secs(10),
        }
    }
}

pub(in crate::client) struct Udp {
    url: ServerUrl,
    socket: UdpSocket,
    timing: UdpTiming,
    queue: VecDeque<(u64, Command)>,
    flight: Option<Flight>,
    /// Answers that this side gives itself, before the network is asked.
    refusal: Option<ServerEvent>,
    identity: Identity,
    last_sent: Instant,
    buffer: Vec<u8>,
}

/// Whom the gateway takes this side for.
enum Identity {
    /// Nothing was joined, so there is nothing that could be lost unnoticed.
    Irrelevant,
    /// To be asked, right after the first join.
    Asked,
    /// The client id that joined.
    Known(String),
}

/// The one command under way.
struct Flight {
    id: u64,
    command: Command,
    datagram: Vec<u8>,
    sent: u8,
    challenges: u8,
    /// When to send it, or to send it again.
    due: Instant,
}

impl Udp {
    /// Finds the first address that answers. A name such as `localhost` may have several, and a
    /// connected socket alone does not tell whether anyone is there.
    pub(super) async fn connect(dialer: &Dialer) -> Result<Self, LinkError> {
        let url = dialer.url();
        let addresses = lookup_host((url.host(), url.port()))
            .await
            .map_err(|error| LinkError::Lost(describe(url, &error)))?;
        let mut failure = LinkError::Lost(format!("{url}: the host has no address"));
        for address in addresses {
            match Self::probe(dialer, address).await {
                Ok(udp) => return Ok(udp),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn probe(dialer: &Dialer, address: SocketAddr) -> Result<Self, LinkError> {
        let url = dialer.url().clone();
        let socket = bound_to(address)
            .await
            .map_err(|error| LinkError::Lost(describe(&url, &error)))?;
        let mut udp = Self {
            url,
            socket,
            timing: UdpTiming {
                tries: 3,
                ..dialer.udp
            },
            queue: VecDeque::new(),
            flight: None,
            refusal: None,
            identity: Identity::Irrelevant,
            last_sent: Instant::now(),
            buffer: vec![0; MAX_DATAGRAM_BYTES],
        };
        udp.launch(RENEWAL_ID, Command::Ping);
        while udp.flight.is_some() {
            udp.step().await?;
        }
        udp.timing = dialer.udp;
        Ok(udp)
    }

    pub(super) fn queue(&mut self, id: u64, command: &Command) {
        self.queue.push_back((id, command.clone()));
    }

    pub(super) async fn next(&mut self) -> Result<ServerEvent, LinkError> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    /// Waits for one datagram or one timer. None where it was this transport's own business.
    async fn step(&mut self) -> Result<Option<ServerEvent>, LinkError> {
        if let Some(event) = self.refusal.take() {
            return Ok(Some(event));
        }
        if self.flight.is_none()
            && let Some((id, command)) = self.queue.pop_front()
        {
            self.launch(id, command);
            return Ok(None);
        }
        let renew = match self.identity {
            Identity::Asked => self.last_sent,
            Identity::Irrelevant | Identity::Known(_) => self.last_sent + self.timing.renew,
        };
        let due = self.flight.as_ref().map_or(renew, |flight| flight.due);
        // Not biased: a gateway that never stops sending must not keep commands from going out.
        select! {
            received = self.socket.recv(&mut self.buffer) => {
                let length = received.map_err(|error| self.lost(&error))?;
                self.on_datagram(length)
            }
            () = sleep_until(due) => {
                if self.flight.is_none() {
                    self.renew();
                }
                self.send().await.map(|()| None)
            }
        }
    }

    fn renew(&mut self) {
        let command = match self.identity {
            Identity::Irrelevant => Command::Ping,
            Identity::Asked | Identity::Known(_) => Command::Hello {
                name: None,
                token: None,
            },
        };
        self.launch(RENEWAL_ID, command);
    }

    fn launch(&mut self, id: u64, command: Command) {
        let datagram = command.encode(id);
        if datagram.len() > MAX_DATAGRAM_BYTES {
            self.refusal = Some(ServerEvent::Error {
                id: Some(id),
                code: "too_large".to_owned(),
                message: format!("one datagram takes {MAX_DATAGRAM_BYTES} bytes at most"),
            });
            return;
        }
        self.flight = Some(Flight {
            id,
            command,
            datagram,
            sent: 0,
            challenges: 0,
            due: Instant::now(),
        });
    }

    /// Sends what is under way. State changes only after the datagram is out, so a caller that drops
    /// the future in between has it sent once more, which is harmless.
    async fn send(&mut self) -> Result<(), LinkError> {
        let Some(flight) = &self.flight else {
            return Ok(());
        };
        if flight.sent >= self.timing.tries {
            return Err(LinkError::Lost(format!("{} does not answer", self.url)));
        }
        let sent = self.socket.send(&flight.datagram).await;
        sent.map_err(|error| self.lost(&error))?;
        let now = Instant::now();
        self.last_sent = now;
        if let Some(flight) = &mut self.flight {
            flight.due = now + self.timing.retry.saturating_mul(1 << flight.sent.min(16));
            flight.sent += 1;
        }
        Ok(())
    }

    fn on_datagram(&mut self, length: usize) -> Result<Option<ServerEvent>, LinkError> {
        let bytes = self.buffer.get(..length).unwrap_or_default();
        // Anyone who guesses the ports can send rubbish here; it is not the gateway's fault.
        let Ok(event) = ServerEvent::parse(bytes) else {
            return Ok(None);
        };
        let Some(flight) = self.flight.take_if(|flight| event.id() == Some(flight.id)) else {
            // A busy gateway cannot hold a datagram back and answers so, without having read which
            // command it was. The repetition takes care of that.
            let busy =
                matches!(&event, ServerEvent::Error { id: None, code, .. } if code == "overloaded");
            return Ok((!busy).then_some(event));
        };
        match event {
            ServerEvent::Challenge { cookie, .. } => Ok(self.on_challenge(flight, cookie)),
            ServerEvent::Welcome { client, .. } if flight.id == RENEWAL_ID => {
                self.on_identity(client)?;
                Ok(None)
            }
            ServerEvent::Error { message, .. } if flight.id == RENEWAL_ID => Err(LinkError::Lost(
                format!("{} does not renew the session: {message}", self.url),
            )),
            _ if flight.id == RENEWAL_ID => Ok(None),
            event => {
                if matches!(event, ServerEvent::Joined(_))
                    && matches!(self.identity, Identity::Irrelevant)
                {
                    self.identity = Identity::Asked;
                }
                Ok(Some(event))
            }
        }
    }

    fn on_challenge(&mut self, mut flight: Flight, fresh: String) -> Option<ServerEvent> {
        match &mut flight.command {
            Command::Join { cookie, .. } if flight.challenges < MAX_CHALLENGES => {
                *cookie = Some(fresh);
                flight.datagram = flight.command.encode(flight.id);
                flight.challenges += 1;
                flight.sent = 0;
                flight.due = Instant::now();
                self.flight = Some(flight);
                None
            }
            _ => Some(ServerEvent::Error {
                id: Some(flight.id),
                code: "challenge".to_owned(),
                message: "the gateway does not accept this address".to_owned(),
            }),
        }
    }

    fn on_identity(&mut self, client: String) -> Result<(), LinkError> {
        match &self.identity {
            Identity::Known(known) if *known != client => Err(LinkError::Lost(format!(
                "{} has forgotten this session",
                self.url
            ))),
            _ => {
                self.identity = Identity::Known(client);
                Ok(())
            }
        }
    }

    fn lost(&self, error: &io::Error) -> LinkError {
        LinkError::Lost(describe(&self.url, error))
    }
}

async fn bound_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
