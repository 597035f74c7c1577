//! The parts of the API that look: members, counters. Lists of rooms and connections are in `listing.rs`.

use std::time::Duration;

use http::header::{self, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use roomwire_hub::WorkerId;
use roomwire_metrics::{Snapshot, prometheus, text};
use roomwire_protocols::room::{self, Subject};
use serde::Serialize;
use tokio::sync::mpsc;

use super::body::ResponseBody;
use super::problem::{Answer, Problem, json, with_type};
use super::service::Call;
use crate::lifecycle::Clock;
use crate::session::{ClientId, CloseReason};
use crate::worker::Control;

/// How long other workers have to answer. Chosen: far more than a turn takes.
pub(super) const WORKER_PATIENCE: Duration = Duration::from_secs(2);

/// Reads the room's name from the path.
pub(super) fn room_of(call: &Call) -> Result<&str, Problem> {
    let name = call.parameter("room");
    match room::check(name) {
        Ok(Subject::Room) => Ok(name),
        Ok(Subject::Pattern) => {
            let detail = "a pattern can be joined over WebSocket, TCP and UDP; here name one room";
            Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "pattern_not_allowed",
                detail,
            ))
        }
        Err(error) => {
            let detail = error.to_string();
            Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_room",
                detail,
            ))
        }
    }
}

/// Reads `limit` from the query.
pub(super) fn limit_of(call: &Call, default: usize, max: usize) -> Result<usize, Problem> {
    let Some(text) = call.query("limit").filter(|text| !text.is_empty()) else {
        return Ok(default);
    };
    let limit = text.parse::<usize>().map_err(|_| {
        let detail = format!("limit must be a number from 0 to {max}");
        Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
    })?;
    Ok(limit.min(max))
}

#[derive(Serialize)]
struct MemberEntry<'a> {
    client: String,
    name: Option<&'a str>,
}

/// `GET /v1/rooms/{room}/members`
pub(super) fn members(call: &Call) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Members<'a> {
        room: &'a str,
        members: Vec<MemberEntry<'a>>,
        member_count: usize,
    }
    let room = room_of(call)?;
    let max = call.connection.worker.shared.bounds.max_members_listed;
    let limit = limit_of(call, max, max)?;
    let page = call
        .connection
        .worker
        .shared
        .hub
        .members(room, limit)
        .ok_or_else(unknown_room)?;
    let members = page.members.iter().map(|member| MemberEntry {
        client: ClientId::from_member(member.id).to_string(),
        name: member.name.as_deref(),
    });
    let body = Members {
        room,
        members: members.collect(),
        member_count: page.total,
    };
    Ok(json(StatusCode::OK, &body))
}

pub(super) fn unknown_room() -> Problem {
    let detail = "no such room: nobody is in it and it has no history";
    Problem::new(StatusCode::NOT_FOUND, "unknown_room", detail)
}

/// `DELETE /v1/connections/{id}`
pub(super) async fn close_connection(call: &Call) -> Result<Answer, Problem> {
    let shared = &call.connection.worker.shared;
    let unknown = || {
        let detail = "there is no such connection; GET /v1/connections lists them";
        Problem::new(StatusCode::NOT_FOUND, "unknown_connection", detail)
    };
    let client = ClientId::parse(call.parameter("id")).ok_or_else(unknown)?;
    if client.worker() >= shared.workers {
        return Err(unknown());
    }
    let (answer, mut answers) = mpsc::channel(1);
    let control = Control::Close {
        client,
        reason: CloseReason::Kicked,
        answer,
    };
    shared
        .hub
        .send(WorkerId(client.worker()), control)
        .map_err(|_| overloaded())?;
    let closed = tokio::time::timeout(WORKER_PATIENCE, answers.recv()).await;
    if closed.map_err(|_| overloaded())?.unwrap_or(false) {
        let mut answer = Response::new(ResponseBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer)
    } else {
        Err(unknown())
    }
}

pub(super) fn overloaded() -> Problem {
    let detail = "the gateway is overloaded; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
        .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// `GET /v1/stats`: the counter page as JSON.
pub(super) fn stats(call: &Call) -> Answer {
    let snapshot = snapshot(call);
    let state = snapshot.state(Clock::unix_ms(), true);
    let body = text::json(&snapshot, state);
    with_type(StatusCode::OK, "application/json", body)
}

/// `GET /metrics`: the counter page as Prometheus text, or as OpenMetrics to who prefers that.
pub(super) fn metrics(call: &Call) -> Answer {
    let accepts = call.request.headers().get_all(header::ACCEPT);
    let accepts: Vec<&str> = accepts.iter().filter_map(|it| it.to_str().ok()).collect();
    let format = prometheus::Format::accepted(&accepts.join(","));
    let body = prometheus::render(&snapshot(call), format);
    let mut answer = with_type(StatusCode::OK, format.content_type(), body);
    let vary = HeaderValue::from_static("accept");
    answer.headers_mut().insert(header::VARY, vary);
    answer
}

fn snapshot(call: &Call) -> Snapshot {
    // What this worker counted in tasks since its last turn is not on the page yet.
    call.connection.worker.lane.publish();
    call.connection.worker.shared.page.snapshot()
}

/// `GET /.well-known/acme-challenge/{token}` (RFC 8555 §8.3)
pub(super) fn acme_challenge(call: &Call) -> Result<Answer, Problem> {
    let challenges = &call.connection.worker.shared.challenges;
    let text = challenges.text(call.parameter("token"));
    let text = text.ok_or_else(Problem::not_found)?;
    Ok(with_type(
        StatusCode::OK,
        "application/octet-stream",
        text.to_string(),
    ))
}
