//! Static routes over both versions: what is found, which part of it is sent, and that nothing leads
//! out of the directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use http::Method;
use roomwire::config::{Config, Route, Span, StaticRoute};
use roomwire_tests::{Answer, GatewayOptions, Http, TestGateway, pass, within};
use tempfile::TempDir;

/// A million bytes without a short period.
fn large_file() -> Vec<u8> {
    (0..1_000_000_u32)
        .map(|n| (n / 7).to_le_bytes()[0])
        .collect()
}

/// A directory with a site in it, beside what must not be served.
fn site() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("secret.txt", b"secret");
    write("site/index.html", b"<h1>home</h1>");
    write("site/a.txt", b"0123456789");
    write("site/empty", b"");
    write("site/caf\u{e9} & <b>.txt", b"coffee");
    write("site/.env", b"secret");
    write("site/.well-known/a", b"known");
    write("site/app.js", b"plain");
    write("site/app.js.br", b"brotli");
    write("site/app.js.gz", b"gzip");
    write("site/photo.png", b"png");
    write("site/photo.png.gz", b"gzip");
    write("site/docs/b.txt", b"b");
    write("site/deep/index.html", b"deep");
    write("site/large.bin", &large_file());
    symlink("../secret.txt", directory.path().join("site/out.txt")).unwrap();
    symlink("/etc", directory.path().join("site/etc")).unwrap();
    symlink("a.txt", directory.path().join("site/in.txt")).unwrap();
    directory
}

fn routed(config: &mut Config, path: &str, route: &StaticRoute) {
    for listener in &mut config.listeners {
        if listener.protocol.is_http() {
            let route = Route::Static(route.clone());
            listener.routes.insert(path.to_owned(), route);
        }
    }
}

fn serving(directory: &Path, change: impl FnOnce(&mut StaticRoute)) -> TestGateway {
    let mut route = StaticRoute::new(directory.join("site"));
    change(&mut route);
    TestGateway::with(|config| routed(config, "/files/", &route))
}

async fn get(http: &mut Http, path: &str, headers: &[(&str, &str)]) -> Answer {
    http.request(Method::GET, path, headers, b"").await
}

async fn both(gateway: &TestGateway) -> [Http; 3] {
    [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https2().await,
    ]
}

#[tokio::test]
async fn files_are_served_with_what_describes_them() {
    let site = site();
    let gateway = serving(site.path(), |_| {});
    for mut http in both(&gateway).await {
        for (path, body, media_type) in [
            ("/files/a.txt", "0123456789", "text/plain; charset=utf-8"),
            ("/files/", "<h1>home</h1>", "text/html; charset=utf-8"),
            ("/files/deep/", "deep", "text/html; charset=utf-8"),
            ("/files/empty", "", "application/octet-stream"),
            (
                "/files/caf%C3%A9%20%26%20%3cb%3e.txt",
                "coffee",
                "text/plain; charset=utf-8",
            ),
            ("/files/.well-known/a", "known", "application/octet-stream"),
            (
                "/files/a.txt?query",
                "0123456789",
                "text/plain; charset=utf-8",
            ),
        ] {
            let answer = get(&mut http, path, &[]).await;
            assert_eq!((answer.status, answer.text()), (200, body), "{path}");
            assert_eq!(answer.header("content-type"), media_type, "{path}");
            assert_eq!(answer.header("content-length"), body.len().to_string());
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("etag").starts_with('"'), "{path}");
            assert!(answer.header("last-modified").ends_with(" GMT"), "{path}");
        }
        let head = http
            .request(Method::HEAD, "/files/large.bin", &[], b"")
            .await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), "1000000");
        let large = get(&mut http, "/files/large.bin", &[]).await;
        assert!(large.body == large_file(), "the whole file");
    }
}

