//! The binary as a user runs it: exit codes, what it says and where, signals, and two processes that
//! meet only in the counter page.
//!
//! Every process listens on free loopback ports and keeps its files in a directory of the test's own.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until `check` is `Ok`; panics with its last answer at the deadline.
fn eventually<T, E: Debug>(mut check: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "not in time: {error:?}"),
        }
        // The one place that sleeps, between two looks.
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a process wrote so far, read by a thread of its own.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<String>>);

impl Written {
    fn by(pipe: impl Read + Send + 'static) -> Self {
        let written = Self::default();
        let into = written.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut all = into.0.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
            }
        });
        written
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// Waits for a line that has `part` in it.
    fn line_with(&self, part: &str) -> String {
        eventually(|| {
            let text = self.text();
            let found = text.lines().find(|line| line.contains(part));
            found
                .map(str::to_owned)
                .ok_or_else(|| format!("no {part:?} in {text:?}"))
        })
    }
}

/// A process that ends with the test.
struct Process {
    child: Child,
    stdout: Written,
    stderr: Written,
}

impl Process {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = Written::by(child.stdout.take().unwrap());
        let stderr = Written::by(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is there");
    }

    /// Its exit code; `None` where a signal ended it.
    fn ends(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = eventually(|| match child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("it still runs"),
        });
        status.code()
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn types(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is open");
        writeln!(stdin, "{line}").expect("it reads");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The binary, cut off from the settings of whoever runs the tests.
fn roomwire(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROOMWIRE_") {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", home)
        .env_remove("XDG_DATA_HOME")
        .current_dir(home);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let output = roomwire(home).args(arguments).stdin(Stdio::null()).output();
    output.expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Listeners of every kind on free ports.
const LISTENERS: &str = r#"
[[listener]]
name = "rooms"
protocol = "tcp"
bind = "127.0.0.1:0"

[[listener]]
name = "rooms-udp"
protocol = "udp"
bind = "127.0.0.1:0"

[[listener]]
name = "http"
protocol = "http"
bind = "127.0.0.1:0"

[[listener]]
name = "https"
protocol = "https"
bind = "127.0.0.1:0"
"#;

/// A directory with a configuration for one gateway.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(settings: &str) -> Self {
        let place = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        let (data, page) = (place.path("data"), place.page());
        let config = format!(
            "[gateway]\nworkers = 2\ninstance = \"cli\"\ndata_dir = {data:?}\npage_file = {page:?}\n\
             {settings}\n{LISTENERS}"
        );
        fs::write(place.config(), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("roomwire.toml")
    }

    fn page(&self) -> PathBuf {
        self.path("page")
    }

    fn home(&self) -> &Path {
        self.directory.path()
    }

    fn serve(&self) -> Server {
        let mut command = roomwire(self.home());
        command
            .args(["serve", "--print-addresses", "--config"])
            .arg(self.config());
        Server::of(Process::spawn(&mut command))
    }

    fn stats(&self, arguments: &[&str]) -> Output {
        let mut command = roomwire(self.home());
        command
            .arg("stats")
            .arg("--page")
            .arg(self.page())
            .args(arguments);
        command.output().expect("the binary runs")
    }
}

/// A gateway that serves.
struct Server {
    process: Process,
    addresses: BTreeMap<String, String>,
}

impl Server {
    /// Waits until it says where it listens.
    fn of(process: Process) -> Self {
        let line = process.stdout.line_with("[");
        let listeners: Vec<Value> = serde_json::from_str(&line).expect("one line of JSON");
        let addresses = listeners
            .iter()
            .map(|it| {
                let field = |name: &str| it[name].as_str().expect(name).to_owned();
                assert!(it["port"].as_u64() > Some(0));
                (field("name"), field("address"))
            })
            .collect();
        Self { process, addresses }
    }

    fn at(&self, listener: &str) -> &str {
        &self.addresses[listener]
    }

