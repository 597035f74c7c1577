//! The log of the program: for people on a terminal and as JSON otherwise, with levels that change
//! while it runs, and bounded in what peers can make it say.
//!
//! The binary installs it once for the process ([`install`]); a program that embeds a gateway keeps its
//! own subscriber, and nothing here is in its way. What is said every minute of everybody together is
//! in `summary.rs`, what keeps one kind of line from flooding the rest in `limit.rs`.

mod limit;
mod summary;

use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

pub(crate) use limit::tell_of_left_out;
pub(crate) use summary::Summary;

/// What SIGUSR1 adds: everything of ours, and not the libraries' inner life.
const DEBUG: &str = "roomwire=debug,roomwire_certs=debug";

/// The longest filter that is taken. Chosen: one directive for each module is shorter.
const MAX_FILTER_BYTES: usize = 1024;

static LEVELS: OnceLock<Levels> = OnceLock::new();

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// An object on each line.
    Json,
}

impl Format {
    /// What a variable asks for, else what standard error is. `None` for another word.
    pub(crate) fn choose(asked: Option<&str>) -> Option<Self> {
        match asked {
            Some("human") => Some(Self::Human),
            Some("json") => Some(Self::Json),
            None | Some("auto" | "") if std::io::stderr().is_terminal() => Some(Self::Human),
            None | Some("auto" | "") => Some(Self::Json),
            Some(_) => None,
        }
    }
}

/// What is logged, and the way to change it.
#[derive(Debug)]
pub(crate) struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    start: String,
    filter: Mutex<Filter>,
}

/// What is logged now.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) text: String,
    /// What it was before SIGUSR1.
    before: Option<String>,
}

/// A filter that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a filter such as info, debug or info,roomwire::http=debug")]
pub(crate) struct BadFilter(String);

/// Installs the log for the whole process; later calls change nothing.
///
/// # Errors
///
/// For a filter that cannot be.
pub(crate) fn install(filter: &str, format: Format) -> Result<(), BadFilter> {
    let (filtering, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Human => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let levels = Levels {
        handle,
        start: filter.to_owned(),
        filter: Mutex::new(Filter {
            text: filter.to_owned(),
            before: None,
        }),
    };
    let subscriber = Registry::default()
        .with(filtering)
        .with(limit::Limit)
        .with(lines);
    // Somebody may have installed one before, who keeps it.
    if subscriber.try_init().is_ok() {
        LEVELS.set(levels).ok();
    }
    Ok(())
}

/// The levels of this process's log; `None` where it is not ours.
pub(crate) fn levels() -> Option<&'static Levels> {
    LEVELS.get()
}

impl Levels {
    /// What is logged now, and what was at the start.
    pub(crate) fn shown(&self) -> (Filter, &str) {
        let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        (filter.clone(), &self.start)
    }

    /// Logs what a filter says from here on; `None` is the one of the start.
    ///
    /// # Errors
    ///
    /// For a filter that cannot be; nothing changes then.
    pub(crate) fn set(&self, filter: Option<&str>) -> Result<(), BadFilter> {
        let text = filter.unwrap_or(&self.start).to_owned();
        self.change(Filter { text, before: None })
    }

    /// Adds everything that helps to find a fault, or with the next call takes it off again.
    pub(crate) fn toggle_debug(&self) {
        let (now, _) = self.shown();
        let next = match now.before {
            Some(text) => Filter { text, before: None },
            None => Filter {
                text: format!("{},{DEBUG}", now.text),
                before: Some(now.text),
            },
        };
        // Both parts of it were parsed before.
        self.change(next).ok();
    }

    fn change(&self, next: Filter) -> Result<(), BadFilter> {
        let parsed = parse(&next.text)?;
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        // The subscriber is the process's own and cannot be gone.
        self.handle.reload(parsed).ok();
        *filter = next;
        let text = filter.text.clone();
        drop(filter);
        tracing::info!(filter = text, "log levels changed");
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    let bad = || BadFilter(filter.chars().take(100).collect());
    if filter.len() > MAX_FILTER_BYTES + DEBUG.len() + 1 {
        return Err(bad());
    }
    EnvFilter::builder().parse(filter).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_chooses_how_lines_look_and_typos_are_found() {
        assert_eq!(Format::choose(Some("human")), Some(Format::Human));
        assert_eq!(Format::choose(Some("json")), Some(Format::Json));
        assert_eq!(Format::choose(Some("jsno")), None);
        assert!(Format::choose(None).is_some());
    }

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        for good in ["info", "debug", "info,roomwire::http=debug", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["=,=", "roomwire=loudly", &"x".repeat(2_000)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
