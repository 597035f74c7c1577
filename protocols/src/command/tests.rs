//! Commands from text: what each becomes, what is refused, and with which words.

use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::*;

fn accept(input: &str, id: Option<u64>, command: Command<'_>) {
    assert_eq!(
        parse(input.as_bytes()),
        Ok(Envelope { id, command }),
        "{input}"
    );
}

/// Checks a refusal; `words` must be in its message.
fn refuse(input: impl AsRef<[u8]>, id: Option<u64>, code: ErrorCode, words: &str) {
    let input = input.as_ref();
    let error = parse(input).expect_err("must be refused");
    assert_eq!(
        (error.id, error.code),
        (id, code),
        "{}: {error}",
        input.escape_ascii()
    );
    assert!(
        error.message.contains(words),
        "{:?} lacks {words:?}",
        error.message
    );
}

fn room<'a>() -> Cow<'a, str> {
    Cow::Borrowed("r")
}

#[test]
fn every_command_is_read_with_its_defaults() {
    accept(r#"{"type":"ping"}"#, None, Command::Ping);
    accept(
        r#"{"type":"hello"}"#,
        None,
        Command::Hello {
            token: None,
            name: None,
        },
    );
    let join = Command::Join {
        room: room(),
        since: None,
        presence: false,
        cookie: None,
    };
    accept(r#"{"type":"join","room":"r","id":1}"#, Some(1), join);
    accept(
        r#"{"type":"leave","room":"r"}"#,
        None,
        Command::Leave { room: room() },
    );
    accept(
        r#"{"type":"publish","room":"r","data":1}"#,
        None,
        Command::Publish {
            room: room(),
            data: b"1",
            echo: true,
            key: None,
        },
    );
    accept(
        r#"{"type":"history","room":"r"}"#,
        None,
        Command::History {
            room: room(),
            limit: None,
            since: None,
        },
    );
    accept(
        r#"{"type":"members","room":"r"}"#,
        None,
        Command::Members { room: room() },
    );
    accept(
        r#"{"type":"request","room":"r","data":{}}"#,
        None,
        Command::Request {
            room: room(),
            data: b"{}",
            mode: Mode::AllSettled,
            timeout_ms: None,
        },
    );
    accept(
        r#"{"type":"reply","request":"q","data":[]}"#,
        None,
        Command::Reply {
            request: "q".into(),
            data: b"[]",
            error: None,
        },
    );
}

#[test]
fn every_field_is_read() {
    accept(
        r#"{"type":"hello","token":"t","name":"Ada"}"#,
        None,
        Command::Hello {
            token: Some("t".into()),
            name: Some("Ada".into()),
        },
    );
    let since = Some(Since {
        epoch: "e".into(),
        offset: 7,
    });
    accept(
        r#"{"type":"join","room":"a.*","since":{"epoch":"e","offset":7,"x":1},"presence":true,"cookie":"c"}"#,
        None,
        Command::Join {
            room: "a.*".into(),
            since: since.clone(),
            presence: true,
            cookie: Some("c".into()),
        },
    );
    accept(
        r#"{"type":"publish","room":"r","data":"x","echo":false,"key":"k"}"#,
        None,
        Command::Publish {
            room: room(),
            data: b"\"x\"",
            echo: false,
            key: Some("k".into()),
        },
    );
    accept(
        r#"{"type":"history","room":"r","limit":5,"since":{"offset":7,"epoch":"e"}}"#,
        None,
        Command::History {
            room: room(),
            limit: Some(5),
            since,
        },
    );
    for (word, mode) in [
        ("all", Mode::All),
        ("all_settled", Mode::AllSettled),
        ("race", Mode::Race),
        ("any", Mode::Any),
    ] {
        accept(
            &format!(r#"{{"type":"request","room":"r","data":0,"mode":"{word}","timeout_ms":9}}"#),
            None,
            Command::Request {
                room: room(),
                data: b"0",
                mode,
                timeout_ms: Some(9),
            },
        );
    }
    accept(
        r#"{"type":"reply","request":"q","error":"no"}"#,
        None,
        Command::Reply {
            request: "q".into(),
            data: b"null",
            error: Some("no".into()),
        },
    );
}

#[test]
fn type_and_id_may_stand_anywhere_and_any_u64_is_an_id() {
    accept(
        r#" { "id" : 0 , "type" : "ping" } "#,
        Some(0),
        Command::Ping,
    );
    accept(
        r#"{"room":[],"type":"ping","id":18446744073709551615}"#,
        Some(u64::MAX),
        Command::Ping,
    );
    accept(r#"{"type":"ping","id":null}"#, None, Command::Ping);
    for wrong in [
        "18446744073709551616",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "\"1\"",
        "true",
        "[]",
    ] {
        let input = format!(r#"{{"type":"ping","id":{wrong}}}"#);
        refuse(
            input,
            None,
            ErrorCode::BadField,
            "id must be an unsigned integer",
        );
    }
}

#[test]
fn data_is_the_publishers_own_bytes() {
    let data = |json: &str| {
        let input = format!("{{\"data\": \t{json}\r ,\"room\":\"r\",\"type\":\"publish\"}}");
        match parse(input.as_bytes()).unwrap().command {
            Command::Publish { data, .. } => assert_eq!(data, json.as_bytes()),
            other => panic!("{other:?}"),
        }
    };
    for json in [
        "null",
        "1.50e+3",
        "\"\\u0041\"",
        "{ \"b\" : 1,\n\"b\":[ ] }",
        "\"é\"",
        "1e999",
    ] {
        data(json);
    }
}

#[test]
fn unknown_fields_and_those_of_other_commands_are_ignored() {
    accept(
        r#"{"type":"ping","x":{"type":1},"room":7,"data":[{}],"mode":0}"#,
        None,
        Command::Ping,
    );
    accept(
        r#"{"type":"leave","room":"r","since":"x"}"#,
        None,
        Command::Leave { room: room() },
    );
}

#[test]
fn null_is_the_same_as_leaving_out_except_for_data() {
    let join = Command::Join {
        room: room(),
        since: None,
        presence: false,
        cookie: None,
    };
    accept(
        r#"{"type":"join","room":"r","since":null,"presence":null,"cookie":null}"#,
        None,
        join,
    );
    refuse(
        r#"{"type":"join","room":null}"#,
        None,
        ErrorCode::BadField,
        "room is missing",
    );
    refuse(
        r#"{"type":null}"#,
        None,
        ErrorCode::BadField,
        "type is missing",
    );
}

#[test]
fn escaped_keys_and_values_mean_what_they_stand_for() {
    accept(
        r#"{"\u0074ype":"\u006aoin","room":"r"}"#,
        None,
        Command::Join {
            room: room(),
            since: None,
            presence: false,
            cookie: None,
        },
    );
    accept(
        r#"{"type":"leave","room":"r\u00e9\/"}"#,
        None,
        Command::Leave {
            room: "ré/".into()
        },
    );
    refuse(
        r#"{"type":"leave","room":"a\n"}"#,
        None,
        ErrorCode::InvalidRoom,
        "control character",
    );
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let parsed = parse(br#"{"type":"publish","room":"caf\u00e9","key":"plain","data":1}"#).unwrap();
    let Command::Publish { room, key, .. } = parsed.command else {
        panic!("{parsed:?}")
    };
    assert!(matches!(room, Cow::Owned(_)));
    assert!(matches!(key, Some(Cow::Borrowed("plain"))));
}

#[test]
fn refusals_name_the_field_and_what_is_allowed() {
    let bad = |input: &str, words: &str| refuse(input, None, ErrorCode::BadField, words);
    bad("{}", "type is missing; it must be a string");
    bad(r#"{"type":5}"#, "type must be a string");
    bad(r#"{"type":"join"}"#, "room is missing; it must be a string");
    bad(r#"{"type":"join","room":[]}"#, "room must be a string");
    bad(
        r#"{"type":"publish","room":"r"}"#,
        "data is missing; it must be a JSON value",
    );
    bad(
        r#"{"type":"publish","room":"r","data":1,"echo":1}"#,
        "echo must be true or false",
    );
    bad(
        r#"{"type":"publish","room":"r","data":1,"key":""}"#,
        "key must be a string of 1 to 128",
    );
    bad(
        r#"{"type":"history","room":"r","limit":-1}"#,
        "limit must be an unsigned integer",
    );
    bad(r#"{"type":"reply","data":1}"#, "request is missing");
    bad(r#"{"type":"reply","request":"q"}"#, "data is missing");
    bad(
        r#"{"type":"request","room":"r","data":1,"mode":"some"}"#,
        "mode must be one of all,",
    );
    bad(r#"{"type":"ping","type":"ping"}"#, "type stands twice");
    bad(
        r#"{"type":"ping","room":1,"\u0072oom":2}"#,
        "room stands twice",
    );
    for since in [
        "5",
        "\"e:1\"",
        "{}",
        "[]",
        r#"{"epoch":"e"}"#,
        r#"{"offset":1}"#,
        r#"{"epoch":1,"offset":1}"#,
        r#"{"epoch":"e","offset":-1}"#,
        r#"{"epoch":"e","offset":1,"offset":2}"#,
        r#"{"epoch":"e","offset":null}"#,
    ] {
        let input = format!(r#"{{"type":"join","room":"r","since":{since}}}"#);
        bad(
            &input,
            "since must be an object with epoch (a string) and offset",
        );
    }
}

#[test]
fn keys_are_bounded() {
    let publish = |length: usize| {
        format!(
            r#"{{"type":"publish","room":"r","data":1,"key":"{}"}}"#,
            "k".repeat(length)
        )
    };
    assert!(parse(publish(MAX_KEY_BYTES).as_bytes()).is_ok());
    refuse(
        publish(MAX_KEY_BYTES + 1),
        None,
        ErrorCode::BadField,
        "key must be",
    );
}

#[test]
fn rooms_and_names_are_checked() {
    for kind in ["join", "leave", "publish", "history", "members", "request"] {
        let command =
            |room: &str| format!(r#"{{"id":3,"type":"{kind}","room":"{room}","data":0}}"#);
        refuse(
            command(""),
            Some(3),
            ErrorCode::InvalidRoom,
            "1 to 255 bytes",
        );
        refuse(
            command(&"r".repeat(256)),
            Some(3),
            ErrorCode::InvalidRoom,
            "too long",
        );
        refuse(
            command(">.a"),
            Some(3),
            ErrorCode::InvalidRoom,
            "only at the end",
        );
        assert!(parse(command(&"r".repeat(255)).as_bytes()).is_ok());
        match kind {
            "join" | "leave" => assert!(parse(command("a.>").as_bytes()).is_ok()),
            _ => refuse(
                command("a.>"),
                Some(3),
                ErrorCode::PatternNotAllowed,
                "name one room",
            ),
        }
    }
    refuse(
        r#"{"type":"hello","name":""}"#,
        None,
        ErrorCode::InvalidName,
        "1 to 64 bytes",
    );
    refuse(
        r#"{"type":"hello","name":"\u0007"}"#,
        None,
        ErrorCode::InvalidName,
        "control",
    );
}

#[test]
fn the_id_is_found_despite_faults_elsewhere() {
    refuse(
        r#"{"room":5,"type":"join","id":9}"#,
        Some(9),
        ErrorCode::BadField,
        "room must be",
    );
    refuse(
        r#"{"type":"jion","id":9}"#,
        Some(9),
        ErrorCode::UnknownType,
        "\"jion\"",
    );
    refuse(
        r#"{"type":1,"type":2,"id":9}"#,
        Some(9),
        ErrorCode::BadField,
        "type stands twice",
    );
    refuse(
        r#"{"id":9,"type":"ping""#,
        Some(9),
        ErrorCode::BadJson,
        "ends too early at byte 21",
    );
    refuse(
        r#"{"id":9,"type":"ping"}}"#,
        Some(9),
        ErrorCode::BadJson,
        "after the end",
    );
    refuse(
        r#"{"type":"ping",]"id":9}"#,
        None,
        ErrorCode::BadJson,
        "expected a key",
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for input in ["1", "[]", "\"a\"", "null", " [1,{}] "] {
        refuse(
            input,
            None,
            ErrorCode::BadJson,
            "expected an object at byte 0",
        );
    }
    refuse("", None, ErrorCode::BadJson, "ends too early");
    refuse("hello", None, ErrorCode::BadJson, "expected a value");
    refuse(
        b"{\"type\":\"\xff\"}",
        None,
        ErrorCode::BadUtf8,
        "invalid UTF-8 at byte 9",
    );
}

#[test]
fn an_unknown_type_is_shown_shortened() {
    let input = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
    let error = parse(input.as_bytes()).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownType);
    assert!(error.message.len() < 200, "{}", error.message);
}

#[test]
fn depth_is_bounded_so_that_receivers_can_read_what_is_passed_on() {
    let publish = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"type":"publish","room":"r","data":{open}{close}}}"#)
    };
    let deepest = usize::from(MAX_COMMAND_DEPTH) - 1;
    let input = publish(deepest);
    let Command::Publish { data, .. } = parse(input.as_bytes()).unwrap().command else {
        panic!("not a publish");
    };
    let mut page = Vec::new();
    let message = crate::event::MessageView {
        room: "r",
        offset: 1,
        from: "f",
        time_ms: 0,
        data,
    };
    crate::event::history(&mut page, None, "r", &"e", std::iter::once(message));
    assert!(serde_json::from_slice::<Tree>(&page).is_ok());
    refuse(
        publish(deepest + 1),
        None,
        ErrorCode::BadJson,
        "allowed are 120 levels",
    );
    refuse(
        publish(500_000),
        None,
        ErrorCode::BadJson,
        "nested too deeply",
    );
}

#[test]
fn publications_over_http_have_data_and_may_have_from_and_key() {
    let full = parse_publication(br#"{"data": [1] ,"from":"shop","key":"k","room":5}"#);
    let expected = Publication {
        data: b"[1]",
        from: Some("shop".into()),
        key: Some("k".into()),
    };
    assert_eq!(full, Ok(expected));
    let least = parse_publication(b"{\"data\":null}");
    assert_eq!(
        least,
        Ok(Publication {
            data: b"null",
            from: None,
            key: None
        })
    );
    let code = |body: &'static [u8]| parse_publication(body).map_err(|error| error.code);
    assert_eq!(code(b"{}"), Err(ErrorCode::BadField));
    assert_eq!(code(b"[]"), Err(ErrorCode::BadJson));
    assert_eq!(code(b"\xff"), Err(ErrorCode::BadUtf8));
    assert_eq!(
        code(b"{\"data\":1,\"from\":\"\"}"),
        Err(ErrorCode::InvalidName)
    );
    assert_eq!(code(b"{\"data\":1,\"data\":1}"), Err(ErrorCode::BadField));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_publish_is_read_as_serde_json_reads_it(
        id in prop::option::of(any::<u64>()),
        room in "[a-zé\"\\\\]{1,20}",
        data in prop_oneof![any::<String>().prop_map(Tree::from), any::<i64>().prop_map(Tree::from)],
        echo: bool,
        key in prop::option::of("\\PC{1,20}"),
        pretty: bool,
    ) {
        let tree = json!({
            "type": "publish", "id": id, "room": room, "data": data, "echo": echo, "key": key,
        });
        let text = if pretty { serde_json::to_vec_pretty(&tree) } else { serde_json::to_vec(&tree) };
        let text = text.unwrap();
        let parsed = parse(&text).unwrap();
        prop_assert_eq!(parsed.id, id);
        let Command::Publish { room: found, data: raw, echo: heard, key: named } = parsed.command else {
            panic!("not a publish");
        };
        prop_assert_eq!(found, room);
        prop_assert_eq!(serde_json::from_slice::<Tree>(raw).unwrap(), data);
        prop_assert_eq!(heard, echo);
        prop_assert_eq!(named.as_deref(), key.as_deref());
    }

    #[test]
    fn mutated_commands_are_refused_or_accepted_but_never_harmful(
        place: prop::sample::Index,
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        removed in 0_usize..6,
    ) {
        let mut text = br#"{"type":"join","id":77,"room":"\u00e9","since":{"epoch":"e","offset":7}}"#.to_vec();
        let start = place.index(text.len());
        let end = (start + removed).min(text.len());
        text.splice(start..end, bytes);
        match parse(&text) {
            // A command was read, so the text is JSON.
            Ok(_) => prop_assert!(serde_json::from_slice::<Tree>(&text).is_ok()),
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }
}