    fn port(&self, listener: &str) -> &str {
        self.at(listener).rsplit(':').next().expect("a port")
    }
}

#[test]
fn serve_says_where_it_listens_and_stops_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new("");
        let mut server = place.serve();
        let first = server.process.stderr.line_with("try first:");
        assert!(first.contains(server.port("http")), "{first}");
        assert!(first.contains(server.port("rooms")), "{first}");
        for (name, address) in &server.addresses {
            let line = server.process.stderr.line_with(&format!("({name})"));
            assert!(
                line.starts_with("listening") && line.contains(address.as_str()),
                "{line}"
            );
        }
        server.process.signal(signal);
        assert_eq!(server.process.ends(), Some(0), "{signal:?}");
        server.process.stderr.line_with("stopped");
        let stdout = server.process.stdout.text();
        assert_eq!(stdout.lines().count(), 1, "only the addresses: {stdout}");
        let stats = place.stats(&[]);
        assert_eq!(stats.status.code(), Some(0));
        assert!(
            text(&stats.stdout).contains("stopped"),
            "{}",
            text(&stats.stdout)
        );
    }
}

/// One HTTP request on a connection of its own; the whole answer.
fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_drain_that_was_asked_for_over_the_api_ends_the_process() {
    let place = Place::new("");
    let mut server = place.serve();
    let link = server.process.stderr.line_with("live figures:");
    assert!(
        link.ends_with(&format!("localhost:{}/admin", server.port("http"))),
        "{link}"
    );
    assert!(
        !place.path("data/admin-token").exists(),
        "on loopback none is needed"
    );
    let answer = ask(server.at("http"), "POST /v1/drain");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(server.process.ends(), Some(0));
    server.process.stderr.line_with("stopped");
}

#[test]
fn the_admin_token_is_made_at_the_first_start_and_printed_with_a_link() {
    let place = Place::new("[admin]\ntoken = \"always\"");
    let mut server = place.serve();
    let line = server.process.stderr.line_with("live figures:");
    let (_, token) = line
        .split_once("/admin?token=")
        .expect("a link with the token");
    let file = place.path("data/admin-token");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), token);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let figures = "GET /v1/connections";
    let refused = ask(server.at("http"), figures);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let shown = format!("GET /admin?token={token}");
    let opened = ask(server.at("http"), &shown);
    assert!(opened.starts_with("HTTP/1.1 303"), "{opened}");
    server.process.signal(Signal::TERM);
    server.process.ends();
    // A log that is kept does not get it again.
    let mut again = place.serve();
    let line = again.process.stderr.line_with("live figures:");
    assert!(
        !line.contains(token) && line.contains("admin-token"),
        "{line}"
    );
    let opened = ask(again.at("http"), &shown);
    assert!(
        opened.starts_with("HTTP/1.1 303"),
        "it is the same one: {opened}"
    );
    again.process.signal(Signal::TERM);
    again.process.ends();
}

