//! Programs behind a listener: what goes in and comes out, and that none outlives its client.

use std::path::Path;
use std::time::Duration;

use roomwire::config::{ByteSize, ExecConfig, Handler, ListenerConfig, Protocol, Span};
use roomwire_tests::{PATIENCE, Raw, TestGateway, eventually};

fn gateway(command: &[&str], change: impl FnOnce(&mut ExecConfig)) -> TestGateway {
    let mut door = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
        .with_handler(Handler::Exec);
    door.exec.command = command.iter().map(|word| (*word).to_owned()).collect();
    door.exec.grace = Span::millis(300);
    change(&mut door.exec);
    TestGateway::with(|config| config.listeners.push(door))
}

async fn client(gateway: &TestGateway) -> Raw {
    gateway
        .raw(gateway.address("door").expect("it listens"))
        .await
}

/// A program that says its number and that of a child of its own, which would run for long.
const PARENT: &str = "sleep 600 & echo $$ $!; wait";

/// Reads a line.
async fn line(raw: &mut Raw) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(raw.read(1).await);
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

fn is_alive(process: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    // A zombie has ended; whoever adopted it will notice.
    status.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn dies(processes: &str) {
    eventually(PATIENCE, || {
        match processes.split(' ').find(|process| is_alive(process)) {
            None => Ok(()),
            Some(process) => Err(format!("{process} is alive")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_clients_lines_are_the_programs_input_and_its_output_goes_back() {
    let gateway = gateway(&["cat"], |_| {});
    let counters = gateway.counters();
    let mut raw = client(&gateway).await;
    raw.write(b"one\ntw").await;
    assert_eq!(raw.read(4).await, b"one\n");
    raw.write(b"o\nlast without an end").await;
    assert_eq!(raw.read(4).await, b"two\n");
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, b"last without an end");
    counters
        .moved(&[
            ("exec_programs_started_total", 1),
            ("session_close_program_ended_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn each_connection_has_a_program_of_its_own_which_knows_its_peer() {
    let gateway = gateway(
        &["sh", "-c", "echo $ROOMWIRE_PEER; read line; echo got $line"],
        |_| {},
    );
    let mut first = client(&gateway).await;
    let mut second = client(&gateway).await;
    assert_ne!(line(&mut first).await, line(&mut second).await);
    second.write(b"b\n").await;
    assert_eq!(line(&mut second).await, "got b");
    assert_eq!(second.read_to_end().await, b"");
    first.write(b"a\n").await;
    assert_eq!(line(&mut first).await, "got a");
}

#[tokio::test]
async fn a_program_and_what_it_started_end_with_their_client() {
    let gateway = gateway(&["sh", "-c", PARENT], |_| {});
    let mut raw = client(&gateway).await;
    let processes = line(&mut raw).await;
    assert!(processes.split(' ').all(is_alive), "{processes}");
    drop(raw);
    dies(&processes).await;
    gateway.reaches("sessions", 0).await;
}

#[tokio::test]
async fn a_program_that_will_not_end_is_killed() {
    let script = "trap '' TERM; echo $$; while :; do sleep 1; done";
    let gateway = gateway(&["sh", "-c", script], |_| {});
    let mut raw = client(&gateway).await;
    let process = line(&mut raw).await;
    drop(raw);
    dies(&process).await;
}

#[tokio::test]
async fn a_session_that_is_closed_over_the_api_takes_its_program_along() {
    let gateway = gateway(&["sh", "-c", PARENT], |_| {});
    let mut raw = client(&gateway).await;
    let processes = line(&mut raw).await;
    let mut api = gateway.http1().await;
    let listed = api.get("/v1/connections").await.json();
    let sessions = listed["connections"].as_array().unwrap();
    let session = sessions.iter().find(|it| it["wire"] == "tcp-exec").unwrap();
    let path = format!("/v1/connections/{}", session["id"].as_str().unwrap());
    api.request(http::Method::DELETE, &path, &[], "").await;
    assert_eq!(raw.read_to_end().await, b"");
    dies(&processes).await;
}

#[tokio::test]
async fn a_gateway_that_stops_leaves_no_program_behind() {
    let gateway = gateway(&["sh", "-c", PARENT], |_| {});
    let mut raw = client(&gateway).await;
    let processes = line(&mut raw).await;
    gateway.drain().await;
    dies(&processes).await;
}

#[tokio::test]
async fn programs_are_bounded_in_number_time_and_output() {
    let few = gateway(&["cat"], |exec| exec.max_programs = 1);
    let counters = few.counters();
    let mut first = client(&few).await;
    first.write(b"x\n").await;
    assert_eq!(line(&mut first).await, "x");
    assert_eq!(client(&few).await.read_to_end().await, b"");
    counters
        .complained(&[("exec_programs_refused_total", 1)])
        .await;

    let brief = gateway(&["sleep", "600"], |exec| exec.max_time = Span::millis(200));
    let counters = brief.counters();
    assert_eq!(client(&brief).await.read_to_end().await, b"");
    counters
        .moved(&[("session_close_program_limit_total", 1)])
        .await;

    let terse = gateway(&["yes"], |exec| exec.max_output = ByteSize::kib(64));
    let counters = terse.counters();
    let printed = client(&terse).await.read_to_end().await;
    assert!(printed.len() <= 64 << 10, "{}", printed.len());
    counters
        .moved(&[("session_close_program_limit_total", 1)])
        .await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_apart_from_one_that_ended() {
    let gateway = gateway(&["/nowhere/program"], |_| {});
    let counters = gateway.counters();
    assert_eq!(client(&gateway).await.read_to_end().await, b"");
    counters
        .complained(&[
            ("exec_program_errors_total", 1),
            ("session_close_program_failed_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn one_program_serves_all_where_it_is_shared() {
    let gateway = gateway(&["cat"], |exec| exec.shared = true);
    let counters = gateway.counters();
    let mut first = client(&gateway).await;
    let mut second = client(&gateway).await;
    gateway.reaches("sessions", 2).await;
    first.write(b"from one\n").await;
    assert_eq!(line(&mut first).await, "from one");
    assert_eq!(line(&mut second).await, "from one");
    second.write(b"from two\n").await;
    assert_eq!(line(&mut first).await, "from two");
    drop(second);
    first.write(b"still\n").await;
    assert_eq!(line(&mut first).await, "still");
    assert!(counters.delta("exec_programs_started_total") <= 1);
}

#[tokio::test]
async fn a_shared_program_that_ends_is_started_again() {
    let gateway = gateway(&["sh", "-c", "read line; echo $$"], |exec| {
        exec.shared = true
    });
    let mut raw = client(&gateway).await;
    gateway.reaches("sessions", 1).await;
    raw.write(b"go\n").await;
    let first = line(&mut raw).await;
    eventually(PATIENCE, || {
        match gateway.snapshot().value("exec_programs_started_total") {
            Some(2..) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    raw.write(b"go\n").await;
    assert_ne!(line(&mut raw).await, first);
    tokio::time::timeout(Duration::from_secs(10), gateway.drain())
        .await
        .expect("a stop waits for no program");
}
