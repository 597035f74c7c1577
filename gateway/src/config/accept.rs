//! What a listener does with a connection before its handler gets it, and how long it may last.
//!
//! These keys stand in `[[listener]]` itself. All but the first few are for TCP of any kind; what a
//! key is not for is refused by `check.rs`.

use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::setting::{Setting, Visitor, quoted, words};
use super::unit::Span;

/// The kernel's bound on `backlog` is `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BACKLOG: usize = 4096;

words! {
    /// What happens to a connection for which there is no place.
    #[derive(Default)]
    pub enum WhenFull {
        /// It is closed at once.
        #[default]
        Refuse = "refuse",
        /// It waits, and those behind it in the kernel's backlog, until another one ends.
        Wait = "wait",
    }
}

words! {
    /// Which field HTTP proxies tell the client's address in.
    #[derive(Default)]
    pub enum ForwardedField {
        /// Addresses, separated by commas.
        #[default]
        XForwardedFor = "x-forwarded-for",
        /// RFC 7239.
        Forwarded = "forwarded",
    }
}

/// How connections are accepted and how long they may last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub struct AcceptConfig {
    /// Connections that the kernel keeps before they are accepted. Default 4096, from 1 to 65535;
    /// the kernel takes `net.core.somaxconn` where that is less.
    pub backlog: usize,
    /// Connections at a time on this listener; 0 bounds them by `limits.max_connections` alone.
    /// Default 0, from 0 to 10000000.
    pub max_connections: usize,
    /// Connections at a time from one address, which for IPv6 is a network of 64 bits; more are
    /// refused. Default 0, which is no bound, from 0 to 10000000.
    pub max_per_address: usize,
    /// What happens to a connection for which there is no place: `refuse` closes it, `wait` leaves
    /// it and those behind it in the kernel's backlog. Default `refuse`.
    pub when_full: WhenFull,
    /// How long a connection may send nothing before it is closed; 0s is no bound. Default 0s, up
    /// to 24h. For `tcp`; HTTP has `limits.idle_http`.
    pub idle_timeout: Span,
    /// How long a connection may last; 0s is no bound. Default 0s, up to 168h.
    pub max_lifetime: Span,
    /// Silence after which the kernel asks whether the peer's host is still there; 0s never asks.
    /// Default 1m, up to 9h.
    pub keepalive: Span,
    /// Whether small writes are sent at once (`TCP_NODELAY`). Default true.
    pub nodelay: bool,
    /// Networks of proxies whose connections begin with a PROXY header, version 1 or 2, and whose
    /// word on the client's address is taken: as `10.0.0.0/8` or `::1`. Default none.
    #[schemars(with = "Vec<String>")]
    pub proxy_protocol: Vec<Network>,
    /// Networks of HTTP proxies whose word on a request's client is taken, as `10.0.0.0/8` or `::1`.
    /// Default none. For `http` and `https`.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<Network>,
    /// The field that they tell it in: `x-forwarded-for` or `forwarded`. Default `x-forwarded-for`.
    pub forwarded: ForwardedField,
}

impl Default for AcceptConfig {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            max_connections: 0,
            max_per_address: 0,
            when_full: WhenFull::Refuse,
            idle_timeout: Span::seconds(0),
            max_lifetime: Span::seconds(0),
            keepalive: Span::seconds(60),
            nodelay: true,
            proxy_protocol: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedField::XForwardedFor,
        }
    }
}

impl AcceptConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        let never = Span::seconds(0);
        visitor.bounded("backlog", &mut self.backlog, 1, 65_535);
        visitor.bounded("max_connections", &mut self.max_connections, 0, 10_000_000);
        visitor.bounded("max_per_address", &mut self.max_per_address, 0, 10_000_000);
        visitor.setting("when_full", &mut self.when_full);
        visitor.bounded(
            "idle_timeout",
            &mut self.idle_timeout,
            never,
            Span::hours(24),
        );
        visitor.bounded(
            "max_lifetime",
            &mut self.max_lifetime,
            never,
            Span::hours(168),
        );
        visitor.bounded("keepalive", &mut self.keepalive, never, Span::hours(9));
        visitor.setting("nodelay", &mut self.nodelay);
        visitor.setting("proxy_protocol", &mut self.proxy_protocol);
        visitor.setting("trusted_proxies", &mut self.trusted_proxies);
        visitor.setting("forwarded", &mut self.forwarded);
    }

    /// Whether connections from `ip` begin with a PROXY header.
    pub(crate) fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxy_protocol
            .iter()
            .any(|network| network.contains(ip))
    }

    /// Whether `ip` is a proxy whose word on a request's client is taken.
    pub(crate) fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(ip))
    }
}

/// A network of IP addresses: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    ip: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `ip` is in it. An IPv4 address written as IPv6 is the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let mask = |bits: u128, width: u32| {
            let host = width.saturating_sub(u32::from(self.prefix));
            bits.checked_shr(host).unwrap_or(0)
        };
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => {
                mask(u128::from(ours.to_bits()), 32) == mask(u128::from(ip.to_bits()), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(ip)) => {
                mask(ours.to_bits(), 128) == mask(ip.to_bits(), 128)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.ip.is_ipv4() { 32 } else { 128 };
        if self.prefix == whole {
            return fmt::Display::fmt(&self.ip, f);
        }
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| InvalidNetwork)?;
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| InvalidNetwork)?,
            None => whole,
        };
        if prefix > whole {
            return Err(InvalidNetwork);
        }
        Ok(Self { ip, prefix })
    }
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address such as 10.0.0.1, or one with a length such as 10.0.0.0/8")]
pub struct InvalidNetwork;

impl Setting for Vec<Network> {
    fn expected() -> String {
        "a list of networks such as [\"10.0.0.0/8\", \"::1\"]".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let texts: Vec<String> = Vec::<String>::from_toml(value)?;
        texts.iter().map(|text| text.parse().ok()).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        let texts: Vec<String> = Vec::<String>::from_text(text)?;
        texts.iter().map(|text| text.parse().ok()).collect()
    }

    fn to_toml(&self) -> Option<String> {
        let items: Vec<_> = self.iter().map(|it| quoted(&it.to_string())).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_share_its_first_bits() {
        let check = |network: &str, ip: &str, expected: bool| {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(ip.parse().unwrap()),
                expected,
                "{network} {ip}"
            );
        };
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/33", "2001:db8:7fff::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("::1", "::1", true);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::1/129",
            "10.0.0/8",
            "a",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
