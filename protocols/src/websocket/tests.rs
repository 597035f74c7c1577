//! The decoder and the frames, end to end: the MUSTs of RFC 6455 as a table, and the promise that
//! the pieces in which bytes come change nothing.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    max_message: 70_000,
    max_fragments: 4,
};
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Item<'_>> for Owned {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Item::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Item::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Item::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code, reason.to_owned())))
            }
        }
    }
}

pub(super) fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

/// A masked frame as a client sends it, with the length in its shortest form.
pub(super) fn client(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// What came of a stream: the items, and the violation that ended it.
pub(super) type Outcome = (Vec<Owned>, Option<Violation>);

/// Feeds the pieces as a session does: call until there is no item, then the next piece.
fn decode_with<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: &Limits,
) -> (Outcome, Decoder) {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let (consumed, item) = match decoder.next(rest, limits) {
                Ok((consumed, item)) => (consumed, item.map(Owned::from)),
                Err(violation) => {
                    assert!(decoder.is_idle(), "a violation gives all memory back");
                    return ((items, Some(violation)), decoder);
                }
            };
            rest = &mut rest[consumed..];
            match item {
                Some(item) => items.push(item),
                None => break,
            }
        }
        assert!(rest.is_empty(), "without an item all input is used up");
    }
    ((items, None), decoder)
}

fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    decode_with(pieces, &LIMITS).0
}

/// Checks a stream as a whole, byte by byte, and cut in two at every place.
fn check(stream: &[u8], items: &[Owned], violation: Option<Violation>) {
    let expected = (items.to_vec(), violation);
    assert_eq!(decode([stream]), expected);
    assert_eq!(decode(stream.chunks(1)), expected, "byte by byte");
    if stream.len() < 1000 {
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(decode([first, second]), expected, "cut at {cut}");
        }
    }
}

fn accept(frames: &[Vec<u8>], items: &[Owned]) {
    check(&frames.concat(), items, None);
}

fn refuse(frames: &[Vec<u8>], items: &[Owned], violation: Violation) {
    check(&frames.concat(), items, Some(violation));
}

#[test]
fn the_masked_example_of_the_rfc_is_decoded() {
    // RFC 6455 §5.7.
    let hello = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    check(&hello, &[text("Hello")], None);
}

#[test]
fn messages_of_every_length_form_are_decoded() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..length).map(|index| b'a' + (index % 26) as u8).collect();
        let expected = String::from_utf8(payload.clone()).unwrap();
        accept(&[client(true, 1, &payload)], &[text(&expected)]);
        accept(&[client(true, 2, &payload)], &[Owned::Binary(payload)]);
    }
}

#[test]
fn fragments_become_one_message_with_control_frames_between_them() {
    accept(
        &[
            client(false, 1, b"Hel"),
            client(true, 9, b"ping"),
            client(false, 0, b""),
            client(true, 10, b""),
            client(true, 0, b"lo"),
            client(true, 2, b"\xff"),
        ],
        &[
            Owned::Ping(b"ping".to_vec()),
            Owned::Pong(Vec::new()),
            text("Hello"),
            Owned::Binary(vec![0xff]),
        ],
    );
    accept(
        &[client(false, 2, b""), client(true, 0, b"")],
        &[Owned::Binary(Vec::new())],
    );
    accept(
        &[client(false, 1, b""), client(true, 0, b"a")],
        &[text("a")],
    );
    accept(&[client(true, 9, &[7; 125])], &[Owned::Ping(vec![7; 125])]);
}

#[test]
fn characters_may_be_cut_by_fragments() {
    let word = "κόσμε🎉";
    for cut in 0..=word.len() {
        let (first, second) = word.as_bytes().split_at(cut);
        accept(
            &[client(false, 1, first), client(true, 0, second)],
            &[text(word)],
        );
    }
}

#[test]
fn every_violation_of_the_framing_has_its_name() {
    let raw = |bytes: &[u8], violation| refuse(&[bytes.to_vec()], &[], violation);
    for first in [0x91, 0xa1, 0xc1, 0xf1, 0x11, 0xb3] {
        raw(&[first], Violation::ReservedBits);
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        raw(&[0x80 | opcode], Violation::UnknownOpcode);
    }
    for opcode in [8, 9, 10] {
        raw(&[opcode], Violation::ControlFragmented);
        raw(&[0x80 | opcode, 0x80 | 126], Violation::ControlTooLong);
        raw(&[0x80 | opcode, 0x80 | 127], Violation::ControlTooLong);
    }
    raw(&[0x81, 0x05], Violation::NotMasked);
    raw(&[0x89, 0x00], Violation::NotMasked);
    raw(&[0x82, 0xfe, 0, 125], Violation::LengthNotMinimal);
    raw(
        &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        Violation::LengthNotMinimal,
    );
    raw(
        &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        Violation::LengthOutOfRange,
    );
    let first = client(false, 1, b"a");
    refuse(
        &[client(true, 0, b"")],
        &[],
        Violation::ContinuationWithoutMessage,
    );
    refuse(
        &[client(true, 1, b"a"), client(true, 0, b"")],
        &[text("a")],
        Violation::ContinuationWithoutMessage,
    );
    refuse(
        &[first.clone(), client(true, 1, b"b")],
        &[],
        Violation::MessageInterrupted,
    );
    refuse(
        &[first, client(false, 2, b"")],
        &[],
        Violation::MessageInterrupted,
    );
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    refuse(&[client(true, 1, b"a\xff")], &[], Violation::TextNotUtf8);
    refuse(
        &[client(true, 1, "é".as_bytes().split_last().unwrap().1)],
        &[],
        Violation::TextNotUtf8,
    );
    refuse(
        &[client(false, 1, b"\xc3"), client(true, 0, b"")],
        &[],
        Violation::TextNotUtf8,
    );
    refuse(
        &[client(false, 1, b"\xed\xa0")],
        &[],
        Violation::TextNotUtf8,
    );
}

