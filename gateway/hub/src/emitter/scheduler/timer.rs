//! Timers in the order of their deadlines, on a clock that the caller reads.
//!
//! A timer set where the time is unknown waits among the `incoming` until the next call that brings
//! it: it may fire late by one turn, never early. Cancelling frees a timer at once, so timeouts that
//! almost never fire (an answer nearly always comes) cost nothing afterwards.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::queue::{DeferredEmit, Task};

/// Milliseconds to wait, rounded up and at least one: a timer never fires in the call that sets
/// it, so one that sets itself again cannot keep the loop from its input.
fn delay_ms(delay: Duration) -> u64 {
    let whole = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let part = !delay.subsec_nanos().is_multiple_of(1_000_000);
    whole.saturating_add(u64::from(part)).max(1)
}

/// What a timer does.
pub(super) enum Job {
    Once(Task),
    Every(DeferredEmit),
}

struct Timer {
    id: u64,
    delay_ms: u64,
    job: Job,
}

/// Deadline first; timers with the same deadline run in the order in which they were armed.
type Key = (u64, u64);

pub(super) struct Timers {
    /// By id, which is the order in which they were set.
    incoming: BTreeMap<u64, Timer>,
    armed: BTreeMap<Key, Timer>,
    /// Where in `armed` an id is. `keys.len() == armed.len()`.
    keys: HashMap<u64, Key>,
    next_turn: u64,
    max: usize,
}

impl Timers {
    pub(super) fn new(max: usize) -> Self {
        let (incoming, armed, keys) = Default::default();
        Self {
            incoming,
            armed,
            keys,
            next_turn: 0,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.incoming.len() + self.armed.len()
    }

    /// Sets a timer, armed at once if the time is known. Gives the job back when there is no room.
    pub(super) fn set(
        &mut self,
        id: u64,
        delay: Duration,
        job: Job,
        now: Option<u64>,
    ) -> Result<(), Job> {
        if self.len() >= self.max {
            return Err(job);
        }
        let timer = Timer {
            id,
            delay_ms: delay_ms(delay),
            job,
        };
        match now {
            Some(now) => self.arm(now.saturating_add(timer.delay_ms), timer),
            None => drop(self.incoming.insert(id, timer)),
        }
        Ok(())
    }

    /// Arms what came in while the time was unknown.
    pub(super) fn arm_incoming(&mut self, now: u64) {
        while let Some((_, timer)) = self.incoming.pop_first() {
            self.arm(now.saturating_add(timer.delay_ms), timer);
        }
    }

    /// What the first timer that is due does. A repeating one is armed again, on the grid that it
    /// began with; the times that were missed are left out.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Task> {
        let first = self.armed.first_entry()?;
        let deadline = first.key().0;
        if deadline > now {
            return None;
        }
        let timer = first.remove();
        self.keys.remove(&timer.id);
        match timer.job {
            Job::Once(task) => Some(task),
            Job::Every(ref emit) => {
                let task = Task::Emit(emit.clone());
                let missed = (now - deadline) / timer.delay_ms;
                let next = deadline.saturating_add(timer.delay_ms.saturating_mul(missed + 1));
                self.arm(next, timer);
                Some(task)
            }
        }
    }

    /// Takes a timer out; the caller drops it outside the lock.
    pub(super) fn cancel(&mut self, id: u64) -> Option<Job> {
        let timer = match self.keys.remove(&id) {
            Some(key) => self.armed.remove(&key),
            None => self.incoming.remove(&id),
        };
        timer.map(|timer| timer.job)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.keys.contains_key(&id) || self.incoming.contains_key(&id)
    }

    pub(super) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.armed
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    fn arm(&mut self, deadline: u64, timer: Timer) {
        let key = (deadline, self.next_turn);
        self.next_turn += 1;
        self.keys.insert(timer.id, key);
        self.armed.insert(key, timer);
    }
}
