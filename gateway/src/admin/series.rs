//! What is remembered of each second: the figures that the admin page draws over time.
//!
//! Rates, shares and percentiles are of that second alone, made of two snapshots of the counter page
//! that are about a second apart. One line of the table here makes a series.

use std::time::Duration;

use roomwire_metrics::{BlockKind, Row, Snapshot};

use crate::event::BoundAddress;

/// CPU of more workers than this is not remembered apart. Chosen: no page can show more lines.
const MAX_WORKERS: usize = 64;

/// How a series comes from two snapshots.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// The figure as it is.
    Gauge(&'static str),
    /// How fast some counters grew together.
    Rate(&'static [&'static str]),
    /// How fast everything grew that means trouble.
    Troubles,
    /// Frames sent by listeners of these protocols.
    FramesOut(&'static [&'static str]),
    /// A percentile of what a histogram recorded in between.
    Quantile(&'static str, f64),
    /// How busy the workers were together, in percent of one core.
    Cpu,
}

use Measure::{Cpu, FramesOut, Gauge, Quantile, Rate, Troubles};

/// Name, unit, and where it comes from.
const TABLE: &[(&str, &str, Measure)] = &[
    ("sessions", "sessions", Gauge("sessions")),
    ("rooms", "rooms", Gauge("hub_rooms")),
    ("in", "messages/s", Rate(&["hub_publishes_total"])),
    ("out", "messages/s", Rate(&["hub_deliveries_total"])),
    ("troubles", "events/s", Troubles),
    (
        "in_websocket",
        "messages/s",
        Rate(&["ws_messages_in_total"]),
    ),
    (
        "in_tcp",
        "messages/s",
        Rate(&[
            "tcp_lines_in_total",
            "tcp_chat_lines_in_total",
            "tcp_framed_messages_in_total",
        ]),
    ),
    ("in_udp", "messages/s", Rate(&["udp_datagrams_in_total"])),
    ("in_http", "requests/s", Rate(&["http_requests_total"])),
    ("out_http", "messages/s", FramesOut(&["http", "https"])),
    ("out_tcp", "messages/s", FramesOut(&["tcp", "tls"])),
    ("out_udp", "messages/s", FramesOut(&["udp"])),
    (
        "bytes_in",
        "bytes/s",
        Rate(&["wire_bytes_in_total", "udp_bytes_in_total"]),
    ),
    (
        "bytes_out",
        "bytes/s",
        Rate(&["wire_bytes_out_total", "udp_bytes_out_total"]),
    ),
    ("flush_p50", "us", Quantile("hub_publish_to_flush_us", 0.5)),
    ("flush_p90", "us", Quantile("hub_publish_to_flush_us", 0.9)),
    ("flush_p99", "us", Quantile("hub_publish_to_flush_us", 0.99)),
    (
        "flush_p999",
        "us",
        Quantile("hub_publish_to_flush_us", 0.999),
    ),
    ("request_p50", "us", Quantile("http_request_us", 0.5)),
    ("request_p99", "us", Quantile("http_request_us", 0.99)),
    ("turn_p99", "us", Quantile("worker_turn_us", 0.99)),
    ("lag_p99", "us", Quantile("worker_lag_us", 0.99)),
    ("cpu", "percent", Cpu),
    ("memory", "bytes", Gauge("process_memory_bytes")),
    ("descriptors", "descriptors", Gauge("process_descriptors")),
    ("outbox", "bytes", Gauge("outbox_bytes")),
];

/// The CPU time of the workers, in microseconds.
const WORKER_CPU: &str = "worker_cpu_us";

/// Names and units of the series: the table's, then the CPU of each worker.
pub(super) fn names(workers: usize) -> Vec<(String, &'static str)> {
    let table = TABLE
        .iter()
        .map(|(name, unit, _)| ((*name).to_owned(), *unit));
    let cpu = (0..workers.min(MAX_WORKERS)).map(|worker| (format!("cpu_{worker}"), "percent"));
    table.chain(cpu).collect()
}

/// One value for each series; NaN where there is none.
pub(super) fn measure(
    earlier: &Snapshot,
    now: &Snapshot,
    elapsed: Duration,
    listeners: &[BoundAddress],
) -> Box<[f64]> {
    let between = Between {
        earlier,
        now,
        seconds: elapsed.as_secs_f64(),
        listeners,
    };
    let table = TABLE.iter().map(|(_, _, measure)| between.value(*measure));
    let workers = usize::from(now.workers).min(MAX_WORKERS);
    let cpu = (0..workers).map(|worker| between.worker_cpu(worker));
    table.chain(cpu).collect()
}

struct Between<'a> {
    earlier: &'a Snapshot,
    now: &'a Snapshot,
    seconds: f64,
    listeners: &'a [BoundAddress],
}

