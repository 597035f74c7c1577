//! `[listener.exec]`: the program behind a listener whose handler is `exec`, and what it may cost.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::{ByteSize, Span};

/// The program behind a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecConfig {
    /// The program, by path or by a name in `PATH`, and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Whether one program serves all connections: it gets the lines of all, and what it prints
    /// goes to all. Default false: each connection has a program of its own.
    pub shared: bool,
    /// Programs at a time on this listener; further connections are refused. Default 64, from 1 to
    /// 10000.
    pub max_programs: usize,
    /// How long a connection's program may run; 0s is no bound. Default 0s, up to 168h.
    pub max_time: Span,
    /// How much a connection's program may print; 0 is no bound. Default 0, up to 1024GiB.
    pub max_output: ByteSize,
    /// How long a program may go on when its client sends no more, and between being asked to end
    /// and being killed. Default 5s, from 10ms to 1h.
    pub grace: Span,
}

impl Default for ExecConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            shared: false,
            max_programs: 64,
            max_time: Span::seconds(0),
            max_output: ByteSize::bytes(0),
            grace: Span::seconds(5),
        }
    }
}

impl ExecConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("command", &mut self.command);
        visitor.setting("shared", &mut self.shared);
        visitor.bounded("max_programs", &mut self.max_programs, 1, 10_000);
        visitor.bounded(
            "max_time",
            &mut self.max_time,
            Span::seconds(0),
            Span::hours(168),
        );
        visitor.bounded(
            "max_output",
            &mut self.max_output,
            ByteSize::bytes(0),
            ByteSize::gib(1024),
        );
        visitor.bounded("grace", &mut self.grace, Span::millis(10), Span::hours(1));
    }
}
