//! The catalogue: what is counted, under which name, in which unit, and what to do about it.
//!
//! `table.rs` holds the rows; the macro here turns them into [`Id`] and [`CATALOGUE`], assigns each
//! row its slots in a lane at compile time and refuses rows that a reader or Prometheus could not
//! take. The page carries [`text`] of it, so a reader needs no knowledge of the rows it was compiled
//! with. It does not know where in a page anything lies; that is `layout`.

use std::fmt::Write as _;

use crate::layout::{MAX_NAME_BYTES, MAX_ROWS};
use crate::{histogram, prometheus};

mod block;
mod unit;

pub(crate) use block::BLOCK_SLOTS;
pub use block::{BLOCK_CATALOGUE, BlockId, BlockKind, BlockMetric, block_text};
pub use unit::Unit;

/// How a figure behaves, and so how lanes are summed and what Prometheus is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows. Lanes are added.
    Counter,
    /// Goes up and down. Lanes hold signed differences and are added; below zero reads as zero.
    Gauge,
    /// The largest value seen. The largest lane counts.
    High,
    /// A distribution of values in log-linear buckets. Lanes are added bucket by bucket.
    Histogram,
}

impl Kind {
    /// The word that stands for it in the page and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::High => "high",
            Self::Histogram => "histogram",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::High, Self::Histogram]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// Slots of 8 bytes that a metric of this kind takes in a lane.
    pub(crate) const fn slots(self) -> usize {
        match self {
            Self::Counter | Self::Gauge | Self::High => 1,
            Self::Histogram => histogram::SLOTS,
        }
    }
}

/// Who wants to see a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every operator, every day.
    #[default]
    Info,
    /// An operator who looks for the cause of something.
    Diag,
    /// A developer of the gateway.
    Debug,
}

impl Level {
    /// The word that stands for it in the page and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Diag => "diag",
            Self::Debug => "debug",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Info, Self::Diag, Self::Debug]
            .into_iter()
            .find(|level| level.as_str() == word)
    }
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in code.
    pub id: Id,
    /// The name for people and machines: `snake_case`, counters end in `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What is counted.
    pub unit: Unit,
    /// Who wants to see it.
    pub level: Level,
    /// What it means, then what to do when it moves. One line.
    pub help: &'static str,
    /// Number of its first slot in a lane.
    pub(crate) slot: usize,
}

macro_rules! kind {
    (counter) => {
        Kind::Counter
    };
    (gauge) => {
        Kind::Gauge
    };
    (high) => {
        Kind::High
    };
    (histogram) => {
        Kind::Histogram
    };
}

macro_rules! catalogue {
    ($($kind:ident $id:ident $name:literal $unit:ident $level:ident $help:literal;)+) => {
        use super::{Kind, Level, Metric, Unit, assign_slots};

        /// Names a metric in code. One variant per row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Id {
            $(#[doc = concat!("`", $name, "`: ", $help)] $id,)+
        }

        pub(super) const ROWS: [Metric; [$($name),+].len()] = assign_slots([
            $(Metric {
                id: Id::$id,
                name: $name,
                kind: kind!($kind),
                unit: Unit::$unit,
                level: Level::$level,
                help: $help,
                slot: 0,
            },)+
        ]);
    };
}

mod table;

pub use table::Id;

static ROWS: [Metric; table::ROWS.len()] = table::ROWS;

/// Every metric there is, in the order of the table.
pub const CATALOGUE: &[Metric] = &table::ROWS;

/// Slots of one lane; a multiple of [`LINE_SLOTS`].
pub(crate) const LANE_SLOTS: usize = lane_slots(&table::ROWS);

/// Slots of one cache line of 64 bytes, the grain in which a lane notes what changed.
pub(crate) const LINE_SLOTS: usize = 8;

/// FNV-1a, 64 bits, of [`text`]: two gateways with the same hash count the same things in the same
/// places.
pub const CATALOGUE_HASH: u64 = hash_rows(&table::ROWS);

const _: () = check(&table::ROWS);

impl Id {
    /// The row of this metric.
    #[inline]
    pub fn metric(self) -> &'static Metric {
        &ROWS[self as usize]
    }

    #[inline]
    pub(crate) const fn slot(self) -> usize {
        const SLOTS: [usize; table::ROWS.len()] = {
            let mut slots = [0; table::ROWS.len()];
            let mut i = 0;
            while i < slots.len() {
                slots[i] = table::ROWS[i].slot;
                i += 1;
            }
            slots
        };
        SLOTS[self as usize]
    }
}

/// Plain figures first and densely, so that one turn of a worker touches few cache lines; then the
/// histograms, each from a whole cache line on.
const fn assign_slots<const N: usize>(mut rows: [Metric; N]) -> [Metric; N] {
    let mut next = 0;
    let mut i = 0;
    while i < N {
        if !matches!(rows[i].kind, Kind::Histogram) {
            rows[i].slot = next;
            next += 1;
        }
        i += 1;
    }
    next = next.next_multiple_of(LINE_SLOTS);
    i = 0;
    while i < N {
        if matches!(rows[i].kind, Kind::Histogram) {
            rows[i].slot = next;
            next += histogram::SLOTS;
        }
        i += 1;
    }
    rows
}

