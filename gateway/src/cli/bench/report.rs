//! What a run has found, as one JSON object for programs and a table for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::inflate::Inflated;
use super::latency::{human, rounded};
use super::plan::Plan;
use super::process::Cpu;

/// Resident memory of the server, in bytes, where it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Before the first connection.
    pub(super) before: Option<u64>,
    /// When measuring began, with all connections open.
    pub(super) loaded: Option<u64>,
    /// The highest that was seen while measuring.
    pub(super) highest: Option<u64>,
    /// After all connections were closed.
    pub(super) after: Option<u64>,
}

/// The time that was measured, and what it cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) length: Duration,
    pub(super) server: Option<Cpu>,
    pub(super) client: Cpu,
    pub(super) memory: Memory,
    pub(super) pids: Vec<u32>,
    /// The server's processes, for people.
    pub(super) names: String,
    /// Connections on which the server agreed to compress; `None` where that was not offered.
    pub(super) deflating: Option<u64>,
    pub(super) inflated: Inflated,
    pub(super) failure: Option<String>,
    pub(super) is_interrupted: bool,
}

/// What a load has measured.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the server's CPU time is told for.
    unit: &'static str,
    count: u64,
    fields: Map<String, Value>,
    lines: Vec<(&'static str, String)>,
    problem: Option<String>,
}

impl Outcome {
    pub(super) fn new(unit: &'static str, count: u64) -> Self {
        Self {
            unit,
            count,
            fields: Map::new(),
            lines: Vec::new(),
            problem: None,
        }
    }

    pub(super) fn field(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    pub(super) fn line(&mut self, name: &'static str, text: String) {
        self.lines.push((name, text));
    }

    /// A number of things, and how many that is in a second.
    pub(super) fn rate(&mut self, name: &'static str, count: u64, window: &Window) {
        let rate = per(count as f64, window.length.as_secs_f64());
        self.field(name, json!(count));
        self.field(&format!("{name}_per_second"), json!(rounded(rate)));
        self.line(name, format!("{count}, {rate:.0}/s"));
    }

    /// Something is not as it should be; the first is kept.
    pub(super) fn problem(&mut self, text: String) {
        self.problem.get_or_insert(text);
    }
}

/// A finished run.
#[derive(Debug)]
pub(super) struct Report {
    head: String,
    mode: Value,
    url: String,
    parameters: Value,
    outcome: Outcome,
    window: Window,
}

impl Report {
    pub(super) fn new(plan: &Plan, outcome: Outcome, window: Window) -> Self {
        let scheme = plan.url.scheme().as_str();
        let url = format!("{scheme}://{}{}", plan.url.authority(), plan.path);
        let (mode, parameters) = (json!(plan.mode), plan.json());
        Self::of(plan.text(), mode, url, parameters, outcome, window)
    }

    /// A run that was planned otherwise; `head` tells people what it was.
    pub(super) fn of(
        head: String,
        mode: Value,
        url: String,
        parameters: Value,
        outcome: Outcome,
        window: Window,
    ) -> Self {
        Self {
            head,
            mode,
            url,
            parameters,
            outcome,
            window,
        }
    }

    /// Why the figures are not what was asked for.
    pub(super) fn problem(&self) -> Option<&str> {
        (self.window.failure.as_deref()).or(self.outcome.problem.as_deref())
    }

    /// One line.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let window = &self.window;
        let mut all = json!({
            "mode": self.mode,
            "url": self.url,
            "parameters": self.parameters,
            "seconds": rounded(window.length.as_secs_f64()),
            "interrupted": window.is_interrupted,
            "problem": self.problem(),
            "server": {
                "pids": window.pids,
                "cpu": window.server.map(|cpu| self.cpu_json(cpu)),
                "resident_bytes": {
                    "before": window.memory.before,
                    "loaded": window.memory.loaded,
                    "highest": window.memory.highest,
                    "after": window.memory.after,
                },
            },
            "client": { "cpu": self.cpu_json(window.client) },
        });
        if let Some(connections) = window.deflating {
            let inflated = window.inflated;
            all["deflate"] = json!({
                "connections": connections,
                "messages": inflated.messages,
                "compressed_bytes": inflated.compressed_bytes,
                "plain_bytes": inflated.plain_bytes,
            });
        }
        if let Some(all) = all.as_object_mut() {
            all.extend(self.outcome.fields.clone());
        }
        Ok(serde_json::to_string(&all)? + "\n")
    }

    fn cpu_json(&self, cpu: Cpu) -> Value {
        let mut json = json!({
            "user_s": rounded(cpu.user.as_secs_f64()),
            "system_s": rounded(cpu.system.as_secs_f64()),
            "share_of_core": rounded(self.share(cpu)),
        });
        if self.outcome.count > 0 {
            let name = format!("us_per_{}", self.outcome.unit);
            json[name] = json!(rounded(self.each_us(cpu)));
        }
        json
    }

