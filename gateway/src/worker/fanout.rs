//! From the hub's inbox to outboxes: whatever goes to many members is encoded once per wire, and
//! members queue a slice of it. Next file to read: `encode.rs`.

use std::sync::Arc;

use roomwire_hub::{
    Delivery, Member, Origin, OutboxLimits, PresenceChange, Push, RoomMessage, RoomRef,
};
use roomwire_metrics::{BlockId, Id, LaneWriter};
use roomwire_protocols::event::{self, MemberView};
use slab::Slab;

use super::core::{HubDelivery, Output};
use super::encode::{Encoded, Form};
use super::{Control, Core};
use crate::message::Message;
use crate::session::{ClientId, CloseReason, Framing, Io, Session, TaskSide};

/// What a change of presence is taken to cost before it is encoded, besides the names in it.
const PRESENCE_BYTES: usize = 128;

/// What one delivery adds to the outbox of a member, roughly, in bytes.
pub(crate) fn cost(delivery: &HubDelivery) -> usize {
    match delivery {
        Delivery::Message(message) => message.message.cost(),
        Delivery::Presence { room, member, .. } => {
            let name = member.name.as_ref().map_or(0, |name| name.len());
            PRESENCE_BYTES + room.name.len() + name
        }
        Delivery::Broadcast {
            control: Control::Ask(ask),
            ..
        } => PRESENCE_BYTES + ask.data.len(),
        Delivery::Broadcast { .. } | Delivery::Control(_) => 0,
    }
}

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

    /// Queues a message for every session of this worker that shall get it.
    fn fan_out(&mut self, message: &RoomMessage<Arc<Message>>) {
        let room = &message.room;
        let origin = Origin {
            room: room.id,
            offset: message.offset,
            slow: room.slow,
        };
        let mut json = std::mem::take(&mut self.output.scratch);
        json.clear();
        event::message(&mut json, &message.message.view(&room.name, message.offset));
        let form = Form::Message(message);
        let delivered = self.give_all(&json, form, Some(origin), |seats, give| {
            seats.fan_out(message, give);
        });
        self.output.scratch = json;
        self.lane.increment(Id::HubMessages);
        self.lane.add(Id::HubDeliveries, delivered);
        let block = self.shared.page.rooms_block(usize::from(room.class));
        let bytes = message.message.data().len() as u64;
        self.lane.block_add(block, BlockId::RoomsPublishes, 1);
        self.lane.block_add(block, BlockId::RoomsBytes, bytes);
        self.lane
            .block_add(block, BlockId::RoomsDeliveries, delivered);
        // Messages of one turn follow each other, so this stays short.
        let taken_us = message.message.taken_us();
        match self.unflushed.last_mut() {
            Some((at, count)) if *at == taken_us => *count += 1,
            _ => self.unflushed.push((taken_us, 1)),
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
            client: &*client,
            name: member.name.as_deref(),
        };
        let who = view.name.unwrap_or(view.client);
        let mut json = Vec::new();
        let what = match change {
            PresenceChange::Joined => {
                event::member_joined(&mut json, &room.name, &view);
                "joined"
            }
            PresenceChange::Left => {
                event::member_left(&mut json, &room.name, &view);
                "left"
            }
        };
        let text = format!("{who} {what} {}", room.name);
        self.give_all(&json, Form::Notice(&text), None, |seats, give| {
            seats.fan_out_presence(room, member.id, sequence, give);
        });
    }

    /// Hands a control that is meant for a room's members to those of this worker.
    fn broadcast(&mut self, room: &RoomRef, control: &Control, sequence: u64) {
        let Control::Ask(ask) = control else {
            debug_assert!(false, "only requests are broadcast");
            return;
        };
        let request = ask.request.encode();
        let mut json = Vec::new();
        event::request(&mut json, &request, &room.name, &ask.from, &ask.data);
        // A person cannot reply; saying so is kinder than silence.
        let text = format!("{} asks {} (replies need a client)", ask.from, room.name);
        let asker = ask.client.member();
        let asked = self.give_all(&json, Form::Notice(&text), None, |seats, give| {
            seats.fan_out_members(room, sequence, |slot, member| {
                if member != asker {
                    give(slot);
                }
            });
        });
        self.lane.add(Id::RequestsPushed, asked);
    }

    /// Gives one thing to every session that `walk` names; returns to how many. Never waits: a
    /// session that cannot take it is ended after the walk, because ending it changes the seats
    /// that are being walked.
    fn give_all(
        &mut self,
        json: &[u8],
        form: Form<'_>,
        origin: Option<Origin>,
        walk: impl FnOnce(&mut super::core::RoomSeats, &mut dyn FnMut(u32)),
    ) -> u64 {
        let Self {
            seats,
            sessions,
            output,
            lane,
            shared,
            ..
        } = self;
        let mut giving = Giving {
            sessions,
            output,
            lane,
            limits: &shared.bounds.outbox,
            encoded: Encoded::new(json, form, origin, shared.bounds.max_udp_datagram),
            origin,
            given: 0,
            overflowed: Vec::new(),
        };
        walk(seats, &mut |slot| giving.give(slot));
        let Giving {
            given, overflowed, ..
        } = giving;
        for slot in overflowed {
            self.end(slot, CloseReason::Slow);
        }
        given
    }
}

/// One thing on its way to many sessions.
struct Giving<'a> {
    sessions: &'a mut Slab<Session>,
    output: &'a mut Output,
    lane: &'a LaneWriter,
    limits: &'a OutboxLimits,
    encoded: Encoded<'a>,
    origin: Option<Origin>,
    given: u64,
    overflowed: Vec<u32>,
}

impl Giving<'_> {
    fn give(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let framing = session.framing;
        let frame = match framing {
            Framing::None | Framing::WebSocketEcho => return,
            Framing::Notify => {
                if let Io::Task(side) = &session.io {
                    side.borrow_mut().notified = true;
                    TaskSide::wake(side);
                }
                return;
            }
            _ if session.stalled_ms.is_some() => {
                self.encoded.detached(framing, &mut self.output.deflater)
            }
            _ => {
                let index = self.encoded.shared(framing, self.output);
                let arena = self.output.arenas.of(framing);
                if session.outbox.is_empty()
                    && framing.is_stream()
                    && arena.grow(&mut session.burst, index, self.limits)
                {
                    self.given += 1;
                    return self.output.touch(slot, session);
                }
                match arena.logged(index) {
                    Some(logged) => logged.frame.clone(),
                    None => return,
                }
            }
        };
        let bytes = frame.len();
        if bytes == 0 {
            return;
        }
        self.output.settle(session, self.limits);
        match session.outbox.push(frame, bytes, self.origin, self.limits) {
            Push::Queued => self.given += 1,
            Push::Dropped(frames) => {
                self.given += 1;
                self.lane.add(Id::OutboxDropped, frames as u64);
            }
            Push::Overflow => self.overflowed.push(slot),
        }
        self.output.touch(slot, session);
    }
}
