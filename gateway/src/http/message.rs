//! Messages over plain HTTP: publishing, history and long polling.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use roomwire_hub::{HistoryPage, Position};
use roomwire_metrics::Id;
use roomwire_protocols::command::{self, Publication};
use roomwire_protocols::event;
use serde::Serialize;

use super::api::{limit_of, room_of, unknown_room};
use super::event_stream::Watcher;
use super::problem::{Answer, Problem, json, with_type};
use super::service::Call;
use crate::message::Message;
use crate::session::{TaskSide, Wire, counter_of};

/// `POST /v1/rooms/{room}/messages`
pub(super) async fn publish(call: Call) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Published<'a> {
        room: &'a str,
        epoch: String,
        offset: u64,
    }
    let room = room_of(&call)?.to_owned();
    call.require_body()?;
    if !is_json(call.request.headers()) {
        call.connection.worker.count(Id::HttpWrongType);
        let detail = "send application/json, as in {\"data\": \"hello\"}";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_media_type", detail));
    }
    let Call {
        connection,
        request,
        ..
    } = call;
    let body = Call::body(request, &connection).await?;
    let publication = command::parse_publication(&body).map_err(|error| {
        connection.worker.count(counter_of(error.code));
        Problem::new(StatusCode::BAD_REQUEST, error.code.as_str(), error.message)
    })?;
    let Publication { data, from, key } = publication;
    let from: Arc<str> = from.as_deref().unwrap_or("api").into();
    let max = connection.worker.shared.bounds.max_message;
    if data.len() > max {
        connection.worker.count(Id::ErrorsTooLarge);
        let detail = format!("data is at most {max} bytes (limits.max_message)");
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            detail,
        ));
    }
    let published = connection
        .worker
        .with(|core| core.publish(&room, from, data, None, key.as_deref()))?;
    // A repeated key publishes nothing, so nothing is created.
    let status = if published.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let epoch = published.epoch.to_string();
    Ok(json(
        status,
        &Published {
            room: &room,
            epoch,
            offset: published.offset,
        },
    ))
}

/// Whether the body says it is JSON (RFC 9110 §8.3; parameters do not matter).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// `GET /v1/rooms/{room}/messages`: history, and with `wait` a long poll.
pub(super) async fn read(call: &Call) -> Result<Answer, Problem> {
    let room = room_of(call)?;
    let shared = &call.connection.worker.shared;
    let limit = limit_of(
        call,
        shared.bounds.max_history_page,
        shared.bounds.max_history_page,
    )?;
    let since = since_of(call)?;
    let wait = wait_of(call)?;
    let now_ms = shared.clock.now_ms();
    let page = shared.hub.history(room, since, limit, now_ms);
    let nothing_new = page.as_ref().is_none_or(|page| page.messages.is_empty());
    if wait.is_zero() || limit == 0 || !nothing_new {
        return page
            .map(|page| render(room, &page))
            .ok_or_else(unknown_room);
    }
    call.connection.worker.count(Id::LongPolls);
    let side = Rc::new(RefCell::new(TaskSide::default()));
    // Nothing that is published while the wait begins may fall between the two looks.
    let since = since.or_else(|| {
        let page = page.as_ref()?;
        Some(Position {
            epoch: page.epoch,
            offset: page.offset,
        })
    });
    let (watcher, joined) = Watcher::open(call, &side, Wire::Waiter, room, since.as_ref())?;
    if joined.missed.is_empty() {
        tokio::select! {
            () = told(&side) => {}
            () = tokio::time::sleep(wait) => {}
            () = call.connection.drained() => {}
        }
    }
    // A `since` of another epoch, or none at all, means everything from here on.
    let from = since.filter(|since| since.epoch == joined.epoch);
    let from = from.unwrap_or(Position {
        epoch: joined.epoch,
        offset: joined.offset,
    });
    let page = shared
        .hub
        .history(room, Some(from), limit, shared.clock.now_ms());
    drop(watcher);
    page.map(|page| render(room, &page))
        .ok_or_else(unknown_room)
}

/// Resolves when a message came for the long poll, or it is to end.
async fn told(side: &Rc<RefCell<TaskSide>>) {
    poll_fn(|cx| {
        let mut side = side.borrow_mut();
        if side.notified || side.closed.is_some() {
            return Poll::Ready(());
        }
        side.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn wait_of(call: &Call) -> Result<Duration, Problem> {
    let Some(text) = call.query("wait").filter(|text| !text.is_empty()) else {
        return Ok(Duration::ZERO);
    };
    let longest = call
        .connection
        .worker
        .shared
        .config
        .limits
        .max_request_timeout;
    let seconds = text.parse::<u64>().map_err(|_| {
        let detail = format!("wait must be a number of seconds, {longest} at the most");
        Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
    })?;
    Ok(Duration::from_secs(seconds).min(longest.get()))
}

/// Reads `since=epoch:offset` from the query.
fn since_of(call: &Call) -> Result<Option<Position>, Problem> {
    let Some(text) = call.query("since").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    parse_position(&text).map(Some).ok_or_else(|| {
        let detail = "since must be epoch:offset, as ids of events are";
        Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
    })
}

/// Reads `epoch:offset`. An epoch that is not one of ours is one that no longer exists.
pub(super) fn parse_position(text: &str) -> Option<Position> {
    let (epoch, offset) = roomwire_protocols::sse::parse_id(text)?;
    Some(crate::session::position(epoch, offset))
}

fn render(room: &str, page: &HistoryPage<Arc<Message>>) -> Answer {
    let mut body = Vec::new();
    let views = page
        .messages
        .iter()
        .map(|stored| stored.message.view(room, stored.offset));
    event::history_page(
        &mut body,
        room,
        &page.epoch,
        page.offset,
        page.recovered,
        views,
    );
    with_type(StatusCode::OK, "application/json", body)
}
