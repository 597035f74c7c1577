//! The scanner against a table of cases and against `serde_json`.

use proptest::prelude::*;
use serde_json::Value as Tree;

use super::*;

fn fault(input: &[u8]) -> Option<Fault> {
    check(input).err().map(|error| error.fault)
}

#[test]
fn values_are_accepted_with_white_space_around_them() {
    let accept = |input: &str, value: &str| {
        assert_eq!(check(input.as_bytes()), Ok(value), "{input:?}");
        assert!(serde_json::from_str::<Tree>(input).is_ok(), "{input:?}");
    };
    for value in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "0.0",
        "1E5",
        "1e-2",
        "\"\"",
        "\"a\\\"b\"",
        "\"\\u00e9\\ud83c\\udf89\"",
        "\"\u{7f}\u{2028}é\"",
        "[]",
        "{}",
        "[1]",
        "[[],{}]",
        "{\"\":{}}",
        "{\"a\":[1,{\"b\":null}],\"a\":2}",
        "[ 1 , 2 ]",
        "{ \"a\" : 1 }",
    ] {
        accept(value, value);
        accept(&format!(" \n\r\t{value}\t "), value);
    }
    // The range of a number is the reader's business.
    assert_eq!(check(b"1e999"), Ok("1e999"));
}

#[test]
fn what_is_no_json_is_refused_with_its_fault_and_place() {
    let refuse = |input: &[u8], at: usize, fault: Fault| {
        assert_eq!(
            check(input),
            Err(JsonError { at, fault }),
            "{}",
            input.escape_ascii()
        );
        assert!(
            serde_json::from_slice::<Tree>(input).is_err(),
            "{}",
            input.escape_ascii()
        );
    };
    for (input, at) in [
        ("", 0),
        ("  ", 2),
        ("[", 1),
        ("{\"a", 3),
        ("[1,", 3),
        ("-", 1),
        ("1.", 2),
    ] {
        refuse(input.as_bytes(), at, Fault::UnexpectedEnd);
    }
    for (input, at) in [
        ("nul", 0),
        ("truf", 0),
        ("]", 0),
        ("[,", 1),
        ("[1,]", 3),
        ("'a'", 0),
    ] {
        refuse(input.as_bytes(), at, Fault::ExpectedValue);
    }
    for (input, at) in [
        ("+1", 0),
        (".5", 0),
        ("NaN", 0),
        ("{\"a\":}", 5),
        ("\u{feff}1", 0),
    ] {
        refuse(input.as_bytes(), at, Fault::ExpectedValue);
    }
    for (input, at) in [("01", 1), ("-a", 1), ("1.e5", 2), ("1e+ ", 3), ("-01", 2)] {
        refuse(input.as_bytes(), at, Fault::BadNumber);
    }
    for (input, at) in [("1 2", 2), ("{}}", 2), ("nulll", 4), ("1\0", 1), ("0x1", 1)] {
        refuse(input.as_bytes(), at, Fault::TrailingText);
    }
    for (input, at) in [("{1:2}", 1), ("{\"a\":1,}", 7), ("{,}", 1), ("{a:1}", 1)] {
        refuse(input.as_bytes(), at, Fault::ExpectedKey);
    }
    for (input, at) in [("[1 2]", 3), ("[1}", 2), ("{\"a\":1]", 6), ("[1:2]", 2)] {
        refuse(input.as_bytes(), at, Fault::ExpectedCommaOrEnd);
    }
    refuse(b"{\"a\" 1}", 5, Fault::ExpectedColon);
    refuse(b"\"a\nb\"", 2, Fault::ControlCharacter);
    refuse(b"\"a\0b\"", 2, Fault::ControlCharacter);
    for (input, at) in [
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 2),
        ("\"\\u12\"", 2),
        ("\"\\u+123\"", 2),
    ] {
        refuse(input.as_bytes(), at, Fault::BadEscape);
    }
    for escape in [
        "\\ud800",
        "\\udc00",
        "\\ud800x",
        "\\ud800\\n",
        "\\ud800\\u0041",
        "\\udbff\\ud800",
    ] {
        refuse(format!("\"{escape}\"").as_bytes(), 2, Fault::LoneSurrogate);
        refuse(
            format!("{{\"{escape}\":1}}").as_bytes(),
            3,
            Fault::LoneSurrogate,
        );
    }
    for (input, at) in [
        (&b"\"\xff\""[..], 1),
        (b"\"a\xc3\"", 2),
        (b"\"\xed\xa0\x80\"", 1),
        (b"\xff", 0),
    ] {
        refuse(input, at, Fault::BadUtf8);
    }
}

