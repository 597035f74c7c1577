//! What lies where in a page, version 1.
//!
//! A page is an array of 64-bit words in the byte order of the machine; every word is written and
//! read as a whole. Offsets below are bytes from the page's start. `docs/counter-page.md` says the
//! same at length; a test holds these numbers fast.
//!
//! ```text
//!   0  magic "roomwire"       88  lanes: slots             176  figures counted since, ms
//!   8  layout version, 1      96  lane header length, 128  184  blocks' catalogue: offset
//!  16  header length, 512    104  histogram: sub bits, 5   192  blocks' catalogue: length
//!  24  page length           112  histogram: exponent, 36  200  blocks' catalogue: lines
//!  32  catalogue hash        120  reserved space: offset   208  blocks' catalogue: hash
//!  40  catalogue: offset     128  reserved space: length   216  block header length, 384
//!  48  catalogue: length     136  blocks: offset, 0 = none 224  block slots, 16
//!  56  catalogue: lines      144  blocks: number           256  heartbeat, ms since 1970
//!  64  lanes: offset         152  blocks: stride           264  phase
//!  72  lanes: number         160  process id               272  ready
//!  80  lanes: stride         168  start, ms since 1970
//! 384  instance, 64 bytes, NUL-padded UTF-8                448  version, likewise
//! 512  catalogue text, then the blocks' one, each with zeros to the next multiple of 128
//!  …   lanes: one per worker, then one that all threads share; stride is a multiple of 128:
//!        0  role, 1 = worker, 2 = shared     8  worker's number    16  publications
//!      128  slots of 8 bytes, numbered as the catalogue says
//!  …   blocks, stride is a multiple of 128:
//!        0  kind, 0 = free    8  1 = for all others    16  version, odd while it is changed
//!       64  label, 256 bytes, NUL-padded UTF-8
//!      384  slots of the first lane's worker, of the second's, …
//!  …   reserved space: 4096 bytes, zero
//! ```
//!
//! A histogram's slots: count, sum, largest value, five unused, then 1,024 buckets. A gauge's slot
//! is a signed difference, two's complement.
//!
//! Room to grow without a new layout version: unused words are 0 and ignored; further columns may
//! follow in a line of a catalogue; kinds of blocks that a reader does not know are passed over.

use crate::catalogue::{
    self, BLOCK_CATALOGUE, BLOCK_SLOTS, BlockKind, CATALOGUE, CATALOGUE_HASH, LANE_SLOTS,
};
use crate::histogram;
use crate::words::{LANE_ALIGN, View, WORD};

pub(crate) const MAGIC: [u8; 8] = *b"roomwire";
pub(crate) const LAYOUT_VERSION: u64 = 1;
pub(crate) const HEADER_BYTES: usize = 512;
pub(crate) const LANE_HEADER_BYTES: usize = LANE_ALIGN;
pub(crate) const RESERVED_BYTES: usize = 4096;
/// Of an instance's name or a version, with the NUL that ends it.
pub(crate) const NAME_BYTES: usize = 64;

/// Chosen: 1,024 lanes of thirty histograms each. Larger pages are not ours, and a reader must not
/// be made to map whatever it is shown.
pub(crate) const MAX_PAGE_BYTES: usize = 256 << 20;
/// Of workers and the shared one.
pub(crate) const MAX_LANES: usize = 1025;
/// Chosen: ten times what a large gateway has.
pub(crate) const MAX_ROWS: usize = 4096;
/// Chosen: longer names fit no table.
pub(crate) const MAX_NAME_BYTES: usize = 96;

/// Listeners, and patterns of rooms, that have a block of their own; one more is for all others.
/// Chosen: more than a gateway is given, and what Prometheus and a screen take without harm.
pub(crate) const LISTENER_BLOCKS: usize = 32;
pub(crate) const ROOMS_BLOCKS: usize = 32;
/// Rooms in the list of the busiest.
pub(crate) const BUSY_ROOMS: usize = 32;
/// Blocks of a page, in this order: listeners, other listeners, patterns, other rooms, busy rooms.
pub(crate) const BLOCKS: usize = LISTENER_BLOCKS + 1 + ROOMS_BLOCKS + 1 + BUSY_ROOMS;
pub(crate) const FIRST_ROOMS_BLOCK: usize = LISTENER_BLOCKS + 1;
pub(crate) const FIRST_BUSY_ROOM: usize = FIRST_ROOMS_BLOCK + ROOMS_BLOCKS + 1;
pub(crate) const BLOCK_HEADER_BYTES: usize = 384;
/// Of a block's label, with the NUL that ends it: a room's name has at most 255.
pub(crate) const LABEL_BYTES: usize = 256;
/// Chosen: readers take pages with ten times the blocks of ours.
pub(crate) const MAX_BLOCKS: usize = 1024;
/// The label of blocks for all others.
pub(crate) const OTHERS: &str = "other";

