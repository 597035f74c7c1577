//! Clients that nobody here wrote, where this machine has them. One that is missing is named loudly.

use std::process::Output;

use roomwire_tests::{Event, TestGateway, find_program, run_program, skipped};

fn stdout(output: &Output) -> &str {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn curl_speaks_every_version_with_and_without_tls() {
    let Some(curl) = find_program("curl") else {
        return;
    };
    let gateway = TestGateway::start();
    let mut member = gateway.websocket().await;
    member.join("curl").await;
    let ca = gateway.development_ca().expect("a CA").to_str().unwrap();
    let plain = format!("http://localhost:{}", gateway.http().port());
    let tls = format!("https://localhost:{}", gateway.https().port());
    for (offset, (base, version)) in (1..).zip([
        (&plain, "--http1.1"),
        (&plain, "--http2-prior-knowledge"),
        (&tls, "--http1.1"),
        (&tls, "--http2"),
    ]) {
        let url = format!("{base}/v1/rooms/curl/messages");
        let common = [
            "-sS",
            "--ipv4",
            "--cacert",
            ca,
            version,
            "-w",
            "\n%{http_code} %{http_version}",
        ];
        let publish = [
            "-H",
            "content-type: application/json",
            "-d",
            r#"{"data":"from curl"}"#,
            &url,
        ];
        let output = run_program(&curl, &[&common[..], &publish].concat(), "").await;
        let expected = if version == "--http1.1" {
            "201 1.1"
        } else {
            "201 2"
        };
        let said = stdout(&output);
        assert!(said.ends_with(expected), "{version} {said}");
        let message = member.message().await;
        assert_eq!((message.offset, &*message.data), (offset, "\"from curl\""));
        let output = run_program(&curl, &[&common[..], &[&url]].concat(), "").await;
        let (page, _) = stdout(&output).rsplit_once('\n').expect("a page");
        let page = Event::parse(page);
        assert_eq!(page.messages().len() as u64, offset);
    }
    // Server-sent events, as they are on the wire.
    let url = format!("{tls}/v1/rooms/curl/events?since=0:0");
    let stream = [
        "-sS",
        "-N",
        "--ipv4",
        "--cacert",
        ca,
        "--max-time",
        "1",
        &url,
    ];
    let output = run_program(&curl, &stream, "").await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.matches("\ndata: {\"type\":\"message\"").count(),
        4,
        "{said}"
    );
}

