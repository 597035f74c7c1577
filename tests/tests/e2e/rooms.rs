//! What rooms do: echo, keys, resuming, patterns, presence, members, history, names.

use roomwire::config::{ByteSize, Span};
use roomwire_tests::{
    Client, Event, EventStream, LongPoll, Message, PATIENCE, TestGateway, eventually,
};

use crate::wire::WIRES;

/// The offsets and data of messages, for comparing.
fn told(messages: &[Message]) -> Vec<(u64, &str)> {
    messages
        .iter()
        .map(|it| (it.offset, it.data.as_str()))
        .collect()
}

async fn next_messages(client: &mut Client, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(client.message().await);
    }
    messages
}

fn names(members: &Event) -> Vec<String> {
    let members = members["members"].as_array().expect("members");
    let name = |member: &serde_json::Value| member["name"].as_str().unwrap_or("-").to_owned();
    members.iter().map(name).collect()
}

#[tokio::test]
async fn a_sender_hears_itself_unless_it_says_echo_false() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut sender = wire.connect(&gateway).await;
        let mut other = gateway.websocket().await;
        sender.join(&room).await;
        other.join(&room).await;
        sender.publish_with(&room, "1", r#","echo":false"#).await;
        sender.publish_with(&room, "2", r#","echo":true"#).await;
        sender.publish(&room, "3").await;
        let heard = next_messages(&mut sender, 2).await;
        assert_eq!(told(&heard), [(2, "2"), (3, "3")], "{wire:?}");
        let heard = next_messages(&mut other, 3).await;
        assert_eq!(told(&heard), [(1, "1"), (2, "2"), (3, "3")], "{wire:?}");
    }
}

#[tokio::test]
async fn publishing_needs_no_membership() {
    let gateway = TestGateway::start();
    let mut member = gateway.lines().await;
    member.join("open").await;
    for (wire, offset) in WIRES.into_iter().zip(1..) {
        let mut stranger = wire.connect(&gateway).await;
        assert_eq!(stranger.publish("open", "true").await, offset);
        assert_eq!(member.message().await.offset, offset);
    }
}

#[tokio::test]
async fn a_key_makes_a_publish_happen_once_whichever_wire_repeats_it() {
    let gateway = TestGateway::start();
    let mut member = gateway.websocket().await;
    member.join("keys").await;
    let counters = gateway.counters();
    let key = r#","key":"order-1""#;
    for wire in WIRES {
        let mut sender = wire.connect(&gateway).await;
        assert_eq!(sender.publish_with("keys", "\"first\"", key).await, 1);
    }
    let mut http = gateway.http1().await;
    let repeated = http.publish("keys", "\"other\"", key).await;
    assert_eq!(
        (repeated.status, &repeated.json()["offset"]),
        (200, &1.into())
    );
    let fresh = http
        .publish("keys", "\"second\"", r#","key":"order-2""#)
        .await;
    assert_eq!((fresh.status, &fresh.json()["offset"]), (201, &2.into()));
    // The same key in another room is another key.
    assert_eq!(member.publish_with("other", "1", key).await, 1);
    let heard = next_messages(&mut member, 2).await;
    assert_eq!(told(&heard), [(1, "\"first\""), (2, "\"second\"")]);
    counters
        .moved(&[
            ("hub_publishes_total", 3),
            ("hub_publishes_repeated_total", 3),
        ])
        .await;
}

#[tokio::test]
async fn coming_back_tells_what_was_missed_then_what_is_new() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut client = wire.connect(&gateway).await;
        let joined = client.join(&room).await;
        assert!(
            joined["recovered"].is_null(),
            "without since: {}",
            joined.text()
        );
        let epoch = joined.string("epoch").to_owned();
        client.publish(&room, "1").await;
        assert_eq!(client.message().await.offset, 1);
        drop(client);
        for data in ["2", "3"] {
            gateway.publish(&room, "x", data.as_bytes()).unwrap();
        }
        let counters = gateway.counters();
        let mut client = wire.connect(&gateway).await;
        let joined = client.join_since(&room, &epoch, 1).await;
        assert_eq!(joined["recovered"], true, "{wire:?}");
        assert_eq!(
            (joined.string("epoch"), joined.number("offset")),
            (&*epoch, 3)
        );
        gateway.publish(&room, "x", b"4").unwrap();
        let heard = next_messages(&mut client, 3).await;
        assert_eq!(told(&heard), [(2, "2"), (3, "3"), (4, "4")], "{wire:?}");
        counters
            .moved(&[
                ("hub_messages_replayed_total", 2),
                ("hub_recoveries_failed_total", 0),
            ])
            .await;
        // Nothing missed is recovered as well.
        let mut again = wire.connect(&gateway).await;
        let joined = again.join_since(&room, &epoch, 4).await;
        assert_eq!(joined["recovered"], true, "{wire:?}");
        gateway.publish(&room, "x", b"5").unwrap();
        assert_eq!(again.message().await.offset, 5, "{wire:?}");
    }
}

