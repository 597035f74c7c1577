//! Sites by the name that a client asks for, and listeners that send their clients to another with TLS.

use http::Method;
use roomwire::config::{
    CertificateConfig, Config, HostConfig, ListenerConfig, Route, StaticRoute, UnknownHost,
};
use roomwire_tests::{Authority, Http, TestGateway, TlsClient};
use tempfile::TempDir;

/// Directories with a page each that says which it is.
fn site(text: &str) -> (TempDir, Route) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("index.html"), text).unwrap();
    let route = Route::Static(StaticRoute::new(directory.path()));
    (directory, route)
}

fn host(names: &[&str], path: &str, route: &Route) -> HostConfig {
    let mut host = HostConfig::new(names.iter().copied());
    host.routes.insert(path.to_owned(), route.clone());
    host
}

fn each_http(config: &mut Config, change: impl Fn(&mut ListenerConfig)) {
    let listeners = config.listeners.iter_mut();
    listeners
        .filter(|it| it.protocol.is_http())
        .for_each(change);
}

fn listener<'a>(config: &'a mut Config, name: &str) -> &'a mut ListenerConfig {
    let mut listeners = config.listeners.iter_mut();
    listeners.find(|it| it.name == name).unwrap()
}

async fn each(gateway: &TestGateway) -> [Http; 4] {
    [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https1().await,
        gateway.https2().await,
    ]
}

async fn get(http: &mut Http, host: &str, path: &str) -> (u16, String) {
    http.ask_for(host);
    let answer = http.request(Method::GET, path, &[], b"").await;
    (answer.status, answer.text().to_owned())
}

#[tokio::test]
async fn a_name_has_a_site_of_its_own() {
    let [(_a, a), (_b, b), (_d, default)] = ["site a", "site b", "the listener's"].map(site);
    let gateway = TestGateway::with(|config| {
        config.gateway.open = true;
        each_http(config, |listener| {
            listener.routes.insert("/".to_owned(), default.clone());
            listener.hosts = vec![
                host(&["a.example", "*.a.example"], "/", &a),
                host(&["b.example", "special.a.example", "192.0.2.1"], "/", &b),
            ];
        });
    });
    for mut http in each(&gateway).await {
        for (name, expected) in [
            ("a.example", "site a"),
            ("A.Example.:8080", "site a"),
            ("www.a.example", "site a"),
            ("b.example:1", "site b"),
            ("special.a.example", "site b"),
            ("192.0.2.1", "site b"),
            ("x.www.a.example", "the listener's"),
            ("localhost", "the listener's"),
        ] {
            let page = get(&mut http, name, "/").await;
            assert_eq!(page, (200, expected.to_owned()), "{name}");
        }
        // What the gateway answers itself it answers for all.
        assert_eq!(get(&mut http, "b.example", "/healthz").await.0, 200);
    }
}

#[tokio::test]
async fn a_path_of_one_site_is_none_of_another() {
    let (_a, a) = site("site a");
    let gateway = TestGateway::with(|config| {
        each_http(config, |listener| {
            let mut other = HostConfig::new(["b.example"]);
            other.routes.insert("/live".to_owned(), Route::Rooms);
            listener.hosts = vec![host(&["a.example"], "/files/", &a), other];
        });
    });
    let mut http = gateway.http1().await;
    assert_eq!(get(&mut http, "a.example", "/files/").await.0, 200);
    assert_eq!(get(&mut http, "b.example", "/files/").await.0, 404);
    assert_eq!(get(&mut http, "localhost", "/files/").await.0, 404);
    // Sockets as well; 400 says that there is one, and this no handshake.
    assert_eq!(get(&mut http, "b.example", "/live").await.0, 400);
    assert_eq!(get(&mut http, "a.example", "/live").await.0, 404);
    assert_eq!(get(&mut http, "a.example", "/ws").await.0, 400);
    for (name, path, opens) in [
        ("b.example", "/live", true),
        ("a.example", "/live", false),
        ("b.example", "/ws", true),
    ] {
        let mut http = gateway.http2().await;
        http.ask_for(name);
        let opened = http.try_tunnel(path).await;
        assert_eq!(opened == 200, opens, "{name}{path}: {opened}");
    }
}

