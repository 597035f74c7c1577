//! A reader of server-sent events, as WHATWG HTML §9.2 says.

use bytes::BytesMut;
use http::Method;

use super::http::{Body, Http};
use crate::event::{Event, Message};
use crate::patience::within;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSent {
    /// `event:`, empty for messages.
    pub event: String,
    /// `data:`.
    pub data: String,
    /// `id:`, the last one that came.
    pub id: String,
}

/// An open stream, of one room or of the gateway's figures.
#[derive(Debug)]
pub struct EventStream {
    /// Keeps the connection.
    http: Http,
    body: Body,
    buffer: BytesMut,
    last_id: String,
    /// Comments that came, without their colon.
    pub comments: Vec<String>,
}

impl EventStream {
    /// Opens a stream; `last` is what `EventSource` would send as `Last-Event-ID`. Once it is open
    /// whatever is published comes.
    pub async fn open(http: Http, room: &str, last: Option<&str>) -> Self {
        Self::open_at(http, &format!("/v1/rooms/{room}/events"), last).await
    }

    /// Opens the stream at a path.
    pub async fn open_at(mut http: Http, path: &str, last: Option<&str>) -> Self {
        let headers: Vec<_> = last
            .map(|last| ("last-event-id", last))
            .into_iter()
            .collect();
        let (status, headers, body) = http.open(Method::GET, path, &headers).await;
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "text/event-stream");
        Self {
            http,
            body,
            buffer: BytesMut::new(),
            last_id: last.unwrap_or_default().to_owned(),
            comments: Vec::new(),
        }
    }

    /// What would be sent as `Last-Event-ID` on reconnecting.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The next event; `None` when the stream has ended.
    pub async fn try_next(&mut self) -> Option<ServerSent> {
        let mut sent = ServerSent::default();
        let mut has_data = false;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                if has_data {
                    sent.id.clone_from(&self.last_id);
                    return Some(sent);
                }
                sent = ServerSent::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments.push(value.to_owned()),
                "event" => value.clone_into(&mut sent.event),
                "id" => value.clone_into(&mut self.last_id),
                "data" => {
                    if has_data {
                        sent.data.push('\n');
                    }
                    has_data = true;
                    sent.data.push_str(value);
                }
                other => panic!("unknown field {other:?}"),
            }
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> ServerSent {
        self.try_next().await.expect("the stream ended")
    }

    /// The next event, which must be a message whose id agrees with its offset.
    pub async fn message(&mut self) -> Message {
        let sent = self.next().await;
        assert_eq!(sent.event, "", "{sent:?}");
        let message = Event::parse(&*sent.data).message();
        let (_, offset) = sent.id.split_once(':').expect("epoch:offset");
        assert_eq!(offset, message.offset.to_string());
        message
    }

    /// Gives the connection back.
    pub fn into_http(self) -> Http {
        self.http
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(std::str::from_utf8(&line[..end]).expect("UTF-8").to_owned());
            }
            let chunk = within("a piece of the stream", self.body.chunk()).await?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
