//! One thread of the load generator: waits for events, reads, cuts frames, tells the load.
//!
//! The order of one turn: a new phase is told, the load has its turn, events are waited for; for each,
//! what was kept is written, then reads happen until there is no more, each followed by one
//! [`Load::on_read`] in which the load answers everything that the read brought with one write. The
//! buffer is the thread's; a link keeps only the beginning of a frame that is not whole.

use std::io;
use std::mem;
use std::time::Duration;

use roomwire_protocols::websocket::Opcode;
use rustix::event::epoll::{Event, EventFlags};

use super::frame::{self, Frame, FrameError};
use super::inflate::Inflater;
use super::link::Stage;
use super::net::{End, Net, TIMER, WAKER};
use super::plan::Plan;
use super::report::{Outcome, Window};
use super::shared::Phase;
use super::socketio::{self, Packet};
use super::stream::Got;

/// Holds 256 frames of a kilobyte; larger reads stop paying.
const BUFFER: usize = 256 << 10;
/// Reads from one link before others have their turn.
const MAX_READS: usize = 16;
const MAX_EVENTS: usize = 1024;
/// Nothing depends on this: phases and timers wake the thread.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What one mode does with the connections of one thread.
pub(super) trait Load: Send + Sized + 'static {
    /// A phase has begun.
    fn on_phase(&mut self, phase: Phase, net: &mut Net);

    /// The handshake of a connection is done.
    fn on_open(&mut self, key: usize, net: &mut Net);

    /// A data message has come; where there are no frames, some bytes. `now` is when they were read.
    fn on_message(&mut self, key: usize, payload: &[u8], now: u64);

    /// A connection takes more again.
    fn on_writable(&mut self, _key: usize, _net: &mut Net) {}

    /// All messages of one read have been told.
    fn on_read(&mut self, key: usize, net: &mut Net);

    /// A connection is gone; `key` may belong to another one from now on. A connection that could
    /// not even be begun has a key that no link has.
    fn on_end(&mut self, key: usize, end: End, net: &mut Net);

    /// All events have been handled.
    fn on_turn(&mut self, _net: &mut Net) {}

    /// Whether nothing is in flight any more. Asked in the phase `Drain`.
    fn is_drained(&self, net: &Net) -> bool;

    /// Adds what another thread has measured.
    fn merge(&mut self, other: Self);

    /// What was measured, all threads together.
    fn outcome(&self, plan: &Plan, window: &Window) -> Outcome;
}

/// A load and its connections.
pub(super) struct Driver<L> {
    net: Net,
    load: L,
    buffer: Box<[u8]>,
    inflater: Inflater,
}

