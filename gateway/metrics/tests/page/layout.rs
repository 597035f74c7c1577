//! The layout as a reader in another language has to know it: numbers from `docs/counter-page.md`,
//! none from the crate. A change here needs a new layout version.

use roomwire_metrics::{BlockId, BusyRoom, Page, PageOptions};

use crate::{COUNTER, HISTOGRAM, create, fnv, options, place, word};

#[test]
fn every_offset_is_where_the_documentation_says() {
    let (_directory, path) = place();
    let page = create(&path, 3);
    let lane = page.lane(1).unwrap();
    lane.add(COUNTER.id, 5);
    lane.publish();
    page.shared().add(COUNTER.id, 2);
    page.set_ready(true);
    page.heartbeat(7_000);

    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"roomwire");
    assert_eq!(word(&bytes, 8), 1, "layout version");
    assert_eq!(word(&bytes, 16), 512, "header length");
    assert_eq!(word(&bytes, 24), bytes.len() as u64, "page length");
    let catalogue_end = 512 + usize::try_from(word(&bytes, 48)).unwrap();
    assert_eq!(word(&bytes, 32), fnv(&bytes[512..catalogue_end]));
    assert_eq!(
        word(&bytes, 40),
        512,
        "the catalogue begins behind the header"
    );
    assert_eq!(word(&bytes, 72), 4, "three workers and the shared lane");
    assert_eq!(word(&bytes, 96), 128, "lane header length");
    assert_eq!(
        (word(&bytes, 104), word(&bytes, 112)),
        (5, 36),
        "histogram scale"
    );
    assert_eq!(word(&bytes, 128), 4096, "reserved length");
    assert_eq!(word(&bytes, 160), u64::from(std::process::id()));
    assert_eq!(word(&bytes, 168), 1_000, "start");
    assert_eq!(word(&bytes, 176), 1_000, "counted since");
    assert_eq!(word(&bytes, 256), 7_000, "heartbeat");
    assert_eq!(
        (word(&bytes, 264), word(&bytes, 272)),
        (1, 1),
        "running, ready"
    );
    assert_eq!(&bytes[384..392], b"main\0\0\0\0");
    assert_eq!(&bytes[448..456], b"1.2.3\0\0\0");

    let [lanes, stride] = [64, 80].map(|offset| usize::try_from(word(&bytes, offset)).unwrap());
    assert_eq!((lanes % 128, stride % 128), (0, 0));
    let reserved = usize::try_from(word(&bytes, 120)).unwrap();
    let [blocks, count, block_stride] =
        [136, 144, 152].map(|offset| usize::try_from(word(&bytes, offset)).unwrap());
    assert_eq!(blocks, lanes + 4 * stride);
    assert_eq!((count, block_stride), (98, 384 + 4 * 128));
    assert_eq!(reserved, blocks + count * block_stride);
    assert_eq!(reserved + 4096, bytes.len());
    assert!(bytes[reserved..].iter().all(|byte| *byte == 0));
    assert!(
        word(&bytes, 88) * 8 + 128 <= stride as u64,
        "slots fit into a lane"
    );

    let roles: Vec<_> = (0..4)
        .map(|lane| lanes + lane * stride)
        .map(|at| [0, 8, 16].map(|word_at| word(&bytes, at + word_at)))
        .collect();
    assert_eq!(roles, [[1, 0, 0], [1, 1, 1], [1, 2, 0], [2, 0, 0]]);

    let slot = slot_of(&bytes, COUNTER.name);
    let values: Vec<_> = (0..4)
        .map(|lane| word(&bytes, lanes + lane * stride + 128 + slot * 8))
        .collect();
    assert_eq!(values, [0, 5, 0, 2]);
}

