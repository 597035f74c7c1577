//! Version 2, binary: a signature, command, family, length, addresses, then extensions (§2.2).
//!
//! Extensions are passed over: nothing here depends on what they say, and their checksum is one that
//! a receiver may leave unread (§2.2.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Decoded, MAX_LENGTH, Malformed};

/// What such a header begins with; chosen by the specification to upset every other protocol.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, and the length of the rest.
const HEAD: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

pub(super) fn decode(input: &[u8]) -> Result<Decoded, Malformed> {
    // The parts are judged as they come, so that nobody is waited for in vain.
    let command = input.get(SIGNATURE.len()).copied();
    if command.is_some_and(|command| command != LOCAL && command != PROXY) {
        return Err(Malformed::Unknown);
    }
    let family = input.get(SIGNATURE.len() + 1).copied();
    if family.is_some_and(|family| family >> 4 > 3 || family & 15 > 2) {
        return Err(Malformed::Unknown);
    }
    let Some((head, rest)) = input.split_at_checked(HEAD) else {
        return Ok(Decoded::Incomplete);
    };
    let [.., high, low] = *head else {
        return Ok(Decoded::Incomplete);
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if HEAD + body > MAX_LENGTH {
        return Err(Malformed::TooLong);
    }
    let Some(body) = rest.get(..body) else {
        return Ok(Decoded::Incomplete);
    };
    let addresses = match (command, family.unwrap_or_default() >> 4) {
        (Some(PROXY), 1) => Some(ipv4(body).ok_or(Malformed::Address)?),
        (Some(PROXY), 2) => Some(ipv6(body).ok_or(Malformed::Address)?),
        // The proxy itself, an unspecified family, or a socket that has no address we could show.
        _ => None,
    };
    Ok(Decoded::Complete {
        length: HEAD + body.len(),
        addresses,
    })
}

fn ipv4(body: &[u8]) -> Option<Addresses> {
    let (ips, rest) = body.split_first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *ips;
    let (source, destination) = ports(rest)?;
    Some(Addresses {
        source: SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), source),
        destination: SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), destination),
    })
}

fn ipv6(body: &[u8]) -> Option<Addresses> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some(Addresses {
        source: SocketAddr::new(Ipv6Addr::from(*source).into(), source_port),
        destination: SocketAddr::new(Ipv6Addr::from(*destination).into(), destination_port),
    })
}

fn ports(rest: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *rest.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

pub(super) fn encode(out: &mut Vec<u8>, addresses: &Addresses) {
    let (source, destination) = (addresses.source, addresses.destination);
    let (family, length): (u8, u16) = if source.is_ipv6() {
        (TCP_OVER_IPV6, 36)
    } else {
        (TCP_OVER_IPV4, 12)
    };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[PROXY, family]);
    out.extend_from_slice(&length.to_be_bytes());
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}
