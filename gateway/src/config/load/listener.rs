//! Reading `[[listener]]`, whose keys have other defaults in every entry.
//!
//! Listeners are no part of the walk over all keys, because what is not written in one depends on
//! its protocol, and variables name a listener by what its `name` says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Frame, Loader, PREFIX, described, is_table, shouted};
use crate::config::check;
use crate::config::error::{Place, shown};
use crate::config::host::HostConfig;
use crate::config::listener::{Handler, ListenerConfig, Protocol};
use crate::config::route::{Route, StaticRoute};
use crate::config::tls::CertificateConfig;
use crate::config::{MAX_CERTIFICATES, MAX_HOSTS, MAX_LISTENERS};

/// A listener of which something may be missing.
struct RawListener {
    name: String,
    protocol: Option<Protocol>,
    bind: Option<SocketAddr>,
    handler: Option<Handler>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// The keys whose defaults are the same for every protocol; the others of it mean nothing.
    settings: ListenerConfig,
}

impl<'a> Loader<'a> {
    /// The listeners of the file, or the default ones where it has none: `[[listener]]` replaces
    /// those as a whole.
    pub(super) fn listeners(&mut self, document: &'a DeTable<'a>) -> Vec<ListenerConfig> {
        self.note_key("listener");
        let Some(value) = document.get("listener") else {
            return self.default_listeners();
        };
        let place = Place::span(value.span());
        let items = value
            .get_ref()
            .as_array()
            .filter(|items| items.iter().all(is_table));
        let Some(items) = items else {
            let found = described(value.get_ref());
            let message =
                format!("`listener` must be tables that begin with [[listener]], not {found}");
            self.problem(place, message);
            return Vec::new();
        };
        if items.is_empty() || items.len() > MAX_LISTENERS {
            let message = format!(
                "there must be 1 to {MAX_LISTENERS} listeners, not {}; without the key there are \
                 the default ones",
                items.len()
            );
            self.problem(place, message);
        }
        let mut listeners = Vec::new();
        for (index, item) in items.iter().take(MAX_LISTENERS).enumerate() {
            self.place(check::listener_path(index, ""), Place::span(item.span()));
            listeners.extend(self.listener(index, item.get_ref().as_table(), None));
        }
        listeners
    }

    fn default_listeners(&mut self) -> Vec<ListenerConfig> {
        let defaults = ListenerConfig::defaults();
        let read = |(index, default)| self.listener(index, None, Some(default));
        defaults.iter().enumerate().filter_map(read).collect()
    }

    /// Reads one listener from the file, or lets the environment override a default one. `None`
    /// where something without a default is missing or wrong, which is then a problem.
    fn listener(
        &mut self,
        index: usize,
        table: Option<&'a DeTable<'a>>,
        default: Option<&ListenerConfig>,
    ) -> Option<ListenerConfig> {
        let written = table.and_then(|table| table.get("name")?.get_ref().as_str());
        let name = written
            .or_else(|| default.map(|listener| listener.name.as_str()))
            .unwrap_or_default();
        let mut raw = RawListener {
            name: name.to_owned(),
            protocol: default.map(|listener| listener.protocol),
            bind: default.map(|listener| listener.bind),
            handler: default
                .filter(|listener| listener.handler != listener.protocol.default_handler())
                .map(|listener| listener.handler),
            certificate: None,
            key: None,
            settings: default.map_or_else(unset, Clone::clone),
        };
        let prefix = format!("{PREFIX}LISTENER_{}_", shouted(name));
        self.frames.push(Frame {
            path: check::listener_path(index, ""),
            title: "[[listener]]".to_owned(),
            variable: Some(prefix.clone()),
            table,
            known: Vec::new(),
        });
        let variable = |key: &str| Some(format!("{prefix}{}", shouted(key)));
        self.named("name", None, &mut raw.name);
        self.named("protocol", variable("protocol"), &mut raw.protocol);
        self.named("bind", variable("bind"), &mut raw.bind);
        self.named("handler", variable("handler"), &mut raw.handler);
        self.named("certificate", variable("certificate"), &mut raw.certificate);
        self.named("key", variable("key"), &mut raw.key);
        let certificates = self.certificates();
        let routes = self.routes();
        let hosts = self.hosts();
        raw.settings.visit(self);
        self.leave();
        if default.is_none() {
            self.report_missing(index);
        }
        let mut listener = ListenerConfig::new(raw.name, raw.protocol?, raw.bind?);
        listener.handler = raw.handler.unwrap_or(listener.handler);
        listener.certificate = raw.certificate;
        listener.key = raw.key;
        listener.certificates = certificates;
        listener.routes.extend(routes);
        listener.hosts = hosts;
        Some(listener.with_settings(raw.settings))
    }

