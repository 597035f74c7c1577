//! hyper's hello server: one thread, a task for each connection, two answers of 13 bytes and 10 KiB.
//!
//! `compare-hyper PORT [CERTIFICATE KEY]`: HTTP/1.1 and HTTP/2 with prior knowledge; with a
//! certificate the same over TLS, the version by ALPN.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn std::error::Error>;

const SMALL: &[u8] = b"Hello, World!";
static LARGE: [u8; 10 * 1024] = [b'x'; 10 * 1024];

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let large = request.uri().path().ends_with("large.txt");
    let body = Bytes::from_static(if large { &LARGE } else { SMALL });
    let mut response = Response::new(Full::new(body));
    let text = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(response)
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = words.first().ok_or("which port?")?.parse()?;
    let tls = match &words[..] {
        [_, certificate, key] => Some(tls(certificate, key)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve(port, tls))?)
}

fn tls(certificate: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(port: u16, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        // A connection that fails is nobody else's concern.
        tokio::spawn(async move { drop(connection(stream, tls).await) });
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let Some(tls) = tls else {
        let mut first = [0; 3];
        let read = stream.peek(&mut first).await?;
        let h2 = first.get(..read) == Some(b"PRI");
        return exchange(stream, h2).await;
    };
    let stream = tls.accept(stream).await?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    exchange(stream, h2).await
}

async fn exchange<S>(stream: S, h2: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, service) = (TokioIo::new(stream), service_fn(answer));
    if h2 {
        let builder = http2::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection(io, service).await;
        return served.map_err(io::Error::other);
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).pipeline_flush(true);
    let served = builder.serve_connection(io, service).await;
    served.map_err(io::Error::other)
}
