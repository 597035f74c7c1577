//! A configuration as text: as a file that says the same, and as what `roomwire check` prints.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Config;
use super::listener::{ListenerConfig, default_routes};
use super::route::Route;
use super::setting::{Setting, Visitor, quoted};
use super::unit::ByteSize;

/// One key with its value as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// Dotted path of its table; entries of lists are counted from 0.
    table: String,
    /// How a file begins the table.
    heading: String,
    key: &'static str,
    /// `None`: nothing is set.
    value: Option<String>,
}

impl Line {
    fn dotted(&self) -> String {
        if self.table.is_empty() {
            self.key.to_owned()
        } else {
            format!("{}.{}", self.table, self.key)
        }
    }
}

/// Collects every key that is visited.
#[derive(Default)]
pub(super) struct Lines {
    path: Vec<String>,
    /// `path` without numbers, in as many brackets as a file has.
    heading: Vec<&'static str>,
    in_list: bool,
    lines: Vec<Line>,
}

impl Visitor for Lines {
    fn setting<T: Setting>(&mut self, key: &'static str, value: &mut T) {
        self.lines.push(Line {
            table: self.path.join("."),
            heading: self.heading(),
            key,
            value: value.to_toml(),
        });
    }

    fn bounded<T: Setting + Display + PartialOrd>(
        &mut self,
        key: &'static str,
        value: &mut T,
        _min: T,
        _max: T,
    ) {
        self.setting(key, value);
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        let in_list = std::mem::replace(&mut self.in_list, false);
        self.path.push(key.to_owned());
        self.heading.push(key);
        visit(self);
        self.heading.pop();
        self.path.pop();
        self.in_list = in_list;
    }

    fn tables<T: Clone>(
        &mut self,
        key: &'static str,
        items: &mut Vec<T>,
        _new: &T,
        visit: impl Fn(&mut T, &mut Self),
    ) {
        self.heading.push(key);
        for (index, item) in items.iter_mut().enumerate() {
            self.in_list = true;
            self.path.push(format!("{key}.{index}"));
            visit(item, self);
            self.path.pop();
        }
        self.in_list = false;
        self.heading.pop();
    }
}

impl Lines {
    fn heading(&self) -> String {
        let path = self.heading.join(".");
        if self.in_list {
            format!("[[{path}]]")
        } else {
            format!("[{path}]")
        }
    }
}

fn lines(config: &Config) -> Vec<Line> {
    let mut lines = Lines::default();
    // The walk lends each value mutably, because reading is the same walk.
    config.clone().visit(&mut lines);
    lines.lines
}

/// A file that says what `config` says, with every key that is set.
pub(super) fn to_toml(config: &Config) -> String {
    let mut text = String::new();
    let mut table = None;
    for line in lines(config) {
        let Some(value) = line.value else {
            continue;
        };
        if table.as_ref() != Some(&line.table) {
            let separator = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{separator}{}\n", line.heading));
            table = Some(line.table);
        }
        text.push_str(&format!("{} = {value}\n", line.key));
    }
    for listener in &config.listeners {
        text.push_str("\n[[listener]]\n");
        for (key, value) in listener_lines(listener) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        for line in listener_settings(listener) {
            if let Some(value) = &line.value {
                text.push_str(&format!("{} = {value}\n", line.dotted()));
            }
        }
        // Tables stand after all keys of their listener.
        for host in &listener.hosts {
            let names: Vec<_> = host.names.iter().map(|name| quoted(name)).collect();
            text.push_str(&format!(
                "[[listener.hosts]]\nnames = [{}]\nroutes = {}\n",
                names.join(", "),
                routes_as_toml(&host.routes)
            ));
        }
        for pair in &listener.certificates {
            let quote = |path: &std::path::Path| quoted(&path.to_string_lossy());
            text.push_str(&format!(
                "[[listener.certificates]]\ncertificate = {}\nkey = {}\n",
                quote(&pair.certificate),
                quote(&pair.key)
            ));
        }
    }
    text
}

fn routes_as_toml(routes: &BTreeMap<String, Route>) -> String {
    let route =
        |(path, route): (&String, &Route)| format!("{} = {}", quoted(path), route.to_toml());
    let routes: Vec<_> = routes.iter().map(route).collect();
    format!("{{ {} }}", routes.join(", "))
}

fn listener_lines(listener: &ListenerConfig) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("name", quoted(&listener.name)),
        ("protocol", quoted(listener.protocol.as_str())),
        ("bind", quoted(&listener.bind.to_string())),
        ("handler", quoted(listener.handler.as_str())),
    ];
    if !listener.routes.is_empty() {
        lines.push(("routes", routes_as_toml(&listener.routes)));
    }
    let path = |path: &std::path::PathBuf| quoted(&path.to_string_lossy());
    lines.extend(
        listener
            .certificate
            .iter()
            .map(|file| ("certificate", path(file))),
    );
    lines.extend(listener.key.iter().map(|file| ("key", path(file))));
    lines
}

