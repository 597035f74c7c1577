//! `Sec-WebSocket-Extensions`: which of a client's offers is taken, and the answer (RFC 6455 §9.1,
//! RFC 7692 §5 and §7.1).
//!
//! Offers are looked at in the client's order of preference, and the first is taken whose
//! parameters are all known, valid and not repeated, and that can be kept. Whatever the offer, both
//! directions are told to forget their context between messages, which a server may always
//! demand (§7.1.1).

use std::borrow::Cow;
use std::fmt;

use super::Window;
use crate::websocket::handshake::{Rejected, is_token};

const NAME: &[u8] = b"permessage-deflate";

/// An offer that was taken. As a string it is the value of `Sec-WebSocket-Extensions` to answer.
///
/// Neither side keeps a context between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    server_window: Window,
    /// Whether the offer limited the server's window: the answer has to say then what became of it.
    server_window_limited: bool,
    client_window_bits: Option<u8>,
}

impl Negotiated {
    /// What to compress for this client with.
    pub const fn server_window(self) -> Window {
        self.server_window
    }

    /// The logarithm of the window that the client promised to stay in. Nothing depends on it:
    /// inflaters have the largest window, and are not owned by connections.
    pub const fn client_window_bits(self) -> u8 {
        match self.client_window_bits {
            Some(bits) => bits,
            None => 15,
        }
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.server_window_limited {
            write!(f, "; server_max_window_bits={}", self.server_window.bits())?;
        }
        if let Some(bits) = self.client_window_bits {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

/// Chooses among the offers in all headers of a request (names in any case, in the order in which
/// they came). `None`: messages go uncompressed, and no extension is answered.
///
/// # Errors
/// 400 when a header is not a list of extensions, even behind an offer that could be taken:
/// RFC 6455 §9.1 demands it.
pub fn negotiate<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<Option<Negotiated>, Rejected> {
    const MALFORMED: Rejected = Rejected::bad("Sec-WebSocket-Extensions is malformed");
    let mut chosen = None;
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("sec-websocket-extensions") {
            let offered = Cursor(value).extensions().ok_or(MALFORMED)?;
            chosen = chosen.or(offered);
        }
    }
    Ok(chosen)
}

/// The parameters of one offer so far. A `Some(None)` is a parameter without a value.
#[derive(Debug, Default)]
struct Offer {
    declined: bool,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    /// RFC 7692 §7.1: an offer with an unknown, repeated or invalid parameter is declined.
    fn add(&mut self, name: &[u8], value: Option<&[u8]>) {
        let taken = match (name, value) {
            (b"server_no_context_takeover", None) => {
                !std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            (b"client_no_context_takeover", None) => {
                !std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            (b"server_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                bits.is_some()
                    && std::mem::replace(&mut self.server_max_window_bits, bits).is_none()
            }
            (b"client_max_window_bits", value) => {
                let bits = value.map(window_bits);
                let repeated = self.client_max_window_bits.replace(bits.flatten());
                bits != Some(None) && repeated.is_none()
            }
            _ => false,
        };
        self.declined |= !taken;
    }

    fn accept(&self) -> Option<Negotiated> {
        let limit = self.server_max_window_bits;
        let server_window = Window::at_most(limit.unwrap_or(15))?;
        (!self.declined).then_some(Negotiated {
            server_window,
            server_window_limited: limit.is_some(),
            // Without a value the client only says that it could be limited, and need not be.
            client_window_bits: self.client_max_window_bits.flatten(),
        })
    }
}

/// RFC 7692 §7.1.2: 8 to 15, in decimal and without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// What is left of a header.
struct Cursor<'h>(&'h [u8]);

impl<'h> Cursor<'h> {
    /// `extension *( "," extension )`, with nothing between two commas as often as one likes
    /// (RFC 2616 §2.1). `None`: malformed, otherwise the first acceptable offer.
    fn extensions(mut self) -> Option<Option<Negotiated>> {
        let mut chosen = None;
        loop {
            while self.eat(b',') {}
            if self.0.is_empty() {
                return Some(chosen);
            }
            let offered = self.extension()?;
            chosen = chosen.or(offered);
            if !self.0.is_empty() && !self.eat(b',') {
                return None;
            }
        }
    }

    /// `token *( ";" token [ "=" value ] )`.
    fn extension(&mut self) -> Option<Option<Negotiated>> {
        let known = self.token()? == NAME;
        let mut offer = Offer::default();
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            offer.add(name, value.as_deref());
        }
        Some(if known { offer.accept() } else { None })
    }

    /// A token, or one in quotes and with escapes (RFC 6455 §9.1).
    fn value(&mut self) -> Option<Cow<'h, [u8]>> {
        if !self.eat(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let byte = match byte {
                b'"' => break,
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    escaped
                }
                byte => byte,
            };
            value.push(byte);
        }
        self.skip_space();
        (!value.is_empty() && value.iter().all(is_token)).then_some(Cow::Owned(value))
    }

