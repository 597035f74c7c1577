//! What one HTTP/2 connection must not do: make work for nothing. Each flood ends its own connection
//! with a word why and a counter, and whoever else is served does not notice.

use roomwire::config::{ByteSize, Config, Span};
use roomwire_tests::{Frame, Frames, Http, TestGateway, field};

const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: u32 = 8;

fn f(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload).bytes()
}

fn request(method: &str, path: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let fields = [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "localhost"),
        more.concat(),
    ];
    fields.concat()
}

fn get(stream: u32) -> Vec<u8> {
    f(1, 5, stream, &request("GET", "/healthz", &[]))
}

/// A request whose body does not end.
fn post(stream: u32) -> Vec<u8> {
    let json = field("content-type", "application/json");
    f(
        1,
        4,
        stream,
        &request("POST", "/v1/rooms/a/messages", &[json]),
    )
}

/// Odd numbers: streams that a client may open.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// The settings as they are, but for those bounds that would take long to reach.
fn quick(config: &mut Config) {
    config.http2.max_small_data = ByteSize::kib(64);
    config.http2.max_stream_errors = 10;
    config.limits.write_timeout = Span::millis(300);
}

/// Reads up to GOAWAY and gives its code, then to the connection's end.
async fn goaway(frames: &mut Frames) -> u32 {
    let code = loop {
        let frame = frames.next().await.expect("GOAWAY before the end");
        if frame.kind == 7 && frame.code() != 0 {
            break frame.code();
        }
    };
    while frames.next().await.is_some() {}
    code
}

async fn is_served(bystander: &mut Http, what: &str) {
    let answer = bystander.get("/healthz").await;
    assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{what}");
}

/// Many fields of which each takes a byte, and decodes to 4,000 (RFC 7541 §7.3).
fn bomb() -> Vec<u8> {
    let mut block = request("GET", "/", &[]);
    // A length of 4,000 takes three bytes (RFC 7541 §5.1): 127, then 3,873 in sevens.
    block.extend(b"\x40\x01x\x7f\xa1\x1e");
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 60]);
    f(1, 5, 1, &block)
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_connection_with_a_word_and_a_counter() {
    let update = |stream| f(8, 0, stream, &[0, 0, 0, 1]);
    let piece = f(9, 0, 1, &field("x", "y"));
    let reset = |stream| [get(stream), f(3, 0, stream, &[0, 0, 0, 8])].concat();
    // A body that is shorter than was said is an error of its stream.
    let length = field("content-length", "9");
    let malformed = |stream| {
        let head = request(
            "POST",
            "/v1/rooms/a/messages",
            std::slice::from_ref(&length),
        );
        [f(1, 4, stream, &head), f(0, 1, stream, b"x")].concat()
    };
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("http2_ping_floods_total", f(6, 0, 0, &[0; 8]).repeat(1001)),
        // Answers that were not asked for are no better.
        ("http2_ping_floods_total", f(6, 1, 0, &[0; 8]).repeat(1001)),
        ("http2_settings_floods_total", f(4, 0, 0, &[]).repeat(101)),
        (
            "http2_reset_floods_total",
            streams(600).flat_map(reset).collect(),
        ),
        (
            "http2_priority_floods_total",
            f(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(2001),
        ),
        (
            "http2_priority_floods_total",
            f(0xfa, 0, 0, b"x").repeat(2001),
        ),
        (
            "http2_window_update_floods_total",
            [post(1), update(1).repeat(3000), update(0).repeat(3000)].concat(),
        ),
        (
            "http2_empty_frame_floods_total",
            [post(1), f(0, 0, 1, &[]).repeat(51)].concat(),
        ),
        (
            "http2_continuation_floods_total",
            [f(1, 1, 1, &request("GET", "/", &[])), piece.repeat(6)].concat(),
        ),
        (
            "http2_small_data_floods_total",
            [post(1), f(0, 0, 1, b"x").repeat(1000)].concat(),
        ),
        (
            "http2_stream_error_floods_total",
            streams(20).flat_map(malformed).collect(),
        ),
        ("http2_header_bombs_total", bomb()),
    ];
    let gateway = TestGateway::with(quick);
    // Over TLS the frames are the same, so some of them will do.
    for (tls, floods) in [(false, &floods[..]), (true, &floods[3..5])] {
        let mut bystander = gateway.http2().await;
        for (counter, flood) in floods {
            let counters = gateway.counters();
            let mut frames = gateway.frames(tls, &[]).await;
            frames.write(flood).await;
            is_served(&mut bystander, counter).await;
            assert_eq!(goaway(&mut frames).await, ENHANCE_YOUR_CALM, "{counter}");
            counters.complained(&[(counter, 1)]).await;
            is_served(&mut bystander, counter).await;
        }
    }
}

#[tokio::test]
async fn what_a_usual_client_sends_is_no_flood() {
    let gateway = TestGateway::start();
    let mut frames = gateway.frames(false, &[]).await;
    let mut all = f(2, 0, 3, &[0, 0, 0, 0, 200]).repeat(6);
    for stream in streams(100) {
        all.extend(get(stream));
        all.extend(f(8, 0, 0, &[0, 0, 1, 0]));
    }
    all.extend(f(6, 0, 0, b"are you?").repeat(100));
    frames.write(&all).await;
    let (mut ended, mut pongs) = (0, 0);
    while ended < 100 || pongs < 100 {
        let frame = frames.next().await.expect("it goes on");
        ended += u32::from(frame.kind == 0 && frame.flags & 1 == 1);
        pongs += u32::from(frame.kind == 6);
    }
    // Requests that are given up, as when somebody leaves a page.
    for stream in streams(200).skip(100) {
        let given_up = [get(stream), f(3, 0, stream, &[0, 0, 0, 8])].concat();
        frames.write(&given_up).await;
    }
    frames.write(&get(999)).await;
    while frames.next().await.expect("it goes on").stream != 999 {}
}

#[tokio::test]
async fn a_window_that_stays_shut_ends_its_stream_and_no_other() {
    let gateway = TestGateway::with(quick);
    let counters = gateway.counters();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let mut frames = gateway.frames(false, &[0, 4, 0, 0, 0, 0]).await;
    frames.write(&get(1)).await;
    frames.write(&get(3)).await;
    frames.write(&f(8, 0, 3, &[0, 0, 1, 0])).await;
    let mut answered = false;
    loop {
        let frame = frames.next().await.expect("it goes on");
        answered |= frame.kind == 0 && frame.stream == 3 && frame.flags & 1 == 1;
        if frame.kind == 3 {
            assert_eq!((frame.stream, frame.code()), (1, CANCEL));
            break;
        }
    }
    assert!(answered, "whose window is open was answered");
    counters.moved(&[("http2_streams_stalled_total", 1)]).await;
    frames.write(&get(5)).await;
    while frames.next().await.expect("it goes on").stream != 5 {}
}

#[tokio::test]
async fn headers_over_a_limit_are_refused_and_the_connection_goes_on() {
    let gateway = TestGateway::start();
    let mut http = gateway.http2().await;
    let long = "y".repeat(9000);
    let longer = "y".repeat(30_000);
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "y")).collect();
    for fields in [&[("x", &*long)][..], &[("x", &*longer)], &many] {
        let answer = http
            .request(http::Method::GET, "/healthz", fields, "")
            .await;
        assert_eq!(answer.status, 431, "{} fields", fields.len());
        is_served(&mut http, "431").await;
    }
}
