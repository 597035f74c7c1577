//! How often clients may connect and ask, and whose request it is that a proxy passes on.

use http::Method;
use roomwire::config::{Config, ForwardedField, ListenerConfig, Rate};
use roomwire_protocols::proxy_header::{Addresses, Version, encode};
use roomwire_tests::{Answer, GatewayOptions, Http, PATIENCE, TestGateway, eventually};
use serde_json::Value;

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

/// A gateway whose HTTP listeners trust this machine as a proxy.
fn behind_proxy(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        each_http(config, |listener| {
            listener.accept.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        });
        change(config);
    })
}

fn each_http(config: &mut Config, change: impl Fn(&mut ListenerConfig)) {
    let listeners = config.listeners.iter_mut();
    listeners
        .filter(|it| it.protocol.is_http())
        .for_each(change);
}

async fn each(gateway: &TestGateway) -> [Http; 4] {
    [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https1().await,
        gateway.https2().await,
    ]
}

async fn get(http: &mut Http, headers: &[(&str, &str)]) -> Answer {
    http.request(Method::GET, "/v1/rooms", headers, b"").await
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    for nth in 0..4 {
        let gateway = TestGateway::with(|config| config.rate.requests = rate("3/h"));
        let counters = gateway.counters();
        let mut http = each(&gateway).await.into_iter().nth(nth).unwrap();
        for left in ["2", "1", "0"] {
            let answer = get(&mut http, &[]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("ratelimit-policy"), "\"requests\";q=3;w=3600");
            let standing = answer.header("ratelimit");
            assert!(
                standing.starts_with(&format!("\"requests\";r={left};t=")),
                "{standing}"
            );
        }
        let refused = get(&mut http, &[]).await;
        assert_eq!((refused.status, &*refused.problem()), (429, "rate_limited"));
        let retry: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1190..=1200).contains(&retry), "{retry}");
        assert_eq!(
            refused.header("ratelimit"),
            format!("\"requests\";r=0;t={retry}")
        );
        // The connection is as good as before, and another one is the same client's.
        assert_eq!(get(&mut http, &[]).await.status, 429);
        assert_eq!(get(&mut gateway.http1().await, &[]).await.status, 429);
        counters
            .moved(&[("http_requests_limited_address_total", 3)])
            .await;
    }
}

