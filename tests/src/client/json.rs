//! A client of `roomwire.v1`, over any of the three wires that speak it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{Message as Frame, Role};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Socket;
use crate::event::{Event, Message};
use crate::gateway::connect;
use crate::patience::within;

/// What a client's bytes travel on.
pub enum Transport {
    /// One object per line, over TCP.
    Lines(Socket, BytesMut),
    /// One object per message.
    WebSocket(Box<WebSocketStream<Socket>>),
    /// One object per datagram.
    Datagram(UdpSocket),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines(..) => "Lines",
            Self::WebSocket(_) => "WebSocket",
            Self::Datagram(_) => "Datagram",
        })
    }
}

/// What came from the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// An object.
    Event(Event),
    /// The connection's end; over WebSocket with the close frame's code and reason.
    Closed(Option<(u16, String)>),
}

/// A client that speaks `roomwire.v1`.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    next_id: u64,
    /// What was pushed while an answer was waited for.
    pushed: VecDeque<Event>,
}

impl Client {
    fn over(transport: Transport) -> Self {
        Self {
            transport,
            next_id: 1,
            pushed: VecDeque::new(),
        }
    }

    /// Connects over TCP.
    pub async fn lines(to: SocketAddr) -> Self {
        Self::lines_on(connect(to).await)
    }

    /// Speaks lines on a connection of the test's own making.
    pub fn lines_on(socket: Socket) -> Self {
        Self::over(Transport::Lines(socket, BytesMut::new()))
    }

    /// Speaks WebSocket on `socket`.
    pub async fn websocket(socket: Socket, authority: SocketAddr, path: &str) -> Self {
        let url = format!("ws://{authority}{path}");
        let mut request = url.into_client_request().expect("a request");
        let subprotocol = http::HeaderValue::from_static("roomwire.v1");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", subprotocol);
        let shaken = within("a WebSocket handshake", client_async(request, socket)).await;
        let (stream, answer) = shaken.expect("the handshake is accepted");
        if path == "/ws" {
            assert_eq!(answer.headers()["sec-websocket-protocol"], "roomwire.v1");
        }
        Self::over(Transport::WebSocket(Box::new(stream)))
    }

    /// Speaks WebSocket on a socket on which the handshake was done.
    pub(super) async fn websocket_on(socket: Socket) -> Self {
        let stream = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
        Self::over(Transport::WebSocket(Box::new(stream)))
    }

    /// Speaks UDP from a port of its own.
    pub async fn datagrams(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
        socket.connect(to).await.expect("loopback");
        Self::over(Transport::Datagram(socket))
    }

    /// Its transport, to do with it what a well-behaved client does not.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// Sends one object.
    pub async fn send(&mut self, text: &str) {
        self.try_send(text).await.expect("the gateway reads");
    }

