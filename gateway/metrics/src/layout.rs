//! What lies where in a page, version 1.
//!
//! A page is an array of 64-bit words in the byte order of the machine; every word is written and
//! read as a whole. Offsets below are bytes from the page's start. `docs/counter-page.md` says the
//! same at length; a test holds these numbers fast.
//!
//! ```text
//!   0  magic "roomwire"       64  lanes: offset            128  reserved space: length
//!   8  layout version, 1      72  lanes: number            136  blocks: offset, 0 = none
//!  16  header length, 512     80  lanes: stride            144  blocks: number
//!  24  page length            88  lanes: slots             152  blocks: stride
//!  32  catalogue hash         96  lane header length, 128  160  process id
//!  40  catalogue: offset     104  histogram: sub bits, 5   168  start, ms since 1970
//!  48  catalogue: length     112  histogram: exponent, 36  256  heartbeat, ms since 1970
//!  56  catalogue: lines      120  reserved space: offset   264  phase
//!                                                          272  ready
//! 384  instance, 64 bytes, NUL-padded UTF-8                448  version, likewise
//! 512  catalogue text (see catalogue::text), zeros to the next multiple of 128
//!  …   lanes: one per worker, then one that all threads share; stride is a multiple of 128:
//!        0  role, 1 = worker, 2 = shared     8  worker's number    16  publications
//!      128  slots of 8 bytes, numbered as the catalogue says
//!  …   reserved space: 4096 bytes, zero
//! ```
//!
//! A histogram's slots: count, sum, largest value, five unused, then 1,024 buckets. A gauge's slot
//! is a signed difference, two's complement.
//!
//! Room to grow without a new layout version: unused words are 0 and ignored; further columns may
//! follow in a line of the catalogue; "blocks" will be labelled lanes (one per listener, one per
//! room pattern), so a reader must take a page with blocks and may pass over them.

use crate::catalogue::{CATALOGUE, CATALOGUE_HASH, LANE_SLOTS};
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
    // 17 to 19 are the blocks' offset, number and stride, 0 in this version.
    pub(crate) const PID: usize = 20;
    pub(crate) const START: usize = 21;
    /// From here on up to [`IDENTITY_END`] nothing changes after the page was made.
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

/// The shape of a page that this version makes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) catalogue_bytes: usize,
    pub(crate) lanes_offset: usize,
    pub(crate) lane_count: usize,
    pub(crate) lane_stride: usize,
    pub(crate) reserved_offset: usize,
    pub(crate) page_bytes: usize,
}

impl Shape {
    pub(crate) fn new(workers: u16, catalogue_bytes: usize) -> Self {
        let lane_count = usize::from(workers) + 1;
        let lane_stride = (LANE_HEADER_BYTES + LANE_SLOTS * WORD).next_multiple_of(LANE_ALIGN);
        let lanes_offset = (HEADER_BYTES + catalogue_bytes).next_multiple_of(LANE_ALIGN);
        let reserved_offset = lanes_offset + lane_count * lane_stride;
        let page_bytes = reserved_offset + RESERVED_BYTES;
        Self {
            catalogue_bytes,
            lanes_offset,
            lane_count,
            lane_stride,
            reserved_offset,
            page_bytes,
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
}

/// A whole new page: header, catalogue, empty lanes.
pub(crate) fn image(shape: &Shape, catalogue: &str, identity: &Identity<'_>) -> Vec<u64> {
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
        (word::HEARTBEAT, identity.start_unix_ms),
    ] {
        image[at] = value;
    }
    put_text(&mut image, word::INSTANCE, name_prefix(identity.instance));
    put_text(&mut image, word::VERSION, name_prefix(identity.version));
    put_text(&mut image, HEADER_BYTES / WORD, catalogue);

    let lanes = shape.lanes();
    for lane in 0..lanes.count {
        let shared = lane + 1 == lanes.count;
        let first = lanes.lane(lane);
        image[first + lane_word::ROLE] = if shared { ROLE_SHARED } else { ROLE_WORKER };
        image[first + lane_word::WORKER] = if shared { 0 } else { lane as u64 };
    }
    image
}

/// As much of a name as its field holds with a NUL behind it, cut between characters.
fn name_prefix(name: &str) -> &str {
    let fits = |end: &usize| *end < NAME_BYTES && name.is_char_boundary(*end);
    &name[..(0..=name.len().min(NAME_BYTES))
        .rev()
        .find(fits)
        .unwrap_or(0)]
}

fn put_text(image: &mut [u64], first: usize, text: &str) {
    for (word, chunk) in image[first..].iter_mut().zip(text.as_bytes().chunks(WORD)) {
        let mut bytes = [0; WORD];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(bytes);
    }
}

/// A NUL-padded name of the header; None if it is not UTF-8 or has control characters.
pub(crate) fn name(view: View<'_>, first: usize) -> Option<String> {
    let mut bytes = view.copy(first, NAME_BYTES / WORD);
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes)
        .ok()
        .filter(|name| !name.contains(char::is_control))
}
