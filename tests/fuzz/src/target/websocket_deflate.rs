//! permessage-deflate: limits hold whatever comes, a naive inflater agrees on every verdict, and
//! what the compressor makes is read by both and stays in its window.
//!
//! Input: form (bit 0: what follows is compressed first; bit 1: it is text), limits, ratio, cut,
//! fragments; with bit 0 also a level, a window and how often what follows is repeated.

use arbitrary::Unstructured;
use roomwire_protocols::websocket::deflate::{
    Compressor, DEFAULT_MAX_RATIO, InflatePool, RATIO_FREE, Window,
};
use roomwire_protocols::websocket::{Decoder, Limits, Opcode, Violation, frame_compressed};

use super::inflate::{self, End};
use super::websocket_frames::{Outcome, Owned, masked};
use super::{byte, pieces};

/// Compressed bytes are counted in such steps against the ratio.
const BLOCK: usize = 1024;

/// How a message comes, and what it may be.
#[derive(Clone, Copy)]
struct Setting {
    text: bool,
    max_message: usize,
    max_ratio: usize,
    cut: u8,
    fragments: usize,
}

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let form = byte(&mut input);
    const MAX_MESSAGES: [usize; 6] = [0, 1, 100, 5000, 65_536, 100_000];
    const MAX_RATIOS: [usize; 4] = [1, DEFAULT_MAX_RATIO, 100, usize::MAX];
    let setting = Setting {
        text: form & 2 != 0,
        max_message: MAX_MESSAGES[usize::from(byte(&mut input) % 6)],
        max_ratio: MAX_RATIOS[usize::from(byte(&mut input) % 4)],
        cut: byte(&mut input),
        fragments: 1 + usize::from(byte(&mut input) % 8),
    };
    if form & 1 == 0 {
        judge(input.take_rest(), &setting);
    } else {
        what_is_compressed_is_read(input, &setting);
    }
}

fn what_is_compressed_is_read(mut input: Unstructured<'_>, setting: &Setting) {
    let mut compressor = Compressor::new(1 + byte(&mut input) % 9, 0);
    let window = Window::ALL[usize::from(byte(&mut input)) % Window::ALL.len()];
    const TIMES: [usize; 8] = [1, 1, 1, 2, 4, 16, 64, 256];
    let times = TIMES[usize::from(byte(&mut input) % 8)];
    let mut payload = input.take_rest().repeat(times);
    // Several windows, but not so many that the compressor does nothing but move on.
    payload.truncate((8 << window.bits()).min(50_000));
    if setting.text {
        payload = String::from_utf8_lossy(&payload).into_owned().into_bytes();
    }
    let mut first = b"before".to_vec();
    let done = compressor.compress(&payload, window, &mut first);
    let compressed = first.strip_prefix(b"before").expect("it is appended to");
    // Nothing is remembered, neither this message nor the next.
    let other: Vec<u8> = payload.iter().rev().copied().collect();
    let mut again = Vec::new();
    if compressor.compress(&other, window, &mut again) {
        again.clear();
    }
    assert_eq!(compressor.compress(&payload, window, &mut again), done);
    assert_eq!(again, compressed);
    if !done {
        return assert!(compressed.is_empty(), "what is not shorter is not used");
    }
    assert!(compressed.len() < payload.len());
    let naive = inflate::message(compressed, payload.len());
    assert_eq!(naive.end, End::Whole);
    assert!(naive.out == payload);
    assert!(naive.reach <= 1 << window.bits(), "{} back", naive.reach);
    let mut framed = Vec::new();
    frame_compressed(&mut framed, Opcode::Text, compressed);
    assert_eq!(framed.first(), Some(&0xc1));
    assert!(framed.ends_with(compressed));

    let generous = Setting {
        max_message: payload.len(),
        max_ratio: usize::MAX,
        ..*setting
    };
    assert_eq!(decode(compressed, &generous, setting.cut).1, None);
    judge(compressed, setting);
}

