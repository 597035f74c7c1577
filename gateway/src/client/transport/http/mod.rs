//! Server-sent events to listen, requests to act: HTTP/1.1 without anything beyond it.
//!
//! A join is a `GET …/events` that stays open, one connection per room; everything else is a request on
//! a second connection that is kept between requests. There is no session, so what the other wires
//! answer is put together here from the responses. One request at a time, and while one is under
//! way the event streams are not read: so the offset of an own message is known before it comes back
//! through the stream, where it is left out if no echo was asked for.

mod channel;
mod event_stream;

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::{
    channel::{Channel, exchange, request, room_path},
    event_stream::{EventStream, Refusal, next_of, open_stream, position},
};
use super::{Dialer, LinkError, sse::SseEvent};
use crate::client::{
    command::Command,
    event::{HistoryBody, Joined, Member, ServerEvent},
};

/// Own messages whose return is awaited. Requests go one by one, so more than a few are only in
/// flight if the stream lags behind; then the oldest are heard again, which is only a nuisance.
const MAX_OWN: usize = 256;

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

/// What a finished task was about and how it went.
enum Outcome {
    Answer(u64, Command, Result<(StatusCode, Bytes), LinkError>),
    Stream(u64, Result<EventStream, Refusal>),
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
                let (at, event) = next_of(&mut self.streams, &self.dialer).await?;
                self.on_sse(at, event)?;
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
            Command::History { room, limit } => {
                let path = format!("{}?limit={limit}", room_path(room, "messages"));
                let request = request(&self.dialer, Method::GET, &path, Bytes::new());
                self.ask(id, command, request);
            }
            Command::Members { room } => {
                let path = room_path(room, "members");
                let request = request(&self.dialer, Method::GET, &path, Bytes::new());
                self.ask(id, command, request);
            }
            Command::Publish {
                room, data, key, ..
            } => {
                let body = publish_body(data, key.as_deref(), self.name.as_deref());
                let path = room_path(room, "messages");
                let request = request(&self.dialer, Method::POST, &path, body);
                let request = request.map(|mut request| {
                    let json = HeaderValue::from_static("application/json");
                    request.headers_mut().insert(header::CONTENT_TYPE, json);
                    request
                });
                self.ask(id, command, request);
            }
        }
    }

    fn ask(&mut self, id: u64, command: Command, request: Result<Request<Full<Bytes>>, LinkError>) {
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
