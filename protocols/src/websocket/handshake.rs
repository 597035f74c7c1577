//! The server's side of the opening handshake (RFC 6455 §4.2), over HTTP/1.1 and, where there is no
//! key to answer, over HTTP/2 (RFC 8441 §5).
//!
//! Looks at the headers once, in any order, and decides; it neither reads nor writes HTTP. Who may
//! connect (`Origin`, tokens) is for the caller to decide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The subprotocol that Roomwire speaks, also to clients that ask for none.
pub const SUBPROTOCOL: &str = "roomwire.v1";

/// RFC 6455 §1.3: what is appended to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request to upgrade over HTTP/1.
#[derive(Clone, Debug)]
pub struct Request<'a, H> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// Whether the request's version is HTTP/1.1 or newer.
    pub version11_or_newer: bool,
    /// All headers as `(&str, &[u8])`; names in any case, equal names as often as they came.
    pub headers: H,
}

/// What to put into the `101` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `Sec-WebSocket-Accept`: 28 characters.
    pub accept_key: String,
    /// `Sec-WebSocket-Protocol`; left out when `None`, and [`SUBPROTOCOL`] is spoken all the same.
    pub subprotocol: Option<&'static str>,
}

/// What to answer instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The HTTP status.
    pub status: u16,
    /// For people: what was missing.
    pub reason: &'static str,
    /// A header that the status calls for.
    pub header: Option<(&'static str, &'static str)>,
}

impl Rejected {
    const METHOD: Self = Self {
        status: 405,
        reason: "a WebSocket handshake is a GET request",
        header: Some(("allow", "GET")),
    };
    const VERSION: Self = Self {
        status: 426,
        reason: "Sec-WebSocket-Version must be 13",
        header: Some(("sec-websocket-version", "13")),
    };

    pub(super) const fn bad(reason: &'static str) -> Self {
        Self {
            status: 400,
            reason,
            header: None,
        }
    }
}

/// Decides about an upgrade over HTTP/1.
///
/// # Errors
/// 405 for another method than GET, 426 for another version than 13, and 400 for whatever else is
/// missing or malformed.
pub fn accept<'h, H>(request: Request<'_, H>) -> Result<Accepted, Rejected>
where
    H: IntoIterator<Item = (&'h str, &'h [u8])>,
{
    if request.method != "GET" {
        return Err(Rejected::METHOD);
    }
    if !request.version11_or_newer {
        return Err(Rejected::bad("a WebSocket handshake needs HTTP/1.1"));
    }
    let offer = Offer::collect(request.headers);
    if !offer.host {
        return Err(Rejected::bad("the Host header is missing"));
    }
    if !offer.upgrade_websocket {
        return Err(Rejected::bad("the Upgrade header does not list websocket"));
    }
    if !offer.connection_upgrade {
        return Err(Rejected::bad("the Connection header does not list Upgrade"));
    }
    if offer.version != Single::Value(b"13") {
        return Err(Rejected::VERSION);
    }
    let Single::Value(key) = offer.key else {
        return Err(Rejected::bad("there must be exactly one Sec-WebSocket-Key"));
    };
    if !is_key(key) {
        return Err(Rejected::bad("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    Ok(Accepted {
        accept_key: accept_key(key),
        subprotocol: offer.subprotocols.chosen()?,
    })
}

/// Decides about an extended CONNECT whose `:protocol` is `websocket` (RFC 8441 §5), where keys,
/// `Connection` and `Upgrade` have no place. Yields the subprotocol for the `200` answer.
///
/// # Errors
/// 426 for another version than 13, and 400 for a malformed list of subprotocols.
pub fn accept_connect<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<Option<&'static str>, Rejected> {
    let offer = Offer::collect(headers);
    if offer.version != Single::Value(b"13") {
        return Err(Rejected::VERSION);
    }
    offer.subprotocols.chosen()
}

/// A header that may stand once only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Single<'h> {
    #[default]
    Absent,
    Repeated,
    Value(&'h [u8]),
}

impl<'h> Single<'h> {
    const fn add(&mut self, value: &'h [u8]) {
        *self = match self {
            Self::Absent => Self::Value(value.trim_ascii()),
            Self::Repeated | Self::Value(_) => Self::Repeated,
        };
    }
}