const fn lane_slots(rows: &[Metric]) -> usize {
    let mut end = 0;
    let mut i = 0;
    while i < rows.len() {
        let row_end = rows[i].slot + rows[i].kind.slots();
        if row_end > end {
            end = row_end;
        }
        i += 1;
    }
    end.next_multiple_of(LINE_SLOTS)
}

/// Refuses, when the crate is compiled, what readers or Prometheus would have to refuse later.
#[allow(clippy::panic, reason = "it stops the compiler, never the program")]
const fn check(rows: &[Metric]) {
    assert!(rows.len() <= MAX_ROWS, "too many rows for a page");
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        if let Some(problem) = name_problem(row.name, row.kind) {
            panic!("{}", problem);
        }
        assert!(
            is_one_line(row.help),
            "a metric's help is empty or has control characters"
        );
        let mut other = 0;
        while other < i {
            assert!(
                !equal(row.name, rows[other].name),
                "two metrics have the same name"
            );
            other += 1;
        }
        i += 1;
    }
}

/// What keeps a name from being a metric's, here and in a page that is read.
pub(crate) const fn name_problem(name: &str, kind: Kind) -> Option<&'static str> {
    if !is_snake_case(name) {
        return Some("the name is not snake_case of a-z, 0-9 and _");
    }
    if name.len() > MAX_NAME_BYTES {
        return Some("the name is too long");
    }
    if ends_with(name, "_total") != matches!(kind, Kind::Counter) {
        return Some("counters end in _total, and nothing else does");
    }
    if ends_with(name, "_bucket") || ends_with(name, "_count") || ends_with(name, "_sum") {
        return Some("the name ends as Prometheus' own parts of a histogram do");
    }
    let mut i = 0;
    while i < prometheus::OWN_NAMES.len() {
        if equal(name, prometheus::OWN_NAMES[i]) {
            return Some("the Prometheus text has a figure of its own by this name");
        }
        i += 1;
    }
    None
}

const fn is_snake_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || !bytes[0].is_ascii_lowercase() || bytes[bytes.len() - 1] == b'_' {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        let fine = match bytes[i] {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'_' => bytes[i - 1] != b'_',
            _ => false,
        };
        if !fine {
            return false;
        }
        i += 1;
    }
    true
}

const fn is_one_line(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i].is_ascii_control() {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty()
}

const fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && ends_with(a, b)
}

const fn ends_with(text: &str, suffix: &str) -> bool {
    let (text, suffix) = (text.as_bytes(), suffix.as_bytes());
    if text.len() < suffix.len() {
        return false;
    }
    let start = text.len() - suffix.len();
    let mut i = 0;
    while i < suffix.len() {
        if text[start + i] != suffix[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// FNV-1a with 64 bits: any language has it in five lines.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);

    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    const fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut i = 0;
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    const fn field(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).byte(b'\t')
    }

    #[allow(clippy::cast_possible_truncation, reason = "a decimal digit fits")]
    const fn number(mut self, number: usize) -> Self {
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            self = self.byte(b'0' + (number / power % 10) as u8);
            power /= 10;
        }
        self.byte(b'\t')
    }
}

pub(crate) fn hash(text: &[u8]) -> u64 {
    Fnv::START.bytes(text).0
}

/// The hash of [`text`] without making the text, so that it is a constant.
const fn hash_rows(rows: &[Metric]) -> u64 {
    let mut hash = Fnv::START;
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        hash = hash
            .field(row.name)
            .field(row.kind.as_str())
            .field(row.unit.as_str())
            .field(row.level.as_str())
            .number(row.slot)
            .number(row.kind.slots())
            .bytes(row.help.as_bytes())
            .byte(b'\n');
        i += 1;
    }
    hash.0
}

/// The catalogue as the page carries it: one line per metric with the tab-separated columns name,
/// kind, unit, level, first slot, number of slots, help.
pub fn text() -> String {
    let mut out = String::new();
    for Metric {
        name,
        kind,
        unit,
        level,
        help,
        slot,
        ..
    } in CATALOGUE
    {
        let (kind_word, unit, level) = (kind.as_str(), unit.as_str(), level.as_str());
        writeln!(
            out,
            "{name}\t{kind_word}\t{unit}\t{level}\t{slot}\t{}\t{help}",
            kind.slots()
        )
        .expect("a String takes everything");
    }
    out
}

