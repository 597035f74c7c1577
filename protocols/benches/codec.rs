//! What the codecs cost per frame and per command: the part of a turn that is ours.
//!
//! `cargo bench -p roomwire-protocols`. Each case does what a session does with one message.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use roomwire_protocols::websocket::deflate::{Compressor, DEFAULT_MAX_RATIO, InflatePool, Window};
use roomwire_protocols::websocket::{self, Decoder, Item, Limits, Opcode};
use roomwire_protocols::{command, event, json};

fn main() {
    divan::main();
}

const LIMITS: Limits = Limits {
    max_message: 65_536,
    max_fragments: 1024,
};
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// `count` masked text frames of `size` bytes, one after the other.
fn client_frames(size: usize, count: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    websocket::header(&mut frame, Opcode::Text, size);
    frame[1] |= 0x80;
    frame.extend(KEY);
    frame.extend(KEY.iter().cycle().take(size).map(|key| b'a' ^ key));
    frame.repeat(count)
}

fn publish(size: usize) -> Vec<u8> {
    let data = "x".repeat(size);
    format!(r#"{{"type":"publish","id":17,"room":"news.sport","data":"{data}"}}"#).into_bytes()
}

#[divan::bench(args = [20, 64, 512, 16_384])]
fn decode_frames(bencher: Bencher<'_, '_>, size: usize) {
    const COUNT: usize = 32;
    let frames = client_frames(size, COUNT);
    bencher
        .counter(BytesCount::new(frames.len()))
        .with_inputs(|| frames.clone())
        .bench_local_refs(|input| {
            let mut decoder = Decoder::new();
            let mut rest = &mut input[..];
            let mut items = 0;
            while let Ok((consumed, Some(item))) = decoder.next(rest, &LIMITS) {
                assert!(matches!(black_box(item), Item::Text(_)));
                rest = &mut rest[consumed..];
                items += 1;
            }
            assert_eq!(items, COUNT);
        });
}

#[divan::bench(args = [20, 64, 512, 16_384])]
fn parse_publish(bencher: Bencher<'_, '_>, size: usize) {
    let input = publish(size);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| command::parse(black_box(&input)).map(black_box).is_ok());
}

#[divan::bench(args = [20, 512, 16_384])]
fn check_json(bencher: Bencher<'_, '_>, size: usize) {
    let input = publish(size);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| json::check(black_box(&input)).is_ok());
}

#[divan::bench(args = [20, 512])]
fn serde_json_for_comparison(bencher: Bencher<'_, '_>, size: usize) {
    let input = publish(size);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| {
            serde_json::from_slice::<serde_json::Value>(black_box(&input))
                .map(black_box)
                .is_ok()
        });
}

#[divan::bench(args = [20, 512])]
fn encode_message(bencher: Bencher<'_, '_>, size: usize) {
    let data = format!("\"{}\"", "x".repeat(size));
    let mut out = Vec::with_capacity(1024);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        let view = event::MessageView {
            room: black_box("news.sport"),
            offset: black_box(123_456),
            from: black_box("ada"),
            time_ms: black_box(1_700_000_000_000),
            data: data.as_bytes(),
        };
        event::message(&mut out, &view);
        black_box(out.len())
    });
}

/// A message of JSON of at least `size` bytes, as rooms carry it: names that recur, values that do
/// not.
fn json_message(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut number = 1_u32;
    while out.len() < size {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, price) = (number >> 8, number % 10_000);
        out.extend(format!(r#"{{"id":{id},"price":{price},"side":"buy"}},"#).bytes());
    }
    out.truncate(size);
    out
}

#[divan::bench(args = [128, 512, 2048, 16_384])]
fn compress_message(bencher: Bencher<'_, '_>, size: usize) {
    let message = json_message(size);
    let mut compressor = Compressor::default();
    let mut out = Vec::with_capacity(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        assert!(compressor.compress(black_box(&message), Window::Bits15, &mut out));
        black_box(out.len())
    });
}

#[divan::bench(args = [128, 512, 2048, 16_384])]
fn inflate_message(bencher: Bencher<'_, '_>, size: usize) {
    let mut payload = Vec::new();
    let message = json_message(size);
    assert!(Compressor::default().compress(&message, Window::Bits15, &mut payload));
    let mut frame = Vec::new();
    websocket::frame_compressed(&mut frame, Opcode::Text, &payload);
    // A mask of zeros changes nothing but the header.
    let header = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(header..header, [0; 4]);
    let mut pool = InflatePool::new(DEFAULT_MAX_RATIO, 1);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| frame.clone())
        .bench_local_refs(|input| {
            let mut decoder = Decoder::new();
            let item = decoder.next_inflating(input, &LIMITS, &mut pool);
            assert!(matches!(black_box(item), Ok((_, Some(Item::Text(_))))));
        });
}