/// The subprotocols that a client would speak, of which there is one that we do.
#[derive(Clone, Copy, Debug, Default)]
struct Subprotocols {
    /// There is a header, and all headers count as one list (RFC 6455 §11.3.4).
    offered: bool,
    /// There is an element in that list.
    named: bool,
    ours: bool,
    malformed: bool,
}

impl Subprotocols {
    fn add(&mut self, value: &[u8]) {
        self.offered = true;
        let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for element in elements.filter(|element| !element.is_empty()) {
            self.named = true;
            self.ours |= element == SUBPROTOCOL.as_bytes();
            self.malformed |= !element.iter().all(is_token);
        }
    }

    /// RFC 6455 §4.3: `1#token`, so at least one, and nothing but tokens between the commas.
    fn chosen(self) -> Result<Option<&'static str>, Rejected> {
        if self.malformed || self.offered != self.named {
            return Err(Rejected::bad("Sec-WebSocket-Protocol is malformed"));
        }
        Ok(self.ours.then_some(SUBPROTOCOL))
    }
}

/// What the headers of a request say.
#[derive(Debug, Default)]
struct Offer<'h> {
    connection_upgrade: bool,
    host: bool,
    key: Single<'h>,
    subprotocols: Subprotocols,
    upgrade_websocket: bool,
    version: Single<'h>,
}

impl<'h> Offer<'h> {
    fn collect(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut offer = Self::default();
        for (name, value) in headers {
            offer.add(name, value);
        }
        offer
    }

    fn add(&mut self, name: &str, value: &'h [u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("host") {
            self.host = true;
        } else if is("connection") {
            self.connection_upgrade |= lists(value, |it| it.eq_ignore_ascii_case(b"upgrade"));
        } else if is("upgrade") {
            self.upgrade_websocket |= lists(value, |it| it.eq_ignore_ascii_case(b"websocket"));
        } else if is("sec-websocket-key") {
            self.key.add(value);
        } else if is("sec-websocket-version") {
            self.version.add(value);
        } else if is("sec-websocket-protocol") {
            self.subprotocols.add(value);
        }
    }
}

/// Whether a comma-separated list has an element that `is` the wanted one.
fn lists(value: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|element| is(element.trim_ascii()))
}

/// RFC 2616 §2.2.
pub(super) fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// 16 bytes are 22 characters of base64 and two of padding. The last character's unused bits are
/// not looked at: RFC 6455 §4.1 asks for a random value, and clients exist that set them.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some(digits) = key.strip_suffix(b"==") else {
        return false;
    };
    digits.len() == 22 && digits.iter().all(alphabet)
}

