//! A person on TCP: plain lines in, plain lines out.

use std::sync::Arc;

use roomwire_metrics::Id;
use roomwire_protocols::chat::{self, ChatError, ChatLine};
use roomwire_protocols::room;

use super::{ClientId, CloseReason, Refusal};
use crate::worker::Core;
use roomwire_protocols::code::ErrorCode;

/// Members named in answer to `/who`; the rest are counted.
const WHO_LISTED: usize = 50;

impl Core {
    /// Carries out one line. `current` is where plain text goes: the room joined last.
    pub(crate) fn chat_line(&mut self, slot: u32, current: &mut Option<Arc<str>>, input: &[u8]) {
        self.lane.increment(Id::ChatLinesIn);
        self.emit_message(slot, input);
        let parsed = chat::parse(input);
        let done = match parsed {
            Err(ChatError::NotUtf8) => Err(Refusal::new(
                ErrorCode::BadUtf8,
                "that line is not UTF-8; it was not sent",
            )),
            Ok(ChatLine::Empty) => Ok(()),
            Ok(ChatLine::Help) => {
                self.say_plain(slot, chat::HELP);
                Ok(())
            }
            Ok(ChatLine::Quit) => {
                self.notice(slot, "goodbye");
                self.closed_by_peer(slot, CloseReason::Closed);
                Ok(())
            }
            Ok(ChatLine::Nick(name)) => self.rename(slot, name).map(|()| {
                self.notice(slot, &format!("you are {name} now"));
            }),
            Ok(ChatLine::Join(room)) => self.chat_join(slot, current, room),
            Ok(ChatLine::Leave) => self.chat_leave(slot, current),
            Ok(ChatLine::Who) => self.who(slot, current.as_deref()),
            Ok(ChatLine::Unknown(word)) => Err(Refusal::new(
                ErrorCode::UnknownType,
                format!("{word} is not a command; /help lists them"),
            )),
            Ok(ChatLine::Text(text)) => self.chat_text(slot, current.as_deref(), text),
        };
        if let Err(refusal) = done {
            self.lane
                .increment(super::command::counter_of(refusal.code));
            self.notice(slot, &refusal.text);
        }
    }

    fn chat_join(
        &mut self,
        slot: u32,
        current: &mut Option<Arc<str>>,
        subject: &str,
    ) -> Result<(), Refusal> {
        room::check(subject)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRoom, error.to_string()))?;
        let (joined, _) = self.join_room(slot, subject, None, true)?;
        if joined.pattern {
            self.notice(slot, &format!("you hear every room that {subject} matches"));
            return Ok(());
        }
        *current = Some(Arc::clone(&joined.subject));
        let members = self
            .shared
            .hub
            .members(subject, 0)
            .map_or(1, |page| page.total);
        let others = match members.saturating_sub(1) {
            0 => "nobody else is here yet".to_owned(),
            1 => "one other is here".to_owned(),
            others => format!("{others} others are here"),
        };
        self.notice(slot, &format!("you are in {subject}; {others}"));
        Ok(())
    }

    fn chat_leave(&mut self, slot: u32, current: &mut Option<Arc<str>>) -> Result<(), Refusal> {
        let room = current.take().ok_or_else(in_no_room)?;
        self.leave_room(slot, &room)?;
        *current = self
            .seats
            .subjects(slot)
            .filter(|subject| room::check(subject) == Ok(room::Subject::Room))
            .last()
            .map(Arc::from);
        self.notice(slot, &format!("you left {room}"));
        if let Some(next) = current {
            self.notice(slot, &format!("what you write goes to {next}"));
        }
        Ok(())
    }

    fn who(&mut self, slot: u32, current: Option<&str>) -> Result<(), Refusal> {
        let room = current.ok_or_else(in_no_room)?;
        let page = self
            .shared
            .hub
            .members(room, WHO_LISTED)
            .unwrap_or_default();
        let names: Vec<String> = page
            .members
            .iter()
            .map(|member| match &member.name {
                Some(name) => name.to_string(),
                None => ClientId::from_member(member.id).to_string(),
            })
            .collect();
        let more = page.total.saturating_sub(names.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        self.notice(slot, &format!("in {room}: {}{more}", names.join(", ")));
        Ok(())
    }

    fn chat_text(&mut self, slot: u32, current: Option<&str>, text: &str) -> Result<(), Refusal> {
        let room = current.ok_or_else(in_no_room)?;
        let mut data = Vec::with_capacity(text.len() + 2);
        chat::json_string(&mut data, text);
        self.publish_as(slot, room, &data, false, None).map(|_| ())
    }
}

fn in_no_room() -> Refusal {
    Refusal::new(
        ErrorCode::NotAMember,
        "you are in no room: /join ROOM first, /help helps",
    )
}
