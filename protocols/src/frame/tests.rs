//! Every framing against every cut of the input, its limits, and itself.

use proptest::prelude::*;

use super::*;

type Messages = Vec<Result<Vec<u8>, TooLong>>;

/// Feeds the pieces as a session does: call until there is no message, then the next piece.
fn decode<'p>(
    framing: &Framing,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    max: usize,
) -> (Messages, FrameDecoder) {
    let mut decoder = FrameDecoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        loop {
            let (used, message) = decoder.next(framing, rest, max);
            rest = &rest[used..];
            match message {
                Some(message) => messages.push(message.map(<[u8]>::to_vec)),
                None => break,
            }
        }
        assert!(rest.is_empty(), "without a message all input is used up");
        assert!(decoder.partial.capacity() <= 2 * (max + MAX_DELIMITER).max(8));
    }
    (messages, decoder)
}

/// The messages that come of the input, whole, at every cut in two, and byte by byte.
fn check(framing: &str, input: &[u8], max: usize, expected: &[Result<&[u8], TooLong>]) {
    let framing: Framing = framing.parse().unwrap();
    let expected: Messages = expected.iter().map(|it| it.map(<[u8]>::to_vec)).collect();
    for cut in 0..=input.len() {
        let (first, second) = input.split_at(cut);
        let (messages, _) = decode(&framing, [first, second], max);
        assert_eq!(messages, expected, "{framing} cut at {cut}");
    }
    let (messages, _) = decode(&framing, input.chunks(1), max);
    assert_eq!(messages, expected, "{framing} byte by byte");
}

#[test]
fn messages_are_told_apart_as_the_framing_says() {
    check("lines", b"a\r\n\nbc\nd", 9, &[Ok(b"a"), Ok(b""), Ok(b"bc")]);
    check(
        "u16",
        b"\0\x02ab\0\0\0\x01c\0",
        9,
        &[Ok(b"ab"), Ok(b""), Ok(b"c")],
    );
    check("u16-le", b"\x02\0ab\x01\0c", 9, &[Ok(b"ab"), Ok(b"c")]);
    check("u32", b"\0\0\0\x02ab\0\0\0", 9, &[Ok(b"ab")]);
    check("u32-le", b"\x02\0\0\0ab", 9, &[Ok(b"ab")]);
    check("fixed:3", b"abcdefgh", 9, &[Ok(b"abc"), Ok(b"def")]);
    check("delimiter:;", b"a;;b;c", 9, &[Ok(b"a"), Ok(b""), Ok(b"b")]);
    check("delimiter:--", b"a---b--", 9, &[Ok(b"a"), Ok(b"-b")]);
    check("delimiter:aab", b"aaab-aab", 9, &[Ok(b"a"), Ok(b"-")]);
}

#[test]
fn a_message_at_the_limit_is_one_and_a_longer_one_ends_it() {
    check("lines", b"abc\r\nabcd\nx\n", 3, &[Ok(b"abc"), Err(TooLong)]);
    check("lines", b"abcdefgh", 3, &[Err(TooLong)]);
    check(
        "u16",
        b"\0\x03abc\0\x04abcd\0\0",
        3,
        &[Ok(b"abc"), Err(TooLong)],
    );
    check("u32-le", b"\xff\xff\xff\xff", 3, &[Err(TooLong)]);
    check(
        "delimiter:--",
        b"abc--abcd--x--",
        3,
        &[Ok(b"abc"), Err(TooLong)],
    );
    check("fixed:4", b"abcd", 3, &[Err(TooLong)]);
}

#[test]
fn a_length_over_the_limit_is_refused_before_any_of_the_message_comes() {
    let framing = "u32".parse().unwrap();
    let (messages, decoder) = decode(&framing, [&b"\0\x10\0\0"[..]], 1024);
    assert_eq!(messages, [Err(TooLong)]);
    assert!(decoder.is_idle());
}

#[test]
fn between_messages_the_decoder_owns_no_memory() {
    for (framing, input) in [
        ("lines", &b"ab\n"[..]),
        ("u16", b"\0\x02ab"),
        ("fixed:2", b"ab"),
        ("delimiter:;;", b"ab;;"),
    ] {
        let framing = framing.parse().unwrap();
        let (messages, decoder) = decode(&framing, input.chunks(1), 9);
        assert_eq!(messages, [Ok(b"ab".to_vec())]);
        assert!(decoder.is_idle(), "{framing}");
        let (_, decoder) = decode(&framing, [&input[..1]], 9);
        assert!(decoder.is_unfinished(), "{framing}");
    }
}

#[test]
fn what_names_no_framing_is_refused() {
    for text in [
        "",
        "line",
        "u8",
        "fixed:",
        "fixed:0",
        "fixed:x",
        "delimiter:",
        "delimiter:12345678901234567",
    ] {
        assert_eq!(text.parse::<Framing>(), Err(InvalidFraming), "{text}");
    }
}

#[test]
fn what_a_framing_cannot_carry_is_left_out() {
    let mut out = Vec::new();
    let long = vec![0; 65_536];
    assert!(!encode(&mut out, &"u16".parse().unwrap(), &long));
    assert!(!encode(&mut out, &Framing::Fixed(2), b"abc"));
    assert!(out.is_empty());
    assert!(encode(&mut out, &"u32".parse().unwrap(), &long));
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just("lines"),
        Just("u16"),
        Just("u16-le"),
        Just("u32"),
        Just("u32-le"),
        Just("fixed:5"),
        Just("delimiter:;"),
        Just("delimiter:aab"),
    ]
    .prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn what_is_written_reads_back_in_any_pieces(
        framing in framing(),
        messages in prop::collection::vec("[b-z]{0,12}", 0..8),
        sizes in prop::collection::vec(1_usize..9, 1..40),
    ) {
        let mut input = Vec::new();
        let written: Vec<_> = messages
            .iter()
            .filter(|message| encode(&mut input, &framing, message.as_bytes()))
            .collect();
        let mut pieces = Vec::new();
        let mut rest = &input[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let (read, decoder) = decode(&framing, pieces, 12);
        let written: Messages = written.iter().map(|it| Ok(it.as_bytes().to_vec())).collect();
        prop_assert_eq!(read, written);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn cuts_change_nothing(
        framing in framing(),
        input in prop::collection::vec(0_u8..=4, 0..64),
        cut: prop::sample::Index,
        max in 0_usize..10,
    ) {
        let (first, second) = input.split_at(cut.index(input.len() + 1));
        let (whole, _) = decode(&framing, [&input[..]], max);
        let (cut, _) = decode(&framing, [first, second], max);
        prop_assert_eq!(cut, whole);
    }
}
