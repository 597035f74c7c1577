//! Each mode against a gateway in this process, with tiny numbers.

use serde_json::Value;

use super::control;
use super::plan::tests::plan;
use crate::Gateway;
use crate::config::{Handler, Protocol};

fn gateway() -> Gateway {
    Gateway::builder()
        .workers(2)
        .listen(
            "web",
            Protocol::Http,
            "127.0.0.1:0".parse().expect("an address"),
            Handler::Http,
        )
        .start()
        .expect("it starts")
}

/// Runs one mode and returns its report, in which there must be no problem.
fn measure(options: &[&str]) -> Value {
    let gateway = gateway();
    let report = run(&gateway, options);
    gateway.shutdown();
    assert_eq!(report["problem"], Value::Null, "{report}");
    assert_eq!(report["server"]["pids"][0], std::process::id());
    report
}

fn run(gateway: &Gateway, options: &[&str]) -> Value {
    let short = ["--duration", "200ms", "--warmup", "20ms", "--quiet"];
    let options: Vec<&str> = options.iter().chain(&short).copied().collect();
    let mut plan = plan(&options).expect("valid options");
    let address = gateway.address("web").expect("it listens");
    plan.url = format!("ws://{address}").parse().expect("a URL");
    let report = control::measure(plan).expect("a report");
    serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

#[test]
fn echoes_come_back_and_are_timed() {
    let report = measure(&["-c", "8", "-w", "4", "--threads", "2"]);
    assert!(count(&report["messages"]) > 32, "{report}");
    assert_eq!(report["round_trip_us"]["count"], report["messages"]);
    assert_eq!(report["unanswered"], 0);
}

#[test]
fn echoes_larger_than_a_read_come_back_whole() {
    let report = measure(&["-c", "2", "-w", "12", "--size", "60KiB", "--binary"]);
    assert!(count(&report["messages"]) > 24, "{report}");
}

#[test]
fn a_fan_out_reaches_every_member_once_and_in_order() {
    for threads in ["1", "3"] {
        let fanout = ["--mode", "fanout", "-c", "7", "-w", "5"];
        let options: Vec<&str> = fanout.into_iter().chain(["--threads", threads]).collect();
        let report = measure(&options);
        let whole = &report["whole_run"];
        assert!(count(&report["deliveries"]) > 35, "{report}");
        assert_eq!(count(&whole["published"]) * 7, count(&whole["received"]));
        assert_eq!(whole["lost"], 0);
    }
}

#[test]
fn a_fan_out_keeps_its_rate() {
    let options = ["--mode", "fanout", "-c", "3", "--rate", "100"];
    let report = measure(&options);
    // 220 ms with the warm-up; the first publication is due at once.
    let published = count(&report["whole_run"]["published"]);
    assert!((10..=40).contains(&published), "{report}");
}

#[test]
fn idle_connections_are_opened_and_closed() {
    let report = measure(&["--mode", "idle", "-c", "50"]);
    assert_eq!(report["opened"], 50);
    assert_eq!(report["lost"], 0);
    assert!(report["server"]["resident_bytes"]["after"].is_u64());
}

#[test]
fn churn_counts_whole_cycles() {
    let report = measure(&["--mode", "churn", "-c", "4"]);
    assert!(count(&report["cycles"]) > 4, "{report}");
    assert_eq!(report["failures"], 0);
}

#[test]
fn what_goes_wrong_is_told_with_what_was_measured() {
    let gateway = gateway();
    let mut plan = plan(&["-c", "2", "--quiet"]).expect("valid options");
    let address = gateway.address("web").expect("it listens");
    plan.url = format!("ws://{address}").parse().expect("a URL");
    plan.path = "/nowhere".to_owned();
    let report = control::measure(plan.clone()).expect("a report");
    let problem = report.problem().expect("there is no such path");
    assert!(problem.contains("404"), "{problem}");
    gateway.shutdown();
    let error = control::measure(plan).expect_err("nothing listens");
    assert!(error.to_string().contains("nothing answers"), "{error}");
}
