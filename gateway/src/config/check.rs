//! Rules about a configuration's values, whoever set them: a file, a flag or code.
//!
//! A violation names the path of the value at fault; `load.rs` turns it into a place in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use roomwire_protocols::room;

use super::Config;
use super::accept::AcceptConfig;
use super::describe::differing;
use super::error::shown;
use super::exec::ExecConfig;
use super::host::UnknownHost;
use super::listener::{Handler, ListenerConfig, Protocol};
use super::load::shouted;
use super::proxy::{MAX_UPSTREAMS, ProxyConfig, Upstream};
use super::rooms::MAX_ROOM_PATTERNS;
use super::route::{Route, StaticRoute};
use super::setting::{Setting, Visitor, one_of};
use super::tls::{ClientCertificates, TlsConfig, TlsVersion};
use super::udp::UdpConfig;

/// A rule that a value breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Dotted path of the value; listeners are counted from 0.
    pub(super) path: String,
    pub(super) message: String,
}

/// Paths that the gateway answers itself.
const OWN_PATHS: [&str; 7] = [
    "/",
    "/admin",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/v1",
];

/// Keys of accepting that hold for the clients of a UDP proxy, too.
const CLIENT_KEYS: [&str; 4] = [
    "max_connections",
    "max_per_address",
    "idle_timeout",
    "max_lifetime",
];

/// Keys of a proxy that are about opening connections, which UDP has none of.
const CONNECTION_KEYS: [&str; 5] = [
    "connect_timeout",
    "stall_timeout",
    "send_proxy_protocol",
    "check_interval",
    "rise",
];

/// The most names of one obtained certificate: Let's Encrypt's own bound.
const MAX_ACME_NAMES: usize = 100;

/// Every rule that the configuration breaks.
pub(super) fn violations(config: &Config) -> Vec<Violation> {
    let mut checker = Checker::default();
    // The walk lends each value mutably, because reading is the same walk.
    config.clone().visit(&mut checker);
    // Relations between limits that are out of range would only repeat that they are.
    if checker.violations.is_empty() {
        checker.limits(config);
    }
    checker.gateway(config);
    checker.acme(config);
    checker.uploads(config);
    checker.rooms(config);
    checker.listeners(config);
    checker.violations
}

/// The path of a listener's key; of the listener itself for an empty key.
pub(super) fn listener_path(index: usize, key: &str) -> String {
    if key.is_empty() {
        format!("listener.{index}")
    } else {
        format!("listener.{index}.{key}")
    }
}

#[derive(Default)]
struct Checker {
    path: Vec<String>,
    violations: Vec<Violation>,
}

impl Visitor for Checker {
    fn setting<T: Setting>(&mut self, _key: &'static str, _value: &mut T) {}

    fn bounded<T: Setting + Display + PartialOrd>(
        &mut self,
        key: &'static str,
        value: &mut T,
        min: T,
        max: T,
    ) {
        if *value < min || max < *value {
            let mut path = self.path.clone();
            path.push(key.to_owned());
            self.add(
                path.join("."),
                format!("`{key}` must be from {min} to {max}, not {value}"),
            );
        }
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        visit(self);
        self.path.pop();
    }

    fn tables<T: Clone>(
        &mut self,
        key: &'static str,
        items: &mut Vec<T>,
        _new: &T,
        visit: impl Fn(&mut T, &mut Self),
    ) {
        for (index, item) in items.iter_mut().enumerate() {
            self.path.push(format!("{key}.{index}"));
            visit(item, self);
            self.path.pop();
        }
    }
}

impl Checker {
    fn add(&mut self, path: String, message: String) {
        self.violations.push(Violation { path, message });
    }

