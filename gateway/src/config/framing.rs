//! `framing` of a listener: how messages are told apart in a stream of bytes.

use std::fmt;

use roomwire_protocols::frame::{self, InvalidFraming};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::setting::{Setting, quoted};

/// How messages are told apart: `lines`, `u16`, `u16-le`, `u32`, `u32-le`, `fixed:64` or
/// `delimiter:;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing(pub frame::Framing);

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Framing {
    type Err = InvalidFraming;

    fn from_str(text: &str) -> Result<Self, InvalidFraming> {
        text.parse().map(Self)
    }
}

impl Serialize for Framing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Setting for Framing {
    fn expected() -> String {
        "\"lines\", \"u16\", \"u16-le\", \"u32\", \"u32-le\", \"fixed:BYTES\" or \"delimiter:TEXT\""
            .to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn hint(text: &str) -> Option<String> {
        let fixed = text.strip_prefix("fixed:")?;
        let number = fixed.parse::<usize>().is_ok();
        (!number).then(|| "write the length in bytes, as \"fixed:64\"".to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}
