//! The rules of an outbox, one test each; `tests/model` compares it with a naive one.

use super::*;

const LIMITS: OutboxLimits = OutboxLimits {
    max_messages: 4,
    max_bytes: 100,
};

fn origin(room: u64, offset: u64, slow: SlowPolicy) -> Option<Origin> {
    Some(Origin {
        room: RoomId(room),
        offset,
        slow,
    })
}

fn gap(room: u64, from: u64, to: u64) -> Gap {
    Gap {
        room: RoomId(room),
        from,
        to,
    }
}

/// What would be written, with gaps as text.
fn written(outbox: &mut Outbox<String>) -> Vec<String> {
    outbox.resolve_gaps(|gap| {
        let text = format!("gap {} {}-{}", gap.room.0, gap.from, gap.to);
        Some((text, 1))
    });
    outbox.check_invariants();
    outbox.frames().map(|(frame, _)| frame.clone()).collect()
}

/// Pushes frames of 10 bytes named `room.offset`; room 0 stands for an answer.
fn push(outbox: &mut Outbox<String>, room: u64, offset: u64, slow: SlowPolicy) -> Push {
    let from = origin(room, offset, slow).filter(|_| room > 0);
    outbox.push(format!("{room}.{offset}"), 10, from, &LIMITS)
}

fn filled(room: u64, slow: SlowPolicy) -> Outbox<String> {
    let mut outbox = Outbox::new();
    for offset in 1..=4 {
        assert_eq!(push(&mut outbox, room, offset, slow), Push::Queued);
    }
    outbox
}

#[test]
fn an_entry_costs_48_bytes_and_an_idle_outbox_has_none() {
    assert!(size_of::<Entry<[u64; 2]>>() <= 48);
    assert!(size_of::<Entry<std::sync::Arc<[u8]>>>() <= 48);
    let mut outbox = filled(1, SlowPolicy::Disconnect);
    while outbox.pop().is_some() {}
    outbox.shrink_if_idle();
    assert_eq!(outbox.entries.capacity(), 0);
}

#[test]
fn disconnect_overflows_at_either_bound() {
    let mut outbox = filled(1, SlowPolicy::Disconnect);
    assert_eq!(
        push(&mut outbox, 1, 5, SlowPolicy::Disconnect),
        Push::Overflow
    );
    assert_eq!(outbox.len(), 4);
    let mut outbox = Outbox::new();
    let frame = |bytes| (String::new(), bytes);
    for (bytes, expected) in [(60, Push::Queued), (40, Push::Queued), (1, Push::Overflow)] {
        let (frame, bytes) = frame(bytes);
        let from = origin(1, 1, SlowPolicy::Disconnect);
        assert_eq!(outbox.push(frame, bytes, from, &LIMITS), expected);
    }
}

#[test]
fn drop_oldest_leaves_one_notice_where_the_first_stood() {
    let mut outbox = filled(1, SlowPolicy::DropOldest);
    // One alone would only make place for its own notice.
    assert_eq!(
        push(&mut outbox, 1, 5, SlowPolicy::DropOldest),
        Push::Dropped(2)
    );
    assert_eq!(
        push(&mut outbox, 1, 6, SlowPolicy::DropOldest),
        Push::Dropped(1)
    );
    assert_eq!(written(&mut outbox), ["gap 1 1-3", "1.4", "1.5", "1.6"]);
}

#[test]
fn keep_latest_keeps_only_the_newest_of_its_room() {
    let mut outbox = Outbox::new();
    assert_eq!(
        push(&mut outbox, 1, 1, SlowPolicy::KeepLatest),
        Push::Queued
    );
    assert_eq!(
        push(&mut outbox, 2, 1, SlowPolicy::Disconnect),
        Push::Queued
    );
    for offset in 2..=3 {
        assert_eq!(
            push(&mut outbox, 1, offset, SlowPolicy::KeepLatest),
            Push::Queued
        );
    }
    assert_eq!(
        push(&mut outbox, 1, 4, SlowPolicy::KeepLatest),
        Push::Dropped(3)
    );
    assert_eq!(written(&mut outbox), ["gap 1 1-3", "2.1", "1.4"]);
}

