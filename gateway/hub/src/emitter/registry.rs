//! The map from event names to their listeners, and the bounds on it.
//!
//! Only registrations and topic handles create entries, never an emit: names of emitted events may
//! come from peers. An entry goes as soon as it has neither listener nor handle. Each method takes
//! one shard's lock and calls nothing foreign under it; what it takes out of a list it hands to the
//! caller, because dropping a listener runs foreign code too.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, Entry as MapEntry, mapref::one::RefMut};

use super::{
    Limits, RegisterError,
    answer::Answerer,
    listener::{Entry, List, Place},
    topic::TopicState,
};

pub(super) struct Registry {
    topics: DashMap<Arc<str>, Slot>,
    /// Entries in `topics`, since counting them would take every shard's lock.
    topic_count: AtomicUsize,
    /// Listeners and answerers in all slots.
    registration_count: AtomicUsize,
    limits: Limits,
}

/// What an event's name leads to.
struct Slot {
    state: Arc<TopicState>,
    list: Arc<List>,
    answerers: Arc<Vec<AnswererEntry>>,
    /// The warning about too many listeners was given.
    warned: bool,
}

/// One answering listener.
#[derive(Clone)]
pub(super) struct AnswererEntry {
    pub(super) id: u64,
    pub(super) answerer: Arc<dyn Answerer>,
}

/// What is to be registered, and what a removal takes out.
pub(super) enum Registration {
    Listener(Entry, Place),
    Answerer(AnswererEntry),
}

/// A registration that was made.
pub(super) struct Registered {
    pub(super) event: Arc<str>,
    /// How many registrations the event has, if that is above the maximum for the first time.
    pub(super) above_max: Option<usize>,
}

impl Slot {
    fn new(name: Arc<str>) -> Self {
        Self {
            state: TopicState::new(name),
            list: Arc::new(List::empty()),
            answerers: Arc::default(),
            warned: false,
        }
    }

    /// Changes the list without anybody who walks it noticing.
    fn change<R>(&mut self, change: impl FnOnce(&mut List) -> R) -> R {
        if Arc::get_mut(&mut self.list).is_none() {
            self.list = Arc::new(self.list.copy());
        }
        let list = Arc::get_mut(&mut self.list).expect("a fresh list has one owner");
        let result = change(list);
        list.version = self.state.advance(!list.entries.is_empty());
        result
    }

    fn registrations(&self) -> usize {
        self.list.entries.len() + self.answerers.len()
    }

    fn is_vacant(&self) -> bool {
        self.registrations() == 0 && self.state.handles.load(Relaxed) == 0
    }

    fn insert(&mut self, registration: Registration) {
        match registration {
            Registration::Listener(entry, place) => self.change(|list| list.insert(entry, place)),
            Registration::Answerer(entry) => Arc::make_mut(&mut self.answerers).push(entry),
        }
    }

