//! Pages cut off, overwritten or made up: each gives an error that says so or figures that can be
//! shown, never a panic and never a signal.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use roomwire_metrics::text::{self, TableOptions};
use roomwire_metrics::{GatewayState, Level, ReadError, ReadProblem, Reader, prometheus};

use crate::{COUNTER, HISTOGRAM, create, exposition, fnv, place, set_word, word};

/// The bytes of a page of a gateway that ended.
fn page_bytes() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let (_directory, path) = place();
        let page = create(&path, 1);
        let lane = page.lane(0).unwrap();
        lane.increment(COUNTER.id);
        lane.record(HISTOGRAM.id, 5);
        lane.publish();
        std::fs::read(&path).unwrap()
    });
    BYTES.clone()
}

fn open_bytes(path: &Path, bytes: &[u8]) -> Result<Reader, ReadError> {
    std::fs::write(path, bytes).unwrap();
    Reader::open(path)
}

fn problem_of(path: &Path, bytes: &[u8]) -> ReadProblem {
    let error = open_bytes(path, bytes).unwrap_err();
    assert!(
        error.to_string().starts_with(&path.display().to_string()),
        "{error}"
    );
    error.problem
}

/// Reads and shows all there is, wherever it may lead.
fn show(reader: &Reader) {
    let Ok(seen) = reader.snapshot() else { return };
    exposition::check(&prometheus::render(&seen, prometheus::Format::Text));
    let everything = TableOptions {
        all: true,
        level: Level::Debug,
        previous: None,
    };
    let shown = text::table(&seen, &everything) + &text::headline(&seen, GatewayState::Dead, 0);
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
    text::json(&seen, GatewayState::Dead);
    reader.writer_alive();
}

/// Puts another catalogue into a page, with a hash that fits.
fn with_catalogue(bytes: &[u8], change: impl FnOnce(String) -> String) -> Vec<u8> {
    let [offset, length] = [40, 48].map(|at| usize::try_from(word(bytes, at)).unwrap());
    let catalogue = change(String::from_utf8(bytes[offset..offset + length].to_vec()).unwrap());
    let mut bytes = bytes.to_vec();
    // The new text goes behind everything else, where it may have any length.
    let offset = bytes.len();
    bytes.extend_from_slice(catalogue.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(128), 0);
    let page_length = bytes.len() as u64;
    set_word(&mut bytes, 24, page_length);
    set_word(&mut bytes, 32, fnv(catalogue.as_bytes()));
    set_word(&mut bytes, 40, offset as u64);
    set_word(&mut bytes, 48, catalogue.len() as u64);
    set_word(&mut bytes, 56, catalogue.lines().count() as u64);
    bytes
}

#[test]
fn a_page_of_another_version_of_the_gateway_is_read_by_its_own_catalogue() {
    let (_directory, path) = place();
    let original = page_bytes();
    let bytes = with_catalogue(&original, |text| {
        let text = text.replace(COUNTER.name, "visits_total");
        // Further columns belong to later versions and are passed over.
        text.replacen('\n', "\tlater\n", 1)
    });
    let reader = open_bytes(&path, &bytes).unwrap();
    let seen = reader.snapshot().unwrap();
    assert_eq!(seen.value("visits_total"), Some(1));
    assert_eq!(seen.value(COUNTER.name), None);
    show(&reader);
}

#[test]
fn a_page_of_a_layout_to_come_is_refused_with_its_number() {
    let (_directory, path) = place();
    let mut bytes = page_bytes();
    set_word(&mut bytes, 8, 2);
    let problem = problem_of(&path, &bytes);
    assert!(
        matches!(problem, ReadProblem::LayoutVersion { found: 2 }),
        "{problem}"
    );
    set_word(&mut bytes, 8, 1u64.swap_bytes());
    let problem = problem_of(&path, &bytes);
    assert!(matches!(problem, ReadProblem::ByteOrder), "{problem}");
}

/// The offset of a block.
fn block(bytes: &[u8], number: usize) -> usize {
    let [first, stride] = [136, 152].map(|at| usize::try_from(word(bytes, at)).unwrap());
    first + number * stride
}

#[test]
fn kinds_of_blocks_and_unused_words_of_later_versions_are_passed_over() {
    let (_directory, path) = place();
    let mut bytes = page_bytes();
    for offset in [232, 248, 280, 376] {
        set_word(&mut bytes, offset, 77);
    }
    let other_listeners = block(&bytes, 32);
    set_word(&mut bytes, other_listeners, 99);
    let reader = open_bytes(&path, &bytes).unwrap();
    assert_eq!(reader.snapshot().unwrap().blocks.len(), 1, "the rooms' one");
    // A page without blocks, as another program might make one.
    set_word(&mut bytes, 136, 0);
    let reader = open_bytes(&path, &bytes).unwrap();
    assert_eq!(reader.snapshot().unwrap().blocks.len(), 0);
}