/// The log lines of a server whose standard error is no terminal.
fn log_lines(server: &Server) -> Vec<Value> {
    let text = server.process.stderr.text();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn the_log_is_json_off_a_terminal_and_its_levels_change_while_it_runs() {
    let place = Place::new("");
    let mut server = place.serve();
    server.process.stderr.line_with("live figures:");
    let first = log_lines(&server);
    assert!(!first.is_empty());
    for line in &first {
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    let answered = |server: &Server| {
        let lines = log_lines(server);
        lines
            .into_iter()
            .filter(|it| it["message"] == "answered")
            .count()
    };
    ask(server.at("http"), "GET /healthz");
    let levels = ask(server.at("http"), "GET /v1/log");
    assert!(
        levels.contains("{\"filter\":\"info,h2=error\",\"start\":\"info,h2=error\"}"),
        "{levels}"
    );
    assert_eq!(answered(&server), 0);
    server.process.signal(Signal::USR1);
    server.process.stderr.line_with("roomwire=debug");
    let refused = ask(server.at("http"), "GET /nothing?secret=1");
    let problem = refused.lines().last().expect("a body");
    let problem: Value = serde_json::from_str(problem).unwrap();
    let id = problem["request_id"].as_str().expect("a request id");
    assert!(
        refused.contains(&format!("x-request-id: {id}")),
        "{refused}"
    );
    let line = server.process.stderr.line_with(id);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["request_id"], &line["status"], &line["path"]),
        (&id.into(), &404.into(), &"/nothing".into())
    );
    // The connection's own lines are joined by its id.
    let client = line["client"]
        .as_str()
        .expect("a connection's id")
        .to_owned();
    let began = server.process.stderr.line_with("session began");
    assert!(began.contains("\"wire\":\"http\""), "{began}");
    eventually(|| {
        let lines = log_lines(&server);
        let of_client = lines
            .iter()
            .filter(|line| line["client"] == client.as_str());
        let said: Vec<&str> = of_client
            .filter_map(|line| line["message"].as_str())
            .collect();
        if said == ["session began", "answered", "session ended"] {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    });
    server.process.signal(Signal::USR1);
    server
        .process
        .stderr
        .line_with("\"filter\":\"info,h2=error\"");
    let before = answered(&server);
    ask(server.at("http"), "GET /healthz");
    let set = |body: &str| {
        let mut stream = TcpStream::connect(server.at("http")).unwrap();
        let length = body.len();
        write!(
            stream,
            "PUT /v1/log HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
            content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = set("{\"filter\":\"info,roomwire::http=debug\"}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ask(server.at("http"), "GET /healthz");
    eventually(|| {
        if answered(&server) == before + 1 {
            Ok(())
        } else {
            Err("it is not logged")
        }
    });
    let answer = set("{\"filter\":\"roomwire=loudly\"}");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("bad_filter"),
        "{answer}"
    );
    assert!(ask(server.at("http"), "GET /v1/log").contains("roomwire::http=debug"));
    assert!(
        set("{\"filter\":null}")
            .contains("{\"filter\":\"info,h2=error\",\"start\":\"info,h2=error\"}")
    );
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.ends(), Some(0));
}

#[test]
fn no_kind_of_line_floods_the_log() {
    let place = Place::new("");
    let mut command = roomwire(place.home());
    command
        .args(["serve", "--print-addresses", "--config"])
        .arg(place.config())
        .env("ROOMWIRE_LOG", "debug");
    let mut server = Server::of(Process::spawn(&mut command));
    let mut stream = TcpStream::connect(server.at("rooms")).unwrap();
    let mut bad = "{\"type\":\"nonsense\"}\n".repeat(5_000);
    bad.push_str("{\"type\":\"ping\",\"id\":1}\n");
    let reader = stream.try_clone().unwrap();
    let answers = thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.take_while(|line| !line.contains("pong")).count()
    });
    stream.write_all(bad.as_bytes()).unwrap();
    assert_eq!(answers.join().unwrap(), 5_000, "each is answered");
    server
        .process
        .stderr
        .line_with("lines were left out of the log");
    let refused = log_lines(&server);
    let refused = refused
        .iter()
        .filter(|it| it["message"] == "refused a command")
        .count();
    assert!((100..2_000).contains(&refused), "{refused} lines");
    server.process.signal(Signal::TERM);
    server.process.ends();
}

