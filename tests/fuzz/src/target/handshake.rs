//! The opening handshake and the negotiation of compression, from any list of headers.
//!
//! Input: method and version, then headers, one to a line. Whatever is accepted must be accepted by
//! a plain reading of the rules, too; what is negotiated must be a subset of the first offer that
//! can be kept, and would be taken again if it were an offer.

use roomwire_protocols::websocket::deflate::{Negotiated, negotiate};
use roomwire_protocols::websocket::handshake::{Request, SUBPROTOCOL, accept, accept_connect};
use tungstenite::handshake::derive_accept_key;

type Headers<'h> = Vec<(&'h str, &'h [u8])>;

/// Checks one input.
pub fn run(data: &[u8]) {
    let Some((flags, lines)) = data.split_first() else {
        return;
    };
    let headers: Headers<'_> = lines
        .split(|byte| *byte == b'\n')
        .filter_map(header)
        .collect();
    let method = ["GET", "POST", "get", "CONNECT"][usize::from(flags % 4)];
    decide(method, flags & 0x80 == 0, &headers);
    offers(&headers);
}

fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some((std::str::from_utf8(name).ok()?, value.get(1..)?))
}

/// The values of a header, without the space around them.
fn values<'h>(headers: &Headers<'h>, name: &str) -> Vec<&'h [u8]> {
    let named = headers.iter().filter(|it| it.0.eq_ignore_ascii_case(name));
    named.map(|it| it.1.trim_ascii()).collect()
}

fn lists(headers: &Headers<'_>, name: &str, is: impl Fn(&[u8]) -> bool) -> bool {
    let all = values(headers, name).join(&b',');
    all.split(|byte| *byte == b',')
        .any(|it| is(it.trim_ascii()))
}

fn decide(method: &str, version11_or_newer: bool, headers: &Headers<'_>) {
    let ask = |headers: Headers<'_>| {
        accept(Request {
            method,
            version11_or_newer,
            headers,
        })
    };
    let decision = ask(headers.clone());
    let reversed = ask(headers.iter().rev().copied().collect());
    assert_eq!(decision, reversed, "the order of headers means nothing");

    let version = values(headers, "sec-websocket-version") == [b"13"];
    let subprotocol = subprotocol(headers);
    match (accept_connect(headers.iter().copied()), &subprotocol) {
        (Ok(chosen), Some(subprotocol)) => assert!(version && chosen == *subprotocol),
        (Err(rejected), None) if version => assert_eq!(rejected.status, 400),
        (Err(rejected), _) => assert!(!version && rejected.status == 426),
        (Ok(chosen), None) => panic!("{chosen:?} from what is no list"),
    }
    let keys = values(headers, "sec-websocket-key");
    let upgrade = version11_or_newer
        && !values(headers, "host").is_empty()
        && lists(headers, "upgrade", |it| {
            it.eq_ignore_ascii_case(b"websocket")
        })
        && lists(headers, "connection", |it| {
            it.eq_ignore_ascii_case(b"upgrade")
        });
    let key = match keys[..] {
        [key] if key.len() == 24 && key.ends_with(b"==") => Some(key),
        _ => None,
    };
    let key = key.filter(|key| key[..22].iter().all(|it| is_base64(*it)));
    let status = match (method, upgrade, version, key.zip(subprotocol)) {
        ("GET", true, true, Some((key, subprotocol))) => {
            let accepted = decision.expect("nothing is missing");
            assert_eq!(accepted.accept_key, derive_accept_key(key));
            assert_eq!(accepted.subprotocol, subprotocol);
            return;
        }
        ("GET", true, false, _) => 426,
        ("GET", ..) => 400,
        _ => 405,
    };
    let rejected = decision.expect_err("something is missing");
    assert_eq!(rejected.status, status, "{}", rejected.reason);
    assert!(!rejected.reason.is_empty());
    assert_eq!(rejected.header.is_some(), status != 400);
}

