//! The Prometheus text, read back by a parser that takes nothing for granted.

use std::collections::HashSet;

use roomwire_metrics::prometheus::Format;
use roomwire_metrics::{
    BLOCK_CATALOGUE, BlockId, BlockKind, BusyRoom, Page, PageOptions, prometheus,
};

use crate::{COUNTER, GAUGE, HIGH, HISTOGRAM, options};

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Checks a whole exposition as format 0.0.4 defines it, stricter where the format only advises:
/// HELP and TYPE once before the samples of each family, families not interleaved, no sample twice,
/// counters named `_total`, histograms complete, cumulative and consistent.
pub(crate) fn check(text: &str) -> usize {
    assert!(text.ends_with('\n'), "the last line ends as well");
    let mut seen = HashSet::new();
    let mut lines = text.lines().peekable();
    let mut families = 0;
    while let Some(line) = lines.next() {
        let (name, help) = line
            .strip_prefix("# HELP ")
            .expect("HELP first")
            .split_once(' ')
            .unwrap();
        check_name(name);
        check_escapes(help, "\\n");
        assert!(seen.insert(name.to_owned()), "{name} is there twice");
        let kind = lines
            .next()
            .and_then(|line| line.strip_prefix("# TYPE "))
            .expect("then TYPE");
        let kind = kind
            .strip_prefix(name)
            .and_then(|kind| kind.strip_prefix(' '))
            .unwrap();
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(parse_sample(line));
        }
        match kind {
            "counter" | "gauge" => {
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                let mut series = HashSet::new();
                for sample in &samples {
                    assert_eq!(sample.name, name);
                    assert!(sample.value >= 0.0, "{name}");
                    assert!(series.insert(&sample.labels), "{name}: one sample twice");
                }
                assert!(!samples.is_empty(), "{name}");
                let is_labelled = samples.iter().all(|sample| !sample.labels.is_empty());
                assert!(samples.len() == 1 || is_labelled, "{name}");
            }
            "histogram" => check_histogram(name, &samples),
            _ => panic!("{name} is a {kind}"),
        }
        families += 1;
    }
    families
}

fn check_name(name: &str) {
    let mut characters = name.chars();
    assert!(
        characters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_'),
        "{name:?}"
    );
    assert!(
        characters.all(|c| c.is_ascii_alphanumeric() || c == '_'),
        "{name:?}"
    );
}

/// Every backslash begins an escape that the format knows.
fn check_escapes(text: &str, allowed: &str) {
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c == '\\' {
            let escaped = characters.next().expect("a backslash escapes something");
            assert!(allowed.contains(escaped), "{text:?}");
        }
    }
}

fn parse_sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').expect("a sample has a value");
    let value = value.parse().expect("the value is a number");
    let Some((name, labels)) = head.split_once('{') else {
        check_name(head);
        return Sample {
            name: head.to_owned(),
            labels: Vec::new(),
            value,
        };
    };
    check_name(name);
    let labels = labels.strip_suffix('}').expect("labels end in a brace");
    let labels = labels
        .split("\",")
        .map(|label| {
            let (label, text) = label.split_once("=\"").expect("a label is quoted");
            check_name(label);
            let text = text.trim_end_matches('"');
            check_escapes(text, "\\n\"");
            (label.to_owned(), text.to_owned())
        })
        .collect();
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

fn check_histogram(name: &str, samples: &[Sample]) {
    let [buckets @ .., sum, count] = samples else {
        panic!("{name} has no sum and count")
    };
    assert_eq!(
        (sum.name.as_str(), count.name.as_str()),
        (&*format!("{name}_sum"), &*format!("{name}_count"))
    );
    let (mut last_bound, mut last_value) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        assert_eq!(bucket.name, format!("{name}_bucket"));
        let [(label, bound)] = &bucket.labels[..] else {
            panic!("{name}: one label")
        };
        assert_eq!(label, "le");
        let bound: f64 = bound.parse().unwrap();
        assert!(
            bound > last_bound && bucket.value >= last_value,
            "{name}: le={bound}"
        );
        (last_bound, last_value) = (bound, bucket.value);
    }
    assert!(
        last_bound.is_infinite() && (3..50).contains(&buckets.len()),
        "{name}"
    );
    assert!(
        (last_value - count.value).abs() < f64::EPSILON * last_value.max(1.0),
        "{name}"
    );
}

