//! Publish on one wire, receive on every other: one table.

use roomwire_tests::{Client, EventStream, Http, LongPoll, Message, Person, TestGateway};

/// JSON texts that a gateway is tempted to rebuild: white space, escapes, numbers that no float holds.
const PAYLOADS: &[&str] = &[
    r#""plain""#,
    r#"{ "b" : 1,	"a":[ ] , "b":2}"#,
    r#""\u00e9 é \ud83c\udf89 🎉 \/ \"quoted\" \\""#,
    "123456789012345678901234567890.0e-0",
    "null",
    r#"[1,{"deep":[[[[true]]]]},"",-0]"#,
    r#""line\nend\r\u0000\u001b[31m""#,
];

/// Lines that a person types.
const LINES: &[&str] = &[
    "hello",
    "  spaces  kept ",
    r#"{"not":"json"}"#,
    "é 🎉 \\ \" /who",
];

enum Publisher {
    Json(Client),
    Person(Person),
    Http(Http),
}

enum Receiver {
    Json(Client),
    Person(Person),
    Events(EventStream),
    LongPoll(LongPoll),
}

/// What was published, and what a receiver must see of it.
struct Published {
    offset: u64,
    from: String,
    data: String,
    shown: String,
}

async fn receivers(gateway: &TestGateway, room: &str) -> Vec<(&'static str, Receiver)> {
    let mut receivers = Vec::new();
    for (wire, mut client) in [
        ("websocket", gateway.websocket().await),
        ("websocket over tls", gateway.websocket_tls().await),
        ("websocket over http/2", gateway.websocket_http2().await),
        ("tcp json", gateway.lines().await),
        ("udp", gateway.datagrams().await),
    ] {
        client.join(room).await;
        receivers.push((wire, Receiver::Json(client)));
    }
    let mut person = gateway.person().await;
    person.join(room).await;
    receivers.push(("tcp chat", Receiver::Person(person)));
    for (wire, http) in [
        ("events over http/1.1", gateway.http1().await),
        ("events over http/2", gateway.https2().await),
    ] {
        let stream = EventStream::open(http, room, None).await;
        receivers.push((wire, Receiver::Events(stream)));
    }
    for (wire, http) in [
        ("long poll over http/1.1", gateway.https1().await),
        ("long poll over http/2", gateway.http2().await),
    ] {
        let poll = LongPoll::open(http, room).await;
        receivers.push((wire, Receiver::LongPoll(poll)));
    }
    receivers
}

async fn publishers(gateway: &TestGateway) -> Vec<(&'static str, Publisher)> {
    let mut publishers = Vec::new();
    for (wire, mut client) in [
        ("websocket", gateway.websocket().await),
        ("websocket over tls", gateway.websocket_tls().await),
        ("websocket over http/2", gateway.websocket_http2().await),
        ("tcp json", gateway.lines().await),
        ("udp", gateway.datagrams().await),
    ] {
        client.hello("ada").await;
        publishers.push((wire, Publisher::Json(client)));
    }
    let mut person = gateway.person().await;
    person.command("/nick ada").await;
    publishers.push(("tcp chat", Publisher::Person(person)));
    for (wire, http) in [
        ("http/1.1", gateway.http1().await),
        ("http/2", gateway.http2().await),
        ("http/1.1 over tls", gateway.https1().await),
        ("http/2 over tls", gateway.https2().await),
    ] {
        publishers.push((wire, Publisher::Http(http)));
    }
    publishers
}