#[test]
fn each_wrong_number_of_the_blocks_is_named() {
    let (_directory, path) = place();
    let bytes = page_bytes();
    for (offset, value, expected) in [
        (136, 12, "place of the blocks"),
        (136, u64::MAX, "place of the blocks"),
        (144, 1_000_000, "number of blocks"),
        (144, 1_000, "do not fit"),
        (152, 7, "stride of the blocks"),
        (152, 384, "number of a block's slots"),
        (184, 8, "its place"),
        (192, 1 << 40, "its length"),
        (192, 10, "its hash"),
        (200, 1, "number of lines"),
        (216, 64, "length of a block's header"),
        (224, u64::MAX, "number of a block's slots"),
        (224, 1, "slot lies outside"),
    ] {
        let mut bytes = bytes.clone();
        set_word(&mut bytes, offset, value);
        let problem = problem_of(&path, &bytes).to_string();
        assert!(problem.contains(expected), "{offset} {value}: {problem}");
    }
}

#[test]
fn a_block_that_is_changed_for_ever_is_left_out_and_a_bad_label_is_not_shown() {
    let (_directory, path) = place();
    let mut bytes = page_bytes();
    let others = block(&bytes, 32);
    let labels = |bytes: &[u8]| -> Vec<String> {
        let seen = open_bytes(&path, bytes).unwrap().snapshot().unwrap();
        seen.blocks.into_iter().map(|block| block.label).collect()
    };
    assert_eq!(labels(&bytes), ["other", "other"]);
    set_word(&mut bytes, others + 16, 1);
    assert_eq!(labels(&bytes), ["other"], "its writer died in the middle");
    set_word(&mut bytes, others + 16, 2);
    assert_eq!(labels(&bytes).len(), 2);
    bytes[others + 64] = 0x1b;
    assert_eq!(labels(&bytes), ["other"], "control characters");
}

#[test]
fn each_wrong_number_of_the_header_is_named() {
    let (_directory, path) = place();
    let good = page_bytes();
    let half = good.len() as u64 / 2;
    for (offset, value, expected) in [
        (0, 0, "not a counter page"),
        (16, 8, "header's length"),
        (24, u64::MAX, "cut off"),
        (24, 256, "page's length"),
        (32, 1, "its hash"),
        (40, 8, "its place"),
        (40, u64::MAX - 7, "its place"),
        (40, 513, "its place"),
        (48, u64::MAX, "its length"),
        (56, 1, "its number of lines"),
        (64, 0, "place of the lanes"),
        (64, !7, "place of the lanes"),
        (72, 0, "number of lanes"),
        (72, u64::MAX, "number of lanes"),
        (72, 1_000, "do not fit"),
        (80, half * 2 + 8, "stride"),
        (80, half & !7, "do not fit"),
        (80, 128, "number of slots"),
        (88, u64::MAX, "number of slots"),
        (88, 1, "the slot lies outside of the lane"),
        (96, 0, "lane's header"),
        (104, 4, "scale of its histograms"),
        (112, 63, "scale of its histograms"),
        (384, u64::from_ne_bytes(*b"ab\x1b[2Jcd"), "instance's name"),
        (448, u64::from_ne_bytes([0xff; 8]), "the version"),
    ] {
        let mut bytes = good.clone();
        set_word(&mut bytes, offset, value);
        let problem = problem_of(&path, &bytes).to_string();
        assert!(
            problem.contains(expected),
            "{offset} = {value:#x}: {problem}"
        );
    }
}

