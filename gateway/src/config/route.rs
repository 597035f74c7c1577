//! What answers on a path of an HTTP listener.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Setting, Visitor, nearest, one_of, quoted};
use super::unit::Span;

/// What answers on a path: a word for WebSocket sessions, a table for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// WebSocket sessions, the rooms.
    Rooms,
    /// WebSocket sessions; sends back what comes.
    Echo,
    /// Files below a directory, on a path that ends in `/` and on all below it.
    #[serde(untagged)]
    Static(StaticRoute),
}

/// `{ static = "public" }`: files below a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticRoute {
    /// The directory. Nothing outside of it is served.
    #[serde(rename = "static")]
    pub root: PathBuf,
    /// Names of files that answer for their directory, the first that exists. Default `index.html`.
    pub index: Vec<String>,
    /// Whether a directory without such a file is answered by a list of what is in it. Default false.
    pub listing: bool,
    /// The file, below the root, that answers browsers for pages that do not exist, as applications of
    /// a single page want it. Default none.
    pub fallback: Option<String>,
    /// Whether symbolic links are followed, though never out of the directory. Default false.
    pub symlinks: bool,
    /// Whether names that begin with a dot are served. Default false: only `.well-known` is.
    pub hidden: bool,
    /// Whether `a.br`, `a.zst` or `a.gz` is sent for `a` to clients that take it. Default true.
    pub precompressed: bool,
    /// How long clients may keep a file without asking again. Default 0s: they ask each time, which
    /// costs no more than a 304.
    pub max_age: Span,
}

impl Default for StaticRoute {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            index: vec!["index.html".to_owned()],
            listing: false,
            fallback: None,
            symlinks: false,
            hidden: false,
            precompressed: true,
            max_age: Span::seconds(0),
        }
    }
}

impl StaticRoute {
    /// Files below `root`, with defaults for the rest.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ..Self::default()
        }
    }

    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("static", &mut self.root);
        visitor.setting("index", &mut self.index);
        visitor.setting("listing", &mut self.listing);
        visitor.setting("fallback", &mut self.fallback);
        visitor.setting("symlinks", &mut self.symlinks);
        visitor.setting("hidden", &mut self.hidden);
        visitor.setting("precompressed", &mut self.precompressed);
        visitor.setting("max_age", &mut self.max_age);
    }
}

impl Route {
    /// The words of routes that are no tables.
    const WORDS: [(&'static str, Self); 2] = [("rooms", Self::Rooms), ("echo", Self::Echo)];

    /// Whether it answers on its path and on all below it.
    pub const fn is_prefix(&self) -> bool {
        matches!(self, Self::Static(_))
    }

    /// The route's table as it is configured, with what differs from the defaults.
    pub(super) fn to_toml(&self) -> String {
        let Self::Static(route) = self else {
            return quoted(&self.to_string());
        };
        let keys = keys(route).into_iter();
        let usual = keys_by_default();
        let given: Vec<String> = keys
            .filter(|key| key.0 == "static" || !usual.contains(key))
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        format!("{{ {} }}", given.join(", "))
    }

    /// A word from a file.
    pub(super) fn from_word(text: &str) -> Option<Self> {
        let known = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        known.map(|(_, route)| route)
    }

    /// Completes "`/path` must be …".
    pub(super) fn expected() -> String {
        let words = Self::WORDS.map(|(word, _)| word);
        format!(
            "{}, or a table such as {{ static = \"public\" }}",
            one_of(&words)
        )
    }

    /// What may have been meant.
    pub(super) fn hint(text: &str) -> Option<String> {
        let near = nearest(text, Self::WORDS.map(|(word, _)| word))?;
        Some(format!("did you mean \"{near}\"?"))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rooms => f.write_str("rooms"),
            Self::Echo => f.write_str("echo"),
            Self::Static(route) => write!(f, "static {}", route.root.display()),
        }
    }
}

/// Keys of a table with their values as TOML, those that are set.
#[derive(Default)]
struct Keys(Vec<(&'static str, String)>);

fn keys(route: &StaticRoute) -> Vec<(&'static str, String)> {
    let mut keys = Keys::default();
    // The walk lends each value mutably, because reading is the same walk.
    route.clone().visit(&mut keys);
    keys.0
}

fn keys_by_default() -> Vec<(&'static str, String)> {
    keys(&StaticRoute::default())
}

impl Visitor for Keys {
    fn setting<T: Setting>(&mut self, key: &'static str, value: &mut T) {
        self.0.extend(value.to_toml().map(|value| (key, value)));
    }

    fn bounded<T: Setting + fmt::Display + PartialOrd>(
        &mut self,
        key: &'static str,
        value: &mut T,
        _min: T,
        _max: T,
    ) {
        self.setting(key, value);
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        debug_assert!(false, "a route has no table {key}");
        visit(self);
    }

    fn tables<T: Clone>(
        &mut self,
        key: &'static str,
        _items: &mut Vec<T>,
        _new: &T,
        _visit: impl Fn(&mut T, &mut Self),
    ) {
        debug_assert!(false, "a route has no tables {key}");
    }
}
