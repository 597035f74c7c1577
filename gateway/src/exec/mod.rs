//! Programs behind a listener: what a client sends is their standard input, line by line, and what
//! they print goes back.
//!
//! `program.rs` starts a program in a process group of its own and ends the whole group; `own.rs`
//! serves a connection with a program of its own; `shared.rs` one program for all connections. A
//! connection is a task here, because a pipe is one more thing to wait for, with a session beside it
//! so that it is listed, closed and drained as all are.

mod own;
mod program;
mod seat;
mod shared;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use roomwire_metrics::Id;
use tokio::sync::{Mutex, broadcast, mpsc};

pub(crate) use self::shared::keep;
use crate::config::ExecConfig;
use crate::listener::{Door, Permit};
use crate::session::Stream;

/// Lines, and pieces of output, that may wait for a shared program and for each of its clients.
/// Chosen: at 64 KiB a line at most 16 MiB, and usual lines are of a hundred bytes.
const QUEUE: usize = 256;

/// What all workers know of one exec listener.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) config: ExecConfig,
    programs: AtomicUsize,
    /// Lines for the shared program.
    lines: mpsc::Sender<Bytes>,
    /// The other end of `lines`, until the program's task takes it.
    inlet: Mutex<Option<mpsc::Receiver<Bytes>>>,
    /// What the shared program prints.
    output: broadcast::Sender<Bytes>,
}

impl House {
    pub(crate) fn new(config: &ExecConfig) -> Self {
        let (lines, inlet) = mpsc::channel(QUEUE);
        Self {
            config: config.clone(),
            programs: AtomicUsize::new(0),
            lines,
            inlet: Mutex::new(Some(inlet)),
            output: broadcast::Sender::new(QUEUE),
        }
    }

    /// A place among `max_programs`, if there is one.
    fn admit(self: &Arc<Self>) -> Option<Room> {
        if self.programs.fetch_add(1, Ordering::Relaxed) >= self.config.max_programs {
            self.programs.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Room {
            house: Arc::clone(self),
        })
    }
}

/// A place for one program. Dropping it gives it back.
#[derive(Debug)]
struct Room {
    house: Arc<House>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.house.programs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(door: Rc<Door>, stream: Stream, peer: SocketAddr, permit: Permit) {
    let Some(house) = door.worker.shared.house(door.listener) else {
        return;
    };
    if house.config.shared {
        return shared::serve(&door, &house, stream, peer, permit).await;
    }
    let Some(room) = house.admit() else {
        door.worker.count(Id::ProgramsRefused);
        return tracing::debug!(%peer, "no place for another program");
    };
    own::serve(&door, room, stream, peer, permit).await;
}
