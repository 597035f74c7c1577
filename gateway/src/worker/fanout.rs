//! From the hub's inbox to outboxes: whatever goes to many members is encoded once per wire, and
//! members queue a slice of it. Next file to read: `encode.rs`.

use std::ops::Range;
use std::slice;
use std::sync::Arc;

use roomwire_hub::{
    Delivery, Member, Origin, OutboxLimits, PresenceChange, Push, RoomMessage, RoomRef,
};
use roomwire_metrics::{BlockId, Id, LaneWriter};
use roomwire_protocols::event::{self, MemberView};
use slab::Slab;
use smallvec::SmallVec;

use super::core::{HubDelivery, Output};
use super::encode::{Encoded, Form, log_run};
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
    /// Carries out one delivery from the inbox that is no room's message.
    pub(crate) fn deliver(&mut self, delivery: HubDelivery) {
        match delivery {
            Delivery::Message(message) => self.fan_out(slice::from_ref(&message)),
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

    /// Queues messages of one room, which follow each other there, for every session of this worker
    /// that shall get them. The room is walked once for all of them.
    pub(crate) fn fan_out(&mut self, run: &[RoomMessage<Arc<Message>>]) {
        let Some(first) = run.first() else {
            return;
        };
        let room = &first.room;
        let mut json = std::mem::take(&mut self.output.scratch);
        json.clear();
        let mut bytes = 0;
        let mut ends: SmallVec<[usize; 1]> = SmallVec::with_capacity(run.len());
        for message in run {
            event::message(&mut json, &message.message.view(&room.name, message.offset));
            ends.push(json.len());
            bytes += message.message.data().len() as u64;
        }
        let mut begin = 0;
        let encoded = run.iter().zip(ends).map(|(message, end)| {
            let origin = Origin {
                room: room.id,
                offset: message.offset,
                slow: room.slow,
            };
            let json = json.get(begin..end).unwrap_or_default();
            begin = end;
            self.encoded(json, Form::Message(message), Some(origin))
        });
        let mut encoded: SmallVec<[Encoded<'_>; 1]> = encoded.collect();
        let delivered = self.give_all(&mut encoded, |seats, give| {
            seats.fan_out_run(run, give);
        });
        drop(encoded);
        self.output.scratch = json;
        let count = run.len() as u64;
        self.lane.add(Id::HubMessages, count);
        self.lane.add(Id::HubDeliveries, delivered);
        let block = self.shared.page.rooms_block(usize::from(room.class));
        self.lane.block_add(block, BlockId::RoomsPublishes, count);
        self.lane.block_add(block, BlockId::RoomsBytes, bytes);
        self.lane
            .block_add(block, BlockId::RoomsDeliveries, delivered);
        // Messages of one turn follow each other, so this stays short.
        for message in run {
            let taken_us = message.message.taken_us();
            match self.unflushed.last_mut() {
                Some((at, count)) if *at == taken_us => *count += 1,
                _ => self.unflushed.push((taken_us, 1)),
            }
        }
    }

    fn encoded<'a>(&self, json: &'a [u8], form: Form<'a>, origin: Option<Origin>) -> Encoded<'a> {
        Encoded::new(json, form, origin, self.shared.bounds.max_udp_datagram)
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
        let mut encoded = [self.encoded(&json, Form::Notice(&text), None)];
        self.give_all(&mut encoded, |seats, give| {
            seats.fan_out_presence(room, member.id, sequence, |slot| give(slot, 0..1));
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
        let mut encoded = [self.encoded(&json, Form::Notice(&text), None)];
        let asked = self.give_all(&mut encoded, |seats, give| {
            seats.fan_out_members(room, sequence, |slot, member| {
                if member != asker {
                    give(slot, 0..1);
                }
            });
        });
        self.lane.add(Id::RequestsPushed, asked);
    }

    /// Gives things to every session that `walk` names, each those in a range; returns how many it
    /// gave in all. Never waits: a session that cannot take something is ended after the walk,
    /// because ending it changes the seats that are being walked.
    fn give_all(
        &mut self,
        run: &mut [Encoded<'_>],
        walk: impl FnOnce(&mut super::core::RoomSeats, &mut dyn FnMut(u32, Range<usize>)),
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
            run,
            given: 0,
            overflowed: Vec::new(),
        };
        walk(seats, &mut |slot, range| giving.give(slot, range));
        let Giving {
            given, overflowed, ..
        } = giving;
        for slot in overflowed {
            self.end(slot, CloseReason::Slow);
        }
        given
    }
}

/// Things on their way to many sessions.
struct Giving<'a, 'e> {
    sessions: &'a mut Slab<Session>,
    output: &'a mut Output,
    lane: &'a LaneWriter,
    limits: &'a OutboxLimits,
    run: &'a mut [Encoded<'e>],
    given: u64,
    overflowed: Vec<u32>,
}

impl Giving<'_, '_> {
    fn give(&mut self, slot: u32, range: Range<usize>) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let framing = session.framing;
        match framing {
            Framing::None | Framing::WebSocketEcho => return,
            Framing::Notify => {
                if let Io::Task(side) = &session.io {
                    side.borrow_mut().notified = true;
                    TaskSide::wake(side);
                }
                return;
            }
            _ => {}
        }
        let stalled = session.stalled_ms.is_some();
        let mut place = 0;
        if !stalled {
            // Neither can be more than a batch of the inbox.
            place = log_run(self.run, framing, self.output)
                + u32::try_from(range.start).unwrap_or(u32::MAX);
            let count = u32::try_from(range.len()).unwrap_or(u32::MAX);
            let arena = self.output.arenas.of(framing);
            if session.outbox.is_empty()
                && framing.is_stream()
                && arena.grow(&mut session.burst, place, count, self.limits)
            {
                self.given += u64::from(count);
                return self.output.touch(slot, session);
            }
        }
        self.output.settle(session, self.limits);
        let places = place..;
        for (encoded, place) in self
            .run
            .get_mut(range)
            .unwrap_or_default()
            .iter_mut()
            .zip(places)
        {
            let origin = encoded.origin();
            let frame = if stalled {
                encoded.detached(framing, &mut self.output.deflater)
            } else if let Some(logged) = self.output.arenas.of(framing).logged(place) {
                logged.frame.clone()
            } else {
                continue;
            };
            let bytes = frame.len();
            if bytes == 0 {
                continue;
            }
            match session.outbox.push(frame, bytes, origin, self.limits) {
                Push::Queued => self.given += 1,
                Push::Dropped(frames) => {
                    self.given += 1;
                    self.lane.add(Id::OutboxDropped, frames as u64);
                }
                Push::Overflow => {
                    self.overflowed.push(slot);
                    break;
                }
            }
        }
        self.output.touch(slot, session);
    }
}
