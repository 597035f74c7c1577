//! A Grafana dashboard and Prometheus' alert rules, made from the catalogue.
//!
//! `docs/grafana.json` and `docs/alerts.yml` are what these functions return; a test keeps them so.
//! A metric whose help says *Any rise* gets an alert of its own, and its help is what the alert says
//! to do. The rest is a short list of what makes a gateway useless to those who use it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::catalogue::{BLOCK_CATALOGUE, BlockKind, CATALOGUE, Id, Kind, Metric};

/// Words of a help by which a metric asks for an alert.
const ALARMING: &str = "Any rise";

/// Grafana's grid has 24 columns.
const COLUMNS: usize = 24;
const PANEL_WIDTH: usize = 8;
const PANEL_HEIGHT: usize = 7;

/// The whole of `docs/grafana.json`: import it and choose a Prometheus data source.
pub fn dashboard() -> String {
    let mut board = Board::default();
    board.row("Overview");
    board.panel("Sessions", "short", &[now(Id::Sessions)]);
    board.panel(
        "Messages per second",
        "short",
        &[rate(Id::Publishes, "in"), rate(Id::HubDeliveries, "out")],
    );
    board.panel(
        "From publish to flush",
        "µs",
        &quantiles(Id::PublishToFlushMicros),
    );
    board.panel("HTTP requests", "µs", &quantiles(Id::HttpRequestMicros));
    let load = format!(
        "rate(roomwire_{}{SELECT}[$__rate_interval]) / 1e6",
        name(Id::WorkerCpuMicros)
    );
    board.panel(
        "CPU of the workers",
        "percentunit",
        &[(load, "workers".to_owned())],
    );
    board.panel("Memory", "bytes", &[now(Id::MemoryBytes)]);
    board.row("Must not rise");
    let alarming: Vec<_> = alarming()
        .map(|metric| rate(metric.id, metric.name))
        .collect();
    board.panel("Any of these is a reason to look", "short", &alarming);
    for kind in [BlockKind::Listener, BlockKind::Rooms] {
        board.row(match kind {
            BlockKind::Listener => "Per listener",
            BlockKind::Rooms | BlockKind::Room => "Per pattern of rooms",
        });
        for figure in BLOCK_CATALOGUE.iter().filter(|it| it.block == kind) {
            let (query, label) = (format!("roomwire_{}{SELECT}", figure.name), kind.as_str());
            let query = match figure.kind {
                Kind::Counter => format!("rate({query}[$__rate_interval])"),
                Kind::Gauge | Kind::High | Kind::Histogram => query,
            };
            let legend = format!("{{{{{label}}}}}");
            board.panel(figure.name, unit(figure.unit.as_str()), &[(query, legend)]);
        }
    }
    board.everything();
    board.render()
}

/// The gateway that the dashboard's variable names.
const SELECT: &str = "{instance=~\"$instance\"}";

fn name(id: Id) -> &'static str {
    id.metric().name
}

fn now(id: Id) -> (String, String) {
    (
        format!("roomwire_{}{SELECT}", name(id)),
        "{{instance}}".to_owned(),
    )
}

fn rate(id: Id, legend: &str) -> (String, String) {
    let query = format!("rate(roomwire_{}{SELECT}[$__rate_interval])", name(id));
    (query, legend.to_owned())
}

fn quantiles(id: Id) -> Vec<(String, String)> {
    [("0.5", "p50"), ("0.99", "p99")]
        .map(|(quantile, legend)| {
            let rate = format!(
                "rate(roomwire_{}_bucket{SELECT}[$__rate_interval])",
                name(id)
            );
            let query = format!("histogram_quantile({quantile}, sum by (le) ({rate}))");
            (query, legend.to_owned())
        })
        .into()
}

/// Our unit as Grafana calls it.
fn unit(ours: &str) -> &'static str {
    match ours {
        "bytes" => "bytes",
        "us" => "µs",
        "ms" => "ms",
        "s" => "s",
        _ => "short",
    }
}

