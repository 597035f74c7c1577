//! Tables of what passes and what is refused, whole and cut at every byte.

use super::*;

const LIMITS: Limits = Limits {
    max_head: 400,
    max_target: 100,
    max_field: 200,
    max_fields: 5,
};

/// Shows `input` in pieces of so many bytes, as a connection's reader does.
fn inspect_by(input: &[u8], piece: usize) -> (usize, Option<Violation>, u64) {
    let mut inspector = Inspector::new(LIMITS);
    let (mut passed, mut shown) = (0, 0);
    while shown < input.len() {
        shown = (shown + piece).min(input.len());
        let inspected = inspector.inspect(&input[passed..shown]);
        passed += inspected.passed;
        assert!(passed <= shown);
        if let Some(violation) = inspected.refused {
            return (passed, Some(violation), inspector.heads());
        }
    }
    (passed, None, inspector.heads())
}

fn check(input: &str, heads: u64, refused: Option<Violation>) {
    check_bytes(input.as_bytes(), heads, refused);
}

fn check_bytes(input: &[u8], heads: u64, refused: Option<Violation>) {
    let what = String::from_utf8_lossy(input);
    let whole = inspect_by(input, input.len());
    assert_eq!((whole.2, whole.1), (heads, refused), "{what:?}");
    for piece in [1, 2, 3, 7, 16] {
        assert_eq!(inspect_by(input, piece), whole, "{what:?} by {piece}");
    }
}

/// A head of HTTP/1.1 with these further fields.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

#[test]
fn requests_pass_one_after_the_other() {
    check("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, None);
    check("GET / HTTP/1.0\r\n\r\n", 1, None);
    check("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, None);
    let three = "GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3);
    check(&three, 3, None);
    let body = with("content-length: 5\r\n") + "GET /\n" + "";
    check(&(body[..body.len() - 1].to_owned() + &three), 4, None);
    let chunks = with("transfer-encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n";
    check(&(chunks + &three), 4, None);
    let huge = with("content-length: 9223372036854775807\r\n") + "x\n\r";
    check(&huge, 1, None);
    check("GET / HTT", 0, None);
}

#[test]
fn a_request_line_is_method_target_and_version() {
    let bad = Some(Violation::RequestLine);
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/11",
        "GET / HTTQ/1.1",
        "GET / ",
        "G(T / HTTP/1.1",
        "(",
        "\0\u{1}\u{2}",
        "{\"type\":\"ping\"}",
    ] {
        check(&format!("{line}\r\nhost: a\r\n\r\n"), 0, bad);
    }
    for line in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
        check(&format!("{line}\r\n\r\n"), 0, Some(Violation::Version));
    }
    let long = "X".repeat(33) + " / HTTP/1.1\r\n\r\n";
    check(&long, 0, Some(Violation::MethodTooLong));
    check(&long[1..], 1, None);
    check(&"\r\n".repeat(9), 0, bad);
    // It is known before a line's end that this is no request.
    check_bytes(b"\x16\x03\x01\x02\x00", 0, bad);
}

#[test]
fn a_target_has_the_form_that_its_method_may_have() {
    let line =
        |method: &str, target: &str| format!("{method} {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    for (method, target) in [
        ("GET", "/a%20b?c=d|e{f}&g=[h]^\\"),
        ("GET", "http://a/b?c"),
        ("GET", "HTTPS://a:443"),
        ("GET", "http://a?b"),
        ("OPTIONS", "*"),
        ("CONNECT", "a:443"),
    ] {
        check(&line(method, target), 1, None);
    }
    for (method, target) in [
        ("GET", "*"),
        ("GET", "a"),
        ("GET", "a:80"),
        ("GET", "?a"),
        ("GET", "//"),
        ("GET", "ftp://a/"),
        ("GET", "http:///a"),
        ("GET", "http://"),
        ("GET", "http://user@a/"),
        ("GET", "/#a"),
        ("GET", "/<a>"),
        ("GET", "/\u{e4}"),
        ("GET", "/\u{7f}"),
        ("GET", "/\0"),
        ("OPTIONS", "**"),
        ("CONNECT", "/"),
        ("CONNECT", "a"),
        ("CONNECT", "a:"),
        ("CONNECT", "http://a:80/"),
    ] {
        let expected = (target != "//").then_some(Violation::Target);
        check(&line(method, target), expected.is_none().into(), expected);
    }
    check_bytes(b"GET /\xff HTTP/1.1\r\n\r\n", 0, Some(Violation::Target));
    let longest = "/".repeat(100);
    check(&line("GET", &longest), 1, None);
    check(
        &line("GET", &(longest + "/")),
        0,
        Some(Violation::TargetTooLong),
    );
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    use Violation::*;
    for (fields, expected) in [
        ("x: a\n", LineEnd),
        ("x: a\rb\r\n", LineEnd),
        ("x: a\r\r\n", LineEnd),
        ("x: a\r\n b\r\n", Folded),
        ("x: a\r\n\tb\r\n", Folded),
        ("x : a\r\n", FieldName),
        ("x\r\n", FieldName),
        (": a\r\n", FieldName),
        ("x y: a\r\n", FieldName),
        ("\u{e4}: a\r\n", FieldName),
        ("x: a\0b\r\n", FieldValue),
        ("x: \u{1b}\r\n", FieldValue),
        ("x: \u{7f}\r\n", FieldValue),
        ("content-length: \r\n", ContentLength),
        ("content-length: +5\r\n", ContentLength),
        ("content-length: -5\r\n", ContentLength),
        ("content-length: 0x5\r\n", ContentLength),
        ("content-length: 5 5\r\n", ContentLength),
        ("content-length: 5, 5\r\n", ContentLength),
        ("content-length: 5\r\nContent-Length: 5\r\n", ContentLength),
        ("content-length: 9223372036854775808\r\n", ContentLength),
        ("content-length: 99999999999999999999\r\n", ContentLength),
        (
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            TwoLengths,
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 0\r\n",
            TwoLengths,
        ),
        ("transfer-encoding: x\r\ncontent-length: 0\r\n", TwoLengths),
        ("transfer-encoding: \r\n", TransferCoding),
        ("transfer-encoding: gzip\r\n", TransferCoding),
        ("transfer-encoding: identity\r\n", TransferCoding),
        ("transfer-encoding: xchunked\r\n", TransferCoding),
        ("transfer-encoding: \u{b}chunked\r\n", FieldValue),
        ("transfer-encoding: chunked, gzip\r\n", TransferCoding),
        ("transfer-encoding: chunked, chunked\r\n", TransferCoding),
        ("transfer-encoding: \"chunked\"\r\n", TransferCoding),
        ("transfer-encoding: chunked;q=1\r\n", TransferCoding),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            TransferCoding,
        ),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            TransferCoding,
        ),
        ("transfer-encoding: gzip, chunked\r\n", UnknownCoding),
        ("1: a\r\n2: a\r\n3: a\r\n4: a\r\n5: a\r\n", TooManyFields),
    ] {
        check(&with(fields), 0, Some(expected));
    }
    check(
        "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        0,
        Some(TransferCoding),
    );
    for fine in [
        "Transfer-Encoding: Chunked\r\n",
        "x:a\r\n",
        "x: \t a \t\r\n",
        "x:\r\n",
        "x: \u{e4}\r\n",
        "content-length: 0\r\n",
    ] {
        check(&with(fine), 1, None);
    }
}

