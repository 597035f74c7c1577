//! Commands that are not answered yet, in the order in which they were given.
//!
//! A connection that breaks leaves open which of them the gateway obeyed. All are sent again on the
//! next one; publishes carry a key, so none is obeyed twice. Bounded in number and in bytes.

use std::collections::VecDeque;

use super::command::Command;

/// Enough to keep a fast link busy; at 64 KiB a message the byte bound comes first.
pub(super) const MAX_COMMANDS: usize = 256;
/// 64 messages of the largest size that a gateway accepts by default.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pending {
    commands: VecDeque<(u64, Command)>,
    /// The sum of the commands' weights.
    bytes: usize,
}

impl Pending {
    /// Whether one more command may come. A single one may exceed the bytes.
    pub(super) fn has_room(&self) -> bool {
        self.commands.len() < MAX_COMMANDS && self.bytes < MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn push(&mut self, id: u64, command: Command) {
        self.bytes += command.weight();
        self.commands.push_back((id, command));
    }

    /// The command that `id` answers is done.
    pub(super) fn take(&mut self, id: u64) -> Option<Command> {
        let at = self.commands.iter().position(|(known, _)| *known == id)?;
        let (_, command) = self.commands.remove(at)?;
        self.bytes -= command.weight();
        Some(command)
    }

    /// The number of an unanswered join of `room`, which is then no longer here.
    pub(super) fn take_join(&mut self, room: &str) -> Option<u64> {
        let joins =
            |command: &Command| matches!(command, Command::Join { room: r, .. } if r == room);
        let (id, _) = self.commands.iter().find(|(_, command)| joins(command))?;
        let id = *id;
        self.take(id).map(|_| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Command)> {
        self.commands.iter().map(|(id, command)| (*id, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_may_come_in_any_order_and_give_the_room_back() {
        let mut pending = Pending::default();
        for id in 0..MAX_COMMANDS {
            assert!(pending.has_room());
            pending.push(id as u64, Command::Ping);
        }
        assert!(!pending.has_room());
        assert!(pending.take(7).is_some());
        assert!(pending.take(7).is_none());
        assert!(pending.has_room());
        let ids: Vec<_> = pending.iter().map(|(id, _)| id).take(8).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 8]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut pending = Pending::default();
        let room = "r".repeat(MAX_BYTES);
        pending.push(1, Command::Members { room });
        assert!(!pending.has_room());
        pending.take(1);
        assert!(pending.has_room());
        assert_eq!(pending.bytes, 0);
        assert!(pending.is_empty());
    }

    #[test]
    fn an_unanswered_join_is_found_by_its_room() {
        let mut pending = Pending::default();
        pending.push(1, Command::join("a"));
        pending.push(2, Command::join("b"));
        assert_eq!(pending.take_join("b"), Some(2));
        assert_eq!(pending.take_join("b"), None);
    }
}