#[allow(
    clippy::cast_precision_loss,
    reason = "what is drawn has a few digits, and a float has sixteen"
)]
impl Between<'_> {
    fn value(&self, measure: Measure) -> f64 {
        match measure {
            Gauge(name) => self.now.value(name).map_or(f64::NAN, |value| value as f64),
            Rate(names) => self.rate(names.iter().filter_map(|name| self.now.row(name))),
            Troubles => self.rate(self.now.rows.iter().filter(|row| row.is_trouble())),
            FramesOut(protocols) => self.frames_out(protocols),
            Quantile(name, share) => self.quantile(name, share),
            Cpu => {
                let workers = 0..usize::from(self.now.workers);
                workers.map(|worker| self.worker_cpu(worker)).sum()
            }
        }
    }

    fn rate<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> f64 {
        let grown = rows.map(|row| {
            let before = self.earlier.value(&row.name).unwrap_or(0);
            row.value.saturating_sub(before) as f64
        });
        grown.sum::<f64>() / self.seconds
    }

    fn frames_out(&self, protocols: &[&str]) -> f64 {
        let sent = |snapshot: &Snapshot| {
            let mine = |label: &str| {
                let mut listeners = self.listeners.iter();
                let found = listeners.find(|listener| &*listener.name == label);
                found.is_some_and(|listener| protocols.contains(&listener.protocol))
            };
            let blocks = snapshot.blocks.iter();
            let blocks =
                blocks.filter(|block| block.kind == BlockKind::Listener && mine(&block.label));
            let frames = blocks.filter_map(|block| block.value("listener_frames_out_total"));
            frames.sum::<u64>()
        };
        sent(self.now).saturating_sub(sent(self.earlier)) as f64 / self.seconds
    }

    fn quantile(&self, name: &str, share: f64) -> f64 {
        let histogram = |snapshot| Snapshot::row(snapshot, name)?.histogram.as_ref();
        let (Some(now), Some(earlier)) = (histogram(self.now), histogram(self.earlier)) else {
            return f64::NAN;
        };
        let recorded = now.since(earlier);
        if recorded.count() == 0 {
            return f64::NAN;
        }
        recorded.quantile(share) as f64
    }

    fn worker_cpu(&self, worker: usize) -> f64 {
        let of = |snapshot| Some(*Snapshot::row(snapshot, WORKER_CPU)?.per_lane.get(worker)?);
        let (Some(now), Some(earlier)) = (of(self.now), of(self.earlier)) else {
            return f64::NAN;
        };
        // Of a million microseconds in a second, in percent.
        now.saturating_sub(earlier) as f64 / self.seconds / 10_000.0
    }
}

#[cfg(test)]
mod tests {
    use roomwire_metrics::{CATALOGUE, Id, Page, PageOptions};

    use super::*;

    #[test]
    fn every_series_comes_from_a_figure_that_there_is() {
        let known = |name: &str| CATALOGUE.iter().any(|metric| metric.name == name);
        assert!(known(WORKER_CPU));
        for (series, _, measure) in TABLE {
            let used: &[&str] = match measure {
                Gauge(name) | Quantile(name, _) => &[name],
                Rate(names) => names,
                FramesOut(_) | Troubles | Cpu => &[],
            };
            for name in used {
                assert!(known(name), "{series}: {name}");
            }
        }
    }

    #[test]
    fn rates_and_percentiles_are_of_the_time_in_between() {
        let page = Page::anonymous(&PageOptions::new("series", 2)).unwrap();
        let lanes = [page.lane(0).unwrap(), page.lane(1).unwrap()];
        for lane in &lanes {
            lane.add(Id::Publishes, 100);
            lane.record(Id::PublishToFlushMicros, 5_000);
            lane.publish();
        }
        let earlier = page.snapshot();
        for lane in &lanes {
            lane.add(Id::Publishes, 30);
            lane.record(Id::PublishToFlushMicros, 40);
            lane.add(Id::ErrorsJson, 1);
            lane.gauge_set(Id::WorkerCpuMicros, 500_000);
            lane.publish();
        }
        let now = page.snapshot();
        let values = measure(&earlier, &now, Duration::from_secs(2), &[]);
        let names = names(2);
        assert_eq!(names.len(), values.len());
        let value = |name: &str| {
            let at = names.iter().position(|(known, _)| known == name);
            values[at.unwrap_or_else(|| panic!("no series {name}"))]
        };
        let near = |name: &str, expected: f64| {
            let found = value(name);
            assert!((found - expected).abs() < 0.001, "{name}: {found}");
        };
        near("in", 30.0);
        near("flush_p50", 40.0);
        near("flush_p999", 40.0);
        near("troubles", 1.0);
        near("cpu_0", 25.0);
        near("cpu", 50.0);
        assert!(value("request_p50").is_nan(), "nothing was asked");
    }
}
