//! WebSocket text messages through tokio-tungstenite, with the subprotocol `roomwire.v1`.
//!
//! Pings of the gateway are answered by tungstenite. Messages and frames are bounded by
//! [`MAX_INCOMING_BYTES`]; a close code is turned into what it means for coming back.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Sink, SinkExt, Stream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        ClientRequestBuilder, Error, Message, Utf8Bytes,
        error::CapacityError,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Dialer, LinkError, MAX_INCOMING_BYTES, Wire, describe};
use crate::client::{
    event::ServerEvent,
    url::{Scheme, ServerUrl},
};

const SUBPROTOCOL: &str = "roomwire.v1";

pub(in crate::client) struct WebSocket {
    url: ServerUrl,
    stream: WebSocketStream<Box<dyn Wire>>,
    outgoing: VecDeque<Utf8Bytes>,
}

impl WebSocket {
    pub(super) async fn connect(dialer: &Dialer) -> Result<Self, LinkError> {
        let url = dialer.url();
        let wire = dialer.open().await?;
        let uri = url
            .to_string()
            .parse()
            .map_err(|error| LinkError::Refused(format!("{url}: {error}")))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_INCOMING_BYTES))
            .max_frame_size(Some(MAX_INCOMING_BYTES));
        let (stream, _response) = client_async_with_config(request, wire, Some(config))
            .await
            .map_err(|error| handshake_error(url, error))?;
        Ok(Self {
            url: url.clone(),
            stream,
            outgoing: VecDeque::new(),
        })
    }

    pub(super) fn queue(&mut self, json: Vec<u8>) {
        // Commands are made of strings, so this never refuses.
        if let Ok(text) = Utf8Bytes::try_from(json) {
            self.outgoing.push_back(text);
        }
    }

    pub(super) async fn next(&mut self) -> Result<ServerEvent, LinkError> {
        loop {
            match poll_fn(|context| self.poll_message(context)).await {
                Some(Ok(Message::Text(text))) => {
                    return ServerEvent::parse(text.as_bytes())
                        .map_err(|error| LinkError::foreign(&self.url, error));
                }
                Some(Ok(Message::Close(frame))) => return Err(closed(&self.url, frame.as_ref())),
                Some(Ok(Message::Binary(_))) => {
                    return Err(LinkError::foreign(&self.url, "a binary message"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(stream_error(&self.url, error)),
                None => return Err(closed(&self.url, None)),
            }
        }
    }

    /// Writes as far as the socket takes it, then reads. Both directions register their wakers, so
    /// neither waits for the other.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.outgoing.is_empty() {
            match stream.as_mut().poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => break,
            }
            if let Some(text) = self.outgoing.pop_front()
                && let Err(error) = stream.as_mut().start_send(Message::Text(text))
            {
                return Poll::Ready(Some(Err(error)));
            }
        }
        if let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(context) {
            return Poll::Ready(Some(Err(error)));
        }
        stream.poll_next(context)
    }

    /// Sends what is queued and the close frame, and waits for the gateway's.
    pub(super) async fn close(mut self) {
        for text in self.outgoing.drain(..) {
            if self.stream.feed(Message::Text(text)).await.is_err() {
                return;
            }
        }
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::from_static(""),
        };
        if self.stream.close(Some(frame)).await.is_err() {
            return;
        }
        while let Some(Ok(_)) = poll_fn(|context| self.poll_message(context)).await {}
    }
}

fn handshake_error(url: &ServerUrl, error: Error) -> LinkError {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let problem = format!("{url} answered {status} instead of opening a WebSocket");
            if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
                LinkError::Lost(problem)
            } else {
                LinkError::Refused(format!("{problem}; is this its path?"))
            }
        }
        Error::Io(error) => LinkError::Lost(describe(url, &error)),
        error @ Error::Protocol(_) if url.scheme() == Scheme::Ws => {
            LinkError::foreign(url, format!("{error}; a TLS port takes wss://"))
        }
        error => LinkError::foreign(url, error),
    }
}

fn stream_error(url: &ServerUrl, error: Error) -> LinkError {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => LinkError::oversize("a message"),
        Error::Io(error) => LinkError::Lost(describe(url, &error)),
        error => LinkError::Lost(format!("{url}: {error}")),
    }
}

/// RFC 6455 §7.4.1 and the gateway's own 3008. A client that broke the protocol would break it again;
/// all else is worth another attempt.
fn closed(url: &ServerUrl, frame: Option<&CloseFrame>) -> LinkError {
    let Some(frame) = frame else {
        return LinkError::Lost(format!("{url} closed the connection"));
    };
    let code = u16::from(frame.code);
    let reason: String = frame.reason.chars().filter(|c| !c.is_control()).collect();
    let problem = format!("{url} closed the session with {code} {reason}");
    match code {
        1002 | 1003 | 1007 | 1008 | 1009 => LinkError::Refused(problem),
        _ => LinkError::Lost(problem),
    }
}
