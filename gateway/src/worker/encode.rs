//! One thing for many sessions, in the forms that their wires need, each made when first asked for.

use std::sync::Arc;

use roomwire_hub::{Origin, RoomMessage};
use roomwire_protocols::chat;
use roomwire_protocols::websocket::Opcode;

use super::Slice;
use super::core::Output;
use super::deflater::Deflater;
use super::say::{Place, frame, message_frame};
use crate::message::Message;
use crate::session::Framing;

/// What is encoded, beyond its JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'a> {
    /// A room's message.
    Message(&'a RoomMessage<Arc<Message>>),
    /// Something else that `roomwire.v1` pushes, and how a person is told.
    Notice(&'a str),
}

/// What framing adds to a message's JSON at most, server-sent events' id line being the longest.
pub(crate) const FRAMING_BYTES: usize = 64;

/// Encodes a run for a framing, each once, unless it has been: they follow each other in the log of its
/// arena. Returns the place of the first.
pub(crate) fn log_run(run: &mut [Encoded<'_>], framing: Framing, output: &mut Output) -> u32 {
    let Some((first, others)) = run.split_first_mut() else {
        return 0;
    };
    if let Some(place) = first.shared[framing.index()] {
        return place;
    }
    let place = first.log(framing, output);
    for (next, other) in (place + 1..).zip(others) {
        let logged = other.log(framing, output);
        debug_assert_eq!(logged, next, "a run is logged as one");
    }
    place
}

/// The encoded forms of one thing.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    json: &'a [u8],
    form: Form<'a>,
    max_datagram: usize,
    origin: Option<Origin>,
    /// Places in the logs of the framings' arenas; all of a run have one, or none.
    shared: [Option<u32>; Framing::COUNT],
    detached: [Option<Slice>; Framing::COUNT],
}

impl<'a> Encoded<'a> {
    /// `json` is the object as `roomwire.v1` has it.
    pub(crate) fn new(
        json: &'a [u8],
        form: Form<'a>,
        origin: Option<Origin>,
        max_datagram: usize,
    ) -> Self {
        Self {
            json,
            form,
            origin,
            max_datagram,
            shared: [const { None }; Framing::COUNT],
            detached: [const { None }; Framing::COUNT],
        }
    }

    /// Where it comes from, if it is a room's message.
    pub(crate) const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// Encodes it into the framing's arena, for sessions that will be flushed in this turn. Returns
    /// its place in the arena's log.
    fn log(&mut self, framing: Framing, output: &mut Output) -> u32 {
        let Output {
            arenas, deflater, ..
        } = output;
        let index = arenas.log(framing, self.origin, |out| {
            self.encode(framing, deflater, out);
        });
        self.shared[framing.index()] = Some(index);
        index
    }

    /// A chunk of exactly this, for sessions that may keep it for long.
    pub(crate) fn detached(&mut self, framing: Framing, deflater: &mut Deflater) -> Slice {
        if let Some(frame) = &self.detached[framing.index()] {
            return frame.clone();
        }
        let mut bytes = Vec::with_capacity(self.json.len() + FRAMING_BYTES);
        self.encode(framing, deflater, &mut bytes);
        // What was compressed is smaller, and may wait for long.
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        self.detached[framing.index()]
            .insert(Slice::owned(bytes))
            .clone()
    }

    fn encode(&self, framing: Framing, deflater: &mut Deflater, out: &mut Vec<u8>) {
        if let Framing::WebSocket(Some(window)) = framing
            && deflater.frame(Opcode::Text, self.json, window, out)
        {
            return;
        }
        match self.form {
            Form::Message(RoomMessage {
                room,
                offset,
                message,
                ..
            }) => {
                let place = Place {
                    room: &room.name,
                    epoch: room.epoch,
                    offset: *offset,
                };
                message_frame(framing, &place, message, self.json, self.max_datagram, out);
            }
            Form::Notice(text) if framing == Framing::Chat => chat::notice(out, text),
            // A push that no datagram can take is not sent; nothing is lost that has an offset.
            Form::Notice(_)
                if framing == Framing::Datagram && self.json.len() > self.max_datagram => {}
            Form::Notice(_) => frame(framing, self.json, out),
        }
    }
}
