//! How an authority is spoken to: HTTPS/1.1, a connection for each request, everything bounded.
//!
//! An order is a dozen requests every two months; a pool of connections would only be more code.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is taken: a chain of certificates takes 10 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// Speaks to one authority.
pub(super) struct Client {
    tls: Arc<rustls::ClientConfig>,
}

impl Client {
    /// One that trusts the authorities in `ca`, else those of the system.
    pub(super) fn new(ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(ca) = ca {
            let certificates = CertificateDer::pem_file_iter(ca)
                .with_context(|| format!("cannot read {}", ca.display()))?;
            for certificate in certificates {
                roots.add(certificate?)?;
            }
        } else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        if roots.is_empty() {
            bail!("there are no root certificates to check the authority with: set acme.ca");
        }
        let provider = Arc::new(roomwire_certs::provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = Arc::clone(&self.tls);
        Box::pin(async move {
            let answer = tokio::time::timeout(PATIENCE, exchange(tls, request)).await;
            match answer {
                Ok(Ok(answer)) => Ok(BytesResponse::from(answer)),
                Ok(Err(error)) => Err(Error::Other(error.into())),
                Err(_) => Err(Error::Str("the authority does not answer")),
            }
        })
    }
}

async fn exchange(
    tls: Arc<rustls::ClientConfig>,
    mut request: Request<BodyWrapper<Bytes>>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let uri = request.uri().clone();
    let host = uri.host().context("an address without a host")?.to_owned();
    if uri.scheme() != Some(&Scheme::HTTPS) {
        bail!("{uri} is no https address");
    }
    // Brackets belong to the address as it is written, not to the name (RFC 3986 §3.2.2).
    let name = host.trim_matches(|c| c == '[' || c == ']').to_owned();
    let to = (name.clone(), uri.port_u16().unwrap_or(443));
    let stream = TcpStream::connect(to)
        .await
        .with_context(|| format!("cannot reach {host}"))?;
    let stream = TlsConnector::from(tls)
        .connect(ServerName::try_from(name)?, stream)
        .await
        .with_context(|| format!("{host} is not trusted"))?;
    let authority = uri.authority().context("an address without a host")?;
    let authority = HeaderValue::from_str(authority.as_str())?;
    request.headers_mut().insert(header::HOST, authority);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut answered = pin!(async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(Response::from_parts(head, Full::new(body)))
    });
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = connection => {
            ended?;
            answered.await
        }
    }
}
