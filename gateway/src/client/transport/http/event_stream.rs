//! One room's server-sent events: a response that stays open.
//!
//! What the gateway says about a resume comes as an event named `unrecovered`; where it says nothing,
//! the first message after the resume tells by its id whether any are missing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::channel::{Channel, Driven, REQUEST_TIMEOUT, lost, read_body, request, room_path};
use crate::client::{
    command::Position,
    event::{Joined, Message, ServerEvent},
    transport::{
        Dialer, LinkError, MAX_INCOMING_BYTES,
        sse::{SseDecoder, SseEvent},
    },
};

/// Three times the gateway's 25 s between signs of life.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// Why a stream was not opened.
pub(super) enum Refusal {
    Link(LinkError),
    Status(StatusCode, Bytes),
}

pub(super) struct EventStream {
    pub(super) room: String,
    since: Option<Position>,
    /// False until the first message, or until the gateway has said itself what was recovered.
    pub(super) compared: bool,
    connection: Option<Driven>,
    body: Incoming,
    decoder: SseDecoder,
    silence: Pin<Box<Sleep>>,
}

impl EventStream {
    /// Where the gateway does not say it: what the first message after a resume tells about those
    /// between.
    pub(super) fn compare(&mut self, message: &Message) -> Option<ServerEvent> {
        let first = !std::mem::replace(&mut self.compared, true);
        let since = self.since.as_ref().filter(|_| first)?;
        let epoch = message.epoch.as_ref()?;
        if *epoch != since.epoch {
            return Some(ServerEvent::Joined(self.unrecovered()));
        }
        let from = since.offset.checked_add(1)?;
        let to = message.offset.checked_sub(1)?;
        (from <= to).then(|| ServerEvent::Gap {
            room: self.room.clone(),
            from,
            to,
        })
    }

    /// What a session's join would have been answered with.
    pub(super) fn unrecovered(&self) -> Joined {
        Joined {
            id: None,
            room: self.room.clone(),
            epoch: None,
            offset: None,
            members: Vec::new(),
            member_count: None,
            recovered: Some(false),
        }
    }

    /// The next event of this stream; the connection is moved on by the way.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<SseEvent, LinkError>> {
        loop {
            if let Some(event) = self.decoder.pop() {
                return Poll::Ready(Ok(event));
            }
            // Its result shows at the body, too, and there in order.
            if let Some(connection) = &mut self.connection
                && connection.as_mut().poll(context).is_ready()
            {
                self.connection = None;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence.as_mut().reset(Instant::now() + SILENCE_LIMIT);
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if self.decoder.push(&data).is_err() {
                        return Poll::Ready(Err(LinkError::oversize("an event")));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(LinkError::Lost(format!(
                        "the event stream broke: {error}"
                    ))));
                }
                Poll::Ready(None) => {
                    let ended = "the gateway ended the event stream".to_owned();
                    return Poll::Ready(Err(LinkError::Lost(ended)));
                }
                Poll::Pending => {
                    return self.silence.as_mut().poll(context).map(|()| {
                        Err(LinkError::Lost(
                            "the event stream has gone silent".to_owned(),
                        ))
                    });
                }
            }
        }
    }
}

/// The next event of any stream, with the stream's index. Pending forever where there is none.
pub(super) async fn next_of(
    streams: &mut [EventStream],
    dialer: &Dialer,
) -> Result<(usize, SseEvent), LinkError> {
    std::future::poll_fn(|context| {
        for (index, stream) in streams.iter_mut().enumerate() {
            if let Poll::Ready(event) = stream.poll_event(context) {
                return Poll::Ready(event.map(|event| (index, event)));
            }
        }
        Poll::Pending
    })
    .await
    .map_err(|error| match error {
        LinkError::Lost(problem) => LinkError::Lost(format!("{}: {problem}", dialer.url())),
        refused @ LinkError::Refused(_) => refused,
    })
}

pub(super) async fn open_stream(
    dialer: Arc<Dialer>,
    room: String,
    since: Option<Position>,
) -> Result<EventStream, Refusal> {
    let work = async {
        let mut request = request(
            &dialer,
            Method::GET,
            &room_path(&room, "events"),
            Bytes::new(),
        )?;
        let headers = request.headers_mut();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        if let Some(since) = &since
            && let Ok(id) = HeaderValue::from_str(&format!("{}:{}", since.epoch, since.offset))
        {
            headers.insert("last-event-id", id);
        }
        let mut channel = Channel::open(&dialer).await?;
        let (parts, body) = channel.send(request).await.map_err(lost)?.into_parts();
        Ok((channel, parts, body))
    };
    let (mut channel, parts, body) = timeout(REQUEST_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| {
            let problem = format!("{} did not answer in time", dialer.url());
            Err(LinkError::Lost(problem))
        })
        .map_err(Refusal::Link)?;
    if parts.status != StatusCode::OK {
        let body = timeout(REQUEST_TIMEOUT, read_body(&mut channel.connection, body)).await;
        // The status alone says enough.
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        return Err(Refusal::Status(parts.status, body));
    }
    let kind = parts.headers.get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        let problem = "the answer is no event stream";
        return Err(Refusal::Link(LinkError::foreign(dialer.url(), problem)));
    }
    Ok(EventStream {
        room,
        since,
        compared: false,
        connection: Some(channel.connection),
        body,
        decoder: SseDecoder::new(MAX_INCOMING_BYTES),
        silence: Box::pin(sleep(SILENCE_LIMIT)),
    })
}

/// The id of a server-sent event: `epoch:offset`.
pub(super) fn position(id: &str) -> Option<Position> {
    let (epoch, offset) = id.rsplit_once(':')?;
    Some(Position {
        epoch: epoch.to_owned(),
        offset: offset.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_an_epoch_and_an_offset() {
        let id = position("00ff:12").expect("well-formed");
        assert_eq!((id.epoch.as_str(), id.offset), ("00ff", 12));
        assert_eq!(position("12"), None);
        assert_eq!(position("e:-1"), None);
    }
}
