//! `[uploads]`: files that clients may leave here. Off without a directory.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::{ByteSize, Span};

/// Files that clients may leave here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UploadsConfig {
    /// Where files go that come by `PUT /v1/files/{name}` and `POST /v1/files`. It must exist, and be no
    /// other gateway's. Default none: nothing is taken.
    pub directory: Option<PathBuf>,
    /// The largest file. Default 4GiB, from 1B to 1024GiB.
    pub max_file: ByteSize,
    /// The files in the directory together, those included that come. Default 64GiB, from 1B to
    /// 1024GiB.
    pub max_total: ByteSize,
    /// Files in the directory. Default 10000, from 1 to 1000000.
    pub max_files: usize,
    /// Uploads at a time; others are answered by 503. Default 32, from 1 to 1000. Worst case: 256 KiB
    /// and 16 open files for each.
    pub max_at_once: usize,
    /// How long nothing may come of an upload before it is given up. Default 30s, from 100ms to 1h.
    pub stall_timeout: Span,
    /// How long an upload may take. Default 1h, from 1s to 24h.
    pub max_time: Span,
}

impl Default for UploadsConfig {
    fn default() -> Self {
        Self {
            directory: None,
            max_file: ByteSize::gib(4),
            max_total: ByteSize::gib(64),
            max_files: 10_000,
            max_at_once: 32,
            stall_timeout: Span::seconds(30),
            max_time: Span::hours(1),
        }
    }
}

impl UploadsConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        let (least, most) = (ByteSize::bytes(1), ByteSize::gib(1024));
        visitor.setting("directory", &mut self.directory);
        visitor.bounded("max_file", &mut self.max_file, least, most);
        visitor.bounded("max_total", &mut self.max_total, least, most);
        visitor.bounded("max_files", &mut self.max_files, 1, 1_000_000);
        visitor.bounded("max_at_once", &mut self.max_at_once, 1, 1000);
        let stall = &mut self.stall_timeout;
        visitor.bounded("stall_timeout", stall, Span::millis(100), Span::hours(1));
        let time = &mut self.max_time;
        visitor.bounded("max_time", time, Span::seconds(1), Span::hours(24));
    }
}
