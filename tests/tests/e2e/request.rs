//! Asking a room and gathering its answers, in four modes.

use roomwire_tests::{Client, Event, TestGateway};

use crate::wire::WIRES;

/// An asker and two members who may answer, each on its own wire.
struct Table {
    asker: Client,
    first: Client,
    second: Client,
    sent: u64,
}

impl Table {
    async fn lay(gateway: &TestGateway) -> Self {
        let mut asker = gateway.lines().await;
        asker.hello("asker").await;
        asker.join("desk").await;
        let mut first = gateway.websocket().await;
        first.hello("first").await;
        first.join("desk").await;
        let mut second = gateway.datagrams().await;
        second.hello("second").await;
        second.join("desk").await;
        Self {
            asker,
            first,
            second,
            sent: 0,
        }
    }

    /// Asks; the members must be handed the same question.
    async fn ask(&mut self, mode: &str, timeout_ms: u64) -> String {
        self.sent += 1;
        let id = 1000 + self.sent;
        let ask = format!(
            r#"{{"id":{id},"type":"request","room":"desk","data":{{"q": {id}}},"mode":"{mode}","timeout_ms":{timeout_ms}}}"#
        );
        self.asker.send(&ask).await;
        let asked = self.first.next_of("request").await;
        assert_eq!(asked["room"], "desk");
        assert_eq!(asked["from"], "asker");
        assert_eq!(asked.data(), format!(r#"{{"q": {id}}}"#));
        let also = self.second.next_of("request").await;
        assert_eq!(also["request"], asked["request"]);
        asked.string("request").to_owned()
    }

    async fn answer(&mut self) -> Event {
        let answer = self.asker.next().await;
        assert_eq!(answer["id"], 1000 + self.sent, "{}", answer.text());
        answer
    }
}

async fn reply(client: &mut Client, request: &str, data: &str) {
    client
        .send(&format!(
            r#"{{"type":"reply","request":"{request}","data":{data}}}"#
        ))
        .await;
}

async fn refuse(client: &mut Client, request: &str) {
    client
        .send(&format!(
            r#"{{"type":"reply","request":"{request}","error":"no"}}"#
        ))
        .await;
}

/// Who replied what.
fn replies(answer: &Event) -> Vec<(String, String)> {
    assert_eq!(answer.kind(), "replies", "{}", answer.text());
    let reply = |reply: &serde_json::Value| {
        let said = match &reply["error"] {
            serde_json::Value::Null => reply["data"].to_string(),
            error => format!("error {error}"),
        };
        (reply["from"].as_str().expect("from").to_owned(), said)
    };
    answer["replies"]
        .as_array()
        .expect("replies")
        .iter()
        .map(reply)
        .collect()
}

fn said(who: &str, what: &str) -> (String, String) {
    (who.to_owned(), what.to_owned())
}

#[tokio::test]
async fn all_settled_waits_for_everybody_however_they_answer() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("all_settled", 10_000).await;
    refuse(&mut table.second, &request).await;
    table.second.ping().await;
    reply(&mut table.first, &request, "[1]").await;
    let answer = table.answer().await;
    assert_eq!(
        replies(&answer),
        [said("second", "error \"no\""), said("first", "[1]")]
    );
    assert_eq!(answer["missing"], 0);
    assert_eq!(answer["room"], "desk");
}

#[tokio::test]
async fn all_settled_gives_what_came_when_the_time_is_up() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("all_settled", 300).await;
    reply(&mut table.first, &request, "1").await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("first", "1")]);
    assert_eq!(answer["missing"], 1);
    gateway.reaches("hub_requests_timed_out_total", 1).await;
    // Too late is counted and does no harm.
    reply(&mut table.second, &request, "2").await;
    gateway.reaches("hub_replies_late_total", 1).await;
    table.asker.ping().await;
}

#[tokio::test]
async fn all_fails_with_the_first_refusal() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("all", 10_000).await;
    refuse(&mut table.second, &request).await;
    let answer = table.answer().await;
    assert_eq!(
        (answer.kind(), &answer["code"]),
        ("error", &"refused".into())
    );

    let request = table.ask("all", 10_000).await;
    reply(&mut table.first, &request, "1").await;
    table.first.ping().await;
    reply(&mut table.second, &request, "2").await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("first", "1"), said("second", "2")]);

    let request = table.ask("all", 200).await;
    reply(&mut table.first, &request, "1").await;
    let answer = table.answer().await;
    assert_eq!(
        (answer.kind(), &answer["code"]),
        ("error", &"timeout".into())
    );
}