fn alarming() -> impl Iterator<Item = &'static Metric> {
    let asks = |metric: &&Metric| metric.kind == Kind::Counter && metric.help.contains(ALARMING);
    CATALOGUE.iter().filter(asks)
}

#[derive(Default)]
struct Board {
    panels: Vec<Value>,
    x: usize,
    y: usize,
}

impl Board {
    fn row(&mut self, title: &str) {
        if self.x > 0 {
            (self.x, self.y) = (0, self.y + PANEL_HEIGHT);
        }
        self.panels.push(json!({
            "type": "row", "title": title, "collapsed": false, "panels": [],
            "id": self.panels.len() + 1,
            "gridPos": {"x": 0, "y": self.y, "w": COLUMNS, "h": 1},
        }));
        self.y += 1;
    }

    fn panel(&mut self, title: &str, unit: &str, queries: &[(String, String)]) {
        let targets: Vec<Value> = (queries.iter().zip('A'..))
            .map(|((query, legend), reference)| {
                json!({
                    "refId": reference, "expr": query, "legendFormat": legend,
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                })
            })
            .collect();
        self.panels.push(json!({
            "type": "timeseries", "title": title, "id": self.panels.len() + 1,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": self.x, "y": self.y, "w": PANEL_WIDTH, "h": PANEL_HEIGHT},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi", "sort": "desc"}},
            "targets": targets,
        }));
        self.x += PANEL_WIDTH;
        if self.x + PANEL_WIDTH > COLUMNS {
            (self.x, self.y) = (0, self.y + PANEL_HEIGHT);
        }
    }

    /// Every figure once, those with the same first word and unit in one panel.
    fn everything(&mut self) {
        let mut groups: BTreeMap<(&str, &str, bool), Vec<&Metric>> = BTreeMap::new();
        for metric in CATALOGUE {
            let first = metric.name.split('_').next().unwrap_or(metric.name);
            let rises = metric.kind == Kind::Counter;
            let key = (first, metric.unit.as_str(), rises);
            groups.entry(key).or_default().push(metric);
        }
        let mut before = "";
        for ((first, of, rises), metrics) in groups {
            if first != before {
                self.row(&format!("All figures: {first}"));
                before = first;
            }
            for metric in metrics.iter().filter(|it| it.kind == Kind::Histogram) {
                self.panel(metric.name, unit(of), &quantiles(metric.id));
            }
            let plain: Vec<_> = (metrics.iter())
                .filter(|it| it.kind != Kind::Histogram)
                .map(|metric| match metric.kind {
                    Kind::Counter => rate(metric.id, metric.name),
                    Kind::Gauge | Kind::High | Kind::Histogram => {
                        (now(metric.id).0, metric.name.to_owned())
                    }
                })
                .collect();
            // As many queries as there are letters to name them.
            for part in plain.chunks(26) {
                let per = if rises { " per second" } else { "" };
                self.panel(&format!("{first}: {of}{per}"), unit(of), part);
            }
        }
    }

    fn render(self) -> String {
        let variable = |name: &str, more: Value| {
            let mut variable = json!({"name": name, "label": name, "hide": 0});
            if let (Some(to), Value::Object(from)) = (variable.as_object_mut(), more) {
                to.extend(from);
            }
            variable
        };
        let board = json!({
            "title": "Roomwire", "uid": "roomwire", "schemaVersion": 39, "version": 1,
            "editable": true, "refresh": "10s", "timezone": "browser", "tags": ["roomwire"],
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": [
                variable("datasource", json!({"type": "datasource", "query": "prometheus"})),
                variable("instance", json!({
                    "type": "query", "includeAll": true, "multi": true, "refresh": 2,
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "query": "label_values(roomwire_ready, instance)",
                    "current": {"text": "All", "value": "$__all"},
                })),
            ]},
            "panels": self.panels,
        });
        format!("{board:#}\n")
    }
}

/// An alert: name, expression, how long it must hold, severity, what to do.
type Alert = (String, String, &'static str, &'static str, String);

