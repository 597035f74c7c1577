//! Puts the history that was asked for at the beginning before the live messages.
//!
//! The join comes first, so that nothing falls between; what arrives live until the history is there
//! is held back, and what is in both is shown once. Bounded: too much live traffic ends the waiting.

use std::collections::VecDeque;

use crate::client::Message;

/// Live messages kept back at most. Chosen: a busy second of a large room.
const MAX_HELD: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The number of the history command that is not answered.
    awaited: Option<u64>,
    held: VecDeque<Message>,
    /// The last offset of the history; live messages up to it have been shown. None once a later
    /// one has come.
    shown: Option<u64>,
}

impl Backlog {
    /// From now on live messages wait for the answer to `id`.
    pub(super) fn await_history(&mut self, id: u64) {
        self.awaited = Some(id);
    }

    /// A live message has come. Returns what is to be shown now.
    pub(super) fn on_live(&mut self, message: Message) -> Vec<Message> {
        if self.awaited.is_some() {
            self.held.push_back(message);
            return if self.held.len() > MAX_HELD {
                self.give_up()
            } else {
                Vec::new()
            };
        }
        if self.shown.is_some_and(|shown| message.offset <= shown) {
            return Vec::new();
        }
        self.shown = None;
        vec![message]
    }

    /// A history has come. Returns what is to be shown now.
    pub(super) fn on_history(&mut self, id: Option<u64>, history: Vec<Message>) -> Vec<Message> {
        if self.awaited.is_none() || self.awaited != id {
            return history;
        }
        self.awaited = None;
        self.shown = history.last().map(|message| message.offset);
        let held = std::mem::take(&mut self.held);
        let mut due = history;
        due.extend(held.into_iter().flat_map(|message| self.on_live(message)));
        due
    }

    /// A command has failed. Returns what was held back for it.
    pub(super) fn on_error(&mut self, id: Option<u64>) -> Vec<Message> {
        if self.awaited.is_some() && self.awaited == id {
            self.give_up()
        } else {
            Vec::new()
        }
    }

    /// The room's offsets have begun anew.
    pub(super) fn forget(&mut self) {
        self.shown = None;
    }

    fn give_up(&mut self) -> Vec<Message> {
        self.awaited = None;
        std::mem::take(&mut self.held).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::json_string;

    fn message(offset: u64) -> Message {
        Message {
            room: "a".to_owned(),
            offset,
            from: "b".to_owned(),
            time_ms: 0,
            data: json_string("x"),
            epoch: None,
        }
    }

    fn check(shown: &[Message], expected: &[u64]) {
        let offsets: Vec<_> = shown.iter().map(|message| message.offset).collect();
        assert_eq!(offsets, expected);
    }

    #[test]
    fn history_comes_first_and_nothing_is_shown_twice() {
        let mut backlog = Backlog::default();
        backlog.await_history(1);
        check(&backlog.on_live(message(4)), &[]);
        check(&backlog.on_live(message(6)), &[]);
        let history = vec![message(3), message(4), message(5)];
        check(&backlog.on_history(Some(1), history), &[3, 4, 5, 6]);
        check(&backlog.on_live(message(7)), &[7]);
    }

    #[test]
    fn a_live_message_that_the_history_overtook_is_not_shown_again() {
        let mut backlog = Backlog::default();
        backlog.await_history(1);
        check(&backlog.on_history(Some(1), vec![message(5)]), &[5]);
        check(&backlog.on_live(message(5)), &[]);
        check(&backlog.on_live(message(6)), &[6]);
    }

    #[test]
    fn a_new_life_of_the_room_is_shown_from_its_beginning() {
        let mut backlog = Backlog::default();
        backlog.await_history(1);
        check(&backlog.on_history(Some(1), vec![message(5)]), &[5]);
        backlog.forget();
        check(&backlog.on_live(message(1)), &[1]);
    }

    #[test]
    fn without_an_answer_what_was_held_is_shown_at_last() {
        let mut backlog = Backlog::default();
        backlog.await_history(1);
        check(&backlog.on_live(message(1)), &[]);
        check(&backlog.on_error(Some(9)), &[]);
        check(&backlog.on_error(Some(1)), &[1]);
        check(&backlog.on_live(message(2)), &[2]);

        backlog.await_history(2);
        let shown: usize = (0..=MAX_HELD as u64)
            .map(|offset| backlog.on_live(message(offset)).len())
            .sum();
        assert_eq!(shown, MAX_HELD + 1);
    }

    #[test]
    fn a_history_asked_for_later_is_shown_as_it_is() {
        let mut backlog = Backlog::default();
        check(
            &backlog.on_history(Some(3), vec![message(1), message(2)]),
            &[1, 2],
        );
        check(&backlog.on_live(message(2)), &[2]);
    }
}
