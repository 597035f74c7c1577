//! What goes along with one of our own pages over HTTP/2 without having been asked for: its files
//! (RFC 9113 §8.4), where that is configured and the client takes it, or else word of which they are
//! (RFC 8297).

use std::rc::Rc;

use bytes::Bytes;
use h2::server::{SendPushedResponse, SendResponse};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, COOKIE, FORWARDED, HeaderMap, HeaderName, HeaderValue, LINK,
    USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use roomwire_metrics::Id;

use super::body::RequestBody;
use super::connection::Connection;
use super::h2::finish;
use super::page::Page;
use super::pipeline::respond;
use super::watch::Answering;

/// What is remembered of a request, in case that a page answers it.
pub(super) struct Unasked {
    uri: Uri,
    /// What the client would say again, or a proxy on its behalf.
    headers: HeaderMap,
}

const SAID_AGAIN: [HeaderName; 6] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    COOKIE,
    FORWARDED,
    USER_AGENT,
    HeaderName::from_static("x-forwarded-for"),
];

impl Unasked {
    /// `None` where nothing is sent unasked.
    pub(super) fn of<B>(connection: &Connection, request: &Request<B>) -> Option<Self> {
        let config = &connection.worker.shared.config.http2;
        let page = *request.method() == Method::GET && is_page(request.uri().path());
        if !page || !(config.push || config.early_hints) {
            return None;
        }
        let mut headers = HeaderMap::new();
        for name in SAID_AGAIN {
            for value in request.headers().get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        Some(Self {
            uri: request.uri().clone(),
            headers,
        })
    }

    /// Sends what goes along with `page`.
    pub(super) fn send(
        self,
        connection: &Rc<Connection>,
        page: &Page,
        reply: &mut SendResponse<Bytes>,
        answering: &Answering,
    ) {
        let config = &connection.worker.shared.config.http2;
        if config.push && self.push(connection, page, reply, answering) {
            return;
        }
        if config.early_hints && hint(reply, page.links.clone()).is_ok() {
            connection.worker.count(Id::Http2EarlyHints);
        }
    }

    /// `false` where the client takes nothing that it did not ask for.
    fn push(
        &self,
        connection: &Rc<Connection>,
        page: &Page,
        reply: &mut SendResponse<Bytes>,
        answering: &Answering,
    ) -> bool {
        let mut promised = Vec::with_capacity(page.assets.len());
        // RFC 9113 §8.4.1: promised before the page that names them, lest the client asks for them.
        for name in &page.assets {
            let Some(request) = self.request(name) else {
                return false;
            };
            match reply.push_request(self.promise(&request)) {
                Ok(pushed) => promised.push((request, pushed)),
                Err(error) => {
                    tracing::debug!(peer = %connection.peer, %error, "nothing is pushed");
                    break;
                }
            }
        }
        let any = !promised.is_empty();
        for (request, pushed) in promised {
            connection.worker.count(Id::Http2Pushes);
            let (connection, answering) = (Rc::clone(connection), answering.and_another());
            let scope = connection.worker.scope.clone();
            scope.spawn("http/2 stream", async move {
                answer(&connection, request, pushed).await;
                drop(answering);
            });
        }
        any
    }

    /// The request that a client would make for one of our files.
    fn request(&self, name: &str) -> Option<Request<()>> {
        let mut parts = self.uri.clone().into_parts();
        // RFC 9113 §8.4.1: in the name of an authority that the client has named.
        parts.authority.as_ref()?;
        parts.path_and_query = Some(format!("/assets/{name}").parse().ok()?);
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }

    /// What the client is told of a request: not its own secrets again.
    fn promise(&self, request: &Request<()>) -> Request<()> {
        let mut promise = Request::new(());
        promise.uri_mut().clone_from(request.uri());
        *promise.version_mut() = Version::HTTP_2;
        if let Some(coding) = self.headers.get(ACCEPT_ENCODING) {
            promise
                .headers_mut()
                .insert(ACCEPT_ENCODING, coding.clone());
        }
        promise
    }
}

/// Whether one of our pages may be there; which one is known by its answer.
fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/admin")
}

fn hint(reply: &mut SendResponse<Bytes>, links: HeaderValue) -> Result<(), h2::Error> {
    let mut hints = Response::new(());
    *hints.status_mut() = StatusCode::EARLY_HINTS;
    hints.headers_mut().insert(LINK, links);
    reply.send_informational(hints)
}

async fn answer(
    connection: &Rc<Connection>,
    request: Request<()>,
    mut pushed: SendPushedResponse<Bytes>,
) {
    let request = request.map(|()| RequestBody::Empty);
    let response = respond(connection, request).await;
    finish(connection, response, &mut pushed).await;
}
