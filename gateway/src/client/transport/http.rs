//! Server-sent events to listen, requests to act: HTTP/1.1 without anything beyond it.
//!
//! A join is a `GET …/events` that stays open, one connection per room; everything else is a request on
//! a second connection that is kept between requests. There is no session, so what the other wires
//! answer is put together here from the responses. One request at a time, and while one is under
//! way the event streams are not read: so the offset of an own message is known before it comes back
//! through the stream, where it is left out if no echo was asked for.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{
    Dialer, LinkError, MAX_INCOMING_BYTES, Wire,
    sse::{SseDecoder, SseEvent},
};
use crate::client::{
    command::{Command, Position},
    event::{HistoryBody, Joined, Member, Message, ServerEvent},
};

/// Beyond the stall limits of a gateway, below the patience of a person.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Three times the gateway's 25 s between signs of life.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);
/// Own messages whose return is awaited. Requests go one by one, so more than a few are only in
/// flight if the stream lags behind; then the oldest are heard again, which is only a nuisance.
const MAX_OWN: usize = 256;

type Driven = Pin<Box<Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>>>;
type Task = Pin<Box<dyn Future<Output = (Outcome, Option<Channel>)> + Send>>;

pub(in crate::client) struct Http {
    dialer: Arc<Dialer>,
    /// Messages of this client carry it as `from`.
    name: Option<String>,
    queue: VecDeque<(u64, Command)>,
    /// The one request under way.
    task: Option<Task>,
    /// The connection that requests go over, between two of them.
    channel: Option<Channel>,
    streams: Vec<EventStream>,
    ready: VecDeque<ServerEvent>,
    own: VecDeque<(String, u64)>,
}

/// A connection and the half that feeds it. hyper moves bytes only while `connection` is polled.
struct Channel {
    sender: SendRequest<Full<Bytes>>,
    connection: Driven,
}

/// What a finished task was about and how it went.
enum Outcome {
    Answer(u64, Command, Result<(StatusCode, Bytes), LinkError>),
    Stream(u64, Result<EventStream, Refusal>),
}

enum Refusal {
    Link(LinkError),
    Status(StatusCode, Bytes),
}

struct EventStream {
    room: String,
    since: Option<Position>,
    /// False until the first message, or until the gateway has said itself what was recovered.
    compared: bool,
    connection: Option<Driven>,
    body: Incoming,
    decoder: SseDecoder,
    silence: Pin<Box<Sleep>>,
}

impl Http {
    /// Opens the connection for requests, so that a gateway that is not there is noticed now.
    pub(super) async fn connect(dialer: Arc<Dialer>) -> Result<Self, LinkError> {
        let channel = Channel::open(&dialer).await?;
        Ok(Self {
            dialer,
            name: None,
            queue: VecDeque::new(),
            task: None,
            channel: Some(channel),
            streams: Vec::new(),
            ready: VecDeque::new(),
            own: VecDeque::new(),
        })
    }

    pub(super) fn queue(&mut self, id: u64, command: &Command) {
        self.queue.push_back((id, command.clone()));
    }

