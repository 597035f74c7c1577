//! Certificates obtained from an ACME authority: pebble, the test server of Let's Encrypt, with its
//! own name server, where the machine has both.
//!
//! The authority comes to the gateway as it would from the internet, so every step is looked at by
//! code of strangers: the account, the signatures, the challenge, the request, the renewal.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use roomwire::config::{Challenge, Config, Protocol, Span};
use roomwire_tests::{Authority, TestGateway, TlsClient, eventually, find_program};
use tokio::process::{Child, Command};

const NAME: &str = "chat.example.test";

/// How long an order may take: pebble refuses some nonces on purpose, and the first attempt comes
/// before it listens.
const ORDERED: Duration = Duration::from_secs(60);

/// A port that was free a moment ago: pebble cannot be asked which one it took.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Pebble {
    programs: (PathBuf, PathBuf),
    directory: tempfile::TempDir,
    authority: Authority,
    port: u16,
    running: Vec<Child>,
}

impl Pebble {
    /// One that does not run yet. `None` where the machine has none.
    fn find() -> Option<Self> {
        let programs = (
            find_program("pebble")?,
            find_program("pebble-challtestsrv")?,
        );
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("Pebble's server");
        authority
            .issue(&["localhost"])
            .write(directory.path(), "server");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        Some(Self {
            programs,
            directory,
            authority,
            port: port(),
            running: Vec::new(),
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A gateway that wants a certificate of it.
    fn gateway(&self, challenge: Challenge) -> TestGateway {
        let ca = self.path().join("ca.pem");
        let directory = format!("https://localhost:{}/dir", self.port);
        TestGateway::with(|config: &mut Config| {
            config.gateway.open = true;
            config.acme.directory = directory;
            config.acme.agree_to_terms = true;
            config.acme.contact = vec!["ops@example.test".to_owned()];
            config.acme.challenge = challenge;
            config.acme.ca = Some(ca);
            config.acme.retry = Span::seconds(1);
            let mut listeners = config.listeners.iter_mut();
            let https = listeners.find(|listener| listener.protocol == Protocol::Https);
            https.unwrap().tls.acme = vec![NAME.to_owned()];
        })
    }

    /// Starts it; it finds every name where `gateway` listens.
    fn start(&mut self, gateway: &TestGateway) {
        let (names, management, other) = (port(), port(), port());
        let settings = format!(
            r#"{{"pebble": {{
                "listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{management}",
                "certificate": "server.pem", "privateKey": "server-key.pem",
                "httpPort": {}, "tlsPort": {}, "ocspResponderURL": ""
            }}}}"#,
            self.port,
            gateway.http().port(),
            gateway.https().port(),
        );
        std::fs::write(self.path().join("pebble.json"), settings).unwrap();
        let mut server = Command::new(&self.programs.1);
        server.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        server.arg("-dns01").arg(format!("127.0.0.1:{names}"));
        server.arg("-management").arg(format!("127.0.0.1:{other}"));
        self.run(server);
        let mut pebble = Command::new(&self.programs.0);
        pebble.args(["-config", "pebble.json", "-dnsserver"]);
        pebble
            .arg(format!("127.0.0.1:{names}"))
            .env("PEBBLE_VA_NOSLEEP", "1");
        self.run(pebble);
    }

    fn run(&mut self, mut command: Command) {
        let output = std::fs::File::create(self.path().join(format!("log{}", self.running.len())));
        let output = output.unwrap();
        command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true);
        self.running.push(command.spawn().unwrap());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log1")).unwrap_or_default()
    }
}

/// The subject of the certificate that a client gets that asks for the name.
async fn issuer(to: SocketAddr, authority: &Authority) -> Result<(), String> {
    let error = match TlsClient::new(authority, NAME).connect(to).await {
        Ok(_) => return Err("signed by the authority's server itself".to_owned()),
        Err(error) => error.to_string(),
    };
    // The test does not know pebble's root, which is made at each start; a certificate by somebody
    // unknown is what it waits for, instead of an alert for lack of one.
    if error.contains("UnknownIssuer") {
        Ok(())
    } else {
        Err(error)
    }
}

async fn obtained(challenge: Challenge) {
    let Some(mut pebble) = Pebble::find() else {
        return;
    };
    let gateway = pebble.gateway(challenge);
    let refused = issuer(gateway.https(), &pebble.authority)
        .await
        .unwrap_err();
    assert!(!refused.contains("signed"), "{refused}");
    eventually(ORDERED, || {
        match gateway.snapshot().value("acme_order_errors_total") {
            Some(0) | None => Err("no attempt yet"),
            Some(_) => Ok(()),
        }
    })
    .await;
    pebble.start(&gateway);
    eventually(ORDERED, || {
        match gateway.snapshot().value("tls_certificates") {
            Some(1) => Ok(()),
            other => Err((other, pebble.log())),
        }
    })
    .await;
    issuer(gateway.https(), &pebble.authority).await.unwrap();

    let mut files = Vec::new();
    let acme = gateway.directory().join("acme");
    for authority in std::fs::read_dir(acme).unwrap() {
        for file in std::fs::read_dir(authority.unwrap().path()).unwrap() {
            let file = file.unwrap();
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
            files.push(file.file_name().into_string().unwrap());
        }
    }
    files.sort();
    drop(pebble);
    assert_eq!(files, ["account.json".to_owned(), format!("{NAME}.pem")]);
    let gone = format!("/.well-known/acme-challenge/{}", "x".repeat(43));
    assert_eq!(gateway.http1().await.get(&gone).await.status, 404);
}

#[tokio::test]
async fn a_certificate_is_obtained_by_tls_alpn_01_once_the_authority_is_there() {
    obtained(Challenge::TlsAlpn01).await;
}

#[tokio::test]
async fn a_certificate_is_obtained_by_http_01_once_the_authority_is_there() {
    obtained(Challenge::Http01).await;
}
