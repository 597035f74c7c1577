//! One thread that reads the counter page once a second, remembers ten minutes of it, and tells all
//! admin pages that look on.
//!
//! Looking on costs a worker what passing on a few kilobytes a second costs it: everything is measured
//! and written here, once, however many look. A page that reads too slowly misses seconds; nothing
//! waits for it and nothing queues. Memory is bounded: [`MAX_SAMPLES`] samples of 26 figures and one
//! for each of up to 64 workers, 430 KiB at most, and as much text again while a page is being greeted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomwire_metrics::{Id, Snapshot};
use tokio::sync::watch;

use super::frame::{self, Sample};
use super::series;
use crate::lifecycle::Phase;
use crate::log::Summary;
use crate::shared::Shared;

/// Time between two samples.
pub(super) const STEP_MS: u64 = 1_000;

/// How far back they reach.
pub(super) const SPAN_MS: u64 = 600_000;

/// Samples that are remembered.
#[allow(clippy::cast_possible_truncation, reason = "it is 600")]
const MAX_SAMPLES: usize = (SPAN_MS / STEP_MS) as usize;

/// Samples after which the log tells what was left out of it.
const TELLS: u64 = 5;

const STEP: Duration = Duration::from_millis(STEP_MS);

/// How often is looked whether a drain has left nobody but those who look on. Chosen: they would hold
/// it up by this much.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Where figures are to be had. Shared by the thread that makes them and those who look on.
#[derive(Debug)]
pub(crate) struct Feed {
    max_viewers: usize,
    asked: Mutex<Asked>,
    changed: Condvar,
    greetings: watch::Sender<Greeting>,
    frames: watch::Sender<Frame>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    viewers: usize,
    /// How many have come, and so which greeting is wanted.
    came: u64,
    closing: bool,
}

/// What one who comes is told first.
#[derive(Clone, Debug, Default)]
struct Greeting {
    /// Good for everyone up to this one.
    of: u64,
    bytes: Bytes,
}

/// What all are told each second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// The text.
    pub(crate) bytes: Bytes,
    /// Nothing follows.
    pub(crate) last: bool,
}

impl Feed {
    pub(crate) fn new(max_viewers: usize) -> Self {
        Self {
            max_viewers,
            asked: Mutex::default(),
            changed: Condvar::new(),
            greetings: watch::Sender::default(),
            frames: watch::Sender::default(),
        }
    }

    /// Looks on; `None` when as many do as may.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Viewer> {
        let mut asked = self.asked();
        if asked.viewers >= self.max_viewers || asked.closing {
            return None;
        }
        asked.viewers += 1;
        asked.came += 1;
        let number = asked.came;
        drop(asked);
        self.changed.notify_one();
        Some(Viewer {
            feed: Arc::clone(self),
            number,
            greetings: self.greetings.subscribe(),
            frames: self.frames.subscribe(),
        })
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        let asked = self.asked.lock();
        asked.expect("nothing panics under the lock of the feed")
    }

    /// Waits until `until`, or somebody came after the first `greeted`, or it is over.
    fn wait(&self, until: Instant, greeted: u64) -> Asked {
        let mut asked = self.asked();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || asked.came > greeted || asked.closing {
                return *asked;
            }
            let waited = self.changed.wait_timeout(asked, left);
            (asked, _) = waited.expect("nothing panics under the lock of the feed");
        }
    }
}

/// One who looks on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Viewer {
    feed: Arc<Feed>,
    number: u64,
    greetings: watch::Receiver<Greeting>,
    frames: watch::Receiver<Frame>,
}

impl Viewer {
    /// What comes first: what there is, and its past.
    pub(crate) async fn greeting(&mut self) -> Option<Bytes> {
        let number = self.number;
        let greeting = self
            .greetings
            .wait_for(|greeting| greeting.of >= number)
            .await;
        Some(greeting.ok()?.bytes.clone())
    }

    /// The next second, or the newest where some were missed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.frames.changed().await.ok()?;
        Some(self.frames.borrow_and_update().clone())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.feed.asked().viewers -= 1;
    }
}

