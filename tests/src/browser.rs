//! Chromium without a window, told what to do over its DevTools protocol, where the machine has it.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::patience::pause;
use crate::program::{find_any_program, skipped};

/// What it is called on different systems.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Nothing but what it is told to do, and nothing to anybody else.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
];

/// How long anything may take. Chosen: a browser starts a dozen processes, which on a loaded machine
/// takes longer than all else that is tested.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A browser with one page; gone when it is dropped.
pub struct Browser {
    _process: Child,
    _profile: TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    commands: u64,
    /// Errors that the page wrote to its console, and exceptions that nobody caught.
    pub problems: Vec<String>,
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser")
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Browser {
    /// Starts it with an empty page; `None`, and said so, where there is no Chromium.
    pub async fn start() -> Option<Self> {
        let Some(program) = find_any_program(&NAMES) else {
            skipped("chromium");
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut process = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stderr = process.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        let address = within("where it listens", async {
            loop {
                let line = lines.next_line().await.expect("it can be read");
                let line = line.expect("it says where it listens");
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    return address.to_owned();
                }
            }
        });
        let address = address.await;
        let connected = within("the browser's answer", connect_async(&address)).await;
        let (socket, _) = connected.expect("it listens");
        let mut browser = Self {
            _process: process,
            _profile: profile,
            socket,
            session: None,
            commands: 0,
            problems: Vec::new(),
        };
        let blank = json!({"url": "about:blank"});
        let target = browser.command("Target.createTarget", &blank).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.command("Target.attachToTarget", &attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.command(domain, &json!({})).await;
        }
        Some(browser)
    }

    /// Goes to a page.
    pub async fn open(&mut self, url: &str) {
        self.command("Page.navigate", &json!({"url": url})).await;
    }

    /// The value of an expression in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.command("Runtime.evaluate", &asked).await;
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&mut self, expression: &str) {
        let asked = format!("Boolean({expression})");
        let holds = async {
            while self.evaluate(&asked).await != true {
                pause().await;
            }
        };
        within(expression, holds).await;
    }

    async fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.expect("the browser runs");
        within(method, async {
            loop {
                let heard = self.socket.next().await.expect("the browser runs");
                let Message::Text(text) = heard.expect("a WebSocket message") else {
                    continue;
                };
                let mut heard: Value = serde_json::from_str(&text).expect("JSON");
                if heard["id"] == id {
                    assert!(heard["error"].is_null(), "{method}: {heard}");
                    return heard["result"].take();
                }
                self.note(&heard);
            }
        })
        .await
    }

    fn note(&mut self, event: &Value) {
        let bad = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        if bad {
            self.problems.push(event["params"].to_string());
        }
    }
}
