//! Blocks as a reader sees them: labelled figures beside the lanes.
//!
//! The labels of listeners and patterns stay; those of the busiest rooms change while the page is
//! read, so each block has a version that tells whether what was read belongs together.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::{ReadProblem, at_least_zero};
use crate::catalogue::{self, BlockKind, BlockMetric, Kind, Level};
use crate::layout::{
    self, Blocks, HEADER_BYTES, LABEL_BYTES, MAX_BLOCKS, MAX_ROWS, block_word, word,
};
use crate::words::View;

/// How often a block that is being changed is read again. Chosen: a change takes well below a
/// microsecond, so more tries mean that its writer was halted in the middle.
const TRIES: u32 = 100;

/// One labelled group of figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// What it is about.
    pub kind: BlockKind,
    /// The listener's name, the pattern or the room's name. No control characters.
    pub label: String,
    /// Whether it collects what has no block of its own.
    pub others: bool,
    /// Its figures, in the order of the page's catalogue of blocks.
    pub rows: Vec<BlockRow>,
}

/// One figure of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// Its name, unique among all figures.
    pub name: Arc<str>,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Arc<str>,
    /// What it means and what to do. One line without control characters.
    pub help: Arc<str>,
    /// All workers together.
    pub value: u64,
}

impl BlockView {
    /// A figure's value by its name.
    pub fn value(&self, name: &str) -> Option<u64> {
        let row = self.rows.iter().find(|row| &*row.name == name)?;
        Some(row.value)
    }
}

/// A line of the page's catalogue of blocks.
#[derive(Clone, Debug)]
pub(super) struct BlockColumn {
    block: BlockKind,
    name: Arc<str>,
    kind: Kind,
    unit: Arc<str>,
    help: Arc<str>,
    /// Invariant: lies in a lane's part of a block.
    slot: usize,
}

impl BlockColumn {
    pub(super) fn from_metric(metric: &BlockMetric) -> Self {
        Self {
            block: metric.block,
            name: metric.name.into(),
            kind: metric.kind,
            unit: metric.unit.as_str().into(),
            help: metric.help.into(),
            slot: metric.slot,
        }
    }
}

/// The blocks of a page that was checked.
#[derive(Clone, Debug)]
pub(super) struct ParsedBlocks {
    pub(super) blocks: Blocks,
    pub(super) columns: Vec<BlockColumn>,
}

/// Checks the blocks; None if the page has none.
pub(super) fn parse(
    header: &[u64; word::IDENTITY_END],
    view: View<'_>,
    lanes: usize,
) -> Result<Option<ParsedBlocks>, ReadProblem> {
    if header[word::BLOCKS_OFFSET] == 0 {
        return Ok(None);
    }
    let blocks = check_place(header, view.bytes(), lanes)?;
    let columns = parse_catalogue(header, view, &blocks)?;
    Ok(Some(ParsedBlocks { blocks, columns }))
}

fn check_place(
    header: &[u64; word::IDENTITY_END],
    bytes: usize,
    lanes: usize,
) -> Result<Blocks, ReadProblem> {
    let damaged = |what| ReadProblem::Header { what };
    let place = |word: usize| super::parse::words(header[word], bytes);
    let count = usize::try_from(header[word::BLOCK_COUNT]).unwrap_or(usize::MAX);
    if count > MAX_BLOCKS {
        return Err(damaged("the number of blocks"));
    }
    let first = place(word::BLOCKS_OFFSET)
        .filter(|first| *first >= HEADER_BYTES / crate::words::WORD)
        .ok_or_else(|| damaged("the place of the blocks"))?;
    let stride = place(word::BLOCK_STRIDE).ok_or_else(|| damaged("the stride of the blocks"))?;
    let label_end = block_word::LABEL + LABEL_BYTES / crate::words::WORD;
    let block_header = place(word::BLOCK_HEADER_BYTES)
        .filter(|length| *length >= label_end)
        .ok_or_else(|| damaged("the length of a block's header"))?;
    let slots = usize::try_from(header[word::BLOCK_SLOTS]).unwrap_or(usize::MAX);
    let fits = slots
        .checked_mul(lanes)
        .and_then(|parts| parts.checked_add(block_header))
        .is_some_and(|end| end <= stride);
    if !fits {
        return Err(damaged("the number of a block's slots"));
    }
    let end = count
        .checked_mul(stride)
        .and_then(|length| length.checked_add(first));
    if end.is_none_or(|end| end > bytes / crate::words::WORD) {
        return Err(damaged("the blocks do not fit into the page"));
    }
    Ok(Blocks {
        first,
        count,
        stride,
        header: block_header,
        slots,
    })
}

