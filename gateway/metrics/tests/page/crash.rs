//! A gateway's process that is halted and killed, seen by a reader in another process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use roomwire_metrics::{GatewayState, Page, PageError, Reader, STALLED_AFTER_MS};
use rustix::process::{Pid, Signal, kill_process};

use crate::{COUNTER, create, options, place};

const PAGE_VARIABLE: &str = "ROOMWIRE_TEST_PAGE";
const READY: &str = "the page is there";

/// Not a test of its own: what the process started by the test below does.
#[test]
fn gateway_process() {
    let Some(path) = std::env::var_os(PAGE_VARIABLE) else {
        return;
    };
    let page = Page::create(&PathBuf::from(path), &options(1)).unwrap();
    let lane = page.lane(0).unwrap();
    lane.add(COUNTER.id, 1_234);
    lane.publish();
    // Never published: lost with the process, as a crash in the middle of a turn would lose it.
    lane.add(COUNTER.id, 1);
    page.set_ready(true);
    println!("\n{READY}");
    loop {
        std::thread::park();
    }
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_last_figures_of_a_killed_gateway_can_be_read() {
    let (_directory, path) = place();
    let mut gateway = KillOnDrop(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::gateway_process", "--nocapture"])
            .env(PAGE_VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let output = BufReader::new(gateway.0.stdout.take().unwrap());
    assert!(
        output.lines().any(|line| line.unwrap() == READY),
        "the gateway came up"
    );

    let reader = Reader::open(&path).unwrap();
    let state = |now| reader.snapshot().unwrap().state(now, reader.writer_alive());
    assert_eq!(state(1_000), GatewayState::Running);
    assert_eq!(reader.snapshot().unwrap().pid, gateway.0.id());
    let refused = Page::create(&path, &options(1)).unwrap_err();
    assert!(matches!(refused, PageError::InUse { pid: Some(pid), .. } if pid == gateway.0.id()));

    let pid = Pid::from_child(&gateway.0);
    kill_process(pid, Signal::STOP).unwrap();
    assert!(reader.writer_alive(), "halted is not dead");
    assert_eq!(state(1_001 + STALLED_AFTER_MS), GatewayState::Stalled);

    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    assert_eq!(state(1_000), GatewayState::Dead);
    for reader in [reader, Reader::open(&path).unwrap()] {
        let last = reader.snapshot().unwrap();
        assert_eq!(last.value(COUNTER.name), Some(1_234));
        assert!(last.ready && !last.stopped);
    }
    create(&path, 1);
}
