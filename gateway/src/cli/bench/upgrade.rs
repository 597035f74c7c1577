//! The opening handshake of a client (RFC 6455 §4.1): one request for the whole run, and what counts
//! as its answer.

use std::ops::Range;

use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

/// The longest answer that is read; servers send 130 to 300 bytes.
const MAX_HEAD: usize = 16 << 10;

/// RFC 7692 §7.1: without context takeover no message depends on one before it, in either direction,
/// so that a server may compress one for many.
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A request, and what a server that understands it answers.
#[derive(Debug)]
pub(super) struct Upgrade {
    request: Vec<u8>,
    accept: String,
    /// Whether the request offers permessage-deflate.
    offers_deflate: bool,
}

/// An answer that opens a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Bytes of the answer; frames begin behind them.
    pub(super) length: usize,
    /// Whether the server may compress.
    pub(super) deflate: bool,
}

/// Why there is no WebSocket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("the server answered \"{0}\" instead of opening a WebSocket; is this its path?")]
    Refused(String),
    #[error("what answers does not speak HTTP; a TLS port takes wss://")]
    Foreign,
    #[error("the server's Sec-WebSocket-Accept is missing or wrong")]
    WrongAccept,
    #[error("the server agreed to an extension that was not offered: \"{0}\"")]
    WrongExtension(String),
}

impl Upgrade {
    /// The key is the same for all connections, so that the answer needs no hashing.
    pub(super) fn new(
        authority: &str,
        path: &str,
        subprotocol: Option<&str>,
        offers_deflate: bool,
    ) -> Self {
        let key = generate_key();
        let subprotocol = subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        let extensions = if offers_deflate {
            format!("Sec-WebSocket-Extensions: {OFFER}\r\n")
        } else {
            String::new()
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\n{subprotocol}{extensions}\r\n"
        );
        Self {
            request: request.into_bytes(),
            accept: derive_accept_key(key.as_bytes()),
            offers_deflate,
        }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// What the server has answered; `None` while its answer has not ended.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<Option<Opening>, UpgradeError> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            let http = b"HTTP/1.1 ";
            let begin: Range<usize> = 0..bytes.len().min(http.len());
            if bytes.get(begin.clone()) != http.get(begin) || bytes.len() > MAX_HEAD {
                return Err(UpgradeError::Foreign);
            }
            return Ok(None);
        };
        let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let Some(status) = status.strip_prefix("HTTP/1.1 ") else {
            return Err(UpgradeError::Foreign);
        };
        if !status.starts_with("101") {
            let printable = status.chars().filter(|c| !c.is_control());
            return Err(UpgradeError::Refused(printable.take(100).collect()));
        }
        let (mut is_accepted, mut deflate) = (false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("sec-websocket-accept") {
                is_accepted = value == self.accept;
            } else if name.eq_ignore_ascii_case("sec-websocket-extensions") && !value.is_empty() {
                deflate = self.agrees(value)?;
            }
        }
        if is_accepted {
            let length = end + 4;
            Ok(Some(Opening { length, deflate }))
        } else {
            Err(UpgradeError::WrongAccept)
        }
    }

    /// Whether a value of `Sec-WebSocket-Extensions` says what was offered; another is an error, since
    /// nothing that follows could be understood.
    fn agrees(&self, value: &str) -> Result<bool, UpgradeError> {
        let mut words = value.split(';').map(str::trim);
        let is_deflate = words.next() == Some("permessage-deflate");
        let keeps_nothing = words.any(|word| word == "server_no_context_takeover");
        if self.offers_deflate && is_deflate && keeps_nothing {
            return Ok(true);
        }
        let printable = value.chars().filter(|c| !c.is_control());
        Err(UpgradeError::WrongExtension(printable.take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_it_is_whole_and_proves_the_key() {
        let upgrade = Upgrade::new("h:1", "/echo", Some("roomwire.v1"), false);
        let request = String::from_utf8_lossy(upgrade.request());
        assert!(request.starts_with("GET /echo HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(request.ends_with("Sec-WebSocket-Protocol: roomwire.v1\r\n\r\n"));

        let accept = &upgrade.accept;
        let head = format!("HTTP/1.1 101 Hi\r\nsec-websocket-accept: {accept}\r\n\r\n");
        let bytes = [head.as_bytes(), b"\x81\x00"].concat();
        for cut in 0..head.len() {
            assert_eq!(upgrade.check(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let opening = Opening {
            length: head.len(),
            deflate: false,
        };
        assert_eq!(upgrade.check(&bytes), Ok(Some(opening)));
    }

    #[test]
    fn compression_is_what_was_offered_or_nothing() {
        let check = |offers: bool, extensions: &str| {
            let upgrade = Upgrade::new("h", "/", None, offers);
            let request = String::from_utf8_lossy(upgrade.request()).contains("permessage-deflate");
            assert_eq!(request, offers);
            let accept = &upgrade.accept;
            let head =
                format!("HTTP/1.1 101 Hi\r\nSec-WebSocket-Accept: {accept}\r\n{extensions}\r\n");
            upgrade
                .check(head.as_bytes())
                .map(|it| it.map(|it| it.deflate))
        };
        let agreed = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let keeping = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        assert_eq!(check(true, agreed), Ok(Some(true)));
        assert_eq!(check(true, ""), Ok(Some(false)));
        assert_eq!(check(false, ""), Ok(Some(false)));
        for (offers, extensions) in [(false, agreed), (true, keeping)] {
            let error = check(offers, extensions).expect_err("nothing of the kind was offered");
            assert!(matches!(error, UpgradeError::WrongExtension(_)), "{error}");
        }
    }

    #[test]
    fn another_answer_says_what_is_wrong() {
        let upgrade = Upgrade::new("h", "/", None, false);
        let check = |bytes: &[u8]| upgrade.check(bytes).expect_err("refused");
        assert_eq!(
            check(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            UpgradeError::Refused("404 Not Found".to_owned())
        );
        assert_eq!(
            check(b"HTTP/1.1 101 Hi\r\nSec-WebSocket-Accept: x\r\n\r\n"),
            UpgradeError::WrongAccept
        );
        assert_eq!(check(b"\x15\x03\x01"), UpgradeError::Foreign);
        let endless = [b"HTTP/1.1 101 ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        assert_eq!(check(&endless), UpgradeError::Foreign);
    }
}