/// The whole of `docs/counters.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Counters\n\n\
         <!-- Made from gateway/metrics/src/catalogue/table.rs; change that and make this again. -->\n\n\
         Every figure the gateway keeps. `roomwire stats` shows them under these names, `/metrics` with the\n\
         prefix `roomwire_`; [counter-page.md](counter-page.md) says how to read them from shared memory.\n\n\
         A *counter* only grows from the gateway's start. A *gauge* goes up and down. A *high* is the largest\n\
         value seen since the start. A *histogram* is a distribution, read as percentiles with an error of at\n\
         most 1.6 %. The level says who wants a figure: *info* every operator, *diag* who looks for a cause,\n\
         *debug* a developer of the gateway.\n\n\
         | Name | Kind | Unit | Level | Meaning, and what to do |\n\
         |---|---|---|---|---|\n",
    );
    for Metric {
        name,
        kind,
        unit,
        level,
        help,
        ..
    } in CATALOGUE
    {
        let (kind, unit, level) = (kind.as_str(), unit.as_str(), level.as_str());
        let help = help.replace('|', "\\|");
        writeln!(out, "| `{name}` | {kind} | {unit} | {level} | {help} |")
            .expect("a String takes everything");
    }
    out.push_str(
        "\n## Per listener, per pattern, per room\n\n\
         The page has blocks with a label for up to 32 listeners, for up to 32 patterns of `rooms.pattern`, and\n\
         for the 32 busiest rooms. Listeners and rooms beyond that are counted together in blocks labelled\n\
         `other`. `/metrics` has the first two kinds, with the block's kind as the label; rooms' names, which\n\
         peers choose, do not go there.\n\n\
         | Name | Of each | Kind | Unit | Meaning, and what to do |\n\
         |---|---|---|---|---|\n",
    );
    for BlockMetric {
        block,
        name,
        kind,
        unit,
        help,
        ..
    } in BLOCK_CATALOGUE
    {
        let (block, kind, unit) = (block.as_str(), kind.as_str(), unit.as_str());
        let help = help.replace('|', "\\|");
        writeln!(out, "| `{name}` | {block} | {kind} | {unit} | {help} |")
            .expect("a String takes everything");
    }
    out
}

/// Metrics for tests, by kind, so that rows may be renamed and removed.
#[cfg(test)]
pub(crate) mod sample {
    use super::{CATALOGUE, Kind, Metric};

    pub(crate) const COUNTER: &Metric = nth(Kind::Counter, 0);
    pub(crate) const OTHER_COUNTER: &Metric = nth(Kind::Counter, 1);
    pub(crate) const GAUGE: &Metric = nth(Kind::Gauge, 0);
    pub(crate) const HIGH: &Metric = nth(Kind::High, 0);
    pub(crate) const HISTOGRAM: &Metric = nth(Kind::Histogram, 0);

    const fn nth(kind: Kind, mut n: usize) -> &'static Metric {
        let mut i = 0;
        loop {
            let metric = &CATALOGUE[i];
            if metric.kind as u8 == kind as u8 {
                if n == 0 {
                    return metric;
                }
                n -= 1;
            }
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_hash_is_the_hash_of_the_text() {
        assert_eq!(CATALOGUE_HASH, hash(text().as_bytes()));
        assert_eq!(
            hash(b"foobar"),
            0x8594_4171_f739_67e8,
            "a published FNV-1a vector"
        );
    }

    #[test]
    fn slots_do_not_overlap_and_fill_the_lane() {
        let mut taken = vec![false; LANE_SLOTS];
        for metric in CATALOGUE {
            assert_eq!(metric.id.slot(), metric.slot);
            assert_eq!(metric.id.metric().name, metric.name);
            for slot in &mut taken[metric.slot..metric.slot + metric.kind.slots()] {
                assert!(
                    !std::mem::replace(slot, true),
                    "{} shares a slot",
                    metric.name
                );
            }
            if metric.kind == Kind::Histogram {
                assert_eq!(metric.slot % LINE_SLOTS, 0, "{}", metric.name);
            }
        }
        assert_eq!(LANE_SLOTS % LINE_SLOTS, 0);
        assert!(taken.iter().filter(|taken| !**taken).count() < LINE_SLOTS);
    }

    #[test]
    fn names_are_judged_as_prometheus_and_the_style_want_them() {
        for good in ["a", "sessions", "ws_frames_in_total", "p99"] {
            assert!(is_snake_case(good), "{good}");
        }
        for bad in ["", "_a", "a_", "a__b", "A", "9a", "a-b", "a b", "ä"] {
            assert!(!is_snake_case(bad), "{bad}");
        }
    }

    #[test]
    fn words_in_the_page_are_read_back() {
        for metric in CATALOGUE {
            assert_eq!(Kind::parse(metric.kind.as_str()), Some(metric.kind));
            assert_eq!(Level::parse(metric.level.as_str()), Some(metric.level));
        }
        assert_eq!(Kind::parse("Counter"), None);
        assert_eq!(Level::parse(""), None);
    }

    #[test]
    fn the_reference_page_has_a_row_for_every_metric() {
        let page = markdown();
        for metric in CATALOGUE {
            assert!(page.contains(&format!("\n| `{}` | ", metric.name)));
        }
        assert!(page.ends_with(" |\n"));
    }
}