#[test]
fn a_bad_byte_fails_as_soon_as_it_arrives() {
    let frame = client(
        true,
        1,
        b"ab\xf4\x90\x80\x80 and a lot more that never comes",
    );
    let mut decoder = Decoder::new();
    for (index, byte) in frame.iter().enumerate() {
        let mut byte = [*byte];
        let result = decoder.next(&mut byte, &LIMITS);
        if index == 6 + 3 {
            assert_eq!(result, Err(Violation::TextNotUtf8));
            return;
        }
        assert_eq!(result, Ok((1, None)));
    }
    panic!("the bad byte was not noticed");
}

#[test]
fn the_size_of_a_message_is_refused_from_its_header() {
    let limits = Limits {
        max_message: 200,
        max_fragments: 9,
    };
    let outcome = |frames: &[Vec<u8>]| decode_with([&frames.concat()[..]], &limits).0.1;
    assert_eq!(outcome(&[client(true, 2, &[0; 200])]), None);
    let header = &client(true, 2, &[0; 201])[..8];
    assert_eq!(outcome(&[header.to_vec()]), Some(Violation::MessageTooBig));
    assert_eq!(outcome(&[header[..7].to_vec()]), None);
    let huge = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    assert_eq!(outcome(&[huge.to_vec()]), Some(Violation::MessageTooBig));
    for kind in [1, 2] {
        let first = client(false, kind, &[b'a'; 150]);
        assert_eq!(
            outcome(&[first.clone(), client(true, 0, &[b'a'; 50])]),
            None
        );
        let last = client(true, 0, &[b'a'; 51]);
        assert_eq!(
            outcome(&[first, last[..6].to_vec()]),
            Some(Violation::MessageTooBig)
        );
    }
    // The beginning of a character counts, though it is not in the text yet.
    let first = client(false, 1, &[&[b'a'; 198][..], b"\xc3"].concat());
    assert_eq!(outcome(&[first.clone(), client(true, 0, b"\xa9")]), None);
    assert_eq!(
        outcome(&[first, client(true, 0, b"\xa9a")]),
        Some(Violation::MessageTooBig)
    );
    // Control frames are not part of the message.
    let none = Limits {
        max_message: 0,
        max_fragments: 1,
    };
    let ((items, violation), _) = decode_with([&client(true, 9, b"p")[..]], &none);
    assert_eq!((items.len(), violation), (1, None));
}

#[test]
fn the_number_of_fragments_is_limited() {
    let fragments = |count: usize, last: &[u8]| -> Vec<Vec<u8>> {
        let opcode = |index| if index == 0 { 2 } else { 0 };
        let mut frames: Vec<_> = (1..count)
            .map(|nth| client(false, opcode(nth - 1), b""))
            .collect();
        frames.push(client(true, opcode(count - 1), last));
        frames
    };
    let whole = [Owned::Binary(b"x".to_vec())];
    accept(&fragments(4, b"x"), &whole);
    refuse(&fragments(5, b"x"), &[], Violation::TooManyFragments);
    let twice = [fragments(4, b"x"), fragments(4, b"x")].concat();
    accept(&twice, &[whole.clone(), whole].concat());
    // An empty frame that ends the message brings nothing and is not counted; one that does not
    // end it is.
    accept(&fragments(5, b""), &[Owned::Binary(Vec::new())]);
    refuse(&fragments(6, b""), &[], Violation::TooManyFragments);
}

#[test]
fn close_frames_carry_nothing_or_a_valid_code_and_a_reason() {
    let close = |payload: &[u8]| [client(true, 8, payload)];
    let coded = |code: u16, reason: &[u8]| close(&[&code.to_be_bytes()[..], reason].concat());
    accept(&close(b""), &[Owned::Close(None)]);
    accept(
        &coded(1000, b""),
        &[Owned::Close(Some((1000, String::new())))],
    );
    accept(
        &coded(4999, "tschüß".as_bytes()),
        &[Owned::Close(Some((4999, "tschüß".to_owned())))],
    );
    let long = "r".repeat(123);
    accept(
        &coded(3000, long.as_bytes()),
        &[Owned::Close(Some((3000, long)))],
    );
    refuse(&close(b"\x03"), &[], Violation::CloseTruncated);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        refuse(&coded(code, b""), &[], Violation::CloseCodeInvalid);
    }
    refuse(&coded(1000, b"\xff"), &[], Violation::CloseReasonNotUtf8);
    refuse(&coded(1000, b"\xc3"), &[], Violation::CloseReasonNotUtf8);
}

