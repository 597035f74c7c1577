//! Figures that are kept apart for parts of a gateway: per listener, per pattern of rooms, and for
//! the busiest rooms.
//!
//! A block is a labelled group of slots; a page has a fixed number of them, so labels cannot grow
//! it. What finds no block of its own is counted in the one for all others. The rows here are to
//! blocks what `table.rs` is to lanes. Where blocks lie is `layout`'s business.

use std::fmt::Write as _;

use super::{Kind, Level, Unit, equal, is_one_line, name_problem};

/// Slots that each worker has in a block.
pub(crate) const BLOCK_SLOTS: usize = 16;

/// What a block is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockKind {
    /// A listener; the label is its name.
    Listener,
    /// The rooms that one pattern of `rooms.pattern` matches; the label is the pattern.
    Rooms,
    /// One of the busiest rooms; the label is its name, which changes as others become busier.
    Room,
}

impl BlockKind {
    pub(crate) const ALL: [Self; 3] = [Self::Listener, Self::Rooms, Self::Room];

    /// The word that stands for it in the page, in JSON and as Prometheus' label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Rooms => "rooms",
            Self::Room => "room",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The number that stands for it in a block's header; 0 is a block that nobody uses.
    pub(crate) const fn to_word(self) -> u64 {
        match self {
            Self::Listener => 1,
            Self::Rooms => 2,
            Self::Room => 3,
        }
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_word() == word)
    }
}

/// One figure of a kind of blocks.
#[derive(Clone, Copy, Debug)]
pub struct BlockMetric {
    /// The name in code.
    pub id: BlockId,
    /// Which blocks have it.
    pub block: BlockKind,
    /// The name for people and machines, unique among all figures.
    pub name: &'static str,
    /// How it behaves; never a histogram.
    pub kind: Kind,
    /// What is counted.
    pub unit: Unit,
    /// What it means, then what to do when it moves. One line.
    pub help: &'static str,
    /// Its slot in a worker's part of the block.
    pub(crate) slot: usize,
}

macro_rules! block_catalogue {
    ($($block:ident $kind:ident $id:ident $name:literal $unit:ident $help:literal;)+) => {
        /// Names a figure of a block in code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum BlockId {
            $(#[doc = concat!("`", $name, "`: ", $help)] $id,)+
        }

        const ROWS: [BlockMetric; [$($name),+].len()] = assign_slots([
            $(BlockMetric {
                id: BlockId::$id,
                block: BlockKind::$block,
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: $help,
                slot: 0,
            },)+
        ]);
    };
}

block_catalogue! {
    Listener Gauge ListenerSessions "listener_sessions" Sessions
        "Sessions of this listener that are open now; WebSockets count where their HTTP connection came in.";
    Listener Counter ListenerOpened "listener_sessions_opened_total" Sessions
        "Sessions begun on this listener.";
    Listener Counter ListenerClosed "listener_sessions_closed_total" Sessions
        "Sessions of this listener that ended.";
    Listener Counter ListenerAccepted "listener_accepted_total" Connections
        "TCP connections that this listener accepted.";
    Listener Counter ListenerRefused "listener_refused_total" Connections
        "Connections that this listener closed at once because max_connections was reached, and datagrams of addresses it took no session for.";
    Listener Counter ListenerBytesIn "listener_bytes_in_total" Bytes
        "Bytes received from sessions of this listener, datagrams included and HTTP bodies left out.";
    Listener Counter ListenerBytesOut "listener_bytes_out_total" Bytes
        "Bytes sent to sessions of this listener, datagrams included and HTTP bodies left out.";
    Listener Counter ListenerFramesOut "listener_frames_out_total" Frames
        "Frames, lines, events and datagrams that left this listener whole.";
    Listener Counter ListenerFaults "listener_sessions_failed_total" Sessions
        "Sessions of this listener that did not end by the peer's or the operator's will; the session_close_… counters say why.";
    Listener Counter ListenerRequests "listener_http_requests_total" Requests
        "HTTP requests to this listener.";
    Rooms Counter RoomsPublishes "rooms_publishes_total" Messages
        "Messages fanned out in these rooms; one message counts once for each worker that has members.";
    Rooms Counter RoomsBytes "rooms_publish_bytes_total" Bytes
        "Bytes of data in those messages.";
    Rooms Counter RoomsDeliveries "rooms_deliveries_total" Deliveries
        "Messages of these rooms put into sessions' outboxes.";
    Room Gauge RoomRate "room_messages_per_1000_s" Messages
        "Messages in a thousand seconds, at the rate of the last look.";
    Room Gauge RoomOffset "room_offset" Messages
        "Messages published in this life of the room.";
    Room Gauge RoomMembers "room_members" Members
        "Members of the room.";
    Room Gauge RoomWatchers "room_watchers" Members
        "Event streams and long polls that hear the room without being listed.";
    Room Gauge RoomHistoryMessages "room_history_messages" Messages
        "Messages that the room's history holds.";
    Room Gauge RoomHistoryBytes "room_history_bytes" Bytes
        "What they take.";
}