#[test]
fn a_head_and_a_field_have_a_limit() {
    let field = |length: usize| format!("x: {}\r\n", "y".repeat(length - 3));
    check(&with(&field(200)), 1, None);
    check(&with(&field(201)), 0, Some(Violation::FieldTooLarge));
    let head = with(&(field(180) + &field(200)));
    check(&head, 0, Some(Violation::HeadTooLarge));
    let unfinished = "GET / HTTP/1.1\r\nx: ".to_owned() + &"y".repeat(400);
    check(&unfinished, 0, Some(Violation::HeadTooLarge));
    let endless = "GET /".to_owned() + &"y".repeat(400);
    let found = inspect_by(endless.as_bytes(), 7);
    assert_eq!(found.1, Some(Violation::TargetTooLong));
}

#[test]
fn chunks_pass_as_they_come() {
    let chunked = with("transfer-encoding: chunked\r\n");
    let next = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "A\r\n0\r\n\r\nGET /\r\n0\r\n\r\n",
        "000a\r\n0123456789\r\n00\r\n\r\n",
        "5;a\r\nhello\r\n0;b=c\r\n\r\n",
        "5;a=\"b;c\\\"\"\r\nhello\r\n0\r\n\r\n",
        "5 ; a = b ;c\r\nhello\r\n0\r\n\r\n",
        "0\r\nx: y\r\nz:\r\n\r\n",
    ] {
        check(&format!("{chunked}{body}{next}"), 2, None);
    }
}

#[test]
fn a_chunk_that_parsers_could_read_differently_is_refused() {
    let chunked = with("transfer-encoding: chunked\r\n");
    for body in [
        "\r\n",
        "x\r\n",
        "-5\r\n",
        "+5\r\n",
        "0x5\r\n",
        " 5\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "5\rhello\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "5;\r\n",
        "5;;\r\n",
        "5;a=\r\n",
        "5;a=b c\r\n",
        "5;a\nb\r\n",
        "5;\"a\"\r\n",
        "5;a=\"b\r\n",
        "5;a=\"\0\"\r\n",
        "5_0\r\n",
        "11111111111111111\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        check(&format!("{chunked}{body}"), 1, Some(Violation::Chunk));
    }
    let extensions = format!("{chunked}1;{}\r\n", "a".repeat(300));
    check(&extensions, 1, Some(Violation::Chunk));
    for trailer in [
        "\n",
        "x\r\n",
        " x: y\r\n",
        "x : y\r\n",
        "x: y\n",
        "x: \0\r\n",
        "x: y\r\r\n",
    ] {
        check(
            &format!("{chunked}0\r\n{trailer}\r\n"),
            1,
            Some(Violation::Trailer),
        );
    }
    let trailers = format!("{chunked}0\r\n{}", "x: y\r\n".repeat(100));
    check(&trailers, 1, Some(Violation::Trailer));
}