#[tokio::test]
async fn a_configured_name_is_ours_on_loopback_too_and_its_pages_may_act() {
    let (_a, a) = site("site a");
    let gateway = TestGateway::with(|config| {
        each_http(config, |listener| {
            listener.hosts = vec![host(&["a.example"], "/", &a)];
        });
    });
    let mut http = gateway.http1().await;
    assert_eq!(get(&mut http, "a.example", "/").await.0, 200);
    // DNS rebinding is still refused.
    assert_eq!(get(&mut http, "evil.example", "/").await.0, 421);
    for (origin, status) in [("http://a.example", 201), ("http://evil.example", 403)] {
        http.ask_for("a.example");
        let fields = [("origin", origin), ("content-type", "application/json")];
        let path = "/v1/rooms/a/messages";
        let posted = http
            .request(Method::POST, path, &fields, b"{\"data\":1}")
            .await;
        assert_eq!(posted.status, status, "{origin}");
    }
}

#[tokio::test]
async fn names_that_nobody_configured_can_be_refused() {
    let (_a, a) = site("site a");
    let gateway = TestGateway::with(|config| {
        config.gateway.open = true;
        each_http(config, |listener| {
            listener.unknown_host = UnknownHost::Refuse;
            listener.hosts = vec![host(&["a.example"], "/", &a)];
        });
    });
    let counters = gateway.counters();
    for mut http in each(&gateway).await {
        assert_eq!(get(&mut http, "a.example", "/").await.0, 200);
        http.ask_for("b.example");
        let refused = http.get("/").await;
        assert_eq!((refused.status, &*refused.problem()), (421, "misdirected"));
    }
    let mut http = gateway.http2().await;
    http.ask_for("b.example");
    assert_eq!(http.try_tunnel("/ws").await, 421);
    // HTTP/1.0 need not say a name, but then it has none.
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"GET / HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.contains(" 421 "), "{answer}");
    counters.moved(&[("http_hosts_refused_total", 6)]).await;
}

#[tokio::test]
async fn a_listener_may_send_its_clients_to_https() {
    let gateway = TestGateway::with(|config| {
        listener(config, "http").redirect = Some("https".to_owned());
    });
    let port = gateway.https().port();
    for mut http in [gateway.http1().await, gateway.http2().await] {
        for (method, host, path) in [
            (Method::GET, "localhost", "/a/b%2Fc?d=e&f=%20"),
            (Method::POST, "localhost:80", "/v1/rooms/a/messages"),
            (Method::HEAD, "127.0.0.1:8080", "/healthz"),
            (Method::GET, "[::1]", "/ws"),
        ] {
            http.ask_for(host);
            let answer = http.request(method, path, &[], b"").await;
            assert_eq!((answer.status, answer.text()), (308, ""));
            let name = match host.strip_prefix('[') {
                Some(_) => "[::1]",
                None => host.split(':').next().unwrap(),
            };
            let expected = format!("https://{name}:{port}{path}");
            assert_eq!(answer.header("location"), expected);
        }
        // An authority that proves names follows only to port 443.
        http.ask_for("localhost");
        let challenge = http.get("/.well-known/acme-challenge/x").await;
        assert_eq!(challenge.status, 404);
        // For whom it is not meant it sends nobody anywhere.
        assert_eq!(get(&mut http, "evil.example", "/").await.0, 421);
    }
    assert_eq!(gateway.http2().await.try_tunnel("/ws").await, 308);
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"GET /a HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.contains(" 400 "), "{answer}");
    // Followed, it leads there.
    assert_eq!(gateway.https1().await.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_redirect_names_the_port_that_is_seen_outside() {
    let gateway = TestGateway::with(|config| {
        let http = listener(config, "http");
        http.redirect = Some("https".to_owned());
        http.redirect_port = 443;
    });
    let mut http = gateway.http1().await;
    http.ask_for("localhost:8080");
    let answer = http.get("/a?b").await;
    assert_eq!(answer.header("location"), "https://localhost/a?b");
}

#[tokio::test]
async fn a_site_and_a_certificate_are_chosen_by_the_same_name() {
    let [(_a, a), (_b, b)] = ["site a", "site b"].map(site);
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let gateway = TestGateway::with(|config| {
        let https = listener(config, "https");
        for (name, route) in [("a.example", &a), ("b.example", &b)] {
            let files = authority.issue(&[name]).write(directory.path(), name);
            https.certificates.push(CertificateConfig {
                certificate: files.certificate,
                key: files.key,
            });
            https.hosts.push(host(&[name], "/", route));
        }
    });
    for (name, expected) in [("a.example", "site a"), ("b.example", "site b")] {
        let client = TlsClient::new(&authority, name).offering(&[b"http/1.1"]);
        let socket = client.connect(gateway.https()).await.unwrap();
        let mut http = Http::version1(Box::new(socket), gateway.https(), "https").await;
        assert_eq!(get(&mut http, name, "/").await, (200, expected.to_owned()));
    }
}
