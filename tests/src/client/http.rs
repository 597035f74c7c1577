//! HTTP/1.1 by hyper and HTTP/2 by h2, behind one face.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::tunnel::Tunnel;
use super::{Client, Socket};
use crate::event::Event;
use crate::patience::within;
use crate::task::Task;

enum Sender {
    Version1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Version2(h2::client::SendRequest<Bytes>),
}

/// One HTTP connection.
pub struct Http {
    sender: Sender,
    authority: String,
    scheme: &'static str,
    /// Moves the connection's bytes.
    connection: Task<()>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("scheme", &self.scheme)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The body as an object of `roomwire.v1`.
    pub fn event(&self) -> Event {
        Event::parse(self.text())
    }

    /// A header field, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    /// The `code` of a problem document (RFC 9457), which the answer must be, with everything such a
    /// document has.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for field in ["title", "detail"] {
            let text = problem[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {field}: {problem}");
        }
        let code = problem["code"].as_str().expect("a code");
        code.to_owned()
    }
}

/// An answer's body that comes bit by bit.
pub enum Body {
    /// Over HTTP/1.1.
    Version1(hyper::body::Incoming),
    /// Over HTTP/2.
    Version2(h2::RecvStream),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl Body {
    /// The next piece; `None` at the end, or when the connection broke.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            match self {
                Self::Version1(body) => {
                    let frame = body.frame().await?.ok()?;
                    if let Ok(data) = frame.into_data() {
                        return Some(data);
                    }
                }
                Self::Version2(body) => {
                    let data = body.data().await?.ok()?;
                    let released = body.flow_control().release_capacity(data.len());
                    released.expect("as much as came");
                    return Some(data);
                }
            }
        }
    }

    async fn whole(mut self) -> Bytes {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await {
            whole.extend_from_slice(&chunk);
        }
        whole.into()
    }
}

impl Http {
    /// Speaks HTTP/1.1 on `socket`.
    pub async fn version1(socket: Socket, authority: SocketAddr, scheme: &'static str) -> Self {
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
        let (sender, connection) = shaken.expect("no bytes are exchanged yet");
        // What failed is told to the request that waits.
        let connection = Task::spawn(async move { drop(connection.await) });
        Self {
            sender: Sender::Version1(sender),
            authority: authority.to_string(),
            scheme,
            connection,
        }
    }

    /// Speaks HTTP/2 on `socket`.
    pub async fn version2(socket: Socket, authority: SocketAddr, scheme: &'static str) -> Self {
        let shaken = within("an HTTP/2 preface", h2::client::handshake(socket)).await;
        let (sender, connection) = shaken.expect("settings are exchanged");
        let connection = Task::spawn(async move { drop(connection.await) });
        Self {
            sender: Sender::Version2(sender),
            authority: authority.to_string(),
            scheme,
            connection,
        }
    }

    /// Asks for another host from here on.
    pub fn ask_for(&mut self, host: &str) {
        host.clone_into(&mut self.authority);
    }

    /// The status that an extended CONNECT for a WebSocket gets.
    pub async fn try_tunnel(&mut self, path: &str) -> u16 {
        let Sender::Version2(sender) = &mut self.sender else {
            panic!("HTTP/1.1 has no streams")
        };
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("{}://{}{path}", self.scheme, self.authority))
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .expect("a request");
        let opened = async {
            let mut sender = sender.clone().ready().await?;
            let (answer, _send) = sender.send_request(request, false)?;
            Ok::<_, h2::Error>(answer.await?.status().as_u16())
        };
        let opened = within("an answer to CONNECT", opened).await;
        opened.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends some of a body by HTTP/2, more than its windows have room for, then resets the stream.
    pub async fn cut_upload(self, path: &str, data: &[u8]) {
        let Sender::Version2(sender) = self.sender else {
            panic!("HTTP/1.1 has no streams")
        };
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}://{}{path}", self.scheme, self.authority))
            .body(())
            .expect("a request");
        let sent = async {
            let mut sender = sender.ready().await?;
            let (_answer, mut stream) = sender.send_request(request, false)?;
            for piece in data.chunks(16 * 1024) {
                stream.reserve_capacity(piece.len());
                while stream.capacity() < piece.len() {
                    let more = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                    more.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
                }
                stream.send_data(Bytes::copy_from_slice(piece), false)?;
            }
            stream.send_reset(h2::Reason::CANCEL);
            Ok::<_, h2::Error>(())
        };
        let sent = within("half of a body", sent).await;
        sent.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The version that it speaks.
    pub fn version(&self) -> http::Version {
        match self.sender {
            Sender::Version1(_) => http::Version::HTTP_11,
            Sender::Version2(_) => http::Version::HTTP_2,
        }
    }

