//! One configured value, and the walk over all of them.
//!
//! A section names each of its keys once, in its `visit` method. Reading a file, applying the
//! environment, checking bounds and printing are [`Visitor`]s of that walk, so a key can neither
//! be read without being printed nor be checked without being known to the suggestions.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::unit::{ByteSize, Span, split_unit};

/// A type that a key may have.
pub(super) trait Setting: Sized {
    /// Completes the sentence "`key` must be …".
    fn expected() -> String;

    /// Reads a value from a file; `None` where it is not what [`expected`](Self::expected) says.
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;

    /// Reads a value from an environment variable.
    fn from_text(text: &str) -> Option<Self>;

    /// Whether a text that could not be read names something that is planned.
    fn is_planned(_text: &str) -> bool {
        false
    }

    /// What may have been meant by a text that could not be read.
    fn hint(_text: &str) -> Option<String> {
        None
    }

    /// The value as TOML; `None` where nothing is set.
    fn to_toml(&self) -> Option<String>;
}

/// Something done with every key of a configuration, in the order in which they are documented.
pub(super) trait Visitor: Sized {
    /// A key with any value of its type.
    fn setting<T: Setting>(&mut self, key: &'static str, value: &mut T);

    /// A key whose value must lie from `min` to `max`.
    fn bounded<T: Setting + Display + PartialOrd>(
        &mut self,
        key: &'static str,
        value: &mut T,
        min: T,
        max: T,
    );

    /// A table below the present one; `visit` names its keys.
    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self));

    /// A list of tables below the present one, each beginning as `new`; `visit` names their keys. No
    /// variables override what is in them.
    fn tables<T: Clone>(
        &mut self,
        key: &'static str,
        items: &mut Vec<T>,
        new: &T,
        visit: impl Fn(&mut T, &mut Self),
    );
}

/// Quotes a text as a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The entry of `known` that is most like `word`, where one is like it at all.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Chosen: high enough that `max_rooms` does not suggest `max_waiters`, low enough that one
    // wrong letter in a word of four is still found.
    const ALIKE: f64 = 0.7;
    let scored = known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(word, name), name));
    let (likeness, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness >= ALIKE).then_some(name)
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for usize {
    fn expected() -> String {
        "a whole number from 0".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let integer = value.as_integer()?;
        Self::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Setting for Vec<String> {
    fn expected() -> String {
        "a list of strings".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let items = value.as_array()?.iter();
        items
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }

    fn to_toml(&self) -> Option<String> {
        let items: Self = self.iter().map(|item| quoted(item)).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address and a port such as \"127.0.0.1:7000\" or \"[::1]:7000\"".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn hint(text: &str) -> Option<String> {
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Some("the port is missing".to_owned());
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port: u16 = port.parse().ok()?;
        let written_as_name = !host.is_empty() && host != "localhost" && host != "*";
        if written_as_name {
            return Some("names are not looked up, write the address".to_owned());
        }
        let address = if host == "*" { "0.0.0.0" } else { "127.0.0.1" };
        Some(format!("write \"{address}:{port}\""))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Setting for ByteSize {
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(Self::bytes),
            DeValue::String(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn hint(text: &str) -> Option<String> {
        let (number, unit) = split_unit(text);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "b" | "bytes" => "B",
            "k" | "kb" | "kib" => "KiB",
            "m" | "mb" | "mib" => "MiB",
            "g" | "gb" | "gib" => "GiB",
            _ => return None,
        };
        (!number.is_empty()).then(|| format!("write \"{number}{unit}\""))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Setting for Span {
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn hint(text: &str) -> Option<String> {
        let (number, unit) = split_unit(text);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "ms" | "msec" | "millis" => "ms",
            "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hr" | "hour" | "hours" => "h",
            _ => return None,
        };
        (!number.is_empty()).then(|| format!("write \"{number}{unit}\""))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl<T: Setting> Setting for Option<T> {
    fn expected() -> String {
        T::expected()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        T::from_toml(value).map(Some)
    }

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn is_planned(text: &str) -> bool {
        T::is_planned(text)
    }

    fn hint(text: &str) -> Option<String> {
        T::hint(text)
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(T::to_toml)
    }
}

/// Declares an enum whose variants are written as words, and makes it a [`Setting`].
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $( $(#[$doc:meta])* $variant:ident = $word:literal, )+
        }
        $( planned { $($planned:literal),+ $(,)? } )?
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $( $(#[$doc])* #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// Every value, in the order in which they are documented.
            pub const ALL: &[Self] = &[$( Self::$variant ),+];

            /// The word that stands for the value in a configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn expected() -> String {
                $crate::config::setting::one_of(&[$( $word ),+])
            }

            fn from_toml(value: &toml::de::DeValue<'_>) -> Option<Self> {
                value.as_str().and_then(Self::from_text)
            }

            fn from_text(text: &str) -> Option<Self> {
                match text { $( $word => Some(Self::$variant), )+ _ => None }
            }

            fn is_planned(text: &str) -> bool {
                let planned: &[&str] = &[$( $($planned),+ )?];
                planned.contains(&text)
            }

            fn hint(text: &str) -> Option<String> {
                let near = $crate::config::setting::nearest(text, [$( $word ),+])?;
                Some(format!("did you mean \"{near}\"?"))
            }

            fn to_toml(&self) -> Option<String> {
                Some($crate::config::setting::quoted(self.as_str()))
            }
        }
    };
}
pub(super) use words;

/// "`a`, `b` or `c`".
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("\"{only}\""),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", rest.join(", "))
        }
    }
}