#[test]
fn blocks_are_laid_out_as_documented() {
    let (_directory, path) = place();
    let options = PageOptions {
        listeners: vec!["chat".to_owned()],
        rooms: (0..40).map(|nth| format!("news.{nth}")).collect(),
        ..options(2)
    };
    let page = Page::create(&path, &options).unwrap();
    assert_eq!(page.unlabelled(&options), 8);
    let lane = page.lane(1).unwrap();
    lane.block_add(page.listener_block(0), BlockId::ListenerBytesIn, 9);
    lane.block_add(page.listener_block(7), BlockId::ListenerBytesIn, 5);
    lane.block_add(page.rooms_block(1), BlockId::RoomsPublishes, 3);
    lane.publish();
    page.set_busy_rooms(&[BusyRoom {
        name: "lobby".to_owned(),
        members: 4,
        ..BusyRoom::default()
    }]);

    let bytes = std::fs::read(&path).unwrap();
    let [offset, length] = [184, 192].map(|offset| usize::try_from(word(&bytes, offset)).unwrap());
    assert_eq!(offset % 128, 0);
    let text = &bytes[offset..offset + length];
    assert_eq!(word(&bytes, 208), fnv(text));
    let text = std::str::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() as u64, word(&bytes, 200));
    let slot = |name: &str| -> usize {
        let line = text
            .lines()
            .find(|line| line.split('\t').nth(1) == Some(name));
        let slot = line.and_then(|line| line.split('\t').nth(5));
        slot.expect("it is there").parse().unwrap()
    };
    let [first, stride, header, slots] =
        [136, 152, 216, 224].map(|offset| usize::try_from(word(&bytes, offset)).unwrap());
    assert_eq!((header, slots), (384, 16));
    let head = |block: usize| {
        let at = first + block * stride;
        let label = bytes[at + 64..].split(|byte| *byte == 0).next().unwrap();
        let words = [0, 8, 16].map(|offset| word(&bytes, at + offset));
        (words, std::str::from_utf8(label).unwrap())
    };
    let at = |block: usize, lane: usize, name: &str| {
        let part = first + block * stride + header + lane * slots * 8;
        word(&bytes, part + slot(name) * 8)
    };
    assert_eq!(head(0), ([1, 0, 0], "chat"));
    assert_eq!(head(1), ([0, 0, 0], ""), "free");
    assert_eq!(head(32), ([1, 1, 0], "other"));
    assert_eq!(head(33), ([2, 0, 0], "news.0"));
    assert_eq!(head(65), ([2, 1, 0], "other"));
    assert_eq!(head(66), ([3, 0, 2], "lobby"));
    assert_eq!(at(0, 1, "listener_bytes_in_total"), 9);
    assert_eq!(
        at(0, 0, "listener_bytes_in_total"),
        0,
        "another worker's part"
    );
    assert_eq!(at(32, 1, "listener_bytes_in_total"), 5);
    assert_eq!(at(34, 1, "rooms_publishes_total"), 3);
    assert_eq!(at(66, 0, "room_members"), 4);
}

#[test]
fn a_histogram_is_laid_out_as_documented() {
    let (_directory, path) = place();
    let page = create(&path, 1);
    let lane = page.lane(0).unwrap();
    for value in [3, 3, 100, 1 << 40] {
        lane.record(HISTOGRAM.id, value);
    }
    lane.publish();
    let bytes = std::fs::read(&path).unwrap();
    let lanes = usize::try_from(word(&bytes, 64)).unwrap();
    let first = lanes + 128 + slot_of(&bytes, HISTOGRAM.name) * 8;
    let slot = |slot: usize| word(&bytes, first + slot * 8);
    assert_eq!(
        [0, 1, 2].map(slot),
        [4, 106 + (1 << 40), 1 << 40],
        "count, sum, largest"
    );
    assert_eq!([3, 4, 5, 6, 7].map(slot), [0; 5]);
    // 100 is in [64, 128), cut into 32 buckets of 2: (100 - 64) / 2 = 18, after 32 + 32 others.
    let set: Vec<_> = (0..1024).filter(|bucket| slot(8 + bucket) != 0).collect();
    assert_eq!(set, [3, 64 + 18, 1023]);
}

fn slot_of(bytes: &[u8], name: &str) -> usize {
    let [offset, length] = [40, 48].map(|offset| usize::try_from(word(bytes, offset)).unwrap());
    let text = std::str::from_utf8(&bytes[offset..offset + length]).unwrap();
    assert_eq!(text.lines().count() as u64, word(bytes, 56));
    let line = text
        .lines()
        .find(|line| line.split('\t').next() == Some(name))
        .unwrap();
    assert_eq!(line.split('\t').count(), 7, "{line}");
    line.split('\t').nth(4).unwrap().parse().unwrap()
}