    /// Sends one object to a peer that may be gone.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub async fn try_send(&mut self, text: &str) -> Result<(), String> {
        let sent = async {
            match &mut self.transport {
                Transport::Lines(socket, _) => {
                    let line = format!("{text}\n");
                    let written = socket.write_all(line.as_bytes()).await;
                    written.map_err(|error| error.to_string())
                }
                Transport::WebSocket(stream) => {
                    let sent = stream.send(Frame::text(text)).await;
                    sent.map_err(|error| error.to_string())
                }
                Transport::Datagram(socket) => {
                    let sent = socket.send(text.as_bytes()).await;
                    sent.map(|_| ()).map_err(|error| error.to_string())
                }
            }
        };
        within("a write", sent).await
    }

    /// What comes next, answers and pushes alike.
    pub async fn hear(&mut self) -> Heard {
        if let Some(event) = self.pushed.pop_front() {
            return Heard::Event(event);
        }
        within("something from the gateway", self.transport.hear()).await
    }

    /// The next object; the connection must not end before it.
    pub async fn next(&mut self) -> Event {
        match self.hear().await {
            Heard::Event(event) => event,
            Heard::Closed(close) => panic!("closed before an event came: {close:?}"),
        }
    }

    /// The next object, which must be a `message`.
    pub async fn message(&mut self) -> Message {
        self.next().await.message()
    }

    /// The next object of this type; those before it are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.kind() == kind {
                return event;
            }
        }
    }

    /// Whatever still comes, and how the connection ends.
    pub async fn rest(&mut self) -> (Vec<Event>, Option<(u16, String)>) {
        let mut events = Vec::new();
        loop {
            match self.hear().await {
                Heard::Event(event) => events.push(event),
                Heard::Closed(close) => return (events, close),
            }
        }
    }

    /// Sends a command, given as its fields, and waits for its answer. What is pushed before the
    /// answer is kept for later.
    pub async fn call(&mut self, fields: &str) -> Event {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&format!("{{\"id\":{id},{fields}}}")).await;
        let mut passed = VecDeque::new();
        std::mem::swap(&mut passed, &mut self.pushed);
        let answer = loop {
            let event = self.next().await;
            if event["id"] == id {
                break event;
            }
            passed.push_back(event);
        };
        std::mem::swap(&mut passed, &mut self.pushed);
        answer
    }

    /// A command that must be answered in this way.
    pub async fn ask(&mut self, fields: &str, kind: &str) -> Event {
        let answer = self.call(fields).await;
        assert_eq!(answer.kind(), kind, "{fields}: {}", answer.text());
        answer
    }

    /// Gives itself a name.
    pub async fn hello(&mut self, name: &str) -> Event {
        self.ask(&format!(r#""type":"hello","name":"{name}""#), "welcome")
            .await
    }

    /// Joins a room; over UDP it sends back the cookie first.
    pub async fn join(&mut self, room: &str) -> Event {
        self.join_with(room, "").await
    }

    /// Joins with more fields, which begin with a comma.
    pub async fn join_with(&mut self, room: &str, more: &str) -> Event {
        let join = format!(r#""type":"join","room":"{room}"{more}"#);
        let mut answer = self.call(&join).await;
        if answer.kind() == "challenge" {
            let cookie = answer.string("cookie");
            let join = format!(r#"{join},"cookie":"{cookie}""#);
            answer = self.call(&join).await;
        }
        assert_eq!(answer.kind(), "joined", "{}", answer.text());
        answer
    }

    /// Joins where another session stopped; `recovered` comes with the answer.
    pub async fn join_since(&mut self, room: &str, epoch: &str, offset: u64) -> Event {
        let since = format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#);
        self.join_with(room, &since).await
    }

    /// Publishes `data`, a JSON text, and gives its offset.
    pub async fn publish(&mut self, room: &str, data: &str) -> u64 {
        self.publish_with(room, data, "").await
    }

    /// Publishes with more fields, which begin with a comma.
    pub async fn publish_with(&mut self, room: &str, data: &str, more: &str) -> u64 {
        let publish = format!(r#""type":"publish","room":"{room}","data":{data}{more}"#);
        let answer = self.ask(&publish, "published").await;
        assert_eq!(answer["room"], room);
        answer.number("offset")
    }

    /// Asks for a sign of life. Once it comes, everything sent before has been carried out.
    pub async fn ping(&mut self) {
        self.ask(r#""type":"ping""#, "pong").await;
    }

    /// Sends WebSocket's close frame and waits for the gateway's.
    pub async fn close(mut self) {
        if let Transport::WebSocket(stream) = &mut self.transport {
            within("a close", stream.close()).await.expect("it is open");
            let (_, close) = self.rest().await;
            assert_eq!(close, None, "no code is answered by none");
        }
    }
}

impl Transport {
    async fn hear(&mut self) -> Heard {
        match self {
            Self::Lines(socket, buffer) => match read_line(socket, buffer).await {
                Some(line) => Heard::Event(Event::parse(line)),
                None => Heard::Closed(None),
            },
            Self::WebSocket(stream) => loop {
                match stream.next().await {
                    Some(Ok(Frame::Text(text))) => {
                        return Heard::Event(Event::parse(text.as_str()));
                    }
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => {}
                    Some(Ok(Frame::Binary(bytes))) => {
                        panic!("roomwire.v1 has no binary messages: {bytes:?}")
                    }
                    Some(Ok(Frame::Close(close))) => {
                        let close = close.map(|it| (it.code.into(), it.reason.as_str().to_owned()));
                        // Our own close frame goes out, and the gateway ends the connection.
                        while let Some(Ok(_)) = stream.next().await {}
                        return Heard::Closed(close);
                    }
                    None | Some(Err(WebSocketError::ConnectionClosed | WebSocketError::Io(_))) => {
                        return Heard::Closed(None);
                    }
                    Some(Err(WebSocketError::Protocol(_))) => return Heard::Closed(None),
                    Some(Err(error)) => panic!("the gateway broke RFC 6455: {error}"),
                }
            },
            Self::Datagram(socket) => {
                let mut datagram = vec![0; 65_536];
                match socket.recv(&mut datagram).await {
                    Ok(length) => {
                        datagram.truncate(length);
                        let text = String::from_utf8(datagram).expect("UTF-8");
                        Heard::Event(Event::parse(text))
                    }
                    // Nobody listens there any more, says ICMP.
                    Err(_) => Heard::Closed(None),
                }
            }
        }
    }
}

/// Reads up to the next `\n`; `None` at the connection's end, after which nothing unfinished is left.
pub(super) async fn read_line(socket: &mut Socket, buffer: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line = buffer.split_to(end + 1);
            let line = std::str::from_utf8(&line[..end]).expect("UTF-8");
            return Some(line.to_owned());
        }
        match socket.read_buf(buffer).await {
            Ok(0) => {
                assert!(buffer.is_empty(), "the last line was cut off: {buffer:?}");
                return None;
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}