fn parse_catalogue(
    header: &[u64; word::IDENTITY_END],
    view: View<'_>,
    blocks: &Blocks,
) -> Result<Vec<BlockColumn>, ReadProblem> {
    let damaged = |line, what| ReadProblem::BlockCatalogue { line, what };
    let [offset, length, hash] = [
        word::BLOCK_CATALOGUE_OFFSET,
        word::BLOCK_CATALOGUE_BYTES,
        word::BLOCK_CATALOGUE_HASH,
    ]
    .map(|at| header[at]);
    let text =
        super::parse::sealed_text(view, offset, length, hash).map_err(|what| damaged(0, what))?;
    let mut columns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if index >= MAX_ROWS {
            return Err(damaged(0, "it is too long"));
        }
        let column = parse_line(line, blocks).map_err(|what| damaged(index + 1, what))?;
        columns.extend(column);
    }
    if text.lines().count() as u64 != header[word::BLOCK_CATALOGUE_LINES] {
        return Err(damaged(0, "its number of lines"));
    }
    let mut names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(damaged(0, "a name is there twice"));
    }
    Ok(columns)
}

/// None for a kind of blocks that this reader does not know.
fn parse_line(line: &str, blocks: &Blocks) -> Result<Option<BlockColumn>, &'static str> {
    let mut fields = line.split('\t');
    let mut field = || fields.next().ok_or("a column is missing");
    let (block, name, kind, unit) = (field()?, field()?, field()?, field()?);
    let (level, slot, help) = (field()?, field()?, field()?);
    let Some(block) = BlockKind::parse(block) else {
        return Ok(None);
    };
    let kind = Kind::parse(kind)
        .filter(|kind| *kind != Kind::Histogram)
        .ok_or("a kind that this reader does not know")?;
    if let Some(problem) = catalogue::name_problem(name, kind) {
        return Err(problem);
    }
    if !super::parse::is_word(unit) {
        return Err("the unit is not a word of a-z");
    }
    Level::parse(level).ok_or("a level that this reader does not know")?;
    let slot: usize = slot.parse().map_err(|_| "the slot is not a number")?;
    if slot >= blocks.slots {
        return Err("the slot lies outside of the block");
    }
    if help.contains(char::is_control) {
        return Err("the help has control characters");
    }
    Ok(Some(BlockColumn {
        block,
        name: name.into(),
        kind,
        unit: unit.into(),
        help: help.into(),
        slot,
    }))
}

/// The blocks that are in use. One that is changed all the time while it is read is left out.
pub(super) fn take(
    view: View<'_>,
    blocks: &Blocks,
    lanes: usize,
    columns: &[BlockColumn],
) -> Vec<BlockView> {
    (0..blocks.count)
        .filter_map(|block| take_one(view, blocks, block, lanes, columns))
        .collect()
}

fn take_one(
    view: View<'_>,
    blocks: &Blocks,
    block: usize,
    lanes: usize,
    columns: &[BlockColumn],
) -> Option<BlockView> {
    let first = blocks.block(block);
    for _ in 0..TRIES {
        let version = view.load(first + block_word::VERSION);
        // Pairs with the release store that ends a change: what it wrote is seen below.
        fence(Ordering::Acquire);
        let kind = BlockKind::from_word(view.load(first + block_word::KIND));
        let label = layout::padded(view, first + block_word::LABEL, LABEL_BYTES);
        let value = |column: &BlockColumn| {
            let part = |lane| view.load(blocks.part(block, lane) + column.slot);
            match column.kind {
                Kind::High => (0..lanes).map(part).max().unwrap_or(0),
                Kind::Gauge => at_least_zero((0..lanes).map(part).fold(0, u64::wrapping_add)),
                Kind::Counter | Kind::Histogram => (0..lanes).map(part).fold(0, u64::wrapping_add),
            }
        };
        let rows: Vec<BlockRow> = (columns.iter())
            .filter(|column| Some(column.block) == kind)
            .map(|column| BlockRow {
                name: Arc::clone(&column.name),
                kind: column.kind,
                unit: Arc::clone(&column.unit),
                help: Arc::clone(&column.help),
                value: value(column),
            })
            .collect();
        let others = view.load(first + block_word::OTHERS) == 1;
        // Pairs with the release fence that begins a change: what it wrote was not read above, or
        // the version is another one here.
        fence(Ordering::Acquire);
        if version.is_multiple_of(2) && view.load(first + block_word::VERSION) == version {
            return Some(BlockView {
                kind: kind?,
                label: label?,
                others,
                rows,
            });
        }
        std::hint::spin_loop();
    }
    None
}
