//! The PROXY protocol: what a proxy says of the connection it forwards, before its first byte.
//!
//! Both versions of <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt> are read and
//! written; section numbers in this module are that document's. A header is taken as it comes, in
//! any pieces, and never more than [`MAX_LENGTH`] bytes of it. Whether a peer may be believed is the
//! caller's decision: anybody can write a header. Next: `v1.rs` and `v2.rs`.

mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

/// The most bytes of one header. Chosen: version 1 has at most 107 (§2.1), version 2 usually 28 or
/// 52; what goes beyond that are vendors' extensions (§2.2.1) of some hundred bytes.
pub const MAX_LENGTH: usize = 4096;

/// From whom a connection came to the proxy, and where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// Which form a header is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header. All of the input belongs to it.
    Incomplete,
    /// A header of `length` bytes.
    Complete {
        /// Bytes of the input that belong to the header.
        length: usize,
        /// `None`: the proxy speaks for itself, as to see whether we live, or does not know. Then the
        /// connection's own addresses hold (§2.1, §2.2).
        addresses: Option<Addresses>,
    },
}

/// What came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It begins as neither version does.
    Signature,
    /// It is longer than the version, or [`MAX_LENGTH`], allows.
    TooLong,
    /// A word, an address or a port that is none.
    Address,
    /// A version, command or family that nobody has defined.
    Unknown,
}

impl Malformed {
    /// A few words for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Signature => "it begins with no PROXY header",
            Self::TooLong => "the PROXY header is too long",
            Self::Address => "an address in the PROXY header is none",
            Self::Unknown => "the PROXY header has an unknown version, command or family",
        }
    }
}

/// Reads the header at the beginning of `input`. While it is incomplete, call again with more.
///
/// # Errors
///
/// As soon as it is certain that no header can come of it.
pub fn decode(input: &[u8]) -> Result<Decoded, Malformed> {
    if begins_as(input, v2::SIGNATURE) {
        v2::decode(input)
    } else if begins_as(input, v1::SIGNATURE) {
        v1::decode(input)
    } else {
        Err(Malformed::Signature)
    }
}

/// Appends a header that says `addresses`.
pub fn encode(out: &mut Vec<u8>, version: Version, addresses: &Addresses) {
    let addresses = of_one_family(addresses);
    match version {
        Version::V1 => v1::encode(out, &addresses),
        Version::V2 => v2::encode(out, &addresses),
    }
}

fn begins_as(input: &[u8], signature: &[u8]) -> bool {
    input
        .iter()
        .zip(signature)
        .all(|(byte, expected)| byte == expected)
}

/// A header has room for one family: IPv4 where both are, IPv6 otherwise.
fn of_one_family(addresses: &Addresses) -> Addresses {
    let [source, destination] =
        [addresses.source, addresses.destination].map(|it| (it.ip().to_canonical(), it.port()));
    let six = source.0.is_ipv6() || destination.0.is_ipv6();
    let join = |(ip, port): (IpAddr, u16)| match ip {
        IpAddr::V4(ip) if six => (ip.to_ipv6_mapped(), port).into(),
        ip => SocketAddr::new(ip, port),
    };
    Addresses {
        source: join(source),
        destination: join(destination),
    }
}

#[cfg(test)]
mod tests;