#[tokio::test]
async fn what_history_no_longer_reaches_is_not_recovered_but_the_rest_follows() {
    let gateway = TestGateway::with(|config| config.rooms.history.messages = 3);
    let mut keeper = gateway.lines().await;
    let epoch = keeper.join("short").await.string("epoch").to_owned();
    for data in 1..=5 {
        keeper.publish("short", &data.to_string()).await;
    }
    let counters = gateway.counters();
    for (since, recovered, expected) in [
        (5, true, vec![]),
        (2, true, vec![3, 4, 5]),
        (1, false, vec![3, 4, 5]),
        (0, false, vec![3, 4, 5]),
    ] {
        for wire in WIRES {
            let mut client = wire.connect(&gateway).await;
            let joined = client.join_since("short", &epoch, since).await;
            assert_eq!(joined["recovered"], recovered, "{wire:?} since {since}");
            for &offset in &expected {
                assert_eq!(
                    client.message().await.offset,
                    offset,
                    "{wire:?} since {since}"
                );
            }
        }
    }
    counters.moved(&[("hub_recoveries_failed_total", 6)]).await;
}

#[tokio::test]
async fn a_position_of_another_epoch_is_not_recovered_but_what_is_there_follows() {
    let gateway = TestGateway::start();
    gateway.publish("anew", "x", b"1").unwrap();
    for epoch in ["12345", "0", "no number", ""] {
        for wire in WIRES {
            let mut client = wire.connect(&gateway).await;
            let joined = client.join_since("anew", epoch, 7).await;
            assert_eq!(joined["recovered"], false, "{wire:?} {epoch:?}");
            assert_eq!(client.message().await.offset, 1, "{wire:?} {epoch:?}");
        }
    }
}

#[tokio::test]
async fn an_offset_that_was_never_given_is_not_recovered() {
    let gateway = TestGateway::start();
    let mut client = gateway.lines().await;
    let epoch = client.join("ahead").await.string("epoch").to_owned();
    let mut other = gateway.websocket().await;
    let joined = other.join_since("ahead", &epoch, 99).await;
    assert_eq!(joined["recovered"], false);
}

#[tokio::test]
async fn an_event_stream_goes_on_after_last_event_id() {
    let gateway = TestGateway::start();
    let mut stream = EventStream::open(gateway.http1().await, "sse", None).await;
    gateway.publish("sse", "x", b"1").unwrap();
    assert_eq!(stream.message().await.offset, 1);
    let last = stream.last_id().to_owned();
    drop(stream);
    gateway.publish("sse", "x", b"2").unwrap();
    gateway.publish("sse", "x", b"3").unwrap();
    for http in [gateway.http1().await, gateway.https2().await] {
        let mut stream = EventStream::open(http, "sse", Some(&last)).await;
        assert_eq!(stream.message().await.offset, 2);
        assert_eq!(stream.message().await.offset, 3);
    }
    let mut stream = EventStream::open(gateway.http1().await, "sse", Some(&last)).await;
    gateway.publish("sse", "x", b"4").unwrap();
    for offset in 2..=4 {
        assert_eq!(stream.message().await.offset, offset);
    }
}

