//! Compressed messages through the decoder, and the compressor against a strict inflater.

use proptest::prelude::*;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::inflate::BLOCK;
use super::*;
use crate::websocket::tests::{Outcome, Owned, client, text};
use crate::websocket::{Decoder, Limits, Opcode, Violation, frame_compressed};

const LIMITS: Limits = Limits {
    max_message: 1 << 20,
    max_fragments: 8,
};
/// The first frame of a compressed text message, of a binary one, and one that continues either.
const TEXT: u8 = 0x41;
const BINARY: u8 = 0x42;
const MORE: u8 = 0;

/// RFC 7692 §7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// `payload` as a client compresses it: whatever its size becomes.
fn deflate(payload: &[u8], level: i32, bits: u8) -> Vec<u8> {
    let mut out = flushed(payload, level, bits, DeflateFlush::SyncFlush);
    out.truncate(out.len() - TAIL.len());
    out
}

fn flushed(payload: &[u8], level: i32, bits: u8, flush: DeflateFlush) -> Vec<u8> {
    let mut stream = Deflate::new(level, false, bits);
    let mut out = vec![0; 64 + 2 * payload.len()];
    stream.compress(payload, &mut out, flush).unwrap();
    assert_eq!(stream.total_in(), payload.len() as u64);
    out.truncate(usize::try_from(stream.total_out()).unwrap());
    out
}

/// So many zeros, compressed, with an end after which the same may stand again.
pub(super) fn zeros(count: usize) -> Vec<u8> {
    flushed(&vec![0; count], 9, 15, DeflateFlush::FullFlush)
}

fn decode_with<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: &Limits,
    pool: &mut InflatePool,
) -> (Outcome, Decoder) {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let (consumed, item) = match decoder.next_inflating(rest, limits, pool) {
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

fn pool() -> InflatePool {
    InflatePool::new(DEFAULT_MAX_RATIO, 1)
}

fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    decode_with(pieces, &LIMITS, &mut pool()).0
}

/// Checks a stream as a whole, byte by byte, and cut in two at every place.
fn check(frames: &[Vec<u8>], items: &[Owned], violation: Option<Violation>) {
    let stream = frames.concat();
    let expected = (items.to_vec(), violation);
    assert_eq!(decode([&stream[..]]), expected);
    assert_eq!(decode(stream.chunks(1)), expected, "byte by byte");
    if stream.len() < 1000 {
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(decode([first, second]), expected, "cut at {cut}");
        }
    }
}

fn accept(frames: &[Vec<u8>], items: &[Owned]) {
    check(frames, items, None);
}

fn refuse(frames: &[Vec<u8>], violation: Violation) {
    check(frames, &[], Some(violation));
}

/// A message of JSON, like many but not the same.
fn json(length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut number = 1_u32;
    while out.len() < length {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend(format!("{{\"id\":{number},\"name\":\"ada\",\"ok\":true}},").bytes());
    }
    out.truncate(length);
    out
}

/// Bytes that no compressor makes shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_examples_of_the_rfc_are_inflated() {
    let hello = [text("Hello")];
    // §7.2.3.1: one block, whole and in two fragments.
    accept(&[client(true, TEXT, &HELLO)], &hello);
    let (first, second) = HELLO.split_at(3);
    accept(
        &[client(false, TEXT, first), client(true, MORE, second)],
        &hello,
    );
    // §7.2.3.3: a stored block.
    let stored = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"Hello", &[0x00]].concat();
    accept(&[client(true, TEXT, &stored)], &hello);
    // §7.2.3.4: a final block, and the byte that ends the message.
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    accept(&[client(true, TEXT, &last)], &hello);
    // §7.2.3.5: two blocks.
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    accept(&[client(true, TEXT, &two)], &hello);
    // §7.2.3.6: nothing.
    accept(&[client(true, TEXT, &[0x00])], &[text("")]);
}

