//! Files that clients leave: whole or not at all, by both versions with and without TLS.

use std::path::Path;

use http::Method;
use roomwire::config::{ByteSize, Config, Span};
use roomwire_tests::{Http, PATIENCE, TestGateway, eventually, find_program, run_program, stays};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn with_uploads(change: impl FnOnce(&mut Config)) -> (TempDir, TestGateway) {
    let directory = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(|config| {
        config.uploads.directory = Some(directory.path().to_owned());
        change(config);
    });
    (directory, gateway)
}

async fn each(gateway: &TestGateway) -> [Http; 4] {
    [
        gateway.http1().await,
        gateway.http2().await,
        gateway.https1().await,
        gateway.https2().await,
    ]
}

fn sha256(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

async fn becomes_empty(directory: &Path) {
    eventually(PATIENCE, || match names(directory) {
        names if names.is_empty() => Ok(()),
        names => Err(names),
    })
    .await;
}

#[tokio::test]
async fn a_file_is_taken_whole_with_its_checksum() {
    let (directory, gateway) = with_uploads(|_| {});
    let counters = gateway.counters();
    // Larger than every window and buffer on its way.
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut bytes = 0;
    for (nth, mut http) in each(&gateway).await.into_iter().enumerate() {
        for (name, data) in [
            ("small.txt", &b"hello"[..]),
            ("empty", b""),
            ("b \u{e4}", &large),
        ] {
            let path = format!(
                "/v1/files/{nth}{}",
                name.replace(' ', "%20").replace('\u{e4}', "%C3%A4")
            );
            let length = data.len().to_string();
            let headers = [("content-length", &*length)];
            let put = http.request(Method::PUT, &path, &headers, data).await;
            assert_eq!(put.status, 201, "{path}: {}", put.text());
            let name = format!("{nth}{name}");
            let expected = serde_json::json!({
                "name": name, "size": data.len(), "sha256": sha256(data),
            });
            assert_eq!(put.json(), expected);
            assert!(put.header("etag").starts_with('"'), "{put:?}");
            assert!(std::fs::read(directory.path().join(&name)).unwrap() == data);
            let again = http.request(Method::PUT, &path, &headers, data).await;
            assert_eq!((again.status, again.json()), (200, expected));
            bytes += 2 * data.len() as u64;
        }
    }
    counters
        .moved(&[("uploads_total", 24), ("upload_bytes_total", bytes)])
        .await;
    assert_eq!(names(directory.path()).len(), 12);
}

#[tokio::test]
async fn without_a_directory_nothing_is_taken() {
    let gateway = TestGateway::start();
    let mut http = gateway.http1().await;
    for (method, path) in [(Method::PUT, "/v1/files/a"), (Method::POST, "/v1/files")] {
        let answer = http.request(method, path, &[], b"a").await;
        assert_eq!((answer.status, &*answer.problem()), (404, "not_found"));
    }
    let missing = gateway.directory().join("missing");
    let options = roomwire_tests::GatewayOptions::new();
    let started = options.config(|config| config.uploads.directory = Some(missing));
    let error = started.try_start().unwrap_err().to_string();
    assert!(
        error.contains("uploads.directory") && error.contains("missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_leads_nowhere_else() {
    let (directory, gateway) = with_uploads(|_| {});
    for mut http in [gateway.http1().await, gateway.http2().await] {
        for name in [
            "..%2fa",
            "%2e%2e%2fa",
            "%2fetc%2fa",
            ".a",
            "%2e%2e",
            "a%00",
            "a%0A",
            "a%5Cb",
        ] {
            let path = format!("/v1/files/{name}");
            let put = http.request(Method::PUT, &path, &[], b"a").await;
            assert_eq!(
                (put.status, &*put.problem()),
                (400, "invalid_name"),
                "{name}"
            );
        }
        let put = http.request(Method::PUT, "/v1/files/a/b", &[], b"a").await;
        assert_eq!(put.status, 404);
        let get = http.get("/v1/files/a").await;
        assert_eq!((get.status, get.header("allow")), (405, "PUT, OPTIONS"));
    }
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_comes_where_that_is_known() {
    let (directory, gateway) = with_uploads(|config| {
        config.uploads.max_file = ByteSize::kib(100);
    });
    let counters = gateway.counters();
    let head = |name: &str, length: usize| {
        format!(
            "PUT /v1/files/{name} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(head("a", 102_401).as_bytes()).await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Told to go on, it is taken.
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(head("a", 102_400).as_bytes()).await;
    assert_eq!(raw.read(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    raw.write(&vec![b'a'; 102_400]).await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    // Without a length it is known when it has come.
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"PUT /v1/files/b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..5 {
        raw.write(b"8000\r\n").await;
        raw.write(&[b'b'; 0x8000]).await;
        raw.write(b"\r\n").await;
    }
    assert_eq!(raw.read(13).await, b"HTTP/1.1 413 ");
    let mut http = gateway.http2().await;
    let put = http
        .request(Method::PUT, "/v1/files/b", &[], vec![b'b'; 300_000])
        .await;
    assert_eq!((put.status, &*put.problem()), (413, "too_large"));
    counters
        .moved(&[("uploads_refused_total", 3), ("uploads_total", 1)])
        .await;
    assert_eq!(names(directory.path()), ["a"]);
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing_behind() {
    let (directory, gateway) = with_uploads(|_| {});
    let counters = gateway.counters();
    let half = vec![b'a'; 1_000_000];
    let put = b"PUT /v1/files/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000000\r\n\r\n";
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(put).await;
    raw.write(&half).await;
    // It is under way, and nothing of it can be seen.
    stays(std::time::Duration::from_millis(50), || {
        match names(directory.path()) {
            names if names.iter().all(|name| name.starts_with('.')) => Ok(()),
            names => Err(names),
        }
    })
    .await;
    drop(raw);
    // A stream that is reset, a connection that is cut, and a chunk that is none.
    gateway.http2().await.cut_upload("/v1/files/b", &half).await;
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"PUT /v1/files/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    raw.write(b"5\r\nhello\r\nnothing\r\n").await;
    raw.read_to_end().await;
    // A form whose second file does not come whole.
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(
        b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\
          content-type: multipart/form-data; boundary=x\r\n\r\n\
          --x\r\ncontent-disposition: form-data; name=a; filename=a\r\n\r\nwhole\r\n\
          --x\r\ncontent-disposition: form-data; name=b; filename=b\r\n\r\nhal",
    )
    .await;
    drop(raw);
    counters
        .moved(&[("uploads_broken_total", 4), ("uploads_total", 0)])
        .await;
    becomes_empty(directory.path()).await;
}

#[tokio::test]
async fn an_upload_that_does_not_go_on_is_given_up() {
    let (directory, gateway) = with_uploads(|config| {
        config.uploads.stall_timeout = Span::millis(200);
    });
    let counters = gateway.counters();
    let mut raw = gateway.raw(gateway.http()).await;
    raw.write(b"PUT /v1/files/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    counters
        .moved(&[("uploads_broken_total", 1), ("http_timeouts_total", 1)])
        .await;
    becomes_empty(directory.path()).await;
}

#[tokio::test]
async fn so_many_come_at_a_time_and_others_are_told_to_come_back() {
    let (directory, gateway) = with_uploads(|config| config.uploads.max_at_once = 1);
    let mut slow = gateway.raw(gateway.http()).await;
    let head = "PUT /v1/files/slow HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                connection: close\r\ncontent-length: 4\r\n\r\n";
    slow.write(head.as_bytes()).await;
    // It is told to go on once it has its place.
    assert_eq!(slow.read(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut http = gateway.http2().await;
    let refused = http
        .request(Method::PUT, "/v1/files/other", &[], b"data")
        .await;
    assert_eq!((refused.status, &*refused.problem()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    slow.write(b"data").await;
    let answer = String::from_utf8(slow.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let put = http
        .request(Method::PUT, "/v1/files/other", &[], b"data")
        .await;
    assert_eq!(put.status, 201);
    assert_eq!(names(directory.path()), ["other", "slow"]);
}

#[tokio::test]
async fn there_is_room_for_so_many_files() {
    let (directory, gateway) = with_uploads(|config| {
        config.uploads.max_files = 2;
        config.uploads.max_file = ByteSize::bytes(10);
        config.uploads.max_total = ByteSize::bytes(15);
    });
    let mut http = gateway.http1().await;
    for (name, data, status) in [
        ("a", "1234567890", 201),
        ("b", "123456", 507),
        ("b", "12345", 201),
        ("c", "", 507),
    ] {
        let put = http
            .request(
                Method::PUT,
                &format!("/v1/files/{name}"),
                &[("content-length", &data.len().to_string())],
                data,
            )
            .await;
        assert_eq!(put.status, status, "{name} {data}");
        if status == 507 {
            assert_eq!(put.problem(), "no_room");
        }
    }
    assert_eq!(names(directory.path()), ["a", "b"]);
}

#[tokio::test]
async fn a_file_is_replaced_only_as_the_request_wants() {
    let (directory, gateway) = with_uploads(|_| {});
    let mut http = gateway.http1().await;
    let mut put = async |headers: &[(&str, &str)], data: &str| {
        let answer = http
            .request(Method::PUT, "/v1/files/a", headers, data)
            .await;
        (answer.status, answer.header("etag").to_owned())
    };
    assert_eq!(put(&[("if-match", "*")], "0").await.0, 412);
    let (status, first) = put(&[("if-none-match", "*")], "1").await;
    assert_eq!(status, 201);
    assert_eq!(put(&[("if-none-match", "*")], "2").await.0, 412);
    let (status, second) = put(&[("if-match", &first)], "three").await;
    assert_eq!(status, 200);
    assert_ne!(first, second);
    assert_eq!(put(&[("if-match", &first)], "4").await.0, 412);
    assert_eq!(put(&[("if-none-match", &second)], "4").await.0, 412);
    let past = ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:01 GMT");
    assert_eq!(put(&[past], "4").await.0, 412);
    assert_eq!(put(&[("content-range", "bytes 0-0/2")], "4").await.0, 400);
    assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"three");
    std::fs::create_dir(directory.path().join("d")).unwrap();
    let occupied = http.request(Method::PUT, "/v1/files/d", &[], b"a").await;
    assert_eq!((occupied.status, &*occupied.problem()), (409, "occupied"));
}

#[tokio::test]
async fn the_files_of_a_form_are_taken() {
    let (directory, gateway) = with_uploads(|_| {});
    let large = "0123456789abcdef".repeat(100_000);
    let form = format!(
        "--x y\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nno file\r\n\
         --x y\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\
         content-type: text/plain\r\n\r\nhello\r\n\
         --x y\r\ncontent-disposition: form-data; name=\"none\"; filename=\"\"\r\n\r\n\r\n\
         --x y\r\ncontent-disposition: form-data; name=\"f\"; filename=\"b.txt\"\r\n\r\n{large}\r\n--x y--\r\n"
    );
    let headers = [("content-type", "multipart/form-data; boundary=\"x y\"")];
    for mut http in each(&gateway).await {
        let posted = http
            .request(Method::POST, "/v1/files", &headers, &form)
            .await;
        assert_eq!(posted.status, 201, "{}", posted.text());
        let expected = serde_json::json!({ "files": [
            { "name": "a.txt", "size": 5, "sha256": sha256(b"hello") },
            { "name": "b.txt", "size": large.len(), "sha256": sha256(large.as_bytes()) },
        ]});
        assert_eq!(posted.json(), expected);
        assert_eq!(names(directory.path()), ["a.txt", "b.txt"]);
        assert!(std::fs::read(directory.path().join("b.txt")).unwrap() == large.as_bytes());
        std::fs::remove_file(directory.path().join("a.txt")).unwrap();
        std::fs::remove_file(directory.path().join("b.txt")).unwrap();
    }
}

#[tokio::test]
async fn a_form_that_is_none_is_refused_and_leaves_nothing() {
    let (directory, gateway) = with_uploads(|_| {});
    let file = |name: &str| {
        format!(
            "--x\r\ncontent-disposition: form-data; name=a; filename=\"{name}\"\r\n\r\ndata\r\n"
        )
    };
    let many: String = (0..17).map(|nth| file(&nth.to_string())).collect();
    let mut http = gateway.http1().await;
    for (content_type, form, status, code) in [
        (
            "text/plain",
            file("a") + "--x--",
            415,
            "unsupported_media_type",
        ),
        (
            "multipart/form-data",
            file("a") + "--x--",
            415,
            "unsupported_media_type",
        ),
        (
            "multipart/form-data; boundary=x",
            file("a"),
            400,
            "bad_body",
        ),
        (
            "multipart/form-data; boundary=x",
            file("a") + &file("a") + "--x--",
            400,
            "bad_body",
        ),
        (
            "multipart/form-data; boundary=x",
            file("a") + &file("../b") + "--x--",
            400,
            "invalid_name",
        ),
        (
            "multipart/form-data; boundary=x",
            "--x--".to_owned(),
            400,
            "bad_body",
        ),
        (
            "multipart/form-data; boundary=x",
            file("a") + "--x\r\n\r\n",
            400,
            "bad_body",
        ),
        (
            "multipart/form-data; boundary=x",
            many + "--x--",
            413,
            "too_large",
        ),
    ] {
        let headers = [("content-type", content_type)];
        let posted = http
            .request(Method::POST, "/v1/files", &headers, &form)
            .await;
        assert_eq!(
            (posted.status, &*posted.problem()),
            (status, code),
            "{form}"
        );
        http = gateway.http1().await;
    }
    becomes_empty(directory.path()).await;
}

#[tokio::test]
async fn a_page_of_another_origin_leaves_nothing() {
    let (directory, gateway) = with_uploads(|_| {});
    let mut http = gateway.http1().await;
    let headers = [("origin", "http://evil.example")];
    let put = http
        .request(Method::PUT, "/v1/files/a", &headers, b"a")
        .await;
    assert_eq!(put.status, 403);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test]
async fn curl_leaves_files_by_both_ways() {
    let Some(curl) = find_program("curl") else {
        return;
    };
    let (directory, gateway) = with_uploads(|_| {});
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("from curl.bin");
    let data: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, &data).unwrap();
    let url = format!("http://{}/v1/files", gateway.http());
    let put = [
        "-sS",
        "--fail-with-body",
        "-T",
        path.to_str().unwrap(),
        &format!("{url}/put.bin"),
    ];
    let form = format!("file=@\"{}\"", path.display());
    let post = ["-sS", "--fail-with-body", "-F", "a=b", "-F", &form, &url];
    for arguments in [&put[..], &post[..]] {
        let output = run_program(&curl, arguments, "").await;
        assert!(output.status.success(), "{output:?}");
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.contains(&sha256(&data)), "{answer}");
    }
    assert_eq!(names(directory.path()), ["from curl.bin", "put.bin"]);
    assert!(std::fs::read(directory.path().join("put.bin")).unwrap() == data);
}