/// The subprotocol to answer; `None` when the headers are no list of at least one token.
fn subprotocol(headers: &Headers<'_>) -> Option<Option<&'static str>> {
    let values = values(headers, "sec-websocket-protocol");
    if values.is_empty() {
        return Some(None);
    }
    let all = values.join(&b',');
    let elements = all.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let elements: Vec<&[u8]> = elements.filter(|it| !it.is_empty()).collect();
    let separator = |byte: &u8| b"()<>@,;:\\\"/[]?={} \t".contains(byte);
    let bad = |byte: &u8| !byte.is_ascii() || byte.is_ascii_control() || separator(byte);
    if elements.is_empty() || elements.iter().any(|it| it.iter().any(bad)) {
        return None;
    }
    Some(
        elements
            .contains(&SUBPROTOCOL.as_bytes())
            .then_some(SUBPROTOCOL),
    )
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/".contains(&byte)
}

fn offers(headers: &Headers<'_>) {
    let values = values(headers, "sec-websocket-extensions");
    let negotiated = match negotiate(headers.iter().copied()) {
        Ok(negotiated) => negotiated,
        Err(rejected) => {
            assert_eq!(rejected.status, 400);
            return assert!(!values.is_empty(), "nothing can be malformed");
        }
    };
    // All of it is well formed, or it would have been refused.
    let offers: Vec<Extension> = values.iter().flat_map(|value| extensions(value)).collect();
    let first = offers.iter().find_map(Offer::read);
    let Some(negotiated) = negotiated else {
        return assert_eq!(first, None, "an offer that could be kept was not taken");
    };
    let offer = first.expect("only an offer can be taken");
    let answer = negotiated.to_string();
    let [answered] = &extensions(answer.as_bytes())[..] else {
        panic!("{answer}");
    };
    the_answer_keeps_the_offer(&negotiated, answered, &offer);
    let again = negotiate([("Sec-WebSocket-Extensions", answer.as_bytes())]);
    assert_eq!(
        again.expect("it is well formed").map(|it| it.to_string()),
        Some(answer)
    );
}

/// RFC 7692 §7.1.
fn the_answer_keeps_the_offer(negotiated: &Negotiated, answer: &Extension, offer: &Offer) {
    let answer = Offer::read(answer).expect("an answer has the form of an offer");
    assert!(answer.forgetful, "no context is kept in either direction");
    match (offer.server_bits, answer.server_bits) {
        (None, None) => assert_eq!(negotiated.server_window().bits(), 15),
        (Some(limit), Some(bits)) => {
            assert!(bits <= limit && negotiated.server_window().bits() == bits);
        }
        _ => panic!("the server's window is answered when it was asked for, and only then"),
    }
    match (offer.client_bits, answer.client_bits) {
        // Whoever did not offer to be limited must not be.
        (None | Some(None), None) => assert_eq!(negotiated.client_window_bits(), 15),
        (Some(Some(limit)), Some(Some(bits))) => {
            assert!(bits <= limit && negotiated.client_window_bits() == bits);
        }
        _ => panic!("the client's window"),
    }
}

/// What can be kept of an offer.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    /// Both sides are asked to forget their context.
    forgetful: bool,
    server_bits: Option<u8>,
    client_bits: Option<Option<u8>>,
}

impl Offer {
    fn read((name, parameters): &Extension) -> Option<Self> {
        let mut names: Vec<&Vec<u8>> = parameters.iter().map(|it| &it.0).collect();
        names.sort();
        names.dedup();
        if name != b"permessage-deflate" || names.len() < parameters.len() {
            return None;
        }
        let mut offer = Self {
            forgetful: false,
            server_bits: None,
            client_bits: None,
        };
        let mut forgetful = 0;
        for (name, value) in parameters {
            let value = value.as_deref();
            match &name[..] {
                b"server_no_context_takeover" | b"client_no_context_takeover" => {
                    forgetful += 1;
                    value.is_none().then_some(())?;
                }
                b"server_max_window_bits" => offer.server_bits = Some(bits(value?)?),
                b"client_max_window_bits" => {
                    offer.client_bits = Some(match value {
                        Some(value) => Some(bits(value)?),
                        None => None,
                    });
                }
                _ => return None,
            }
        }
        offer.forgetful = forgetful == 2;
        // No compressor has a window of 256 bytes.
        (offer.server_bits != Some(8)).then_some(offer)
    }
}

fn bits(value: &[u8]) -> Option<u8> {
    (8..=15).find(|bits: &u8| bits.to_string().as_bytes() == value)
}

type Extension = (Vec<u8>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

/// Reads a well-formed list of extensions.
fn extensions(value: &[u8]) -> Vec<Extension> {
    let elements = split(value, b',');
    let named = elements.iter().filter(|it| !it.trim_ascii().is_empty());
    let read = named.map(|element| {
        let mut parts = split(element, b';').into_iter();
        let name = parts.next().unwrap_or_default().trim_ascii().to_vec();
        let parameters = parts.map(|part| match part.iter().position(|it| *it == b'=') {
            Some(at) => (
                part[..at].trim_ascii().to_vec(),
                Some(unquote(&part[at + 1..])),
            ),
            None => (part.trim_ascii().to_vec(), None),
        });
        (name, parameters.collect())
    });
    read.collect()
}

/// Splits at `separator` outside of quotes.
fn split(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if *byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        parts.last_mut().expect("there is one").push(*byte);
    }
    parts
}

fn unquote(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|it| it.strip_suffix(b"\""))
    else {
        return value.to_vec();
    };
    let (mut out, mut escaped) = (Vec::new(), false);
    for byte in inner {
        escaped = *byte == b'\\' && !escaped;
        if !escaped {
            out.push(*byte);
        }
    }
    out
}

/// A browser's request, others that lack something, and lists of offers.
pub fn seeds() -> Vec<Vec<u8>> {
    const GOOD: &str = "Host: localhost\nUpgrade: websocket\nConnection: keep-alive, Upgrade\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n";
    let mut seeds = vec![
        [b"\0", GOOD.as_bytes()].concat(),
        [b"\x80", GOOD.as_bytes()].concat(),
        [b"\x02", GOOD.as_bytes()].concat(),
        format!("\0{GOOD}Sec-WebSocket-Protocol: chat, roomwire.v1").into_bytes(),
        format!("\0{GOOD}Sec-WebSocket-Protocol: ,,\nsec-websocket-protocol: a b").into_bytes(),
        format!("\0{}", GOOD.replace(": 13", ": 8")).into_bytes(),
        format!("\0{GOOD}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==").into_bytes(),
    ];
    for offers in [
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"1\\2\"",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate; \
         server_no_context_takeover; client_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate;unknown=\"a,b;c\",,permessage-deflate",
        "permessage-deflate; client_max_window_bits=16, permessage-deflate; =",
    ] {
        seeds.push(format!("\0{GOOD}Sec-WebSocket-Extensions: {offers}").into_bytes());
    }
    seeds
}