#[tokio::test]
async fn an_event_stream_says_when_it_could_not_recover() {
    let gateway = TestGateway::start();
    gateway.publish("sse", "x", b"1").unwrap();
    for last in ["777:3", "nonsense", "0:0"] {
        let mut stream = EventStream::open(gateway.http1().await, "sse", Some(last)).await;
        let first = stream.next().await;
        assert_eq!(
            (&*first.event, &*first.data),
            ("unrecovered", "{}"),
            "{last}"
        );
        assert_eq!(stream.message().await.offset, 1, "{last}");
    }
}

#[tokio::test]
async fn a_long_poll_goes_on_where_it_stood_and_misses_nothing_between_two_polls() {
    let gateway = TestGateway::start();
    gateway.publish("poll", "x", b"0").unwrap();
    let mut poll = LongPoll::open(gateway.http1().await, "poll").await;
    for data in ["1", "2", "3"] {
        gateway.publish("poll", "x", data.as_bytes()).unwrap();
    }
    for offset in 2..=4 {
        assert_eq!(poll.message().await.offset, offset);
    }
    let (epoch, offset) = poll.position();
    let mut poll = LongPoll::since(gateway.http2().await, "poll", epoch, offset);
    gateway.publish("poll", "x", b"4").unwrap();
    assert_eq!(poll.message().await.offset, 5);
    // Nothing new: the wait runs out, and the answer is an empty list.
    let empty = poll.ask(1).await;
    assert_eq!(empty.status, 200);
    assert!(empty.event().messages().is_empty());
    assert_eq!(empty.event()["recovered"], true);
}

#[tokio::test]
async fn a_long_poll_of_another_epoch_gets_what_is_there_at_once() {
    let gateway = TestGateway::start();
    gateway.publish("poll", "x", b"1").unwrap();
    let mut poll = LongPoll::since(gateway.http1().await, "poll", "12345", 9);
    let answer = poll.ask(15).await;
    assert_eq!(answer.event()["recovered"], false);
    assert_eq!(told(&answer.event().messages()), [(1, "1")]);
}

#[tokio::test]
async fn patterns_hear_every_room_they_match_and_no_other() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let mut star = wire.connect(&gateway).await;
        let mut tail = wire.connect(&gateway).await;
        let prefix = format!("{wire:?}");
        star.join(&format!("{prefix}.*")).await;
        tail.join(&format!("{prefix}.>")).await;
        for room in ["", ".a", ".a.b", ".b", ".a.b.c", "x.a"] {
            let room = format!("{prefix}{room}");
            gateway.publish(&room, "x", b"0").unwrap();
        }
        gateway
            .publish(&format!("{prefix}.end"), "x", b"0")
            .unwrap();
        let rooms = |messages: Vec<Message>| -> Vec<String> {
            let room = |message: Message| message.room[prefix.len()..].to_owned();
            messages.into_iter().map(room).collect()
        };
        let heard = rooms(next_messages(&mut star, 3).await);
        assert_eq!(heard, [".a", ".b", ".end"], "{wire:?}");
        let heard = rooms(next_messages(&mut tail, 5).await);
        assert_eq!(heard, [".a", ".a.b", ".b", ".a.b.c", ".end"], "{wire:?}");
    }
}

#[tokio::test]
async fn a_member_that_a_pattern_matches_as_well_hears_a_message_once() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        for room in ["news.uk", "news.*", "news.>", ">"] {
            client.join(room).await;
        }
        client.publish("news.uk", "1").await;
        client.publish("news.uk", "2").await;
        let heard = next_messages(&mut client, 2).await;
        assert_eq!(heard[1].offset, heard[0].offset + 1, "{wire:?}: {heard:?}");
        client
            .ask(r#""type":"leave","room":"news.uk""#, "left")
            .await;
        client.publish("news.uk", "3").await;
        assert_eq!(
            client.message().await.data,
            "3",
            "{wire:?}: a pattern is left"
        );
        for room in ["news.*", "news.>", ">"] {
            let leave = format!(r#""type":"leave","room":"{room}""#);
            client.ask(&leave, "left").await;
        }
        client.publish("news.uk", "4").await;
        client.join("end").await;
        client.publish("end", "5").await;
        assert_eq!(client.message().await.data, "5", "{wire:?}");
    }
}

