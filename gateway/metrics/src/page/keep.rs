//! Going on from the figures of the gateway that had the page before.
//!
//! What the old page counted goes into the shared lane of the new one, by name and kind, so that it
//! does not matter how many workers there were or which version wrote it. Gauges say what is now and
//! begin anew. A page that cannot be read is no reason not to start.

use std::path::Path;

use super::PageOptions;
use crate::catalogue::{BLOCK_CATALOGUE, CATALOGUE, Kind};
use crate::histogram::{BUCKETS_SLOT, COUNT_SLOT, MAX_SLOT, SUM_SLOT};
use crate::layout::{FIRST_ROOMS_BLOCK, LISTENER_BLOCKS, ROOMS_BLOCKS, Shape, word};
use crate::reader::{BlockView, Reader, Snapshot};

/// Writes the figures of the page at `path` into a new page's image.
pub(super) fn from_page(path: &Path, shape: &Shape, options: &PageOptions, image: &mut [u64]) {
    let Some(old) = Reader::open(path).ok().and_then(|it| it.snapshot().ok()) else {
        return;
    };
    image[word::SINCE] = old.since_unix_ms;
    keep_lanes(&old, shape, image);
    for block in &old.blocks {
        if let Some(at) = place(block, options) {
            keep_block(block, shape.blocks().part(at, shape.lane_count - 1), image);
        }
    }
}

fn keep_lanes(old: &Snapshot, shape: &Shape, image: &mut [u64]) {
    let shared = shape.lanes().slots(shape.lane_count - 1);
    for metric in CATALOGUE.iter().filter(|it| it.kind != Kind::Gauge) {
        let Some(row) = old.row(metric.name).filter(|row| row.kind == metric.kind) else {
            continue;
        };
        let first = shared + metric.slot;
        let Some(values) = &row.histogram else {
            image[first] = row.value;
            continue;
        };
        image[first + COUNT_SLOT] = values.count();
        image[first + SUM_SLOT] = values.sum();
        image[first + MAX_SLOT] = values.max();
        for (bucket, count) in values.buckets().iter().enumerate() {
            image[first + BUCKETS_SLOT + bucket] = *count;
        }
    }
}

/// Which block of the new page an old one goes on in.
fn place(block: &BlockView, options: &PageOptions) -> Option<usize> {
    use crate::catalogue::BlockKind;
    let (labels, first, most) = match block.kind {
        BlockKind::Listener => (&options.listeners, 0, LISTENER_BLOCKS),
        BlockKind::Rooms => (&options.rooms, FIRST_ROOMS_BLOCK, ROOMS_BLOCKS),
        BlockKind::Room => return None,
    };
    if block.others {
        return Some(first + most);
    }
    let nth = labels
        .iter()
        .take(most)
        .position(|label| *label == block.label);
    nth.map(|nth| first + nth)
}

fn keep_block(block: &BlockView, part: usize, image: &mut [u64]) {
    for metric in BLOCK_CATALOGUE.iter().filter(|it| it.kind != Kind::Gauge) {
        let same = block.rows.iter().find(|row| *row.name == *metric.name);
        if let Some(row) = same.filter(|row| row.kind == metric.kind && metric.block == block.kind)
        {
            image[part + metric.slot] = row.value;
        }
    }
}