/// RFC 6455 §4.2.2, item 5, step 4.
fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = Vec<(&'a str, &'a str)>;

    fn good<'a>() -> Headers<'a> {
        vec![
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ]
    }

    fn with<'a>(name: &'a str, value: &'a str) -> Headers<'a> {
        let mut headers = good();
        headers.retain(|(existing, _)| !existing.eq_ignore_ascii_case(name));
        headers.push((name, value));
        headers
    }

    fn without(name: &str) -> Headers<'_> {
        let mut headers = with(name, "");
        headers.pop();
        headers
    }

    fn decide(headers: &Headers<'_>) -> Result<Accepted, Rejected> {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        accept(Request {
            method: "GET",
            version11_or_newer: true,
            headers,
        })
    }

    fn status(headers: &Headers<'_>) -> u16 {
        decide(headers).map_or_else(|rejected| rejected.status, |_| 101)
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        // RFC 6455 §1.3 has this pair.
        let accepted = decide(&good()).unwrap();
        assert_eq!(accepted.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted.subprotocol, None);
    }

    #[test]
    fn lists_and_names_are_read_in_any_case_and_place() {
        for headers in [
            with("connection", "keep-alive, uPGRADE"),
            with("CONNECTION", "upgrade,close"),
            with("upgrade", "h2c , WebSocket"),
            with("Sec-WebSocket-Version", " 13 "),
            with("sec-websocket-key", " dGhlIHNhbXBsZSBub25jZQ== "),
        ] {
            assert_eq!(status(&headers), 101, "{headers:?}");
        }
        let mut split = with("connection", "keep-alive");
        split.push(("Connection", "upgrade"));
        split.reverse();
        assert_eq!(status(&split), 101);
    }

    #[test]
    fn whatever_is_missing_or_malformed_is_answered_by_400() {
        for headers in [
            without("Host"),
            without("Upgrade"),
            without("Connection"),
            without("Sec-WebSocket-Key"),
            with("Upgrade", "websockets"),
            with("Connection", "upgraded"),
            with("Sec-WebSocket-Key", ""),
            with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ="),
            with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
            with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQAA"),
            with("Sec-WebSocket-Key", "dGhlIHNhbXBs-SBub25jZQ=="),
            with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAAAAA=="),
        ] {
            assert_eq!(status(&headers), 400, "{headers:?}");
        }
        let mut twice = good();
        twice.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(status(&twice), 400);
    }

    #[test]
    fn other_versions_are_told_which_one_is_spoken() {
        let mut twice = good();
        twice.push(("Sec-WebSocket-Version", "13"));
        for headers in [
            with("Sec-WebSocket-Version", "8"),
            with("Sec-WebSocket-Version", "13, 8"),
            without("Sec-WebSocket-Version"),
            twice,
        ] {
            let rejected = decide(&headers).unwrap_err();
            assert_eq!(rejected.status, 426);
            assert_eq!(rejected.header, Some(("sec-websocket-version", "13")));
        }
    }

    #[test]
    fn only_get_over_http_1_1_is_upgraded() {
        let decide = |method, version11_or_newer| {
            let headers = good()
                .into_iter()
                .map(|(name, value)| (name, value.as_bytes()));
            accept(Request {
                method,
                version11_or_newer,
                headers,
            })
        };
        for method in ["POST", "get", "HEAD", "CONNECT"] {
            let rejected = decide(method, true).unwrap_err();
            assert_eq!(
                (rejected.status, rejected.header),
                (405, Some(("allow", "GET")))
            );
        }
        assert_eq!(decide("GET", false).unwrap_err().status, 400);
    }

    #[test]
    fn the_subprotocol_is_chosen_when_offered_and_never_invented() {
        let check = |offers: &[&str], expected: Option<&str>| {
            let mut headers = good();
            headers.extend(
                offers
                    .iter()
                    .map(|offer| ("Sec-WebSocket-Protocol", *offer)),
            );
            assert_eq!(
                decide(&headers).unwrap().subprotocol,
                expected,
                "{offers:?}"
            );
        };
        check(&["roomwire.v1"], Some("roomwire.v1"));
        check(&["chat, roomwire.v1"], Some("roomwire.v1"));
        check(&["chat", "other,\troomwire.v1 "], Some("roomwire.v1"));
        check(&["roomwire.v1", "chat"], Some("roomwire.v1"));
        check(&["Roomwire.v1"], None);
        check(&["roomwire.v2", ""], None);
        check(&[",roomwire.v1,,"], Some("roomwire.v1"));
        check(&[], None);
    }

    #[test]
    fn a_list_of_subprotocols_has_tokens_and_at_least_one() {
        for offer in [
            "",
            " , ",
            "a b",
            "roomwire.v1, a/b",
            "roomwire.v1; q=1",
            "\"roomwire.v1\"",
            "\u{e9}",
        ] {
            let header = ("sec-websocket-protocol", offer);
            let mut headers = good();
            headers.push(header);
            assert_eq!(status(&headers), 400, "{offer:?}");
            let connect = [("sec-websocket-version", "13"), header];
            let connect = connect.map(|(name, value)| (name, value.as_bytes()));
            assert_eq!(
                accept_connect(connect).unwrap_err().status,
                400,
                "{offer:?}"
            );
        }
    }

    #[test]
    fn extended_connect_needs_the_version_and_nothing_else() {
        let decide = |headers: &[(&'static str, &'static str)]| {
            accept_connect(
                headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_bytes())),
            )
        };
        let version = ("sec-websocket-version", "13");
        assert_eq!(decide(&[version]), Ok(None));
        let offered = ("sec-websocket-protocol", "roomwire.v1");
        assert_eq!(decide(&[version, offered]), Ok(Some(SUBPROTOCOL)));
        assert_eq!(decide(&[offered]).unwrap_err().status, 426);
    }
}