#[tokio::test]
async fn race_takes_the_first_answer_even_a_refusal() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("race", 10_000).await;
    reply(&mut table.second, &request, "\"quick\"").await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("second", "\"quick\"")]);

    let request = table.ask("race", 10_000).await;
    refuse(&mut table.first, &request).await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("first", "error \"no\"")]);

    table.ask("race", 200).await;
    let answer = table.answer().await;
    assert_eq!(
        (answer.kind(), &answer["code"]),
        ("error", &"timeout".into())
    );
}

#[tokio::test]
async fn any_takes_the_first_answer_that_is_no_refusal() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("any", 10_000).await;
    refuse(&mut table.first, &request).await;
    table.first.ping().await;
    reply(&mut table.second, &request, "7").await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("second", "7")]);

    let request = table.ask("any", 10_000).await;
    refuse(&mut table.first, &request).await;
    refuse(&mut table.second, &request).await;
    let answer = table.answer().await;
    assert_eq!(
        (answer.kind(), &answer["code"]),
        ("error", &"refused".into())
    );

    let request = table.ask("any", 200).await;
    refuse(&mut table.first, &request).await;
    let answer = table.answer().await;
    assert_eq!(
        (answer.kind(), &answer["code"]),
        ("error", &"timeout".into())
    );
}

#[tokio::test]
async fn a_member_answers_a_request_once() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("all_settled", 10_000).await;
    reply(&mut table.first, &request, "1").await;
    reply(&mut table.first, &request, "2").await;
    // Nobody answers his own question either.
    reply(&mut table.asker, &request, "3").await;
    gateway.reaches("hub_replies_refused_total", 2).await;
    reply(&mut table.second, &request, "4").await;
    let answer = table.answer().await;
    assert_eq!(replies(&answer), [said("first", "1"), said("second", "4")]);
}

#[tokio::test]
async fn a_room_without_others_has_no_replies() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        let room = format!("{wire:?}");
        client.join(&room).await;
        let ask = format!(r#""type":"request","room":"{room}","data":1"#);
        let answer = client.ask(&ask, "replies").await;
        assert!(replies(&answer).is_empty(), "{wire:?}");
        let race = client
            .ask(&format!(r#"{ask},"mode":"race""#), "error")
            .await;
        assert_eq!(race["code"], "refused", "{wire:?}");
        let nowhere = r#""type":"request","room":"nowhere","data":1"#;
        let answer = client.ask(nowhere, "error").await;
        assert_eq!(answer["code"], "unknown_room", "{wire:?}");
    }
}

#[tokio::test]
async fn a_reply_to_nothing_is_an_unknown_request() {
    let gateway = TestGateway::start();
    for wire in WIRES {
        let mut client = wire.connect(&gateway).await;
        for request in ["0-99", "9999-1", "nonsense", ""] {
            let reply = format!(r#""type":"reply","request":"{request}","data":1"#);
            let answer = client.ask(&reply, "error").await;
            assert_eq!(answer["code"], "unknown_request", "{wire:?} {request:?}");
        }
    }
}

#[tokio::test]
async fn a_session_waits_for_a_bounded_number_of_answers() {
    let gateway = TestGateway::with(|config| config.limits.max_requests_per_session = 2);
    let mut table = Table::lay(&gateway).await;
    let one = table.ask("race", 60_000).await;
    table.ask("race", 60_000).await;
    let more = r#""type":"request","room":"desk","data":1"#;
    let refused = table.asker.ask(more, "error").await;
    assert_eq!(refused["code"], "too_many_requests");
    reply(&mut table.first, &one, "1").await;
    let answer = table.asker.next().await;
    assert_eq!((answer.kind(), &answer["id"]), ("replies", &1001.into()));
    // A place is free again.
    table.sent += 10;
    table.ask("race", 60_000).await;
}

#[tokio::test]
async fn an_asker_that_is_gone_leaves_nothing_behind() {
    let gateway = TestGateway::start();
    let mut table = Table::lay(&gateway).await;
    let request = table.ask("all", 60_000).await;
    drop(table.asker);
    gateway.has_members("desk", 2).await;
    reply(&mut table.first, &request, "1").await;
    gateway.reaches("hub_replies_late_total", 1).await;
}