    fn gateway(&mut self, config: &Config) {
        let gateway = &config.gateway;
        if !is_name(&gateway.instance) {
            let message = name_message("instance", &gateway.instance);
            self.add("gateway.instance".to_owned(), message);
        }
        for origin in gateway.origins.iter().filter(|origin| !is_origin(origin)) {
            let message = format!(
                "an origin is scheme, host and port, such as \"https://app.example.com\" or \
                 \"http://localhost:3000\", in lower case and without a path, not \"{}\"",
                shown(origin)
            );
            self.add("gateway.origins".to_owned(), message);
        }
        if gateway.page_file.is_some() && !gateway.page {
            let message = "`page_file` is set although `page` is false: remove one of them";
            self.add("gateway.page_file".to_owned(), message.to_owned());
        }
    }

    fn rooms(&mut self, config: &Config) {
        let patterns = &config.rooms.patterns;
        if patterns.len() > MAX_ROOM_PATTERNS {
            let message = format!(
                "there may be {MAX_ROOM_PATTERNS} patterns of rooms, not {}",
                patterns.len()
            );
            self.add("rooms.pattern".to_owned(), message);
        }
        for (index, pattern) in patterns.iter().enumerate() {
            let path = format!("rooms.pattern.{index}");
            if pattern.matches.is_empty() {
                self.add(path, "this pattern has no `match`".to_owned());
            } else if let Err(error) = room::check(&pattern.matches) {
                let message = format!("`match` \"{}\": {error}", shown(&pattern.matches));
                self.add(format!("{path}.match"), message);
            }
        }
    }

    fn limits(&mut self, config: &Config) {
        if let Some(broken) = config.limits.broken_relation() {
            let message = format!("`{}` {}", broken.key, broken.rule);
            self.add(format!("limits.{}", broken.key), message);
        }
    }

    fn listeners(&mut self, config: &Config) {
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            self.listener(index, listener, config.gateway.open);
            self.redirect(index, listener, &config.listeners);
            // Names are told apart as environment variables spell them.
            if let Some(other) = names.insert(shouted(&listener.name), &listener.name) {
                let name = &listener.name;
                let message = if other == name {
                    format!("there are two listeners named `{name}`: give each its own name")
                } else {
                    format!("the listener names `{other}` and `{name}` differ in `-` and `_` only")
                };
                self.add(listener_path(index, "name"), message);
            }
            let transport = if listener.protocol == Protocol::Udp {
                "UDP"
            } else {
                "TCP"
            };
            if listener.bind.port() == 0 {
                continue;
            }
            if let Some(other) = addresses.insert((transport, listener.bind), &listener.name) {
                let message = format!(
                    "the listeners `{other}` and `{}` both bind {transport} {}: \
                     give each its own port",
                    listener.name, listener.bind
                );
                self.add(listener_path(index, "bind"), message);
            }
        }
    }

    fn listener(&mut self, index: usize, listener: &ListenerConfig, open: bool) {
        let ListenerConfig {
            name,
            protocol,
            handler,
            bind,
            ..
        } = listener;
        if !is_name(name) {
            self.add(listener_path(index, "name"), name_message("name", name));
        }
        if !protocol.handlers().contains(handler) {
            let possible: Vec<_> = protocol
                .handlers()
                .iter()
                .map(|handler| handler.as_str())
                .collect();
            let message = format!(
                "a listener for {protocol} can have the handler {}, not \"{handler}\"",
                one_of(&possible)
            );
            self.add(listener_path(index, "handler"), message);
        }
        if !listener.is_loopback() && !open {
            let message = format!(
                "listener `{}` binds {bind}, which other machines may reach: bind a loopback \
                 address (127.0.0.1 or [::1]), or say `open = true` in [gateway] if anyone may \
                 use the gateway",
                shown(name)
            );
            self.add(listener_path(index, "bind"), message);
        }
        self.path.push(listener_path(index, ""));
        // The walk lends each value mutably, because reading is the same walk.
        listener.clone().visit(self);
        self.path.pop();
        self.accept(index, listener);
        self.udp(index, listener);
        self.framing(index, listener);
        self.exec(index, listener);
        self.proxy(index, listener);
        self.tls(index, listener);
        self.routes(&listener_path(index, ""), &listener.routes, listener);
        self.hosts(index, listener);
    }

