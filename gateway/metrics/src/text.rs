//! A snapshot for people (a table) and for scripts (JSON).
//!
//! Both show what any page says, also one of another version. What comes from the page has no
//! control characters, the reader saw to that, so nothing here can play with a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::catalogue::{Kind, Level};
use crate::reader::{BlockView, GatewayState, Row, Snapshot};

/// What [`table`] shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions<'a> {
    /// An earlier snapshot of the same gateway and the time between the two, for rates.
    pub previous: Option<(&'a Snapshot, Duration)>,
    /// Also rows that are zero.
    pub all: bool,
    /// Rows up to this level.
    pub level: Level,
}

/// One line that says which gateway it is and how it is.
pub fn headline(snapshot: &Snapshot, state: GatewayState, now_unix_ms: u64) -> String {
    let Snapshot {
        instance,
        version,
        pid,
        workers,
        ..
    } = snapshot;
    let plural = if *workers == 1 { "" } else { "s" };
    let since = |unix_ms: u64| duration(now_unix_ms.saturating_sub(unix_ms));
    let heartbeat = since(snapshot.heartbeat_unix_ms);
    let state = match state {
        GatewayState::Running => format!("running for {}", since(snapshot.start_unix_ms)),
        GatewayState::Starting => "starting".to_owned(),
        GatewayState::Draining => "draining".to_owned(),
        GatewayState::Stopped => format!("stopped, last heartbeat {heartbeat} ago"),
        GatewayState::Dead => {
            format!("DEAD without a clean stop: last figures, last heartbeat {heartbeat} ago")
        }
        GatewayState::Stalled => format!("STALLED: no heartbeat for {heartbeat}"),
    };
    format!("{instance} (pid {pid}, version {version}, {workers} worker{plural}) {state}")
}