#[test]
fn each_wrong_line_of_the_catalogue_is_named() {
    let (_directory, path) = place();
    let good = page_bytes();
    let counter = "x_total\tcounter\tmessages\tinfo\t0\t1\thelp\n";
    for (from, to, expected) in [
        ("x_total\t", "", "column is missing"),
        ("x_total", "X_total", "not snake_case"),
        ("x_total", "x", "counters end in _total"),
        ("counter", "gauge", "counters end in _total"),
        ("x_total", "", "not snake_case"),
        ("x_total", "a\"} 1 b_total", "not snake_case"),
        ("messages", "\u{1b}[2J", "the unit"),
        ("counter", "summary", "a kind"),
        ("info", "secret", "a level"),
        ("\t0\t1\t", "\t-1\t1\t", "not a number"),
        ("\t0\t1\t", "\t0\t2\t", "number of slots"),
        ("\t0\t1\t", "\t99999999\t1\t", "outside of the lane"),
        (
            "\t0\t1\t",
            "\t18446744073709551615\t1\t",
            "outside of the lane",
        ),
        ("help", "\u{1b}]0;owned\u{7}", "control characters"),
    ] {
        let bytes = with_catalogue(&good, |_| counter.repeat(0) + &counter.replace(from, to));
        let problem = problem_of(&path, &bytes).to_string();
        assert!(
            problem.contains(expected) && problem.contains("line 1"),
            "{to:?}: {problem}"
        );
    }
    let twice = with_catalogue(&good, |_| counter.repeat(2));
    assert!(problem_of(&path, &twice).to_string().contains("twice"));
    let endless = with_catalogue(&good, |_| counter.repeat(5_000));
    assert!(problem_of(&path, &endless).to_string().contains("line 0"));
    let histogram = "h\thistogram\tus\tdiag\t0\t1032\thelp\n";
    let overlapping = with_catalogue(&good, |_| {
        (0..99)
            .map(|i| histogram.replace('h', &format!("h{i}_")))
            .collect()
    });
    let problem = problem_of(&path, &overlapping);
    assert!(
        matches!(problem, ReadProblem::Catalogue { .. }),
        "{problem}"
    );
}

#[test]
fn a_page_cut_off_at_any_length_is_refused() {
    let (_directory, path) = place();
    let good = page_bytes();
    let lengths = (0..600)
        .chain((600..good.len()).step_by(997))
        .chain([good.len() - 1]);
    for length in lengths {
        let problem = problem_of(&path, &good[..length]);
        let expected = match length {
            0..512 => matches!(problem, ReadProblem::TooShort { bytes } if bytes == length),
            _ => matches!(problem, ReadProblem::CutOff { bytes, .. } if bytes == length),
        };
        assert!(expected, "{length}: {problem}");
    }
}

#[test]
fn a_page_cut_off_or_overwritten_while_it_is_read_is_an_error_and_no_signal() {
    let (_directory, path) = place();
    let reader = open_bytes(&path, &page_bytes()).unwrap();
    reader.snapshot().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 64], 0).unwrap();
    let error = reader.snapshot().unwrap_err();
    assert!(matches!(error.problem, ReadProblem::Overwritten), "{error}");
    for length in [4096, 1, 0] {
        file.set_len(length).unwrap();
        let error = reader.snapshot().unwrap_err();
        assert!(
            matches!(error.problem, ReadProblem::CutOff { .. }),
            "{error}"
        );
    }
    assert!(!reader.writer_alive());
}

#[test]
fn a_file_of_noise_or_of_absurd_size_is_not_a_page() {
    let (_directory, path) = place();
    let problem = problem_of(&path, &[0x5a; 10_000]);
    assert!(matches!(problem, ReadProblem::NotAPage), "{problem}");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let problem = Reader::open(&path).unwrap_err().problem;
    assert!(matches!(problem, ReadProblem::NotAPage), "{problem}");
}

/// Numbers that are likely to be wrong by a little or by everything.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..2_048,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u64..2_048).prop_map(|n| n * 8),
        (0u64..64).prop_map(|n| u64::MAX - n),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_words_are_in_the_header_nothing_breaks(
        changes in prop::collection::vec((1usize..64, number()), 1..6),
    ) {
        let (_directory, path) = place();
        let mut bytes = page_bytes();
        for (at, value) in changes {
            set_word(&mut bytes, at * 8, value);
        }
        if let Ok(reader) = open_bytes(&path, &bytes) {
            show(&reader);
        }
    }

    #[test]
    fn whatever_numbers_are_in_the_lanes_they_can_be_shown(seed in any::<u64>()) {
        let (_directory, path) = place();
        let mut bytes = page_bytes();
        let lanes = usize::try_from(word(&bytes, 64)).unwrap();
        let mut noise = seed;
        for word in bytes[lanes..].chunks_exact_mut(8) {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&(noise ^ noise >> 29).to_ne_bytes());
        }
        show(&open_bytes(&path, &bytes).unwrap());
    }

    #[test]
    fn whatever_is_in_the_catalogue_nothing_breaks(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\t\n a-z0-9_\u{1b}\u{85}\"\\\\é]{0,3}"), 1..8),
    ) {
        let (_directory, path) = place();
        let bytes = with_catalogue(&page_bytes(), |mut text| {
            for (at, new) in changes {
                let at = at.index(text.len());
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..=at, &new);
                }
            }
            text
        });
        if let Ok(reader) = open_bytes(&path, &bytes) {
            show(&reader);
        }
    }
}
