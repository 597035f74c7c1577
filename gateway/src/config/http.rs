//! `[http]`: what every HTTP answer goes through.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::{ByteSize, Span};

/// What every HTTP answer goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Whether answers are compressed for clients that take it: zstd, br or gzip. Streams of events and
    /// what is compressed already are not. Default true.
    pub compression: bool,
    /// Shorter answers are sent as they are. Default 1KiB, from 0B to 64MiB.
    pub compress_from: ByteSize,
    /// Whether each answer carries an `x-request-id`: the request's own, where it has a usable one, or
    /// a new one. Default true.
    pub request_id: bool,
    /// How long browsers that came by HTTPS shall use nothing else (`strict-transport-security`); 0s
    /// does not say so. Default 0s, from 0s to 26280h, which is three years.
    pub hsts: Span,
    /// Whether pages of other origins that may connect may send their users' cookies along. Default
    /// false.
    pub cors_credentials: bool,
    /// How long browsers may keep what they were told about other origins. Default 10m, from 0s to 24h.
    pub cors_max_age: Span,
    /// A file that a line of JSON is written to for each answer. Default none.
    pub access_log: Option<PathBuf>,
    /// One answer of so many is logged; those of 500 and above always are. Default 1, from 1 to
    /// 1000000.
    pub access_log_sample: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            compression: true,
            compress_from: ByteSize::kib(1),
            request_id: true,
            hsts: Span::seconds(0),
            cors_credentials: false,
            cors_max_age: Span::minutes(10),
            access_log: None,
            access_log_sample: 1,
        }
    }
}

impl HttpConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("compression", &mut self.compression);
        let from = &mut self.compress_from;
        visitor.bounded("compress_from", from, ByteSize::bytes(0), ByteSize::mib(64));
        visitor.setting("request_id", &mut self.request_id);
        let hsts = &mut self.hsts;
        visitor.bounded("hsts", hsts, Span::seconds(0), Span::hours(26_280));
        visitor.setting("cors_credentials", &mut self.cors_credentials);
        let age = &mut self.cors_max_age;
        visitor.bounded("cors_max_age", age, Span::seconds(0), Span::hours(24));
        visitor.setting("access_log", &mut self.access_log);
        let sample = &mut self.access_log_sample;
        visitor.bounded("access_log_sample", sample, 1, 1_000_000);
    }
}
