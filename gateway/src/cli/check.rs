//! `roomwire check`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{serve, terminal};
use crate::config::{Config, ListenerConfig, Protocol};
use crate::udp::KernelBuffers;

/// Validates a configuration and prints what would run; starts nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roomwire check --config roomwire.toml
  roomwire check --schema > roomwire.schema.json

Exit code 78 means that the configuration is bad; stderr says where and why.")]
pub(super) struct CheckArgs {
    /// The configuration; without it the defaults and the environment are checked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the JSON schema of the configuration instead
    #[arg(long)]
    schema: bool,
}

pub(super) fn run(arguments: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut text = if arguments.schema {
        Config::schema()
    } else {
        let config = serve::read_config(arguments.config.as_deref())?;
        config.describe() + &kernel_buffers(&config)
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    terminal::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What the kernel would give the UDP sockets.
fn kernel_buffers(config: &Config) -> String {
    let is_udp = |listener: &&ListenerConfig| listener.protocol == Protocol::Udp;
    let line = |listener: &ListenerConfig| {
        let given = match KernelBuffers::tried(&listener.udp) {
            Ok(given) => given.to_string(),
            Err(error) => error.to_string(),
        };
        format!("  {}  {given}\n", listener.name)
    };
    let lines: String = config.listeners.iter().filter(is_udp).map(line).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\nthe kernel's buffers of each udp socket\n{lines}")
    }
}
