//! `roomwire stats`: reads the shared page; the gateway is never asked and never noticed.
//!
//! `--clean` is the one thing here that writes: it removes the pages of gateways that are gone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use roomwire_metrics::{
    Cleaned, GatewayState, ReadProblem, Reader, Snapshot, clean_pages, default_page_path,
    find_instances, remove_page, text,
};

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
  roomwire stats --json | jq .counters.sessions.value
  roomwire stats --clean                     remove the pages of gateways that are gone")]
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
    /// Remove the pages that gateways left which are gone; with --page only that one
    #[arg(long, conflicts_with_all = ["json", "watch", "all", "instance"])]
    clean: bool,
}

pub(super) fn run(arguments: &StatsArgs) -> anyhow::Result<ExitCode> {
    if arguments.clean {
        return clean(arguments.page.as_deref());
    }
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

/// Opens a page, or says which gateways have one.
pub(super) fn open(page: &Path) -> anyhow::Result<Reader> {
    let error = match Reader::open(page) {
        Ok(reader) => return Ok(reader),
        Err(error) => error,
    };
    // What is wrong with a page that is there is said by the error alone.
    let missing = matches!(error.problem, ReadProblem::NotFound);
    let error = anyhow::Error::new(error);
    if !missing {
        return Err(error);
    }
    let others: Vec<String> = find_instances(Clock::unix_ms())
        .into_iter()
        .map(|(name, state)| format!("{name} ({})", state.as_str()))
        .collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!(", `--instance NAME` reads another: {}", others.join(", ")),
    };
    Err(error.context(format!(
        "no counters to read; is a gateway running? `roomwire serve` starts one{others}"
    )))
}

fn clean(page: Option<&Path>) -> anyhow::Result<ExitCode> {
    if let Some(page) = page {
        remove_page(page)?;
        terminal::print(format!("removed {}\n", page.display()).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = false;
    for cleaned in clean_pages(None).context("the pages cannot be listed")? {
        match cleaned {
            Cleaned::Removed(path) => {
                terminal::print(format!("removed {}\n", path.display()).as_bytes())?;
            }
            Cleaned::InUse(path) => terminal::tell(&format!("in use  {}\n", path.display())),
            Cleaned::Failed(_, error) => {
                failed = true;
                terminal::tell(&format!("roomwire: {error}\n"));
            }
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
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
    let blocks = text::blocks(snapshot, all);
    format!("{head}\n{}{blocks}", text::table(snapshot, &options))
}