    fn hosts(&mut self, index: usize, listener: &ListenerConfig) {
        let (hosts, protocol) = (&listener.hosts, listener.protocol);
        if !listener.speaks_http() {
            let set = [
                ("hosts", !hosts.is_empty()),
                ("unknown_host", listener.unknown_host != UnknownHost::Serve),
            ];
            for (key, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
                let message = format!(
                    "`{key}` is for http and https, and with `detect` for tcp and tls; this listener \
                     is for {protocol}"
                );
                self.add(listener_path(index, key), message);
            }
            return;
        }
        if listener.unknown_host == UnknownHost::Refuse && hosts.is_empty() {
            let message = "`unknown_host` refuses all names where there are no `hosts`";
            self.add(listener_path(index, "unknown_host"), message.to_owned());
        }
        let mut known = BTreeSet::new();
        for (nth, host) in hosts.iter().enumerate() {
            let path = listener_path(index, &format!("hosts.{nth}"));
            if host.names.is_empty() {
                self.add(path.clone(), "this host has no `names`".to_owned());
            }
            for name in &host.names {
                if !is_site(name) {
                    let message = format!(
                        "`names` has names such as \"example.com\" or \"*.example.com\" and \
                         addresses, without a port, not \"{}\"",
                        shown(name)
                    );
                    self.add(format!("{path}.names"), message);
                } else if !known.insert(name.to_ascii_lowercase()) {
                    let message = format!("the name \"{}\" is another host's already", shown(name));
                    self.add(format!("{path}.names"), message);
                }
            }
            self.routes(&path, &host.routes, listener);
        }
    }

    fn redirect(&mut self, index: usize, listener: &ListenerConfig, all: &[ListenerConfig]) {
        let Some(name) = &listener.redirect else {
            if listener.redirect_port != 0 {
                let message = "`redirect_port` needs a `redirect` beside it";
                self.add(listener_path(index, "redirect_port"), message.to_owned());
            }
            return;
        };
        let protocol = listener.protocol;
        let target = all.iter().find(|it| it.name == *name);
        let message = if protocol != Protocol::Http {
            format!("`redirect` is for http, and this listener is for {protocol}")
        } else if target.is_none_or(|target| target.protocol != Protocol::Https) {
            let name = shown(name);
            format!("`redirect` is the name of a listener for https, which \"{name}\" is not")
        } else {
            return;
        };
        self.add(listener_path(index, "redirect"), message);
    }

    fn accept(&mut self, index: usize, listener: &ListenerConfig) {
        let (accept, protocol) = (&listener.accept, listener.protocol);
        let defaults = AcceptConfig::default();
        if protocol == Protocol::Udp && *accept != defaults {
            let proxied = listener.handler == Handler::Proxy;
            for key in differing(accept, &defaults, AcceptConfig::visit) {
                if proxied && CLIENT_KEYS.contains(&key) {
                    continue;
                }
                let message =
                    format!("`{key}` is for connections, and this listener is for {protocol}");
                self.add(listener_path(index, key), message);
            }
        }
        if protocol.is_stream() && !listener.detect {
            let http_only = [
                ("trusted_proxies", !accept.trusted_proxies.is_empty()),
                ("forwarded", accept.forwarded != defaults.forwarded),
            ];
            for (key, _) in http_only.into_iter().filter(|(_, is_set)| *is_set) {
                let message = format!(
                    "`{key}` is for http and https, and this listener is for {protocol}: there is \
                     `proxy_protocol`"
                );
                self.add(listener_path(index, key), message);
            }
        }
        if listener.detect && !protocol.is_stream() {
            let message =
                format!("`detect` is for tcp and tls, and this listener is for {protocol}");
            self.add(listener_path(index, "detect"), message);
        }
        if protocol.is_http() && accept.idle_timeout != defaults.idle_timeout {
            let message = format!(
                "`idle_timeout` is for tcp, and this listener is for {protocol}: there are \
                 `idle_http` and `ping_interval` in [limits]"
            );
            self.add(listener_path(index, "idle_timeout"), message);
        }
    }