    /// Gets a path.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    /// Posts JSON.
    pub async fn post(&mut self, path: &str, json: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request(Method::POST, path, &headers, json).await
    }

    /// Publishes `data`, a JSON text, to a room; `more` is further fields, which begin with a comma.
    pub async fn publish(&mut self, room: &str, data: &str, more: &str) -> Answer {
        let path = format!("/v1/rooms/{room}/messages");
        self.post(&path, &format!("{{\"data\":{data}{more}}}"))
            .await
    }

    /// Any request, answered whole.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let answered = self.try_request(method, path, headers, body).await;
        answered.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Any request, which the gateway may leave unanswered.
    ///
    /// # Errors
    ///
    /// When the connection ended first.
    pub async fn try_request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<Answer, String> {
        let (status, headers, body) = self.try_open(method, path, headers, body).await?;
        let body = within("a body's end", body.whole()).await;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Any request whose answer's body comes bit by bit.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, Body) {
        let opened = self.try_open(method, path, headers, "").await;
        opened.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_open(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(u16, HeaderMap, Body), String> {
        let body = Bytes::copy_from_slice(body.as_ref());
        let answered = async {
            match &mut self.sender {
                Sender::Version1(sender) => {
                    let mut request = Request::builder().method(method).uri(path);
                    request = request.header("host", &self.authority);
                    for (name, value) in headers {
                        request = request.header(*name, *value);
                    }
                    let request = request.body(Full::new(body)).expect("a request");
                    sender.ready().await.map_err(|error| error.to_string())?;
                    let answer = sender.send_request(request).await;
                    let answer = answer.map_err(|error| error.to_string())?;
                    Ok(parts(answer.map(Body::Version1)))
                }
                Sender::Version2(sender) => {
                    let uri = format!("{}://{}{path}", self.scheme, self.authority);
                    let mut request = Request::builder().method(method).uri(uri);
                    for (name, value) in headers {
                        request = request.header(*name, *value);
                    }
                    let request = request.body(()).expect("a request");
                    let failed = |error: h2::Error| error.to_string();
                    let ready = sender.clone().ready().await.map_err(failed)?;
                    *sender = ready;
                    let (answer, mut stream) = sender
                        .send_request(request, body.is_empty())
                        .map_err(failed)?;
                    if !body.is_empty() {
                        // An answer may come, and the stream be reset, before all was sent.
                        drop(stream.send_data(body, true));
                    }
                    let answer = answer.await.map_err(failed)?;
                    Ok(parts(answer.map(Body::Version2)))
                }
            }
        };
        within("an answer's head", answered).await
    }

    /// Opens a WebSocket as a stream of this HTTP/2 connection (RFC 8441), which it takes along.
    pub async fn websocket(self, path: &str) -> Client {
        let offer = ("sec-websocket-protocol", "roomwire.v1");
        let (agreed, socket) = self.tunnel(path, offer).await;
        assert_eq!(agreed["sec-websocket-protocol"], "roomwire.v1");
        Client::websocket_on(socket).await
    }

    /// The same with one header of the test's choice; gives the answer's headers and the bytes.
    pub async fn tunnel(self, path: &str, header: (&str, &str)) -> (HeaderMap, Socket) {
        let Sender::Version2(mut sender) = self.sender else {
            panic!("HTTP/1.1 has no streams")
        };
        let uri = format!("{}://{}{path}", self.scheme, self.authority);
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header(header.0, header.1)
            .body(())
            .expect("a request");
        let opened = async {
            sender = sender.ready().await?;
            let (answer, send) = sender.send_request(request, false)?;
            Ok::<_, h2::Error>((answer.await?, send))
        };
        let opened = within("an extended CONNECT", opened).await;
        let (answer, send) = opened.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status(), StatusCode::OK);
        let agreed = answer.headers().clone();
        let tunnel = Tunnel::new(answer.into_body(), send).with_connection(self.connection);
        (agreed, Box::new(tunnel))
    }

    /// Waits until the gateway has ended the connection.
    pub async fn ended(self) {
        within("the connection's end", self.connection.join()).await;
    }
}

fn parts(answer: Response<Body>) -> (u16, HeaderMap, Body) {
    let (head, body) = answer.into_parts();
    assert_ne!(head.status, StatusCode::SWITCHING_PROTOCOLS);
    (head.status.as_u16(), head.headers, body)
}
