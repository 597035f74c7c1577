//! Tasks that end with what they belong to.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that is cut when this is dropped.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Runs `future` on the test's runtime.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that spawns; the task is cut on drop"
    )]
    pub fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for the task's end; a panic in it goes on here.
    pub async fn join(mut self) -> T {
        match (&mut self.0).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("{error}"),
            },
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
