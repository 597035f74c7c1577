//! The server's side of a TLS handshake, whatever is spoken after it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use roomwire_certs::ALPN_ACME;
use roomwire_metrics::Id;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Door;
use crate::session::Socket;
use crate::tls::failure_counter;

/// How long, and for how many bytes, a refused peer is read from so that it gets the refusal.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// What somebody gets who speaks HTTP to the TLS port.
const PLAIN_ON_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\ncontent-length: 52\r\n\r\nthis port speaks TLS: use https:// instead of http:\n";

/// Shakes hands; `None` where nothing is to be served after it. The deadline is for the peer's part:
/// last words to one that was refused have a time of their own, and must not count as a handshake
/// that took too long.
pub(crate) async fn shake_hands(
    door: &Door,
    settings: Arc<rustls::ServerConfig>,
    stream: TcpStream,
    deadline: Instant,
) -> io::Result<Option<TlsStream<Socket>>> {
    let timed_out = |elapsed: Elapsed| {
        door.worker.count(Id::TlsHandshakeErrors);
        door.worker.count(Id::TlsErrorsTimeout);
        elapsed
    };
    let mut first = [0];
    let peeked = timeout_at(deadline, stream.peek(&mut first)).await;
    if peeked.map_err(timed_out)?? == 0 {
        return Ok(None);
    }
    if first[0].is_ascii_uppercase() && door.speaks_http() {
        door.worker.count(Id::TlsPlainHttp);
        refuse_plain(stream).await?;
        return Ok(None);
    }
    let accept = TlsAcceptor::from(settings)
        .accept(Socket::new(stream))
        .into_fallible();
    let stream = match timeout_at(deadline, accept).await.map_err(timed_out)? {
        Ok(stream) => stream,
        Err((error, stream)) => {
            door.worker.count(Id::TlsHandshakeErrors);
            door.worker.count(failure_counter(&error));
            tracing::debug!(%error, "a TLS handshake failed");
            // The alert is written; closing on unread input would destroy it on its way.
            linger(stream).await;
            return Ok(None);
        }
    };
    door.worker.count(Id::TlsHandshakes);
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    door.worker.count(if resumed {
        Id::TlsHandshakesResumed
    } else {
        Id::TlsHandshakesFull
    });
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_ACME) {
        // RFC 8737 §3: the authority has seen the certificate, and nothing else is said.
        linger(stream).await;
        return Ok(None);
    }
    Ok(Some(stream))
}

/// Tells somebody who speaks HTTP to the TLS port so: no TLS record begins with a capital letter.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_ON_TLS).await?;
    linger(stream).await;
    Ok(())
}

/// Closes our side and reads on for a moment, so that the peer gets our last words and not a reset
/// (RFC 1122 §4.2.2.13).
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut left = LINGER_BYTES;
    let drained = async {
        stream.shutdown().await?;
        let mut input = [0; 1024];
        while left > 0 {
            match stream.read(&mut input).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Whether it worked or not, the connection ends here.
    drop(timeout(LINGER, drained).await);
}