#[test]
fn nesting_ends_where_that_of_serde_json_ends() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    let limit = usize::from(MAX_DEPTH);
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
        let levels = open.matches(['[', '{']).count();
        for depth in [limit / levels, limit / levels + 1] {
            let text = nested(open, close, depth);
            let allowed = depth * levels <= limit;
            assert_eq!(check(text.as_bytes()).is_ok(), allowed, "{depth} of {open}");
            assert_eq!(
                serde_json::from_str::<Tree>(&text).is_ok(),
                allowed,
                "{depth} of {open}"
            );
        }
    }
    assert_eq!(
        fault("[".repeat(1_000_000).as_bytes()),
        Some(Fault::TooDeep)
    );
    assert_eq!(
        fault("{\"a\":".repeat(1_000_000).as_bytes()),
        Some(Fault::TooDeep)
    );
}

#[test]
fn strings_are_unescaped_and_borrowed_where_they_can_be() {
    let plain = unescape(b" \"caf\xc3\xa9\" ");
    assert!(matches!(plain, Some(std::borrow::Cow::Borrowed("café"))));
    let all = unescape(br#""\"\\\/\b\f\n\r\t\u0041\ud83c\udf89\uFFFF\\u0041""#);
    assert_eq!(
        all.as_deref(),
        Some("\"\\/\u{8}\u{c}\n\r\tA🎉\u{ffff}\\u0041")
    );
    for other in [
        "",
        "1",
        "null",
        "[\"a\"]",
        "\"a",
        "a\"",
        "\"a\" \"b\"",
        "\"\\ud800\"",
        "[]",
    ] {
        assert_eq!(unescape(other.as_bytes()), None, "{other:?}");
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [
        0,
        9,
        10,
        99,
        100,
        12_345,
        u64::MAX / 10,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let mut out = b"n=".to_vec();
        push_number(&mut out, number);
        assert_eq!(out, format!("n={number}").into_bytes());
    }
}

#[test]
fn displayed_values_are_escaped_too() {
    let mut out = Vec::new();
    push_display(&mut out, &format_args!("{}\"{:04x}\n", "a", 255));
    assert_eq!(out, br#""a\"00ff\n""#);
}

/// What `serde_json` says; nothing about numbers out of its range, which end its parse early.
fn oracle(input: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Tree>(input) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

/// Sequences of tokens: some of them are JSON, most of them nearly.
fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\ud83c\\udf89\"",
        "\"\\ud83c\"",
        "\"",
        "\\",
        "0",
        "-",
        "12",
        "1.5",
        "e3",
        "E-1",
        ".",
        "null",
        "true",
        "false",
        " ",
        "\n",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat().into_bytes())
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn token_soup_is_judged_as_serde_json_judges_it(input in token_soup()) {
        if let Some(expected) = oracle(&input) {
            prop_assert_eq!(check(&input).is_ok(), expected);
        }
    }

    #[test]
    fn valid_json_is_accepted_and_mutated_json_judged_alike(
        tree in tree(),
        pretty: bool,
        place: prop::sample::Index,
        byte: u8,
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&tree) } else { serde_json::to_vec(&tree) };
        let mut text = text.unwrap();
        prop_assert!(check(&text).is_ok());
        let place = place.index(text.len());
        text[place] = byte;
        if let Some(expected) = oracle(&text) {
            prop_assert_eq!(check(&text).is_ok(), expected);
        }
        text.remove(place);
        if let Some(expected) = oracle(&text) {
            prop_assert_eq!(check(&text).is_ok(), expected);
        }
        text.truncate(place);
        if let Some(expected) = oracle(&text) {
            prop_assert_eq!(check(&text).is_ok(), expected);
        }
    }

    #[test]
    fn random_bytes_in_a_string_are_judged_alike(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let input = [b"\"", &bytes[..], b"\""].concat();
        prop_assert_eq!(check(&input).is_ok(), oracle(&input) == Some(true));
    }

    #[test]
    fn escaped_strings_are_resolved_as_serde_json_resolves_them(
        parts in prop::collection::vec(
            prop_oneof![
                Just("\\\\".to_owned()),
                prop::sample::select(vec!["\\\"", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "u00", "é"])
                    .prop_map(str::to_owned),
                any::<char>().prop_map(|it| {
                    let mut units = [0; 2];
                    it.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect()
                }),
                "[a-z]{0,9}",
            ],
            0..12,
        ),
    ) {
        let json = format!("\"{}\"", parts.concat());
        let expected: String = serde_json::from_str(&json).unwrap();
        let resolved = unescape(json.as_bytes());
        prop_assert_eq!(resolved.as_deref(), Some(&*expected));
    }

    #[test]
    fn written_strings_are_read_back(text: String) {
        let mut out = Vec::new();
        push_string(&mut out, &text);
        prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
        let resolved = unescape(&out);
        prop_assert_eq!(resolved.as_deref(), Some(&*text));
    }
}