    fn udp(&mut self, index: usize, listener: &ListenerConfig) {
        let protocol = listener.protocol;
        if protocol != Protocol::Udp {
            for key in differing(&listener.udp, &UdpConfig::default(), UdpConfig::visit) {
                let message =
                    format!("`udp.{key}` is for udp, and this listener is for {protocol}");
                self.add(listener_path(index, &format!("udp.{key}")), message);
            }
        }
        if listener.handler != Handler::Proxy {
            return;
        }
        for key in differing(&listener.proxy, &ProxyConfig::default(), ProxyConfig::visit) {
            let is_for = match (CONNECTION_KEYS.contains(&key), key) {
                (true, _) if protocol == Protocol::Udp => "tcp and tls",
                (_, "amplification") if protocol != Protocol::Udp => "udp",
                _ => continue,
            };
            let message =
                format!("`proxy.{key}` is for {is_for}, and this listener is for {protocol}");
            self.add(listener_path(index, &format!("proxy.{key}")), message);
        }
    }

    fn framing(&mut self, index: usize, listener: &ListenerConfig) {
        let (protocol, handler) = (listener.protocol, listener.handler);
        let framed = matches!(handler, Handler::Echo | Handler::Discard);
        if listener.framing.is_some() && (!protocol.is_stream() || !framed) {
            let message = format!(
                "`framing` is for the handlers \"echo\" and \"discard\" over tcp, and this listener's \
                 is \"{handler}\" over {protocol}"
            );
            self.add(listener_path(index, "framing"), message);
        }
    }

    fn exec(&mut self, index: usize, listener: &ListenerConfig) {
        let (exec, handler) = (&listener.exec, listener.handler);
        if handler != Handler::Exec {
            for key in differing(exec, &ExecConfig::default(), ExecConfig::visit) {
                let message = format!(
                    "`exec.{key}` is for the handler \"exec\", and this listener's is \"{handler}\""
                );
                self.add(listener_path(index, &format!("exec.{key}")), message);
            }
            return;
        }
        if exec.command.first().is_none_or(String::is_empty) {
            let message =
                "the handler \"exec\" needs a program, as `exec.command = [\"/usr/bin/bc\"]`";
            self.add(listener_path(index, "handler"), message.to_owned());
        }
        if exec.command.iter().any(|word| word.contains('\0')) {
            let message = "`command` has a word with a null character";
            self.add(listener_path(index, "exec.command"), message.to_owned());
        }
    }

    fn proxy(&mut self, index: usize, listener: &ListenerConfig) {
        let (proxy, handler) = (&listener.proxy, listener.handler);
        if handler != Handler::Proxy {
            for key in differing(proxy, &ProxyConfig::default(), ProxyConfig::visit) {
                let message = format!(
                    "`proxy.{key}` is for the handler \"proxy\", and this listener's is \"{handler}\""
                );
                self.add(listener_path(index, &format!("proxy.{key}")), message);
            }
            return;
        }
        let count = proxy.upstreams.len();
        if count == 0 {
            let message = "the handler \"proxy\" needs upstreams, as \
                           `proxy.upstreams = [\"127.0.0.1:9000\"]`";
            self.add(listener_path(index, "handler"), message.to_owned());
        } else if count > MAX_UPSTREAMS {
            let message = format!("there may be {MAX_UPSTREAMS} upstreams, not {count}");
            self.add(listener_path(index, "proxy.upstreams"), message);
        }
        let itself = Upstream::from(listener.bind);
        if proxy.upstreams.contains(&itself) {
            let message = format!("the upstream {itself} is this listener itself");
            self.add(listener_path(index, "proxy.upstreams"), message);
        }
    }