/// Numbers of words in the header.
pub(crate) mod word {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const LAYOUT_VERSION: usize = 1;
    pub(crate) const HEADER_BYTES: usize = 2;
    pub(crate) const PAGE_BYTES: usize = 3;
    pub(crate) const CATALOGUE_HASH: usize = 4;
    pub(crate) const CATALOGUE_OFFSET: usize = 5;
    pub(crate) const CATALOGUE_BYTES: usize = 6;
    pub(crate) const CATALOGUE_LINES: usize = 7;
    pub(crate) const LANES_OFFSET: usize = 8;
    pub(crate) const LANE_COUNT: usize = 9;
    pub(crate) const LANE_STRIDE: usize = 10;
    pub(crate) const LANE_SLOTS: usize = 11;
    pub(crate) const LANE_HEADER_BYTES: usize = 12;
    pub(crate) const HISTOGRAM_SUB_BITS: usize = 13;
    pub(crate) const HISTOGRAM_EXPONENT: usize = 14;
    pub(crate) const RESERVED_OFFSET: usize = 15;
    pub(crate) const RESERVED_BYTES: usize = 16;
    pub(crate) const BLOCKS_OFFSET: usize = 17;
    pub(crate) const BLOCK_COUNT: usize = 18;
    pub(crate) const BLOCK_STRIDE: usize = 19;
    pub(crate) const PID: usize = 20;
    pub(crate) const START: usize = 21;
    pub(crate) const SINCE: usize = 22;
    pub(crate) const BLOCK_CATALOGUE_OFFSET: usize = 23;
    pub(crate) const BLOCK_CATALOGUE_BYTES: usize = 24;
    pub(crate) const BLOCK_CATALOGUE_LINES: usize = 25;
    pub(crate) const BLOCK_CATALOGUE_HASH: usize = 26;
    pub(crate) const BLOCK_HEADER_BYTES: usize = 27;
    pub(crate) const BLOCK_SLOTS: usize = 28;
    /// Up to [`IDENTITY_END`] nothing changes after the page was made.
    pub(crate) const IDENTITY_END: usize = 32;
    pub(crate) const HEARTBEAT: usize = 32;
    pub(crate) const PHASE: usize = 33;
    pub(crate) const READY: usize = 34;
    pub(crate) const INSTANCE: usize = 48;
    pub(crate) const VERSION: usize = 56;
}

/// Numbers of words in a lane's header.
pub(crate) mod lane_word {
    pub(crate) const ROLE: usize = 0;
    pub(crate) const WORKER: usize = 1;
    pub(crate) const PUBLICATIONS: usize = 2;
}

/// Numbers of words in a block's header.
pub(crate) mod block_word {
    pub(crate) const KIND: usize = 0;
    pub(crate) const OTHERS: usize = 1;
    pub(crate) const VERSION: usize = 2;
    pub(crate) const LABEL: usize = 8;
}

pub(crate) const ROLE_WORKER: u64 = 1;
pub(crate) const ROLE_SHARED: u64 = 2;

/// Where the lanes of a page are, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) stride: usize,
    pub(crate) header: usize,
    pub(crate) slots: usize,
}

impl Lanes {
    /// The first word of a lane.
    pub(crate) const fn lane(&self, lane: usize) -> usize {
        self.first + lane * self.stride
    }

    /// The first slot of a lane.
    pub(crate) const fn slots(&self, lane: usize) -> usize {
        self.lane(lane) + self.header
    }
}

/// Where the blocks of a page are, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) stride: usize,
    pub(crate) header: usize,
    pub(crate) slots: usize,
}

impl Blocks {
    /// The first word of a block.
    pub(crate) const fn block(&self, block: usize) -> usize {
        self.first + block * self.stride
    }

    /// The first slot of a lane's part of a block.
    pub(crate) const fn part(&self, block: usize, lane: usize) -> usize {
        self.block(block) + self.header + lane * self.slots
    }
}

