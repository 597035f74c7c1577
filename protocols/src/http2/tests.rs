//! Tables of what is refused, whole and cut at every byte, and of what is not.

use super::*;

const LIMITS: Limits = Limits {
    pings: 3,
    settings: 2,
    resets: 3,
    priorities: 2,
    window_updates: 2,
    empty: 1,
    continuations: 2,
};

const PREFACE_TEXT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn ping() -> Vec<u8> {
    frame(frame::PING, 0, 0, &[0; 8])
}

fn get(stream: u32) -> Vec<u8> {
    frame(frame::HEADERS, 5, stream, &[0x82, 0x84, 0x86])
}

fn reset(stream: u32) -> Vec<u8> {
    frame(frame::RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

fn new() -> Inspector {
    let mut inspector = Inspector::new(LIMITS);
    assert_eq!(inspector.inspect(PREFACE_TEXT, 0, 0), Ok(()));
    inspector
}

/// The frames before which all is well, and what is wrong with the last one, however they are cut.
fn check(frames: &[Vec<u8>], expected: Violation) {
    let bytes = frames.concat();
    let last = frames.last().unwrap().len();
    let passed = bytes.len() - last;
    let refused = Refused {
        passed,
        violation: expected,
    };
    assert_eq!(new().inspect(&bytes, 0, 0), Err(refused));
    for cut in 1..bytes.len() {
        let mut inspector = new();
        let found = inspector.inspect(&bytes[..cut], 0, 0);
        let found = found.and_then(|()| inspector.inspect(&bytes[cut..], 0, 0));
        assert_eq!(found.unwrap_err().violation, expected, "cut at {cut}");
    }
    let mut inspector = new();
    let found = bytes
        .iter()
        .find_map(|byte| inspector.inspect(&[*byte], 0, 0).err());
    assert_eq!(found.unwrap().violation, expected, "byte by byte");
}

#[test]
fn one_frame_more_than_the_limit_is_refused_whatever_comes_between() {
    let with_a_body = || frame(frame::DATA, 0, 1, &[6; 100]);
    let pings = [ping(), with_a_body(), ping(), ping(), ping()];
    check(&pings, Violation::Pings);
    let settings = || frame(frame::SETTINGS, 0, 0, &[]);
    check(&[settings(), settings(), settings()], Violation::Settings);
    let resets = [get(1), reset(1), get(3), reset(3), reset(5), reset(7)];
    check(&resets, Violation::Resets);
    let priority = |kind| frame(kind, 0, 1, &[0; 5]);
    check(
        &[priority(2), priority(0x10), priority(0xfe)],
        Violation::Priorities,
    );
    let update = || frame(frame::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    check(&[update(), update(), update()], Violation::WindowUpdates);
}

#[test]
fn an_empty_frame_counts_unless_it_ends_something() {
    let on = |stream, kind, flags| frame(kind, flags, stream, &[]);
    let empty = |kind, flags| on(1, kind, flags);
    check(
        &[
            empty(frame::DATA, 0),
            empty(frame::DATA, frame::END_STREAM),
            on(3, frame::DATA, 0),
        ],
        Violation::Empty,
    );
    // Nothing may come where the stream has ended.
    check(
        &[empty(frame::DATA, frame::END_STREAM), empty(frame::DATA, 0)],
        Violation::StreamClosed,
    );
    check(
        &[
            empty(frame::HEADERS, frame::END_HEADERS),
            empty(frame::HEADERS, 0),
            empty(frame::CONTINUATION, 0),
        ],
        Violation::Empty,
    );
}

#[test]
fn a_header_block_may_have_so_many_pieces_and_the_next_one_again() {
    let piece = |flags| frame(frame::CONTINUATION, flags, 1, &[0]);
    let begun = |stream| frame(frame::HEADERS, 0, stream, &[0x82]);
    let whole = |stream| [begun(stream), piece(0), piece(frame::END_HEADERS)].concat();
    check(
        &[whole(1), whole(3), begun(5), piece(0), piece(0), piece(0)],
        Violation::Continuations,
    );
}

#[test]
fn on_a_stream_that_the_peer_reset_nothing_follows() {
    let data = || frame(frame::DATA, 1, 1, b"late");
    check(&[get(1), reset(1), data()], Violation::StreamClosed);
    check(&[get(1), reset(1), get(1)], Violation::StreamClosed);
    let mut inspector = new();
    // What gives its window back may cross the reset, and priorities never matter.
    let fine = [
        get(1),
        reset(1),
        frame(frame::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(2, 0, 1, &[0; 5]),
        get(3),
    ];
    assert_eq!(inspector.inspect(&fine.concat(), 0, 0), Ok(()));
}

#[test]
fn on_a_stream_that_the_peer_ended_nothing_is_asked_again() {
    check(&[get(1), get(1)], Violation::StreamClosed);
    let post = frame(frame::HEADERS, frame::END_HEADERS, 1, &[0x83]);
    let end = || frame(frame::DATA, frame::END_STREAM, 1, b"all");
    check(&[post.clone(), end(), get(1)], Violation::StreamClosed);
    check(&[post.clone(), end(), end()], Violation::StreamClosed);
    // Trailers end a stream.
    let trailers = || get(1);
    assert_eq!(
        new().inspect(&[post.clone(), trailers()].concat(), 0, 0),
        Ok(())
    );
    check(&[post, trailers(), end()], Violation::StreamClosed);
}

#[test]
fn a_frame_has_the_length_of_its_type() {
    for (kind, flags, wrong) in [
        (frame::PRIORITY, 0, &[4, 6][..]),
        (frame::RST_STREAM, 0, &[0, 3, 5]),
        (frame::SETTINGS, 0, &[5, 7]),
        (frame::SETTINGS, frame::ACK, &[1, 6]),
        (frame::PING, 0, &[0, 7, 9]),
        (frame::GOAWAY, 0, &[0, 7]),
        (frame::WINDOW_UPDATE, 0, &[0, 3, 5]),
    ] {
        for length in wrong {
            let frame = frame(kind, flags, 0, &vec![0; *length]);
            check(&[get(1), frame], Violation::FrameSize);
        }
    }
}

#[test]
fn a_new_period_begins_from_nothing() {
    let mut inspector = new();
    for period in 1..100 {
        let now = period * PERIOD_MS;
        assert_eq!(inspector.inspect(&ping().repeat(3), now, 0), Ok(()));
    }
    let late = 100 * PERIOD_MS - 1;
    assert!(inspector.inspect(&ping(), late, 0).is_err());
}

#[test]
fn whoever_is_sent_much_may_give_back_much() {
    let update = frame(frame::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let mut inspector = new();
    assert!(new().inspect(&update.repeat(203), 0, 1000).is_err());
    assert_eq!(inspector.inspect(&update.repeat(202), 0, 1000), Ok(()));
    // What was sent before the period began has been accounted for.
    let later = PERIOD_MS;
    assert_eq!(inspector.inspect(&update.repeat(2), later, 1004), Ok(()));
    assert!(inspector.inspect(&update, later, 1004).is_err());
}

#[test]
fn streams_are_counted_once() {
    let mut inspector = new();
    let begun = frame(frame::HEADERS, frame::END_HEADERS, 3, &[0x82, 0x84, 0x86]);
    let trailers = get(3);
    let bytes = [get(1), begun, trailers, get(7)].concat();
    assert_eq!(inspector.inspect(&bytes, 0, 0), Ok(()));
    assert_eq!(inspector.opened(), 3);
}

#[test]
fn nothing_at_all_makes_it_panic() {
    // A linear congruential generator: the same bytes every time.
    let mut state = 7_u64;
    for _ in 0..500 {
        let mut inspector = Inspector::new(LIMITS);
        let mut bytes = PREFACE_TEXT.to_vec();
        for _ in 0..100 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            bytes.push((state >> 56) as u8 & if state & 64 == 0 { 0x0f } else { 0xff });
        }
        if let Err(refused) = inspector.inspect(&bytes, state, 0) {
            assert!(refused.passed < bytes.len());
        }
    }
}
