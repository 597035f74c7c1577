//! `POST /v1/emit/{event}`: emitting from outside.

use http::StatusCode;
use roomwire_hub::emitter::name;
use roomwire_metrics::Id;
use roomwire_protocols::json as json_text;
use serde::Serialize;

use super::message::is_json;
use super::problem::{Answer, Problem, json};
use super::service::Call;

/// The payload of an event that came over HTTP: one valid JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(pub bytes::Bytes);

/// The gateway's own events.
const RESERVED: &[&str] = &[
    name::CLOSE,
    name::CONNECTION,
    name::DRAIN,
    name::DROP,
    name::ERROR,
    name::JOIN,
    name::LEAVE,
    name::LISTENING,
    name::MESSAGE,
    name::PUBLISH,
    name::REQUEST,
];

/// Longest name of an event, in bytes; the same as a room's.
const MAX_EVENT_BYTES: usize = 255;

pub(super) async fn emit(call: Call) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Emitted<'a> {
        event: &'a str,
        listened: bool,
    }
    let event = call.parameter("event").to_owned();
    if event.is_empty() || event.len() > MAX_EVENT_BYTES || event.contains(char::is_control) {
        let detail =
            format!("an event's name has 1 to {MAX_EVENT_BYTES} bytes and no control characters");
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_event",
            detail,
        ));
    }
    // Their listeners rely on what the gateway says; a route's event is for requests alone.
    if RESERVED.contains(&event.as_str()) || event.contains(' ') {
        let detail = "this event is the gateway's own and cannot be emitted from outside";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "reserved_event",
            detail,
        ));
    }
    let empty = http_body::Body::is_end_stream(call.request.body());
    if !empty && !is_json(call.request.headers()) {
        call.connection.worker.count(Id::HttpWrongType);
        let detail = "send application/json, or nothing";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_media_type", detail));
    }
    let Call {
        connection,
        request,
        ..
    } = call;
    let mut body = Call::body(request, &connection).await?;
    if body.is_empty() {
        body = bytes::Bytes::from_static(b"null");
    }
    json_text::check(&body).map_err(|_| {
        connection.worker.count(Id::ErrorsJson);
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_json",
            "the body is not valid JSON",
        )
    })?;
    let listened = connection.worker.shared.emitter.emit(&event, &Json(body));
    Ok(json(
        StatusCode::OK,
        &Emitted {
            event: &event,
            listened,
        },
    ))
}