#[test]
fn after_a_close_or_a_violation_everything_is_discarded() {
    let close = client(true, 8, b"");
    accept(
        &[close, client(true, 1, b"late"), vec![0xff; 9]],
        &[Owned::Close(None)],
    );
    let mut decoder = Decoder::new();
    assert_eq!(
        decoder.next(&mut [0xff], &LIMITS),
        Err(Violation::ReservedBits)
    );
    let mut late = client(true, 1, b"late");
    assert_eq!(decoder.next(&mut late, &LIMITS), Ok((10, None)));
}

#[test]
fn a_whole_frame_is_a_slice_of_the_input_and_takes_no_memory() {
    let mut input = client(true, 1, b"in place");
    let start = input.as_ptr();
    let mut decoder = Decoder::new();
    let (consumed, item) = decoder.next(&mut input, &LIMITS).unwrap();
    assert_eq!(consumed, 14);
    let Some(Item::Text(text)) = item else {
        panic!("{item:?}")
    };
    assert_eq!(text, "in place");
    assert!(std::ptr::eq(text.as_ptr(), start.wrapping_add(6)));
    assert!(decoder.is_idle());
}

#[test]
fn an_idle_decoder_owns_nothing_after_messages_in_pieces() {
    let stream = [
        client(false, 1, b"ab"),
        client(true, 9, b"p"),
        client(true, 0, b"c"),
    ]
    .concat();
    let (_, decoder) = decode_with(stream.chunks(1), &LIMITS);
    assert!(decoder.is_idle());
    let (_, decoder) = decode_with([&stream[..7]], &LIMITS);
    assert!(!decoder.is_idle());
}

#[test]
fn frames_are_written_as_in_the_rfc() {
    let written = |opcode, payload: &[u8]| {
        let mut out = Vec::new();
        frame(&mut out, opcode, payload);
        out
    };
    // RFC 6455 §5.7.
    assert_eq!(
        written(Opcode::Text, b"Hello"),
        [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
    );
    assert_eq!(written(Opcode::Ping, b"Hello")[..2], [0x89, 0x05]);
    assert_eq!(
        written(Opcode::Binary, &[0; 256])[..4],
        [0x82, 0x7e, 0x01, 0x00]
    );
    assert_eq!(
        written(Opcode::Binary, &[0; 65_536])[..10],
        [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(written(Opcode::Binary, &[0; 125])[..2], [0x82, 125]);
    assert_eq!(written(Opcode::Binary, &[0; 126])[..4], [0x82, 126, 0, 126]);
    assert_eq!(
        written(Opcode::Binary, &[0; 65_535])[..4],
        [0x82, 126, 0xff, 0xff]
    );
    assert_eq!(written(Opcode::Pong, &[7; 200]).len(), 2 + 125);
}

#[test]
fn close_frames_are_written_whole_and_short_enough() {
    let written = |code, reason: &str| {
        let mut out = Vec::new();
        close_frame(&mut out, code, reason);
        out
    };
    assert_eq!(written(None, "unsent"), [0x88, 0]);
    assert_eq!(written(Some(1000), "ok"), [0x88, 4, 0x03, 0xe8, b'o', b'k']);
    assert_eq!(written(Some(1000), &"a".repeat(123)).len(), 127);
    assert_eq!(written(Some(1000), &"a".repeat(124)).len(), 127);
    // 122 + 2 bytes would be one too many.
    let cut = written(Some(1000), &format!("{}é", "a".repeat(122)));
    assert_eq!((cut[1], cut.len()), (124, 126));
}

fn frame_strategy() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        "\\PC{0,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(Just(b'x'), 120..140),
    ];
    let opcode =
        prop_oneof![4 => Just(1_u8), 4 => Just(0), 2 => Just(2), 1 => 8_u8..11, 1 => 0_u8..16];
    (prop::bool::weighted(0.6), opcode, payload)
        .prop_map(|(fin, opcode, payload)| client(fin || opcode >= 8, opcode, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_pieces_in_which_frames_come_change_nothing(
        frames in prop::collection::vec(frame_strategy(), 0..8),
        size in 1_usize..40,
    ) {
        let stream = frames.concat();
        let expected = decode([&stream[..]]);
        prop_assert_eq!(&decode(stream.chunks(1)), &expected);
        prop_assert_eq!(&decode(stream.chunks(size)), &expected);
    }

    #[test]
    fn noise_never_panics_and_means_the_same_in_pieces(
        stream in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        prop_assert_eq!(decode([&stream[..]]), decode(stream.chunks(1)));
    }
}
