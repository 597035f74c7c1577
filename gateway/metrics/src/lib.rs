//! Roomwire's counters: born in one table, kept in shared memory, read by anyone who may open the
//! file.
//!
//! The gateway counts into plain integers ([`LaneWriter`]) and copies what changed into its lane of
//! the [`Page`] once per turn of the worker. A [`Reader`] maps the same page read-only, in another
//! process and also after the gateway died, and makes a [`Snapshot`], which [`prometheus`] and
//! [`text`] render. A reader cannot slow, block or crash a writer: it takes no lock the writer waits
//! for and writes nothing.
//!
//! This crate knows neither sessions nor rooms nor sockets, and it reads no clock: times are given
//! in. Start with [`catalogue`], then `layout` for what lies where; `docs/counter-page.md` says the
//! same for readers in other languages.
//!
//! ```
//! use roomwire_metrics::{Id, Page, PageOptions};
//!
//! let page = Page::anonymous(&PageOptions::new("example", 2))?;
//! let lane = page.lane(0).expect("nobody took lane 0 yet");
//! lane.increment(Id::SessionsOpened);
//! lane.gauge_add(Id::Sessions, 1);
//! assert_eq!(page.snapshot().value("sessions"), Some(0), "not published yet");
//! lane.publish();
//! assert_eq!(page.snapshot().value("sessions"), Some(1));
//! # Ok::<(), roomwire_metrics::PageError>(())
//! ```

pub mod catalogue;
pub mod grafana;
mod histogram;
mod lane;
mod layout;
mod page;
pub mod prometheus;
mod reader;
pub mod text;
mod words;

pub use catalogue::{BLOCK_CATALOGUE, BlockId, BlockKind, BlockMetric};
pub use catalogue::{CATALOGUE, Id, Kind, Level, Metric, Unit};
pub use histogram::Histogram;
pub use lane::{LaneWriter, SharedLane};
pub use page::{
    Block, BusyRoom, Cleaned, InstanceError, MAX_WORKERS, Page, PageError, PageOptions,
    check_instance, clean_pages, default_page_path, find_instances, remove_page,
};
pub use reader::{
    BlockRow, BlockView, GatewayState, LaneInfo, Phase, ReadError, ReadProblem, Reader, Row,
    STALLED_AFTER_MS, Snapshot,
};
