//! The command line. Machine-readable output goes to stdout, everything for people to stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration (`EX_CONFIG` of sysexits.h).

mod bench;
mod certs;
mod check;
mod join;
mod publish;
mod serve;
mod stats;
mod terminal;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::ConfigError;
use crate::running::StartError;

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIGURATION: u8 = 78;

/// A realtime networking gateway: TCP, UDP, WebSocket, HTTPS and HTTP/2 in one room.
#[derive(Debug, Parser)]
#[command(name = "roomwire", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  roomwire serve                                    start on loopback with the defaults
  nc localhost 7000                                 then type /join lobby
  roomwire join ws://localhost:8080 lobby           chat from this terminal
  roomwire publish https://localhost:8443 lobby hi  publish one message
  roomwire top                                      the live figures";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Validate a configuration and print what would run
    Check(check::CheckArgs),
    /// Chat from this terminal, over any wire
    Join(join::JoinArgs),
    /// Publish one message
    Publish(publish::PublishArgs),
    /// Print the counters of a gateway, running or dead, from its shared page
    Stats(stats::StatsArgs),
    /// Watch a gateway, running or dead, in this terminal
    Top(top::TopArgs),
    /// Measure a server
    Bench(bench::BenchArgs),
    /// Make and look at certificates
    Certs(certs::CertsArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Join(arguments) => on_runtime(join::run(arguments)),
        Command::Publish(arguments) => on_runtime(publish::run(arguments)),
        Command::Stats(arguments) => stats::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Certs(arguments) => certs::run(&arguments),
        Command::Completions { shell } => completions(shell),
    };
    done.unwrap_or_else(|error| report(&error))
}

fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "roomwire", &mut script);
    terminal::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a client, which is one task.
fn on_runtime(client: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(client);
    // Reading a terminal blocks a thread that nothing can wake; it is not waited for.
    runtime.shutdown_background();
    done
}

/// Says what went wrong and chooses the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    let is_configuration =
        error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(StartError::Config(_)));
    if is_configuration {
        terminal::tell(&format!("{error}\n"));
        return ExitCode::from(BAD_CONFIGURATION);
    }
    terminal::tell(&format!("roomwire: {error:#}\n"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