/// The shape of a page that this version makes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) catalogue_bytes: usize,
    pub(crate) lanes_offset: usize,
    pub(crate) lane_count: usize,
    pub(crate) lane_stride: usize,
    pub(crate) block_catalogue_offset: usize,
    pub(crate) block_catalogue_bytes: usize,
    pub(crate) blocks_offset: usize,
    pub(crate) block_stride: usize,
    pub(crate) reserved_offset: usize,
    pub(crate) page_bytes: usize,
}

impl Shape {
    pub(crate) fn new(workers: u16, catalogue_bytes: usize, block_catalogue_bytes: usize) -> Self {
        let lane_count = usize::from(workers) + 1;
        let lane_stride = (LANE_HEADER_BYTES + LANE_SLOTS * WORD).next_multiple_of(LANE_ALIGN);
        let block_catalogue_offset = (HEADER_BYTES + catalogue_bytes).next_multiple_of(LANE_ALIGN);
        let lanes_offset =
            (block_catalogue_offset + block_catalogue_bytes).next_multiple_of(LANE_ALIGN);
        let blocks_offset = lanes_offset + lane_count * lane_stride;
        let block_stride =
            (BLOCK_HEADER_BYTES + lane_count * BLOCK_SLOTS * WORD).next_multiple_of(LANE_ALIGN);
        let reserved_offset = blocks_offset + BLOCKS * block_stride;
        let page_bytes = reserved_offset + RESERVED_BYTES;
        Self {
            catalogue_bytes,
            lanes_offset,
            lane_count,
            lane_stride,
            block_catalogue_offset,
            block_catalogue_bytes,
            blocks_offset,
            block_stride,
            reserved_offset,
            page_bytes,
        }
    }

    pub(crate) const fn blocks(&self) -> Blocks {
        Blocks {
            first: self.blocks_offset / WORD,
            count: BLOCKS,
            stride: self.block_stride / WORD,
            header: BLOCK_HEADER_BYTES / WORD,
            slots: BLOCK_SLOTS,
        }
    }

    pub(crate) const fn lanes(&self) -> Lanes {
        Lanes {
            first: self.lanes_offset / WORD,
            count: self.lane_count,
            stride: self.lane_stride / WORD,
            header: LANE_HEADER_BYTES / WORD,
            slots: LANE_SLOTS,
        }
    }
}

/// What a new page says about its gateway.
pub(crate) struct Identity<'a> {
    pub(crate) instance: &'a str,
    pub(crate) version: &'a str,
    pub(crate) pid: u32,
    pub(crate) start_unix_ms: u64,
    pub(crate) listeners: &'a [String],
    pub(crate) rooms: &'a [String],
}

