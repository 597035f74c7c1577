//! A worker's tasks: spawned by name, counted, and awaited at the end.
//!
//! A scope belongs to one worker's thread. Nothing is detached: [`Scope::idle`] resolves when every
//! task has ended, and the guard that counts a task lives inside it, so a panic or a cancelled task
//! is counted out as well.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;

/// Spawns tasks onto the current worker and knows how many still run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: Cell<usize>,
    changed: Notify,
}

struct Running(Rc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.changed.notify_waiters();
    }
}

impl Scope {
    /// Runs `task` on this worker. `name` says what it is in trace output.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.inner.running.set(self.inner.running.get() + 1);
        let running = Running(Rc::clone(&self.inner));
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the one place that spawns"
        )]
        let handle = tokio::task::spawn_local(async move {
            let _running = running;
            task.await;
        });
        tracing::trace!(task = name, id = %handle.id(), "spawned");
    }

    /// Tasks that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.inner.running.get()
    }

    /// Resolves once no task runs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn idle(&self) {
        loop {
            let changed = self.inner.changed.notified();
            if self.running() == 0 {
                return;
            }
            changed.await;
        }
    }
}
