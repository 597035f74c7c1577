//! `[gateway]`: what concerns the program as a whole.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};
use super::unit::Span;

/// What concerns the program as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Worker threads; 0 starts one per core. Default 0, from 0 to 256.
    pub workers: usize,
    /// How long sessions may take to end after SIGTERM before they are cut. Default 30s, from 0s
    /// to 1h.
    pub drain: Span,
    /// Whether addresses other than loopback may be bound although nobody has to log in.
    /// Default false.
    pub open: bool,
    /// Origins of web pages that may connect besides our own, as `https://app.example.com`.
    /// Default none.
    pub origins: Vec<String>,
    /// Name of this gateway among those on one machine: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    /// Default "default".
    #[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub instance: String,
    /// Where development certificates and the admin token are kept. Default `$XDG_DATA_HOME/roomwire`, else
    /// `~/.local/share/roomwire`.
    pub data_dir: Option<PathBuf>,
    /// Whether counters are published in a file that other processes can map. Default true.
    pub page: bool,
    /// What a restart does with the counters of the gateway before. Default "reset".
    pub counters: CountersPolicy,
    /// The file that counters are published in. Default `/dev/shm/roomwire.INSTANCE` on Linux.
    pub page_file: Option<PathBuf>,
}

words! {
    /// What a restart does with what was counted before it.
    #[derive(Default)]
    pub enum CountersPolicy {
        /// Counters begin at zero.
        #[default]
        Reset = "reset",
        /// Counters go on from the page that the gateway of this name left, where it can be read.
        Keep = "keep",
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            drain: Span::seconds(30),
            open: false,
            origins: Vec::new(),
            instance: "default".to_owned(),
            data_dir: None,
            page: true,
            counters: CountersPolicy::default(),
            page_file: None,
        }
    }
}

impl GatewayConfig {
    /// Where this gateway's own files go: what is configured, else `roomwire` in the user's data
    /// directory, as the XDG base directory specification finds it from these two variables.
    ///
    /// `None` where neither tells an absolute path: then `data_dir` must be configured.
    pub fn data_dir(&self, xdg_data_home: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
        if let Some(configured) = &self.data_dir {
            return Some(configured.clone());
        }
        // The specification says that a relative path in XDG_DATA_HOME is to be ignored.
        let absolute = |path: &&Path| path.is_absolute();
        let xdg = xdg_data_home
            .map(Path::new)
            .filter(absolute)
            .map(Path::to_owned);
        let home = home.map(Path::new).filter(absolute);
        let data = xdg.or_else(|| home.map(|home| home.join(".local/share")))?;
        Some(data.join("roomwire"))
    }

    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.bounded("workers", &mut self.workers, 0, 256);
        visitor.bounded("drain", &mut self.drain, Span::seconds(0), Span::hours(1));
        visitor.setting("open", &mut self.open);
        visitor.setting("origins", &mut self.origins);
        visitor.setting("instance", &mut self.instance);
        visitor.setting("data_dir", &mut self.data_dir);
        visitor.setting("page", &mut self.page);
        visitor.setting("counters", &mut self.counters);
        visitor.setting("page_file", &mut self.page_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_the_configured_one_else_the_users() {
        let check = |configured: Option<&str>,
                     xdg: Option<&str>,
                     home: Option<&str>,
                     expected: Option<&str>| {
            let config = GatewayConfig {
                data_dir: configured.map(PathBuf::from),
                ..Default::default()
            };
            let found = config.data_dir(xdg.map(OsStr::new), home.map(OsStr::new));
            assert_eq!(found, expected.map(PathBuf::from));
        };
        check(
            Some("/srv/rw"),
            Some("/x"),
            Some("/home/ada"),
            Some("/srv/rw"),
        );
        check(None, Some("/x"), Some("/home/ada"), Some("/x/roomwire"));
        check(
            None,
            None,
            Some("/home/ada"),
            Some("/home/ada/.local/share/roomwire"),
        );
        check(
            None,
            Some("relative"),
            Some("/home/ada"),
            Some("/home/ada/.local/share/roomwire"),
        );
        check(None, Some(""), None, None);
    }
}
