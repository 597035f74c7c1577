//! `[admin]`: who may look at the gateway from within and act on it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};

/// Who may use the admin page and the part of the API that is for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Who has to show the token. Default "auto".
    pub token: TokenPolicy,
    /// A file with the token: 16 to 256 letters, digits and `-_.~+/=`. Default `admin-token` in the
    /// data directory, which is made where it is needed and missing.
    pub token_file: Option<PathBuf>,
    /// Admin pages that may look on at a time. Default 16, from 0 to 1000.
    pub max_viewers: usize,
}

words! {
    /// Who has to show the admin token.
    #[derive(Default)]
    pub enum TokenPolicy {
        /// Whoever does not come from this machine to a listener on loopback.
        #[default]
        Auto = "auto",
        /// Everybody.
        Always = "always",
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            token: TokenPolicy::default(),
            token_file: None,
            max_viewers: 16,
        }
    }
}

impl AdminConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("token", &mut self.token);
        visitor.setting("token_file", &mut self.token_file);
        visitor.bounded("max_viewers", &mut self.max_viewers, 0, 1_000);
    }
}