impl<L: Load> Driver<L> {
    pub(super) fn new(net: Net, load: L) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            net,
            load,
            buffer,
            inflater: Inflater::new(),
        }
    }

    /// Runs until the phase `Stop`, or until all is drained.
    pub(super) fn run(mut self) -> io::Result<L> {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let mut known = Phase::Opening;
        loop {
            let phase = self.net.shared.phase();
            if phase != known {
                known = phase;
                self.load.on_phase(phase, &mut self.net);
            }
            if phase == Phase::Opening {
                self.net.open_wanted();
            }
            self.load.on_turn(&mut self.net);
            self.reap();
            let is_over = phase == Phase::Drain && self.load.is_drained(&self.net);
            if is_over || phase == Phase::Stop {
                self.net.shared.add_inflated(self.inflater.inflated());
                return Ok(self.load);
            }
            events.clear();
            self.net.wait(&mut events, LONGEST_WAIT)?;
            let mut is_idle = true;
            for &Event { flags, data } in &events {
                match data.u64() {
                    WAKER => self.net.clear_waker(),
                    TIMER => self.net.clear_timer(),
                    data => {
                        is_idle = false;
                        if let Some(key) = self.net.key_of(data) {
                            self.on_event(key, flags);
                            self.reap();
                        }
                    }
                }
            }
            if !is_idle {
                self.net.shared.add_turn();
            }
        }
    }

    fn reap(&mut self) {
        while let Some((key, end)) = self.net.reap() {
            self.load.on_end(key, end, &mut self.net);
        }
    }

    fn on_event(&mut self, key: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT)
            && let Err(error) = self.on_writable(key)
        {
            self.net.end(key, End::Lost(error.to_string()));
            return;
        }
        let gone = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(EventFlags::IN | gone)
            && let Err(error) = self.on_readable(key, flags.intersects(gone))
        {
            self.net.end(key, End::Lost(error.to_string()));
        }
        if self.net.becomes_bare(key) {
            self.on_ready(key);
        }
    }

    fn on_writable(&mut self, key: usize) -> io::Result<()> {
        let Some(link) = self.net.links.get_mut(key) else {
            return Ok(());
        };
        if link.stage != Stage::Connecting {
            link.flush()?;
            if link.is_sent() && link.stage == Stage::Open {
                self.load.on_writable(key, &mut self.net);
            }
            return Ok(());
        }
        if let Some(error) = link.stream.take_error()? {
            return Err(error);
        }
        link.stage = Stage::Upgrading;
        match &self.net.target.upgrade {
            Some(upgrade) => link.send(upgrade.request()),
            None => link.flush(),
        }
    }

    /// Where the peer is gone, a short read does not mean that there is nothing left to know.
    fn on_readable(&mut self, key: usize, is_gone: bool) -> io::Result<()> {
        for _ in 0..MAX_READS {
            let link = self.net.links.get_mut(key).filter(|link| !link.is_ending);
            let Some(link) = link else {
                return Ok(());
            };
            match link.stream.read(&mut self.buffer)? {
                Got::Bytes { count, drained } => {
                    let buffer = mem::take(&mut self.buffer);
                    self.take_in(key, buffer.get(..count).unwrap_or_default());
                    self.buffer = buffer;
                    self.load.on_read(key, &mut self.net);
                    if drained && !is_gone {
                        return Ok(());
                    }
                }
                Got::Nothing => return Ok(()),
                Got::End => {
                    self.net.on_end_of_stream(key);
                    return Ok(());
                }
            }
        }
        self.net.rearm(key);
        Ok(())
    }

    /// Handles what is whole and keeps the rest.
    fn take_in(&mut self, key: usize, bytes: &[u8]) {
        let Some(link) = self.net.links.get_mut(key) else {
            return;
        };
        let mut partial = mem::take(&mut link.partial);
        let rest = if partial.is_empty() {
            let done = self.consume(key, bytes);
            bytes.get(done..).unwrap_or_default().to_vec()
        } else {
            partial.extend_from_slice(bytes);
            let done = self.consume(key, &partial);
            partial.drain(..done);
            partial
        };
        if !rest.is_empty()
            && let Some(link) = self.net.links.get_mut(key)
        {
            link.partial = rest;
        }
    }

    /// Handles the whole frames in `bytes` and tells how long they are.
    fn consume(&mut self, key: usize, bytes: &[u8]) -> usize {
        let Some(upgrade) = &self.net.target.upgrade else {
            if self.net.stage(key) == Some(Stage::Open) {
                let now = self.net.now();
                self.load.on_message(key, bytes, now);
            }
            return bytes.len();
        };
        let mut done = 0;
        if self.net.stage(key) == Some(Stage::Upgrading) {
            match upgrade.check(bytes) {
                Ok(Some(opening)) => {
                    done = opening.length;
                    self.net.on_upgraded(key, opening);
                    if !self.net.target.is_socketio {
                        self.on_ready(key);
                    }
                }
                Ok(None) => return 0,
                Err(error) => {
                    self.net.end(key, End::Lost(error.to_string()));
                    return bytes.len();
                }
            }
        }
        let now = self.net.now();
        loop {
            match frame::parse(bytes.get(done..).unwrap_or_default()) {
                Ok(Some(frame)) => {
                    done += frame.length;
                    let handled = match frame.opcode {
                        Opcode::Text | Opcode::Binary => self.on_message(key, frame, now),
                        Opcode::Ping => {
                            self.net.pong(key, frame.payload);
                            Ok(())
                        }
                        Opcode::Close => {
                            self.net.on_close_frame(key, frame.payload);
                            return bytes.len();
                        }
                        Opcode::Continuation | Opcode::Pong => Ok(()),
                    };
                    if let Err(why) = handled {
                        self.net.end(key, End::Lost(why));
                        return bytes.len();
                    }
                }
                Ok(None) => return done,
                Err(error) => {
                    self.net.end(key, End::Lost(error.to_string()));
                    return bytes.len();
                }
            }
        }
    }

    fn on_ready(&mut self, key: usize) {
        self.net.on_ready(key);
        self.load.on_open(key, &mut self.net);
    }

    /// What the load does not hear of is answered here. The error is why the link cannot be used.
    fn on_message(&mut self, key: usize, frame: Frame<'_>, now: u64) -> Result<(), String> {
        let Some(link) = self.net.links.get(key) else {
            return Ok(());
        };
        let (stage, deflate) = (link.stage, link.deflate);
        if stage == Stage::Closing {
            return Ok(());
        }
        let payload = match (frame.compressed, deflate) {
            (false, _) => frame.payload,
            (true, true) => (self.inflater.inflate(frame.payload)).map_err(|it| it.to_string())?,
            (true, false) => return Err(FrameError::Reserved.to_string()),
        };
        if !self.net.target.is_socketio {
            self.load.on_message(key, payload, now);
            return Ok(());
        }
        match (socketio::packet(payload), stage) {
            (Packet::Event, Stage::Open) => self.load.on_message(key, payload, now),
            (Packet::Ping, _) => self.net.say(key, socketio::PONG),
            (Packet::Open, Stage::Greeting) => self.net.say(key, socketio::CONNECT),
            (Packet::Connected, Stage::Greeting) => self.on_ready(key),
            _ => return Err("the server says something that Socket.IO does not know".to_owned()),
        }
        Ok(())
    }
}