    pub(super) async fn next(&mut self) -> Result<ServerEvent, LinkError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if let Some(task) = &mut self.task {
                let (outcome, channel) = task.await;
                self.task = None;
                self.channel = channel.or_else(|| self.channel.take());
                self.on_outcome(outcome)?;
            } else if let Some((id, command)) = self.queue.pop_front() {
                self.start(id, command);
            } else {
                let (room, event) = next_of(&mut self.streams, &self.dialer).await?;
                self.on_sse(room, event)?;
            }
        }
    }

    /// Turns a command into a request, or answers it where no request is needed.
    fn start(&mut self, id: u64, command: Command) {
        match &command {
            Command::Hello { name, .. } => {
                self.name.clone_from(name);
                self.ready.push_back(ServerEvent::Welcome {
                    id: Some(id),
                    client: "api".to_owned(),
                    name: name.clone(),
                });
            }
            Command::Leave { room } => {
                self.streams.retain(|stream| stream.room != *room);
                let room = room.clone();
                self.ready
                    .push_back(ServerEvent::Left { id: Some(id), room });
            }
            Command::Ping => self.ready.push_back(ServerEvent::Pong { id: Some(id) }),
            Command::Join { room, since, .. } => {
                let stream = open_stream(Arc::clone(&self.dialer), room.clone(), since.clone());
                self.task = Some(Box::pin(async move {
                    (Outcome::Stream(id, stream.await), None)
                }));
            }
            Command::History { .. } | Command::Members { .. } | Command::Publish { .. } => {
                let request = self.request(&command);
                let channel = self.channel.take();
                let dialer = Arc::clone(&self.dialer);
                self.task = Some(Box::pin(async move {
                    let (answer, channel) = match request {
                        Ok(request) => exchange(&dialer, channel, request).await,
                        Err(error) => (Err(error), channel),
                    };
                    (Outcome::Answer(id, command, answer), channel)
                }));
            }
        }
    }

    fn request(&self, command: &Command) -> Result<Request<Full<Bytes>>, LinkError> {
        match command {
            Command::Publish {
                room, data, key, ..
            } => {
                let body = publish_body(data, key.as_deref(), self.name.as_deref());
                let path = room_path(room, "messages");
                let mut request = request(&self.dialer, Method::POST, &path, body)?;
                request.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                Ok(request)
            }
            Command::History { room, limit } => {
                let path = format!("{}?limit={limit}", room_path(room, "messages"));
                request(&self.dialer, Method::GET, &path, Bytes::new())
            }
            Command::Members { room } | Command::Join { room, .. } | Command::Leave { room } => {
                let path = room_path(room, "members");
                request(&self.dialer, Method::GET, &path, Bytes::new())
            }
            Command::Hello { .. } | Command::Ping => {
                request(&self.dialer, Method::GET, "/healthz", Bytes::new())
            }
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) -> Result<(), LinkError> {
        match outcome {
            Outcome::Stream(id, Ok(stream)) => {
                let room = stream.room.clone();
                self.streams.retain(|other| other.room != room);
                self.streams.push(stream);
                self.ready.push_back(ServerEvent::Joined(Joined {
                    id: Some(id),
                    room,
                    epoch: None,
                    offset: None,
                    members: Vec::new(),
                    member_count: None,
                    recovered: None,
                }));
            }
            Outcome::Stream(_, Err(Refusal::Link(error))) => return Err(error),
            Outcome::Stream(id, Err(Refusal::Status(status, body))) => {
                self.on_problem(id, status, &body)?;
            }
            Outcome::Answer(id, command, answer) => {
                let (status, body) = answer?;
                if status.is_success() {
                    self.on_answer(id, &command, &body)?;
                } else {
                    self.on_problem(id, status, &body)?;
                }
            }
        }
        Ok(())
    }

    fn on_answer(&mut self, id: u64, command: &Command, body: &[u8]) -> Result<(), LinkError> {
        let event = answer(id, command, body)
            .map_err(|error| LinkError::foreign(self.dialer.url(), error))?;
        if let (ServerEvent::Published { room, offset, .. }, Command::Publish { echo: false, .. }) =
            (&event, command)
            && self.streams.iter().any(|stream| stream.room == *room)
        {
            if self.own.len() >= MAX_OWN {
                self.own.pop_front();
            }
            self.own.push_back((room.clone(), *offset));
        }
        self.ready.push_back(event);
        Ok(())
    }

    /// A 5xx or 429 is the gateway's own bad moment; any other refusal is an answer to the command.
    fn on_problem(&mut self, id: u64, status: StatusCode, body: &[u8]) -> Result<(), LinkError> {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let text = problem.detail.or(problem.title);
        let message = text.unwrap_or_else(|| format!("the gateway answered {status}"));
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(LinkError::Lost(message));
        }
        self.ready.push_back(ServerEvent::Error {
            id: Some(id),
            code: problem.code.unwrap_or_else(|| status.as_str().to_owned()),
            message,
        });
        Ok(())
    }

    fn on_sse(&mut self, at: usize, event: SseEvent) -> Result<(), LinkError> {
        let Some(stream) = self.streams.get_mut(at) else {
            return Ok(());
        };
        if event.name == "unrecovered" {
            stream.compared = true;
            let joined = stream.unrecovered();
            self.ready.push_back(ServerEvent::Joined(joined));
            return Ok(());
        }
        let parsed = match ServerEvent::parse(event.data.as_bytes()) {
            Ok(parsed) => parsed,
            // Events with a name are open to additions; messages have none.
            Err(_) if !event.name.is_empty() => return Ok(()),
            Err(error) => return Err(LinkError::foreign(self.dialer.url(), error)),
        };
        match parsed {
            ServerEvent::Message(mut message) => {
                let position = event.id.as_deref().and_then(position);
                message.epoch = position.map(|position| position.epoch);
                self.ready.extend(stream.compare(&message));
                let own = |(room, offset): &(String, u64)| {
                    *room == message.room && *offset == message.offset
                };
                match self.own.iter().position(own) {
                    Some(index) => {
                        self.own.remove(index);
                    }
                    None => self.ready.push_back(ServerEvent::Message(message)),
                }
            }
            // The stream itself was the answer to the join; what this adds is what was recovered.
            ServerEvent::Joined(joined) => {
                stream.compared = true;
                if joined.recovered == Some(false) {
                    self.ready.push_back(ServerEvent::Joined(joined));
                }
            }
            other => self.ready.push_back(other),
        }
        Ok(())
    }
}

