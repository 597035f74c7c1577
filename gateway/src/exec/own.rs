//! A connection with a program of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use roomwire_metrics::Id;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::sleep;

use super::Room;
use super::program::{Ends, Program, log_errors};
use super::seat::Seat;
use crate::config::Span;
use crate::listener::{Door, Permit};
use crate::session::{CloseReason, Stream};
use roomwire_protocols::line::LineDecoder;

/// Bytes that are moved at a time. Chosen: what a pipe's buffer page-wise gives, and small beside the
/// program itself.
const PIECE: usize = 16 * 1024;

pub(super) async fn serve(
    door: &Rc<Door>,
    room: Room,
    stream: Stream,
    peer: SocketAddr,
    _permit: Permit,
) {
    let Some(seat) = Seat::take(door, peer) else {
        return;
    };
    let worker = &door.worker;
    let config = &room.house.config;
    let (mut program, ends) = match Program::start(config, Some(peer.to_string())) {
        Ok(started) => started,
        Err(error) => {
            worker.count(Id::ProgramErrors);
            seat.ends_for(CloseReason::ProgramFailed);
            let command = config.command.first().map_or("", String::as_str);
            return tracing::debug!(command, %error, "a program cannot be started");
        }
    };
    worker.count(Id::ProgramsStarted);
    let Ends {
        input,
        output,
        errors,
    } = ends;
    let (reader, mut writer) = split(stream);
    let max_line = worker.shared.bounds.max_message;
    let max_output = config.max_output.get();
    let reason = {
        let talk = async {
            let said = give_lines(&seat, reader, input, max_line);
            let heard = give_output(&mut writer, output, max_output);
            tokio::pin!(heard);
            tokio::select! {
                reason = &mut heard => return reason,
                ended = said => if let Err(reason) = ended {
                    return reason;
                },
            }
            // The client sends no more: the program may finish what it has begun.
            tokio::select! {
                reason = heard => reason,
                () = sleep(config.grace.get()) => CloseReason::Ended,
            }
        };
        let log = log_errors(door.name(), errors);
        tokio::pin!(talk, log);
        let mut logging = true;
        let time_over = time_over(config.max_time);
        tokio::pin!(time_over);
        loop {
            tokio::select! {
                reason = &mut talk => break reason,
                () = &mut log, if logging => logging = false,
                reason = seat.closed() => break reason,
                () = &mut time_over => break CloseReason::ProgramLimit,
            }
        }
    };
    seat.ends_for(reason);
    if reason == CloseReason::ProgramEnded {
        tokio::select! {
            () = program.wait() => {}
            () = sleep(config.grace.get()) => {}
        }
    }
    // The client hears the end at once, however long the program takes.
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%peer, %error, "a connection failed at its end");
    }
    program.end(config.grace.get()).await;
}

async fn time_over(max: Span) {
    match max.get() {
        Duration::ZERO => std::future::pending().await,
        max => sleep(max).await,
    }
}

/// Gives the client's lines to the program, each at once; closes its input with the client's.
async fn give_lines(
    seat: &Seat,
    mut reader: ReadHalf<Stream>,
    mut input: ChildStdin,
    max: usize,
) -> Result<(), CloseReason> {
    let mut lines = LineDecoder::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let count = reader.read(&mut buffer).await;
        let count = count.map_err(|error| CloseReason::of(&error))?;
        seat.heard();
        let mut rest = buffer.get(..count).unwrap_or_default();
        if count == 0 {
            if let Some(last) = lines.finish() {
                // A program that reads no more has its reasons.
                drop(input.write_all(&last).await);
            }
            return Ok(());
        }
        loop {
            let (used, line) = lines.next(rest, max);
            rest = rest.get(used..).unwrap_or_default();
            let Some(line) = line else { break };
            let line = line.map_err(|_| CloseReason::TooBig)?;
            if input.write_all(line).await.is_err() || input.write_all(b"\n").await.is_err() {
                // What comes is read on, or the connection would end by a reset.
                break;
            }
        }
    }
}

/// Gives what the program prints to the client, to its end.
async fn give_output(
    writer: &mut WriteHalf<Stream>,
    mut output: ChildStdout,
    max: u64,
) -> CloseReason {
    let mut buffer = vec![0; PIECE];
    let mut printed: u64 = 0;
    loop {
        let count = match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return CloseReason::ProgramEnded,
            Ok(count) => count,
        };
        printed = printed.saturating_add(count as u64);
        if max > 0 && printed > max {
            return CloseReason::ProgramLimit;
        }
        let piece = buffer.get(..count).unwrap_or_default();
        let written = async {
            writer.write_all(piece).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return CloseReason::of(&error);
        }
    }
}
