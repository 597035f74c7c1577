//! Sizes and durations as they are written in a configuration: `64KiB`, `30s`.
//!
//! Both are whole numbers with one unit, and are printed in the largest unit that divides them,
//! so that what is printed reads back as the same value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A number of bytes, written `64KiB`: a whole number with `B`, `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Units of [`ByteSize`], largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    /// What can be written, for messages.
    pub const EXPECTED: &str =
        "a size such as \"64KiB\": a whole number with B, KiB, MiB or GiB, or a number of bytes";

    /// A size of `n` bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// A size of `n` × 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// A size of `n` × 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A size of `n` × 1024³ bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest one where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0, &SIZE_UNITS, "B")
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let (number, unit) = split_unit(text);
        let factor = if unit.is_empty() {
            Some(1)
        } else {
            factor(unit, &SIZE_UNITS)
        };
        parse(number, factor)
            .map(Self)
            .ok_or(InvalidUnit(Self::EXPECTED))
    }
}

/// A length of time, written `30s`: a whole number with `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Units of [`Span`] in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// What can be written, for messages.
    pub const EXPECTED: &str = "a duration such as \"30s\": a whole number with ms, s, m or h";

    /// A span of `n` milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(n)
    }

    /// A span of `n` seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(n * 1000)
    }

    /// A span of `n` minutes.
    pub const fn minutes(n: u64) -> Self {
        Self(n * 60_000)
    }

    /// A span of `n` hours.
    pub const fn hours(n: u64) -> Self {
        Self(n * 3_600_000)
    }

    /// The span as the standard library's type.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.get()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0, &TIME_UNITS, "s")
    }
}

impl FromStr for Span {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let (number, unit) = split_unit(text);
        parse(number, factor(unit, &TIME_UNITS))
            .map(Self)
            .ok_or(InvalidUnit(Self::EXPECTED))
    }
}

/// A size or a duration that cannot be understood; says what can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be {0}")]
pub struct InvalidUnit(&'static str);

/// Splits behind the leading digits.
pub(super) fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

fn factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
}

fn parse(number: &str, factor: Option<u64>) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor?)
}

fn write_in_units(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    unit_of_zero: &str,
) -> fmt::Result {
    match units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
    {
        Some((unit, factor)) => f.pad(&format!("{}{unit}", value / factor)),
        None => f.pad(&format!("{value}{unit_of_zero}")),
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$",
            "minimum": 0
        })
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_binary_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse().ok().map(ByteSize::get), expected, "{text:?}");
        };
        check("0", Some(0));
        check("1500", Some(1500));
        check("1B", Some(1));
        check("64KiB", Some(65_536));
        check("16MiB", Some(16 << 20));
        check("2GiB", Some(2 << 30));
        for wrong in [
            "", "KiB", "64KB", "64kib", "64 KiB", "1.5MiB", "-1", "+1", "64KiBB",
        ] {
            check(wrong, None);
        }
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551615KiB", None);
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse().ok().map(Span::as_millis), expected, "{text:?}");
        };
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("2h", Some(7_200_000));
        for wrong in [
            "",
            "30",
            "s",
            "30 s",
            "30sec",
            "1.5h",
            "-1s",
            "1d",
            "99999999999999999h",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for (size, text) in [
            (ByteSize::bytes(0), "0B"),
            (ByteSize::bytes(1200), "1200B"),
            (ByteSize::kib(1), "1KiB"),
            (ByteSize::kib(1536), "1536KiB"),
            (ByteSize::gib(3), "3GiB"),
        ] {
            assert_eq!(size.to_string(), text);
            assert_eq!(text.parse(), Ok(size));
        }
        for (span, text) in [
            (Span::seconds(0), "0s"),
            (Span::millis(1500), "1500ms"),
            (Span::seconds(90), "90s"),
            (Span::minutes(5), "5m"),
            (Span::hours(2), "2h"),
        ] {
            assert_eq!(span.to_string(), text);
            assert_eq!(text.parse(), Ok(span));
        }
    }
}