#[test]
fn a_message_that_needs_the_one_before_it_is_refused() {
    // RFC 7692 §7.2.3.2: the second "Hello" of a client that keeps its context.
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    check(
        &[client(true, TEXT, &HELLO), client(true, TEXT, &second)],
        &[text("Hello")],
        Some(Violation::DeflateInvalid),
    );
}

#[test]
fn empty_messages_and_empty_fragments_are_inflated() {
    for payload in [
        &[][..],
        &[0x00],
        &[0x02, 0x00],
        &[0x03, 0x00],
        &[0x03, 0x00, 0x00],
    ] {
        accept(
            &[client(true, BINARY, payload)],
            &[Owned::Binary(Vec::new())],
        );
    }
    accept(
        &[
            client(false, TEXT, b""),
            client(false, MORE, &HELLO),
            client(true, MORE, b""),
        ],
        &[text("Hello")],
    );
    accept(
        &[client(false, TEXT, b""), client(true, MORE, b"")],
        &[text("")],
    );
}

#[test]
fn final_blocks_may_stand_anywhere_in_a_message() {
    let last = flushed(b"Hello", 1, 15, DeflateFlush::Finish);
    // Without the byte that ends a message after a final block, as some senders have it.
    accept(&[client(true, TEXT, &last)], &[text("Hello")]);
    let both = [&last[..], &HELLO].concat();
    accept(&[client(true, TEXT, &both)], &[text("HelloHello")]);
    let three = [&last[..], &last, &last, &[0]].concat();
    accept(&[client(true, TEXT, &three)], &[text("HelloHelloHello")]);
}

#[test]
fn control_frames_stand_between_compressed_fragments_and_plain_messages_between_compressed_ones() {
    let (first, second) = HELLO.split_at(4);
    accept(
        &[
            client(false, TEXT, first),
            client(true, 9, b"ping"),
            client(true, MORE, second),
            client(true, 1, b"plain"),
            client(true, BINARY, &HELLO),
            client(false, 2, b"pl"),
            client(true, 10, b""),
            client(true, MORE, b"ain"),
        ],
        &[
            Owned::Ping(b"ping".to_vec()),
            text("Hello"),
            text("plain"),
            Owned::Binary(b"Hello".to_vec()),
            Owned::Pong(Vec::new()),
            Owned::Binary(b"plain".to_vec()),
        ],
    );
}

#[test]
fn rsv1_means_compression_on_the_first_frame_of_a_message_only() {
    for first in [0xc8, 0xc9, 0xca, 0xc0, 0x40] {
        refuse(&[vec![first]], Violation::ReservedBits);
    }
    for first in [0x91, 0xa1, 0xd1, 0xe1, 0xf1, 0xb2] {
        refuse(&[vec![first]], Violation::ReservedBits);
    }
    for kind in [TEXT, 1] {
        refuse(
            &[client(false, kind, b""), client(true, 0x40, &HELLO)],
            Violation::ReservedBits,
        );
    }
    refuse(
        &[client(false, TEXT, &HELLO), client(true, TEXT, &HELLO)],
        Violation::MessageInterrupted,
    );
    let mut decoder = Decoder::new();
    let mut frame = client(true, TEXT, &HELLO);
    let result = decoder.next(&mut frame, &LIMITS);
    assert_eq!(result, Err(Violation::ReservedBits));
}

#[test]
fn malformed_and_cut_off_data_is_refused_with_1007() {
    assert_eq!(Violation::DeflateInvalid.close_code(), 1007);
    for payload in [&[0x06][..], &[0xff], b"garbage", &[0x00, 0x05, 0x00, 0xfa]] {
        refuse(&[client(true, BINARY, payload)], Violation::DeflateInvalid);
    }
    for (payload, level) in [
        (json(300), 1),
        (json(300), 6),
        (noise(100), 1),
        (vec![7; 400], 9),
    ] {
        let whole = deflate(&payload, level, 15);
        for length in 1..whole.len() {
            let cut = client(true, BINARY, &whole[..length]);
            let expected = (Vec::new(), Some(Violation::DeflateInvalid));
            assert_eq!(
                decode([&cut[..]]),
                expected,
                "{length} bytes of level {level}"
            );
        }
    }
}