    fn share(&self, cpu: Cpu) -> f64 {
        per(cpu.total().as_secs_f64(), self.window.length.as_secs_f64())
    }

    fn each_us(&self, cpu: Cpu) -> f64 {
        per(cpu.total().as_secs_f64() * 1e6, self.outcome.count as f64)
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n", self.head);
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            writeln!(text, "  {name:<11} {value}").unwrap_or(());
        };
        for (name, value) in &self.outcome.lines {
            line(name, value);
        }
        if let Some(connections) = self.window.deflating {
            let Inflated {
                messages,
                compressed_bytes,
                plain_bytes,
            } = self.window.inflated;
            let share = per(compressed_bytes as f64, plain_bytes as f64) * 100.0;
            let text = format!(
                "agreed on {connections} connections; {messages} messages came compressed, to {share:.0} %"
            );
            line("deflate", &text);
        }
        if !self.window.names.is_empty() {
            line("server", &self.window.names);
        }
        match self.window.server {
            Some(cpu) => line("server CPU", &self.cpu_text(cpu)),
            None => line("server CPU", "unknown; name its process with --pid"),
        }
        line("client CPU", &self.cpu_text(self.window.client));
        if self.window.is_interrupted {
            let length = self.window.length.as_secs_f64();
            line("note", &format!("interrupted after {length:.1} s"));
        }
        if let Some(problem) = self.problem() {
            line("PROBLEM", problem);
        }
        text
    }

    fn cpu_text(&self, cpu: Cpu) -> String {
        let (user, system) = (cpu.user.as_secs_f64(), cpu.system.as_secs_f64());
        let share = self.share(cpu) * 100.0;
        let total = format!("{share:.0} % of a core (user {user:.2} s, system {system:.2} s)");
        if self.outcome.count == 0 {
            return total;
        }
        let each = self.each_us(cpu);
        let unit = self.outcome.unit;
        let each = if each < 10.0 {
            format!("{each:.3} µs")
        } else {
            human(each)
        };
        format!("{each} for each {unit}, {total}")
    }
}

/// A quotient; 0 where there is nothing to divide by.
fn per(value: f64, by: f64) -> f64 {
    if by > 0.0 { value / by } else { 0.0 }
}

/// A number of bytes in the unit that suits it.
pub(super) fn bytes(count: f64) -> String {
    let size = count.abs();
    if size < 10_240.0 {
        format!("{count:.0} B")
    } else if size < 10_485_760.0 {
        format!("{:.1} KiB", count / 1024.0)
    } else {
        format!("{:.1} MiB", count / 1_048_576.0)
    }
}

/// The same for a difference.
pub(super) fn signed_bytes(count: f64) -> String {
    let sign = if count > 0.0 { "+" } else { "" };
    format!("{sign}{}", bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_told_for_each_unit_and_problems_are_not_hidden() {
        let window = Window {
            length: Duration::from_secs(2),
            server: Some(Cpu::new(
                Duration::from_millis(400),
                Duration::from_millis(600),
            )),
            ..Window::default()
        };
        let mut outcome = Outcome::new("message", 100_000);
        outcome.rate("messages", 100_000, &window);
        outcome.problem("first".to_owned());
        outcome.problem("second".to_owned());
        let report = Report::new(&Plan::example(), outcome, window);
        let json: Value =
            serde_json::from_str(&report.json().expect("it serializes")).expect("it is JSON");
        assert_eq!(json["messages_per_second"], 50_000.0);
        assert_eq!(json["server"]["cpu"]["us_per_message"], 10.0);
        assert_eq!(json["server"]["cpu"]["share_of_core"], 0.5);
        assert_eq!(json["problem"], "first");
        assert!(report.table().contains("10.0 µs for each message, 50 %"));
    }

    #[test]
    fn without_a_process_or_a_unit_nothing_is_made_up() {
        let report = Report::new(
            &Plan::example(),
            Outcome::new("message", 0),
            Window::default(),
        );
        let text = report.json().expect("it serializes");
        assert!(text.contains(r#""cpu":null"#));
        assert!(!text.contains("us_per"));
        assert!(report.table().contains("--pid"));
    }

    #[test]
    fn bytes_are_told_in_a_unit_that_suits_them() {
        assert_eq!(bytes(1023.4), "1023 B");
        assert_eq!(bytes(204_800.0), "200.0 KiB");
        assert_eq!(bytes(104_857_600.0), "100.0 MiB");
        assert_eq!(signed_bytes(-20.0), "-20 B");
        assert_eq!(signed_bytes(20.0), "+20 B");
    }
}