#[tokio::test]
async fn patterns_can_only_be_joined_and_left() {
    let gateway = TestGateway::start();
    let counters = gateway.counters();
    let mut refused = 0;
    for wire in WIRES {
        let mut client = wire.proven(&gateway).await;
        for command in [
            r#""type":"publish","room":"a.*","data":1"#,
            r#""type":"history","room":"a.>""#,
            r#""type":"members","room":">""#,
            r#""type":"request","room":"*","data":1"#,
        ] {
            let answer = client.ask(command, "error").await;
            assert_eq!(answer["code"], "pattern_not_allowed", "{wire:?} {command}");
            refused += 1;
        }
    }
    let mut http = gateway.http1().await;
    for path in ["events", "members", "messages"] {
        let answer = http.get(&format!("/v1/rooms/a.*/{path}")).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (400, "pattern_not_allowed"),
            "{path}"
        );
    }
    counters
        .moved(&[("command_errors_room_total", refused)])
        .await;
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_those_who_asked() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut watcher = wire.connect(&gateway).await;
        let mut blind = wire.connect(&gateway).await;
        watcher.join_with(&room, r#","presence":true"#).await;
        blind.join(&room).await;
        let told = watcher.next().await;
        assert_eq!(
            (told.kind(), told.string("room")),
            ("member_joined", &*room),
            "{wire:?}"
        );

        let mut ada = gateway.websocket().await;
        let welcome = ada.hello("ada").await;
        let client = welcome.string("client").to_owned();
        ada.join(&room).await;
        let told = watcher.next().await;
        assert_eq!(told.kind(), "member_joined");
        assert_eq!(told["member"]["client"], client);
        assert_eq!(told["member"]["name"], "ada");
        ada.ask(&format!(r#""type":"leave","room":"{room}""#), "left")
            .await;
        let told = watcher.next().await;
        assert_eq!(
            (told.kind(), told["member"]["client"].as_str()),
            ("member_left", Some(&*client))
        );

        // Whoever vanishes without a word is told as well.
        ada.join(&room).await;
        assert_eq!(watcher.next().await.kind(), "member_joined");
        drop(ada);
        let told = watcher.next().await;
        assert_eq!(
            (told.kind(), told["member"]["client"].as_str()),
            ("member_left", Some(&*client))
        );

        // Watchers over HTTP are not members.
        let stream = EventStream::open(gateway.http1().await, &room, None).await;
        drop(stream);
        gateway.publish(&room, "x", b"1").unwrap();
        assert_eq!(watcher.message().await.data, "1");
        assert_eq!(
            blind.message().await.data,
            "1",
            "{wire:?}: told nothing before"
        );
    }
}

#[tokio::test]
async fn members_are_listed_by_name_on_every_wire_they_came_by() {
    let gateway = TestGateway::start();
    let mut clients = Vec::new();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        client.hello(&format!("{wire:?}")).await;
        client.join("all").await;
        clients.push(client);
    }
    let mut person = gateway.person().await;
    person.command("/nick Ada L.").await;
    person.join("all").await;
    let mut nameless = gateway.lines().await;
    let id = nameless.ask(r#""type":"hello""#, "welcome").await;
    assert!(id["name"].is_null());
    let joined = nameless.join("all").await;
    let expected = ["-", "Ada L.", "Datagrams", "Lines", "WebSocket"];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(&joined)), expected);
    for client in &mut clients {
        let members = client
            .ask(r#""type":"members","room":"all""#, "members")
            .await;
        assert_eq!(
            (members["room"].as_str(), members.number("member_count")),
            (Some("all"), 5)
        );
        assert_eq!(sorted(names(&members)), expected);
        let ids = members["members"].as_array().unwrap().iter();
        assert_eq!(
            ids.filter(|member| member["client"] == id["client"])
                .count(),
            1
        );
    }
    assert!(person.reads().await.ends_with("joined all"));
    let who = person.command("/who").await;
    for name in &expected[1..] {
        assert!(who.contains(name), "{who}");
    }
    let answer = gateway.http2().await.get("/v1/rooms/all/members").await;
    assert_eq!(answer.json()["member_count"], 5);
}