/// The thread that feeds.
#[derive(Debug)]
pub(crate) struct Feeder {
    feed: Arc<Feed>,
    thread: JoinHandle<()>,
}

impl Feeder {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let feed = Arc::clone(&shared.feed);
        let mut feeding = Feeding::new(Arc::clone(shared));
        let builder = thread::Builder::new().name("roomwire-figures".to_owned());
        let thread = builder.spawn(move || feeding.run())?;
        Ok(Self { feed, thread })
    }

    /// Tells all who look on that it is over, and waits for the thread.
    pub(crate) fn join(self) {
        self.feed.asked().closing = true;
        self.feed.changed.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the thread that reads figures panicked");
        }
    }
}

struct Feeding {
    shared: Arc<Shared>,
    samples: VecDeque<Sample>,
    latest: Snapshot,
    taken: Instant,
    taken_so_far: u64,
    /// What one who comes now would be told; made when the first comes after a sample.
    greeting: Option<Bytes>,
    greeted: u64,
    summary: Summary,
}

impl Feeding {
    fn new(shared: Arc<Shared>) -> Self {
        let latest = shared.page.snapshot();
        Self {
            summary: Summary::new(latest.clone()),
            latest,
            taken: Instant::now(),
            taken_so_far: 0,
            samples: VecDeque::new(),
            greeting: None,
            greeted: 0,
            shared,
        }
    }

    fn run(&mut self) {
        let feed = Arc::clone(&self.shared.feed);
        let mut due = self.taken + STEP;
        loop {
            let draining = self.shared.phase() >= Phase::Draining;
            let look = Instant::now() + DRAIN_LOOK;
            let until = if draining { due.min(look) } else { due };
            let asked = feed.wait(until, self.greeted);
            if Instant::now() >= due {
                self.sample(asked.viewers);
                // After a pause of the whole machine it goes on from here.
                due = (due + STEP).max(Instant::now());
            }
            if asked.came > self.greeted {
                self.greet(asked.came);
            }
            let sessions = self.shared.sessions.load(Ordering::Relaxed);
            if asked.closing || (draining && asked.viewers > 0 && sessions <= asked.viewers) {
                let bytes = frame::end();
                feed.frames.send_replace(Frame { bytes, last: true });
            }
            if asked.closing {
                return;
            }
        }
    }

    fn sample(&mut self, viewers: usize) {
        let shared = &self.shared;
        shared.lane.gauge_set(Id::AdminViewers, viewers as u64);
        let now = shared.page.snapshot();
        let taken = Instant::now();
        let elapsed = taken - self.taken;
        let sample = Sample {
            at_ms: shared.clock.now_ms(),
            values: series::measure(&self.latest, &now, elapsed, &shared.listeners),
        };
        if viewers > 0 {
            let bytes = frame::sample(&now, &sample);
            let last = false;
            shared.feed.frames.send_replace(Frame { bytes, last });
        }
        self.summary.tell_in_time(&now);
        self.taken_so_far += 1;
        if self.taken_so_far.is_multiple_of(TELLS) {
            crate::log::tell_of_left_out(&shared.lane);
        }
        (self.latest, self.taken, self.greeting) = (now, taken, None);
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Greets all who have come so far.
    fn greet(&mut self, came: u64) {
        let Self {
            shared,
            samples,
            latest,
            ..
        } = self;
        let bytes = self.greeting.get_or_insert_with(|| {
            let mut greeting = frame::hello(shared, latest, samples.iter()).to_vec();
            if let Some(sample) = samples.back() {
                greeting.extend_from_slice(&frame::sample(latest, sample));
            }
            greeting.into()
        });
        let bytes = bytes.clone();
        let greeting = Greeting { of: came, bytes };
        shared.feed.greetings.send_replace(greeting);
        self.greeted = came;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_look_on_than_may_and_one_who_goes_makes_room() {
        let feed = Arc::new(Feed::new(2));
        let first = feed.join().unwrap();
        let _second = feed.join().unwrap();
        assert!(feed.join().is_none());
        drop(first);
        assert!(feed.join().is_some());
        assert_eq!(feed.asked().viewers, 1);
    }
}