#[test]
fn an_answer_makes_place_where_policies_allow_and_is_never_dropped() {
    let mut outbox = filled(1, SlowPolicy::DropOldest);
    let answer = |outbox: &mut _, number| push(outbox, 0, number, SlowPolicy::Disconnect);
    assert_eq!(answer(&mut outbox, 1), Push::Dropped(2));
    assert_eq!(answer(&mut outbox, 2), Push::Dropped(1));
    assert_eq!(answer(&mut outbox, 3), Push::Dropped(1));
    assert_eq!(written(&mut outbox), ["gap 1 1-4", "0.1", "0.2", "0.3"]);
    assert_eq!(answer(&mut outbox, 4), Push::Overflow);
}

#[test]
fn what_has_begun_to_be_written_stays() {
    let mut outbox = filled(1, SlowPolicy::DropOldest);
    assert_eq!(outbox.advance(3), 0);
    assert_eq!(
        push(&mut outbox, 1, 5, SlowPolicy::DropOldest),
        Push::Dropped(2)
    );
    assert_eq!(written(&mut outbox), ["1.1", "gap 1 2-3", "1.4", "1.5"]);
    assert_eq!(outbox.frames().next().map(|(_, skip)| skip), Some(3));
    assert_eq!(outbox.advance(7), 1);
    assert_eq!(outbox.frames().next().map(|(_, skip)| skip), Some(0));
}

#[test]
fn a_notice_grows_until_it_begins_to_be_written() {
    let mut outbox = filled(1, SlowPolicy::DropOldest);
    assert_eq!(
        push(&mut outbox, 1, 5, SlowPolicy::DropOldest),
        Push::Dropped(2)
    );
    assert_eq!(written(&mut outbox)[0], "gap 1 1-2");
    assert_eq!(
        push(&mut outbox, 1, 6, SlowPolicy::DropOldest),
        Push::Dropped(1)
    );
    assert_eq!(written(&mut outbox)[0], "gap 1 1-3");

    assert_eq!(outbox.advance(1), 1, "the notice of one byte is out");
    assert_eq!(
        push(&mut outbox, 1, 7, SlowPolicy::DropOldest),
        Push::Queued
    );
    assert_eq!(
        push(&mut outbox, 1, 8, SlowPolicy::DropOldest),
        Push::Dropped(2)
    );
    assert_eq!(written(&mut outbox)[0], "gap 1 4-5");
}

#[test]
fn nothing_is_written_past_a_notice_that_is_not_a_frame_yet() {
    let mut outbox = filled(1, SlowPolicy::DropOldest);
    assert_eq!(
        push(&mut outbox, 1, 5, SlowPolicy::DropOldest),
        Push::Dropped(2)
    );
    assert_eq!(outbox.frames().count(), 0);
    assert!(outbox.pop().is_none());
    outbox.resolve_gaps(|found| {
        assert_eq!(found, gap(1, 1, 2));
        None
    });
    outbox.check_invariants();
    assert_eq!(outbox.pop(), Some(("1.3".to_owned(), 0)));
}

#[test]
fn advancing_finishes_frames_and_keeps_the_rest() {
    let mut outbox = filled(1, SlowPolicy::Disconnect);
    assert_eq!((outbox.advance(0), outbox.bytes()), (0, 40));
    assert_eq!((outbox.advance(25), outbox.bytes()), (2, 15));
    let skips: Vec<usize> = outbox.frames().map(|(_, skip)| skip).collect();
    assert_eq!(skips, [5, 0]);
    let mut seen = Vec::new();
    outbox.for_each_frame_mut(|frame, skip| seen.push((frame.clone(), skip)));
    assert_eq!(seen, [("1.3".to_owned(), 5), ("1.4".to_owned(), 0)]);
    assert_eq!(outbox.pop(), Some(("1.3".to_owned(), 5)));
    assert_eq!((outbox.advance(10), outbox.bytes()), (1, 0));
    assert!(outbox.is_empty());
}
