//! Every event byte for byte, and read back by another parser.

use serde_json::Value as Tree;

use super::*;

/// Checks what `write` appends: exactly `expected`, which is one JSON object.
fn check(expected: &str, write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = std::str::from_utf8(&out)
        .unwrap()
        .strip_prefix("before")
        .unwrap();
    assert_eq!(text, expected);
    let tree: Tree = serde_json::from_str(text).unwrap();
    assert!(tree["type"].is_string());
}

const MESSAGE: MessageView<'static> = MessageView {
    room: "r",
    offset: 3,
    from: "ada",
    time_ms: 1_700_000_000_000,
    data: b"{\"a\": 1}",
};

#[test]
fn answers_carry_the_id_of_their_command() {
    check(r#"{"type":"pong"}"#, |out| pong(out, None));
    check(r#"{"type":"pong","id":0}"#, |out| pong(out, Some(0)));
    check(
        r#"{"type":"left","id":18446744073709551615,"room":"r"}"#,
        |out| {
            left(out, Some(u64::MAX), "r");
        },
    );
    check(
        r#"{"type":"published","id":1,"room":"r","offset":9}"#,
        |out| {
            published(out, Some(1), "r", 9);
        },
    );
    check(
        r#"{"type":"welcome","id":1,"client":"c1","name":"Ada","session_ttl":60}"#,
        |out| welcome(out, Some(1), "c1", Some("Ada"), 60),
    );
    check(
        r#"{"type":"welcome","client":"c1","name":null,"session_ttl":0}"#,
        |out| {
            welcome(out, None, "c1", None, 0);
        },
    );
    check(
        r#"{"type":"challenge","id":1,"room":"r","cookie":"abc"}"#,
        |out| {
            challenge(out, Some(1), "r", "abc");
        },
    );
    check(
        r#"{"type":"error","id":1,"code":"unknown_type","message":"a \"b\""}"#,
        |out| error(out, Some(1), ErrorCode::UnknownType, "a \"b\""),
    );
}

#[test]
fn joined_says_whether_it_recovered_only_when_that_was_asked() {
    let none = || std::iter::empty::<MemberView<'_>>();
    check(
        r#"{"type":"joined","id":1,"room":"r","epoch":"00ff","offset":7,"members":[],"member_count":0}"#,
        |out| joined(out, Some(1), "r", &"00ff", 7, none(), 0, None),
    );
    let members = [
        MemberView {
            client: 17,
            name: Some("Ada"),
        },
        MemberView {
            client: 18,
            name: None,
        },
    ];
    check(
        r#"{"type":"joined","room":"r","epoch":"e","offset":7,"members":[{"client":"17","name":"Ada"},{"client":"18","name":null}],"member_count":5,"recovered":false}"#,
        |out| joined(out, None, "r", &"e", 7, members.into_iter(), 5, Some(false)),
    );
    check(
        r#"{"type":"joined","room":"r","epoch":"e","offset":7,"members":[],"member_count":0,"recovered":true}"#,
        |out| joined(out, None, "r", &'e', 7, none(), 0, Some(true)),
    );
}

#[test]
fn messages_are_alike_alone_and_in_a_history() {
    let fields = r#""room":"r","offset":3,"from":"ada","time":1700000000000,"data":{"a": 1}"#;
    check(&format!(r#"{{"type":"message",{fields}}}"#), |out| {
        message(out, &MESSAGE)
    });
    check(
        &format!(
            r#"{{"type":"history","id":2,"room":"r","epoch":"e","messages":[{{{fields}}},{{{fields}}}]}}"#
        ),
        |out| history(out, Some(2), "r", &"e", [MESSAGE, MESSAGE].into_iter()),
    );
    check(
        r#"{"type":"history","room":"r","epoch":"e","messages":[]}"#,
        |out| {
            history(out, None, "r", &"e", std::iter::empty());
        },
    );
}

#[test]
fn lists_of_members_and_replies_are_written() {
    check(
        r#"{"type":"members","id":2,"room":"r","members":[{"client":"c\"1","name":null}],"member_count":1}"#,
        |out| {
            let members = std::iter::once(MemberView {
                client: "c\"1",
                name: None,
            });
            members_event(out, members);
        },
    );
    let replies_given = [
        ReplyView {
            from: "a",
            data: b"1",
            error: None,
        },
        ReplyView {
            from: "b",
            data: b"null",
            error: Some("no"),
        },
    ];
    check(
        r#"{"type":"replies","id":2,"room":"r","replies":[{"from":"a","data":1},{"from":"b","data":null,"error":"no"}],"missing":1}"#,
        |out| replies(out, Some(2), "r", replies_given.into_iter(), 1),
    );
}

fn members_event<'m>(out: &mut Vec<u8>, list: impl Iterator<Item = MemberView<'m>>) {
    members(out, Some(2), "r", list, 1);
}

#[test]
fn pushes_are_written() {
    let member = MemberView {
        client: "c1",
        name: Some("Ada"),
    };
    check(
        r#"{"type":"member_joined","room":"r","member":{"client":"c1","name":"Ada"}}"#,
        |out| member_joined(out, "r", &member),
    );
    check(
        r#"{"type":"member_left","room":"r","member":{"client":"c1","name":"Ada"}}"#,
        |out| member_left(out, "r", &member),
    );
    check(
        r#"{"type":"request","request":"q1","room":"r","from":"ada","data":[1]}"#,
        |out| request(out, "q1", "r", "ada", b"[1]"),
    );
    check(r#"{"type":"gap","room":"r","from":4,"to":6}"#, |out| {
        gap(out, "r", 4, 6)
    });
    check(
        r#"{"type":"goodbye","reason":"draining","reconnect":true,"after_ms":500}"#,
        |out| goodbye(out, "draining", true, 500),
    );
    check(
        r#"{"type":"goodbye","reason":"a\nb","reconnect":false,"after_ms":0}"#,
        |out| goodbye(out, "a\nb", false, 0),
    );
}

#[test]
fn strings_from_peers_cannot_break_out() {
    let nasty = "\",\"type\":\"goodbye\u{0}\u{1f}\\";
    let mut out = Vec::new();
    message(
        &mut out,
        &MessageView {
            room: nasty,
            from: nasty,
            ..MESSAGE
        },
    );
    let tree: Tree = serde_json::from_slice(&out).unwrap();
    assert_eq!(tree["type"], "message");
    assert_eq!(tree["room"], nasty);
    assert_eq!(tree["from"], nasty);
}
