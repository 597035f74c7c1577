//! Figures as tables: one per tab, sorted and filtered. Knows no screen.

use roomwire_metrics::{BlockKind, BlockView, Kind, Row, Snapshot};

use super::app::Tab;
use super::watch::Watch;

/// How much a row wants to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    #[default]
    Plain,
    /// Something happened once.
    Past,
    /// Something is wrong now.
    Bad,
}

/// One cell: what is shown, and what it is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// Shown to the right.
    Number(String, f64),
}

impl Cell {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text, _) => text,
        }
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            // Numbers are looked at from the largest down.
            (Self::Number(_, a), Self::Number(_, b)) => b.total_cmp(a),
            (a, b) => a.text().cmp(b.text()),
        }
    }
}

/// A row, with what its figure means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) cells: Vec<Cell>,
    pub(super) mood: Mood,
    pub(super) help: String,
}

/// A table of a tab.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) columns: &'static [&'static str],
    /// The column that it is sorted by unless told otherwise.
    pub(super) order: usize,
    pub(super) lines: Vec<Line>,
}

impl Table {
    /// The table of a tab; empty for the overview.
    pub(super) fn of(tab: Tab, watch: &Watch) -> Self {
        let Some(snapshot) = watch.snapshot() else {
            return Self::empty(&["NOTHING YET"]);
        };
        match tab {
            Tab::Overview => Self::empty(&[]),
            Tab::Listeners => listeners(watch, snapshot),
            Tab::Rooms => rooms(snapshot),
            Tab::Workers => workers(watch, snapshot),
            Tab::Latency => latency(watch, snapshot),
            Tab::Errors => counters(watch, snapshot, |row| row.value > 0 && row.is_trouble()),
            Tab::All => counters(watch, snapshot, |row| row.kind != Kind::Histogram),
        }
    }

    fn empty(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            order: 0,
            lines: Vec::new(),
        }
    }

    /// Keeps lines with the text in them, whatever its case.
    pub(super) fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.lines.retain(|line| {
            let mut cells = line.cells.iter();
            cells.any(|cell| cell.text().to_lowercase().contains(&wanted))
        });
    }

    /// Sorts by a column; lines that are equal there keep their order.
    pub(super) fn sort(&mut self, column: usize, reverse: bool) {
        self.lines
            .sort_by(|a, b| match (a.cells.get(column), b.cells.get(column)) {
                (Some(a), Some(b)) if reverse => b.order(a),
                (Some(a), Some(b)) => a.order(b),
                _ => std::cmp::Ordering::Equal,
            });
    }
}