#[tokio::test]
async fn a_websocket_is_a_request_like_others() {
    let gateway = TestGateway::with(|config| config.rate.requests = rate("1/h"));
    drop(gateway.websocket().await);
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(
        b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");

    let gateway = TestGateway::with(|config| config.rate.requests = rate("1/h"));
    let socket = gateway.websocket_http2().await;
    assert_eq!(get(&mut gateway.http2().await, &[]).await.status, 429);
    drop(socket);
}

#[tokio::test]
async fn a_token_has_a_quota_of_its_own_wherever_it_comes_from() {
    let gateway = behind_proxy(|config| {
        config.rate.requests = rate("100/h");
        config.rate.token_requests = rate("2/h");
    });
    let counters = gateway.counters();
    let [one, other] = ["Bearer one", "Bearer other"];
    let mut http = gateway.http1().await;
    for (client, token, status) in [
        ("192.0.2.1", one, 200),
        ("192.0.2.2", one, 200),
        ("192.0.2.3", one, 429),
        ("192.0.2.3", other, 200),
    ] {
        let headers = [("x-forwarded-for", client), ("authorization", token)];
        let answer = get(&mut http, &headers).await;
        assert_eq!(answer.status, status, "{client} {token}");
        let policy = "\"requests\";q=100;w=3600, \"token-requests\";q=2;w=3600";
        assert_eq!(answer.header("ratelimit-policy"), policy);
        let standing = answer.header("ratelimit");
        assert_eq!(standing.matches(";r=").count(), 2, "{standing}");
    }
    let answer = get(&mut http, &[("x-forwarded-for", "192.0.2.3")]).await;
    assert_eq!(
        answer.header("ratelimit-policy"),
        "\"requests\";q=100;w=3600"
    );
    counters
        .moved(&[
            ("http_requests_limited_token_total", 1),
            ("http_requests_limited_address_total", 0),
        ])
        .await;
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_quotas_of_their_own() {
    let gateway = behind_proxy(|config| config.rate.requests = rate("1/h"));
    let mut http = gateway.http2().await;
    for (forwarded, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        // What a client wrote itself does not help it.
        ("198.51.100.1, 192.0.2.2", 429),
        ("198.51.100.2, 192.0.2.2, 127.0.0.7", 429),
        ("unknown, 192.0.2.2", 429),
        // A network of 64 bits is one client.
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("[2001:db8:0:0:1::]:8080", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let answer = get(&mut http, &[("x-forwarded-for", forwarded)]).await;
        assert_eq!(answer.status, status, "{forwarded}");
    }
    // The other field is not looked at.
    let both = [
        ("forwarded", "for=203.0.113.1"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    assert_eq!(get(&mut http, &both).await.status, 429);
}

#[tokio::test]
async fn forwarded_is_read_where_the_proxies_write_it() {
    let gateway = behind_proxy(|config| {
        config.rate.requests = rate("1/h");
        each_http(config, |it| it.accept.forwarded = ForwardedField::Forwarded);
    });
    let mut http = gateway.http1().await;
    for (forwarded, status) in [
        ("for=192.0.2.1;proto=https", 200),
        ("for=203.0.113.1, for=\"192.0.2.1:80\"", 429),
        ("for=\"[2001:db8::1]\"", 200),
        ("for=\"[2001:db8::2]:1\"", 429),
    ] {
        let both = [("forwarded", forwarded), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(get(&mut http, &both).await.status, status, "{forwarded}");
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_speaks_for_itself_only() {
    let gateway = TestGateway::with(|config| {
        config.rate.requests = rate("1/h");
        each_http(config, |listener| {
            listener.accept.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        });
    });
    let mut http = gateway.http1().await;
    assert_eq!(
        get(&mut http, &[("x-forwarded-for", "203.0.113.1")])
            .await
            .status,
        200
    );
    assert_eq!(
        get(&mut http, &[("x-forwarded-for", "203.0.113.2")])
            .await
            .status,
        429
    );
}

#[tokio::test]
async fn a_client_behind_both_kinds_of_proxy_is_the_one_that_the_inner_names() {
    // A PROXY header names an HTTP proxy, which names the client.
    let gateway = TestGateway::with(|config| {
        each_http(config, |listener| {
            listener.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
            listener.accept.trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
        });
    });
    for (proxy, expected) in [
        ("192.0.2.1:1", "203.0.113.7:0"),
        ("192.0.2.2:1", "192.0.2.2:1"),
    ] {
        let mut raw = gateway.raw(gateway.http()).await;
        let mut sent = Vec::new();
        let addresses = Addresses {
            source: proxy.parse().unwrap(),
            destination: "198.51.100.1:80".parse().unwrap(),
        };
        encode(&mut sent, Version::V2, &addresses);
        sent.extend_from_slice(b"GET /v1/rooms/a/events HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 203.0.113.7\r\n\r\n");
        raw.write(&sent).await;
        assert_eq!(raw.read(15).await, b"HTTP/1.1 200 OK");
        // The listing is asked for behind a proxy as well.
        let listed = {
            let mut raw = gateway.raw(gateway.http()).await;
            raw.write(b"PROXY UNKNOWN\r\nGET /v1/connections HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .await;
            String::from_utf8(raw.read_to_end().await).unwrap()
        };
        assert!(
            listed.contains(&format!("\"peer\":\"{expected}\"")),
            "{listed}"
        );
    }
}

#[tokio::test]
async fn listings_logs_and_routes_have_the_client_and_not_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let gateway = GatewayOptions::new()
        .config(|config| {
            config.http.access_log = Some(path.clone());
            each_http(config, |listener| {
                listener.accept.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            });
        })
        .build(|builder| {
            builder.get("/me", |request| async move {
                roomwire::Reply::text(request.peer().to_string())
            })
        })
        .start();
    let headers = [("x-forwarded-for", "203.0.113.7:4711")];
    let mut streams = Vec::new();
    for mut http in each(&gateway).await {
        let answer = http.request(Method::GET, "/me", &headers, b"").await;
        assert_eq!(answer.text(), "203.0.113.7:4711");
        let opened = http.open(Method::GET, "/v1/rooms/a/events", &headers).await;
        streams.push((http, opened));
    }
    let tunnelled = gateway.http2().await.tunnel("/ws", headers[0]).await;
    let listed = gateway.http1().await.get("/v1/connections").await.json();
    let listed = listed["connections"].as_array().unwrap().iter();
    let clients = listed.filter(|it| it["peer"] == "203.0.113.7:4711");
    assert_eq!(clients.count(), 5);
    drop((tunnelled, streams));
    eventually(PATIENCE, || {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_client = lines
            .filter(|line| line["peer"] == "203.0.113.7:4711")
            .count();
        if of_client == 8 { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_their_rate_are_refused_and_http_is_told_why() {
    let gateway = TestGateway::with(|config| config.rate.connections = rate("2/h"));
    let counters = gateway.counters();
    let mut first = gateway.http1().await;
    let mut second = gateway.http1().await;
    assert_eq!(get(&mut first, &[]).await.status, 200);
    assert_eq!(get(&mut second, &[]).await.status, 200);
    let refused = get(&mut gateway.http1().await, &[]).await;
    assert_eq!((refused.status, &*refused.problem()), (429, "rate_limited"));
    let retry: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1790..=1800).contains(&retry), "{retry}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        "\"connections\";q=2;w=3600"
    );
    assert_eq!(
        refused.header("ratelimit"),
        format!("\"connections\";r=0;t={retry}")
    );
    // What is no HTTP in clear is closed.
    for to in [gateway.echo(), gateway.tcp(), gateway.https()] {
        let mut raw = gateway.raw(to).await;
        assert_eq!(raw.read_to_end().await, b"");
    }
    assert_eq!(
        get(&mut first, &[]).await.status,
        200,
        "those that are open go on"
    );
    counters
        .complained(&[("listener_connections_refused_rate_total", 4)])
        .await;
}

#[tokio::test]
async fn an_address_with_too_many_http_connections_is_told_so() {
    let gateway = TestGateway::with(|config| {
        each_http(config, |listener| listener.accept.max_per_address = 1);
    });
    let mut first = gateway.http1().await;
    assert_eq!(get(&mut first, &[]).await.status, 200);
    let refused = get(&mut gateway.http1().await, &[]).await;
    assert_eq!((refused.status, &*refused.problem()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(get(&mut first, &[]).await.status, 200);
}

#[tokio::test]
async fn connections_of_trusted_proxies_are_not_counted_as_one_clients() {
    let gateway = behind_proxy(|config| {
        config.rate.connections = rate("1/h");
        each_http(config, |listener| listener.accept.max_per_address = 1);
    });
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut http = gateway.http1().await;
        assert_eq!(get(&mut http, &[]).await.status, 200);
        open.push(http);
    }
}

#[tokio::test]
async fn who_is_exempt_has_no_bounds_and_is_told_none() {
    let gateway = TestGateway::with(|config| {
        config.rate.requests = rate("1/h");
        config.rate.connections = rate("1/h");
        config.rate.exempt = vec!["127.0.0.0/8".parse().unwrap()];
    });
    for _ in 0..3 {
        let answer = get(&mut gateway.http1().await, &[]).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, ""));
    }
}

#[tokio::test]
async fn a_table_that_is_full_forgets_somebody_and_counts_it() {
    let gateway = behind_proxy(|config| {
        config.rate.requests = rate("5/h");
        config.limits.max_rate_entries = 16;
    });
    let counters = gateway.counters();
    let mut http = gateway.http1().await;
    for nth in 0..200 {
        let client = format!("192.0.2.{nth}");
        assert_eq!(
            get(&mut http, &[("x-forwarded-for", &client)]).await.status,
            200
        );
    }
    eventually(PATIENCE, || {
        match counters.delta("rate_entries_evicted_total") {
            evicted @ 184..=199 => Ok(evicted),
            evicted => Err(evicted),
        }
    })
    .await;
}