/// Publishes everything to `room`, whose first offset is 1.
async fn publish_all(publisher: &mut Publisher, room: &str) -> Vec<Published> {
    let mut published = Vec::new();
    match publisher {
        Publisher::Json(client) => {
            for data in PAYLOADS {
                let offset = client.publish(room, data).await;
                published.push(Published::json(offset, "ada", data));
            }
        }
        Publisher::Person(person) => {
            person.join(room).await;
            for (line, offset) in LINES.iter().zip(1..) {
                person.types(line).await;
                published.push(Published {
                    offset,
                    from: "ada".to_owned(),
                    data: serde_json::to_string(line).unwrap(),
                    shown: format!("ada: {line}"),
                });
            }
            // Its answer tells that the lines before it were said.
            person.command("/who").await;
        }
        Publisher::Http(http) => {
            for (data, expected) in PAYLOADS.iter().zip(1..) {
                // Every other one is nameless.
                let named = expected % 2 == 0;
                let more = if named { r#","from":"ada""# } else { "" };
                let answer = http.publish(room, data, more).await;
                assert_eq!(answer.status, 201, "{}", answer.text());
                let offset = answer.json()["offset"].as_u64().expect("an offset");
                assert_eq!(answer.json()["room"], room);
                let from = if named { "ada" } else { "api" };
                published.push(Published::json(offset, from, data));
            }
        }
    }
    published
}

impl Published {
    fn json(offset: u64, from: &str, data: &str) -> Self {
        let shown = match serde_json::from_str(data) {
            // What is not printable is shown as an escape, so that nobody's terminal is played with.
            Ok(serde_json::Value::String(text)) => text
                .chars()
                .flat_map(|it| {
                    let escape = it.is_control();
                    let plain = (!escape).then_some(it);
                    plain
                        .into_iter()
                        .chain(it.escape_default().filter(move |_| escape))
                })
                .collect(),
            _ => data.replace('\t', " "),
        };
        Self {
            offset,
            from: from.to_owned(),
            data: data.to_owned(),
            shown: format!("{from}: {shown}"),
        }
    }

    fn check(&self, pair: &str, room: &str, message: &Message) {
        let expected = (room, self.offset, &*self.from, &*self.data);
        let found = (
            &*message.room,
            message.offset,
            &*message.from,
            &*message.data,
        );
        assert_eq!(found, expected, "{pair}");
        // 2020-01-01: any time of ours is after it.
        assert!(message.time_ms > 1_577_836_800_000, "{pair}: {message:?}");
    }
}

async fn receive_all(pair: &str, receiver: &mut Receiver, room: &str, published: &[Published]) {
    for expected in published {
        match receiver {
            Receiver::Json(client) => expected.check(pair, room, &client.message().await),
            Receiver::Events(stream) => expected.check(pair, room, &stream.message().await),
            Receiver::LongPoll(poll) => expected.check(pair, room, &poll.message().await),
            Receiver::Person(person) => assert_eq!(person.hears().await, expected.shown, "{pair}"),
        }
    }
}

#[tokio::test]
async fn what_is_published_on_any_wire_is_received_on_every_wire() {
    let gateway = TestGateway::start();
    let mut pairs = 0;
    for (number, (from, mut publisher)) in publishers(&gateway).await.into_iter().enumerate() {
        let room = format!("room.{number}");
        let mut receivers = receivers(&gateway, &room).await;
        let counters = gateway.counters();
        let mut published = publish_all(&mut publisher, &room).await;
        let offsets: Vec<u64> = published.iter().map(|it| it.offset).collect();
        let expected: Vec<u64> = (1..=published.len() as u64).collect();
        assert_eq!(offsets, expected, "published on {from}");
        // The last one is from elsewhere: were anything delivered twice, it would come before this.
        let last = published.len() as u64 + 1;
        assert_eq!(gateway.publish(&room, "end", b"\"end\"").unwrap(), last);
        published.push(Published::json(last, "end", "\"end\""));
        for (to, receiver) in &mut receivers {
            let pair = format!("{from} to {to}");
            receive_all(&pair, receiver, &room, &published).await;
            pairs += 1;
        }
        // A person is not told what she said herself; a long poll is told, not sent anything.
        let queued = receivers.len() as u64 - 2;
        let person = u64::from(matches!(publisher, Publisher::Person(_)));
        counters
            .moved(&[
                ("hub_publishes_total", last),
                ("hub_deliveries_total", last * queued + person),
            ])
            .await;
        assert_eq!(
            counters.complaints().len(),
            0,
            "{:?}",
            counters.complaints()
        );
    }
    assert_eq!(pairs, 10 * 10, "every publisher met every receiver");
}