    /// Keys that have no default and were given nowhere.
    fn report_missing(&mut self, index: usize) {
        let is_missing = |key: &&str| !self.places.contains_key(&check::listener_path(index, key));
        let missing: Vec<_> = ["name", "protocol", "bind"]
            .into_iter()
            .filter(is_missing)
            .collect();
        if !missing.is_empty() {
            let place = self.places.get(&check::listener_path(index, "")).cloned();
            let message = format!("this listener has no `{}`", missing.join("` and no `"));
            self.problem(place.unwrap_or(Place::Nowhere), message);
        }
    }

    /// The tables of a list of the present listener, at most `max`, and the list's path.
    fn list(&mut self, key: &'static str, max: usize) -> (String, &'a [Spanned<DeValue<'a>>]) {
        self.note_key(key);
        let Some((path, value)) = self.find(key) else {
            return (String::new(), &[]);
        };
        let place = Place::span(value.span());
        self.place(path.clone(), place.clone());
        let items = value.get_ref().as_array();
        let Some(items) = items.filter(|items| items.iter().all(is_table)) else {
            let found = described(value.get_ref());
            let message =
                format!("`{key}` must be tables that begin with [[listener.{key}]], not {found}");
            self.problem(place, message);
            return (path, &[]);
        };
        if items.len() > max {
            let message = format!("there can be {max} {key}, not {}", items.len());
            self.problem(place, message);
        }
        (path, &items[..items.len().min(max)])
    }

    /// Begins a table of a list.
    fn enter(&mut self, key: &str, path: String, item: &'a Spanned<DeValue<'a>>) {
        self.frames.push(Frame {
            path,
            variable: None,
            title: format!("[[listener.{key}]]"),
            table: item.get_ref().as_table(),
            known: Vec::new(),
        });
    }

    /// The `[[listener.hosts]]` of the present listener.
    fn hosts(&mut self) -> Vec<HostConfig> {
        let (path, items) = self.list("hosts", MAX_HOSTS);
        let mut hosts = Vec::new();
        for (nth, item) in items.iter().enumerate() {
            let path = format!("{path}.{nth}");
            self.place(path.clone(), Place::span(item.span()));
            self.enter("hosts", path, item);
            let mut host = HostConfig::new(Vec::<String>::new());
            self.named("names", None, &mut host.names);
            host.routes.extend(self.routes());
            self.leave();
            hosts.push(host);
        }
        hosts
    }

    /// The `[[listener.certificates]]` of the present listener.
    fn certificates(&mut self) -> Vec<CertificateConfig> {
        let (path, items) = self.list("certificates", MAX_CERTIFICATES);
        let read = |(nth, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let (mut certificate, mut key) = (None::<PathBuf>, None::<PathBuf>);
            self.enter("certificates", format!("{path}.{nth}"), item);
            self.named("certificate", None, &mut certificate);
            self.named("key", None, &mut key);
            self.leave();
            if certificate.is_none() || key.is_none() {
                let message = "a certificate has a `certificate` and a `key`".to_owned();
                self.problem(Place::span(item.span()), message);
            }
            Some(CertificateConfig {
                certificate: certificate?,
                key: key?,
            })
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    /// The routes as written; those that every HTTP listener has are not added here.
    fn routes(&mut self) -> BTreeMap<String, Route> {
        let mut routes = BTreeMap::new();
        self.note_key("routes");
        let Some((path, value)) = self.find("routes") else {
            return routes;
        };
        self.place(path.clone(), Place::span(value.span()));
        let Some(table) = value.get_ref().as_table() else {
            let found = described(value.get_ref());
            let message = format!(
                "`routes` must be a table from path to handler, such as {{ \"/ws\" = \"rooms\" }}, \
                 not {found}"
            );
            self.problem(Place::span(value.span()), message);
            return routes;
        };
        for (key, value) in table.iter() {
            let path = format!("{path}.{}", key.get_ref());
            self.place(path.clone(), Place::span(key.span()));
            if let Some(route) = self.route(path, key.get_ref(), value) {
                routes.insert(key.get_ref().to_string(), route);
            }
        }
        routes
    }

    /// One route: a word, or a table that the key in it tells the kind of.
    fn route(&mut self, path: String, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Route> {
        let place = Place::span(value.span());
        let found = value.get_ref();
        if let Some(table) = found
            .as_table()
            .filter(|table| table.contains_key("static"))
        {
            let mut route = StaticRoute::default();
            self.frames.push(Frame {
                path,
                title: format!("the route `{}`", shown(key)),
                variable: None,
                table: Some(table),
                known: Vec::new(),
            });
            route.visit(self);
            self.leave();
            return Some(Route::Static(route));
        }
        let route = found.as_str().and_then(Route::from_word);
        if route.is_none() {
            let (key, expected) = (shown(key), Route::expected());
            let message = format!("`{key}` must be {expected}, not {}", described(found));
            let hint = found.as_str().and_then(Route::hint);
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            self.problem(place, message + &hint);
        }
        route
    }
}

fn unset() -> ListenerConfig {
    ListenerConfig::new("", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
}