impl EventStream {
    /// Where the gateway does not say it: what the first message after a resume tells about those
    /// between.
    fn compare(&mut self, message: &Message) -> Option<ServerEvent> {
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
    fn unrecovered(&self) -> Joined {
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
    fn poll_event(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<SseEvent, LinkError>> {
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
async fn next_of(
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

impl Channel {
    async fn open(dialer: &Dialer) -> Result<Self, LinkError> {
        let wire = dialer.open().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(wire))
            .await
            .map_err(|error| LinkError::Lost(format!("{}: {error}", dialer.url())))?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
        })
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let response = self.sender.send_request(request);
        alongside(&mut self.connection, response).await
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
async fn exchange(
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

impl Channel {
    /// False where the gateway has closed it meanwhile.
    async fn is_usable(&mut self) -> bool {
        let Self { sender, connection } = self;
        alongside(connection, sender.ready()).await.is_ok()
    }
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

async fn read_body(connection: &mut Driven, body: Incoming) -> Result<Bytes, LinkError> {
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
fn lost(error: hyper::Error) -> LinkError {
    LinkError::Lost(format!("the request failed: {error}"))
}

async fn open_stream(
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

fn request(
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
fn room_path(room: &str, what: &str) -> String {
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

fn publish_body(data: &RawValue, key: Option<&str>, from: Option<&str>) -> Bytes {
    #[derive(serde::Serialize)]
    struct Publish<'a> {
        data: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<&'a str>,
    }
    let json = serde_json::to_vec(&Publish { data, key, from });
    json.expect("strings and checked JSON always serialize")
        .into()
}

/// A response's body as the event that another wire would have sent.
fn answer(id: u64, command: &Command, body: &[u8]) -> Result<ServerEvent, serde_json::Error> {
    #[derive(Deserialize)]
    struct Published {
        offset: u64,
    }
    #[derive(Deserialize)]
    struct Members {
        members: Vec<Member>,
        #[serde(default)]
        member_count: Option<u64>,
    }
    Ok(match command {
        Command::Publish { room, .. } => ServerEvent::Published {
            id: Some(id),
            room: room.clone(),
            offset: serde_json::from_slice::<Published>(body)?.offset,
        },
        Command::History { .. } => {
            let mut history: HistoryBody = serde_json::from_slice(body)?;
            history.id = Some(id);
            history.into()
        }
        Command::Members { room } => {
            let answer: Members = serde_json::from_slice(body)?;
            ServerEvent::Members {
                id: Some(id),
                room: room.clone(),
                members: answer.members,
                member_count: answer.member_count,
            }
        }
        Command::Hello { .. } | Command::Join { .. } | Command::Leave { .. } | Command::Ping => {
            ServerEvent::Other
        }
    })
}

/// The id of a server-sent event: `epoch:offset`.
fn position(id: &str) -> Option<Position> {
    let (epoch, offset) = id.rsplit_once(':')?;
    Some(Position {
        epoch: epoch.to_owned(),
        offset: offset.parse().ok()?,
    })
}

/// RFC 9457, what of it is shown.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    code: Option<String>,
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

    #[test]
    fn an_id_is_an_epoch_and_an_offset() {
        let id = position("00ff:12").expect("well-formed");
        assert_eq!((id.epoch.as_str(), id.offset), ("00ff", 12));
        assert_eq!(position("12"), None);
        assert_eq!(position("e:-1"), None);
    }
}