fn listeners(watch: &Watch, snapshot: &Snapshot) -> Table {
    let is_used = |block: &&BlockView| {
        block.kind == BlockKind::Listener
            && (!block.others || block.rows.iter().any(|row| row.value > 0))
    };
    let line = |block: &BlockView| {
        let now = |name: &str| block.value(name).unwrap_or(0);
        let failed = watch.block_rate(block, "listener_sessions_failed_total");
        let refused = watch.block_rate(block, "listener_refused_total");
        let is_bad = [failed, refused].iter().flatten().any(|rate| *rate > 0.0);
        Line {
            cells: vec![
                Cell::Text(block.label.clone()),
                count(now("listener_sessions")),
                rate(watch.block_rate(block, "listener_sessions_opened_total")),
                bytes_rate(watch.block_rate(block, "listener_bytes_in_total")),
                bytes_rate(watch.block_rate(block, "listener_bytes_out_total")),
                rate(watch.block_rate(block, "listener_frames_out_total")),
                rate(watch.block_rate(block, "listener_http_requests_total")),
                count(now("listener_sessions_failed_total")),
                count(now("listener_refused_total")),
            ],
            mood: if is_bad { Mood::Bad } else { Mood::Plain },
            help: "What failed sessions ended by, and why connections were refused, is on the tab of errors.".to_owned(),
        }
    };
    Table {
        columns: &[
            "LISTENER", "SESSIONS", "OPENED/S", "IN/S", "OUT/S", "FRAMES/S", "HTTP/S", "FAILED",
            "REFUSED",
        ],
        order: 1,
        lines: snapshot.blocks.iter().filter(is_used).map(line).collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn rooms(snapshot: &Snapshot) -> Table {
    let line = |block: &BlockView| {
        let now = |name: &str| block.value(name).unwrap_or(0);
        let per_second = now("room_messages_per_1000_s") as f64 / 1000.0;
        Line {
            cells: vec![
                // A peer chose it; the page has no control characters.
                Cell::Text(block.label.clone()),
                rate(Some(per_second)),
                count(now("room_members")),
                count(now("room_watchers")),
                count(now("room_offset")),
                count(now("room_history_messages")),
                Cell::Number(
                    bytes(now("room_history_bytes")),
                    now("room_history_bytes") as f64,
                ),
            ],
            mood: Mood::Plain,
            help: format!(
                "The busiest rooms, 32 at most. {} rooms exist.",
                grouped(snapshot.value("hub_rooms").unwrap_or(0))
            ),
        }
    };
    let rooms = snapshot
        .blocks
        .iter()
        .filter(|block| block.kind == BlockKind::Room);
    Table {
        columns: &[
            "ROOM",
            "MESSAGES/S",
            "MEMBERS",
            "WATCHERS",
            "LAST OFFSET",
            "KEPT",
            "KEPT BYTES",
        ],
        order: 1,
        lines: rooms.map(line).collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn workers(watch: &Watch, snapshot: &Snapshot) -> Table {
    let lines = snapshot.lanes.iter().enumerate().filter_map(|(lane, info)| {
        let worker = info.worker?;
        let lane_value = |name: &str| {
            let row = snapshot.row(name)?;
            row.per_lane.get(lane).copied()
        };
        let busy = watch.lane_rate("worker_cpu_us", lane).map(|micros| micros / 10_000.0);
        let hangs = !watch.lane_moves(lane);
        let state = if hangs { "hangs" } else { "turns" };
        Some(Line {
            cells: vec![
                Cell::Number(worker.to_string(), -f64::from(worker)),
                Cell::Text(state.to_owned()),
                Cell::Number(busy.map_or_else(dash, |busy| format!("{busy:.0} %")), busy.unwrap_or(0.0)),
                count(lane_value("sessions").unwrap_or(0)),
                rate(watch.lane_rate("worker_turns_total", lane)),
                rate(watch.lane_rate("hub_messages_fanned_out_total", lane)),
                rate(watch.lane_rate("hub_deliveries_total", lane)),
                count(lane_value("hub_inbox_high_water").unwrap_or(0)),
            ],
            mood: if hangs { Mood::Bad } else { Mood::Plain },
            help: "Busy is CPU time of the worker's thread. A worker hangs when it makes no turn: a listener of the embedding program blocks it, or the process is halted.".to_owned(),
        })
    });
    Table {
        columns: &[
            "WORKER",
            "STATE",
            "BUSY",
            "SESSIONS",
            "TURNS/S",
            "FANNED OUT/S",
            "DELIVERED/S",
            "INBOX HIGH",
        ],
        order: 0,
        lines: lines.collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "what is sorted by needs no more digits"
)]
fn latency(watch: &Watch, snapshot: &Snapshot) -> Table {
    let line = |row: &Row| {
        let values = watch.lately(&row.name)?;
        let cell = |value: u64| Cell::Number(in_unit(value, &row.unit), value as f64);
        let of = |value: u64| {
            if values.count() > 0 {
                cell(value)
            } else {
                Cell::Number(dash(), -1.0)
            }
        };
        let all = row.histogram.as_ref()?;
        Some(Line {
            cells: vec![
                Cell::Text(row.name.to_string()),
                rate(watch.rate(&row.name)),
                of(values.p50()),
                of(values.p90()),
                of(values.p99()),
                of(values.p999()),
                cell(all.max()),
                count(all.count()),
            ],
            mood: Mood::Plain,
            help: row.help.to_string(),
        })
    };
    Table {
        columns: &[
            "FIGURE", "PER S", "P50", "P90", "P99", "P99.9", "MAX EVER", "COUNT",
        ],
        order: 0,
        lines: snapshot.rows.iter().filter_map(line).collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "what is sorted by needs no more digits"
)]
fn counters(watch: &Watch, snapshot: &Snapshot, wanted: impl Fn(&Row) -> bool) -> Table {
    let line = |row: &Row| {
        let rises = match row.kind {
            Kind::Counter => watch.rate(&row.name),
            Kind::Gauge | Kind::High | Kind::Histogram => None,
        };
        let is_trouble = row.is_trouble() && row.value > 0;
        let mood = match rises {
            Some(rate) if is_trouble && rate > 0.0 => Mood::Bad,
            _ if is_trouble => Mood::Past,
            _ => Mood::Plain,
        };
        Line {
            cells: vec![
                Cell::Text(row.name.to_string()),
                Cell::Number(in_unit(row.value, &row.unit), row.value as f64),
                rate(rises),
                Cell::Text(row.unit.to_string()),
                Cell::Text(row.help.to_string()),
            ],
            mood,
            help: row.help.to_string(),
        }
    };
    Table {
        columns: &[
            "FIGURE",
            "VALUE",
            "PER S",
            "UNIT",
            "MEANING, AND WHAT TO DO",
        ],
        order: 2,
        lines: snapshot
            .rows
            .iter()
            .filter(|row| wanted(row))
            .map(line)
            .collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "what is sorted by needs no more digits"
)]
fn count(value: u64) -> Cell {
    Cell::Number(grouped(value), value as f64)
}

fn rate(rate: Option<f64>) -> Cell {
    Cell::Number(rate.map_or_else(dash, shown_rate), rate.unwrap_or(-1.0))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and a float cast saturates"
)]
fn bytes_rate(rate: Option<f64>) -> Cell {
    let text = rate.map_or_else(dash, |rate| bytes(rate as u64));
    Cell::Number(text, rate.unwrap_or(-1.0))
}

fn dash() -> String {
    "-".to_owned()
}

/// A rate: one decimal while it is small enough to matter.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and a float cast saturates"
)]
pub(super) fn shown_rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        grouped(rate.round() as u64)
    }
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A value as one would say it.
pub(super) fn in_unit(value: u64, unit: &str) -> String {
    match unit {
        "bytes" => bytes(value),
        "us" => micros(value),
        _ => grouped(value),
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value as f64;
    let mut power = 0;
    while scaled >= 1024.0 && power + 1 < UNITS.len() {
        scaled /= 1024.0;
        power += 1;
    }
    match power {
        0 => format!("{value} B"),
        power => format!("{} {}", digits(scaled), UNITS[power]),
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} µs"),
        1_000..1_000_000 => format!("{} ms", digits(value as f64 / 1e3)),
        _ => format!("{} s", digits(value as f64 / 1e6)),
    }
}

fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