#[test]
fn the_text_is_valid_and_has_every_figure() {
    let page = Page::anonymous(&options(2)).unwrap();
    let lane = page.lane(1).unwrap();
    lane.add(COUNTER.id, 3);
    lane.gauge_add(GAUGE.id, 2);
    lane.high_water(HIGH.id, 9);
    [0, 1, 2, 900, 1 << 50]
        .into_iter()
        .for_each(|value| lane.record(HISTOGRAM.id, value));
    lane.publish();
    page.set_ready(true);
    let seen = page.snapshot();
    let text = prometheus::render(&seen, Format::Text);
    let blocks = BLOCK_CATALOGUE
        .iter()
        .filter(|it| it.block != BlockKind::Room);
    assert_eq!(check(&text), seen.rows.len() + 5 + blocks.count());
    for line in [
        "# TYPE COUNTER counter\nCOUNTER 3\n",
        "# TYPE GAUGE gauge\nGAUGE 2\n",
        "# TYPE HIGH gauge\nHIGH 9\n",
        "HISTOGRAM_bucket{le=\"0\"} 1\n",
        "HISTOGRAM_bucket{le=\"1\"} 2\n",
        "HISTOGRAM_bucket{le=\"3\"} 3\n",
        "HISTOGRAM_bucket{le=\"511\"} 3\n",
        "HISTOGRAM_bucket{le=\"1023\"} 4\n",
        "HISTOGRAM_bucket{le=\"+Inf\"} 5\n",
        "HISTOGRAM_count 5\n",
        "roomwire_build_info{version=\"1.2.3\",gateway=\"main\"} 1\n",
        "roomwire_ready 1\n",
        "roomwire_start_time_seconds 1.000\n",
    ] {
        let line = [
            ("COUNTER", COUNTER),
            ("GAUGE", GAUGE),
            ("HIGH", HIGH),
            ("HISTOGRAM", HISTOGRAM),
        ]
        .iter()
        .fold(line.to_owned(), |line, (word, metric)| {
            line.replace(word, &format!("roomwire_{}", metric.name))
        });
        assert!(text.contains(&line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn text_from_the_page_is_escaped() {
    let page = Page::anonymous(&options(1)).unwrap();
    let mut seen = page.snapshot();
    seen.version = "1\"} 2\\\nx".to_owned();
    seen.rows[0].help = "a \\ and\na \" too".into();
    let text = prometheus::render(&seen, Format::Text);
    check(&text);
    assert!(text.contains("version=\"1\\\"} 2\\\\\\nx\""), "{text}");
    assert!(text.contains(" a \\\\ and\\na \" too\n"), "{text}");
}

#[test]
fn listeners_and_patterns_are_labels_and_rooms_of_peers_are_not() {
    let options = PageOptions {
        listeners: vec!["chat".to_owned(), "other".to_owned()],
        rooms: vec!["say.\"hi\".>".to_owned()],
        ..options(1)
    };
    let page = Page::anonymous(&options).unwrap();
    let lane = page.lane(0).unwrap();
    lane.block_add(page.listener_block(0), BlockId::ListenerBytesIn, 7);
    lane.block_add(page.listener_block(9), BlockId::ListenerBytesIn, 8);
    lane.publish();
    page.set_busy_rooms(&[BusyRoom {
        name: "chosen-by-a-peer".to_owned(),
        ..BusyRoom::default()
    }]);
    let text = prometheus::render(&page.snapshot(), Format::Text);
    check(&text);
    let open = prometheus::render(&page.snapshot(), Format::OpenMetrics);
    for text in [&text, &open] {
        for line in [
            "roomwire_listener_bytes_in_total{listener=\"chat\"} 7\n",
            "roomwire_listener_bytes_in_total{listener=\"other\"} 0\n",
            "roomwire_listener_bytes_in_total{listener=\"other\",others=\"1\"} 8\n",
            "roomwire_rooms_publishes_total{rooms=\"say.\\\"hi\\\".>\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("chosen-by-a-peer"));
    }
    assert!(open.ends_with("\n# EOF\n"));
    assert!(open.contains("# TYPE roomwire_listener_bytes_in counter\n"));
}
