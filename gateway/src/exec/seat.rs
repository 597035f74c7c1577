//! The session beside a connection's task: it is listed, can be closed, and ends with the task.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use crate::listener::Door;
use crate::session::{ClientId, CloseReason, Io, TaskSide, Wire};
use crate::worker::{NewSession, Worker};

/// One connection's session, removed when this is dropped.
pub(super) struct Seat {
    worker: Rc<Worker>,
    side: Rc<RefCell<TaskSide>>,
    id: ClientId,
    ending: Cell<CloseReason>,
}

impl Seat {
    /// `None` when the worker takes no session.
    pub(super) fn take(door: &Door, peer: SocketAddr) -> Option<Self> {
        let worker = Rc::clone(&door.worker);
        let side = Rc::new(RefCell::new(TaskSide::default()));
        let new = NewSession {
            io: Io::Task(Rc::clone(&side)),
            wire: Wire::Exec,
            listener: door.listener,
            peer,
            permit: None,
            identity: None,
        };
        let id = worker.with(|core| core.add(new))?;
        Some(Self {
            worker,
            side,
            id,
            ending: Cell::new(CloseReason::Ended),
        })
    }

    /// Notes why the session ends.
    pub(super) fn ends_for(&self, reason: CloseReason) {
        self.ending.set(reason);
    }

    /// Notes that the peer sent something.
    pub(super) fn heard(&self) {
        self.worker.with(|core| {
            let now_ms = core.now_ms;
            if let Some(session) = core.find(self.id) {
                session.heard_ms = now_ms;
            }
        });
    }

    /// Resolves when the session was ended from elsewhere.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn closed(&self) -> CloseReason {
        poll_fn(|cx| {
            let mut side = self.side.borrow_mut();
            match side.closed {
                Some(reason) => Poll::Ready(reason),
                None => {
                    side.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (id, reason) = (self.id, self.ending.get());
        self.worker.with(|core| core.task_ended(id, reason));
    }
}
