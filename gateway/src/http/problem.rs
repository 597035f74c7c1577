//! Answers: problems as `application/problem+json` (RFC 9457), and everything else as JSON.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE};
use http::{Response, StatusCode};
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::problem;
use serde::Serialize;

use super::body::ResponseBody;
use crate::session::Refusal;

pub(crate) type Answer = Response<ResponseBody>;

/// Why a request was not served, for the peer.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn draining() -> Self {
        let detail = "the gateway is shutting down; come back in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail)
            .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing here; /openapi.json lists what there is",
        )
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.into_answer_to(None)
    }

    /// The answer to the request of this id.
    pub(crate) fn into_answer_to(self, request: Option<&HeaderValue>) -> Answer {
        let request = request.and_then(|id| id.to_str().ok());
        let mut body = Vec::new();
        let title = self.status.canonical_reason().unwrap_or("Problem");
        problem::render_to(
            &mut body,
            self.status.as_u16(),
            title,
            &self.detail,
            self.code,
            request,
        );
        let mut answer = with_type(self.status, "application/problem+json", body);
        let headers = answer.headers_mut();
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22; HTTP/2 leaves out what belongs to a connection.
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        answer
    }
}

/// A refusal that a session would get as an `error`.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            ErrorCode::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::TooManyRooms => StatusCode::INSUFFICIENT_STORAGE,
            ErrorCode::UnknownRoom => StatusCode::NOT_FOUND,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let problem = Self::new(status, refusal.code.as_str(), refusal.text);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return problem.with_header(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        problem
    }
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(ResponseBody::Whole(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "please report this",
            )
            .into_answer()
        }
    }
}
