//! `[[listener.hosts]]`: sites of an HTTP listener that are chosen by the name a client asks for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::route::Route;
use super::setting::words;

words! {
    /// What a listener answers to names that none of its hosts has.
    #[derive(Default)]
    pub enum UnknownHost {
        /// As where there are no hosts, by the listener's own routes.
        #[default]
        Serve = "serve",
        /// With 421.
        Refuse = "refuse",
    }
}

/// A site of an HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its names, as `example.com`, or `*.example.com` for whatever stands in place of the one label.
    pub names: Vec<String>,
    /// Paths and what answers there, in place of the listener's own `routes`; `/ws` and `/echo` are
    /// always there.
    #[schemars(default)]
    pub routes: BTreeMap<String, Route>,
}

impl HostConfig {
    /// A site without routes of its own.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            routes: super::default_routes(),
        }
    }
}
