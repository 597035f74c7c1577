//! Checks a page before anything in it is used, and reads its catalogue.
//!
//! Every number is compared with the length of what is mapped, in arithmetic that cannot overflow,
//! and every text is checked to be harmless on a terminal and in Prometheus' format. What passes
//! here can be read without a further thought: slots lie in lanes, lanes lie in the page, and the
//! work for one snapshot is bounded by the size of the page.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::block::{self, ParsedBlocks};
use crate::catalogue::{self, Kind, Level, Metric};
use crate::histogram;
use crate::layout::{
    self, HEADER_BYTES, LAYOUT_VERSION, Lanes, MAGIC, MAX_LANES, MAX_NAME_BYTES, MAX_ROWS, word,
};
use crate::words::{View, WORD};

/// What is wrong with a page, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadProblem {
    /// There is no such file.
    #[error(
        "there is no counter page here: start the gateway, or say which one with --instance or --page"
    )]
    NotFound,
    /// The file may not be read.
    #[error(
        "this counter page may not be read: run as the gateway's user, or join the group of the file"
    )]
    Denied,
    /// A directory, a device, a symbolic link or the like.
    #[error(
        "this is not a regular file (symbolic links are not followed): give the page's own path"
    )]
    NotAFile,
    /// Too short for a header; an empty file is what a gateway makes first.
    #[error(
        "this file of {bytes} bytes is too short for a counter page: if a gateway is just starting \
         here, try again, otherwise the page was cut off and a restart of the gateway replaces it"
    )]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// The magic number is missing.
    #[error("this is not a counter page: check the path given with --page")]
    NotAPage,
    /// The page was made by a machine with the other byte order.
    #[error("this counter page was written by a machine of another byte order: read it there")]
    ByteOrder,
    /// The page has a layout of another version.
    #[error(
        "this counter page has layout {found}, and this reader knows {LAYOUT_VERSION}: use the \
         roomwire program that the gateway runs"
    )]
    LayoutVersion {
        /// What the page says.
        found: u64,
    },
    /// The file ends before the page does.
    #[error(
        "this counter page is cut off, {bytes} of {expected} bytes are there: a restart of the \
         gateway replaces it"
    )]
    CutOff {
        /// What the page or the mapping says.
        expected: usize,
        /// The length of the file.
        bytes: usize,
    },
    /// A number or text of the header makes no sense.
    #[error("this counter page is damaged ({what}): a restart of the gateway replaces it")]
    Header {
        /// What makes no sense.
        what: &'static str,
    },
    /// A line of the catalogue makes no sense.
    #[error(
        "the catalogue of this counter page is damaged (line {line}: {what}): a restart of the \
         gateway replaces it"
    )]
    Catalogue {
        /// Counted from 1; 0 for the catalogue as a whole.
        line: usize,
        /// What makes no sense.
        what: &'static str,
    },
    /// A line of the blocks' catalogue makes no sense.
    #[error(
        "the blocks' catalogue of this counter page is damaged (line {line}: {what}): a restart of \
         the gateway replaces it"
    )]
    BlockCatalogue {
        /// Counted from 1; 0 for the catalogue as a whole.
        line: usize,
        /// What makes no sense.
        what: &'static str,
    },
    /// The page's fixed part is no longer what it was when the reader opened it.
    #[error(
        "this counter page was overwritten while it was read: open it anew; if that fails, a \
         restart of the gateway replaces it"
    )]
    Overwritten,
    /// The operating system refused something.
    #[error("the operating system does not let this counter page be read: {0}")]
    Io(#[from] io::Error),
}

/// A line of the page's catalogue.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    pub(super) unit: Arc<str>,
    pub(super) level: Level,
    pub(super) help: Arc<str>,
    /// Invariant: this and the slots that the kind takes lie in a lane.
    pub(super) slot: usize,
}

impl Column {
    pub(super) fn from_metric(metric: &Metric) -> Self {
        Self {
            name: metric.name.into(),
            kind: metric.kind,
            unit: metric.unit.as_str().into(),
            level: metric.level,
            help: metric.help.into(),
            slot: metric.slot,
        }
    }
}