    fn tls(&mut self, index: usize, listener: &ListenerConfig) {
        let ListenerConfig {
            certificate,
            key,
            certificates,
            tls,
            protocol,
            ..
        } = listener;
        if !listener.speaks_tls() {
            let set = [
                ("certificate", certificate.is_some()),
                ("key", key.is_some()),
                ("certificates", !certificates.is_empty()),
                ("tls", *tls != TlsConfig::default()),
            ];
            if let Some((set, _)) = set.into_iter().find(|(_, is_set)| *is_set) {
                let message =
                    format!("`{set}` is for https and tls, and this listener is for {protocol}");
                self.add(listener_path(index, set), message);
            }
            return;
        }
        let alone = match (certificate, key) {
            (Some(_), None) => Some(("certificate", "key")),
            (None, Some(_)) => Some(("key", "certificate")),
            (None, None) | (Some(_), Some(_)) => None,
        };
        if let Some((present, missing)) = alone {
            let message = format!("`{present}` needs a `{missing}` beside it");
            self.add(listener_path(index, present), message);
        }
        self.tls_names(index, tls);
        self.client_certificates(index, tls);
        for name in tls.acme.iter().filter(|name| !is_domain(name)) {
            let message = format!(
                "`acme` names hosts such as \"chat.example.com\", in lower case and without `*`, \
                 which neither challenge can prove; not \"{}\"",
                shown(name)
            );
            self.add(listener_path(index, "tls.acme"), message);
        }
        if tls.acme.len() > MAX_ACME_NAMES {
            let (most, found) = (MAX_ACME_NAMES, tls.acme.len());
            let message = format!("`acme` can name {most} hosts, not {found}");
            self.add(listener_path(index, "tls.acme"), message);
        }
    }

    fn acme(&mut self, config: &Config) {
        let acme = &config.acme;
        let mut listeners = config.listeners.iter();
        if !acme.agree_to_terms && listeners.any(|listener| !listener.tls.acme.is_empty()) {
            let message = "set `agree_to_terms` to true in [acme] if you agree to the terms of the \
                           authority: without it no certificate is ordered";
            self.add("acme.agree_to_terms".to_owned(), message.to_owned());
        }
        if !acme.directory.starts_with("https://") {
            let message = "`directory` is the https:// address of an authority's directory";
            self.add("acme.directory".to_owned(), message.to_owned());
        }
        for address in acme.contact.iter().filter(|address| !address.contains('@')) {
            let message = format!("`contact` has mail addresses, not \"{}\"", shown(address));
            self.add("acme.contact".to_owned(), message);
        }
    }

    fn uploads(&mut self, config: &Config) {
        let uploads = &config.uploads;
        if uploads.max_total < uploads.max_file {
            let message = "`max_total` must not be less than `max_file`";
            self.add("uploads.max_total".to_owned(), message.to_owned());
        }
    }

    fn tls_names(&mut self, index: usize, tls: &TlsConfig) {
        let known = [
            (
                "cipher_suites",
                &tls.cipher_suites,
                roomwire_certs::cipher_suites(),
            ),
            (
                "key_exchanges",
                &tls.key_exchanges,
                roomwire_certs::key_exchanges(),
            ),
        ];
        for (key, named, known) in known {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let is_known =
                |name: &String| known.iter().any(|known| known.eq_ignore_ascii_case(name));
            for name in named.iter().filter(|name| !is_known(name)) {
                let possible = one_of(&known);
                let message = format!("`{key}` can have {possible}, not \"{}\"", shown(name));
                self.add(listener_path(index, &format!("tls.{key}")), message);
            }
        }
        let is_13 = |suite: &String| !suite.contains("_WITH_");
        if tls.min_version == TlsVersion::V13
            && !tls.cipher_suites.is_empty()
            && !tls.cipher_suites.iter().any(is_13)
        {
            let message = "`cipher_suites` has none of TLS 1.3, which `min_version` wants";
            self.add(
                listener_path(index, "tls.cipher_suites"),
                message.to_owned(),
            );
        }
    }

