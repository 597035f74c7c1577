//! Both versions against tables, every cut of the input, and themselves.

use proptest::prelude::*;

use super::*;

fn complete(length: usize, addresses: Option<Addresses>) -> Result<Decoded, Malformed> {
    Ok(Decoded::Complete { length, addresses })
}

fn pair(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A version 2 header, made by hand.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

/// The header is whole at its end and nowhere before it.
fn check(header: &[u8], addresses: Option<Addresses>) {
    for cut in 0..header.len() {
        assert_eq!(
            decode(&header[..cut]),
            Ok(Decoded::Incomplete),
            "{cut} of {header:?}"
        );
    }
    assert_eq!(decode(header), complete(header.len(), addresses));
    let mut more = header.to_vec();
    more.extend(b"GET / HTTP/1.1\r\n");
    assert_eq!(decode(&more), complete(header.len(), addresses));
}

fn check_malformed(header: &[u8], expected: Malformed) {
    assert_eq!(decode(header), Err(expected), "{header:?}");
}

#[test]
fn a_line_tells_both_ends() {
    let expected = pair("192.0.2.1:56324", "198.51.100.1:443");
    check(
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
        Some(expected),
    );
    let expected = pair("[2001:db8::1]:1", "[::1]:65535");
    check(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Some(expected));
    check(b"PROXY UNKNOWN\r\n", None);
    check(b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None);
}

#[test]
fn the_longest_line_fits_and_a_longer_one_does_not() {
    let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY UNKNOWN {ip} {ip} 65535 65535\r\n");
    assert_eq!(line.len(), 107);
    check(line.as_bytes(), None);
    let line = format!("PROXY UNKNOWN {ip} {ip}  65535 65535\r\n");
    check_malformed(line.as_bytes(), Malformed::TooLong);
}

#[test]
fn a_line_that_is_not_exact_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 ::1 198.51.100.1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 ::1 1 443\r\n",
        "PROXY TCP4 192.0.2.1\u{fffd} 198.51.100.1 1 443\r\n",
    ] {
        check_malformed(line.as_bytes(), Malformed::Address);
    }
    check_malformed(b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", Malformed::Unknown);
    check_malformed(b"PROXX", Malformed::Signature);
    check_malformed(b"GET / HTTP/1.1\r\n", Malformed::Signature);
}

#[test]
fn a_binary_header_tells_both_ends_and_its_extensions_are_passed_over() {
    let body = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
    let expected = pair("192.0.2.1:56324", "198.51.100.1:443");
    check(&binary(0x21, 0x11, &body), Some(expected));
    let mut extended = body.to_vec();
    extended.extend([4, 0, 3, 1, 2, 3]);
    check(&binary(0x21, 0x11, &extended), Some(expected));
    let mut body = [0; 36];
    body[15] = 1;
    body[31] = 2;
    body[33] = 7;
    body[35] = 8;
    check(&binary(0x21, 0x21, &body), Some(pair("[::1]:7", "[::2]:8")));
}

#[test]
fn a_proxy_that_speaks_for_itself_tells_no_addresses() {
    check(&binary(0x20, 0x00, &[]), None);
    check(&binary(0x20, 0x11, &[0; 12]), None);
    check(&binary(0x21, 0x00, &[1, 2, 3]), None);
    check(&binary(0x21, 0x31, &[0; 216]), None);
}

#[test]
fn a_binary_header_that_nobody_defined_is_refused() {
    check_malformed(&binary(0x11, 0x11, &[0; 12]), Malformed::Unknown);
    check_malformed(&binary(0x22, 0x11, &[0; 12]), Malformed::Unknown);
    check_malformed(&binary(0x21, 0x41, &[0; 12]), Malformed::Unknown);
    check_malformed(&binary(0x21, 0x13, &[0; 12]), Malformed::Unknown);
    check_malformed(&binary(0x21, 0x11, &[0; 11]), Malformed::Address);
    check_malformed(&binary(0x21, 0x21, &[0; 35]), Malformed::Address);
    let longest = binary(0x21, 0x00, &[0; MAX_LENGTH - 16]);
    assert_eq!(decode(&longest), complete(MAX_LENGTH, None));
    let longer = binary(0x21, 0x00, &[0; MAX_LENGTH - 15]);
    check_malformed(&longer[..16], Malformed::TooLong);
}

#[test]
fn a_mixed_pair_is_written_as_ipv6() {
    let mixed = pair("192.0.2.1:1", "[::1]:2");
    for version in [Version::V1, Version::V2] {
        let mut header = Vec::new();
        encode(&mut header, version, &mixed);
        check(&header, Some(pair("[::ffff:192.0.2.1]:1", "[::1]:2")));
    }
    let mapped = pair("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2");
    let mut header = Vec::new();
    encode(&mut header, Version::V1, &mapped);
    assert_eq!(header, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        four: bool,
        source: [u8; 16],
        destination: [u8; 16],
        ports: (u16, u16),
        second: bool,
    ) {
        let ip = |bytes: [u8; 16]| -> IpAddr {
            if four {
                [bytes[0], bytes[1], bytes[2], bytes[3]].into()
            } else {
                bytes.into()
            }
        };
        let addresses = Addresses {
            source: SocketAddr::new(ip(source), ports.0),
            destination: SocketAddr::new(ip(destination), ports.1),
        };
        let version = if second { Version::V2 } else { Version::V1 };
        let mut header = Vec::new();
        encode(&mut header, version, &addresses);
        check(&header, Some(of_one_family(&addresses)));
    }

    #[test]
    fn no_input_panics_and_what_was_decided_stays(
        start in prop_oneof![Just(v1::SIGNATURE), Just(v2::SIGNATURE), Just(&b""[..])],
        rest: Vec<u8>,
    ) {
        let mut input = start.to_vec();
        input.extend(rest);
        let mut decided = None;
        for cut in 0..=input.len() {
            let now = decode(&input[..cut]);
            if let Some(before) = decided {
                prop_assert_eq!(now, before);
            } else if now != Ok(Decoded::Incomplete) {
                decided = Some(now);
            }
        }
    }
}