/// A page that was checked.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) lanes: Lanes,
    pub(super) columns: Vec<Column>,
    pub(super) blocks: Option<ParsedBlocks>,
    identity: [u64; word::IDENTITY_END],
}

impl Parsed {
    /// Whether the part of the header that never changes is what it was.
    pub(super) fn is_still_of(&self, view: View<'_>) -> bool {
        self.identity == identity(view)
    }
}

fn identity(view: View<'_>) -> [u64; word::IDENTITY_END] {
    std::array::from_fn(|at| view.load(at))
}

/// Checks the page in a file of `bytes` bytes, which is what the view shows, up to part of a word.
pub(super) fn parse(view: View<'_>, bytes: usize) -> Result<Parsed, ReadProblem> {
    let header = identity(view);
    // Pairs with the move of the finished file to its path, which the kernel orders; the fence keeps
    // the loads below behind those above for pages that are not moved but shared.
    fence(Ordering::Acquire);
    check_start(&header, bytes)?;
    let lanes = check_lanes(&header, view.bytes())?;
    for (first, what) in [
        (word::INSTANCE, "the instance's name"),
        (word::VERSION, "the version"),
    ] {
        if layout::name(view, first).is_none() {
            return Err(ReadProblem::Header { what });
        }
    }
    let columns = parse_catalogue(&catalogue_text(&header, view)?, &header, &lanes)?;
    let blocks = block::parse(&header, view, lanes.count)?;
    Ok(Parsed {
        lanes,
        columns,
        blocks,
        identity: header,
    })
}

fn check_start(header: &[u64; word::IDENTITY_END], bytes: usize) -> Result<(), ReadProblem> {
    if header[word::MAGIC] != u64::from_ne_bytes(MAGIC) {
        return Err(ReadProblem::NotAPage);
    }
    if header[word::LAYOUT_VERSION] == LAYOUT_VERSION.swap_bytes() {
        return Err(ReadProblem::ByteOrder);
    }
    if header[word::LAYOUT_VERSION] != LAYOUT_VERSION {
        return Err(ReadProblem::LayoutVersion {
            found: header[word::LAYOUT_VERSION],
        });
    }
    if header[word::HEADER_BYTES] < HEADER_BYTES as u64 {
        return Err(ReadProblem::Header {
            what: "the header's length",
        });
    }
    let page_bytes = usize::try_from(header[word::PAGE_BYTES]).unwrap_or(usize::MAX);
    if page_bytes > bytes {
        return Err(ReadProblem::CutOff {
            expected: page_bytes,
            bytes,
        });
    }
    if header[word::PAGE_BYTES] < header[word::HEADER_BYTES] {
        return Err(ReadProblem::Header {
            what: "the page's length",
        });
    }
    let scale = [
        header[word::HISTOGRAM_SUB_BITS],
        header[word::HISTOGRAM_EXPONENT],
    ];
    if scale
        != [
            u64::from(histogram::SUB_BITS),
            u64::from(histogram::EXPONENT),
        ]
    {
        return Err(ReadProblem::Header {
            what: "the scale of its histograms",
        });
    }
    Ok(())
}

/// A byte offset or length of the header in words; None if it is not on a word's boundary or lies
/// beyond the page.
pub(super) fn words(value: u64, bytes: usize) -> Option<usize> {
    let value = usize::try_from(value).ok()?;
    (value.is_multiple_of(WORD) && value <= bytes).then_some(value / WORD)
}

fn check_lanes(header: &[u64; word::IDENTITY_END], bytes: usize) -> Result<Lanes, ReadProblem> {
    let damaged = |what| ReadProblem::Header { what };
    let count = usize::try_from(header[word::LANE_COUNT]).unwrap_or(usize::MAX);
    if !(1..=MAX_LANES).contains(&count) {
        return Err(damaged("the number of lanes"));
    }
    let first = words(header[word::LANES_OFFSET], bytes)
        .filter(|first| *first >= HEADER_BYTES / WORD)
        .ok_or_else(|| damaged("the place of the lanes"))?;
    let stride = words(header[word::LANE_STRIDE], bytes)
        .ok_or_else(|| damaged("the stride of the lanes"))?;
    let lane_header = words(header[word::LANE_HEADER_BYTES], bytes)
        .filter(|length| *length > layout::lane_word::PUBLICATIONS)
        .ok_or_else(|| damaged("the length of a lane's header"))?;
    let slots = usize::try_from(header[word::LANE_SLOTS])
        .ok()
        .filter(|slots| {
            lane_header
                .checked_add(*slots)
                .is_some_and(|end| end <= stride)
        })
        .ok_or_else(|| damaged("the number of slots"))?;
    let end = count
        .checked_mul(stride)
        .and_then(|length| length.checked_add(first));
    if end.is_none_or(|end| end > bytes / WORD) {
        return Err(damaged("the lanes do not fit into the page"));
    }
    Ok(Lanes {
        first,
        count,
        stride,
        header: lane_header,
        slots,
    })
}