/// The keys of a listener, below the ones it is made of, that are not as by default; with values.
fn listener_settings(listener: &ListenerConfig) -> Vec<Line> {
    let defaults = ListenerConfig::new("", listener.protocol, listener.bind);
    let walk = |listener: &ListenerConfig| {
        let mut lines = Lines::default();
        listener.clone().visit(&mut lines);
        lines.lines
    };
    let (lines, defaults) = (walk(listener), walk(&defaults));
    let differs = |(line, default): (Line, &Line)| (line != *default).then_some(line);
    lines
        .into_iter()
        .zip(&defaults)
        .filter_map(differs)
        .collect()
}

/// The keys in which two settings differ that `visit` walks over.
pub(super) fn differing<T: Clone>(
    one: &T,
    other: &T,
    visit: impl Fn(&mut T, &mut Lines),
) -> Vec<&'static str> {
    let walk = |settings: &T| {
        let mut lines = Lines::default();
        visit(&mut settings.clone(), &mut lines);
        lines.lines
    };
    let (one, other) = (walk(one), walk(other));
    let differ = one.iter().zip(&other).filter(|(one, other)| one != other);
    differ.map(|(line, _)| line.key).collect()
}

/// What would run, for people: listeners, what differs from the defaults, what it costs at worst.
pub(super) fn describe(config: &Config) -> String {
    let mut text = "listeners\n".to_owned();
    let width = config
        .listeners
        .iter()
        .map(|listener| listener.name.len())
        .max()
        .unwrap_or(0);
    for listener in &config.listeners {
        text.push_str(&format!(
            "  {:<width$}  {}\n",
            listener.name,
            summary(listener)
        ));
        for line in listener_settings(listener) {
            let value = line.value.as_deref().unwrap_or("not set");
            text.push_str(&format!("  {:<width$}  {} = {value}\n", "", line.dotted()));
        }
    }
    text.push_str("\nnot as by default\n");
    let defaults = lines(&Config::default());
    let mut differs = false;
    for line in lines(config).iter().filter(|line| !defaults.contains(line)) {
        differs = true;
        let value = line.value.as_deref().unwrap_or("not set");
        text.push_str(&format!("  {}.{} = {value}", line.table, line.key));
        let of_key = |default: &&Line| default.table == line.table && default.key == line.key;
        if let Some(default) = defaults.iter().find(of_key) {
            let default = default.value.as_deref().unwrap_or("not set");
            text.push_str(&format!(" (default {default})"));
        }
        text.push('\n');
    }
    if !differs {
        text.push_str("  nothing\n");
    }
    text.push_str(&worst_case(config));
    text
}

fn summary(listener: &ListenerConfig) -> String {
    let ListenerConfig {
        protocol,
        bind,
        handler,
        ..
    } = listener;
    let mut summary = format!("{protocol:<5}  {bind}  {handler}");
    if listener.detect {
        summary.push_str(", or what TLS and HTTP ask for");
    }
    summary.push_str(&described_routes(&listener.routes));
    for host in &listener.hosts {
        let routes = described_routes(&host.routes);
        summary.push_str(&format!(", host {}{routes}", host.names.join(" ")));
    }
    if listener.speaks_tls() {
        let others = listener.certificates.iter().map(|pair| &pair.certificate);
        let mut files = listener.certificate.iter().chain(others).peekable();
        if files.peek().is_none() {
            summary.push_str(", certificate development");
        }
        for path in files {
            summary.push_str(&format!(", certificate {}", path.display()));
        }
        let clients = listener.tls.client_certificates;
        if clients != super::ClientCertificates::None {
            summary.push_str(&format!(", client certificates {clients}"));
        }
    }
    if !listener.is_loopback() {
        summary.push_str(", open to other machines");
    }
    summary
}

/// The routes that not every listener has.
fn described_routes(routes: &BTreeMap<String, Route>) -> String {
    let usual = default_routes();
    let own = routes
        .iter()
        .filter(|(path, route)| usual.get(*path) != Some(*route));
    own.map(|(path, route)| format!(", {path} {route}"))
        .collect()
}

fn worst_case(config: &Config) -> String {
    let limits = &config.limits;
    let session = limits
        .max_message
        .get()
        .saturating_add(limits.max_outbox_bytes.get());
    let rooms = &config.rooms;
    let each = rooms.patterns.iter().map(|pattern| &pattern.history);
    let histories = each.chain([&rooms.history]);
    let room = histories.map(|history| history.bytes.get()).max();
    let room = room.unwrap_or_default();
    let rooms = room.saturating_mul(limits.max_rooms as u64);
    let sessions = match limits.max_connections {
        0 => "as many sessions as open files allow".to_owned(),
        most => {
            let all = rounded(session.saturating_mul(most as u64));
            format!("{most} sessions, {all} together")
        }
    };
    format!(
        "\nmemory at worst\n  \
         {} for a session (unfinished message and full outbox), {sessions}\n  \
         {} for a room's history, {} rooms, {} together\n  \
         usual loads take a small part: messages are shared, idle sessions hold about 1 KiB\n",
        rounded(session),
        rounded(room),
        limits.max_rooms,
        rounded(rooms),
    )
}

/// A size with one digit behind the point, for reading and not for parsing.
fn rounded(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor {
            let tenths = u128::from(bytes) * 10 / u128::from(factor);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    ByteSize::bytes(bytes).to_string()
}