#[tokio::test]
async fn nothing_leads_out_of_the_directory() {
    let site = site();
    let gateway = serving(site.path(), |route| route.listing = true);
    let follows = serving(site.path(), |route| route.symlinks = true);
    for path in [
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/..%2fsecret.txt",
        "/files/docs/../../secret.txt",
        "/files/docs/%2e%2e/%2e%2e/secret.txt",
        "/files//etc/passwd",
        "/files/%2fetc/passwd",
        "/files/out.txt",
        "/files/etc/passwd",
        "/files/.env",
        "/files/a.txt/",
        "/files/a.txt/b",
        "/files/a.txt%00.html",
        "/files/nothing",
        "/files/..\\secret.txt",
    ] {
        for gateway in [&gateway, &follows] {
            for mut http in both(gateway).await {
                let answer = get(&mut http, path, &[("accept", "text/html")]).await;
                assert_eq!(answer.status, 404, "{path}: {:?}", answer.body);
            }
        }
    }
    let mut http = gateway.http1().await;
    assert_eq!(get(&mut http, "/files/in.txt", &[]).await.status, 404);
    assert_eq!(get(&mut http, "/files/%zz", &[]).await.status, 400);
    let mut http = follows.http1().await;
    assert_eq!(
        get(&mut http, "/files/in.txt", &[]).await.text(),
        "0123456789"
    );
}

#[tokio::test]
async fn a_client_that_has_it_already_is_told_so() {
    let site = site();
    let gateway = serving(site.path(), |route| route.max_age = Span::hours(1));
    for mut http in both(&gateway).await {
        let first = get(&mut http, "/files/a.txt", &[]).await;
        assert_eq!(first.header("cache-control"), "max-age=3600");
        let (etag, date) = (first.header("etag"), first.header("last-modified"));
        for (name, value, status) in [
            ("if-none-match", etag, 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"other\"", 200),
            ("if-modified-since", date, 304),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
            ("if-modified-since", "yesterday", 200),
            ("if-match", etag, 200),
            ("if-match", "\"other\"", 412),
            ("if-unmodified-since", date, 200),
            ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 412),
        ] {
            let answer = get(&mut http, "/files/a.txt", &[(name, value)]).await;
            assert_eq!(answer.status, status, "{name}: {value}");
            if status == 304 {
                assert_eq!(answer.header("etag"), etag);
                assert_eq!(answer.body.len(), 0);
            }
        }
    }
    fs::write(site.path().join("site/a.txt"), "9876543210").unwrap();
    let mut http = gateway.http1().await;
    let changed = get(&mut http, "/files/a.txt", &[]).await;
    assert_eq!(changed.text(), "9876543210");
}

#[tokio::test]
async fn the_ranges_that_were_asked_for_are_sent() {
    let site = site();
    let gateway = serving(site.path(), |_| {});
    for mut http in both(&gateway).await {
        for (range, status, told, body) in [
            ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
            ("bytes=4-", 206, "bytes 4-9/10", "456789"),
            ("bytes=-2", 206, "bytes 8-9/10", "89"),
            ("bytes=0-100", 206, "bytes 0-9/10", "0123456789"),
            ("lines=1-2", 200, "", "0123456789"),
            ("bytes=5-1", 200, "", "0123456789"),
        ] {
            let answer = get(&mut http, "/files/a.txt", &[("range", range)]).await;
            assert_eq!((answer.status, answer.text()), (status, body), "{range}");
            assert_eq!(answer.header("content-range"), told, "{range}");
            assert_eq!(answer.header("content-length"), body.len().to_string());
        }
        let behind = get(&mut http, "/files/a.txt", &[("range", "bytes=10-")]).await;
        assert_eq!(behind.status, 416);
        assert_eq!(behind.header("content-range"), "bytes */10");

        let several = get(&mut http, "/files/a.txt", &[("range", "bytes=0-1,-2")]).await;
        assert_eq!(several.status, 206);
        let media_type = several.header("content-type");
        let boundary = media_type
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let part = |told: &str, body: &str| {
            format!(
                "\r\n--{boundary}\r\ncontent-type: text/plain; charset=utf-8\r\n\
                 content-range: bytes {told}/10\r\n\r\n{body}"
            )
        };
        let expected = format!(
            "{}{}\r\n--{boundary}--\r\n",
            part("0-1", "01"),
            part("8-9", "89")
        );
        assert_eq!(several.text(), expected);

        let large = get(
            &mut http,
            "/files/large.bin",
            &[("range", "bytes=100000-899999")],
        )
        .await;
        assert_eq!((large.status, large.body.len()), (206, 800_000));
        assert!(large.body == large_file()[100_000..900_000]);

        let etag = get(&mut http, "/files/a.txt", &[])
            .await
            .header("etag")
            .to_owned();
        for (tag, status) in [(etag.as_str(), 206), ("\"other\"", 200)] {
            let fields = [("range", "bytes=0-1"), ("if-range", tag)];
            assert_eq!(get(&mut http, "/files/a.txt", &fields).await.status, status);
        }
        let range = [("range", "bytes=0-1")];
        let head = http
            .request(Method::HEAD, "/files/a.txt", &range, b"")
            .await;
        assert_eq!((head.status, head.header("content-length")), (206, "2"));
    }
}

