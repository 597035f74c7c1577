//! A snapshot as a scraper wants it: Prometheus' text format 0.0.4, or OpenMetrics 1.0.
//!
//! Names get the prefix `roomwire_`; counters, gauges and histograms are what Prometheus calls so,
//! high-water marks are gauges. Everything the page may contain was checked or is escaped, so the
//! text is valid for pages of other versions too. The number of lines is bounded: three per figure,
//! 33 per histogram, and for blocks one more for each listener and each pattern that the operator
//! named. The busiest rooms are left out: their names, which peers choose, would never stop.

use std::fmt::Write as _;

use crate::catalogue::{BlockKind, Kind};
use crate::histogram::Histogram;
use crate::reader::{BlockRow, BlockView, Snapshot};

/// The two formats, which differ in names, numbers and the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, which every scraper takes.
    #[default]
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// What a scraper has to be told as `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a scraper likes best by its `Accept` (RFC 9110 §12.5.1); the text where it says nothing
    /// or likes both alike.
    pub fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let weights = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next()?;
                let q =
                    parts.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
                let q = q.map_or(Some(1.0), |q| q.parse::<f32>().ok())?;
                name.eq_ignore_ascii_case(wanted).then_some(q)
            });
            weights.fold(0.0, f32::max)
        };
        if weight("application/openmetrics-text") > weight("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// Figures that [`render`] adds; the catalogue may not have rows of these names.
pub(crate) const OWN_NAMES: [&str; 5] = [
    "build_info",
    "ready",
    "workers",
    "start_time_seconds",
    "heartbeat_time_seconds",
];

/// A histogram's buckets end below the powers of two from 2^0 to 2^27: two minutes in microseconds,
/// 128 MiB in bytes. The bounds never change, as Prometheus' rates need it.
const LE_EXPONENTS: u32 = 28;

/// The snapshot as text, ending in a line feed.
pub fn render(snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text {
        out: String::with_capacity(256 * snapshot.rows.len()),
        format,
    };
    text.gateway(snapshot);
    for row in &snapshot.rows {
        let (name, help) = (&*row.name, &*row.help);
        match (row.kind, &row.histogram) {
            (Kind::Histogram, Some(values)) => text.histogram(name, help, values),
            (Kind::Histogram, None) => {}
            (kind, _) => text.figure(name, kind, help, row.value),
        }
    }
    for kind in [BlockKind::Listener, BlockKind::Rooms] {
        text.blocks(snapshot, kind);
    }
    if format == Format::OpenMetrics {
        text.line(format_args!("# EOF"));
    }
    text.out
}

struct Text {
    out: String,
    format: Format,
}

impl Text {
    fn gateway(&mut self, snapshot: &Snapshot) {
        let help = "Always 1; the labels say which gateway this is.";
        self.head("build_info", Kind::Gauge, help);
        let version = escape_label(&snapshot.version);
        let instance = escape_label(&snapshot.instance);
        self.line(format_args!(
            "roomwire_build_info{{version=\"{version}\",gateway=\"{instance}\"}} 1"
        ));
        let help =
            "1 while the gateway takes sessions. 0 for long: it starts, drains or cannot go on.";
        self.figure("ready", Kind::Gauge, help, u64::from(snapshot.ready));
        let help = "Workers of the gateway, one thread each.";
        self.figure("workers", Kind::Gauge, help, u64::from(snapshot.workers));
        let help = "When the gateway started, seconds since 1970.";
        self.seconds("start_time_seconds", help, snapshot.start_unix_ms);
        let help = "When the gateway last gave a sign of life, seconds since 1970. More than 5 ago: it hangs.";
        self.seconds("heartbeat_time_seconds", help, snapshot.heartbeat_unix_ms);
    }

    fn figure(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(format_args!("roomwire_{name} {value}"));
    }

    fn seconds(&mut self, name: &str, help: &str, unix_ms: u64) {
        self.head(name, Kind::Gauge, help);
        let (whole, rest) = (unix_ms / 1000, unix_ms % 1000);
        self.line(format_args!("roomwire_{name} {whole}.{rest:03}"));
    }

    /// `le` includes its bound and recorded values are whole numbers, so the bucket of values below
    /// a power of two is the one up to that power less one, and every line is exact.
    fn histogram(&mut self, name: &str, help: &str, values: &Histogram) {
        self.head(name, Kind::Histogram, help);
        // OpenMetrics wants a bound to look like a fraction.
        let fraction = match self.format {
            Format::Text => "",
            Format::OpenMetrics => ".0",
        };
        for exponent in 0..LE_EXPONENTS {
            let (bound, below) = ((1u64 << exponent) - 1, values.below_power(exponent));
            self.line(format_args!(
                "roomwire_{name}_bucket{{le=\"{bound}{fraction}\"}} {below}"
            ));
        }
        let (count, sum) = (values.count(), values.sum());
        self.line(format_args!(
            "roomwire_{name}_bucket{{le=\"+Inf\"}} {count}"
        ));
        self.line(format_args!("roomwire_{name}_sum {sum}"));
        self.line(format_args!("roomwire_{name}_count {count}"));
    }

    /// One family for each figure of a kind of blocks, one line in it for each block.
    fn blocks(&mut self, snapshot: &Snapshot, kind: BlockKind) {
        let blocks = || snapshot.blocks.iter().filter(|block| block.kind == kind);
        let Some(first) = blocks().next() else {
            return;
        };
        for BlockRow {
            name,
            kind: figure,
            help,
            ..
        } in &first.rows
        {
            self.head(name, *figure, help);
            for block in blocks() {
                let Some(value) = block.value(name) else {
                    continue;
                };
                let labels = labels(block);
                self.line(format_args!("roomwire_{name}{{{labels}}} {value}"));
            }
        }
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::High => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, help) = match self.format {
            Format::Text => (name, escape_help(help)),
            // A counter's family is called without what its sample ends in.
            Format::OpenMetrics => (
                name.strip_suffix("_total").unwrap_or(name),
                escape_label(help),
            ),
        };
        self.line(format_args!("# HELP roomwire_{name} {help}"));
        self.line(format_args!("# TYPE roomwire_{name} {word}"));
    }

    fn line(&mut self, arguments: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{arguments}").expect("a String takes everything");
    }
}

/// What collects all others is told from a listener that is called so by a second label.
fn labels(block: &BlockView) -> String {
    let (kind, label) = (block.kind.as_str(), escape_label(&block.label));
    let others = if block.others { ",others=\"1\"" } else { "" };
    format!("{kind}=\"{label}\"{others}")
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_likes_best() {
        let check = |accept: &str, expected| {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        };
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/html", Format::Text);
        check("application/openmetrics-text", Format::OpenMetrics);
        check(
            "Application/OpenMetrics-Text; version=1.0.0",
            Format::OpenMetrics,
        );
        check("application/openmetrics-text;q=0", Format::Text);
        check("application/openmetrics-text;q=x", Format::Text);
        check(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            Format::OpenMetrics,
        );
        check(
            "application/openmetrics-text;q=0.1, text/plain;q=0.9",
            Format::Text,
        );
    }
}
