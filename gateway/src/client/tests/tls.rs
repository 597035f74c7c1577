//! Whom the client trusts, against a real TLS server.

use std::{io::Write, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::ConnectError;

/// A certificate authority of the test's own, and a server with a certificate for `localhost`.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ca: NamedTempFile,
}

impl Server {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])
            .expect("a name")
            .signed_by(&key, &issuer)
            .expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("safe versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a matching key");
        let mut ca = NamedTempFile::new().expect("a file");
        ca.write_all(issuer.pem().as_bytes()).expect("written");
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ca,
        }
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        let port = self.listener.local_addr().expect("bound").port();
        format!("{scheme}://{host}:{port}")
    }

    /// Accepts one connection. None where the client left during the handshake.
    async fn accept(&self) -> Option<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        self.acceptor.accept(stream).await.ok()
    }
}

#[tokio::test]
async fn a_named_authority_is_trusted() {
    let server = Server::start().await;
    let mut options = options(&server.url("https", "localhost"));
    options.ca = Some(server.ca.path().to_owned());
    let accept = async {
        assert!(server.accept().await.is_some());
    };
    let client = async {
        Client::connect(options).await.expect("a trusted server");
    };
    play(accept, client).await;
}

async fn refusal(server: &Server, options: ClientOptions) -> String {
    let mut reason = String::new();
    let accept = async {
        assert!(server.accept().await.is_none());
    };
    let client = async {
        match Client::connect(options).await {
            Err(ConnectError::Link(problem)) => reason = problem,
            other => panic!("{other:?}"),
        }
    };
    play(accept, client).await;
    reason
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_advice() {
    let server = Server::start().await;
    let other = Server::start().await;
    for scheme in ["wss", "https"] {
        let mut options = options(&server.url(scheme, "localhost"));
        options.ca = Some(other.ca.path().to_owned());
        let reason = refusal(&server, options).await;
        assert!(reason.contains("not trusted"), "{reason}");
        assert!(reason.contains("--ca FILE"), "{reason}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_with_advice() {
    let server = Server::start().await;
    let mut options = options(&server.url("wss", "127.0.0.1"));
    options.ca = Some(server.ca.path().to_owned());
    let reason = refusal(&server, options).await;
    assert!(reason.contains("another host"), "{reason}");
    assert!(reason.contains("localhost"), "{reason}");
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_named() {
    let empty = NamedTempFile::new().expect("a file");
    let mut options = options("wss://localhost:1");
    options.ca = Some(empty.path().to_owned());
    let error = Client::connect(options).await.expect_err("nobody to trust");
    let error = error.to_string();
    assert!(
        error.contains(&empty.path().display().to_string()),
        "{error}"
    );
    assert!(error.contains("no PEM certificate"), "{error}");
}