    fn token(&mut self) -> Option<&'h [u8]> {
        self.skip_space();
        let length = self.0.iter().take_while(|byte| is_token(byte)).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        self.skip_space();
        (!token.is_empty()).then_some(token)
    }

    /// Takes `wanted` and the space around it, when it comes next.
    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let Some(rest) = self.0.strip_prefix(&[wanted]) else {
            return false;
        };
        self.0 = rest;
        // Inside quotes a space belongs to the value, which it makes invalid.
        if wanted != b'"' {
            self.skip_space();
        }
        true
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(headers: &[&str]) -> Result<Option<String>, u16> {
        let headers = headers
            .iter()
            .map(|value| ("Sec-WebSocket-Extensions", value.as_bytes()));
        let others = [
            ("host", &b"localhost"[..]),
            ("x-other", b"permessage-deflate"),
        ];
        negotiate(others.into_iter().chain(headers))
            .map(|negotiated| negotiated.map(|it| it.to_string()))
            .map_err(|rejected| rejected.status)
    }

    /// What follows the parameters that every answer has; `None` when nothing is agreed.
    fn check(headers: &[&str], expected: Option<&str>) {
        let expected = expected.map(|more| format!("{BASE}{more}"));
        assert_eq!(answer(headers), Ok(expected), "{headers:?}");
    }

    #[test]
    fn each_parameter_is_answered_as_the_rfc_asks() {
        check(&["permessage-deflate"], Some(""));
        check(&["permessage-deflate; client_max_window_bits"], Some(""));
        check(
            &["permessage-deflate; server_no_context_takeover"],
            Some(""),
        );
        check(
            &["permessage-deflate; client_no_context_takeover"],
            Some(""),
        );
        check(
            &["permessage-deflate; client_max_window_bits=10"],
            Some("; client_max_window_bits=10"),
        );
        check(
            &["permessage-deflate; client_max_window_bits=8"],
            Some("; client_max_window_bits=8"),
        );
        for (offered, answered) in [
            (9, 9),
            (10, 9),
            (11, 11),
            (12, 11),
            (13, 11),
            (14, 11),
            (15, 15),
        ] {
            check(
                &[&format!(
                    "permessage-deflate; server_max_window_bits={offered}"
                )],
                Some(&format!("; server_max_window_bits={answered}")),
            );
        }
        check(
            &[
                "permessage-deflate;client_max_window_bits=15;server_max_window_bits=12;\
               client_no_context_takeover;server_no_context_takeover",
            ],
            Some("; server_max_window_bits=11; client_max_window_bits=15"),
        );
    }

    #[test]
    fn an_offer_that_is_invalid_or_cannot_be_kept_is_declined() {
        for parameters in [
            "server_max_window_bits=8",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=9 ; server_max_window_bits=9",
            "server_max_window_bits=10; server_max_window_bits",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=10; client_max_window_bits=10",
            "client_max_window_bits=99; client_max_window_bits=10",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=true",
            "client_no_context_takeover; client_no_context_takeover",
            "Server_No_Context_Takeover",
            "level=9",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            check(&[&offer], None);
            check(&[&offer, "permessage-deflate"], Some(""));
        }
    }

    #[test]
    fn the_first_acceptable_offer_is_taken_over_all_headers() {
        let small = "permessage-deflate; server_max_window_bits=9";
        let answered = Some("; server_max_window_bits=9");
        check(&[&format!("{small}, permessage-deflate")], answered);
        check(&[&format!("permessage-deflate, {small}")], Some(""));
        check(&[small, "permessage-deflate"], answered);
        check(&["x-webkit-deflate-frame", small], answered);
        check(
            &["a; b=c; d=\"e\", permessage-bzip2; level=9 ,", small],
            answered,
        );
        check(
            &["permessage-deflate; server_max_window_bits=8,", small],
            answered,
        );
    }

    #[test]
    fn spaces_quotes_and_empty_elements_are_read() {
        check(&[" , ,\tpermessage-deflate ,, "], Some(""));
        for value in ["\"10\"", "\"1\\0\"", " 10", "\t\"\\1\\0\" "] {
            check(
                &[&format!(
                    "permessage-deflate ; client_max_window_bits ={value}"
                )],
                Some("; client_max_window_bits=10"),
            );
        }
    }

    #[test]
    fn without_an_offer_nothing_is_answered() {
        check(&[], None);
        check(&[""], None);
        check(&["permessage-bzip2, x-webkit-deflate-frame"], None);
        check(&["Permessage-Deflate"], None);
    }

    #[test]
    fn a_malformed_header_is_refused_wherever_it_stands() {
        for value in [
            ";",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=\"10\\",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\" 10\"",
            "permessage-deflate; client_max_window_bits=\"10\"x",
            "permessage-deflate; =10",
            "permessage-deflate=10",
            "permessage/deflate",
            "permessage-deflate, \u{e9}",
        ] {
            assert_eq!(answer(&[value]), Err(400), "{value}");
            assert_eq!(answer(&["permessage-deflate", value]), Err(400), "{value}");
        }
    }

    #[test]
    fn what_was_agreed_can_be_asked_for() {
        let header = b"permessage-deflate; server_max_window_bits=14; client_max_window_bits=12";
        let headers = [("sec-websocket-extensions", &header[..])];
        let negotiated = negotiate(headers).unwrap().unwrap();
        assert_eq!(negotiated.server_window(), Window::Bits11);
        assert_eq!(negotiated.client_window_bits(), 12);
        assert!(size_of::<Negotiated>() <= 4);
    }
}
