//! `roomwire.v1`: commands in JSON, carried out and answered, on WebSocket, TCP lines and UDP alike.

use std::sync::Arc;

use roomwire_metrics::Id;
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::command::{self, Command, CommandError, Envelope, Mode};
use roomwire_protocols::event::{self, MemberView};
use roomwire_protocols::name;
use roomwire_protocols::room::{self, Subject};

use super::room::{Refusal, position};
use super::{ClientId, Framing};
use crate::worker::request::{NewRequest, Reply, RequestId};
use crate::worker::{Control, Core};

/// The longest text with which a member refuses a request. Chosen: a sentence or two.
const MAX_REPLY_ERROR_BYTES: usize = 1024;

impl Core {
    /// Carries out one command.
    pub(crate) fn command(&mut self, slot: u32, input: &[u8]) {
        self.parsed(slot, input, command::parse(input));
    }

    /// Carries out one command whose UTF-8 was checked already.
    pub(crate) fn text_command(&mut self, slot: u32, input: &str) {
        self.parsed(slot, input.as_bytes(), command::parse_text(input));
    }

    fn parsed(&mut self, slot: u32, input: &[u8], parsed: Result<Envelope<'_>, CommandError>) {
        if let Ok(Envelope {
            id: Some(id),
            command,
        }) = &parsed
            && self.is_repetition(slot, *id, command, input)
        {
            return;
        }
        self.lane.increment(Id::CommandsIn);
        self.emit_message(slot, input);
        match parsed {
            Ok(Envelope { id, command }) => self.obey(slot, id, command),
            Err(CommandError { id, code, message }) => {
                self.lane.increment(counter_of(code));
                let client = self.client(slot);
                tracing::debug!(client, code = code.as_str(), detail = %message, "refused a command");
                self.say(slot, |out| event::error(out, id, code, &message));
            }
        }
    }

    fn obey(&mut self, slot: u32, id: Option<u64>, command: Command<'_>) {
        let done = match command {
            Command::Hello { token: _, name } => self.hello(slot, id, name.as_deref()),
            Command::Join {
                room,
                since,
                presence,
                cookie,
            } => {
                let since = since.map(|since| position(&since.epoch, since.offset));
                if self.must_prove(slot, id, &room, cookie.as_deref()) {
                    return;
                }
                self.join(slot, id, &room, since, presence)
            }
            Command::Leave { room } => self.leave_room(slot, &room).map(|()| {
                self.answer(slot, id, |out, id| event::left(out, id, &room));
            }),
            Command::Publish {
                room,
                data,
                echo,
                key,
            } => self
                .publish_as(slot, &room, data, echo, key.as_deref())
                .map(|published| {
                    let offset = published.offset;
                    self.answer(slot, id, |out, id| event::published(out, id, &room, offset));
                }),
            Command::History { room, limit, since } => {
                let since = since.map(|since| position(&since.epoch, since.offset));
                self.history(slot, id, &room, limit, since)
            }
            Command::Members { room } => self.members(slot, id, &room),
            Command::Request {
                room,
                data,
                mode,
                timeout_ms,
            } => self.request(slot, id, &room, data, mode, timeout_ms),
            Command::Reply {
                request,
                data,
                error,
            } => self.reply(slot, id, &request, data, error.as_deref()),
            Command::Ping => {
                self.answer(slot, id, event::pong);
                Ok(())
            }
        };
        if let Err(refusal) = done {
            self.lane.increment(counter_of(refusal.code));
            let client = self.client(slot);
            tracing::debug!(client, code = refusal.code.as_str(), "refused a command");
            self.say_answer(slot, id, |out| {
                event::error(out, id, refusal.code, &refusal.text)
            });
            if refusal.code == ErrorCode::Overloaded {
                self.forget_command(slot, id);
            }
        }
    }

    /// Answers a command that carried an `id`; without one only errors are answered.
    fn answer(
        &mut self,
        slot: u32,
        id: Option<u64>,
        encode: impl FnOnce(&mut Vec<u8>, Option<u64>),
    ) {
        if id.is_some() {
            self.say_answer(slot, id, |out| encode(out, id));
        }
    }

    fn hello(&mut self, slot: u32, id: Option<u64>, name: Option<&str>) -> Result<(), Refusal> {
        if let Some(name) = name {
            self.rename(slot, name)?;
        }
        let lease_s = self.shared.bounds.udp_lease_ms / 1000;
        let Some(session) = self.session(slot) else {
            return Ok(());
        };
        // Of the other wires, a session lives as long as its connection.
        let ttl_s = if session.framing == Framing::Datagram {
            lease_s
        } else {
            0
        };
        let (client, name) = (session.id.to_string(), session.name.clone());
        self.answer(slot, id, |out, id| {
            event::welcome(out, id, &client, name.as_deref(), ttl_s);
        });
        Ok(())
    }

