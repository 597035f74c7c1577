//! `roomwire top`: the live figures on a terminal, from the shared page alone.
//!
//! The gateway is never asked and never noticed; when it hangs, dies or is started again, the screen
//! says so and follows. `watch.rs` reads the page and keeps a little of the past, `table.rs` turns
//! figures into tables, `app.rs` knows what is looked at and which key does what, `draw.rs` puts it
//! on the screen.

mod app;
mod draw;
mod table;
mod watch;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event};
use roomwire_metrics::default_page_path;

use self::app::{App, Next, Tab};
use self::watch::Watch;
use super::terminal;
use crate::config::Span;

/// Below this rates jump, and drawing costs more than what is drawn.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The screen of `--once` where the terminal does not say how large it is.
const ONCE_WIDTH: u16 = 120;
const ONCE_HEIGHT: u16 = 40;

/// Shows a gateway's live figures. Works as well when it hangs, and after it died.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: 1-7 or Tab chooses what is shown, / filters, s and r sort, p pauses, ? helps, q ends.

Examples:
  roomwire top
  roomwire top --instance edge --interval 500ms
  roomwire top --once --tab errors           print one screen, for scripts")]
pub(super) struct TopArgs {
    /// The gateway's name, as given to `serve --instance`
    #[arg(long, value_name = "NAME", default_value = "default")]
    instance: String,
    /// The page itself, instead of the one of the instance
    #[arg(long, value_name = "FILE", conflicts_with = "instance")]
    page: Option<PathBuf>,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: Span,
    /// What is shown first
    #[arg(long, value_name = "TAB", default_value = "overview")]
    tab: Tab,
    /// Show only rows with this text in them
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Print one screen, after one interval, and end
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: &TopArgs) -> anyhow::Result<ExitCode> {
    let page = arguments
        .page
        .clone()
        .unwrap_or_else(|| default_page_path(&arguments.instance));
    // A page that is not there is a mistake at first, and a restart later.
    drop(super::stats::open(&page)?);
    let interval = arguments.interval.get().max(SHORTEST_INTERVAL);
    let mut watch = Watch::new(page);
    let mut app = App::new(arguments.tab, &arguments.filter);
    watch.look(Instant::now());
    if arguments.once {
        std::thread::sleep(interval);
        watch.look(Instant::now());
        let screen = once(&watch, &mut app)?;
        terminal::print(screen.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !std::io::stdout().is_terminal() {
        anyhow::bail!("stdout is no terminal: `roomwire top --once` prints one screen");
    }
    let mut screen = ratatui::try_init().context("the terminal cannot be used")?;
    let ended = interact(&mut screen, &mut watch, &mut app, interval);
    ratatui::restore();
    ended?;
    Ok(ExitCode::SUCCESS)
}

fn interact(
    screen: &mut ratatui::DefaultTerminal,
    watch: &mut Watch,
    app: &mut App,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + interval;
    loop {
        screen.draw(|frame| draw::draw(frame, watch, app))?;
        let patience = due.saturating_duration_since(Instant::now());
        if event::poll(patience)? {
            if let Event::Key(key) = event::read()?
                && key.is_press()
                && app.press(key) == Next::End
            {
                return Ok(());
            }
            continue;
        }
        due = Instant::now() + interval;
        if !app.is_paused() {
            watch.look(Instant::now());
        }
    }
}

/// One screen as text, each line ended by a line feed.
fn once(watch: &Watch, app: &mut App) -> anyhow::Result<String> {
    let (width, height) = if std::io::stdout().is_terminal() {
        ratatui::crossterm::terminal::size().unwrap_or((ONCE_WIDTH, ONCE_HEIGHT))
    } else {
        (ONCE_WIDTH, ONCE_HEIGHT)
    };
    let mut screen = Terminal::new(TestBackend::new(width, height))?;
    screen.draw(|frame| draw::draw(frame, watch, app))?;
    Ok(text_of(screen.backend().buffer()))
}

fn text_of(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for line in buffer.content.chunks(width) {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let used = text.trim_end_matches('\n').len();
    text.truncate(used);
    text.push('\n');
    text
}