#[tokio::test]
async fn a_sibling_in_a_coding_that_the_client_takes_is_sent_for_the_file() {
    let site = site();
    let gateway = serving(site.path(), |_| {});
    let plain = serving(site.path(), |route| route.precompressed = false);
    for mut http in both(&gateway).await {
        for (accepted, coding, body) in [
            ("gzip, br", "br", "brotli"),
            ("gzip", "gzip", "gzip"),
            ("zstd, gzip;q=0.1", "gzip", "gzip"),
            ("zstd", "", "plain"),
            ("br;q=0", "", "plain"),
        ] {
            let fields = [("accept-encoding", accepted)];
            let answer = get(&mut http, "/files/app.js", &fields).await;
            assert_eq!(answer.text(), body, "{accepted}");
            assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(
                answer.header("content-type"),
                "text/javascript; charset=utf-8"
            );
        }
        let fields = [("accept-encoding", "gzip")];
        assert_eq!(
            get(&mut http, "/files/photo.png", &fields).await.text(),
            "png"
        );
    }
    let fields = [("accept-encoding", "br")];
    let answer = get(&mut plain.http1().await, "/files/app.js", &fields).await;
    assert_eq!(answer.text(), "plain");
}

#[tokio::test]
async fn a_directory_is_listed_where_that_was_configured() {
    let site = site();
    let gateway = serving(site.path(), |route| route.listing = true);
    let mut http = gateway.http1().await;
    let docs = get(&mut http, "/files/docs/", &[]).await;
    assert_eq!(docs.status, 200);
    assert!(
        docs.text().contains("<a href=\"./b.txt\">b.txt</a> 1"),
        "{}",
        docs.text()
    );
    fs::remove_file(site.path().join("site/index.html")).unwrap();
    let root = get(&mut http, "/files/", &[]).await;
    let page = root.text();
    assert!(page.contains("./caf%C3%A9%20%26%20%3Cb%3E.txt"), "{page}");
    assert!(page.contains("caf\u{e9} &amp; &lt;b&gt;.txt"), "{page}");
    assert!(page.contains("<a href=\"./docs/\">docs/</a>"), "{page}");
    assert!(
        !page.contains(".env") && !page.contains("out.txt"),
        "{page}"
    );
    assert!(
        root.header("content-security-policy")
            .contains("default-src 'none'")
    );
    let gateway = serving(site.path(), |_| {});
    let mut http = gateway.http1().await;
    assert_eq!(get(&mut http, "/files/docs/", &[]).await.status, 404);
}

#[tokio::test]
async fn a_directory_without_its_slash_leads_to_it() {
    let site = site();
    let gateway = serving(site.path(), |_| {});
    let mut http = gateway.http1().await;
    for (path, location) in [
        ("/files/docs", "./docs/"),
        ("/files/docs?a=b", "./docs/?a=b"),
        ("/files", "./files/"),
    ] {
        let answer = get(&mut http, path, &[]).await;
        assert_eq!((answer.status, answer.header("location")), (308, location));
    }
}

