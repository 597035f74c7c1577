//! `roomwire stats`: reads the shared page; the gateway is never asked and never noticed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use roomwire_metrics::{GatewayState, ReadError, Reader, Snapshot, default_page_path, text};

use super::terminal;
use crate::config::Span;
use crate::lifecycle::Clock;

/// Below this the rates say nothing, and looking costs more than what is looked at.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Prints the counters of a gateway. Works as well when it hangs, and after it died.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roomwire stats
  roomwire stats --watch --interval 500ms
  roomwire stats --json | jq .counters.sessions.value")]
pub(super) struct StatsArgs {
    /// The gateway's name, as given to `serve --instance`
    #[arg(long, value_name = "NAME", default_value = "default")]
    instance: String,
    /// The page itself, instead of the one of the instance
    #[arg(long, value_name = "FILE", conflicts_with = "instance")]
    page: Option<PathBuf>,
    /// JSON on stdout, one object per line
    #[arg(long)]
    json: bool,
    /// Go on until interrupted, with rates
    #[arg(long)]
    watch: bool,
    /// Time between two looks of --watch
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: Span,
    /// Also print counters that are zero
    #[arg(long)]
    all: bool,
    /// With --watch: end after this many looks
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<u64>,
}

pub(super) fn run(arguments: &StatsArgs) -> anyhow::Result<ExitCode> {
    let page = arguments
        .page
        .clone()
        .unwrap_or_else(|| default_page_path(&arguments.instance));
    let mut reader = open(&page)?;
    let mut previous: Option<(Snapshot, Instant)> = None;
    let mut left = if arguments.watch {
        arguments.count.unwrap_or(u64::MAX)
    } else {
        1
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    while left > 0 {
        left -= 1;
        if reader.is_replaced() {
            // The gateway was started anew under the same name.
            reader = open(&page)?;
            previous = None;
        }
        let snapshot = reader.snapshot()?;
        let state = snapshot.state(Clock::unix_ms(), reader.writer_alive());
        let now = Instant::now();
        let shown = if arguments.json {
            text::json(&snapshot, state) + "\n"
        } else {
            let clear = if arguments.watch && is_terminal {
                "\x1b[H\x1b[2J"
            } else {
                ""
            };
            let since = previous
                .as_ref()
                .map(|(snapshot, at)| (snapshot, now - *at));
            format!(
                "{clear}{}",
                page_text(&snapshot, state, since, arguments.all)
            )
        };
        if terminal::print(shown.as_bytes())? == terminal::Reader::Gone {
            break;
        }
        previous = Some((snapshot, now));
        if left > 0 {
            thread::sleep(arguments.interval.get().max(SHORTEST_INTERVAL));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(page: &std::path::Path) -> anyhow::Result<Reader> {
    Reader::open(page)
        .map_err(|error: ReadError| anyhow::Error::new(error))
        .context(
            "no counters to read; is a gateway running? `roomwire serve` starts one, \
         `--instance NAME` chooses another",
        )
}

fn page_text(
    snapshot: &Snapshot,
    state: GatewayState,
    previous: Option<(&Snapshot, Duration)>,
    all: bool,
) -> String {
    let options = text::TableOptions {
        previous,
        all,
        ..text::TableOptions::default()
    };
    let head = text::headline(snapshot, state, Clock::unix_ms());
    format!("{head}\n{}", text::table(snapshot, &options))
}
