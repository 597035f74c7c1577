//! What hyper and h2 do not mind themselves: heads that never end, peers that take nothing,
//! connections that nobody uses, and those that are only open while the gateway drains.
//!
//! The stream reports what happens on the socket ([`Activity`]); a watch looks at it every so often.
//! A deadline is therefore met between once and one and a half times its length.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Limits;
use crate::session::{Activity, CloseReason};

/// How long a connection may be silent in a drain before it is closed.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// Why a connection is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The peer takes nothing off its socket.
    Blocked,
    /// A request was begun and does not come.
    HeadTooSlow,
    /// Nothing was asked for `idle_http`.
    Idle,
    /// Nothing is being asked while the gateway drains.
    Silent,
}

impl Verdict {
    /// How the connection's session is accounted for.
    pub(super) fn reason(self) -> CloseReason {
        match self {
            Self::Blocked => CloseReason::WriteTimeout,
            Self::HeadTooSlow => CloseReason::HandshakeTimeout,
            Self::Idle => CloseReason::Ended,
            Self::Silent => CloseReason::Shutdown,
        }
    }
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Watch {
    activity: Arc<Activity>,
    /// Requests that are being answered, until the last byte of their answer was given away.
    answering: Arc<AtomicUsize>,
    draining: Cell<bool>,
    drained: Notify,
    /// Whether bytes outside of an answer are the head of a request. Over HTTP/2 they may be frames
    /// of any kind, and h2 bounds what a head may take.
    minds_heads: bool,
    header_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
}

/// One request that is being answered. Lives in the answer's body, or in the WebSocket that came
/// of it.
#[derive(Debug)]
pub(super) struct Answering(Arc<AtomicUsize>);

impl Answering {
    /// Another answer that goes along with this one.
    pub(super) fn and_another(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watch {
    /// Watches a connection of HTTP/2.
    pub(super) fn http2(limits: &Limits) -> Self {
        Self {
            minds_heads: false,
            ..Self::http1(limits)
        }
    }

    /// Watches a connection of HTTP/1.1.
    pub(super) fn http1(limits: &Limits) -> Self {
        Self {
            drained: Notify::new(),
            minds_heads: true,
            activity: Arc::default(),
            answering: Arc::default(),
            draining: Cell::new(false),
            header_timeout: limits.header_timeout.get(),
            idle_timeout: limits.idle_http.get(),
            write_timeout: limits.write_timeout.get(),
        }
    }

    /// What the stream reports to.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// A request's head has come whole.
    pub(super) fn begin(&self) -> Answering {
        self.activity.heard.store(false, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(&self.answering))
    }

    /// Looks more often from here on, and has no patience with connections that are only open.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.drained.notify_one();
    }

    /// Resolves when the connection is to be ended.
    ///
    /// # Cancel safety
    ///
    /// Times already waited are forgotten; call it once and keep it.
    pub(super) async fn verdict(&self) -> Verdict {
        let least = self
            .header_timeout
            .min(self.write_timeout)
            .min(self.idle_timeout);
        let usual = least / 2;
        let (mut head, mut blocked, mut idle) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut written = 0;
        loop {
            let begun = Instant::now();
            let step = if self.draining.get() {
                usual.min(FAREWELL)
            } else {
                usual
            };
            tokio::select! {
                () = tokio::time::sleep(step) => {}
                // What was waited so far counts, but a drain has less patience.
                () = self.drained.notified() => {}
            }
            let step = begun.elapsed();
            let now_written = self.activity.written.load(Ordering::Relaxed);
            let stuck = self.activity.blocked.load(Ordering::Relaxed);
            let moving = now_written != written;
            written = now_written;
            // An answer that was given away whole may still be on its way out.
            let quiet = self.answering.load(Ordering::Relaxed) == 0 && !moving && !stuck;
            let unfinished = self.activity.unfinished.load(Ordering::Relaxed);
            let heard = unfinished || self.activity.heard.load(Ordering::Relaxed);
            let heard = heard && self.minds_heads;
            let more = |held: bool, so_far: Duration| {
                if held { so_far + step } else { Duration::ZERO }
            };
            head = more(quiet && heard, head);
            blocked = more(stuck && !moving, blocked);
            idle = more(quiet && !heard, idle);
            if blocked >= self.write_timeout {
                return Verdict::Blocked;
            }
            if head >= self.header_timeout {
                return Verdict::HeadTooSlow;
            }
            if idle >= self.idle_timeout {
                return Verdict::Idle;
            }
            if self.draining.get() && idle >= FAREWELL.min(usual) {
                return Verdict::Silent;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::http1(&Limits::DEFAULT)
    }

    async fn after(watch: &Watch) -> (Verdict, u64) {
        let begun = Instant::now();
        let verdict = watch.verdict().await;
        (verdict, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_found_out() {
        let watch = watch();
        watch.activity().heard.store(true, Ordering::Relaxed);
        assert_eq!(after(&watch).await, (Verdict::HeadTooSlow, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_while_an_answer_is_sent_is_no_slow_head() {
        let watch = watch();
        let answering = watch.begin();
        watch.activity().heard.store(true, Ordering::Relaxed);
        let waited = tokio::time::timeout(Duration::from_secs(600), watch.verdict()).await;
        assert!(waited.is_err());
        drop(answering);
        assert_eq!(after(&watch).await.0, Verdict::HeadTooSlow);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_found_out() {
        let watch = watch();
        let _answering = watch.begin();
        watch.activity().blocked.store(true, Ordering::Relaxed);
        assert_eq!(after(&watch).await, (Verdict::Blocked, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_ended_after_idle_http() {
        assert_eq!(after(&watch()).await, (Verdict::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_on_its_way_out_is_neither_idle_nor_silent() {
        let watch = watch();
        watch.drain();
        let activity = watch.activity();
        let writes = async {
            for written in 1..100 {
                activity.written.store(written, Ordering::Relaxed);
                tokio::time::sleep(FAREWELL / 2).await;
            }
        };
        tokio::select! {
            verdict = watch.verdict() => panic!("{verdict:?}"),
            () = writes => {}
        }
        assert_eq!(after(&watch).await.0, Verdict::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_that_ask_nothing_are_no_slow_head() {
        let watch = Watch::http2(&Limits::DEFAULT);
        watch.activity().heard.store(true, Ordering::Relaxed);
        assert_eq!(after(&watch).await, (Verdict::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_drain_a_connection_without_a_request_goes_soon() {
        let watch = watch();
        watch.drain();
        assert_eq!(after(&watch).await, (Verdict::Silent, 0));
        let _answering = watch.begin();
        let waited = tokio::time::timeout(Duration::from_secs(600), watch.verdict()).await;
        assert!(waited.is_err(), "a request is answered to its end");
    }
}
