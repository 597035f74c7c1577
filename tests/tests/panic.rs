//! A bug of ours that panics in the middle of a turn: what it costs, and what the figures say then.
//!
//! The product has no switch for it. A log line is where foreign code runs within a turn, so a
//! subscriber that panics at one stands in for the bug. It is the whole process's, hence a binary of
//! its own.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::fmt::{self, Debug};

use roomwire_tests::{TestGateway, frame};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The line that a violation of the WebSocket protocol causes.
const FATAL: &str = "websocket violation";

struct Saboteur;

struct Reading(bool);

impl Visit for Reading {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}").contains(FATAL);
    }
}

impl Debug for Saboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Saboteur")
    }
}

impl Subscriber for Saboteur {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut reading = Reading(false);
        event.record(&mut reading);
        assert!(!reading.0, "sabotage");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_panic_ends_its_session_and_leaves_true_gauges() {
    tracing::subscriber::set_global_default(Saboteur).expect("it is the first");
    let gateway = TestGateway::with(|config| config.gateway.workers = 1);
    let mut member = gateway.lines().await;
    member.join("room").await;
    for _ in 0..3 {
        let mut raw = gateway.raw_websocket().await;
        raw.write(&frame(0x83, b"a reserved opcode")).await;
        raw.read_to_end().await;
    }
    gateway.reaches("session_panics_total", 3).await;
    gateway.reaches("session_close_internal_total", 3).await;
    gateway.reaches("sessions", 1).await;
    gateway.reaches("outbox_bytes", 0).await;
    member.publish("room", "1").await;
    member.message().await;
    drop(member);
    gateway.reaches("sessions", 0).await;
    let seen = gateway.snapshot();
    for listener in &seen.blocks {
        assert_eq!(listener.value("listener_sessions").unwrap_or(0), 0);
    }
    assert_eq!(
        seen.value("sessions_opened_total"),
        seen.value("sessions_closed_total")
    );
}