#[test]
fn inflated_text_is_checked_as_it_grows() {
    let text = |payload: &[u8]| client(true, TEXT, &deflate(payload, 1, 15));
    accept(
        &[text("κόσμε🎉".as_bytes())],
        &[super::super::tests::text("κόσμε🎉")],
    );
    refuse(&[text(b"a\xff")], Violation::TextNotUtf8);
    refuse(&[text(b"a\xc3")], Violation::TextNotUtf8);
    // The message does not end, and more than is held back has come.
    let bad = deflate(&[&b"\xff"[..], &noise(8000)].concat(), 1, 15);
    refuse(&[client(false, TEXT, &bad)], Violation::TextNotUtf8);
}

#[test]
fn a_message_may_inflate_to_its_limit_and_no_further() {
    let limits = Limits {
        max_message: 10_000,
        max_fragments: 8,
    };
    for (kind, payload) in [
        (TEXT, json(10_001)),
        (BINARY, noise(10_001)),
        (TEXT, vec![b'a'; 10_001]),
    ] {
        for (length, violation) in [(10_000, None), (10_001, Some(Violation::MessageTooBig))] {
            let stream = client(true, kind, &deflate(&payload[..length], 1, 15));
            for size in [1, 100, usize::MAX] {
                let outcome = decode_with(stream.chunks(size), &limits, &mut pool()).0;
                assert_eq!(outcome.1, violation, "{length} bytes in pieces of {size}");
                assert_eq!(outcome.0.len(), usize::from(violation.is_none()));
            }
        }
    }
}

#[test]
fn compressed_bytes_are_limited_from_the_header() {
    let limits = Limits {
        max_message: 1000,
        max_fragments: 2,
    };
    let header = |length: usize| client(true, BINARY, &vec![0; length])[..8].to_vec();
    let outcome = |stream: &[u8]| decode_with([stream], &limits, &mut pool()).0.1;
    assert_eq!(outcome(&header(1314)), None);
    assert_eq!(outcome(&header(1315)), Some(Violation::MessageTooBig));
    let first = client(false, BINARY, &deflate(&noise(500), 1, 15));
    let more = [&first[..], &client(true, MORE, &[0; 1000])[..8]].concat();
    assert_eq!(outcome(&more), Some(Violation::MessageTooBig));
}

#[test]
fn beyond_what_is_free_each_compressed_byte_pays_for_ten() {
    assert_eq!(Violation::InflatedTooFar.close_code(), 1009);
    let max = RATIO_FREE + DEFAULT_MAX_RATIO * BLOCK;
    for (length, violation) in [(max, None), (max + 1, Some(Violation::InflatedTooFar))] {
        let stream = client(true, BINARY, &deflate(&vec![0; length], 9, 15));
        assert!(stream.len() < BLOCK);
        for size in [1, 50, usize::MAX] {
            let outcome = decode_with(stream.chunks(size), &LIMITS, &mut pool()).0;
            assert_eq!(outcome.1, violation, "{length} bytes in pieces of {size}");
        }
        let mut unlimited = InflatePool::new(usize::MAX, 1);
        assert_eq!(
            decode_with([&stream[..]], &LIMITS, &mut unlimited).0.1,
            None
        );
    }
}

#[test]
fn bytes_that_come_later_pay_for_those_before() {
    // 200 KB of zeros are too much for their few bytes, and not for what noise paid before them.
    let dense = flushed(&noise(20_000), 1, 15, DeflateFlush::FullFlush);
    let zeros = deflate(&vec![0; 200_000], 9, 15);
    let after = [&dense[..], &zeros].concat();
    assert_eq!(decode([&client(true, BINARY, &after)[..]]).1, None);
    let alone = client(true, BINARY, &zeros);
    assert_eq!(decode([&alone[..]]).1, Some(Violation::InflatedTooFar));
}

