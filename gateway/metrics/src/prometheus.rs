//! A snapshot in Prometheus' text exposition format, version 0.0.4.
//!
//! Names get the prefix `roomwire_`; counters, gauges and histograms are what Prometheus calls so,
//! high-water marks are gauges. Everything the page may contain was checked or is escaped, so the
//! text is valid for pages of other versions too. The number of lines is bounded: one per figure,
//! [`LE_EXPONENTS`] plus three per histogram, no labels that peers could choose.

use std::fmt::Write as _;

use crate::catalogue::Kind;
use crate::histogram::Histogram;
use crate::reader::Snapshot;

/// What a scraper has to be told: `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures that [`render`] adds; the catalogue may not have rows of these names.
pub(crate) const OWN_NAMES: [&str; 6] = [
    "build_info",
    "ready",
    "workers",
    "start_time_seconds",
    "heartbeat_time_seconds",
    "up",
];

/// A histogram's buckets end below the powers of two from 2^0 to 2^27: two minutes in microseconds,
/// 128 MiB in bytes. The bounds never change, as Prometheus' rates need it.
const LE_EXPONENTS: u32 = 28;

/// The snapshot as text, ending in a line feed.
pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(256 * snapshot.rows.len());
    render_gateway(&mut out, snapshot);
    for row in &snapshot.rows {
        let (name, help) = (&*row.name, &*row.help);
        match (row.kind, &row.histogram) {
            (Kind::Counter, _) => figure(&mut out, name, "counter", help, row.value),
            (Kind::Gauge | Kind::High, _) => figure(&mut out, name, "gauge", help, row.value),
            (Kind::Histogram, Some(values)) => histogram(&mut out, name, help, values),
            (Kind::Histogram, None) => {}
        }
    }
    out
}

fn render_gateway(out: &mut String, snapshot: &Snapshot) {
    head(
        out,
        "build_info",
        "gauge",
        "Always 1; the labels say which gateway this is.",
    );
    let version = escape_label(&snapshot.version);
    let instance = escape_label(&snapshot.instance);
    line(
        out,
        format_args!("roomwire_build_info{{version=\"{version}\",gateway=\"{instance}\"}} 1"),
    );
    let ready =
        "1 while the gateway takes sessions. 0 for long: it starts, drains or cannot go on.";
    figure(out, "ready", "gauge", ready, u64::from(snapshot.ready));
    let workers = "Workers of the gateway, one thread each.";
    figure(
        out,
        "workers",
        "gauge",
        workers,
        u64::from(snapshot.workers),
    );
    let start = "When the gateway started, seconds since 1970.";
    seconds(out, "start_time_seconds", start, snapshot.start_unix_ms);
    let heartbeat =
        "When the gateway last gave a sign of life, seconds since 1970. More than 5 ago: it hangs.";
    seconds(
        out,
        "heartbeat_time_seconds",
        heartbeat,
        snapshot.heartbeat_unix_ms,
    );
}

fn figure(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    line(out, format_args!("roomwire_{name} {value}"));
}

fn seconds(out: &mut String, name: &str, help: &str, unix_ms: u64) {
    head(out, name, "gauge", help);
    line(
        out,
        format_args!("roomwire_{name} {}.{:03}", unix_ms / 1000, unix_ms % 1000),
    );
}

/// `le` includes its bound and recorded values are whole numbers, so the bucket of values below a
/// power of two is the one up to that power less one, and every line is exact.
fn histogram(out: &mut String, name: &str, help: &str, values: &Histogram) {
    head(out, name, "histogram", help);
    for exponent in 0..LE_EXPONENTS {
        let (bound, below) = ((1u64 << exponent) - 1, values.below_power(exponent));
        line(
            out,
            format_args!("roomwire_{name}_bucket{{le=\"{bound}\"}} {below}"),
        );
    }
    let count = values.count();
    line(
        out,
        format_args!("roomwire_{name}_bucket{{le=\"+Inf\"}} {count}"),
    );
    line(out, format_args!("roomwire_{name}_sum {}", values.sum()));
    line(out, format_args!("roomwire_{name}_count {count}"));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(
        out,
        format_args!("# HELP roomwire_{name} {}", escape_help(help)),
    );
    line(out, format_args!("# TYPE roomwire_{name} {kind}"));
}

fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(out, "{arguments}").expect("a String takes everything");
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}
