//! Which of one peer's datagrams are on their way, and what became of the others.
//!
//! Every datagram has a number. What is on its way is one bit for each of the last [`WINDOW`] numbers;
//! a bit that is still set when its number comes round again was a datagram that got lost.

/// Numbers that are told apart; at 10,000 datagrams a second of one peer, six seconds.
const WINDOW: u32 = 1 << 16;

/// What became of a datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    InOrder,
    /// One that was sent after it came before it.
    Late,
    /// It had come already, or was given up.
    Again,
}

/// The account of one peer.
#[derive(Debug)]
pub(super) struct Tally {
    away: Box<[u64]>,
    /// The next number.
    next: u32,
    /// The number after the highest that came.
    expected: u32,
    /// How many are on their way.
    in_flight: u32,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            away: vec![0; WINDOW as usize / 64].into_boxed_slice(),
            next: 0,
            expected: 0,
            in_flight: 0,
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The number of a datagram that is about to be sent; and whether the one that had its place is
    /// lost.
    pub(super) fn send(&mut self) -> (u32, bool) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let lost = self.take(number);
        let (word, bit) = place(number);
        if let Some(word) = self.away.get_mut(word) {
            *word |= bit;
        }
        self.in_flight += 1;
        (number, lost)
    }

    /// The one with this number was not sent after all.
    pub(super) fn unsend(&mut self, number: u32) {
        self.take(number);
    }

    pub(super) fn receive(&mut self, number: u32) -> Came {
        let age = self.next.wrapping_sub(number);
        if age == 0 || age > WINDOW || !self.take(number) {
            return Came::Again;
        }
        // Ahead by less than half of all numbers: not behind.
        if number.wrapping_sub(self.expected) <= u32::MAX / 2 {
            self.expected = number.wrapping_add(1);
            Came::InOrder
        } else {
            Came::Late
        }
    }

    /// Gives up what is on its way, and tells how many that were.
    pub(super) fn give_up(&mut self) -> u32 {
        self.away.fill(0);
        std::mem::take(&mut self.in_flight)
    }

    fn take(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        let Some(word) = self.away.get_mut(word) else {
            return false;
        };
        let was_away = *word & bit != 0;
        *word &= !bit;
        self.in_flight -= u32::from(was_away);
        was_away
    }
}

fn place(number: u32) -> (usize, u64) {
    let place = number % WINDOW;
    ((place / 64) as usize, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_in_order_late_or_there_already() {
        let mut tally = Tally::new();
        for number in 0..4 {
            assert_eq!(tally.send(), (number, false));
        }
        assert_eq!(tally.receive(0), Came::InOrder);
        assert_eq!(tally.receive(2), Came::InOrder);
        assert_eq!(tally.receive(1), Came::Late);
        assert_eq!(tally.receive(1), Came::Again);
        assert_eq!(tally.receive(7), Came::Again);
        assert_eq!(tally.in_flight(), 1);
        assert_eq!(tally.give_up(), 1);
        assert_eq!(tally.receive(3), Came::Again);
    }

    #[test]
    fn a_number_that_comes_round_finds_out_what_was_lost() {
        let mut tally = Tally::new();
        for number in 0..WINDOW {
            assert_eq!(tally.send(), (number, false));
        }
        for number in 1..WINDOW {
            assert_eq!(tally.receive(number), Came::InOrder);
        }
        assert_eq!(tally.send(), (WINDOW, true));
        assert_eq!(tally.in_flight(), 1);
        tally.unsend(WINDOW);
        assert_eq!(tally.in_flight(), 0);
    }
}
