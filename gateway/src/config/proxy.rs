//! `[listener.proxy]`: where a proxy listener's connections go, and what holds on the way.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::setting::{Setting, Visitor, quoted, words};
use super::unit::Span;

/// The most upstreams of one listener. Chosen: each has a task that looks after it.
pub(super) const MAX_UPSTREAMS: usize = 64;

words! {
    /// Which upstream a connection goes to.
    #[derive(Default)]
    pub enum Balance {
        /// Each in its turn.
        #[default]
        RoundRobin = "round-robin",
        /// The one with the fewest connections.
        LeastConnections = "least-connections",
    }
}

words! {
    /// Whether upstreams are told whose connection it is, by a PROXY header.
    #[derive(Default)]
    pub enum SendHeader {
        /// They are not.
        #[default]
        None = "none",
        /// By version 1, a line of text.
        V1 = "v1",
        /// By version 2, which is binary.
        V2 = "v2",
    }
}

/// Where a proxy listener's connections go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Upstreams as `HOST:PORT`, with an address or a name: 1 to 64 of them.
    #[schemars(with = "Vec<String>")]
    pub upstreams: Vec<Upstream>,
    /// Which upstream a connection goes to: `round-robin` or `least-connections`. Default
    /// `round-robin`.
    pub balance: Balance,
    /// How long a connection to one upstream may take to open before the next one is tried.
    /// Default 5s, from 10ms to 5m.
    pub connect_timeout: Span,
    /// How long either end may take nothing of what waits for it. Default 1m, from 100ms to 24h.
    pub stall_timeout: Span,
    /// Whether upstreams are told the client by a PROXY header: `none`, `v1` or `v2`. Default
    /// `none`.
    pub send_proxy_protocol: SendHeader,
    /// Time between two looks whether an upstream accepts connections; 0s does not look. Default
    /// 0s, up to 1h.
    pub check_interval: Span,
    /// Failures in a row after which an upstream is left out. Default 3, from 1 to 100.
    pub fall: usize,
    /// Looks in a row that must succeed before it is taken again. Default 2, from 1 to 100.
    pub rise: usize,
    /// How long an upstream is left out where nobody looks. Default 10s, from 100ms to 1h.
    pub retry_after: Span,
    /// Time after which a name is looked up again. Default 30s, from 1s to 24h.
    pub resolve_interval: Span,
    /// Over UDP, how many times the bytes that came from a client it is sent at most, since its
    /// address may be forged; 0 is no bound. Default 3, from 0 to 1000.
    pub amplification: usize,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            balance: Balance::RoundRobin,
            connect_timeout: Span::seconds(5),
            stall_timeout: Span::seconds(60),
            send_proxy_protocol: SendHeader::None,
            check_interval: Span::seconds(0),
            fall: 3,
            rise: 2,
            retry_after: Span::seconds(10),
            resolve_interval: Span::seconds(30),
            amplification: 3,
        }
    }
}

impl ProxyConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("upstreams", &mut self.upstreams);
        visitor.setting("balance", &mut self.balance);
        visitor.bounded(
            "connect_timeout",
            &mut self.connect_timeout,
            Span::millis(10),
            Span::minutes(5),
        );
        visitor.bounded(
            "stall_timeout",
            &mut self.stall_timeout,
            Span::millis(100),
            Span::hours(24),
        );
        visitor.setting("send_proxy_protocol", &mut self.send_proxy_protocol);
        visitor.bounded(
            "check_interval",
            &mut self.check_interval,
            Span::seconds(0),
            Span::hours(1),
        );
        visitor.bounded("fall", &mut self.fall, 1, 100);
        visitor.bounded("rise", &mut self.rise, 1, 100);
        visitor.bounded(
            "retry_after",
            &mut self.retry_after,
            Span::millis(100),
            Span::hours(1),
        );
        visitor.bounded(
            "resolve_interval",
            &mut self.resolve_interval,
            Span::seconds(1),
            Span::hours(24),
        );
        visitor.bounded("amplification", &mut self.amplification, 0, 1000);
    }
}

/// Where connections can be sent: an address, or a name that is looked up, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Upstream {
    /// The address, where it is no name.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The name, where it is one, and the port.
    pub fn name(&self) -> Option<(&str, u16)> {
        match &self.host {
            Host::Ip(_) => None,
            Host::Name(name) => Some((name, self.port)),
        }
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => fmt::Display::fmt(&SocketAddr::new(*ip, self.port), f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self::from(address))
                .filter(|it| it.port != 0)
                .ok_or(InvalidUpstream);
        }
        let (name, port) = text.rsplit_once(':').ok_or(InvalidUpstream)?;
        let port: u16 = port.parse().map_err(|_| InvalidUpstream)?;
        if !is_host_name(name) || port == 0 {
            return Err(InvalidUpstream);
        }
        Ok(Self {
            host: Host::Name(name.to_owned()),
            port,
        })
    }
}

/// RFC 1123 §2.1, and underscores, which are in use. A last label of digits alone would be a
/// misspelt IPv4 address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !numeric
}

/// A text that is no upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upstream is HOST:PORT, such as 127.0.0.1:9000 or db.example.com:5432")]
pub struct InvalidUpstream;

impl Setting for Vec<Upstream> {
    fn expected() -> String {
        "a list of upstreams such as [\"127.0.0.1:9000\", \"db.example.com:5432\"]".to_owned()
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
    fn an_upstream_is_an_address_or_a_name_with_a_port() {
        for text in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "localhost:1",
            "a.b-c.example:65535",
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1.:1",
            "256.0.0.1:1",
            "a..b:1",
            "::1:9",
            "a b:1",
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(InvalidUpstream), "{text}");
        }
    }
}
