//! The address of a gateway as a person types it.
//!
//! Five kinds of URL name the five wires a client can speak: `ws://` and `wss://`, `tcp://` and
//! `tls://`, `udp://`, and `http://` or `https://` for server-sent events. [`ServerUrl`] is the checked form:
//! wire, host, port and path, with the default ports of a gateway that runs without configuration.
//! It resolves nothing and opens nothing; the client does.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// What every URL error ends with, so that nobody has to look the forms up.
const KINDS: &str = "give one of:\n  \
    ws://HOST[:8080][/ws]    WebSocket\n  \
    wss://HOST[:8443][/ws]   WebSocket over TLS\n  \
    tcp://HOST[:7000]        JSON lines over TCP\n  \
    tls://HOST:PORT          JSON lines over TLS\n  \
    udp://HOST[:7000]        datagrams\n  \
    http(s)://HOST[:PORT]    server-sent events and POST (8080, with TLS 8443)";

/// The wire that a URL asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`: server-sent events and POST.
    Http,
    /// `https://`: the same over TLS.
    Https,
    /// `tcp://`: one JSON object per line.
    Tcp,
    /// `tls://`: the same over TLS.
    Tls,
    /// `udp://`: one JSON object per datagram.
    Udp,
    /// `ws://`: one JSON object per WebSocket text message.
    Ws,
    /// `wss://`: the same over TLS.
    Wss,
}

impl Scheme {
    const ALL: [Self; 7] = [
        Self::Http,
        Self::Https,
        Self::Tcp,
        Self::Tls,
        Self::Udp,
        Self::Ws,
        Self::Wss,
    ];

    /// The scheme as it stands in a URL, without `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// True where TLS comes before the first byte of the protocol.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls | Self::Wss)
    }

    /// The port that a gateway without configuration listens on for this wire.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Ws => 8080,
            Self::Https | Self::Wss => 8443,
            Self::Tcp | Self::Tls | Self::Udp => 7000,
        }
    }
}

/// A checked address: wire, host, port, and a path where the wire has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: Scheme,
    /// A DNS name or an address, without the brackets of an IPv6 literal.
    host: String,
    port: u16,
    /// `ws`, `wss`: what is requested, beginning with `/`. `http`, `https`: a prefix that stands
    /// before `/v1`, empty or beginning with `/` and not ending with it. Else empty.
    path: String,
}

impl ServerUrl {
    /// The wire.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without brackets: what is resolved and what a certificate must name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the default one if the URL had none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the WebSocket endpoint or the prefix of the HTTP API.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `HOST:PORT`, with brackets around an IPv6 address: an HTTP `Host` value.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// True for `localhost`, names below it (RFC 6761 §6.3) and loopback addresses.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.path
        )
    }
}

/// Why a URL cannot be used. Its text lists the kinds of URL that can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {KINDS}")]
pub struct UrlError {
    problem: String,
}

impl UrlError {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
        }
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, _) = text
            .split_once("://")
            .ok_or_else(|| UrlError::new("the URL does not begin with a scheme"))?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or_else(|| UrlError::new(format!("unknown scheme {scheme:?}")))?;
        let uri: Uri = text
            .parse()
            .map_err(|error| UrlError::new(format!("not a URL ({error})")))?;
        let authority = uri
            .authority()
            .ok_or_else(|| UrlError::new("the URL names no host"))?;
        if authority.as_str().contains('@') {
            return Err(UrlError::new("a user name in the URL is not supported"));
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(UrlError::new("the URL names no host"));
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port(authority, scheme)?,
            path: path(&uri, scheme)?,
        })
    }
}

/// `Authority::port` answers None for a port that is not a number below 65536, so the text after the
/// host is looked at, too: a typed port must never silently become the default one.
fn port(authority: &http::uri::Authority, scheme: Scheme) -> Result<u16, UrlError> {
    let typed = authority
        .as_str()
        .get(authority.host().len()..)
        .unwrap_or_default();
    match typed.strip_prefix(':') {
        None => Ok(scheme.default_port()),
        Some(digits) => match digits.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(UrlError::new(format!(
                "{digits:?} is not a port from 1 to 65535"
            ))),
        },
    }
}

fn path(uri: &Uri, scheme: Scheme) -> Result<String, UrlError> {
    match scheme {
        Scheme::Ws | Scheme::Wss => Ok(match uri.path_and_query() {
            Some(path) if path.as_str() != "/" && !path.as_str().is_empty() => {
                path.as_str().to_owned()
            }
            _ => "/ws".to_owned(),
        }),
        Scheme::Http | Scheme::Https if uri.query().is_none() => {
            Ok(uri.path().trim_end_matches('/').to_owned())
        }
        Scheme::Http | Scheme::Https => Err(UrlError::new("a query is not part of the address")),
        Scheme::Tcp | Scheme::Tls | Scheme::Udp => {
            match uri.path_and_query().map(|path| path.as_str()) {
                None | Some("" | "/") => Ok(String::new()),
                Some(path) => Err(UrlError::new(format!(
                    "{}:// has no path, but {path:?} was given",
                    scheme.as_str()
                ))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let url: ServerUrl = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.to_string(), expected, "{text}");
    }

    fn refuse(text: &str, problem: &str) {
        let error = text.parse::<ServerUrl>().expect_err(text).to_string();
        assert!(error.contains(problem), "{text}: {error}");
        for kind in [
            "ws://",
            "wss://",
            "tcp://",
            "tls://",
            "udp://",
            "http(s)://",
        ] {
            assert!(error.contains(kind), "{text}: {error} lacks {kind}");
        }
    }

    #[test]
    fn missing_ports_and_paths_take_the_defaults_of_a_gateway() {
        check("ws://localhost", "ws://localhost:8080/ws");
        check("ws://localhost/", "ws://localhost:8080/ws");
        check("wss://h", "wss://h:8443/ws");
        check("tcp://h", "tcp://h:7000");
        check("udp://h/", "udp://h:7000");
        check("http://h", "http://h:8080");
        check("HTTPS://h/", "https://h:8443");
    }

    #[test]
    fn what_is_given_is_kept() {
        check("ws://h:1/chat?v=1", "ws://h:1/chat?v=1");
        check("https://h:2/prefix/", "https://h:2/prefix");
        check("tcp://[::1]:3", "tcp://[::1]:3");
        check("tls://h:4", "tls://h:4");
        check("udp://127.0.0.1:4", "udp://127.0.0.1:4");
    }

    #[test]
    fn a_bad_url_is_refused_with_the_list_of_kinds() {
        refuse("localhost:7000", "does not begin with a scheme");
        refuse("", "does not begin with a scheme");
        refuse("ftp://h", "unknown scheme \"ftp\"");
        refuse("tcp://", "");
        refuse("tcp://h:0", "not a port");
        refuse("tcp://h:65536", "not a port");
        refuse("tcp://h:", "not a port");
        refuse("tcp://h:7000/room", "has no path");
        refuse("https://h/?x=1", "query");
        refuse("ws://me@h/", "user name");
        refuse("ws://:80", "");
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        for (text, expected) in [
            ("https://localhost", true),
            ("https://LocalHost.", true),
            ("https://a.localhost", true),
            ("https://127.9.9.9", true),
            ("https://[::1]", true),
            ("https://notlocalhost", false),
            ("https://10.0.0.1", false),
        ] {
            let url: ServerUrl = text.parse().expect(text);
            assert_eq!(url.is_loopback(), expected, "{text}");
        }
    }
}
