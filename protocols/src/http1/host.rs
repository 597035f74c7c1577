//! `Host`: which authority a request is for (RFC 9110 §7.2).

use std::net::Ipv6Addr;

/// Whether `value` is a host with an optional port, as RFC 9112 §3.2 asks for, without user
/// information. Of `reg-name` only what names consist of is taken: letters, digits, `-`, `.`, `_`,
/// `~` and percent-encoded bytes, for nobody's name has a comma in it and proxies join lines with one.
pub fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    if let Some(rest) = value.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
    is_name(name) && is_port(port)
}

/// Nothing, or a colon and digits, which may be none (RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let encoded = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        let fine = match byte {
            b'%' => encoded(bytes.next()) && encoded(bytes.next()),
            _ => byte.is_ascii_alphanumeric() || b"-._~".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in [
            "localhost",
            "a.example:8080",
            "127.0.0.1",
            "127.0.0.1:",
            "[::1]",
            "[::1]:443",
            "xn--bcher-kva.example",
            "under_score",
            "a%20b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a,b", "a, b", "user@a", "a/b", "a?b", "a#b", "a:b", "a:80:80",
            "a:65536", "a:-1", "[::1", "::1", "[::1]x", "[x]", "a%2", "a%zz", "a\t", "a\0",
            "\u{e4}", "http://a",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
        assert!(!is_host(b"\xff"));
    }
}