    /// Gives a session a name, in every room it is in.
    pub(crate) fn rename(&mut self, slot: u32, name: &str) -> Result<(), Refusal> {
        name::check(name)
            .map_err(|error| Refusal::new(ErrorCode::InvalidName, error.to_string()))?;
        let name: Arc<str> = Arc::from(name);
        if let Some(session) = self.session(slot) {
            session.name = Some(Arc::clone(&name));
            session.from = None;
        }
        self.seats.rename(slot, name);
        Ok(())
    }

    fn join(
        &mut self,
        slot: u32,
        id: Option<u64>,
        subject: &str,
        since: Option<roomwire_hub::Position>,
        presence: bool,
    ) -> Result<(), Refusal> {
        let (joined, replay) = self.join_room(slot, subject, since, presence)?;
        if id.is_some() {
            let max = self.shared.bounds.max_members_listed;
            let page = self.seats.members(slot, subject, max).unwrap_or_default();
            let listed = self.listable(slot, &page.members);
            let members: Vec<_> = page.members.iter().take(listed).map(Listed::new).collect();
            self.say_answer(slot, id, |out| {
                event::joined(
                    out,
                    id,
                    subject,
                    &joined.epoch,
                    joined.offset,
                    members.iter().map(Listed::view),
                    page.total as u64,
                    joined.recovered,
                );
            });
        }
        if let Some((from, to)) = replay.gap {
            self.say(slot, |out| event::gap(out, subject, from, to));
        }
        self.replay(slot, subject, joined.epoch, &replay.messages);
        Ok(())
    }

    /// How many members fit into the answer: all of them, but for a datagram.
    fn listable(&mut self, slot: u32, members: &[roomwire_hub::Member]) -> usize {
        /// What a member's object takes besides its name, which escaping at most sextuples.
        const MEMBER_BYTES: usize = 48;
        /// What the answer takes besides the members.
        const ANSWER_BYTES: usize = 200;
        if self
            .session(slot)
            .is_none_or(|session| session.framing != Framing::Datagram)
        {
            return members.len();
        }
        let mut room = self
            .shared
            .bounds
            .max_udp_datagram
            .saturating_sub(ANSWER_BYTES);
        let fits = members.iter().take_while(|member| {
            let bytes = MEMBER_BYTES + member.name.as_ref().map_or(0, |name| 6 * name.len());
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        fits.count()
    }

    fn history(
        &mut self,
        slot: u32,
        id: Option<u64>,
        room: &str,
        limit: Option<u64>,
        since: Option<roomwire_hub::Position>,
    ) -> Result<(), Refusal> {
        must_be_room(room)?;
        let max = self.shared.bounds.max_history_page;
        let limit = limit.map_or(max, |limit| usize::try_from(limit).unwrap_or(max).min(max));
        let page = self.shared.hub.history(room, since, limit, self.now_ms);
        let Some(page) = page else {
            return Err(Refusal::unknown_room());
        };
        let mut budget = self.shared.bounds.outbox_half_bytes;
        if self
            .session(slot)
            .is_some_and(|session| session.framing == Framing::Datagram)
        {
            budget = self.shared.bounds.max_udp_datagram;
        }
        // With `since` the oldest come first and the client asks on; without, the newest matter.
        let messages = fitting(&page.messages, room, budget, since.is_none());
        self.answer(slot, id, |out, id| {
            let views = messages
                .iter()
                .map(|stored| stored.message.view(room, stored.offset));
            event::history(out, id, room, &page.epoch, views);
        });
        Ok(())
    }

    fn members(&mut self, slot: u32, id: Option<u64>, room: &str) -> Result<(), Refusal> {
        must_be_room(room)?;
        let max = self.shared.bounds.max_members_listed;
        let page = self.seats.members(slot, room, max);
        let page = page.ok_or_else(Refusal::unknown_room)?;
        let listed = self.listable(slot, &page.members);
        let members: Vec<_> = page.members.iter().take(listed).map(Listed::new).collect();
        self.answer(slot, id, |out, id| {
            event::members(
                out,
                id,
                room,
                members.iter().map(Listed::view),
                page.total as u64,
            );
        });
        Ok(())
    }

    fn request(
        &mut self,
        slot: u32,
        id: Option<u64>,
        room: &str,
        data: &[u8],
        mode: Mode,
        timeout_ms: Option<u64>,
    ) -> Result<(), Refusal> {
        must_be_room(room)?;
        let bounds = &self.shared.bounds;
        let timeout_ms = timeout_ms
            .unwrap_or(bounds.request_timeout_ms)
            .min(bounds.max_request_timeout_ms);
        let new = NewRequest {
            id,
            room,
            data,
            mode,
            timeout_ms,
        };
        self.ask(slot, &new)
    }

    fn reply(
        &mut self,
        slot: u32,
        id: Option<u64>,
        request: &str,
        data: &[u8],
        error: Option<&str>,
    ) -> Result<(), Refusal> {
        let unknown = Refusal::unknown_request;
        if error.is_some_and(|error| error.len() > MAX_REPLY_ERROR_BYTES) {
            let text = format!("`error` has at most {MAX_REPLY_ERROR_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::BadField, text));
        }
        let request = RequestId::parse(request).ok_or_else(unknown)?;
        if request.worker >= self.shared.workers {
            return Err(unknown());
        }
        let Some(session) = self.session(slot) else {
            return Ok(());
        };
        let reply = Reply {
            id,
            request,
            client: session.id,
            from: session.from(),
            data: data.into(),
            error: error.map(Arc::from),
        };
        let worker = roomwire_hub::WorkerId(request.worker);
        self.shared
            .hub
            .send(worker, Control::Reply(reply))
            .map_err(|_| Refusal::overloaded())
    }
}

/// A member with its id in text.
struct Listed<'a> {
    client: String,
    name: Option<&'a str>,
}

impl<'a> Listed<'a> {
    fn new(member: &'a roomwire_hub::Member) -> Self {
        let client = ClientId::from_member(member.id).to_string();
        Self {
            client,
            name: member.name.as_deref(),
        }
    }

    fn view(&self) -> MemberView<'_> {
        MemberView {
            client: &self.client,
            name: self.name,
        }
    }
}

type StoredMessage = roomwire_hub::Stored<Arc<crate::message::Message>>;

/// The messages that fit into `budget` bytes together, in their order: the newest, or the oldest.
/// One that is larger than the budget by itself is left out and does not end the search.
fn fitting<'m>(
    messages: &'m [StoredMessage],
    room: &str,
    budget: usize,
    newest: bool,
) -> Vec<&'m StoredMessage> {
    let mut left = budget;
    let mut fits = |stored: &&StoredMessage| {
        let cost = stored.message.wire_cost(room);
        if cost > left && cost <= budget {
            // The list ends here, so that it has no holes but for what can never be listed.
            left = 0;
        }
        let fits = cost <= left;
        left -= if fits { cost } else { 0 };
        fits
    };
    if newest {
        let mut chosen: Vec<_> = messages.iter().rev().filter(&mut fits).collect();
        chosen.reverse();
        chosen
    } else {
        messages.iter().filter(&mut fits).collect()
    }
}