/// Decodes a message twice over, from one decoder and one pool.
fn decode(compressed: &[u8], setting: &Setting, cut: u8) -> Outcome {
    let opcode = if setting.text { 1 } else { 2 };
    let size = compressed.len().div_ceil(setting.fragments).max(1);
    let mut fragments: Vec<&[u8]> = compressed.chunks(size).collect();
    if fragments.is_empty() || setting.cut == 7 {
        fragments.push(b"");
    }
    let mut stream = Vec::new();
    for _ in 0..2 {
        for (index, fragment) in fragments.iter().enumerate() {
            let first = if index == 0 { 0x40 | opcode } else { 0 };
            let fin = if index + 1 == fragments.len() {
                0x80
            } else {
                0
            };
            masked(&mut stream, first | fin, fragment);
        }
    }
    let limits = Limits {
        max_message: setting.max_message,
        max_fragments: setting.fragments + 1,
    };
    let mut pool = InflatePool::new(setting.max_ratio, 1);
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in pieces(&mut stream, cut) {
        let mut rest = piece;
        loop {
            let (consumed, item) = match decoder.next_inflating(rest, &limits, &mut pool) {
                Ok((consumed, item)) => (consumed, item.map(Owned::from)),
                Err(violation) => {
                    assert!(decoder.is_idle(), "a violation gives all memory back");
                    return (items, Some(violation));
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
    assert!(pool.idle() <= 1, "{} inflaters are kept", pool.idle());
    (items, None)
}

/// Has a message inflated by both, and compares.
fn judge(compressed: &[u8], setting: &Setting) {
    let outcome = decode(compressed, setting, 0);
    for cut in [1, setting.cut] {
        assert_eq!(outcome, decode(compressed, setting, cut), "cut by {cut}");
    }
    let max = setting.max_message;
    let naive = inflate::message(compressed, max);
    let free = RATIO_FREE.saturating_add(setting.max_ratio.saturating_mul(BLOCK));
    let paid = compressed.len().div_ceil(BLOCK).saturating_mul(BLOCK);
    let allowed = RATIO_FREE.saturating_add(setting.max_ratio.saturating_mul(paid));
    let utf8 = std::str::from_utf8(&naive.out);
    match outcome.1 {
        None => {
            assert_eq!(naive.end, End::Whole);
            assert!(
                naive.out.len() <= max.min(allowed),
                "{} bytes",
                naive.out.len()
            );
            let content = match setting.text {
                true => Owned::Text(utf8.expect("text is UTF-8").to_owned()),
                false => Owned::Binary(naive.out),
            };
            assert_eq!(outcome.0, [content.clone(), content]);
            return;
        }
        Some(Violation::DeflateInvalid) => assert_eq!(naive.end, End::Invalid),
        Some(Violation::InflatedTooFar) => assert!(naive.out.len() > free && free < max),
        // An encoder may need a quarter more than it was given, and not more.
        Some(Violation::MessageTooBig) => {
            assert!(naive.out.len() > max || compressed.len() > max + max / 4 + 64);
        }
        Some(Violation::TextNotUtf8) => assert!(setting.text && utf8.is_err()),
        Some(other) => panic!("{other:?}"),
    }
    assert!(outcome.0.is_empty(), "the second is as the first");
}

/// The examples of RFC 7692 §7.2.3, bombs, text that is none, and something to compress.
pub fn seeds() -> Vec<Vec<u8>> {
    let raw = |form: u8, max: u8, bytes: &[u8]| [&[form, max, 1, 3, 1], bytes].concat();
    let made = |form: u8, window: u8, times: u8, bytes: &[u8]| {
        [&[form, 5, 1, 5, 2, 0, window, times], bytes].concat()
    };
    let json = br#"{"type":"publish","room":"lobby","data":{"text":"hello, hello"}}"#;
    let mut bomb = Vec::new();
    assert!(Compressor::new(9, 0).compress(&vec![0; 150_000], Window::Bits15, &mut bomb));
    vec![
        raw(2, 4, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        raw(2, 2, b"\x00\x05\x00\xfa\xffHello\x00"),
        raw(2, 2, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
        raw(2, 2, b"\xf3\x48\xcd\xc9\xc9\x07\x00"),
        raw(
            0,
            2,
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ),
        raw(2, 0, b"\x00"),
        raw(2, 0, b""),
        raw(0, 3, b"\x07"),
        raw(0, 5, &bomb),
        raw(0, 3, &bomb),
        raw(0, 5, &bomb.repeat(3)),
        made(1, 0, 0, json),
        made(1, 2, 6, json),
        made(3, 1, 7, "grüße, 世界 🎉 ".as_bytes()),
        made(1, 0, 7, &(0..=255).collect::<Vec<u8>>()),
    ]
}
