//! What admin pages are sent: server-sent events with JSON, made once for all who look on.
//!
//! `hello` comes first and says what there is: the gateway, its listeners, the names of all figures,
//! and the last ten minutes. A `sample` follows each second. docs/protocol.md has their shape.

use std::collections::BTreeMap;

use bytes::Bytes;
use roomwire_metrics::{BlockView, Histogram, Snapshot};
use roomwire_protocols::sse;
use serde::Serialize;

use super::series;
use crate::lifecycle::Clock;
use crate::shared::Shared;

/// One second.
#[derive(Debug)]
pub(super) struct Sample {
    /// When, on the gateway's own clock, which is never set.
    pub(super) at_ms: u64,
    pub(super) values: Box<[f64]>,
}

#[derive(Serialize)]
struct Hello<'a> {
    instance: &'a str,
    pid: u32,
    version: &'a str,
    workers: u16,
    start_unix_ms: u64,
    step_ms: u64,
    span_ms: u64,
    drain_ms: u64,
    listeners: Vec<ListenerEntry<'a>>,
    series: Vec<SeriesEntry>,
    counters: Vec<CounterEntry<'a>>,
    history: History,
}

#[derive(Serialize)]
struct ListenerEntry<'a> {
    name: &'a str,
    protocol: &'static str,
    handler: &'static str,
    address: String,
}

#[derive(Serialize)]
struct SeriesEntry {
    name: String,
    unit: &'static str,
}

#[derive(Serialize)]
struct CounterEntry<'a> {
    name: &'a str,
    kind: &'static str,
    unit: &'a str,
    level: &'static str,
    trouble: bool,
    help: &'a str,
}

/// By series, not by second: less text, and what the page draws.
#[derive(Serialize)]
struct History {
    at_ms: Vec<u64>,
    values: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Now<'a> {
    at_ms: u64,
    unix_ms: u64,
    state: &'static str,
    /// In the order of the hello's `series`.
    values: Vec<f64>,
    /// In the order of the hello's `counters`.
    counters: Vec<u64>,
    histograms: BTreeMap<&'a str, Percentiles>,
    per_worker: BTreeMap<&'a str, &'a [u64]>,
    blocks: Vec<BlockEntry<'a>>,
}

#[derive(Serialize)]
struct Percentiles {
    sum: u64,
    max: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
}

#[derive(Serialize)]
struct BlockEntry<'a> {
    kind: &'static str,
    label: &'a str,
    others: bool,
    figures: BTreeMap<&'a str, u64>,
}

/// Figures that are shown by worker.
const PER_WORKER: &[&str] = &[
    "sessions",
    "hub_publishes_total",
    "hub_deliveries_total",
    "worker_cpu_us",
    "worker_turns_total",
];

/// The first event of a stream.
pub(super) fn hello<'a>(
    shared: &Shared,
    snapshot: &Snapshot,
    samples: impl Iterator<Item = &'a Sample> + Clone,
) -> Bytes {
    let listeners = shared.listeners.iter().map(|bound| ListenerEntry {
        name: &bound.name,
        protocol: bound.protocol,
        handler: bound.handler,
        address: bound.address.to_string(),
    });
    let names = series::names(usize::from(snapshot.workers));
    let counters = snapshot.rows.iter().map(|row| CounterEntry {
        name: &row.name,
        kind: row.kind.as_str(),
        unit: &row.unit,
        level: row.level.as_str(),
        trouble: row.is_trouble(),
        help: &row.help,
    });
    let of_series = |at: usize| {
        samples
            .clone()
            .map(move |sample| rounded(sample.values[at]))
    };
    let hello = Hello {
        instance: &snapshot.instance,
        pid: snapshot.pid,
        version: &snapshot.version,
        workers: snapshot.workers,
        start_unix_ms: snapshot.start_unix_ms,
        step_ms: super::feed::STEP_MS,
        span_ms: super::feed::SPAN_MS,
        drain_ms: shared.config.gateway.drain.as_millis(),
        listeners: listeners.collect(),
        counters: counters.collect(),
        history: History {
            at_ms: samples.clone().map(|sample| sample.at_ms).collect(),
            values: (0..names.len()).map(|at| of_series(at).collect()).collect(),
        },
        series: names
            .into_iter()
            .map(|(name, unit)| SeriesEntry { name, unit })
            .collect(),
    };
    event("hello", &hello)
}

/// What is sent each second.
pub(super) fn sample(snapshot: &Snapshot, sample: &Sample) -> Bytes {
    let histogram = |histogram: &Histogram| Percentiles {
        sum: histogram.sum(),
        max: histogram.max(),
        p50: histogram.p50(),
        p90: histogram.p90(),
        p99: histogram.p99(),
        p999: histogram.p999(),
    };
    let rows = &snapshot.rows;
    let histograms = rows
        .iter()
        .filter_map(|row| Some((&*row.name, histogram(row.histogram.as_ref()?))));
    let workers = usize::from(snapshot.workers);
    let per_worker = rows
        .iter()
        .filter(|row| PER_WORKER.contains(&&*row.name))
        .map(|row| (&*row.name, row.per_lane.get(..workers).unwrap_or(&[])));
    let unix_ms = Clock::unix_ms();
    let now = Now {
        at_ms: sample.at_ms,
        unix_ms,
        state: snapshot.state(unix_ms, true).as_str(),
        values: sample.values.iter().copied().map(rounded).collect(),
        counters: rows.iter().map(|row| row.value).collect(),
        histograms: histograms.collect(),
        per_worker: per_worker.collect(),
        blocks: snapshot.blocks.iter().map(block).collect(),
    };
    event("sample", &now)
}

/// The last event of a stream: the gateway has nothing more to tell.
pub(super) fn end() -> Bytes {
    let mut out = Vec::new();
    sse::event(&mut out, "end", b"{}");
    out.into()
}

fn block(block: &BlockView) -> BlockEntry<'_> {
    BlockEntry {
        kind: block.kind.as_str(),
        label: &block.label,
        others: block.others,
        figures: block
            .rows
            .iter()
            .map(|row| (&*row.name, row.value))
            .collect(),
    }
}

/// With as many digits as anybody sees.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn event(name: &str, value: &impl Serialize) -> Bytes {
    let mut out = Vec::new();
    match serde_json::to_vec(value) {
        Ok(json) => sse::event(&mut out, name, &json),
        Err(error) => tracing::error!(%error, "figures could not be written as JSON"),
    }
    out.into()
}