#[test]
fn inflaters_are_lent_for_the_time_of_a_message() {
    let mut pool = InflatePool::new(DEFAULT_MAX_RATIO, 2);
    let small = client(true, TEXT, &HELLO);
    let (_, decoder) = decode_with(small.chunks(1), &LIMITS, &mut pool);
    assert!(decoder.is_idle());
    assert_eq!(pool.idle(), 1);
    let large = client(true, BINARY, &deflate(&noise(9000), 1, 15));
    let (begun, rest) = large.split_at(large.len() - 10);
    let mut decoders: Vec<_> = (0..4)
        .map(|_| decode_with([begun], &LIMITS, &mut pool).1)
        .collect();
    assert_eq!(pool.idle(), 0);
    for decoder in &mut decoders {
        assert!(!decoder.is_idle());
        // The key goes on where the pieces were cut, so the decoder must see the bytes in order.
        let mut rest = rest.to_vec();
        let result = decoder.next_inflating(&mut rest, &LIMITS, &mut pool);
        assert!(matches!(result, Ok((10, Some(_)))));
    }
    assert_eq!(pool.idle(), 2, "no more are kept");
    decode_with([&client(true, TEXT, &[0xff])[..]], &LIMITS, &mut pool);
    assert_eq!(pool.idle(), 1, "one that met garbage is not used again");
}

#[test]
fn a_few_bytes_do_not_buy_an_inflater() {
    let mut pool = pool();
    decode_with([&client(true, TEXT, &HELLO)[..]], &LIMITS, &mut pool);
    let large = client(true, BINARY, &deflate(&noise(9000), 1, 15));
    decode_with([&large[..4000]], &LIMITS, &mut pool);
    assert_eq!(pool.idle(), 1);
    decode_with([&large[..4200]], &LIMITS, &mut pool);
    assert_eq!(pool.idle(), 0);
}

/// Inflates as a client does that agreed to so many bits and would notice more.
fn inflate_strictly(compressed: &[u8], bits: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length + 1];
    let mut stream = Inflate::new(false, bits);
    let input = [compressed, &TAIL].concat();
    let status = stream.decompress(&input, &mut out, InflateFlush::SyncFlush);
    assert_eq!(status, Ok(Status::Ok));
    assert_eq!(stream.total_in(), input.len() as u64);
    out.truncate(usize::try_from(stream.total_out()).unwrap());
    out
}

#[test]
fn what_is_compressed_stays_in_its_window_and_is_the_same_each_time() {
    let payloads = [json(200), json(5000), json(100_000), vec![b'a'; 70_000]];
    for level in [1, 6, 9] {
        let mut compressor = Compressor::new(level, 0);
        for window in Window::ALL {
            for payload in &payloads {
                let mut out = b"before".to_vec();
                assert!(compressor.compress(payload, window, &mut out));
                let compressed = out.strip_prefix(b"before").unwrap();
                assert!(compressed.len() < payload.len());
                let inflated = inflate_strictly(compressed, window.bits(), payload.len());
                assert!(inflated == *payload, "level {level}, {window:?}");
                let mut again = b"before".to_vec();
                assert!(compressor.compress(payload, window, &mut again));
                assert_eq!(again, out);
            }
        }
    }
}

#[test]
fn what_is_short_or_does_not_become_shorter_stays_as_it_is() {
    let mut compressor = Compressor::new(1, 100);
    let mut out = b"before".to_vec();
    let window = Window::Bits15;
    assert!(!compressor.compress(&[b'a'; 99], window, &mut out));
    assert!(!compressor.compress(&noise(100), window, &mut out));
    assert!(!compressor.compress(&noise(100_000), window, &mut out));
    assert_eq!(out, b"before");
    assert!(compressor.compress(&[b'a'; 100], window, &mut out));
    let mut eager = Compressor::new(1, 0);
    assert!(!eager.compress(b"", window, &mut out));
    for length in 1..40 {
        // Whether so few equal bytes become shorter is the compressor's secret; that it is true is
        // not.
        let mut out = Vec::new();
        let payload = vec![b'a'; length];
        let shorter = deflate(&payload, 1, 15).len() < length;
        assert_eq!(
            eager.compress(&payload, window, &mut out),
            shorter,
            "{length}"
        );
    }
}

