//! Lists of rooms and connections: searched and ordered where they are, and bounded in what they cost.
//!
//! A list walks over many thousand sessions or rooms, so whoever asks again and again could take the
//! workers' time from everybody else. One list of a kind is made at a time; who asks for the same one
//! meanwhile shares it, and after one was made nothing is made for ten times as long as that took.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roomwire_hub::{RoomOrder, WorkerId};
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::Instant;

use super::api::{WORKER_PATIENCE, limit_of, overloaded};
use super::problem::{Answer, Problem, with_type};
use super::service::Call;
use crate::shared::Shared;
use crate::worker::{ConnectionInfo, Control, Listing};

/// Entries of a listing when none are asked for, and at the most.
const LISTED: usize = 100;
const MAX_LISTED: usize = 1000;

/// The longest text that is searched for, in bytes; no room's name is longer.
const MAX_SEARCH_BYTES: usize = 255;

/// Requests that may wait for their list. Chosen: more than there are operators.
const MAX_WAITING: usize = 64;

/// How many times as long as a list took no other is made: listing takes a tenth of the time at most.
const PAUSE: u32 = 9;

/// The longest pause, so that a list that was slow once is not refused for long.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Makes lists of one kind, one at a time.
#[derive(Debug)]
pub(crate) struct Lists {
    waiting: Semaphore,
    last: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    key: Key,
    began: Instant,
    took: Duration,
    list: Bytes,
}

type Key = (String, usize, Option<RoomOrder>);

impl Default for Lists {
    fn default() -> Self {
        Self {
            waiting: Semaphore::new(MAX_WAITING),
            last: Mutex::default(),
        }
    }
}

impl Lists {
    /// The list for `key`, which `make` makes if nobody began one after this was called.
    async fn get(
        &self,
        key: Key,
        make: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Bytes, Problem> {
        let came = Instant::now();
        let _waiting = self.waiting.try_acquire().map_err(|_| overloaded())?;
        let mut last = self.last.lock().await;
        if let Some(made) = &*last {
            if made.key == key && made.began >= came {
                return Ok(made.list.clone());
            }
            let pause = (made.took * PAUSE).min(MAX_PAUSE);
            tokio::time::sleep_until(made.began + made.took + pause).await;
        }
        let began = Instant::now();
        let list = make.await?;
        let took = began.elapsed();
        *last = Some(Made {
            key,
            began,
            took,
            list: list.clone(),
        });
        Ok(list)
    }
}

/// `GET /v1/rooms`
pub(super) async fn rooms(call: &Call) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Rooms<'a> {
        rooms: Vec<RoomEntry<'a>>,
        total: usize,
    }
    #[derive(Serialize)]
    struct RoomEntry<'a> {
        room: &'a str,
        epoch: String,
        offset: u64,
        members: usize,
        watchers: usize,
        history_messages: usize,
        history_bytes: usize,
    }
    let limit = limit_of(call, LISTED, MAX_LISTED)?;
    let search = search_of(call)?;
    let order = order_of(call)?;
    let shared = &call.connection.worker.shared;
    let (hub, wanted) = (shared.hub.clone(), search.clone());
    let make = async {
        let found = move || {
            let found = hub.find_rooms(&wanted, order, limit);
            let rooms = found.rooms.iter().map(|room| RoomEntry {
                room: &room.name,
                epoch: room.epoch.to_string(),
                offset: room.offset,
                members: room.members,
                watchers: room.watchers,
                history_messages: room.history_messages,
                history_bytes: room.history_bytes,
            });
            let rooms = Rooms {
                rooms: rooms.collect(),
                total: found.total,
            };
            serde_json::to_vec(&rooms).unwrap_or_default()
        };
        // All rooms are walked over, which is nothing for a worker.
        let list = shared.files.run(found).map_err(|_| overloaded())?;
        Ok(Bytes::from(list.await.map_err(|_| overloaded())?))
    };
    let list = shared
        .lists_of_rooms
        .get((search, limit, Some(order)), make);
    Ok(with_type(StatusCode::OK, "application/json", list.await?))
}

