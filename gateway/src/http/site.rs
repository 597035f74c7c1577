//! Which site of a listener a request is for, by the name it asks for (`[[listener.hosts]]`), and where
//! a listener sends its clients that has no site but another one with TLS.
//!
//! An exact name counts before `*.`, which stands for one label, as in certificates. Names are
//! compared without their port, their case and a dot at the end.

use std::collections::{BTreeMap, HashMap};

use http::header::{HeaderValue, LOCATION};
use http::uri::{Authority, PathAndQuery};
use http::{Request, Response, StatusCode, Uri};
use roomwire_metrics::Id;

use super::body::ResponseBody;
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::service::authority;
use crate::config::{ListenerConfig, Route, UnknownHost};

/// Where ACME authorities ask, who follow redirects only where they lead to port 443.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The port that `https://` means where none is written.
const HTTPS_PORT: u16 = 443;

/// The hosts of one listener by their names.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    exact: HashMap<String, usize>,
    /// By what follows `*.`.
    wildcard: HashMap<String, usize>,
    refuses_others: bool,
}

impl Sites {
    pub(crate) fn new(listener: &ListenerConfig) -> Self {
        let mut sites = Self {
            refuses_others: listener.unknown_host == UnknownHost::Refuse,
            ..Self::default()
        };
        for (index, host) in listener.hosts.iter().enumerate() {
            for name in &host.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut sites.wildcard, parent),
                    None => (&mut sites.exact, name.as_str()),
                };
                names.insert(name.to_ascii_lowercase(), index);
            }
        }
        sites
    }

    /// Whether clients may ask for this name; nobody has to where there are no hosts.
    fn admits(&self, host: Option<&Authority>) -> bool {
        !self.refuses_others || host.is_some_and(|host| self.find(host.host()).is_some())
    }

    /// The host that has this name.
    fn find(&self, name: &str) -> Option<usize> {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return None;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let parent = || {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        };
        self.exact.get(&name).or_else(parent).copied()
    }
}

/// The routes of the site that is asked for.
pub(super) fn routes<'a>(
    connection: &'a Connection,
    host: Option<&str>,
) -> &'a BTreeMap<String, Route> {
    static NONE: BTreeMap<String, Route> = BTreeMap::new();
    let listeners = &connection.worker.shared.config.listeners;
    let Some(listener) = listeners.get(usize::from(connection.listener)) else {
        return &NONE;
    };
    if listener.hosts.is_empty() {
        return &listener.routes;
    }
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let site = host.and_then(|host| sites(connection)?.find(host.host()));
    let site = site.and_then(|index| listener.hosts.get(index));
    site.map_or(&listener.routes, |site| &site.routes)
}

/// Whether one of the listener's hosts has this name: it is ours then, wherever the listener is bound.
pub(super) fn is_named(connection: &Connection, host: &Authority) -> bool {
    sites(connection).is_some_and(|sites| sites.find(host.host()).is_some())
}

/// Refuses names that are none of the listener's, where it serves no others.
pub(super) fn check(connection: &Connection, host: Option<&Authority>) -> Result<(), Problem> {
    if sites(connection).is_none_or(|sites| sites.admits(host)) {
        return Ok(());
    }
    connection.worker.count(Id::HttpHostsRefused);
    let status = StatusCode::MISDIRECTED_REQUEST;
    let detail = "this listener does not serve that name; list it in listener.hosts";
    Err(Problem::new(status, "misdirected", detail))
}

fn sites(connection: &Connection) -> Option<&Sites> {
    let sites = &connection.worker.shared.sites;
    sites.get(usize::from(connection.listener))
}

/// Where a request is sent to by a listener that only redirects.
pub(super) fn secure_location<B>(
    connection: &Connection,
    request: &Request<B>,
) -> Option<Result<HeaderValue, Problem>> {
    let shared = &connection.worker.shared;
    let listener = shared
        .config
        .listeners
        .get(usize::from(connection.listener))?;
    let name = listener.redirect.as_deref()?;
    if request.uri().path().starts_with(CHALLENGES) {
        return None;
    }
    let port = match u16::try_from(listener.redirect_port) {
        Ok(0) | Err(_) => {
            let mut bound = shared.listeners.iter();
            bound.find(|it| &*it.name == name)?.address.port()
        }
        Ok(port) => port,
    };
    let host = authority(request).and_then(|host| host.parse::<Authority>().ok());
    let location = host.and_then(|host| location(&host, port, request.uri()));
    Some(location.ok_or_else(|| {
        // HTTP/1.0 without a Host.
        let detail = "this is served over https only, and there is no Host to send you to";
        Problem::new(StatusCode::BAD_REQUEST, "bad_host", detail)
    }))
}

fn location(host: &Authority, port: u16, uri: &Uri) -> Option<HeaderValue> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = if target.starts_with('/') { target } else { "/" };
    let host = host.host();
    let location = match port {
        HTTPS_PORT => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    };
    HeaderValue::try_from(location).ok()
}

/// 308: the same request again, there.
pub(super) fn redirect(location: HeaderValue) -> Answer {
    let mut answer = Response::new(ResponseBody::empty());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(LOCATION, location);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostConfig, Protocol};

    #[test]
    fn a_name_has_one_site_and_the_exact_one_counts() {
        let mut listener = ListenerConfig::new("web", Protocol::Http, ([127, 0, 0, 1], 0).into());
        listener.hosts = vec![
            HostConfig::new(["*.example.com", "example.com"]),
            HostConfig::new(["Special.example.com"]),
        ];
        let sites = Sites::new(&listener);
        let check = |name: &str, expected| assert_eq!(sites.find(name), expected, "{name}");
        check("example.com", Some(0));
        check("EXAMPLE.com.", Some(0));
        check("a.example.com", Some(0));
        check("special.example.com", Some(1));
        check("a.b.example.com", None);
        check("example.org", None);
        check("com", None);
        check("", None);
        check("127.0.0.1", None);
        check("[::1]", None);
    }

    #[test]
    fn a_redirect_keeps_host_path_and_query() {
        let check = |host: &str, port, uri: &str, expected: &str| {
            let found = location(&host.parse().unwrap(), port, &uri.parse().unwrap());
            assert_eq!(found.unwrap(), expected);
        };
        check("a.example", 443, "/b?c=d&e", "https://a.example/b?c=d&e");
        check("a.example:80", 8443, "/", "https://a.example:8443/");
        check("[::1]:80", 8443, "//b/%2e?", "https://[::1]:8443//b/%2e?");
        check(
            "a.example",
            443,
            "http://a.example/b?c",
            "https://a.example/b?c",
        );
        check("a.example", 443, "*", "https://a.example/");
    }
}
