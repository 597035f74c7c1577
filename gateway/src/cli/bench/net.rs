//! The connections of one thread, and everything a load may do with them.
//!
//! Events are edge-triggered, so a connection costs one system call to register and none to change.
//! Nothing here waits; `driver.rs` does, and tells the load what happened.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use roomwire_protocols::websocket::Opcode;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use super::frame;
use super::link::{Link, Stage};
use super::shared::Shared;
use super::stream::Stream;
use super::upgrade::{Opening, Upgrade};

/// Event data of the thread's waker; no link has it, see [`Net::event_data`].
pub(super) const WAKER: u64 = u64::MAX;
/// Event data of the thread's timer.
pub(super) const TIMER: u64 = u64::MAX - 1;

/// Connections that one thread opens at a time: under the smallest usual backlog of a listener.
const MAX_OPENING: usize = 64;
/// Connects from one source address before the next is taken: well under the 28,232 ports of Linux'
/// default range (ip_local_port_range), near whose end connecting becomes slow.
const CONNECTS_PER_SOURCE: u64 = 20_000;
/// Source addresses on loopback, from 127.0.0.1 on.
const SOURCES: u64 = 200;

/// Where connections go, and what they say first.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// How a WebSocket is opened; `None` where bytes are sent without frames.
    pub(super) upgrade: Option<Upgrade>,
    /// Whether Socket.IO is spoken on the WebSockets.
    pub(super) is_socketio: bool,
    /// The masking key of the run.
    pub(super) mask: [u8; 4],
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// We closed it and the server has answered.
    Closed,
    /// It never opened, or ended although we did not want it to.
    Lost(String),
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Net {
    epoll: OwnedFd,
    timer: OwnedFd,
    pub(super) thread: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) target: Arc<Target>,
    pub(super) links: Slab<Link>,
    generation: u32,
    /// Links that are not open yet.
    opening: usize,
    /// Links that are still to be opened.
    wanted: usize,
    ended: Vec<(usize, End)>,
    /// Reused for control frames.
    scratch: Vec<u8>,
}

impl Net {
    /// `wanted` connections are opened in the phase `Opening`.
    pub(super) fn new(
        thread: usize,
        wanted: usize,
        target: Arc<Target>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        if let Some(waker) = shared.waker(thread) {
            epoll::add(&epoll, waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            timer,
            thread,
            shared,
            target,
            links: Slab::new(),
            generation: 0,
            opening: 0,
            wanted,
            ended: Vec::new(),
            scratch: Vec::new(),
        })
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Begins to open what is still wanted, as much as may be under way.
    pub(super) fn open_wanted(&mut self) {
        while self.wanted > 0 && self.opening < MAX_OPENING {
            self.wanted -= 1;
            self.open();
        }
    }

    /// Begins to open a connection. A failure is told as its end.
    pub(super) fn open(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.opening += 1;
        let stream = self.connect();
        let lost = |error: &io::Error| End::Lost(format!("cannot connect: {error}"));
        match stream {
            Ok(stream) => {
                let link = Link::new(stream, self.generation, self.now());
                let key = self.links.insert(link);
                if let Err(error) = self.register(key) {
                    self.end(key, lost(&error));
                }
            }
            // There is no link to end, so the load hears of one that was never there.
            Err(error) => {
                self.opening -= 1;
                self.ended.push((usize::MAX, lost(&error)));
            }
        }
    }

    fn connect(&self) -> io::Result<Stream> {
        let address = self.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let turn = self.shared.next_connect() / CONNECTS_PER_SOURCE % SOURCES;
        if turn > 0 && address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let host = u8::try_from(1 + turn).unwrap_or(1);
            let source = Ipv4Addr::new(127, 0, 0, host);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = socket.into();
        match &self.target.tls {
            None => Ok(Stream::plain(socket)),
            Some((config, name)) => {
                Stream::tls(socket, Arc::clone(config), name.clone()).map_err(io::Error::other)
            }
        }
    }

    fn register(&self, key: usize) -> io::Result<()> {
        if let Some(link) = self.links.get(key) {
            let data = Self::event_data(key, link.generation);
            epoll::add(&self.epoll, &link.stream, data, Self::interest())?;
        }
        Ok(())
    }

    /// Has an event come again although nothing new has happened.
    pub(super) fn rearm(&self, key: usize) {
        if let Some(link) = self.links.get(key) {
            let data = Self::event_data(key, link.generation);
            // The link is registered, and it costs no memory to register it again.
            epoll::modify(&self.epoll, &link.stream, data, Self::interest()).ok();
        }
    }

    fn interest() -> EventFlags {
        EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
    }

    /// A key and its generation, since a key may be given again while events for it are waiting.
    fn event_data(key: usize, generation: u32) -> EventData {
        EventData::new_u64(u64::from(generation) << 32 | key as u64)
    }

    /// The key that an event is about, where its link is still there.
    pub(super) fn key_of(&self, data: u64) -> Option<usize> {
        let key = usize::try_from(data & u64::from(u32::MAX)).ok()?;
        let link = self.links.get(key)?;
        (u64::from(link.generation) == data >> 32 && !link.is_ending).then_some(key)
    }

    pub(super) fn wait(&self, events: &mut Vec<epoll::Event>, limit: Duration) -> io::Result<()> {
        let limit = Timespec::try_from(limit).ok();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(events),
            limit.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the thread `after` nanoseconds from now; the timer has one time at a time.
    pub(super) fn wake_after(&self, after: u64) {
        let after = Duration::from_nanos(after.max(1));
        let Ok(value) = Timespec::try_from(after) else {
            return;
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        // It fails for times that are none, and a duration always is one.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).ok();
    }

    pub(super) fn clear_timer(&self) {
        rustix::io::read(&self.timer, &mut [0; 8]).ok();
    }

    pub(super) fn clear_waker(&self) {
        if let Some(waker) = self.shared.waker(self.thread) {
            rustix::io::read(waker, &mut [0; 8]).ok();
        }
    }

    /// Writes frames that are ready to be sent.
    pub(super) fn send(&mut self, key: usize, frames: &[u8]) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if let Err(error) = link.send(frames) {
            self.end(key, End::Lost(format!("cannot write: {error}")));
        }
    }

    /// Closes our side, of a WebSocket by a close frame. The link ends once the server has closed.
    pub(super) fn close(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key) {
            link.stage = Stage::Closing;
            if self.target.upgrade.is_none() {
                if let Err(error) = link.stream.shut() {
                    self.end(key, End::Lost(format!("cannot close: {error}")));
                }
                return;
            }
            self.scratch.clear();
            frame::append_close(&mut self.scratch, 1000, self.target.mask);
            let scratch = std::mem::take(&mut self.scratch);
            self.send(key, &scratch);
            self.scratch = scratch;
        }
    }

    /// Closes all links.
    pub(super) fn close_all(&mut self) {
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.close(key);
        }
    }

