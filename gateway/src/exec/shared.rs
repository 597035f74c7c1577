//! One program for all connections of a listener: it gets the lines of all, and all get what it
//! prints.
//!
//! Its task runs on the first worker from the gateway's start, and starts the program anew when it
//! ends, after a pause. Clients wait while its input is full; a client that falls a whole queue
//! behind its output is ended as slow.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomwire_metrics::Id;
use roomwire_protocols::line::LineDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::House;
use super::program::{Ends, Program, log_errors};
use super::seat::Seat;
use crate::lifecycle::Phase;
use crate::listener::{Door, Permit};
use crate::session::{CloseReason, Stream};
use crate::worker::Worker;

/// Time from a program's end to its next start. Chosen: one that fails at once is tried once a
/// second.
const RESTART: Duration = Duration::from_secs(1);

/// Bytes that are moved at a time.
const PIECE: usize = 16 * 1024;

/// Starts and keeps the shared program of a listener, if it has one.
pub(crate) fn keep(worker: &Rc<Worker>, listener: &str, house: &Arc<House>) {
    if !house.config.shared {
        return;
    }
    let (worker_of_task, house) = (Rc::clone(worker), Arc::clone(house));
    let listener = listener.to_owned();
    worker.scope.spawn("shared program", async move {
        let Some(mut lines) = house.inlet.lock().await.take() else {
            return;
        };
        let mut phase = worker_of_task.shared.phase.subscribe();
        tokio::select! {
            // The sender lives in `shared`, so the channel cannot be closed.
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => {}
            () = run(&worker_of_task, &listener, &house, &mut lines) => {}
        }
    });
}

/// Starts the program again and again. Dropping this kills it.
async fn run(worker: &Worker, listener: &str, house: &House, lines: &mut mpsc::Receiver<Bytes>) {
    loop {
        match Program::start(&house.config, None) {
            Ok((program, ends)) => {
                worker.count(Id::ProgramsStarted);
                talk(listener, house, ends, lines).await;
                program.end(house.config.grace.get()).await;
                tracing::warn!(listener, "the program of all connections ended");
            }
            Err(error) => {
                worker.count(Id::ProgramErrors);
                let command = house.config.command.first().map_or("", String::as_str);
                tracing::warn!(listener, command, %error, "a program cannot be started");
            }
        }
        sleep(RESTART).await;
    }
}

/// Moves lines in and output out until the program closes its output.
async fn talk(listener: &str, house: &House, ends: Ends, lines: &mut mpsc::Receiver<Bytes>) {
    let Ends {
        mut input,
        mut output,
        errors,
    } = ends;
    let give = async {
        while let Some(line) = lines.recv().await {
            if input.write_all(&line).await.is_err() {
                break;
            }
        }
        // A program that reads no more may still print.
        std::future::pending::<()>().await;
    };
    let take = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            match output.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return,
                // Nobody may be connected, which is no fault of the program's.
                Ok(_) => drop(house.output.send(piece.freeze())),
            }
        }
    };
    let log = async {
        log_errors(listener, errors).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = give => {}
        () = take => {}
        () = log => {}
    }
}

/// Serves one connection of a shared program.
pub(super) async fn serve(
    door: &Rc<Door>,
    house: &Arc<House>,
    stream: Stream,
    peer: SocketAddr,
    _permit: Permit,
) {
    let Some(seat) = Seat::take(door, peer) else {
        return;
    };
    let output = house.output.subscribe();
    let (reader, mut writer) = split(stream);
    let max_line = door.worker.shared.bounds.max_message;
    let reason = tokio::select! {
        reason = give_lines(&seat, reader, house, max_line) => reason,
        reason = give_output(&mut writer, output) => reason,
        reason = seat.closed() => reason,
    };
    seat.ends_for(reason);
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%peer, %error, "a connection failed at its end");
    }
}

async fn give_lines(
    seat: &Seat,
    mut reader: ReadHalf<Stream>,
    house: &House,
    max: usize,
) -> CloseReason {
    let mut lines = LineDecoder::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => return CloseReason::Ended,
            Ok(count) => count,
            Err(error) => return CloseReason::of(&error),
        };
        seat.heard();
        let mut rest = buffer.get(..count).unwrap_or_default();
        loop {
            let (used, line) = lines.next(rest, max);
            rest = rest.get(used..).unwrap_or_default();
            let line = match line {
                None => break,
                Some(Ok(line)) => [line, b"\n"].concat(),
                Some(Err(_)) => return CloseReason::TooBig,
            };
            if house.lines.send(line.into()).await.is_err() {
                return CloseReason::ProgramFailed;
            }
        }
    }
}

async fn give_output(writer: &mut WriteHalf<Stream>, mut output: Receiver<Bytes>) -> CloseReason {
    loop {
        let piece = match output.recv().await {
            Ok(piece) => piece,
            Err(RecvError::Lagged(_)) => return CloseReason::Slow,
            Err(RecvError::Closed) => return CloseReason::ProgramEnded,
        };
        let written = async {
            writer.write_all(&piece).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return CloseReason::of(&error);
        }
    }
}
