//! From the hub's inbox to outboxes: each message is encoded once per wire, members queue a slice.

use roomwire_hub::{Delivery, Member, Origin, PresenceChange, Push, RoomMessage, RoomRef};
use roomwire_metrics::Id;
use roomwire_protocols::event::{self, MemberView};
use roomwire_protocols::{chat, line, sse, websocket};
use std::sync::Arc;

use super::core::HubDelivery;
use super::{Arenas, Core, Slice};
use crate::message::Message;
use crate::session::{ClientId, CloseReason, Framing, Io, TaskSide};

impl Core {
    /// Carries out one delivery from the inbox.
    pub(crate) fn deliver(&mut self, delivery: HubDelivery) {
        match delivery {
            Delivery::Message(message) => self.fan_out(&message),
            Delivery::Presence {
                room,
                member,
                change,
                sequence,
            } => {
                self.fan_out_presence(&room, &member, change, sequence);
            }
            Delivery::Broadcast {
                room,
                control,
                sequence,
            } => {
                self.broadcast(&room, &control, sequence);
            }
            Delivery::Control(control) => self.control(control),
        }
    }

    /// Queues a message for every session of this worker that shall get it. Never waits: a session
    /// that cannot take it is ended after the loop, because ending it would change the seats that
    /// the loop walks.
    fn fan_out(&mut self, message: &RoomMessage<Arc<Message>>) {
        let limits = &self.shared.bounds.outbox;
        let max_datagram = self.shared.bounds.max_udp_datagram;
        let Self {
            seats,
            sessions,
            output,
            lane,
            ..
        } = self;
        let super::core::Output {
            arenas,
            touched,
            scratch,
        } = output;
        let origin = Origin {
            room: message.room.id,
            offset: message.offset,
            slow: message.room.slow,
        };
        let mut encoded = Encoded::new(message, max_datagram);
        let mut overflowed = Vec::new();
        let mut delivered = 0_u64;
        seats.fan_out(message, |slot| {
            let Some(session) = sessions.get_mut(slot as usize) else {
                return;
            };
            let frame = match session.framing {
                Framing::None | Framing::WebSocketEcho => return,
                Framing::Notify => {
                    if let Io::Task(side) = &session.io {
                        side.borrow_mut().notified = true;
                        TaskSide::wake(side);
                    }
                    return;
                }
                framing if session.stalled_ms.is_some() => encoded.detached(framing, scratch),
                framing => encoded.shared(framing, arenas, scratch),
            };
            let bytes = frame.len();
            match session.outbox.push(frame, bytes, Some(origin), limits) {
                Push::Queued => delivered += 1,
                Push::Dropped(frames) => {
                    delivered += 1;
                    lane.add(Id::OutboxDropped, frames as u64);
                }
                Push::Overflow => overflowed.push(slot),
            }
            if !session.touched {
                session.touched = true;
                touched.push(slot);
            }
        });
        lane.increment(Id::HubMessages);
        lane.add(Id::HubDeliveries, delivered);
        for slot in overflowed {
            self.end(slot, CloseReason::Slow);
        }
    }

    fn fan_out_presence(
        &mut self,
        room: &RoomRef,
        member: &Member,
        change: PresenceChange,
        sequence: u64,
    ) {
        // Everybody leaves in a drain, and everybody was told.
        if self.drain.is_some() {
            return;
        }
        let client = ClientId::from_member(member.id).to_string();
        let view = MemberView {
            client: &client,
            name: member.name.as_deref(),
        };
        let mut slots = Vec::new();
        self.seats
            .fan_out_presence(room, member.id, sequence, |slot| slots.push(slot));
        for slot in slots {
            let chat = self
                .session(slot)
                .is_some_and(|session| session.framing == Framing::Chat);
            if chat {
                let who = view.name.unwrap_or(view.client);
                let what = match change {
                    PresenceChange::Joined => "joined",
                    PresenceChange::Left => "left",
                };
                self.notice(slot, &format!("{who} {what} {}", room.name));
                continue;
            }
            self.say(slot, |out| match change {
                PresenceChange::Joined => event::member_joined(out, &room.name, &view),
                PresenceChange::Left => event::member_left(out, &room.name, &view),
            });
        }
    }
}

/// One message in the forms that the members of this worker need, each made when first asked for.
struct Encoded<'a> {
    message: &'a RoomMessage<Arc<Message>>,
    max_datagram: usize,
    json_ready: bool,
    shared: [Option<Slice>; FRAMINGS],
    detached: [Option<Slice>; FRAMINGS],
}

/// What framing adds to a message's JSON at most, server-sent events' id line being the longest.
const FRAMING_BYTES: usize = 64;

const FRAMINGS: usize = Framing::Events as usize + 1;

impl<'a> Encoded<'a> {
    fn new(message: &'a RoomMessage<Arc<Message>>, max_datagram: usize) -> Self {
        Self {
            message,
            max_datagram,
            json_ready: false,
            shared: [const { None }; FRAMINGS],
            detached: [const { None }; FRAMINGS],
        }
    }

    /// A slice of the turn's arena, for sessions that will be flushed in this turn.
    fn shared(&mut self, framing: Framing, arenas: &mut Arenas, scratch: &mut Vec<u8>) -> Slice {
        if let Some(frame) = &self.shared[framing as usize] {
            return frame.clone();
        }
        self.prepare(scratch);
        let frame = arenas
            .of(framing)
            .write(|out| self.encode(framing, scratch, out));
        self.shared[framing as usize].insert(frame).clone()
    }

    /// A chunk of exactly this message, for sessions that may keep it for long.
    fn detached(&mut self, framing: Framing, scratch: &mut Vec<u8>) -> Slice {
        if let Some(frame) = &self.detached[framing as usize] {
            return frame.clone();
        }
        self.prepare(scratch);
        let mut bytes = Vec::with_capacity(scratch.len() + FRAMING_BYTES);
        self.encode(framing, scratch, &mut bytes);
        self.detached[framing as usize]
            .insert(Slice::owned(bytes))
            .clone()
    }

    fn prepare(&mut self, scratch: &mut Vec<u8>) {
        if !self.json_ready {
            scratch.clear();
            let room = &self.message.room.name;
            event::message(
                scratch,
                &self.message.message.view(room, self.message.offset),
            );
            self.json_ready = true;
        }
    }

    fn encode(&self, framing: Framing, json: &[u8], out: &mut Vec<u8>) {
        let RoomMessage {
            room,
            offset,
            message,
            ..
        } = self.message;
        match framing {
            Framing::WebSocket => websocket::frame(out, websocket::Opcode::Text, json),
            Framing::Line => line::frame(out, json),
            Framing::Datagram if json.len() > self.max_datagram => {
                event::gap(out, &room.name, *offset, *offset);
            }
            Framing::Datagram => out.extend_from_slice(json),
            Framing::Chat => chat::render(out, message.from(), message.data()),
            Framing::Events => sse::message(out, &room.epoch, *offset, json),
            Framing::WebSocketEcho | Framing::Notify | Framing::None => {
                debug_assert!(false, "these are sent no messages");
            }
        }
    }
}