#[tokio::test]
async fn a_room_that_is_not_there_is_unknown() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        for command in ["history", "members"] {
            let command = format!(r#""type":"{command}","room":"nowhere""#);
            let answer = client.ask(&command, "error").await;
            assert_eq!(answer["code"], "unknown_room", "{wire:?} {command}");
        }
    }
    let mut http = gateway.http1().await;
    for path in ["members", "messages"] {
        let answer = http.get(&format!("/v1/rooms/nowhere/{path}")).await;
        assert_eq!((answer.status, &*answer.problem()), (404, "unknown_room"));
    }
}

#[tokio::test]
async fn history_gives_the_newest_or_what_follows_a_position() {
    let gateway = TestGateway::with(|config| {
        config.rooms.history.messages = 6;
        config.limits.max_history_page = 5;
    });
    for data in 1..=8 {
        gateway
            .publish("past", "x", data.to_string().as_bytes())
            .unwrap();
    }
    for wire in WIRES {
        let mut client = wire.proven(&gateway).await;
        let all = client
            .ask(r#""type":"history","room":"past""#, "history")
            .await;
        let epoch = all.string("epoch").to_owned();
        let since = |offset: u64| format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#);
        for (more, expected) in [
            (String::new(), vec![4, 5, 6, 7, 8]),
            (r#","limit":2"#.to_owned(), vec![7, 8]),
            (r#","limit":0"#.to_owned(), vec![]),
            (r#","limit":1000000"#.to_owned(), vec![4, 5, 6, 7, 8]),
            (since(6), vec![7, 8]),
            (since(3) + r#","limit":2"#, vec![4, 5]),
            (since(8), vec![]),
        ] {
            let command = format!(r#""type":"history","room":"past"{more}"#);
            let answer = client.ask(&command, "history").await;
            let offsets: Vec<u64> = answer.messages().iter().map(|it| it.offset).collect();
            assert_eq!(offsets, expected, "{wire:?} {more}");
        }
    }
    let mut http = gateway.http1().await;
    let answer = http.get("/v1/rooms/past/messages?limit=2").await;
    assert_eq!(told(&answer.event().messages()), [(7, "7"), (8, "8")]);
    assert_eq!(answer.event().number("offset"), 8);
}

#[tokio::test]
async fn who_has_left_hears_nothing_more() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut client = wire.connect(&gateway).await;
        client.join(&room).await;
        client.join("end").await;
        client.publish(&room, "1").await;
        let leave = format!(r#""type":"leave","room":"{room}""#);
        client.ask(&leave, "left").await;
        client.publish(&room, "2").await;
        client.publish("end", "3").await;
        let heard = next_messages(&mut client, 2).await;
        let heard: Vec<&str> = heard.iter().map(|it| &*it.data).collect();
        assert_eq!(heard, ["1", "3"], "{wire:?}");
        let again = client.ask(&leave, "error").await;
        assert_eq!(again["code"], "not_a_member", "{wire:?}");
    }
}

#[tokio::test]
async fn a_session_is_in_a_bounded_number_of_rooms() {
    let gateway = TestGateway::with(|config| config.limits.max_rooms_per_session = 3);
    let counters = gateway.counters();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        for room in ["a", "b", "c.*"] {
            client.join(room).await;
        }
        // Joining again takes no further place.
        client.join("a").await;
        let refused = client.ask(r#""type":"join","room":"d""#, "error").await;
        assert_eq!(refused["code"], "too_many_rooms", "{wire:?}");
        client.ask(r#""type":"leave","room":"b""#, "left").await;
        client.join("d").await;
    }
    counters
        .complained(&[("command_errors_rooms_total", 3)])
        .await;
}

#[tokio::test]
async fn the_gateway_has_a_bounded_number_of_rooms() {
    let gateway = TestGateway::with(|config| {
        config.limits.max_rooms = 2;
        config.limits.max_rooms_per_session = 2;
    });
    let mut client = gateway.lines().await;
    client.join("a").await;
    client.publish("b", "1").await;
    let refused = client.ask(r#""type":"join","room":"c""#, "error").await;
    assert_eq!(refused["code"], "too_many_rooms");
    let refused = client
        .ask(r#""type":"publish","room":"c","data":1"#, "error")
        .await;
    assert_eq!(refused["code"], "too_many_rooms");
    let refused = gateway.http1().await.publish("c", "1", "").await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (507, "too_many_rooms")
    );
    client.publish("b", "2").await;
}

#[tokio::test]
async fn a_room_vanishes_when_it_is_empty_and_its_history_has_expired() {
    let gateway = TestGateway::with(|config| {
        config.rooms.history.age = Span::seconds(1);
        config.rooms.history.bytes = ByteSize::kib(64);
    });
    let mut client = gateway.lines().await;
    let first = client.join("brief").await.string("epoch").to_owned();
    client.publish("brief", "1").await;
    client.ask(r#""type":"leave","room":"brief""#, "left").await;
    gateway.reaches("hub_rooms", 1).await;
    gateway.reaches("hub_rooms", 0).await;
    gateway.reaches("hub_history_messages", 0).await;
    gateway.reaches("hub_history_bytes", 0).await;
    let joined = client.join_since("brief", &first, 1).await;
    assert_ne!(
        joined.string("epoch"),
        first,
        "another room by the same name"
    );
    assert_eq!(
        (joined.number("offset"), &joined["recovered"]),
        (0, &false.into())
    );
}

#[tokio::test]
async fn a_new_name_stands_on_what_is_said_from_then_on() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let room = format!("{wire:?}");
        let mut client = wire.connect(&gateway).await;
        client.join(&room).await;
        let welcome = client.ask(r#""type":"hello""#, "welcome").await;
        client.publish(&room, "1").await;
        assert_eq!(client.message().await.from, welcome.string("client"));
        let renamed = client.hello("ada").await;
        assert_eq!(renamed["client"], welcome["client"], "{wire:?}");
        client.publish(&room, "2").await;
        assert_eq!(client.message().await.from, "ada", "{wire:?}");
        let members = client
            .ask(&format!(r#""type":"members","room":"{room}""#), "members")
            .await;
        assert_eq!(names(&members), ["ada"], "{wire:?}");
        let refused = client.ask(r#""type":"hello","name":"""#, "error").await;
        assert_eq!(refused["code"], "invalid_name", "{wire:?}");
        client.publish(&room, "3").await;
        assert_eq!(client.message().await.from, "ada", "{wire:?}");
    }
}

#[tokio::test]
async fn a_person_needs_nothing_but_lines() {
    let gateway = TestGateway::start();
    let mut ada = gateway.person().await;
    let mut bob = gateway.person().await;
    assert_eq!(
        ada.command("hello?").await,
        "* you are in no room: /join ROOM first, /help helps"
    );
    assert_eq!(ada.command("/nick ada").await, "* you are ada now");
    assert_eq!(
        ada.command("/join tea").await,
        "* you are in tea; nobody else is here yet"
    );
    bob.command("/nick bob").await;
    assert_eq!(
        bob.command("/join tea").await,
        "* you are in tea; one other is here"
    );
    assert_eq!(ada.reads().await, "* bob joined tea");
    ada.types("one lump\r").await;
    assert_eq!(bob.reads().await, "ada: one lump");
    bob.types("   ").await;
    bob.types("two").await;
    assert_eq!(
        ada.reads().await,
        "bob: two",
        "one's own lines are not repeated"
    );
    assert_eq!(ada.command("/who").await, "* in tea: ada, bob");
    let unknown = ada.command("/dance").await;
    assert_eq!(unknown, "* /dance is not a command; /help lists them");
    ada.types("/help").await;
    let mut help = Vec::new();
    while help.len() < 7 {
        help.push(ada.reads().await);
    }
    assert!(help.iter().all(|line| line.starts_with("* ")), "{help:?}");
    assert_eq!(
        ada.command("/join more").await,
        "* you are in more; nobody else is here yet"
    );
    assert_eq!(ada.command("/leave").await, "* you left more");
    assert_eq!(ada.reads().await, "* what you write goes to tea");
    ada.types("back").await;
    assert_eq!(bob.reads().await, "ada: back");
    assert_eq!(ada.command("/quit").await, "* goodbye");
    assert_eq!(ada.try_read().await, None);
    drop(ada);
    assert_eq!(bob.reads().await, "* ada left tea");
    gateway.reaches("session_close_closed_total", 1).await;
}

#[tokio::test]
async fn what_a_member_says_cannot_play_with_a_persons_terminal() {
    let gateway = TestGateway::start();
    let mut person = gateway.person().await;
    person.join("tty").await;
    let mut client = gateway.websocket().await;
    client.publish("tty", r#""a\u001b[2J\nroot: b""#).await;
    assert!(person.reads().await.ends_with(r": a\u{1b}[2J\nroot: b"));
}

#[tokio::test]
async fn names_and_rooms_may_be_any_text() {
    let gateway = TestGateway::start();
    let room = "Größe 🎉.\\\"quoted\\\"/a b?#%";
    let mut client = gateway.lines().await;
    client.hello("Zoë \\\"Z\\\"").await;
    client.join(room).await;
    let publish = format!(r#""type":"publish","room":"{room}","data":1"#);
    client.ask(&publish, "published").await;
    let message = client.message().await;
    assert_eq!(message.room, "Größe 🎉.\"quoted\"/a b?#%");
    assert_eq!(message.from, "Zoë \"Z\"");
    let mut http = gateway.http2().await;
    let path = "/v1/rooms/Gr%C3%B6%C3%9Fe%20%F0%9F%8E%89.%22quoted%22%2Fa%20b%3F%23%25/messages";
    let answer = http.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.event().messages(), [message]);
}

#[tokio::test]
async fn messages_of_one_room_have_one_order_for_all() {
    const EACH: u64 = 200;
    const ALL: usize = 600;
    let gateway = TestGateway::with(|config| config.limits.max_outbox_messages = 10_000);
    let mut members = Vec::new();
    for wire in [WIRES[0], WIRES[1], WIRES[0], WIRES[1]] {
        let mut member = wire.connect(&gateway).await;
        member.join("order").await;
        members.push(member);
    }
    let publish = |name: &'static str| {
        let gateway = &gateway;
        async move {
            let mut client = gateway.lines().await;
            client.hello(name).await;
            let mut lines = String::new();
            for number in 0..EACH {
                lines +=
                    &format!("{{\"type\":\"publish\",\"room\":\"order\",\"data\":{number}}}\n");
            }
            client.send(lines.trim_end()).await;
            client.ping().await;
        }
    };
    tokio::join!(publish("a"), publish("b"), publish("c"));
    let mut orders = Vec::new();
    for member in &mut members {
        let heard = next_messages(member, ALL).await;
        let order: Vec<_> = heard
            .into_iter()
            .map(|it| (it.offset, it.from, it.data))
            .collect();
        assert!(order.iter().map(|it| it.0).eq(1..=3 * EACH));
        for name in ["a", "b", "c"] {
            let own = order
                .iter()
                .filter(|it| it.1 == name)
                .map(|it| it.2.parse::<u64>().unwrap());
            assert!(own.eq(0..EACH), "a sender's own order");
        }
        orders.push(order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
    eventually(PATIENCE, || {
        match gateway.snapshot().value("hub_deliveries_total") {
            Some(count) if count == 4 * 3 * EACH => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
