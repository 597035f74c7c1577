//! `roomwire bench`: load on a server, and what it cost that server.
//!
//! The load generator shares the machine with what it measures, so it is built to be light: threads
//! that each run one epoll loop over plain sockets, frames built before the run, one write for all
//! that one read called for. What is measured is a [`Load`](driver::Load), one file for each mode;
//! `control` takes a run through its phases and `report` prints it. It works against any server, so
//! that servers can be compared. Next file to read: `driver.rs`.

mod byte_echo;
mod byte_send;
mod churn;
mod content;
mod control;
mod driver;
mod echo;
mod fanout;
mod frame;
mod idle;
mod inflate;
mod latency;
mod link;
mod net;
mod plan;
mod process;
mod report;
mod shared;
mod socketio;
mod stream;
#[cfg(test)]
mod tests;
mod udp;
mod upgrade;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Measures a server.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// A WebSocket server: echo, fan-out, idle connections, connection churn
    Ws(plan::WsArgs),
    /// A TCP server: echo, what it takes, idle connections, connection churn
    Tcp(plan::TcpArgs),
    /// A UDP server: echo, throughput one way
    Udp(udp::UdpArgs),
}

pub(super) fn run(arguments: BenchArgs) -> anyhow::Result<ExitCode> {
    let planned = |plan: Result<plan::Plan, String>| match plan {
        Ok(plan) => (plan.quiet, Ok(control::measure(plan))),
        Err(problem) => (true, Err(problem)),
    };
    let (quiet, report) = match arguments.subject {
        Subject::Ws(arguments) => planned(plan::Plan::new(arguments)?),
        Subject::Tcp(arguments) => planned(plan::Plan::tcp(arguments)),
        Subject::Udp(arguments) => {
            let report = udp::Plan::new(&arguments).map(|plan| udp::measure(&arguments, plan));
            (arguments.quiet, report)
        }
    };
    let report = match report {
        Ok(report) => report?,
        Err(problem) => {
            super::terminal::tell(&format!("roomwire: {problem}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    if !quiet {
        super::terminal::tell(&report.table());
    }
    super::terminal::print(report.json()?.as_bytes())?;
    Ok(if report.problem().is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