/// A whole new page: header, catalogues, empty lanes, labelled blocks.
pub(crate) fn image(
    shape: &Shape,
    catalogue: &str,
    block_catalogue: &str,
    identity: &Identity<'_>,
) -> Vec<u64> {
    let mut image = vec![0; shape.page_bytes / WORD];
    for (at, value) in [
        (word::MAGIC, u64::from_ne_bytes(MAGIC)),
        (word::LAYOUT_VERSION, LAYOUT_VERSION),
        (word::HEADER_BYTES, HEADER_BYTES as u64),
        (word::PAGE_BYTES, shape.page_bytes as u64),
        (word::CATALOGUE_HASH, CATALOGUE_HASH),
        (word::CATALOGUE_OFFSET, HEADER_BYTES as u64),
        (word::CATALOGUE_BYTES, shape.catalogue_bytes as u64),
        (word::CATALOGUE_LINES, CATALOGUE.len() as u64),
        (word::LANES_OFFSET, shape.lanes_offset as u64),
        (word::LANE_COUNT, shape.lane_count as u64),
        (word::LANE_STRIDE, shape.lane_stride as u64),
        (word::LANE_SLOTS, LANE_SLOTS as u64),
        (word::LANE_HEADER_BYTES, LANE_HEADER_BYTES as u64),
        (word::HISTOGRAM_SUB_BITS, u64::from(histogram::SUB_BITS)),
        (word::HISTOGRAM_EXPONENT, u64::from(histogram::EXPONENT)),
        (word::RESERVED_OFFSET, shape.reserved_offset as u64),
        (word::RESERVED_BYTES, RESERVED_BYTES as u64),
        (word::PID, u64::from(identity.pid)),
        (word::START, identity.start_unix_ms),
        (word::SINCE, identity.start_unix_ms),
        (word::BLOCKS_OFFSET, shape.blocks_offset as u64),
        (word::BLOCK_COUNT, BLOCKS as u64),
        (word::BLOCK_STRIDE, shape.block_stride as u64),
        (
            word::BLOCK_CATALOGUE_OFFSET,
            shape.block_catalogue_offset as u64,
        ),
        (
            word::BLOCK_CATALOGUE_BYTES,
            shape.block_catalogue_bytes as u64,
        ),
        (word::BLOCK_CATALOGUE_LINES, BLOCK_CATALOGUE.len() as u64),
        (
            word::BLOCK_CATALOGUE_HASH,
            catalogue::hash(block_catalogue.as_bytes()),
        ),
        (word::BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES as u64),
        (word::BLOCK_SLOTS, BLOCK_SLOTS as u64),
        (word::HEARTBEAT, identity.start_unix_ms),
    ] {
        image[at] = value;
    }
    put_text(&mut image, word::INSTANCE, name_prefix(identity.instance));
    put_text(&mut image, word::VERSION, name_prefix(identity.version));
    put_text(&mut image, HEADER_BYTES / WORD, catalogue);
    let block_catalogue_at = shape.block_catalogue_offset / WORD;
    put_text(&mut image, block_catalogue_at, block_catalogue);

    let lanes = shape.lanes();
    for lane in 0..lanes.count {
        let shared = lane + 1 == lanes.count;
        let first = lanes.lane(lane);
        image[first + lane_word::ROLE] = if shared { ROLE_SHARED } else { ROLE_WORKER };
        image[first + lane_word::WORKER] = if shared { 0 } else { lane as u64 };
    }
    label_blocks(&mut image, &shape.blocks(), identity);
    image
}

fn label_blocks(image: &mut [u64], blocks: &Blocks, identity: &Identity<'_>) {
    let named = |labels: &[String], first: usize, most: usize| -> Vec<(usize, String, u64)> {
        let mut all: Vec<_> = (labels.iter().take(most).enumerate())
            .map(|(nth, label)| (first + nth, label.clone(), 0))
            .collect();
        all.push((first + most, OTHERS.to_owned(), 1));
        all
    };
    let listeners = named(identity.listeners, 0, LISTENER_BLOCKS);
    let rooms = named(identity.rooms, FIRST_ROOMS_BLOCK, ROOMS_BLOCKS);
    let kinds = [(BlockKind::Listener, listeners), (BlockKind::Rooms, rooms)];
    for (kind, labelled) in kinds {
        for (block, label, others) in labelled {
            let first = blocks.block(block);
            image[first + block_word::KIND] = kind.to_word();
            image[first + block_word::OTHERS] = others;
            let label: String = label.chars().filter(|c| !c.is_control()).collect();
            let label = prefix(&label, LABEL_BYTES);
            put_text(image, first + block_word::LABEL, label);
        }
    }
}

/// As much of a name as its field holds with a NUL behind it, cut between characters.
fn name_prefix(name: &str) -> &str {
    prefix(name, NAME_BYTES)
}

/// As much of a text as a field of so many bytes holds with a NUL behind it.
pub(crate) fn prefix(text: &str, bytes: usize) -> &str {
    let fits = |end: &usize| *end < bytes && text.is_char_boundary(*end);
    &text[..(0..=text.len().min(bytes)).rev().find(fits).unwrap_or(0)]
}

fn put_text(image: &mut [u64], first: usize, text: &str) {
    for (word, chunk) in image[first..].iter_mut().zip(text.as_bytes().chunks(WORD)) {
        let mut bytes = [0; WORD];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(bytes);
    }
}

/// A text as words, NUL-padded to fill them all.
pub(crate) fn text_words<const N: usize>(text: &str) -> [u64; N] {
    let mut words = [0; N];
    put_text(&mut words, 0, text);
    words
}

/// A NUL-padded name of the header; None if it is not UTF-8 or has control characters.
pub(crate) fn name(view: View<'_>, first: usize) -> Option<String> {
    padded(view, first, NAME_BYTES)
}

/// A NUL-padded text of so many bytes; None if it is not UTF-8 or has control characters.
pub(crate) fn padded(view: View<'_>, first: usize, length: usize) -> Option<String> {
    let mut bytes = view.copy(first, length / WORD);
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes)
        .ok()
        .filter(|name| !name.contains(char::is_control))
}
