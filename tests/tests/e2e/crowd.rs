//! A thousand members in one room: none lost, none twice, in order, and counted exactly.

use roomwire::config::Span;
use roomwire_tests::{Client, Task, TestGateway};

const MEMBERS: usize = 1000;
const MESSAGES: u64 = 100;

/// What a member saw: messages and the bytes of their JSON.
struct Seen {
    messages: u64,
    bytes: u64,
    client: Client,
}

async fn listen(mut client: Client) -> Seen {
    let mut bytes = 0;
    for offset in 1..=MESSAGES {
        let event = client.next().await;
        bytes += event.text().len() as u64;
        let message = event.message();
        assert_eq!(message.offset, offset, "in order, none lost, none twice");
        assert_eq!(message.data, format!(r#"{{"n":{offset}}}"#));
    }
    Seen {
        messages: MESSAGES,
        bytes,
        client,
    }
}

#[tokio::test]
async fn a_thousand_members_hear_every_message_once_and_in_order() {
    // A ping would be a frame that is no message, however busy this machine is.
    let gateway = TestGateway::with(|config| config.limits.ping_interval = Span::hours(1));
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let mut client = match number % 2 {
            0 => gateway.lines().await,
            _ => gateway.websocket().await,
        };
        client.join("crowd").await;
        members.push(client);
    }
    let counters = gateway.settled_counters().await;
    let listening: Vec<_> = members
        .into_iter()
        .map(|client| Task::spawn(listen(client)))
        .collect();
    for offset in 1..=MESSAGES {
        let data = format!(r#"{{"n":{offset}}}"#);
        assert_eq!(
            gateway.publish("crowd", "crier", data.as_bytes()),
            Ok(offset)
        );
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    for task in listening {
        seen.push(task.join().await);
    }
    let deliveries: u64 = seen.iter().map(|it| it.messages).sum();
    assert_eq!(deliveries, MEMBERS as u64 * MESSAGES);
    // A line ends with one byte; a frame of 126 to 65,535 bytes begins with four, a shorter one with two.
    let (mut lines, mut framing) = (0, 0);
    for (number, it) in seen.iter().enumerate() {
        match number % 2 {
            0 => lines += MESSAGES,
            _ => {
                framing += if it.bytes / MESSAGES < 126 {
                    2 * MESSAGES
                } else {
                    4 * MESSAGES
                }
            }
        }
    }
    let bytes: u64 = seen.iter().map(|it| it.bytes).sum();
    counters
        .moved(&[
            ("hub_publishes_total", MESSAGES),
            ("hub_deliveries_total", deliveries),
            ("hub_messages_fanned_out_total", 2 * MESSAGES),
            ("wire_frames_out_total", deliveries),
            ("wire_bytes_out_total", bytes + lines + framing),
            ("hub_outbox_dropped_total", 0),
        ])
        .await;
    assert!(
        counters.complaints().is_empty(),
        "{:?}",
        counters.complaints()
    );
    // Nothing more was on its way to anybody.
    for it in &mut seen {
        it.client.ping().await;
    }
    drop(seen);
    gateway.reaches("sessions", 0).await;
}
