//! Bystanders: members of a room that must not notice what others do wrong.

use roomwire_tests::{Client, EventStream, TestGateway};

/// Members on several wires of a room in which all is well.
pub(crate) struct Witness<'a> {
    gateway: &'a TestGateway,
    room: &'static str,
    members: Vec<Client>,
    stream: EventStream,
    said: u64,
}

impl<'a> Witness<'a> {
    pub(crate) async fn of(gateway: &'a TestGateway, room: &'static str) -> Self {
        let mut members = vec![
            gateway.websocket().await,
            gateway.lines().await,
            gateway.datagrams().await,
        ];
        for member in &mut members {
            member.join(room).await;
        }
        Self {
            gateway,
            room,
            members,
            stream: EventStream::open(gateway.https2().await, room, None).await,
            said: 0,
        }
    }

    /// One more message reaches everybody next, after exactly those before it.
    pub(crate) async fn hears_all(&mut self, after: &str) {
        self.said += 1;
        let data = self.said.to_string();
        let offset = self.gateway.publish(self.room, "calm", data.as_bytes());
        assert_eq!(offset, Ok(self.said), "{after}");
        for member in &mut self.members {
            let message = member.message().await;
            let told = (message.offset, message.data.as_str());
            assert_eq!(told, (self.said, data.as_str()), "after {after}");
        }
        let message = self.stream.message().await;
        assert_eq!(
            (message.offset, message.data),
            (self.said, data),
            "after {after}"
        );
    }
}
