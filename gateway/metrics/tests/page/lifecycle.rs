//! Who may make a page where, and what readers see before, during and after a gateway's life.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Arc;

use roomwire_metrics::{
    BlockId, Cleaned, GatewayState, Page, PageError, PageOptions, ReadProblem, Reader,
    STALLED_AFTER_MS, clean_pages, remove_page,
};
use rustix::fs::{FlockOperation, flock};

use crate::{COUNTER, GAUGE, HIGH, HISTOGRAM, OTHER_COUNTER, create, options, place, set_word};

fn state(reader: &Reader, now: u64) -> GatewayState {
    reader.snapshot().unwrap().state(now, reader.writer_alive())
}

#[test]
fn a_reader_that_comes_too_early_is_told_so() {
    let (_directory, path) = place();
    let error = Reader::open(&path).unwrap_err();
    assert!(matches!(error.problem, ReadProblem::NotFound), "{error}");
    assert!(error.to_string().contains("start the gateway"), "{error}");
    std::fs::write(&path, "").unwrap();
    let error = Reader::open(&path).unwrap_err();
    assert!(
        matches!(error.problem, ReadProblem::TooShort { bytes: 0 }),
        "{error}"
    );
}

#[test]
fn a_reader_follows_the_gateway_through_its_life() {
    let (_directory, path) = place();
    let page = create(&path, 2);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(
        state(&reader, 1_000),
        GatewayState::Starting,
        "the start is the first heartbeat"
    );
    page.set_ready(true);
    assert_eq!(state(&reader, 1_000), GatewayState::Running);
    assert_eq!(
        state(&reader, 1_001 + STALLED_AFTER_MS),
        GatewayState::Stalled
    );
    page.heartbeat(9_000);
    assert_eq!(state(&reader, 9_500), GatewayState::Running);
    page.set_ready(false);
    assert_eq!(state(&reader, 9_500), GatewayState::Draining);
    page.set_stopped();
    assert_eq!(state(&reader, 9_500), GatewayState::Stopped);
    drop(page);
    assert_eq!(state(&reader, u64::MAX), GatewayState::Stopped);
    let late = Reader::open(&path).unwrap();
    assert_eq!(state(&late, u64::MAX), GatewayState::Stopped);
}

#[test]
fn a_snapshot_says_which_gateway_it_is_of() {
    let (_directory, path) = place();
    let _page = create(&path, 2);
    let seen = Reader::open(&path).unwrap().snapshot().unwrap();
    assert_eq!(
        (seen.instance.as_str(), seen.version.as_str()),
        ("main", "1.2.3")
    );
    assert_eq!(
        (seen.pid, seen.workers, seen.start_unix_ms),
        (std::process::id(), 2, 1_000)
    );
    assert_eq!(seen.lanes.len(), 3);
}

#[test]
fn a_file_reader_and_an_own_reader_see_the_same() {
    let (_directory, path) = place();
    let page = create(&path, 2);
    let lane = page.lane(0).unwrap();
    lane.increment(COUNTER.id);
    lane.record(HISTOGRAM.id, 77);
    lane.publish();
    let (file, own) = (Reader::open(&path).unwrap(), Reader::from_page(&page));
    assert_eq!(file.snapshot().unwrap(), own.snapshot().unwrap());
    assert_eq!(file.snapshot().unwrap(), page.snapshot());
    assert!(file.writer_alive() && own.writer_alive());
    assert!(!file.is_replaced() && !own.is_replaced());
}

#[test]
fn a_living_gateways_page_is_not_taken() {
    let (_directory, path) = place();
    let page = create(&path, 1);
    let error = Page::create(&path, &options(1)).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, PageError::InUse { pid: Some(found), .. } if found == pid),
        "{error}"
    );
    assert!(error.to_string().contains("--instance"), "{error}");
    let reader = Reader::open(&path).unwrap();
    page.shared().increment(OTHER_COUNTER.id);
    assert_eq!(
        reader.snapshot().unwrap().value(OTHER_COUNTER.name),
        Some(1)
    );
}

#[test]
fn a_page_stays_in_use_while_a_lane_of_it_does() {
    let (_directory, path) = place();
    let lane = create(&path, 1).lane(0).unwrap();
    assert!(matches!(
        Page::create(&path, &options(1)),
        Err(PageError::InUse { .. })
    ));
    drop(lane);
    create(&path, 1);
}