/// Milliseconds as the two largest units.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// The figures as an aligned table with a heading, each line ended by a line feed.
pub fn table(snapshot: &Snapshot, options: &TableOptions<'_>) -> String {
    let mut lines = vec![[
        "NAME".to_owned(),
        "VALUE".to_owned(),
        String::new(),
        String::new(),
    ]];
    if options.previous.is_some() {
        lines[0][3] = "PER SECOND".to_owned();
    }
    let shown = (snapshot.rows.iter())
        .filter(|row| row.level <= options.level && (options.all || row.value != 0));
    for row in shown {
        let rate = options
            .previous
            .and_then(|(earlier, elapsed)| rate(row, earlier, elapsed));
        lines.push([
            row.name.to_string(),
            value(row),
            row.unit.to_string(),
            rate.unwrap_or_default(),
        ]);
    }
    let widths = [0, 1, 2, 3].map(|column| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut out = String::new();
    for [name, value, unit, rate] in &lines {
        let [a, b, c, d] = widths;
        let line = format!("{name:a$}  {value:>b$}  {unit:c$}  {rate:>d$}");
        writeln!(out, "{}", line.trim_end()).expect("a String takes everything");
    }
    out
}

/// Listeners, patterns of rooms and the busiest rooms, each with its figures; those without any
/// only when all are asked for.
pub fn blocks(snapshot: &Snapshot, all: bool) -> String {
    let mut out = String::new();
    for block in &snapshot.blocks {
        let rows = block.rows.iter().filter(|row| all || row.value != 0);
        let prefix = format!("{}_", block.kind.as_str());
        let figures: Vec<String> = rows
            .map(|row| {
                let name = row.name.strip_prefix(&prefix).unwrap_or(&row.name);
                format!("{name} {}", grouped(row.value))
            })
            .collect();
        if figures.is_empty() {
            continue;
        }
        if out.is_empty() {
            out.push('\n');
        }
        let (kind, label, figures) = (block.kind.as_str(), &block.label, figures.join("  "));
        writeln!(out, "{kind} {label}: {figures}").expect("a String takes everything");
    }
    out
}

fn value(row: &Row) -> String {
    let Some(values) = &row.histogram else {
        return grouped(row.value);
    };
    let (p50, p99) = (grouped(values.p50()), grouped(values.p99()));
    format!("p50 {p50}  p99 {p99}  max {}", grouped(values.max()))
}

/// Only what counts up has a rate. After a restart between the two the figure begins anew, so has
/// none either.
fn rate(row: &Row, earlier: &Snapshot, elapsed: Duration) -> Option<String> {
    if !matches!(row.kind, Kind::Counter | Kind::Histogram) || elapsed.is_zero() {
        return None;
    }
    let grown = row.value.checked_sub(earlier.value(&row.name)?)?;
    let tenths_per_second = u128::from(grown) * 10_000_000_000 / elapsed.as_nanos();
    let whole = u64::try_from(tenths_per_second / 10).unwrap_or(u64::MAX);
    Some(format!("{}.{}", grouped(whole), tenths_per_second % 10))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
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

/// The snapshot as one JSON object. Members may be added; those there now stay:
///
/// ```json
/// {
///   "instance": "main", "pid": 4242, "version": "0.1.0", "state": "running", "ready": true,
///   "start_unix_ms": 1763690000000, "since_unix_ms": 1763690000000,
///   "heartbeat_unix_ms": 1763690100000, "workers": 4,
///   "counters": {
///     "sessions": {
///       "kind": "gauge", "unit": "sessions", "level": "info", "help": "…", "value": 12,
///       "per_worker": [3, 3, 4, 2], "shared": 0
///     },
///     "worker_turn_us": {
///       "kind": "histogram", "unit": "us", "level": "diag", "help": "…", "value": 900,
///       "per_worker": [900, 0, 0, 0], "shared": 0,
///       "sum": 5000, "max": 90, "p50": 4, "p90": 9, "p99": 41, "p999": 88
///     }
///   },
///   "blocks": [
///     {
///       "kind": "listener", "label": "chat", "others": false,
///       "figures": {"listener_sessions": 12, "listener_bytes_in_total": 4096}
///     }
///   ]
/// }
/// ```
///
/// `kind` is `counter`, `gauge`, `high` or `histogram`; a histogram's `value` is the number of values
/// recorded. `state` is a word of [`GatewayState::as_str`]. Numbers are whole and below 2^64.
pub fn json(snapshot: &Snapshot, state: GatewayState) -> String {
    let counters: Map<String, Value> = (snapshot.rows.iter())
        .map(|row| (row.name.to_string(), json_row(snapshot, row)))
        .collect();
    let blocks: Vec<Value> = snapshot.blocks.iter().map(json_block).collect();
    json!({
        "instance": snapshot.instance,
        "pid": snapshot.pid,
        "version": snapshot.version,
        "state": state.as_str(),
        "ready": snapshot.ready,
        "start_unix_ms": snapshot.start_unix_ms,
        "since_unix_ms": snapshot.since_unix_ms,
        "heartbeat_unix_ms": snapshot.heartbeat_unix_ms,
        "workers": snapshot.workers,
        "counters": counters,
        "blocks": blocks,
    })
    .to_string()
}

fn json_block(block: &BlockView) -> Value {
    let figures: Map<String, Value> = (block.rows.iter())
        .map(|row| (row.name.to_string(), row.value.into()))
        .collect();
    json!({
        "kind": block.kind.as_str(),
        "label": block.label,
        "others": block.others,
        "figures": figures,
    })
}

fn json_row(snapshot: &Snapshot, row: &Row) -> Value {
    let lanes = || snapshot.lanes.iter().zip(&row.per_lane);
    let per_worker: Vec<u64> = lanes()
        .filter(|(lane, _)| lane.worker.is_some())
        .map(|(_, value)| *value)
        .collect();
    let shared: u64 = lanes()
        .filter(|(lane, _)| lane.worker.is_none())
        .fold(0, |sum, (_, value)| sum.wrapping_add(*value));
    let mut object = json!({
        "kind": row.kind.as_str(),
        "unit": &*row.unit,
        "level": row.level.as_str(),
        "help": &*row.help,
        "value": row.value,
        "per_worker": per_worker,
        "shared": shared,
    });
    if let (Some(values), Value::Object(members)) = (&row.histogram, &mut object) {
        for (name, value) in [
            ("sum", values.sum()),
            ("max", values.max()),
            ("p50", values.p50()),
            ("p90", values.p90()),
            ("p99", values.p99()),
            ("p999", values.p999()),
        ] {
            members.insert(name.to_owned(), value.into());
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::sample::{COUNTER, GAUGE, HIGH, HISTOGRAM, OTHER_COUNTER};
    use crate::{Page, PageOptions};

    /// Five rows under names of the test's own.
    fn renamed(mut snapshot: Snapshot) -> Snapshot {
        let rename = |(metric, name, unit, level): (&crate::Metric, &str, &str, Level)| Row {
            name: name.into(),
            unit: unit.into(),
            level,
            ..snapshot.row(metric.name).unwrap().clone()
        };
        snapshot.rows = [
            (GAUGE, "sessions", "sessions", Level::Info),
            (COUNTER, "refused_total", "sessions", Level::Info),
            (OTHER_COUNTER, "delivered_total", "messages", Level::Info),
            (HIGH, "inbox_high_water", "messages", Level::Info),
            (HISTOGRAM, "turn_us", "us", Level::Diag),
        ]
        .map(rename)
        .into();
        snapshot
    }

    fn snapshots() -> (Snapshot, Snapshot) {
        let options = PageOptions {
            pid: 42,
            version: "1.2.3".into(),
            ..PageOptions::new("main", 2)
        };
        let page = Page::anonymous(&options).unwrap();
        let (lane, shared) = (page.lane(0).unwrap(), page.shared());
        lane.add(OTHER_COUNTER.id, 1_000);
        lane.gauge_add(GAUGE.id, 12);
        lane.publish();
        let earlier = renamed(page.snapshot());
        lane.add(OTHER_COUNTER.id, 1_233_567);
        (1..=100).for_each(|value| lane.record(HISTOGRAM.id, value));
        lane.publish();
        shared.increment(COUNTER.id);
        (earlier, renamed(page.snapshot()))
    }

    #[test]
    fn the_table_is_aligned_hides_zeros_and_shows_rates() {
        let (earlier, now) = snapshots();
        let previous = Some((&earlier, Duration::from_secs(2)));
        let options = TableOptions {
            previous,
            level: Level::Diag,
            all: false,
        };
        let expected = "\
NAME                               VALUE            PER SECOND
sessions                              12  sessions
refused_total                          1  sessions         0.5
delivered_total                1,234,567  messages   616,783.5
turn_us          p50 50  p99 98  max 100  us              50.0
";
        assert_eq!(table(&now, &options), expected);
    }

    #[test]
    fn the_table_shows_all_rows_when_asked() {
        let (_, now) = snapshots();
        let everything = TableOptions {
            all: true,
            level: Level::Debug,
            previous: None,
        };
        assert_eq!(table(&now, &everything).lines().count(), now.rows.len() + 1);
        let default = table(&now, &TableOptions::default());
        assert_eq!(
            default.lines().count(),
            4,
            "no zeros, no diag rows, no rates: {default}"
        );
        assert!(!default.contains("PER SECOND"));
    }

    #[test]
    fn a_figure_that_went_back_has_no_rate() {
        let (earlier, now) = snapshots();
        let options = TableOptions {
            previous: Some((&now, Duration::from_secs(1))),
            ..Default::default()
        };
        assert!(table(&earlier, &options).contains("delivered_total"));
        assert!(!table(&earlier, &options).contains('.'));
        let at_once = TableOptions {
            previous: Some((&now, Duration::ZERO)),
            ..Default::default()
        };
        assert!(!table(&now, &at_once).contains('.'));
    }

    #[test]
    fn numbers_and_times_are_easy_to_read() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), expected);
        }
        for (ms, expected) in [
            (999, "0 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn the_headline_says_how_the_gateway_is() {
        let (_, now) = snapshots();
        for (state, expected) in [
            (
                GatewayState::Running,
                "main (pid 42, version 1.2.3, 2 workers) running for 1 min 0 s",
            ),
            (GatewayState::Dead, "last heartbeat 1 min 0 s ago"),
            (GatewayState::Stalled, "STALLED: no heartbeat for 1 min 0 s"),
            (GatewayState::Stopped, "stopped"),
            (GatewayState::Draining, "draining"),
            (GatewayState::Starting, "starting"),
        ] {
            let line = headline(&now, state, 60_000);
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn json_has_the_documented_shape() {
        let (_, now) = snapshots();
        let value: Value = serde_json::from_str(&json(&now, GatewayState::Running)).unwrap();
        assert_eq!(value["state"], "running");
        assert_eq!((&value["pid"], &value["workers"]), (&json!(42), &json!(2)));
        assert_eq!(value["counters"].as_object().unwrap().len(), now.rows.len());
        let refused = &value["counters"]["refused_total"];
        assert_eq!(refused["kind"], "counter");
        assert_eq!(
            (&refused["per_worker"], &refused["shared"]),
            (&json!([0, 0]), &json!(1))
        );
        let turns = &value["counters"]["turn_us"];
        assert_eq!((&turns["value"], &turns["max"]), (&json!(100), &json!(100)));
        assert_eq!((&turns["sum"], &turns["p50"]), (&json!(5050), &json!(50)));
        assert!(refused.get("p50").is_none());
    }
}
