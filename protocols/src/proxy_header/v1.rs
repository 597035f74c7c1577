//! Version 1, a line for people: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` (§2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{self, FromStr};

use super::{Addresses, Decoded, Malformed};

/// What such a header begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// §2.1: "a 108-byte buffer is always enough to store all the line and a trailing zero".
const MAX_LINE: usize = 107;

pub(super) fn decode(input: &[u8]) -> Result<Decoded, Malformed> {
    let considered = input.get(..MAX_LINE).unwrap_or(input);
    let Some(end) = considered.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() < MAX_LINE {
            Ok(Decoded::Incomplete)
        } else {
            Err(Malformed::TooLong)
        };
    };
    let line = considered.get(SIGNATURE.len()..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| Malformed::Address)?;
    Ok(Decoded::Complete {
        length: end + 2,
        addresses: addresses(line)?,
    })
}

fn addresses(line: &str) -> Result<Option<Addresses>, Malformed> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF is found" (§2.1).
        return Ok(None);
    }
    let mut next = || words.next().ok_or(Malformed::Address);
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(Malformed::Address);
    }
    let (source, destination) = match family {
        "TCP4" => (ip::<Ipv4Addr>(source)?, ip::<Ipv4Addr>(destination)?),
        "TCP6" => (ip::<Ipv6Addr>(source)?, ip::<Ipv6Addr>(destination)?),
        _ => return Err(Malformed::Unknown),
    };
    Ok(Some(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    }))
}

fn ip<T: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Malformed> {
    word.parse::<T>()
        .map(Into::into)
        .map_err(|_| Malformed::Address)
}

/// §2.1: decimal, from 0 to 65535, without leading zeros.
fn port(word: &str) -> Result<u16, Malformed> {
    let canonical = word == "0" || !word.starts_with(['0', '+']);
    word.parse()
        .ok()
        .filter(|_| canonical)
        .ok_or(Malformed::Address)
}

pub(super) fn encode(out: &mut Vec<u8>, addresses: &Addresses) {
    let Addresses {
        source,
        destination,
    } = addresses;
    let family = if source.is_ipv6() { "TCP6" } else { "TCP4" };
    let line = format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    out.extend_from_slice(line.as_bytes());
}
