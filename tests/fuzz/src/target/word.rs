//! Short things that peers name: rooms, patterns, names, cookies, positions; and the documents that
//! repeat them. Each has a plain reading of its rule as second opinion.
//!
//! Input: the text.

use roomwire_protocols::cookie::{BUCKET_S, CookieKey, TEXT_LENGTH};
use roomwire_protocols::name::{self, NameError};
use roomwire_protocols::room::{self, RoomNameError, Subject};
use roomwire_protocols::{json, problem, sse};

/// Checks one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert_eq!(room::check(&text), subject(&text));
    assert_eq!(name::check(&text), member_name(&text));
    cookies(&text);
    positions(&text);
    events(&text);
    documents(&text);
}

fn subject(text: &str) -> Result<Subject, RoomNameError> {
    let tokens: Vec<&str> = text.split('.').collect();
    match text {
        "" => Err(RoomNameError::Empty),
        _ if text.len() > room::MAX_BYTES => Err(RoomNameError::TooLong),
        _ if text.chars().any(char::is_control) => Err(RoomNameError::ControlCharacter),
        _ if tokens[..tokens.len() - 1].contains(&">") => Err(RoomNameError::TailNotLast),
        _ if tokens.contains(&"*") || tokens.contains(&">") => Ok(Subject::Pattern),
        _ => Ok(Subject::Room),
    }
}

fn member_name(text: &str) -> Result<(), NameError> {
    match text {
        "" => Err(NameError::Empty),
        _ if text.len() > name::MAX_BYTES => Err(NameError::TooLong),
        _ if text.chars().any(char::is_control) => Err(NameError::ControlCharacter),
        _ => Ok(()),
    }
}

/// A cookie is good for whom it was made, and nothing else is.
fn cookies(text: &str) {
    let key = CookieKey::new([7; 32]);
    let (address, now_s) = (text.as_bytes(), text.len() as u64);
    let cookie = key.mint(address, now_s).to_string();
    assert_eq!(cookie.len(), TEXT_LENGTH);
    assert!(key.verify(address, &cookie, now_s));
    assert!(!key.verify(address, &cookie, now_s + 2 * BUCKET_S));
    assert!(
        !key.verify(b"elsewhere", text, now_s),
        "nobody can guess one"
    );
}

fn positions(text: &str) {
    let naive = text.split_once(':').and_then(|(epoch, offset)| {
        let number: u64 = offset.parse().ok()?;
        (!epoch.is_empty() && !offset.starts_with('+')).then_some((epoch, number))
    });
    assert_eq!(sse::parse_id(text), naive);
}

/// Whatever is in an event, it stays one event of one line each.
fn events(text: &str) {
    let mut string = Vec::new();
    json::push_string(&mut string, text);
    let mut out = Vec::new();
    sse::message(&mut out, &"e", text.len() as u64, &string);
    sse::event(&mut out, text, &string);
    sse::comment(&mut out, text);
    let out = String::from_utf8(out).expect("all of it was text");
    let lines: Vec<&str> = out.split(['\n', '\r']).collect();
    let [id, message, "", name, data, "", comment, "", ""] = lines[..] else {
        panic!("{lines:?}");
    };
    let position = id.strip_prefix("id: ").and_then(sse::parse_id);
    assert_eq!(position, Some(("e", text.len() as u64)));
    assert_eq!(message, data);
    assert_eq!(json::unescape(&data.as_bytes()[6..]).as_deref(), Some(text));
    assert!(name.starts_with("event: ") && comment.starts_with(": "));
}

fn documents(text: &str) {
    let mut out = Vec::new();
    problem::render_to(&mut out, 400, text, text, text, Some(text));
    let document: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
    assert_eq!(document["detail"], text);
    let number = text
        .bytes()
        .fold(1_u64, |it, byte| it.wrapping_mul(257) ^ u64::from(byte));
    let mut digits = Vec::new();
    json::push_number(&mut digits, number);
    assert_eq!(digits, number.to_string().into_bytes());
}

/// Names and patterns at their limits, and positions.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = "r".repeat(256);
    let words = [
        "",
        "lobby",
        "news.sport",
        "news.*",
        "news.>",
        ">.a",
        "a.>.*",
        "a*b.>c",
        "..",
        "räume.日本",
        "a\u{85}b",
        "a\nb",
        "\u{7f}",
        "Ada Lovelace 👩‍💻",
        "00ff:7",
        "e:18446744073709551616",
        "e:+7",
        "e:07",
        "5oIpLxFP29O-Qr1tBsHRvw",
        &long[..64],
        &long[..65],
        &long[..255],
        &long,
    ];
    words.map(|word| word.as_bytes().to_vec()).into()
}