#[test]
fn what_follows_a_wish_for_websocket_is_not_looked_at() {
    check(
        "GET /ws HTTP/1.1\r\nhost: a\r\nUpgrade: WebSocket\r\n\r\n\u{1}\u{2}\n\n",
        1,
        None,
    );
    check(
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\n\r\n\u{1}",
        1,
        Some(Violation::RequestLine),
    );
}

proptest::proptest! {
    /// hyper's parser agrees with what passes: it finds the same end.
    #[test]
    fn a_head_that_passes_is_one_to_httparse(
        input in "(GET|POST|OPTIONS)[ \t]{1,2}(/[a-z%?{|]{0,4}|\\*|http://a/)[ ]HTTP/1\\.[01]\r?\n([a-zT\\-]{1,3}[ ]?:[ \t]?[a-z\r\n \t]{0,3}\r\n){0,3}\r?\n"
    ) {
        let (passed, refused, heads) = inspect_by(input.as_bytes(), input.len());
        if refused.is_none() && heads == 1 {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let parsed = httparse::Request::new(&mut fields).parse(input.as_bytes());
            proptest::prop_assert_eq!(parsed, Ok(httparse::Status::Complete(passed)));
        }
    }

    #[test]
    fn no_input_is_too_strange(input in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        inspect_by(&input, 3);
        let mut chunked = with("transfer-encoding: chunked\r\n").into_bytes();
        chunked.extend(input);
        proptest::prop_assert_eq!(inspect_by(&chunked, 5), inspect_by(&chunked, chunked.len()));
    }
}

/// Method, target, fields, and what follows.
type Said<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str);

/// What a request that is all there says.
fn plain(input: &str) -> Option<Said<'_>> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    let plain = Plain::parse(input.as_bytes(), &LIMITS)?;
    let fields = plain
        .fields()
        .map(|(name, value)| (text(name), text(value)));
    Some((
        text(plain.method),
        text(plain.target),
        fields.collect(),
        &input[plain.end..],
    ))
}

#[test]
fn a_plain_request_is_all_there_and_asks_nothing_of_its_connection() {
    let simple = "GET /a?b=c HTTP/1.1\r\nHost: a\r\naccept:\t*/* \r\n\r\n";
    let fields = vec![("Host", "a"), ("accept", "*/*")];
    let expected = Some(("GET", "/a?b=c", fields, ""));
    assert_eq!(plain(simple), expected);
    let two = format!("{simple}DELETE");
    assert_eq!(plain(&two).unwrap().3, "DELETE");
    for fine in [
        "connection: Keep-Alive\r\n",
        "content-length: 0\r\n",
        "te: trailers\r\n",
    ] {
        assert!(plain(&with(fine)).is_some(), "{fine:?}");
    }
    assert!(plain("GET / HTTP/1.1\r\n\r\n").is_some());
    for other in [
        "connection: close\r\n",
        "connection: keep-alive, close\r\n",
        "connection: keep-alive\r\nconnection: close\r\n",
        "content-length: 1\r\n",
        "transfer-encoding: chunked\r\n",
        "expect: 100-continue\r\n",
        "upgrade: h2c\r\n",
        "upgrade: websocket\r\n",
    ] {
        assert_eq!(plain(&with(other)), None, "{other:?}");
    }
    for other in [
        "",
        "GET / HTTP/1.1\r\nhost: a\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        assert_eq!(plain(other), None, "{other:?}");
    }
}

/// What the screen refuses is never taken for plain, wherever in the head it stands.
#[test]
fn what_is_refused_is_not_plain() {
    let head = "GET /a HTTP/1.1\r\nhost: a\r\naccept: b\r\n\r\n";
    let mut refused = 0;
    for at in 0..head.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = head.as_bytes().to_vec();
            bytes[at] = byte;
            let mut inspector = Inspector::new(LIMITS);
            let inspected = inspector.inspect(&bytes);
            if let Some(plain) = Plain::parse(&bytes, &LIMITS) {
                assert_eq!(inspected.refused, None, "{byte:#x} at {at}");
                assert!(plain.end <= inspected.passed && inspector.heads() > 0);
                let rest: Vec<_> = plain.fields().collect();
                assert!(!rest.is_empty() && rest.len() <= 2, "{byte:#x} at {at}");
            } else {
                refused += 1;
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
