//! Requests over a connection that is kept between them.
//!
//! hyper leaves it to its user to move a connection on; here that happens exactly while something is
//! waited for ([`alongside`]), so there is no task beside the client's. Every wait is bounded, and so
//! is every answer.

use std::{future::Future, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header, response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::client::transport::{Dialer, LinkError, MAX_INCOMING_BYTES, Wire};

/// Beyond the stall limits of a gateway, below the patience of a person.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) type Driven = Pin<Box<Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>>>;

/// A connection and the half that feeds it. hyper moves bytes only while `connection` is polled.
pub(super) struct Channel {
    sender: SendRequest<Full<Bytes>>,
    pub(super) connection: Driven,
}

impl Channel {
    pub(super) async fn open(dialer: &Dialer) -> Result<Self, LinkError> {
        let wire = dialer.open().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(wire))
            .await
            .map_err(|error| LinkError::Lost(format!("{}: {error}", dialer.url())))?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
        })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let response = self.sender.send_request(request);
        alongside(&mut self.connection, response).await
    }

    /// False where the gateway has closed it meanwhile.
    async fn is_usable(&mut self) -> bool {
        let Self { sender, connection } = self;
        alongside(connection, sender.ready()).await.is_ok()
    }
}

/// Waits for `work` while the connection it needs is moved on.
async fn alongside<T>(connection: &mut Driven, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut finished = false;
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        // When the connection ends, `work` is told in its own terms at the next poll.
        if !finished && connection.as_mut().poll(context).is_ready() {
            finished = true;
        }
        work.as_mut().poll(context)
    })
    .await
}

/// Sends one request and reads the whole answer. Gives the connection back if it can be used again.
pub(super) async fn exchange(
    dialer: &Dialer,
    channel: Option<Channel>,
    request: Request<Full<Bytes>>,
) -> (Result<(StatusCode, Bytes), LinkError>, Option<Channel>) {
    let work = async {
        if let Some(mut kept) = channel
            && kept.is_usable().await
        {
            match converse(&mut kept, request.clone()).await {
                Ok((answer, keep)) => return (Ok(answer), keep.then_some(kept)),
                // The gateway may close an idle connection at any time. Reads change nothing and
                // publishes have a key, so once more, on a fresh one.
                Err(LinkError::Lost(_)) => {}
                Err(error) => return (Err(error), None),
            }
        }
        match Channel::open(dialer).await {
            Ok(mut fresh) => match converse(&mut fresh, request).await {
                Ok((answer, keep)) => (Ok(answer), keep.then_some(fresh)),
                Err(error) => (Err(error), None),
            },
            Err(error) => (Err(error), None),
        }
    };
    timeout(REQUEST_TIMEOUT, work).await.unwrap_or_else(|_| {
        let problem = format!("{} did not answer in time", dialer.url());
        (Err(LinkError::Lost(problem)), None)
    })
}

async fn converse(
    channel: &mut Channel,
    request: Request<Full<Bytes>>,
) -> Result<((StatusCode, Bytes), bool), LinkError> {
    let response = channel.send(request).await.map_err(lost)?;
    let (parts, body) = response.into_parts();
    let body = read_body(&mut channel.connection, body).await?;
    Ok(((parts.status, body), keeps_alive(&parts)))
}

pub(super) async fn read_body(connection: &mut Driven, body: Incoming) -> Result<Bytes, LinkError> {
    let body = Limited::new(body, MAX_INCOMING_BYTES).collect();
    match alongside(connection, body).await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(LinkError::oversize("an answer"))
        }
        Err(error) => Err(LinkError::Lost(format!("the answer broke off: {error}"))),
    }
}

fn keeps_alive(parts: &response::Parts) -> bool {
    let connection = parts.headers.get(header::CONNECTION);
    !connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err takes"
)]
pub(super) fn lost(error: hyper::Error) -> LinkError {
    LinkError::Lost(format!("the request failed: {error}"))
}

pub(super) fn request(
    dialer: &Dialer,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, LinkError> {
    let url = dialer.url();
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", url.path()))
        .header(header::HOST, url.authority())
        .header(
            header::USER_AGENT,
            concat!("roomwire/", env!("CARGO_PKG_VERSION")),
        )
        .body(Full::new(body))
        .map_err(|error| LinkError::Refused(format!("{url}: {error}")))
}

/// `/v1/rooms/{room}/{what}`. Everything but RFC 3986's unreserved characters is percent-encoded, so
/// a room's name can hold `/`, `?` or a space.
pub(super) fn room_path(room: &str, what: &str) -> String {
    let mut path = String::from("/v1/rooms/");
    for byte in room.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => {
                let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
                path.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    path.push('/');
    path.push_str(what);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_are_percent_encoded() {
        assert_eq!(
            room_path("a/b é.~", "events"),
            "/v1/rooms/a%2Fb%20%C3%A9.~/events"
        );
    }
}