#[test]
fn a_dead_gateways_page_is_replaced_and_its_readers_keep_it() {
    let (directory, path) = place();
    let dead = create(&path, 1);
    dead.shared().add(OTHER_COUNTER.id, 3);
    dead.set_ready(true);
    let old = Reader::open(&path).unwrap();
    drop(dead);
    assert_eq!(state(&old, 1_000), GatewayState::Dead);

    let living = create(&path, 4);
    living.set_ready(true);
    assert!(old.is_replaced());
    assert_eq!(
        state(&old, 1_000),
        GatewayState::Dead,
        "the new gateway's life is not the old one's"
    );
    assert_eq!(old.snapshot().unwrap().value(OTHER_COUNTER.name), Some(3));

    let new = Reader::open(&path).unwrap();
    assert_eq!(state(&new, 1_000), GatewayState::Running);
    assert_eq!(new.snapshot().unwrap().value(OTHER_COUNTER.name), Some(0));
    let names: Vec<_> = directory
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["roomwire.main"], "nothing is left behind");
}

#[test]
fn a_damaged_page_of_a_dead_gateway_is_replaced_too() {
    let (_directory, path) = place();
    drop(create(&path, 1));
    let mut bytes = std::fs::read(&path).unwrap();
    set_word(&mut bytes, 8, 99);
    bytes.truncate(100);
    std::fs::write(&path, bytes).unwrap();
    // What a start that was killed leaves.
    std::fs::write(path.with_extension("main.new"), "roomwire and nothing more").unwrap();
    let page = create(&path, 1);
    assert_eq!(
        Reader::open(&path).unwrap().snapshot().unwrap(),
        page.snapshot()
    );
}

#[test]
fn of_gateways_that_start_at_once_one_wins() {
    let (_directory, path) = place();
    for dead_before in [false, true] {
        assert_eq!(path.exists(), dead_before);
        let pages: Vec<Arc<Page>> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Page::create(&path, &options(1))))
                .collect();
            starts
                .into_iter()
                .filter_map(|start| match start.join().unwrap() {
                    Ok(page) => Some(page),
                    Err(PageError::InUse { .. }) => None,
                    Err(error) => panic!("{error}"),
                })
                .collect()
        });
        assert_eq!(pages.len(), 1);
        pages[0].shared().increment(OTHER_COUNTER.id);
        let seen = Reader::open(&path).unwrap().snapshot().unwrap();
        assert_eq!(
            seen.value(OTHER_COUNTER.name),
            Some(1),
            "the winner's page is the path's"
        );
    }
}

#[test]
fn a_reader_halted_while_it_asks_does_not_keep_a_gateway_from_starting() {
    let (_directory, path) = place();
    drop(create(&path, 1));
    let halted = std::fs::File::open(&path).unwrap();
    flock(&halted, FlockOperation::LockShared).unwrap();
    assert!(!Reader::open(&path).unwrap().writer_alive());
    let page = create(&path, 1);
    assert_eq!(
        Reader::open(&path).unwrap().snapshot().unwrap(),
        page.snapshot()
    );
}