    /// Looks before it changes anything, because a change copies what somebody walks.
    fn remove(&mut self, id: u64) -> Option<Registration> {
        if let Some(index) = self.list.entries.iter().position(|entry| entry.id == id) {
            let entry = self.change(|list| list.entries.remove(index));
            return Some(Registration::Listener(entry, Place::Last));
        }
        let index = self.answerers.iter().position(|entry| entry.id == id)?;
        let entry = Arc::make_mut(&mut self.answerers).remove(index);
        Some(Registration::Answerer(entry))
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            topics: DashMap::new(),
            topic_count: AtomicUsize::new(0),
            registration_count: AtomicUsize::new(0),
            limits,
        }
    }

    pub(super) fn topic_count(&self) -> usize {
        self.topic_count.load(Relaxed)
    }

    pub(super) fn registration_count(&self) -> usize {
        self.registration_count.load(Relaxed)
    }

    /// The listeners of an event that has some.
    #[inline]
    pub(super) fn listeners(&self, event: &str) -> Option<Arc<List>> {
        let slot = self.topics.get(event)?;
        (!slot.list.entries.is_empty()).then(|| Arc::clone(&slot.list))
    }

    pub(super) fn answerers(&self, event: &str) -> Arc<Vec<AnswererEntry>> {
        let slot = self.topics.get(event);
        slot.map_or_else(Arc::default, |slot| Arc::clone(&slot.answerers))
    }

    /// Listeners and answerers of one event.
    pub(super) fn counts(&self, event: &str) -> (usize, usize) {
        let slot = self.topics.get(event);
        slot.map_or((0, 0), |slot| {
            (slot.list.entries.len(), slot.answerers.len())
        })
    }

    /// The name, without a copy where the event is known.
    pub(super) fn name(&self, event: &str) -> Arc<str> {
        let slot = self.topics.get(event);
        slot.map_or_else(|| event.into(), |slot| Arc::clone(&slot.state.name))
    }

    /// The events with listeners or answerers, sorted.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let taken = self.topics.iter().filter(|slot| slot.registrations() > 0);
        let mut names: Vec<_> = taken.map(|slot| Arc::clone(&slot.state.name)).collect();
        names.sort_unstable();
        names
    }

    /// The state of a topic that has one handle more. The handle calls `vacate` when it was the
    /// last.
    pub(super) fn handle(&self, event: &str) -> Result<Arc<TopicState>, RegisterError> {
        let slot = self.slot(event)?;
        slot.state.handles.fetch_add(1, Relaxed);
        Ok(Arc::clone(&slot.state))
    }

    pub(super) fn register(
        &self,
        event: &str,
        registration: Registration,
        max_listeners: usize,
    ) -> Result<Registered, RegisterError> {
        if !reserve(&self.registration_count, self.limits.max_total_listeners) {
            return Err(RegisterError::TooManyListeners);
        }
        let mut slot = self.slot(event).inspect_err(|_| self.release(1))?;
        slot.insert(registration);
        let count = slot.registrations();
        let warn = max_listeners > 0 && count > max_listeners && !slot.warned;
        slot.warned |= warn;
        Ok(Registered {
            event: Arc::clone(&slot.state.name),
            above_max: warn.then_some(count),
        })
    }

    pub(super) fn take(&self, event: &str, id: u64) -> Option<Registration> {
        let mut slot = self.topics.get_mut(event)?;
        let taken = slot.remove(id)?;
        let vacant = slot.is_vacant();
        drop(slot);
        self.release(1);
        if vacant {
            self.vacate(event);
        }
        Some(taken)
    }

    /// Takes all listeners and answerers of one event.
    pub(super) fn take_all(&self, event: &str) -> (Vec<Entry>, Arc<Vec<AnswererEntry>>) {
        let Some(mut slot) = self.topics.get_mut(event) else {
            return Default::default();
        };
        let entries = slot.change(|list| mem::take(&mut list.entries));
        let answerers = mem::take(&mut slot.answerers);
        drop(slot);
        self.release(entries.len() + answerers.len());
        self.vacate(event);
        (entries, answerers)
    }

    /// Forgets a topic that has neither registrations nor handles.
    pub(super) fn vacate(&self, event: &str) {
        if self
            .topics
            .remove_if(event, |_, slot| slot.is_vacant())
            .is_some()
        {
            self.topic_count.fetch_sub(1, Relaxed);
        }
    }

    /// The slot of an event, made if there is none.
    fn slot(&self, event: &str) -> Result<RefMut<'_, Arc<str>, Slot>, RegisterError> {
        if let Some(slot) = self.topics.get_mut(event) {
            return Ok(slot);
        }
        if event.len() > self.limits.max_name_bytes {
            return Err(RegisterError::NameTooLong);
        }
        if !reserve(&self.topic_count, self.limits.max_topics) {
            return Err(RegisterError::TooManyTopics);
        }
        let name: Arc<str> = event.into();
        match self.topics.entry(Arc::clone(&name)) {
            MapEntry::Occupied(entry) => {
                self.topic_count.fetch_sub(1, Relaxed);
                Ok(entry.into_ref())
            }
            MapEntry::Vacant(entry) => Ok(entry.insert(Slot::new(name))),
        }
    }

    fn release(&self, registrations: usize) {
        self.registration_count.fetch_sub(registrations, Relaxed);
    }
}

/// Adds one to a count unless it is at its bound.
fn reserve(count: &AtomicUsize, max: usize) -> bool {
    count
        .fetch_update(Relaxed, Relaxed, |n| (n < max).then_some(n + 1))
        .is_ok()
}