    fn client_certificates(&mut self, index: usize, tls: &TlsConfig) {
        let asked = tls.client_certificates != ClientCertificates::None;
        let (at, message) = if asked && tls.client_ca.is_none() {
            let message = "needs a `client_ca` beside it: who issues the certificates";
            ("client_certificates", message)
        } else if !asked && tls.client_ca.is_some() {
            let message = "needs `client_certificates` to be \"optional\" or \"required\"";
            ("client_ca", message)
        } else if tls.client_crl.is_some() && tls.client_ca.is_none() {
            ("client_crl", "needs a `client_ca` beside it")
        } else {
            return;
        };
        self.add(
            listener_path(index, &format!("tls.{at}")),
            format!("`{at}` {message}"),
        );
    }

    /// Checks the routes of a listener, or of one of its hosts, at `place`.
    fn routes(&mut self, place: &str, routes: &BTreeMap<String, Route>, listener: &ListenerConfig) {
        if !listener.speaks_http() && !routes.is_empty() {
            let protocol = listener.protocol;
            let message = format!(
                "`routes` are for http and https, and with `detect` for tcp and tls; this listener \
                 is for {protocol}"
            );
            self.add(format!("{place}.routes"), message);
            return;
        }
        for (path, route) in routes {
            let path_of_route = format!("{place}.routes.{path}");
            if !is_path(path) {
                let message = format!(
                    "a route is a path that begins with `/`, of letters, digits and `/-._~`, \
                     not \"{}\"",
                    shown(path)
                );
                self.add(path_of_route.clone(), message);
            } else if path == "/" && route.is_prefix() {
                // Instead of our page, and behind all else that is answered.
            } else if OWN_PATHS.contains(&path.as_str()) || path.starts_with("/v1/") {
                let message = format!("the gateway answers `{path}` itself: choose another path");
                self.add(path_of_route.clone(), message);
            }
            if let Route::Static(site) = route {
                self.site(path_of_route, path, site);
            }
        }
    }

    fn site(&mut self, place: String, path: &str, site: &StaticRoute) {
        if !path.ends_with('/') {
            let message = format!(
                "a path with `static` ends in `/`: write \"{}/\"",
                shown(path)
            );
            self.add(place.clone(), message);
        }
        if site.root.as_os_str().is_empty() {
            let message = "`static` must name a directory".to_owned();
            self.add(format!("{place}.static"), message);
        }
        for name in site.index.iter().filter(|name| !is_file_name(name)) {
            let message = format!("`index` has names of files, not \"{}\"", shown(name));
            self.add(format!("{place}.index"), message);
        }
        let fallback = site.fallback.iter();
        for name in fallback.filter(|name| !name.split('/').all(is_file_name)) {
            let name = shown(name);
            let message = format!("`fallback` is a file below the directory, not \"{name}\"");
            self.add(format!("{place}.fallback"), message);
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn name_message(key: &str, name: &str) -> String {
    format!(
        "`{key}` must be 1 to 64 of `a-z`, `0-9`, `-` and `_`, not \"{}\"",
        shown(name)
    )
}

/// RFC 1034 §3.5 with RFC 1123 §2.1: labels of letters, digits and inner hyphens, two at least.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 200 && name.contains('.') && name.split('.').all(is_label)
}

/// A name, one with `*.` before it, or an address, as clients write them in `Host`.
fn is_site(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    roomwire_protocols::http1::is_host(plain.as_bytes())
        && (!plain.contains(':') || plain.ends_with(']'))
        && !plain.contains('%')
        && !plain.ends_with('.')
}

fn is_path(path: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~');
    path.starts_with('/') && path.len() <= 255 && path.bytes().all(allowed)
}

/// RFC 6454 §6.2: scheme, host and port as browsers send them in `Origin`.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let in_scheme =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    let in_authority = |b: u8| in_scheme(b) || matches!(b, b':' | b'[' | b']' | b'_');
    !scheme.is_empty()
        && !authority.is_empty()
        && scheme.bytes().all(in_scheme)
        && authority.bytes().all(in_authority)
}
