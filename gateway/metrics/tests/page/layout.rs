//! The layout as a reader in another language has to know it: numbers from `docs/counter-page.md`,
//! none from the crate. A change here needs a new layout version.

use crate::{COUNTER, HISTOGRAM, create, fnv, place, word};

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
    assert_eq!(
        [136, 144, 152].map(|offset| word(&bytes, offset)),
        [0; 3],
        "no blocks"
    );
    assert_eq!(word(&bytes, 160), u64::from(std::process::id()));
    assert_eq!(word(&bytes, 168), 1_000, "start");
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
    assert_eq!(reserved, lanes + 4 * stride);
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