fn must_be_room(room: &str) -> Result<(), Refusal> {
    if room::check(room) == Ok(Subject::Pattern) {
        Err(Refusal::pattern())
    } else {
        Ok(())
    }
}

/// What counts a refusal with this code.
pub(crate) fn counter_of(code: ErrorCode) -> Id {
    match code {
        ErrorCode::BadJson | ErrorCode::BadUtf8 => Id::ErrorsJson,
        ErrorCode::BadField => Id::ErrorsField,
        ErrorCode::UnknownType => Id::ErrorsType,
        ErrorCode::InvalidRoom | ErrorCode::PatternNotAllowed => Id::ErrorsRoom,
        ErrorCode::InvalidName => Id::ErrorsName,
        ErrorCode::TooLarge | ErrorCode::LineTooLong => Id::ErrorsTooLarge,
        ErrorCode::TooManyRooms => Id::ErrorsRooms,
        ErrorCode::BinaryNotSupported => Id::ErrorsBinary,
        _ => Id::ErrorsOther,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn check(sizes: &[usize], budget: usize, newest: bool, expected: &[u64]) {
        let message = |bytes| Message::new(Arc::from(""), 0, 0, &vec![b'1'; bytes]);
        let overhead = message(0).wire_cost("");
        let stored = |(index, &bytes): (usize, &usize)| roomwire_hub::Stored {
            offset: index as u64,
            message: message(bytes - overhead),
        };
        let messages: Vec<_> = sizes.iter().enumerate().map(stored).collect();
        let chosen = fitting(&messages, "", budget, newest);
        let offsets: Vec<_> = chosen.iter().map(|stored| stored.offset).collect();
        assert_eq!(offsets, expected, "{sizes:?} in {budget}");
    }

    #[test]
    fn a_history_answer_has_the_messages_that_fit_without_holes() {
        check(&[2000, 2000, 2000], 10000, true, &[0, 1, 2]);
        check(&[2000, 2000, 2000], 4500, true, &[1, 2]);
        check(&[2000, 2000, 2000], 4500, false, &[0, 1]);
        check(&[1000, 3000, 2000], 3500, true, &[2]);
    }

    #[test]
    fn a_message_too_large_for_any_answer_hides_no_other() {
        check(&[2000, 50000], 10000, true, &[0]);
        check(&[2000, 50000, 2000], 10000, false, &[0, 2]);
    }
}
