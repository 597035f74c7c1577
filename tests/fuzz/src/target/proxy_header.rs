//! PROXY headers: the verdict falls at one byte and no later byte changes it, and what is written is
//! read back in both versions.
//!
//! Input: two addresses as 36 bytes, and what a proxy sends first.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use arbitrary::Unstructured;
use roomwire_protocols::proxy_header::{Addresses, Decoded, MAX_LENGTH, Version, decode, encode};

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut address = || {
        let ip: u128 = input.arbitrary().unwrap_or_default();
        SocketAddr::from((Ipv6Addr::from(ip), input.arbitrary().unwrap_or_default()))
    };
    let addresses = Addresses {
        source: address(),
        destination: address(),
    };
    what_is_written_is_read(&addresses);
    the_verdict_stands(input.take_rest());
}

fn the_verdict_stands(stream: &[u8]) {
    let longest = stream.len().min(MAX_LENGTH + 1);
    let mut verdict = None;
    for length in 0..=longest {
        let decoded = decode(&stream[..length]);
        if let Some(verdict) = verdict {
            assert_eq!(decoded, verdict, "after {length} bytes");
            // Once it has fallen, the next few bytes stand for all.
            if length % 16 == 0 {
                break;
            }
        } else if decoded != Ok(Decoded::Incomplete) {
            if let Ok(Decoded::Complete { length: end, .. }) = decoded {
                assert_eq!(end, length, "it is complete when it is, and no byte later");
            }
            verdict = Some(decoded);
        }
    }
    match verdict {
        None => assert!(longest <= MAX_LENGTH, "for this nobody waits"),
        Some(verdict) => assert_eq!(decode(stream), verdict, "all at once"),
    }
    let Some(Ok(Decoded::Complete { addresses, .. })) = verdict else {
        return;
    };
    if let Some(addresses) = addresses {
        assert_eq!(addresses.source.is_ipv4(), addresses.destination.is_ipv4());
        what_is_written_is_read(&addresses);
    }
}

fn what_is_written_is_read(addresses: &Addresses) {
    let both = [addresses.source, addresses.destination];
    let four = both.iter().all(|it| it.ip().to_canonical().is_ipv4());
    let plain = |it: SocketAddr| match it.ip().to_canonical() {
        IpAddr::V4(ip) if !four => SocketAddr::from((ip.to_ipv6_mapped(), it.port())),
        ip => SocketAddr::new(ip, it.port()),
    };
    for version in [Version::V1, Version::V2] {
        let mut out = Vec::new();
        encode(&mut out, version, addresses);
        let length = out.len();
        out.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let addresses = Addresses {
            source: plain(both[0]),
            destination: plain(both[1]),
        };
        let complete = Decoded::Complete {
            length,
            addresses: Some(addresses),
        };
        assert_eq!(decode(&out), Ok(complete), "{version:?}");
    }
}

/// The examples of the specification, both versions, and what is none.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |bytes: &[u8]| [&[7; 36], bytes].concat();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let binary = |rest: &[u8]| seed(&[signature, rest].concat());
    vec![
        seed(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /"),
        seed(b"PROXY TCP6 ::1 2001:db8::1 0 65535\r\n"),
        seed(b"PROXY UNKNOWN ffff:f...f:ffff\r\n"),
        seed(b"PROXY TCP4 192.168.0.1 192.168.0.011 056324 443\r\n"),
        seed(&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat()),
        binary(b"\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\x1f\x90\x01\xbb"),
        binary(&[b"\x21\x21\0\x24", &[1; 36][..]].concat()),
        binary(b"\x20\0\0\0"),
        binary(b"\x21\x11\0\x0b\x7f\0\0\x01\x7f\0\0\x02\x1f\x90\x01"),
        binary(b"\x21\x11\xff\xff"),
        binary(b"\x11"),
        seed(b"{\"type\":\"ping\"}"),
        b"".to_vec(),
    ]
}