#[test]
fn what_is_not_a_page_is_left_alone() {
    let (directory, path) = place();
    let precious = directory.path().join("precious");
    std::fs::write(&precious, "do not lose this").unwrap();

    symlink(&precious, &path).unwrap();
    let refused = Page::create(&path, &options(1));
    assert!(
        matches!(refused, Err(PageError::NotAFile { .. })),
        "{refused:?}"
    );
    let refused = Reader::open(&path).unwrap_err();
    assert!(
        matches!(refused.problem, ReadProblem::NotAFile),
        "{refused}"
    );

    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(
        Page::create(&dangling, &options(1)),
        Err(PageError::NotAFile { .. })
    ));
    assert!(!directory.path().join("nowhere").exists());

    let refused = Page::create(&precious, &options(1));
    assert!(
        matches!(refused, Err(PageError::Foreign { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&precious).unwrap(), b"do not lose this");

    std::fs::rename(&precious, directory.path().join("other.new")).unwrap();
    let refused = Page::create(&directory.path().join("other"), &options(1));
    assert!(
        matches!(refused, Err(PageError::Foreign { .. })),
        "{refused:?}"
    );

    let refused = Page::create(directory.path(), &options(1));
    assert!(
        matches!(refused, Err(PageError::NotAFile { .. })),
        "{refused:?}"
    );
    let refused = Reader::open(directory.path()).unwrap_err();
    assert!(
        matches!(refused.problem, ReadProblem::NotAFile),
        "{refused}"
    );
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let (directory, path) = place();
    let page = create(&path, 1);
    Page::create(&path, &options(1)).unwrap_err();
    let names = || -> Vec<_> {
        directory
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    assert_eq!(names(), ["roomwire.main"]);
    drop(page);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    Page::create(&path, &options(1)).unwrap_err();
    assert_eq!(names(), ["roomwire.main"]);

    let nowhere = directory.path().join("missing").join("roomwire.main");
    let error = Page::create(&nowhere, &options(1)).unwrap_err();
    assert!(
        matches!(error, PageError::Io { action: "open", .. }),
        "{error}"
    );
}

#[test]
fn a_page_is_for_its_owner_and_group_only() {
    let (_directory, path) = place();
    let _page = create(&path, 1);
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    let file = path.metadata().unwrap();
    assert!(
        file.blocks() * 512 >= file.len(),
        "no holes: they could not be filled when memory is short"
    );
}

#[test]
fn a_restart_keeps_what_was_counted_only_where_it_was_asked_to() {
    let (_directory, path) = place();
    let labelled = |workers, start| PageOptions {
        listeners: vec!["b".to_owned(), "a".to_owned()],
        start_unix_ms: start,
        ..options(workers)
    };
    let count = |page: &Arc<Page>, lane: u16| {
        let lane = page.lane(lane).unwrap();
        lane.add(COUNTER.id, 5);
        lane.gauge_add(GAUGE.id, 3);
        lane.high_water(HIGH.id, 7);
        lane.record(HISTOGRAM.id, 100);
        let block = page.listener_block(if lane.worker() == 0 { 1 } else { 0 });
        lane.block_add(block, BlockId::ListenerBytesIn, 11);
        lane.block_gauge_add(block, BlockId::ListenerSessions, 2);
    };
    let page = Page::create(&path, &labelled(2, 1_000)).unwrap();
    count(&page, 1);
    page.shared().add(COUNTER.id, 1);
    drop(page);

    let keep = PageOptions {
        keep: true,
        ..labelled(4, 9_000)
    };
    let page = Page::create(&path, &keep).unwrap();
    count(&page, 0);
    let reader = Reader::open(&path).unwrap();
    let seen = reader.snapshot().unwrap();
    assert_eq!((seen.start_unix_ms, seen.since_unix_ms), (9_000, 1_000));
    assert_eq!(seen.value(COUNTER.name), Some(11));
    assert_eq!(
        seen.value(GAUGE.name),
        Some(3),
        "nobody stays over a restart"
    );
    assert_eq!(seen.value(HIGH.name), Some(7));
    let values = seen.row(HISTOGRAM.name).unwrap().histogram.clone().unwrap();
    assert_eq!((values.count(), values.sum(), values.max()), (2, 200, 100));
    let block = |label: &str| {
        let found = seen.blocks.iter().find(|block| block.label == label);
        let value = |name| found.and_then(|block| block.value(name));
        (value("listener_bytes_in_total"), value("listener_sessions"))
    };
    assert_eq!(block("b"), (Some(11), Some(0)));
    assert_eq!(block("a"), (Some(11), Some(2)));
    drop((page, reader));

    let page = Page::create(&path, &labelled(1, 20_000)).unwrap();
    assert!(page.snapshot().rows.iter().all(|row| row.value == 0));
    drop(page);
    std::fs::write(&path, *b"roomwirenoise").unwrap();
    let page = Page::create(&path, &keep).unwrap();
    assert_eq!(
        page.snapshot().since_unix_ms,
        9_000,
        "what is damaged is not kept"
    );
}

#[test]
fn only_the_pages_of_gateways_that_are_gone_are_cleaned_away() {
    let (directory, _) = place();
    let at = |name: &str| directory.path().join(name);
    let living = create(&at("roomwire.living"), 1);
    drop(create(&at("roomwire.dead"), 1));
    std::fs::write(at("roomwire.foreign"), "somebody's notes").unwrap();
    std::fs::write(at("other"), "").unwrap();
    std::fs::write(at("roomwire.half.new"), "").unwrap();
    let cleaned = clean_pages(Some(directory.path())).unwrap();
    let said: Vec<String> = cleaned
        .iter()
        .map(|cleaned| match cleaned {
            Cleaned::Removed(path) => format!("removed {}", path.display()),
            Cleaned::InUse(path) => format!("in use {}", path.display()),
            Cleaned::Failed(path, _) => format!("failed {}", path.display()),
        })
        .map(|line| line.replace(&*directory.path().to_string_lossy(), ""))
        .collect();
    assert_eq!(
        said,
        [
            "removed /roomwire.dead",
            "failed /roomwire.foreign",
            "removed /roomwire.half.new",
            "in use /roomwire.living"
        ]
    );
    let left: std::collections::BTreeSet<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        left.into_iter().collect::<Vec<_>>(),
        ["other", "roomwire.foreign", "roomwire.living"]
    );
    assert!(Reader::open(at("roomwire.living")).unwrap().writer_alive());
    drop(living);
    remove_page(&at("roomwire.living")).unwrap();
    assert!(!at("roomwire.living").exists());
}
