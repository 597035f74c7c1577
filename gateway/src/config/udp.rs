//! `[listener.udp]`: what holds for the datagrams of a listener, whatever its handler.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::ByteSize;

/// What holds for the datagrams of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UdpConfig {
    /// Datagrams in a second that are taken from one address, which for IPv6 is a network of 64 bits;
    /// more are ignored. Default 0, which is no bound, up to 10000000.
    pub rate: usize,
    /// Datagrams that an address may send at once after it was silent; 0 is as many as `rate`.
    /// Default 0, up to 10000000.
    pub burst: usize,
    /// The kernel's buffer of each socket for what comes. Default 4MiB, from 4KiB to 1GiB.
    pub receive_buffer: ByteSize,
    /// The kernel's buffer of each socket for what goes. Default 4MiB, from 4KiB to 1GiB.
    pub send_buffer: ByteSize,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            rate: 0,
            burst: 0,
            receive_buffer: ByteSize::mib(4),
            send_buffer: ByteSize::mib(4),
        }
    }
}

impl UdpConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        let (least, most) = (ByteSize::kib(4), ByteSize::gib(1));
        visitor.bounded("rate", &mut self.rate, 0, 10_000_000);
        visitor.bounded("burst", &mut self.burst, 0, 10_000_000);
        visitor.bounded("receive_buffer", &mut self.receive_buffer, least, most);
        visitor.bounded("send_buffer", &mut self.send_buffer, least, most);
    }
}