#[test]
fn certs_check_tells_what_is_wrong_by_its_exit_code_and_in_json() {
    let home = tempfile::tempdir().unwrap();
    let none = run(home.path(), &["certs", "check"]);
    assert_eq!(none.status.code(), Some(1), "there is none yet");
    assert_eq!(
        run(home.path(), &["certs", "create"]).status.code(),
        Some(0)
    );
    let good = run(home.path(), &["certs", "check"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    for part in [
        "good",
        "localhost, 127.0.0.1, ::1",
        "days left  39",
        "belongs to it",
    ] {
        assert!(
            text(&good.stdout).contains(part),
            "{part}: {}",
            text(&good.stdout)
        );
    }
    let soon = run(home.path(), &["certs", "check", "--days", "1000", "--json"]);
    assert_eq!(soon.status.code(), Some(1));
    let reports: Value = serde_json::from_str(text(&soon.stdout)).unwrap();
    assert_eq!(reports[0]["good"], false);
    assert_eq!(reports[0]["key_matches"], true);
    assert_eq!(reports[0]["chain"].as_array().unwrap().len(), 2);
    let half = run(home.path(), &["certs", "check", "cert.pem"]);
    assert_eq!(half.status.code(), Some(2), "a certificate needs its key");
}

#[test]
fn a_hangup_reloads_certificates_and_ends_nothing() {
    let place = Place::new("");
    let mut server = place.serve();
    server.process.stderr.line_with("try first:");
    server.process.signal(Signal::HUP);
    server.process.stderr.line_with("certificates reloaded");
    assert!(server.process.is_running());
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.ends(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once_and_says_who_was_cut() {
    let place = Place::new("drain = \"1h\"");
    let mut server = place.serve();
    let mut stubborn = TcpStream::connect(server.at("rooms")).unwrap();
    stubborn.write_all(b"/join here\n").unwrap();
    let mut answer = [0; 64];
    assert!(stubborn.read(&mut answer).unwrap() > 0);
    server.process.signal(Signal::TERM);
    server.process.stderr.line_with("draining");
    assert!(server.process.is_running(), "somebody is still there");
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.ends(), Some(0));
    server.process.stderr.line_with("1 session was cut");
}

#[test]
fn a_port_in_use_names_the_port_and_the_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new("");
    let output = roomwire(place.home())
        .args(["serve", "--config"])
        .arg(place.config())
        .env("ROOMWIRE_LISTENER_HTTP_BIND", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&address), "{said}");
    assert!(
        said.contains("`http`") || said.contains("\"http\"") || said.contains("http:"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_bad_configuration_is_told_with_its_place_and_nothing_starts() {
    let place = Place::new("");
    let good = fs::read_to_string(place.config()).unwrap();
    let bad = place.path("bad.toml");
    for (from, to, expected) in [
        ("workers = 2", "wokers = 2", "did you mean `workers`?"),
        ("workers = 2", "workers = \"two\"", "workers"),
        ("workers = 2", "workers = 100000", "256"),
        ("workers = 2", "drain = \"30\"", "drain"),
        ("protocol = \"https\"", "protocol = \"htps\"", "https"),
        (
            "bind = \"127.0.0.1:0\"",
            "bind = \"0.0.0.0:0\"",
            "open = true",
        ),
        ("[gateway]", "[gatway]", "gateway"),
        ("[gateway]", "[gateway", "bad.toml"),
    ] {
        fs::write(&bad, good.replacen(from, to, 1)).unwrap();
        for command in ["serve", "check"] {
            let output = run(place.home(), &[command, "--config", "bad.toml"]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{to}: {said}");
            assert!(said.contains(expected), "{to}: {said}");
            let position = said.split("bad.toml:").nth(1).unwrap_or_default();
            let mut numbers = position.split([':', '\n', ' ']);
            for what in ["line", "column"] {
                let number: Option<u32> = numbers.next().and_then(|it| it.parse().ok());
                assert!(number > Some(0), "{to}: no {what} in {said}");
            }
            assert!(output.stdout.is_empty(), "{to}");
        }
    }
    let missing = run(place.home(), &["serve", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(text(&missing.stderr).contains("missing.toml"));
    let variable = roomwire(place.home())
        .arg("check")
        .env("ROOMWIRE_LIMITS_MAX_MESAGE", "1KiB")
        .output()
        .unwrap();
    assert_eq!(variable.status.code(), Some(78));
    assert!(
        text(&variable.stderr).contains("MAX_MESSAGE"),
        "{}",
        text(&variable.stderr)
    );
}

#[test]
fn bad_usage_is_2_and_help_has_examples() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["dance"][..],
        &["serve", "--nope"],
        &["join", "ws://localhost"],
        &["join", "gopher://localhost", "a"],
        &["stats", "--interval", "soon"],
        &[],
    ] {
        let output = run(home.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["stats", "--help"],
        &["join", "--help"],
        &["publish", "--help"],
        &["certs", "--help"],
    ] {
        let output = run(home.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Examples:"), "{arguments:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = run(home.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("roomwire"), "{shell}");
    }
}

#[test]
fn check_prints_what_would_run() {
    let place = Place::new("");
    let output = run(place.home(), &["check", "--config", "roomwire.toml"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    for listener in ["rooms", "rooms-udp", "http", "https"] {
        assert!(said.contains(listener), "{said}");
    }
    assert!(!place.path("data").exists(), "nothing is made");
    let schema = run(place.home(), &["check", "--schema"]);
    assert_eq!(schema.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("a JSON schema");
    assert!(schema["properties"]["limits"].is_object(), "{schema}");
}

#[test]
fn stats_reads_the_page_of_a_running_gateway() {
    let place = Place::new("");
    let none = place.stats(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        text(&none.stderr).contains("roomwire serve"),
        "says what to do"
    );

    let server = place.serve();
    let mut peer = TcpStream::connect(server.at("rooms")).unwrap();
    peer.write_all(b"/join stats\n").unwrap();
    eventually(|| {
        let table = place.stats(&[]);
        assert_eq!(table.status.code(), Some(0));
        let table = text(&table.stdout).to_owned();
        assert!(
            table.contains("running") && table.contains("cli"),
            "{table}"
        );
        let row = table
            .lines()
            .find(|line| line.starts_with("hub_joins_total"));
        row.filter(|row| row.contains('1')).map(|_| ()).ok_or(table)
    });
    let json = place.stats(&["--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!(json["state"], "running");
    assert_eq!(json["counters"]["hub_joins_total"]["value"], 1);
    assert_eq!(json["counters"]["sessions"]["value"], 1);
    let all = place.stats(&["--all"]);
    assert!(text(&all.stdout).lines().count() > 80);
    let twice = place.stats(&["--json", "--watch", "--interval", "10ms", "--count", "2"]);
    assert_eq!(twice.status.code(), Some(0));
    assert_eq!(text(&twice.stdout).lines().count(), 2);
}

#[test]
fn stats_outlives_a_gateway_that_is_killed_and_keeps_its_last_figures() {
    let place = Place::new("");
    let mut server = place.serve();
    let mut command = roomwire(place.home());
    command
        .args(["stats", "--watch", "--json", "--interval", "20ms", "--page"])
        .arg(place.page());
    let mut watch = Process::spawn(&mut command);
    let mut peer = TcpStream::connect(server.at("rooms")).unwrap();
    peer.write_all(b"/join last\nwords\n").unwrap();
    let watched = watch.stdout.clone();
    let last = || -> Value {
        let text = watched.text();
        serde_json::from_str(text.lines().last().unwrap_or("null")).expect("JSON")
    };
    let published = |json: &Value| json["counters"]["hub_publishes_total"]["value"].clone();
    eventually(|| {
        let json = last();
        let seen = json["state"] == "running" && published(&json) == 1;
        if seen {
            Ok(())
        } else {
            Err(json["state"].clone())
        }
    });
    server.process.signal(Signal::KILL);
    assert_eq!(server.process.ends(), None);
    eventually(|| {
        let json = last();
        if json["state"] == "dead" {
            Ok(())
        } else {
            Err(json["state"].clone())
        }
    });
    assert_eq!(published(&last()), 1, "the last figures");
    assert!(watch.is_running(), "the reader goes on");
    let table = place.stats(&[]);
    assert_eq!(table.status.code(), Some(0));
    let table = text(&table.stdout);
    assert!(table.to_lowercase().contains("dead"), "{table}");
    assert!(table.contains("hub_publishes_total"), "{table}");

    // The next gateway of this name takes the page over, and the reader follows it.
    let _next = place.serve();
    eventually(|| {
        let json = last();
        let seen = json["state"] == "running" && published(&json) == 0;
        if seen {
            Ok(())
        } else {
            Err(json["state"].clone())
        }
    });
}

/// The reader of `examples/`, where there is a Python to run it.
fn read_counters(arguments: &[&str]) -> Option<Output> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/read_counters.py");
    let output = Command::new("python3")
        .arg(program)
        .args(arguments)
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Past the runner's capture, so that it is seen although the test passes.
            let line: &[u8] = b"SKIPPED: python3 not found\n";
            std::io::stderr().write_all(line).unwrap();
            None
        }
        Err(error) => panic!("python3: {error}"),
    }
}

#[test]
fn a_reader_in_another_language_says_what_stats_says() {
    let place = Place::new("[[rooms.pattern]]\nmatch = 'news.>'");
    let page = place.page();
    let page = page.to_str().unwrap();
    if read_counters(&["--help"]).is_none() {
        return;
    }
    let mut server = place.serve();
    let mut peer = TcpStream::connect(server.at("rooms")).unwrap();
    peer.write_all(b"/join news.of.today\nwords\n/join lobby\nmore words\n")
        .unwrap();
    let mut web = TcpStream::connect(server.at("http")).unwrap();
    web.write_all(b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let figures = |json: &Value, kind: &str, label: &str| -> Value {
        let blocks = json["blocks"].as_array().unwrap();
        let mut blocks = blocks.iter();
        let found = blocks.find(|it| it["kind"] == kind && it["label"] == label);
        found.map_or(Value::Null, |block| block["figures"].clone())
    };
    let published = eventually(|| {
        let json: Value = serde_json::from_slice(&place.stats(&["--json"]).stdout).unwrap();
        let seen = json["counters"]["hub_publishes_total"]["value"] == 2
            && json["counters"]["http_requests_total"]["value"] == 1
            && figures(&json, "room", "lobby")["room_offset"] == 1;
        if seen { Ok(json) } else { Err(()) }
    });
    assert_eq!(
        figures(&published, "rooms", "news.>")["rooms_publishes_total"],
        1
    );
    assert_eq!(
        figures(&published, "rooms", "other")["rooms_publishes_total"],
        1
    );
    assert_eq!(
        figures(&published, "listener", "rooms")["listener_sessions"],
        1
    );
    assert_eq!(
        figures(&published, "listener", "http")["listener_http_requests_total"],
        1
    );

    // Halted, so that the page stands still while both look at it.
    let same = |state: &str| {
        eventually(|| {
            let stats = place.stats(&["--json"]);
            let other = read_counters(&["--json", "--page", page]).expect("it was there before");
            assert_eq!(text(&other.stderr), "");
            let (ours, theirs) = (text(&stats.stdout), text(&other.stdout));
            let json: Value = serde_json::from_str(theirs).unwrap();
            if ours == theirs && json["state"] == state {
                Ok(())
            } else {
                Err((ours.to_owned(), theirs.to_owned()))
            }
        });
    };
    server.process.signal(Signal::STOP);
    same("stalled");
    server.process.signal(Signal::CONT);
    server.process.signal(Signal::KILL);
    server.process.ends();
    same("dead");
    let shown = read_counters(&["--page", page]).expect("it was there before");
    assert!(text(&shown.stdout).contains("dead"));
    assert!(text(&shown.stdout).contains("hub_publishes_total"));
}

#[test]
fn a_reader_in_another_language_refuses_what_it_does_not_know() {
    let place = Place::new("");
    let page = place.page();
    let name = page.to_str().unwrap();
    drop(place.serve());
    let good = fs::read(&page).unwrap();
    let refuses = |bytes: &[u8], expected: &str| {
        fs::write(&page, bytes).unwrap();
        let Some(output) = read_counters(&["--page", name]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(1), "{expected}");
        let said = text(&output.stderr);
        assert!(
            said.contains(expected) && !said.contains("Traceback"),
            "{said}"
        );
    };
    let with = |offset: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    refuses(&[], "too short");
    refuses(&good[..good.len() / 2], "cut off");
    refuses(&vec![0x5a; good.len()], "not a counter page");
    refuses(&with(8, 2), "layout 2");
    refuses(&with(8, 1_u64.swap_bytes()), "byte order");
    for offset in (16..160).step_by(8).chain((184..232).step_by(8)) {
        // The reserved space and the identity may say anything.
        if ![120, 128].contains(&offset) {
            refuses(&with(offset, u64::MAX - 7), "a");
        }
    }
    fs::remove_file(&page).unwrap();
    if let Some(output) = read_counters(&["--page", name]) {
        assert!(text(&output.stderr).contains("no counter page"));
    }
}

#[test]
fn a_restart_keeps_the_counters_where_it_is_told_to() {
    let place = Place::new("counters = 'keep'");
    let published = || -> Value {
        let json: Value = serde_json::from_slice(&place.stats(&["--json"]).stdout).unwrap();
        json["counters"]["hub_publishes_total"]["value"].clone()
    };
    for expected in [1, 2] {
        let server = place.serve();
        let mut peer = TcpStream::connect(server.at("rooms")).unwrap();
        peer.write_all(b"/join kept\nwords\n").unwrap();
        eventually(|| {
            let now = published();
            if now == expected { Ok(()) } else { Err(now) }
        });
    }
}

#[test]
fn stats_clean_removes_the_page_of_a_gateway_that_is_gone_and_no_other() {
    let place = Place::new("");
    let server = place.serve();
    let refused = place.stats(&["--clean"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("running"));
    assert!(place.page().exists());
    drop(server);
    let cleaned = place.stats(&["--clean"]);
    assert_eq!(cleaned.status.code(), Some(0));
    assert!(text(&cleaned.stdout).contains("removed"));
    assert!(!place.page().exists());
}

#[test]
fn top_prints_one_screen_for_scripts_also_of_a_gateway_that_was_killed() {
    let place = Place::new("");
    let top = |arguments: &[&str]| {
        let mut command = roomwire(place.home());
        let page = place.page();
        command
            .args(["top", "--interval", "100ms", "--page"])
            .arg(page);
        command.args(arguments).output().expect("the binary runs")
    };
    let none = top(&["--once"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("roomwire serve"));
    let mut server = place.serve();
    let mut peer = TcpStream::connect(server.at("rooms")).unwrap();
    peer.write_all(b"/join busy\nwords\n").unwrap();
    eventually(|| {
        let screen = top(&["--once", "--tab", "rooms"]);
        let screen = text(&screen.stdout).to_owned();
        if screen.contains("busy") && screen.contains("running") {
            Ok(())
        } else {
            Err(screen)
        }
    });
    let no_terminal = top(&[]);
    assert_eq!(no_terminal.status.code(), Some(1));
    assert!(text(&no_terminal.stderr).contains("--once"));
    server.process.signal(Signal::KILL);
    server.process.ends();
    let screen = top(&["--once", "--tab", "all", "--filter", "publishes"]);
    assert_eq!(screen.status.code(), Some(0));
    let screen = text(&screen.stdout);
    assert!(
        screen.contains("DEAD") && screen.contains("hub_publishes_total"),
        "{screen}"
    );
    assert!(!screen.contains("sessions_opened_total"), "{screen}");
}

#[test]
fn two_gateways_of_one_name_are_refused() {
    let place = Place::new("");
    let server = place.serve();
    let output = run(place.home(), &["serve", "--config", "roomwire.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let pid = server.process.child.id().to_string();
    assert!(said.contains(&pid), "which process: {said}");
    assert!(said.contains("--instance"), "what to do: {said}");
    let stats = place.stats(&[]);
    assert!(
        text(&stats.stdout).contains("running"),
        "the first one goes on"
    );
}

#[test]
fn join_and_publish_speak_over_every_kind_of_url() {
    let place = Place::new("");
    let server = place.serve();
    let ca = place.path("data/certs/ca.pem");
    let ca = ca.to_str().unwrap();
    let http = server.port("http");
    let https = server.port("https");
    let urls = [
        format!("ws://localhost:{http}"),
        format!("wss://localhost:{https}"),
        format!("tcp://{}", server.at("rooms")),
        format!("udp://{}", server.at("rooms-udp")),
        format!("https://localhost:{https}"),
        format!("http://localhost:{http}"),
    ];
    for (number, url) in urls.iter().enumerate() {
        let room = format!("room{number}");
        let join = |url: &str, name: &str, more: &[&str]| {
            let mut command = roomwire(place.home());
            command
                .args(["join", url, &room, "--name", name, "--ca", ca])
                .args(more);
            let process = Process::spawn(&mut command);
            process.stderr.line_with(&format!("you are in {room}"));
            process
        };
        let mut ann = join(url, "ann", &[]);
        let mut eve = join(&urls[2], "eve", &["--json"]);
        let mut command = roomwire(place.home());
        command.args(["publish", url, &room, "hello", "--name", "bob", "--ca", ca]);
        let published = command.output().unwrap();
        assert_eq!(
            published.status.code(),
            Some(0),
            "{url}: {}",
            text(&published.stderr)
        );
        assert_eq!(text(&published.stdout), "1\n", "{url}");
        assert_eq!(ann.stdout.line_with("bob"), "bob: hello", "{url}");
        let line = eve.stdout.line_with("bob");
        let message: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&message["from"], &message["data"]),
            (&"bob".into(), &"hello".into()),
            "{url}"
        );
        ann.types("é 🎉");
        let line = eve.stdout.line_with("ann");
        let message: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&message["data"], &message["offset"]),
            (&"é 🎉".into(), &2.into()),
            "{url}"
        );
        eve.types("back");
        assert_eq!(ann.stdout.line_with("eve"), "eve: back", "{url}");
        ann.types("/history 2");
        eventually(|| {
            let all = ann.stdout.text();
            let back = all
                .lines()
                .filter(|line| line.contains("eve: back"))
                .count();
            if back == 2 { Ok(()) } else { Err(all) }
        });
        ann.types("/quit");
        assert_eq!(ann.ends(), Some(0), "{url}: {}", ann.stderr.text());
        eve.signal(Signal::INT);
        assert_eq!(eve.ends(), Some(0), "{url}");
    }
}

#[test]
fn join_comes_back_after_the_gateway_did() {
    let place = Place::new("");
    let mut server = place.serve();
    let address = server.at("rooms").to_owned();
    let mut command = roomwire(place.home());
    command.args([
        "join",
        &format!("tcp://{address}"),
        "again",
        "--name",
        "ann",
    ]);
    let ann = Process::spawn(&mut command);
    ann.stderr.line_with("you are in again");
    server.process.signal(Signal::KILL);
    server.process.ends();
    // The same port again: nothing else takes it in the meantime but by a rare accident.
    let mut command = roomwire(place.home());
    command
        .args(["serve", "--print-addresses", "--config"])
        .arg(place.config())
        .env("ROOMWIRE_LISTENER_ROOMS_BIND", &address);
    let next = Process::spawn(&mut command);
    next.stdout.line_with("[");
    eventually(|| {
        let times = ann.stderr.text().matches("you are in again").count();
        let text = ann.stderr.text();
        if times >= 2 || text.contains("back") {
            Ok(())
        } else {
            Err(text)
        }
    });
    let publish = run(
        place.home(),
        &[
            "publish",
            &format!("tcp://{address}"),
            "again",
            "hello",
            "--name",
            "bob",
        ],
    );
    assert_eq!(publish.status.code(), Some(0), "{}", text(&publish.stderr));
    ann.stdout.line_with("bob: hello");
}

#[test]
fn a_client_that_reaches_nobody_fails_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    for scheme in ["ws", "tcp", "http"] {
        let url = format!("{scheme}://{address}");
        let output = run(home.path(), &["publish", &url, "a", "b"]);
        assert_eq!(output.status.code(), Some(1), "{url}");
        let said = text(&output.stderr);
        assert!(said.contains(&address.port().to_string()), "{url}: {said}");
        assert!(output.stdout.is_empty(), "{url}");
    }
    let place = Place::new("");
    let server = place.serve();
    let url = format!("https://localhost:{}", server.port("https"));
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["publish", &url, "a", "b"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "a certificate that nobody trusts"
    );
}

#[test]
fn certs_makes_shows_and_explains_the_development_certificates() {
    let home = tempfile::tempdir().unwrap();
    let made = run(home.path(), &["certs", "create"]);
    assert_eq!(made.status.code(), Some(0));
    let path = run(home.path(), &["certs", "path"]);
    let ca = PathBuf::from(text(&path.stdout).trim());
    assert!(
        ca.starts_with(home.path()),
        "nothing is written outside of the user's directory"
    );
    let before = fs::read(&ca).expect("the CA");
    let again = run(home.path(), &["certs", "create"]);
    assert!(
        text(&again.stdout).contains("already there"),
        "{}",
        text(&again.stdout)
    );
    assert_eq!(fs::read(&ca).unwrap(), before, "it is used again");
    let mut keys = 0;
    for entry in fs::read_dir(ca.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains("PRIVATE KEY") {
            keys += 1;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path:?} is the owner's alone");
        }
    }
    assert_eq!(keys, 2);
    let shown = run(home.path(), &["certs", "show"]);
    for part in ["localhost", "127.0.0.1", "::1"] {
        assert!(
            text(&shown.stdout).contains(part),
            "{}",
            text(&shown.stdout)
        );
    }
    let trust = run(home.path(), &["certs", "trust"]);
    assert!(text(&trust.stdout).contains(ca.to_str().unwrap()));
    let missing = run(home.path(), &["certs", "show", "missing.pem"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("missing.pem"));
}
