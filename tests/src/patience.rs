//! Waiting for what is to happen, with a deadline.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How long anything may take before a test fails. Chosen: far more than it takes on a loaded machine
/// with two cores, so that only what never happens runs into it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that sleeps, between two looks"
)]
pub(crate) async fn pause() {
    tokio::time::sleep(LOOK).await;
}

/// Lets time pass: for a client whose pace is what the test is about, never to wait for something.
#[allow(
    clippy::disallowed_methods,
    reason = "what passes here is a client's own time"
)]
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Looks until `check` is `Ok`, and gives what it found; panics with its last answer at the deadline.
pub async fn eventually<T, E: Debug>(
    deadline: Duration,
    mut check: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + deadline;
    loop {
        match check() {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "not in time: {error:?}"),
        }
        pause().await;
    }
}

/// Looks for as long as `span`, and panics as soon as `check` is an error: for what must not happen.
/// What it proves is only that it did not happen in this time, so a test also needs a witness that
/// the other side has had its turn.
pub async fn stays<E: Debug>(span: Duration, mut check: impl FnMut() -> Result<(), E>) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(error) = check() {
            panic!("it happened: {error:?}");
        }
        pause().await;
    }
}

/// Waits for `future` at most [`PATIENCE`]; `what` is what is waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("not in time: {what}"),
    }
}
