//! `[rate]`: how often clients may connect and ask.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::accept::Network;
use super::setting::{Setting, Visitor, quoted};
use super::unit::Span;

/// The most events of a rate. Chosen: at one second each is a microsecond.
const MAX_COUNT: u64 = 1_000_000;

/// How often clients may connect and ask. Without a rate there is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateConfig {
    /// HTTP requests from one address, which for IPv6 is a network of 64 bits, as `100/s` or
    /// `1000/10m`: so many at once, and as many more in each such time. Default none.
    pub requests: Option<Rate>,
    /// HTTP requests with one token, which is what `Authorization` says, besides those of their
    /// addresses. Default none.
    pub token_requests: Option<Rate>,
    /// TCP connections from one address, over every listener. Default none.
    pub connections: Option<Rate>,
    /// Networks whose clients have no such bounds, as `10.0.0.0/8` or `::1`. Default none.
    #[schemars(with = "Vec<String>")]
    pub exempt: Vec<Network>,
}

impl RateConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("requests", &mut self.requests);
        visitor.setting("token_requests", &mut self.token_requests);
        visitor.setting("connections", &mut self.connections);
        visitor.setting("exempt", &mut self.exempt);
    }
}

/// So many in a time, written `100/s` or `1000/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    period: Span,
}

impl Rate {
    /// What can be written, for messages.
    pub const EXPECTED: &str =
        "a rate such as \"100/s\" or \"1000/10m\": 1 to 1000000 in 1s to 24h";

    /// `count` in each `period`; `None` where they are out of range.
    pub fn new(count: u64, period: Span) -> Option<Self> {
        let fits = (1..=MAX_COUNT).contains(&count)
            && (Span::seconds(1)..=Span::hours(24)).contains(&period);
        fits.then_some(Self { count, period })
    }

    /// How many.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// In which time.
    pub const fn period(self) -> Span {
        self.period
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period)
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, period) = text.split_once('/').ok_or(InvalidRate)?;
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits).ok_or(InvalidRate)?;
        // One of a unit needs no number.
        let period = period.parse().or_else(|_| format!("1{period}").parse());
        let period = period.map_err(|_| InvalidRate)?;
        Self::new(count, period).ok_or(InvalidRate)
    }
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is so many in a time, such as 100/s")]
pub struct InvalidRate;

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": Self::EXPECTED })
    }
}

impl Setting for Rate {
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_time() {
        let check = |text: &str, expected: Option<(u64, Span)>| {
            let rate = text.parse::<Rate>().ok();
            assert_eq!(rate.map(|it| (it.count(), it.period())), expected, "{text}");
            if let Some(rate) = rate {
                assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        };
        check("100/s", Some((100, Span::seconds(1))));
        check("1/1s", Some((1, Span::seconds(1))));
        check("1000/10m", Some((1000, Span::minutes(10))));
        check("5/h", Some((5, Span::hours(1))));
        for wrong in [
            "",
            "100",
            "100/",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "100/ms",
            "100/500ms",
            "1/25h",
            "1000001/s",
            "100/x",
            "100/s/s",
            "1 /s",
        ] {
            check(wrong, None);
        }
    }
}
