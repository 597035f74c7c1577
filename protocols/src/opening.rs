//! What a connection begins with, so that one port can serve several protocols.
//!
//! TLS begins with a byte that no text does. A request of HTTP is known by its method and the shape
//! of its target, before its line is whole: who speaks neither is never held up by more than the
//! bytes that could have become a request.

/// The content type of a TLS handshake record (RFC 8446 §5.1), a control character that neither
/// lines nor requests begin with.
const TLS_HANDSHAKE: u8 = 22;

/// Methods of RFC 9110 §9.3, PATCH (RFC 5789), and what the preface of HTTP/2 looks like (RFC 9113
/// §3.4).
const METHODS: [&[u8]; 10] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI",
];

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A TLS handshake.
    Tls,
    /// A request of HTTP/1, or the preface of HTTP/2.
    Http,
    /// Neither.
    Other,
}

impl Opening {
    /// The most bytes that are looked at: the longest method, a space, and the target's beginning.
    pub const LOOKED_AT: usize = 9;
}

/// Tells from its first bytes what a connection speaks; `None` while more of them are needed. No
/// more than [`Opening::LOOKED_AT`] ever are.
pub fn detect(bytes: &[u8]) -> Option<Opening> {
    let first = bytes.first()?;
    if *first == TLS_HANDSHAKE {
        return Some(Opening::Tls);
    }
    let could_be = |method: &&&[u8]| {
        let common = method.len().min(bytes.len());
        bytes.get(..common) == method.get(..common)
    };
    // No method begins with another one.
    let Some(method) = METHODS.iter().find(could_be) else {
        return Some(Opening::Other);
    };
    match bytes.get(method.len()..) {
        None | Some([] | [b' ']) => None,
        Some([b' ', target, ..]) if is_target(method, *target) => Some(Opening::Http),
        Some(_) => Some(Opening::Other),
    }
}

/// RFC 9112 §3.2: a path, `*`, a whole URI, or for CONNECT a host.
fn is_target(method: &[u8], first: u8) -> bool {
    match first {
        b'/' | b'*' | b'h' | b'H' => true,
        _ => method == b"CONNECT" && (first.is_ascii_alphanumeric() || first == b'['),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome, which must be the same for every longer input and unknown for every shorter one.
    fn check(bytes: &[u8], expected: Opening) {
        assert_eq!(detect(bytes), Some(expected), "{bytes:?}");
        assert!(bytes.len() <= Opening::LOOKED_AT, "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(detect(&bytes[..end]), None, "{:?}", &bytes[..end]);
        }
        for more in [&b"\n"[..], b" ", b"/", b"\x16\x03\x01"] {
            assert_eq!(detect(&[bytes, more].concat()), Some(expected));
        }
    }

    #[test]
    fn a_handshake_is_known_by_its_first_byte() {
        check(&[22], Opening::Tls);
    }

    #[test]
    fn a_request_is_known_by_its_method_and_target() {
        for request in [
            "GET /",
            "HEAD /",
            "POST /",
            "PUT /",
            "DELETE /",
            "OPTIONS *",
            "TRACE /",
            "PATCH /",
            "PRI *",
            "GET h",
            "CONNECT e",
            "CONNECT [",
        ] {
            check(request.as_bytes(), Opening::Http);
        }
    }

    #[test]
    fn lines_are_neither_and_are_not_held_up() {
        for line in [
            "{", "/", "h", "\n", " ", "g", "GET\n", "GETS", "GET w", "POST\r", "PUT  ", "PRO",
        ] {
            let found = detect(line.as_bytes());
            assert_eq!(found, Some(Opening::Other), "{line}");
        }
        check(b"{", Opening::Other);
        check(b"GE\n", Opening::Other);
        check(b"GET w", Opening::Other);
    }

    #[test]
    fn every_input_is_decided_by_the_bytes_that_may_be_looked_at() {
        for method in METHODS {
            let mut line = method.to_vec();
            line.resize(Opening::LOOKED_AT, b' ');
            assert!(detect(&line).is_some());
        }
    }
}