/// Every figure that blocks have, in the order of the table.
pub const BLOCK_CATALOGUE: &[BlockMetric] = &ROWS;

impl BlockId {
    /// The row of this figure.
    #[inline]
    pub const fn metric(self) -> &'static BlockMetric {
        const TABLE: &[BlockMetric] = &ROWS;
        &TABLE[self as usize]
    }

    #[inline]
    pub(crate) const fn slot(self) -> usize {
        self.metric().slot
    }
}

const fn assign_slots<const N: usize>(mut rows: [BlockMetric; N]) -> [BlockMetric; N] {
    let mut next = [0; BlockKind::ALL.len()];
    let mut i = 0;
    while i < N {
        let kind = rows[i].block as usize;
        rows[i].slot = next[kind];
        next[kind] += 1;
        assert!(next[kind] <= BLOCK_SLOTS, "too many figures for a block");
        i += 1;
    }
    rows
}

const _: () = check(&ROWS);

#[allow(clippy::panic, reason = "it stops the compiler, never the program")]
const fn check(rows: &[BlockMetric]) {
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        if let Some(problem) = name_problem(row.name, row.kind) {
            panic!("{}", problem);
        }
        assert!(
            is_one_line(row.help),
            "a figure's help is empty or has control characters"
        );
        assert!(
            !matches!(row.kind, Kind::Histogram),
            "a block has no room for histograms"
        );
        let mut other = 0;
        while other < i {
            assert!(
                !equal(row.name, rows[other].name),
                "two figures have the same name"
            );
            other += 1;
        }
        other = 0;
        while other < super::CATALOGUE.len() {
            assert!(
                !equal(row.name, super::CATALOGUE[other].name),
                "a metric has this name"
            );
            other += 1;
        }
        i += 1;
    }
}

/// The blocks' catalogue as the page carries it: one line per figure with the tab-separated columns
/// kind of block, name, kind, unit, level, slot, help.
pub fn block_text() -> String {
    let mut out = String::new();
    for BlockMetric {
        block,
        name,
        kind,
        unit,
        help,
        slot,
        ..
    } in BLOCK_CATALOGUE
    {
        let (block, kind, unit) = (block.as_str(), kind.as_str(), unit.as_str());
        let level = Level::Info.as_str();
        writeln!(
            out,
            "{block}\t{name}\t{kind}\t{unit}\t{level}\t{slot}\t{help}"
        )
        .expect("a String takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_one_kind_of_block_do_not_share_slots() {
        let mut taken = std::collections::BTreeSet::new();
        for metric in BLOCK_CATALOGUE {
            assert_eq!(metric.id.metric().name, metric.name);
            assert!(metric.slot < BLOCK_SLOTS, "{}", metric.name);
            assert!(taken.insert((metric.block, metric.slot)), "{}", metric.name);
        }
    }

    #[test]
    fn words_of_blocks_are_read_back() {
        for kind in BlockKind::ALL {
            assert_eq!(BlockKind::parse(kind.as_str()), Some(kind));
            assert_eq!(BlockKind::from_word(kind.to_word()), Some(kind));
        }
        assert_eq!(BlockKind::from_word(0), None, "a block that nobody uses");
    }
}
