//! Control messages of a send: source address, ECN mark and segment size, as bytes.
//!
//! The layout is that of `cmsg(3)`: a length as wide as an address, level and type, then the data, each
//! message padded to the width of an address. Knows the kernel's numbers and no sockets.

use std::net::{IpAddr, SocketAddr};

use super::send::Via;

/// The bytes of a `cmsghdr`: a `size_t` and two `int`s.
const HEADER: usize = size_of::<usize>() + 8;

/// Messages are aligned to this.
const ALIGN: usize = size_of::<usize>();

/// Room for all three, the source being an IPv6 one.
const MAX_BYTES: usize = 3 * HEADER + 24 + 2 * ALIGN;

/// The control messages of one send.
#[derive(Debug)]
pub(super) struct Control {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Control {
    /// `to` tells IPv4 from IPv6 where no source address does.
    pub(super) fn new(to: Option<SocketAddr>, segment: Option<u16>, via: Via) -> Self {
        let mut this = Self {
            bytes: [0; MAX_BYTES],
            length: 0,
        };
        if let Some(segment) = segment {
            this.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        if let Some(ecn) = via.ecn {
            let mark = (ecn as i32).to_ne_bytes();
            if to.is_none_or(|to| to.is_ipv4()) {
                this.push(libc::IPPROTO_IP, libc::IP_TOS, &mark);
            } else {
                this.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &mark);
            }
        }
        match via.from {
            Some(IpAddr::V4(from)) => {
                // in_pktinfo: the interface, the source, and what only a receiver is told.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&from.octets());
                this.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(from)) => {
                // in6_pktinfo: the source, and the interface.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&from.octets());
                this.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        this
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER + data.len();
        let parts = [
            &length.to_ne_bytes()[..],
            &level.to_ne_bytes(),
            &kind.to_ne_bytes(),
            data,
        ];
        let mut at = self.length;
        for part in parts {
            let end = at + part.len();
            if let Some(place) = self.bytes.get_mut(at..end) {
                place.copy_from_slice(part);
            }
            at = end;
        }
        self.length = at.next_multiple_of(ALIGN);
        debug_assert!(self.length <= MAX_BYTES, "there is room for all messages");
    }
}

#[cfg(test)]
mod tests {
    use quinn_udp::EcnCodepoint;

    use super::*;

    fn check(to: &str, segment: Option<u16>, via: Via, expected: &[&[u8]]) {
        let control = Control::new(Some(to.parse().unwrap()), segment, via);
        assert_eq!(
            control.bytes(),
            expected.concat(),
            "{to} {segment:?} {via:?}"
        );
    }

    #[test]
    #[cfg(all(target_pointer_width = "64", target_endian = "little"))]
    fn each_thing_that_is_said_is_a_message_as_the_kernel_lays_it_out() {
        check("127.0.0.1:1", None, Via::default(), &[]);
        let via = Via {
            from: Some([127, 0, 0, 2].into()),
            ecn: Some(EcnCodepoint::Ce),
        };
        check(
            "127.0.0.1:1",
            Some(1200),
            via,
            &[
                &[18, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 103, 0, 0, 0, 0xb0, 4],
                &[0; 6],
                &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0],
                &[0; 4],
                &[28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
                &[0, 0, 0, 0, 127, 0, 0, 2, 0, 0, 0, 0],
                &[0; 4],
            ],
        );
        let via = Via {
            from: Some(std::net::Ipv6Addr::LOCALHOST.into()),
            ecn: Some(EcnCodepoint::Ect0),
        };
        check(
            "[::1]:1",
            None,
            via,
            &[
                &[
                    20, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 67, 0, 0, 0, 2, 0, 0, 0,
                ],
                &[0; 4],
                &[36, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 50, 0, 0, 0],
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                &[0; 8],
            ],
        );
    }
}