#[tokio::test]
async fn nghttp_gets_and_posts() {
    let Some(nghttp) = find_program("nghttp") else {
        return;
    };
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("nghttp").await;
    let url = format!(
        "http://localhost:{}/v1/rooms/nghttp/messages",
        gateway.http().port()
    );
    let body = gateway.directory().join("body");
    std::fs::write(&body, r#"{"data":"from nghttp"}"#).unwrap();
    let body = body.to_str().unwrap();
    let post = ["-H", "content-type: application/json", "-d", body, &url];
    let output = run_program(&nghttp, &post, "").await;
    assert!(
        stdout(&output).contains("\"offset\":1"),
        "{}",
        stdout(&output)
    );
    assert_eq!(member.message().await.data, "\"from nghttp\"");
    let output = run_program(&nghttp, &[&url], "").await;
    assert!(stdout(&output).contains("\"from nghttp\""));
}

#[tokio::test]
async fn nc_is_a_complete_client() {
    let Some(nc) = find_program("nc") else {
        return;
    };
    let gateway = TestGateway::start();
    let mut member = gateway.websocket().await;
    member.join("nc").await;
    let port = gateway.tcp().port().to_string();
    let typed = "/nick ada\n/join nc\nhello from nc\n/who\n/quit\n";
    let output = run_program(&nc, &["127.0.0.1", &port], typed).await;
    let said = stdout(&output);
    assert!(
        said.starts_with("* you are ada now\n* you are in nc; one other is here\n"),
        "{said}"
    );
    assert!(said.ends_with("* goodbye\n"), "{said}");
    let message = member.message().await;
    assert_eq!(
        (&*message.from, &*message.data),
        ("ada", "\"hello from nc\"")
    );
}

/// Talks in a room with everybody in it: joins, publishes, hears itself and another, closes.
const PYTHON: &str = r#"
import asyncio, json, ssl, sys, websockets

async def main(url, ca):
    context = ssl.create_default_context(cafile=ca) if url.startswith("wss") else None
    async with websockets.connect(url, ssl=context, subprotocols=["roomwire.v1"]) as ws:
        assert ws.subprotocol == "roomwire.v1"
        assert [e.name for e in ws.protocol.extensions] == ["permessage-deflate"]
        await ws.send(json.dumps({"id": 1, "type": "hello", "name": "python"}))
        assert json.loads(await ws.recv())["type"] == "welcome"
        await ws.send(json.dumps({"id": 2, "type": "join", "room": "strangers"}))
        assert json.loads(await ws.recv())["type"] == "joined"
        await ws.send(json.dumps({"type": "publish", "room": "strangers", "data": {"text": "é"}}))
        own = json.loads(await ws.recv())
        assert own["from"] == "python" and own["data"] == {"text": "é"}, own
        long = {"text": "long enough to be compressed, " * 40}
        await ws.send(json.dumps({"type": "publish", "room": "strangers", "data": long}))
        assert json.loads(await ws.recv())["data"] == long
        await (await ws.ping())
        print(json.dumps(own["offset"]))
    assert ws.close_code == 1000, ws.close_code

asyncio.run(main(*sys.argv[1:]))
"#;

#[tokio::test]
async fn pythons_websockets_talks() {
    let Some(python) = find_program("python3") else {
        return;
    };
    let probe = run_program(&python, &["-c", "import websockets"], "").await;
    if !probe.status.success() {
        return skipped("python3's websockets");
    }
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("strangers").await;
    let ca = gateway.development_ca().expect("a CA").to_str().unwrap();
    for (offset, url) in [1, 3].into_iter().zip([
        format!("ws://localhost:{}/ws", gateway.http().port()),
        format!("wss://localhost:{}/ws", gateway.https().port()),
    ]) {
        let output = run_program(&python, &["-c", PYTHON, &url, ca], "").await;
        assert_eq!(stdout(&output), format!("{offset}\n"));
        let message = member.message().await;
        assert_eq!((&*message.from, message.offset), ("python", offset));
        assert!(member.message().await.data.len() > 1000);
    }
}

#[tokio::test]
async fn pythons_h2_opens_many_websockets_on_one_connection() {
    const SCRIPT: &str = include_str!("strangers_h2.py");
    let Some(python) = find_program("python3") else {
        return;
    };
    let probe = run_program(&python, &["-c", "import h2"], "").await;
    if !probe.status.success() {
        return skipped("python3's h2");
    }
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let port = gateway.https().port().to_string();
    let ca = gateway.development_ca().expect("a CA").to_str().unwrap();
    let output = run_program(&python, &["-c", SCRIPT, &port, ca], "").await;
    assert_eq!(stdout(&output), "20\n");
    counters
        .moved(&[
            ("tls_handshakes_total", 1),
            ("ws_handshakes_total", 20),
            ("ws_handshakes_refused_total", 1),
            ("session_close_closed_total", 20),
        ])
        .await;
}

const NODE: &str = r#"
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[1], ["roomwire.v1"]);
const send = (it) => socket.send(JSON.stringify(it));
socket.on("open", () => {
  if (socket.protocol !== "roomwire.v1") throw new Error(socket.protocol);
  if (!socket.extensions.includes("permessage-deflate")) throw new Error("not compressed");
  send({ id: 1, type: "hello", name: "node" });
  send({ id: 2, type: "join", room: "strangers" });
  send({ type: "publish", room: "strangers", data: [1, "é"] });
  send({ type: "publish", room: "strangers", data: "é".repeat(1000) });
});
socket.on("message", (text) => {
  const it = JSON.parse(text);
  if (it.type === "message" && it.offset === 1) {
    console.log(it.from, it.offset, JSON.stringify(it.data));
  } else if (it.type === "message") {
    console.log(it.data === "é".repeat(1000));
    socket.close(1000, "done");
  }
});
socket.on("close", (code) => process.exit(code === 1000 ? 0 : 1));
"#;

#[tokio::test]
async fn nodes_ws_talks() {
    let Some(node) = find_program("node") else {
        return;
    };
    let probe = run_program(&node, &["-e", "require('ws')"], "").await;
    if !probe.status.success() {
        return skipped("node's ws");
    }
    let gateway = TestGateway::start();
    let url = format!("ws://localhost:{}/ws", gateway.http().port());
    let output = run_program(&node, &["-e", NODE, &url], "").await;
    assert_eq!(stdout(&output), "node 1 [1,\"é\"]\ntrue\n");
}

#[tokio::test]
async fn nodes_fetch_reads_an_event_stream() {
    const SCRIPT: &str = r#"
const [base] = process.argv.slice(1);
const events = await fetch(`${base}/v1/rooms/fetch/events`);
await fetch(`${base}/v1/rooms/fetch/messages`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ data: "from fetch" }),
});
let text = "";
for await (const chunk of events.body) {
  text += new TextDecoder().decode(chunk);
  const line = text.split("\n").find((it) => it.startsWith("data: "));
  if (line) {
    console.log(JSON.parse(line.slice(6)).data);
    process.exit(0);
  }
}
"#;
    let Some(node) = find_program("node") else {
        return;
    };
    let probe = run_program(&node, &["-e", "if (!globalThis.fetch) process.exit(1)"], "").await;
    if !probe.status.success() {
        return skipped("node's fetch");
    }
    let gateway = TestGateway::start();
    let base = format!("http://127.0.0.1:{}", gateway.http().port());
    let output = run_program(&node, &["--input-type=module", "-e", SCRIPT, &base], "").await;
    assert_eq!(stdout(&output), "from fetch\n");
}
