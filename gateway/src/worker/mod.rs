//! Workers: one OS thread per core, each with its own runtime, sockets and sessions.
//!
//! A worker is one driver task that runs [`Core::turn`]s. Sessions are not tasks: a socket that
//! becomes ready puts its slot on the [`ReadyQueue`] and wakes the driver, which reads, fans out and
//! flushes in one turn. HTTP connections are tasks of the same thread, because hyper and h2 want to
//! be polled; they reach the core through [`Worker`]. Next file to read: `turn.rs`.

mod arena;
mod busy;
mod control;
mod core;
mod deflater;
mod echo;
mod encode;
mod fanout;
mod flush;
mod memory;
mod process;
mod read;
mod ready;
pub(crate) mod request;
mod say;
mod tick;
mod turn;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use roomwire_hub::WorkerId;
use roomwire_hub::emitter::Scheduler;
use roomwire_metrics::{Id, LaneWriter};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::arena::{Arenas, Burst, Run, Slice};
pub(crate) use self::control::{ConnectionInfo, Control, Listing};
pub(crate) use self::core::{Core, NewSession, READ_BYTES};
pub(crate) use self::flush::count_queue;
pub(crate) use self::ready::{ReadyQueue, SlotWaker};
use self::say::frame;
use self::turn::Turn;
use crate::lifecycle::{Phase, Scope};
use crate::listener::Sockets;
use crate::shared::Shared;

/// Slot numbers from here on stand for the worker's UDP sockets; sessions have fewer.
const FIRST_ENDPOINT: u32 = 1 << 31;

/// The slot number by which a UDP socket is woken.
pub(crate) fn endpoint_slot(endpoint: u16) -> u32 {
    FIRST_ENDPOINT + u32::from(endpoint)
}

fn endpoint_of(slot: u32) -> Option<u16> {
    slot.checked_sub(FIRST_ENDPOINT)
        .and_then(|endpoint| u16::try_from(endpoint).ok())
}

/// A worker as its tasks see it. Lives on one thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lane: Rc<LaneWriter>,
    pub(crate) scope: Scope,
    core: RefCell<Core>,
}

impl Worker {
    /// Runs `work` on the core. Never awaits, so the core is never found borrowed.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.borrow_mut();
        core.look_at_clock();
        work(&mut core)
    }

    /// Counts one event on this worker's lane.
    pub(crate) fn count(&self, id: Id) {
        self.lane.increment(id);
    }
}

/// What a worker's thread is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: WorkerId,
    pub(crate) lane: LaneWriter,
    pub(crate) scheduler: Scheduler,
    pub(crate) sockets: Sockets,
}

/// Runs a worker until the gateway has stopped. `ready` is called once it serves.
///
/// # Errors
///
/// When the runtime cannot be made or a socket cannot be registered with it.
pub(crate) fn run(start: Start, ready: impl FnOnce()) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = open(start)?;
        ready();
        drive(&worker).await;
        // Tasks end by themselves once the phase is Closing; they are given a moment to.
        let patience = Duration::from_millis(500);
        let ended = tokio::time::timeout(patience, worker.scope.idle()).await;
        if ended.is_err() {
            tracing::debug!(tasks = worker.scope.running(), "tasks did not end in time");
        }
        worker.with(|core| {
            core.reap();
            core.lane.publish();
        });
        Ok(())
    })
}

fn open(start: Start) -> io::Result<Rc<Worker>> {
    let Start {
        shared,
        id,
        lane,
        scheduler,
        sockets,
    } = start;
    let lane = Rc::new(lane);
    let queue = Arc::new(ReadyQueue::default());
    let waker = Waker::from(Arc::clone(&queue));
    shared.hub.inbox(id).set_waker(waker.clone());
    scheduler.set_waker(waker);
    let Sockets { endpoints, streams } = sockets;
    let endpoints = crate::udp::register(endpoints, &shared, &queue)?;
    let core = Core::new(
        Arc::clone(&shared),
        id,
        Rc::clone(&lane),
        scheduler,
        endpoints,
        queue,
    );
    let worker = Rc::new(Worker {
        shared,
        lane,
        scope: Scope::default(),
        core: RefCell::new(core),
    });
    if id.0 == 0 {
        for pool in worker.shared.pools.iter().flatten() {
            crate::proxy::keep(&worker, pool);
        }
        let listeners = worker.shared.config.listeners.iter();
        for (listener, house) in listeners.zip(&worker.shared.houses) {
            if let Some(house) = house {
                crate::exec::keep(&worker, &listener.name, house);
            }
        }
    }
    for socket in streams {
        crate::listener::accept(&worker, socket)?;
    }
    Ok(worker)
}

/// The driver: turn after turn until the phase is `Closing` and every session is gone.
///
/// It looks at the clock and at the phase in every turn, so what else may wake it is told its waker
/// once and not polled again until it has to be set anew: that would cost as much as a small turn.
async fn drive(worker: &Rc<Worker>) {
    let queue = Arc::clone(&worker.core.borrow().ready);
    let _entered = worker.core.borrow().scheduler.enter();
    let phase = worker.shared.phase.subscribe();
    let mut seen = Phase::Starting;
    let mut woken = Vec::new();
    let timer = sleep_until(Instant::now());
    let advance = after(worker, seen);
    tokio::pin!(timer, advance);
    let mut armed_ms = 0;
    let (mut timer_knows, mut advance_knows) = (false, false);
    // Reads in a turn have a budget of their own; tokio's would end a turn after 128 of them.
    tokio::task::unconstrained(async {
        loop {
            let now = *phase.borrow();
            if now > seen {
                seen = now;
                advance.set(after(worker, seen));
                advance_knows = false;
                worker.with(|core| core.on_phase(now));
            }
            let (turn, due_ms, began_ms, empty) = {
                let mut core = worker.core.borrow_mut();
                let turn = core.turn(&mut woken);
                let due_ms = core.next_deadline_ms();
                (turn, due_ms, core.now_ms, core.sessions.is_empty())
            };
            if seen >= Phase::Closing && empty {
                return;
            }
            if turn == Turn::More || due_ms <= began_ms {
                // Lets the runtime poll for input before the next turn.
                tokio::task::yield_now().await;
                continue;
            }
            if due_ms != armed_ms || timer.is_elapsed() {
                armed_ms = due_ms;
                timer_knows = false;
                let wait_ms = due_ms.saturating_sub(worker.shared.clock.now_ms());
                let wait = Duration::from_millis(wait_ms);
                timer.as_mut().reset(Instant::now() + wait);
            }
            let mut asked = false;
            poll_fn(|cx| {
                // Whoever asks a second time was woken, by one of these three.
                if queue.poll_notified(cx).is_ready() || asked {
                    return Poll::Ready(());
                }
                asked = true;
                let timer_is_over = !timer_knows && timer.as_mut().poll(cx).is_ready();
                let phase_is_over = !advance_knows && advance.as_mut().poll(cx).is_ready();
                (timer_knows, advance_knows) = (true, true);
                if timer_is_over || phase_is_over {
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        }
    })
    .await;
}

/// Resolves when the gateway's life goes on from `seen`.
async fn after(worker: &Worker, seen: Phase) {
    let mut phase = worker.shared.phase.subscribe();
    // The sender lives in `shared`, so the channel cannot be closed.
    drop(phase.wait_for(|phase| *phase > seen).await);
}

const _: () = assert!(crate::session::ClientId::MAX_SLOTS < FIRST_ENDPOINT);