/// `GET /v1/connections`: what every worker lists, put together.
pub(super) async fn connections(call: &Call) -> Result<Answer, Problem> {
    let limit = limit_of(call, LISTED, MAX_LISTED)?;
    let search = search_of(call)?;
    let shared = &call.connection.worker.shared;
    let make = list_connections(shared, &search, limit);
    let list = shared
        .lists_of_connections
        .get((search.clone(), limit, None), make);
    Ok(with_type(StatusCode::OK, "application/json", list.await?))
}

async fn list_connections(shared: &Shared, search: &str, limit: usize) -> Result<Bytes, Problem> {
    #[derive(Serialize)]
    struct Connections {
        connections: Vec<ConnectionInfo>,
    }
    let search: std::sync::Arc<str> = search.to_lowercase().into();
    let (answer, mut answers) = mpsc::channel(usize::from(shared.workers));
    let ask = |worker, from, limit| {
        let control = Control::List(Listing {
            search: search.clone(),
            from,
            limit,
            answer: answer.clone(),
        });
        shared
            .hub
            .send(WorkerId(worker), control)
            .map_err(|_| overloaded())
    };
    let mut connections = Vec::new();
    let mut left = vec![limit; usize::from(shared.workers)];
    for worker in 0..shared.workers {
        ask(worker, 0, limit)?;
    }
    let deadline = Instant::now() + WORKER_PATIENCE;
    let mut asked = usize::from(shared.workers);
    while asked > 0 {
        let part = tokio::time::timeout_at(deadline, answers.recv()).await;
        let part = part.ok().flatten().ok_or_else(overloaded)?;
        asked -= 1;
        let left = left.get_mut(usize::from(part.worker));
        let left = left.map_or(0, |left| {
            *left = left.saturating_sub(part.found.len());
            *left
        });
        connections.extend(part.found);
        if let Some(next) = part.next.filter(|_| left > 0) {
            ask(part.worker, next, left)?;
            asked += 1;
        }
    }
    connections.sort_by(|a, b| (a.since_ms, &a.id).cmp(&(b.since_ms, &b.id)));
    connections.truncate(limit);
    let list = serde_json::to_vec(&Connections { connections });
    Ok(list.unwrap_or_default().into())
}

fn search_of(call: &Call) -> Result<String, Problem> {
    let search = call.query("search").unwrap_or_default();
    if search.len() > MAX_SEARCH_BYTES {
        let detail = format!("search is at most {MAX_SEARCH_BYTES} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail));
    }
    Ok(search)
}

fn order_of(call: &Call) -> Result<RoomOrder, Problem> {
    match call.query("order").as_deref() {
        None | Some("" | "name") => Ok(RoomOrder::Name),
        Some("members") => Ok(RoomOrder::Members),
        Some(_) => {
            let detail = "order is name or members";
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;

    fn key(search: &str) -> Key {
        (search.to_owned(), 1, None)
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_a_list_is_awaited_shares_the_next_one() {
        let lists = Lists::default();
        let made = Cell::new(0);
        let make = || async {
            made.set(made.get() + 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Bytes::from(made.get().to_string()))
        };
        let first = lists.get(key("a"), make());
        let others = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            tokio::join!(lists.get(key("a"), make()), lists.get(key("a"), make()))
        };
        let (first, (second, third)) = tokio::join!(first, others);
        // The first had begun when the others came, who may have changed something before.
        assert_eq!(
            (&*first.unwrap(), &*second.unwrap(), &*third.unwrap()),
            (&b"1"[..], &b"2"[..], &b"2"[..])
        );
        assert_eq!(made.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn listing_takes_a_tenth_of_the_time_at_most() {
        let lists = Lists::default();
        let make = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Bytes::new())
        };
        let began = Instant::now();
        for nth in 0..5 {
            lists.get(key(&nth.to_string()), make()).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(4 * 200));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_may_wait_are_refused() {
        let lists = Lists::default();
        let never = || std::future::pending::<Result<Bytes, Problem>>();
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| Box::pin(lists.get(key(""), never())))
            .collect();
        for each in &mut waiting {
            assert!(each.as_mut().now_or_never().is_none());
        }
        let refused = lists.get(key(""), never()).await.unwrap_err();
        assert_eq!(refused.code, "overloaded");
    }
}