#[tokio::test]
async fn a_site_at_the_root_stands_behind_what_the_gateway_answers_itself() {
    let site = site();
    let route = StaticRoute {
        fallback: Some("index.html".to_owned()),
        ..StaticRoute::new(site.path().join("site"))
    };
    let gateway = TestGateway::with(|config| routed(config, "/", &route));
    for mut http in both(&gateway).await {
        assert_eq!(get(&mut http, "/", &[]).await.text(), "<h1>home</h1>");
        assert_eq!(get(&mut http, "/a.txt", &[]).await.text(), "0123456789");
        assert_eq!(get(&mut http, "/healthz", &[]).await.text(), "ok\n");
        assert_eq!(get(&mut http, "/v1/rooms", &[]).await.status, 200);
        let page = [("accept", "text/html,*/*")];
        let inner = get(&mut http, "/some/page", &page).await;
        assert_eq!((inner.status, inner.text()), (200, "<h1>home</h1>"));
        assert_eq!(inner.header("cache-control"), "no-cache");
        let script = get(&mut http, "/some/script.js", &[("accept", "*/*")]).await;
        assert_eq!(script.status, 404);
        let post = http.request(Method::POST, "/a.txt", &[], b"x").await;
        assert_eq!(
            (post.status, post.header("allow")),
            (405, "GET, HEAD, OPTIONS")
        );
        let options = http.request(Method::OPTIONS, "/a.txt", &[], b"").await;
        assert_eq!(
            (options.status, options.header("allow")),
            (204, "GET, HEAD, OPTIONS")
        );
    }
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_breaks_the_answer() {
    let site = site();
    let gateway = serving(site.path(), |_| {});
    let mut http = gateway.http1().await;
    // Far more than the sockets' buffers take.
    let path = site.path().join("site/large.bin");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(200_000_000)
        .unwrap();
    let opened = http.open(Method::GET, "/files/large.bin", &[]);
    let (status, _, mut body) = opened.await;
    assert_eq!(status, 200);
    let mut read = body.chunk().await.unwrap().len();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    while let Some(chunk) = body.chunk().await {
        read += chunk.len();
    }
    assert!(read < 200_000_000, "{read}");
}

#[tokio::test]
async fn a_site_that_is_not_there_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let route = StaticRoute::new(directory.path().join("nothing"));
    let error = GatewayOptions::new()
        .config(|config| routed(config, "/files/", &route))
        .try_start()
        .unwrap_err();
    let error = error.to_string();
    assert!(error.contains("route /files/: "), "{error}");
}

/// Asks until a file is answered from memory, which takes until it has not changed for two seconds.
async fn kept(gateway: &TestGateway, http: &mut Http, path: &str, headers: &[(&str, &str)]) {
    let figure = || gateway.snapshot().value("http_files_kept_total");
    let before = figure();
    let asked = async {
        while figure() == before {
            assert_eq!(get(http, path, headers).await.status, 200, "{path}");
            pass(Duration::from_millis(20)).await;
        }
    };
    within("a file that is kept", asked).await;
}

#[tokio::test]
async fn a_file_that_is_kept_is_answered_as_it_is_now() {
    let site = site();
    let root = site.path().join("site");
    let gateway = serving(site.path(), |_| {});
    let mut http = gateway.http1().await;
    let accepts = [("accept-encoding", "gzip")];
    for path in ["a.txt", "docs/b.txt", "photo.png", ".well-known/a"] {
        kept(&gateway, &mut http, &format!("/files/{path}"), &[]).await;
    }
    kept(&gateway, &mut http, "/files/", &[]).await;
    kept(&gateway, &mut http, "/files/docs/b.txt", &accepts).await;

    let answer = get(&mut http, "/files/a.txt", &[]).await;
    let etag = answer.header("etag").to_owned();
    let condition = [("if-none-match", etag.as_str())];
    assert_eq!(get(&mut http, "/files/a.txt", &condition).await.status, 304);
    let range = [("range", "bytes=2-3")];
    assert_eq!(get(&mut http, "/files/a.txt", &range).await.text(), "23");

    // Written over, replaced, removed; outdone by an index and a sibling; below another root.
    fs::write(root.join("a.txt"), "9876543210").unwrap();
    fs::write(root.join("new"), "new").unwrap();
    fs::rename(root.join("new"), root.join("photo.png")).unwrap();
    fs::remove_file(root.join(".well-known/a")).unwrap();
    fs::write(root.join("docs/b.txt.gz"), "gzip").unwrap();
    fs::rename(root.join("index.html"), root.join("other.html")).unwrap();
    // So long one look at a file is good.
    pass(Duration::from_millis(1)).await;
    let answer = get(&mut http, "/files/a.txt", &condition).await;
    assert_eq!((answer.status, answer.text()), (200, "9876543210"));
    assert_ne!(answer.header("etag"), etag);
    assert_eq!(get(&mut http, "/files/photo.png", &[]).await.text(), "new");
    assert_eq!(
        get(&mut http, "/files/.well-known/a", &[]).await.status,
        404
    );
    let sibling = get(&mut http, "/files/docs/b.txt", &accepts).await;
    assert_eq!(sibling.header("content-encoding"), "gzip");
    assert_eq!(get(&mut http, "/files/", &[]).await.status, 404);
    fs::rename(&root, site.path().join("old")).unwrap();
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::write(root.join("docs/b.txt"), "release").unwrap();
    pass(Duration::from_millis(1)).await;
    let released = get(&mut http, "/files/docs/b.txt", &[]).await;
    assert_eq!(released.text(), "release");
}
