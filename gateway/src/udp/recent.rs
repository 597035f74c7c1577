//! Commands that a UDP peer sends again because the answer got lost: they are answered again, and not
//! obeyed again.
//!
//! A repetition is the same datagram with the same `id`. An `id` that comes with another command is a
//! new command, which takes the older one's place. Commands that change nothing are not remembered:
//! carrying them out again gives the better answer.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use roomwire_metrics::Id;
use roomwire_protocols::command::Command;

use crate::session::Io;
use crate::worker::Core;

/// The commands of one session that were answered last, and their answers.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// Of the whole datagram.
    hash: u64,
    /// Empty while the command is being carried out.
    answer: Box<[u8]>,
}

/// What is known of a command that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen<'a> {
    New,
    /// It was obeyed; the answer is still to come.
    Pending,
    Answered(&'a [u8]),
}

impl Recent {
    /// Looks a command up, and remembers it where it is new. At most `max` are kept; the oldest goes.
    fn look(&mut self, id: u64, hash: u64, max: usize) -> Seen<'_> {
        if let Some(at) = self.entries.iter().position(|entry| entry.id == id) {
            if self.entries.get(at).is_some_and(|it| it.hash == hash) {
                let answer = self.entries.get(at).map_or(&[][..], |it| &it.answer);
                return if answer.is_empty() {
                    Seen::Pending
                } else {
                    Seen::Answered(answer)
                };
            }
            self.entries.remove(at);
        }
        while self.entries.len() >= max {
            if self.entries.pop_front().is_none() {
                return Seen::New;
            }
        }
        self.entries.push_back(Entry {
            id,
            hash,
            answer: Box::default(),
        });
        Seen::New
    }

    fn answered(&mut self, id: u64, answer: &[u8]) {
        let mut entries = self.entries.iter_mut().rev();
        if let Some(entry) = entries.find(|entry| entry.id == id) {
            entry.answer = answer.into();
        }
    }

    fn forget(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// The command under way was not obeyed, and may be sent again to be.
    pub(super) fn forget_last(&mut self, id: Option<u64>) {
        if let Some(id) = id {
            self.forget(id);
        }
    }
}

impl Core {
    /// Whether a command is the repetition of one that was obeyed, and has been dealt with. Remembers
    /// it otherwise.
    pub(crate) fn is_repetition(
        &mut self,
        slot: u32,
        id: u64,
        command: &Command<'_>,
        datagram: &[u8],
    ) -> bool {
        let max = self.shared.bounds.max_udp_answers;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return false;
        };
        let Io::Datagram(peer) = &mut session.io else {
            return false;
        };
        if max == 0 || !has_effect(command) {
            peer.recent.forget(id);
            return false;
        }
        let answer = match peer.recent.look(id, hash(datagram), max) {
            Seen::New => return false,
            Seen::Pending => None,
            Seen::Answered(answer) => Some(answer.to_vec()),
        };
        self.lane.increment(Id::UdpRepeated);
        if let Some(answer) = answer {
            self.send(slot, |out| out.extend_from_slice(&answer));
        }
        true
    }

    /// Keeps the answer to a command for when it comes again.
    pub(crate) fn remember_answer(&mut self, slot: u32, id: Option<u64>, answer: &[u8]) {
        if let Some(id) = id
            && let Some(session) = self.sessions.get_mut(slot as usize)
            && let Io::Datagram(peer) = &mut session.io
        {
            peer.recent.answered(id, answer);
        }
    }

    /// A command was not obeyed and may be sent again to be.
    pub(crate) fn forget_command(&mut self, slot: u32, id: Option<u64>) {
        if let Some(id) = id
            && let Some(session) = self.sessions.get_mut(slot as usize)
            && let Io::Datagram(peer) = &mut session.io
        {
            peer.recent.forget(id);
        }
    }
}

/// Whether obeying a command twice differs from obeying it once.
fn has_effect(command: &Command<'_>) -> bool {
    match command {
        Command::Join { .. }
        | Command::Leave { .. }
        | Command::Publish { .. }
        | Command::Request { .. } => true,
        // A member's second reply counts for nothing anyway.
        Command::Reply { .. }
        | Command::Hello { .. }
        | Command::History { .. }
        | Command::Members { .. }
        | Command::Ping => false,
    }
}

/// With a key of this process, so that nobody can make two commands that look alike.
fn hash(datagram: &[u8]) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_known_and_another_command_of_its_number_is_new() {
        let mut recent = Recent::default();
        assert_eq!(recent.look(1, 10, 2), Seen::New);
        assert_eq!(recent.look(1, 10, 2), Seen::Pending);
        recent.answered(1, b"done");
        assert_eq!(recent.look(1, 10, 2), Seen::Answered(b"done"));
        assert_eq!(recent.look(1, 11, 2), Seen::New);
        assert_eq!(recent.look(1, 10, 2), Seen::New);
    }

    #[test]
    fn of_more_than_may_be_kept_the_oldest_is_forgotten() {
        let mut recent = Recent::default();
        for id in 1..=3 {
            assert_eq!(recent.look(id, 0, 2), Seen::New);
            recent.answered(id, b"done");
        }
        assert_eq!(recent.look(2, 0, 2), Seen::Answered(b"done"));
        assert_eq!(recent.look(1, 0, 2), Seen::New);
        recent.forget(1);
        assert_eq!(recent.look(1, 0, 2), Seen::New);
    }
}
