//! Whose request it is that a proxy passes on: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Every proxy adds whom it heard the request from at the right end, and anybody can have written what
//! stands further left. So the walk goes from the right for as long as it meets proxies that are
//! trusted, and ends at the first address that is not: that one was seen by somebody trusted. What is no
//! address ends it as well. Who is trusted is the caller's decision.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Which field the proxies write. Only one is looked at: what they do not write they may pass on, as a
/// client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `Forwarded`, RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`: addresses, separated by commas.
    XForwardedFor,
}

impl Field {
    /// The field's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::XForwardedFor => "x-forwarded-for",
        }
    }
}

/// The client of a request that came from `peer`, which is trusted, with these lines of the field in the
/// order in which they came. The port is 0 where nobody told it.
pub fn client<'a>(
    field: Field,
    peer: SocketAddr,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> SocketAddr {
    let mut client = peer;
    for line in lines.rev() {
        let mut left = Some(line);
        while let Some(line) = left {
            let (rest, element) = split_last(line);
            left = rest;
            if element.is_empty() {
                // RFC 9110 §5.6.1.2: empty elements of a list are skipped.
                continue;
            }
            let node = match field {
                Field::Forwarded => forwarded_for(element),
                Field::XForwardedFor => std::str::from_utf8(element).ok(),
            };
            let Some(address) = node.and_then(address) else {
                return client;
            };
            client = address;
            if !is_trusted(client.ip()) {
                return client;
            }
        }
    }
    client
}

/// The last element of a list and what stands before it. Read backwards, so that a quote which a client
/// left open takes nothing of what a proxy wrote behind it.
fn split_last(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                let (rest, element) = line.split_at(at);
                return (
                    Some(rest),
                    element.get(1..).unwrap_or_default().trim_ascii(),
                );
            }
            _ => {}
        }
    }
    (None, line.trim_ascii())
}

/// The value of an element's one `for` (RFC 7239 §4), without its quotes.
fn forwarded_for(element: &[u8]) -> Option<&str> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (pair, next) = split_pair(rest);
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals);
        if name.eq_ignore_ascii_case(b"for") {
            let value = std::str::from_utf8(value.get(1..)?).ok()?;
            let unquoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
            if found.replace(unquoted.unwrap_or(Some(value))?).is_some() {
                return None;
            }
        }
        match next {
            Some(next) => rest = next,
            None => return found,
        }
    }
}

/// The first of an element's pairs, and what follows it.
fn split_pair(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in element.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                let (pair, next) = element.split_at(at);
                return (pair.trim_ascii(), next.get(1..));
            }
            _ => {}
        }
    }
    (element.trim_ascii(), None)
}

/// An address with or without a port; one of IPv6 in brackets or bare. `unknown` and made-up names
/// (RFC 7239 §6.2, §6.3) are none.
fn address(node: &str) -> Option<SocketAddr> {
    let bare = || node.parse::<IpAddr>().ok();
    let bracketed = || {
        let inner = node.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let address = match bare().or_else(bracketed) {
        Some(ip) => SocketAddr::new(ip, 0),
        None => node.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1:5000";

    fn check(field: Field, lines: &[&str], expected: &str) {
        let trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
        let bytes = lines.iter().map(|line| line.as_bytes());
        let found = client(field, PEER.parse().unwrap(), bytes, trusted);
        assert_eq!(found.to_string(), expected, "{lines:?}");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let check = |lines: &[&str], expected| check(Field::XForwardedFor, lines, expected);
        check(&[], PEER);
        check(&[""], PEER);
        check(&["203.0.113.9"], "203.0.113.9:0");
        check(&["203.0.113.9:4711"], "203.0.113.9:4711");
        check(&["203.0.113.9, 10.0.0.2"], "203.0.113.9:0");
        check(&["203.0.113.9", "10.0.0.3,10.0.0.2"], "203.0.113.9:0");
        // What stands left of it anybody may have written.
        check(&["198.51.100.1, 203.0.113.9 , 10.0.0.2"], "203.0.113.9:0");
        check(&["198.51.100.1", "203.0.113.9"], "203.0.113.9:0");
        // All are trusted: the first of them asks for itself.
        check(&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0");
        check(&["203.0.113.9, ,, 10.0.0.2,"], "203.0.113.9:0");
        check(&["2001:db8::1"], "[2001:db8::1]:0");
        check(&["[2001:db8::1]"], "[2001:db8::1]:0");
        check(&["[2001:db8::1]:80"], "[2001:db8::1]:80");
        check(&["::ffff:203.0.113.9"], "203.0.113.9:0");
        check(&["::ffff:10.0.0.2"], "10.0.0.2:0");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        let check = |lines: &[&str], expected| check(Field::XForwardedFor, lines, expected);
        for odd in [
            "unknown",
            "a.example",
            "203.0.113",
            "203.0.113.9:x",
            "[::1",
            "\u{e4}",
            "\"",
        ] {
            check(&[odd], PEER);
            check(&[odd, "10.0.0.2"], "10.0.0.2:0");
            check(&["198.51.100.1", odd], PEER);
        }
    }

    #[test]
    fn forwarded_is_read_as_it_is_written() {
        let check = |lines: &[&str], expected| check(Field::Forwarded, lines, expected);
        check(&["for=203.0.113.9"], "203.0.113.9:0");
        check(
            &["For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1"],
            "203.0.113.9:4711",
        );
        check(
            &["proto=http; FOR=\"[2001:db8::1]:80\""],
            "[2001:db8::1]:80",
        );
        check(
            &["for=198.51.100.1, for=203.0.113.9, for=10.0.0.2"],
            "203.0.113.9:0",
        );
        check(
            &["for=198.51.100.1", "for=203.0.113.9;host=a"],
            "203.0.113.9:0",
        );
        check(&["for=unknown, for=10.0.0.2"], "10.0.0.2:0");
        check(&["for=_hidden"], PEER);
        check(&["proto=https"], PEER);
        check(&["203.0.113.9"], PEER);
        check(&["for=203.0.113.9;for=198.51.100.1"], PEER);
        check(&["for=\"203.0.113.9"], PEER);
    }

    #[test]
    fn what_a_client_quotes_takes_nothing_of_what_a_proxy_writes() {
        let check = |lines: &[&str], expected| check(Field::Forwarded, lines, expected);
        // A quote left open, and one that has a comma and a pair in it.
        check(&["for=\"198.51.100.1, for=203.0.113.9"], "203.0.113.9:0");
        check(
            &["for=203.0.113.9;host=\"a;for=198.51.100.1\""],
            "203.0.113.9:0",
        );
        check(
            &["for=203.0.113.9;host=\"a, for=198.51.100.1\""],
            "203.0.113.9:0",
        );
        check(
            &["for=203.0.113.9;host=\"a\\\";for=198.51.100.1;b=\\\"\""],
            "203.0.113.9:0",
        );
    }
}