    /// Answers a ping (RFC 6455 §5.5.2).
    pub(super) fn pong(&mut self, key: usize, payload: &[u8]) {
        if self.stage(key) != Some(Stage::Closing) {
            self.send_frame(key, Opcode::Pong, payload);
        }
    }

    /// Sends a text message that is no load.
    pub(super) fn say(&mut self, key: usize, text: &[u8]) {
        self.send_frame(key, Opcode::Text, text);
    }

    fn send_frame(&mut self, key: usize, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        frame::append(&mut out, opcode, payload, self.target.mask);
        self.send(key, &out);
    }

    /// The server has sent a close frame.
    pub(super) fn on_close_frame(&mut self, key: usize, payload: &[u8]) {
        if self.stage(key) == Some(Stage::Closing) {
            return;
        }
        let why = match payload.split_first_chunk() {
            Some((code, reason)) => {
                let reason: String = String::from_utf8_lossy(reason)
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect();
                format!("with {} {reason}", u16::from_be_bytes(*code))
            }
            None => "without a code".to_owned(),
        };
        self.close(key);
        self.end(key, End::Lost(format!("the server closed {why}")));
    }

    /// The server has closed TCP.
    pub(super) fn on_end_of_stream(&mut self, key: usize) {
        let end = if self.stage(key) == Some(Stage::Closing) {
            End::Closed
        } else {
            End::Lost("the server closed the connection".to_owned())
        };
        self.end(key, end);
    }

    pub(super) fn stage(&self, key: usize) -> Option<Stage> {
        self.links.get(key).map(|link| link.stage)
    }

    /// A connection without a WebSocket is ready when TCP is, and TLS where there is some. True once.
    pub(super) fn becomes_bare(&mut self, key: usize) -> bool {
        let is_bare = self.target.upgrade.is_none();
        let Some(link) = self
            .links
            .get_mut(key)
            .filter(|link| is_bare && !link.is_ending)
        else {
            return false;
        };
        let becomes = link.stage == Stage::Upgrading && link.stream.is_shaken();
        if becomes {
            link.stage = Stage::Greeting;
        }
        becomes
    }

    /// The answer to the request was right.
    pub(super) fn on_upgraded(&mut self, key: usize, opening: Opening) {
        if let Some(link) = self.links.get_mut(key) {
            link.stage = Stage::Greeting;
            link.deflate = opening.deflate;
            if opening.deflate {
                self.shared.add_deflating();
            }
        }
    }

    /// Messages may flow.
    pub(super) fn on_ready(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key)
            && link.stage == Stage::Greeting
        {
            link.stage = Stage::Open;
            self.opening -= 1;
        }
    }

    /// Has a link hear nothing more, not even its end.
    pub(super) fn ignore(&self, key: usize) {
        if let Some(link) = self.links.get(key) {
            // It is registered; were it not, nothing would be heard anyway.
            epoll::delete(&self.epoll, &link.stream).ok();
        }
    }

    /// Whether the end of a link has come to which nobody listens. A server's close comes only after all
    /// that it sent, so where nobody reads it may have closed long ago.
    pub(super) fn is_hung_up(&self, key: usize) -> bool {
        let Some(link) = self.links.get(key) else {
            return true;
        };
        let mut poll = [PollFd::new(&link.stream, PollFlags::RDHUP)];
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let polled = rustix::event::poll(&mut poll, Some(&Timespec::default()));
        polled.is_ok() && poll.iter().any(|it| it.revents().intersects(gone))
    }

    /// Notes that a link has ended; the first reason counts.
    pub(super) fn end(&mut self, key: usize, end: End) {
        if let Some(link) = self.links.get_mut(key)
            && !link.is_ending
        {
            link.is_ending = true;
            self.ended.push((key, end));
        }
    }

    /// Removes one link that has ended, so that its load can be told.
    pub(super) fn reap(&mut self) -> Option<(usize, End)> {
        let (key, end) = self.ended.pop()?;
        if let Some(link) = self.links.try_remove(key)
            && matches!(
                link.stage,
                Stage::Connecting | Stage::Upgrading | Stage::Greeting
            )
        {
            self.opening -= 1;
        }
        if matches!(end, End::Lost(_)) {
            self.shared.add_closed();
        }
        Some((key, end))
    }
}

/// EINPROGRESS: the connect goes on in the background.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();