#[test]
fn compressed_frames_carry_rsv1() {
    let mut out = Vec::new();
    frame_compressed(&mut out, Opcode::Text, &HELLO);
    // RFC 7692 §7.2.3.1.
    assert_eq!(out, [&[0xc1, 0x07][..], &HELLO].concat());
    out.clear();
    frame_compressed(&mut out, Opcode::Binary, &[0; 300]);
    assert_eq!(out[..4], [0xc2, 126, 0x01, 0x2c]);
}

fn payload_strategy() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0_usize..12_000).prop_map(json),
        (0_usize..12_000).prop_map(noise),
        ("\\PC{0,20}", 0_usize..200).prop_map(|(text, count)| text.repeat(count).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0_usize..70_000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

/// A message in fragments of `size` bytes and more, with pings between them.
fn fragments(kind: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let count = payload.len().div_ceil(size).clamp(1, LIMITS.max_fragments);
    let size = payload.len().div_ceil(count).max(1);
    let mut stream = Vec::new();
    let mut pieces: Vec<_> = payload.chunks(size).collect();
    let last = pieces.pop().unwrap_or_default();
    let mut kind = kind;
    for piece in pieces {
        stream.extend(client(false, kind, piece));
        stream.extend(client(true, 9, b""));
        kind = MORE;
    }
    stream.extend(client(true, kind, last));
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_message_survives_compression_fragments_and_pieces(
        payload in payload_strategy(),
        level in 0_i32..10,
        bits in 9_u8..16,
        fragment in 1_usize..5000,
        piece in 1_usize..3000,
    ) {
        let stream = fragments(BINARY, &deflate(&payload, level, bits), fragment);
        let mut pool = InflatePool::new(usize::MAX, 1);
        let ((mut items, violation), _) = decode_with(stream.chunks(piece), &LIMITS, &mut pool);
        items.retain(|item| !matches!(item, Owned::Ping(_)));
        prop_assert_eq!(violation, None);
        prop_assert!(items == [Owned::Binary(payload)]);
        prop_assert_eq!(pool.idle(), 1);
    }

    #[test]
    fn the_pieces_in_which_damaged_messages_come_change_nothing(
        payload in payload_strategy(),
        level in 1_i32..10,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        fragment in 1_usize..5000,
        piece in 1_usize..3000,
        kind in prop::sample::select(vec![TEXT, BINARY]),
        max_message in prop::sample::select(vec![100, 5000, 70_000, 1 << 20]),
        max_ratio in prop::sample::select(vec![0, 1, 10]),
    ) {
        let mut compressed = deflate(&payload, level, 15);
        for (index, byte) in damage {
            *index.get_mut(&mut compressed) = byte;
        }
        let stream = fragments(kind, &compressed, fragment);
        let limits = Limits { max_message, ..LIMITS };
        let mut pool = InflatePool::new(max_ratio, 1);
        let whole = decode_with([&stream[..]], &limits, &mut pool).0;
        prop_assert!(decode_with(stream.chunks(1), &limits, &mut pool).0 == whole);
        prop_assert!(decode_with(stream.chunks(piece), &limits, &mut pool).0 == whole);
    }

    #[test]
    fn noise_never_panics_and_means_the_same_in_pieces(
        frames in prop::collection::vec(
            (any::<bool>(), prop::sample::select(vec![TEXT, BINARY, MORE, 9]),
                prop::collection::vec(any::<u8>(), 0..40)),
            0..5,
        ),
    ) {
        let stream: Vec<u8> = frames
            .iter()
            .flat_map(|(fin, kind, payload)| client(*fin || *kind == 9, *kind, payload))
            .collect();
        prop_assert_eq!(decode([&stream[..]]), decode(stream.chunks(1)));
    }
}