/// The whole of `docs/alerts.yml`, for `rule_files` of Prometheus.
pub fn alerts() -> String {
    let mut out = String::from(
        "# Alert rules for Prometheus, made from gateway/metrics/src/catalogue/table.rs; change that and\n\
         # make this again. The scrape job must be called roomwire.\n\
         groups:\n  - name: roomwire\n    rules:\n",
    );
    for (alert, expression, hold, severity, text) in gateway_alerts().into_iter().chain(rises()) {
        // YAML's double-quoted style is JSON's.
        let (expression, text) = (json!(expression), json!(text));
        write!(
            out,
            "      - alert: {alert}\n        expr: {expression}\n        for: {hold}\n        \
             labels: {{severity: {severity}}}\n        annotations:\n          summary: {text}\n"
        )
        .expect("a String takes everything");
    }
    out
}

fn gateway_alerts() -> Vec<Alert> {
    let metric = |id: Id| format!("roomwire_{}", name(id));
    let p99 = |id: Id| {
        let rate = format!("rate({}_bucket[5m])", metric(id));
        format!("histogram_quantile(0.99, sum by (instance, le) ({rate}))")
    };
    let (open, most) = (metric(Id::OpenDescriptors), metric(Id::MaxDescriptors));
    let help = |id: Id| id.metric().help.to_owned();
    [
        ("Down", "up{job=\"roomwire\"} == 0".to_owned(), "1m", "critical",
         "The gateway does not answer the scrape. `roomwire stats` still shows its last figures.".to_owned()),
        ("NotReady", "roomwire_ready == 0".to_owned(), "5m", "critical",
         "The gateway takes no sessions; GET /readyz says why.".to_owned()),
        ("Hangs", "time() - roomwire_heartbeat_time_seconds > 5".to_owned(), "30s", "critical",
         "The gateway gives no sign of life.".to_owned()),
        ("Restarts", "changes(roomwire_start_time_seconds[15m]) > 2".to_owned(), "0m", "warning",
         "The gateway was started more than twice in a quarter of an hour; its log says why.".to_owned()),
        ("OutOfDescriptors", format!("{open} / {most} > 0.9"), "5m", "warning", help(Id::OpenDescriptors)),
        ("SlowDelivery", format!("{} > 250000", p99(Id::PublishToFlushMicros)), "10m", "warning",
         help(Id::PublishToFlushMicros)),
        ("SlowRequests", format!("{} > 1000000", p99(Id::HttpRequestMicros)), "10m", "warning",
         help(Id::HttpRequestMicros)),
        ("LateWorkers", format!("{} > 100000", p99(Id::WorkerLagMicros)), "10m", "warning",
         help(Id::WorkerLagMicros)),
    ]
    .map(|(alert, expression, hold, severity, text)| {
        (format!("Roomwire{alert}"), expression, hold, severity, text)
    })
    .into()
}

/// One alert for each metric that must not rise at all.
fn rises() -> impl Iterator<Item = Alert> {
    alarming().map(|metric| {
        let expression = format!("increase(roomwire_{}[10m]) > 0", metric.name);
        let name = camel(metric.name.trim_end_matches("_total"));
        (
            format!("Roomwire{name}"),
            expression,
            "0m",
            "warning",
            metric.help.to_owned(),
        )
    })
}

fn camel(snake: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    snake.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_has_every_figure_and_places_that_do_not_overlap() {
        let text = dashboard();
        let board: Value = serde_json::from_str(&text).unwrap();
        for metric in CATALOGUE {
            assert!(
                text.contains(&format!("roomwire_{}", metric.name)),
                "{}",
                metric.name
            );
        }
        let mut taken = std::collections::HashSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(x < COLUMNS as u64 && taken.insert((x, y)), "{panel}");
                }
            }
            let targets = panel["targets"].as_array().map_or(0, Vec::len);
            assert!(targets > 0 || panel["type"] == "row", "{panel}");
        }
    }

    #[test]
    fn what_must_not_rise_has_an_alert_that_says_what_to_do() {
        let text = alerts();
        assert!(alarming().count() > 3);
        for metric in alarming() {
            assert!(text.contains(&format!("increase(roomwire_{}[10m]) > 0", metric.name)));
        }
        let names: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len());
    }
}