fn catalogue_text(
    header: &[u64; word::IDENTITY_END],
    view: View<'_>,
) -> Result<String, ReadProblem> {
    let [offset, length, hash] = [
        word::CATALOGUE_OFFSET,
        word::CATALOGUE_BYTES,
        word::CATALOGUE_HASH,
    ]
    .map(|at| header[at]);
    sealed_text(view, offset, length, hash).map_err(|what| ReadProblem::Catalogue { line: 0, what })
}

/// A text of the page that has this hash; else what is wrong with it.
pub(super) fn sealed_text(
    view: View<'_>,
    offset: u64,
    length: u64,
    hash: u64,
) -> Result<String, &'static str> {
    let first = words(offset, view.bytes())
        .filter(|first| *first >= HEADER_BYTES / WORD)
        .ok_or("its place")?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= view.bytes() - first * WORD)
        .ok_or("its length")?;
    let mut bytes = view.copy(first, length.div_ceil(WORD));
    bytes.truncate(length);
    if catalogue::hash(&bytes) != hash {
        return Err("its hash");
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

fn parse_catalogue(
    text: &str,
    header: &[u64; word::IDENTITY_END],
    lanes: &Lanes,
) -> Result<Vec<Column>, ReadProblem> {
    let whole = |what| ReadProblem::Catalogue { line: 0, what };
    let mut columns = Vec::new();
    // Slots of all lines together may not exceed a lane's: that bounds a snapshot's work, whatever
    // the lines say.
    let mut slots_left = lanes.slots;
    for (index, line) in text.lines().enumerate() {
        if index >= MAX_ROWS {
            return Err(whole("it is too long"));
        }
        let column = parse_line(line, lanes).map_err(|what| ReadProblem::Catalogue {
            line: index + 1,
            what,
        })?;
        slots_left = slots_left
            .checked_sub(column.kind.slots())
            .ok_or_else(|| whole("it has more slots than a lane"))?;
        columns.push(column);
    }
    if columns.len() as u64 != header[word::CATALOGUE_LINES] {
        return Err(whole("its number of lines"));
    }
    let mut names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(whole("a name is there twice"));
    }
    Ok(columns)
}

fn parse_line(line: &str, lanes: &Lanes) -> Result<Column, &'static str> {
    let mut fields = line.split('\t');
    let mut field = || fields.next().ok_or("a column is missing");
    let (name, kind, unit, level) = (field()?, field()?, field()?, field()?);
    let (slot, slots, help) = (field()?, field()?, field()?);
    let kind = Kind::parse(kind).ok_or("a kind that this reader does not know")?;
    if let Some(problem) = catalogue::name_problem(name, kind) {
        return Err(problem);
    }
    if !is_word(unit) {
        return Err("the unit is not a word of a-z");
    }
    let level = Level::parse(level).ok_or("a level that this reader does not know")?;
    let slot: usize = slot.parse().map_err(|_| "the slot is not a number")?;
    if slots.parse() != Ok(kind.slots()) {
        return Err("a number of slots that does not fit the kind");
    }
    if slot
        .checked_add(kind.slots())
        .is_none_or(|end| end > lanes.slots)
    {
        return Err("the slot lies outside of the lane");
    }
    if help.contains(char::is_control) {
        return Err("the help has control characters");
    }
    Ok(Column {
        name: name.into(),
        kind,
        unit: unit.into(),
        level,
        help: help.into(),
        slot,
    })
}

pub(super) fn is_word(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
}
