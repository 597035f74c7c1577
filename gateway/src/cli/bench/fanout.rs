//! Fan-out: one connection publishes, all others receive, and every delivery is accounted for.
//!
//! A publication carries a mark and its number. Each member expects the numbers in order
//! ([`Ledger`]); a publication has *arrived* once every member has received it or something behind
//! it, and the publisher keeps a number of publications in flight, or a rate. With several threads
//! each counts its own members and tells the publisher's thread through the [`Board`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roomwire_protocols::websocket::Opcode;
use serde_json::json;

use super::content::{DIGITS, MARK, Numbered};
use super::driver::Load;
use super::frame;
use super::latency::Latency;
use super::net::{End, Net};
use super::plan::{MAX_IN_FLIGHT, Pace, Plan, Protocol};
use super::report::{Outcome, Window};
use super::shared::Phase;
use super::socketio;
use crate::client::json_string;

/// What all threads know of the publications.
#[derive(Debug)]
pub(super) struct Board {
    published: AtomicU64,
    /// For each thread, the publications that have arrived at all of its members.
    arrived: Box<[AtomicU64]>,
    /// When a publication was sent, by its number modulo the length.
    sent: Box<[AtomicU64]>,
}

impl Board {
    pub(super) fn new(threads: usize) -> Self {
        let zeros = |length| (0..length).map(|_| AtomicU64::new(0)).collect();
        Self {
            published: AtomicU64::new(0),
            arrived: zeros(threads),
            sent: zeros(MAX_IN_FLIGHT),
        }
    }

    // The server stands between a publication's store and the loads at its members; Relaxed is
    // enough for what has passed through two sockets.
    fn sent_at(&self, number: u64) -> u64 {
        self.slot(number)
            .map_or(0, |slot| slot.load(Ordering::Relaxed))
    }

    fn note_sent(&self, number: u64, at: u64) {
        if let Some(slot) = self.slot(number) {
            slot.store(at, Ordering::Relaxed);
        }
    }

    fn slot(&self, number: u64) -> Option<&AtomicU64> {
        self.sent.get(slot_of(number))
    }

    fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    fn arrived(&self) -> u64 {
        let all = self.arrived.iter().map(|it| it.load(Ordering::Relaxed));
        all.min().unwrap_or(0)
    }
}

fn slot_of(number: u64) -> usize {
    usize::try_from(number % MAX_IN_FLIGHT as u64).unwrap_or(0)
}

/// What one member has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    /// The number that comes next.
    next: u64,
    /// Bit n: `next - 1 - n` was received.
    recent: u64,
}

/// What a received number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The expected one, or one behind it: so many before it were passed over.
    New { skipped: u64 },
    /// Received before.
    Duplicate,
    /// Passed over before, and now it has come after all.
    Late,
}

impl Ledger {
    #[inline]
    fn enter(&mut self, number: u64) -> Entry {
        if number >= self.next {
            let skipped = number - self.next;
            let shift = u32::try_from(skipped + 1).unwrap_or(u32::MAX);
            self.recent = self.recent.checked_shl(shift).unwrap_or(0) | 1;
            self.next = number + 1;
            return Entry::New { skipped };
        }
        let age = self.next - 1 - number;
        // What is older than the bits is taken for late: it was ordered wrongly in any case.
        let Some(bit) = u32::try_from(age)
            .ok()
            .and_then(|age| 1_u64.checked_shl(age))
        else {
            return Entry::Late;
        };
        if self.recent & bit != 0 {
            return Entry::Duplicate;
        }
        self.recent |= bit;
        Entry::Late
    }
}

/// What became of the deliveries.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    received: u64,
    skipped: u64,
    duplicates: u64,
    late: u64,
}

/// A publication, ready but for its number.
struct Template {
    frame: Vec<u8>,
    /// Where the number's digits stand in the frame, and the mask at the first of them.
    digits: usize,
    mask: [u8; 4],
}

impl Template {
    fn new(plan: &Plan, mask: [u8; 4]) -> Self {
        let (before, after) = around(plan);
        let is_quoted = plan.protocol != Protocol::Raw;
        let Numbered { payload, mark } = plan.content.numbered(plan.size, is_quoted);
        let text = [before.as_bytes(), &payload, after.as_bytes()].concat();
        let number = before.len() + mark + MARK.len();
        let mut frame = Vec::new();
        let start = frame::append(&mut frame, Opcode::Text, &text, mask);
        let mut rotated = mask;
        rotated.rotate_left(number % 4);
        Self {
            frame,
            digits: start + number,
            mask: rotated,
        }
    }

    /// How far before the end of a delivery the mark stands. The gateway closes an object behind the
    /// payload, Socket.IO an array.
    fn mark_from_end(plan: &Plan) -> usize {
        let is_quoted = plan.protocol != Protocol::Raw;
        let mark = plan.content.numbered(plan.size, is_quoted).mark;
        plan.size - mark.min(plan.size) + usize::from(is_quoted)
    }

    /// Appends the publication with this number.
    fn append(&self, out: &mut Vec<u8>, number: u64) {
        let digits = out.len() + self.digits;
        out.extend_from_slice(&self.frame);
        let Some(place) = out.get_mut(digits..digits + DIGITS) else {
            return;
        };
        let mut rest = number;
        for (index, byte) in place.iter_mut().enumerate().rev() {
            let digit = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
            *byte = digit ^ self.mask[index % 4];
            rest /= 10;
        }
    }
}

/// What is sent before and behind a payload.
fn around(plan: &Plan) -> (String, &'static str) {
    match plan.protocol {
        Protocol::Raw | Protocol::Bytes => (String::new(), ""),
        Protocol::Roomwire => {
            let room = json_string(&plan.room);
            let publish = format!(r#"{{"type":"publish","room":{room},"data":"#);
            (publish, "}")
        }
        Protocol::Socketio => socketio::event("publish"),
    }
}

/// The number in a message; `None` where there is no mark. It is looked for where it usually is
/// first.
#[inline]
fn number_in(message: &[u8], mark_from_end: usize) -> Option<u64> {
    let usual = message.len().checked_sub(mark_from_end)?;
    let after = |at: usize| message.get(at..)?.strip_prefix(MARK);
    let digits = after(usual).or_else(|| {
        let at = message.windows(MARK.len()).position(|four| four == MARK)?;
        after(at)
    })?;
    let digits: &[u8; DIGITS] = digits.first_chunk()?;
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// The fan-out of one thread.
pub(super) struct Fanout {
    board: Arc<Board>,
    thread: usize,
    protocol: Protocol,
    mark_from_end: usize,
    pace: Pace,
    join: Vec<u8>,
    template: Template,
    burst: Vec<u8>,
    /// The publisher's key; only the first thread has one.
    publisher: Option<usize>,
    /// Keys of members that never read; only the first thread has any.
    stalled: Vec<usize>,
    /// How many of them are still to come.
    wants_stalled: usize,
    /// Of those, the ones to which the server's close had come when the measurement ended.
    stalled_closed: u64,
    /// By key; the publisher's and those of stalled members are not used.
    ledgers: Vec<Ledger>,
    members: u32,
    /// How many members a publication has reached, by its slot.
    reached: Box<[u32]>,
    arrived: u64,
    told: u64,
    /// Members that are ready, until their thread's `on_read` counts them.
    joined: u32,
    complaint: Option<String>,
    began: Option<u64>,
    is_publishing: bool,
    is_measuring: bool,
    /// Publications and deliveries while measuring.
    published: u64,
    deliveries: Latency,
    tally: Tally,
}

impl Fanout {
    pub(super) fn new(
        plan: &Plan,
        board: Arc<Board>,
        thread: usize,
        members: usize,
        mask: [u8; 4],
    ) -> Self {
        let mut join = Vec::new();
        let room = json_string(&plan.room);
        let command = format!(r#"{{"id":1,"type":"join","room":{room}}}"#);
        frame::append(&mut join, Opcode::Text, command.as_bytes(), mask);
        Self {
            board,
            thread,
            protocol: plan.protocol,
            mark_from_end: Template::mark_from_end(plan),
            pace: plan.pace,
            join,
            template: Template::new(plan, mask),
            burst: Vec::new(),
            publisher: None,
            stalled: Vec::new(),
            wants_stalled: if thread == 0 { plan.stalled } else { 0 },
            stalled_closed: 0,
            ledgers: Vec::new(),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            reached: vec![0; MAX_IN_FLIGHT].into_boxed_slice(),
            arrived: 0,
            told: 0,
            joined: 0,
            complaint: None,
            began: None,
            is_publishing: false,
            is_measuring: false,
            published: 0,
            deliveries: Latency::new(),
            tally: Tally::default(),
        }
    }

    /// A member is done with a publication: it has it, or something behind it.
    #[inline]
    fn pass(&mut self, number: u64) {
        if let Some(reached) = self.reached.get_mut(slot_of(number)) {
            *reached += 1;
            if *reached == self.members {
                *reached = 0;
                self.arrived += 1;
            }
        }
    }

    fn deliver(&mut self, key: usize, number: u64, now: u64) {
        let Some(ledger) = self.ledgers.get_mut(key) else {
            return;
        };
        if number >= self.board.published() {
            self.complaint = Some(format!("number {number} was never published"));
            return;
        }
        match ledger.enter(number) {
            Entry::New { skipped } => {
                self.tally.received += 1;
                self.tally.skipped += skipped;
                for passed in number - skipped..=number {
                    self.pass(passed);
                }
                if self.is_measuring {
                    let sent = self.board.sent_at(number);
                    self.deliveries.record(sent, now);
                }
            }
            Entry::Duplicate => self.tally.duplicates += 1,
            Entry::Late => self.tally.late += 1,
        }
    }

    /// What is no publication is the gateway's answer to a join, or its complaint.
    fn answer(&mut self, payload: &[u8]) {
        let of = |kind: &str| {
            let begin = format!(r#"{{"type":"{kind}""#);
            payload.starts_with(begin.as_bytes())
        };
        if of("joined") {
            self.joined += 1;
        } else if of("error") || of("goodbye") {
            let text: String = String::from_utf8_lossy(payload)
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            self.complaint = Some(format!("the gateway said {text}"));
        }
    }

    fn publish(&mut self, count: u64, sent_at: impl Fn(u64) -> u64, net: &mut Net) {
        let Some(publisher) = self.publisher else {
            return;
        };
        let first = self.board.published();
        let mut burst = std::mem::take(&mut self.burst);
        burst.clear();
        for number in first..first + count {
            self.template.append(&mut burst, number);
            self.board.note_sent(number, sent_at(number));
        }
        self.board.published.store(first + count, Ordering::Relaxed);
        if self.is_measuring {
            self.published += count;
        }
        net.send(publisher, &burst);
        self.burst = burst;
    }

    /// Sends what the pace asks for now.
    fn keep_pace(&mut self, net: &mut Net) {
        let published = self.board.published();
        let in_flight = published - self.board.arrived().min(published);
        match self.pace {
            Pace::InFlight(most) => {
                let free = (most as u64).saturating_sub(in_flight);
                if free > 0 {
                    let now = net.now();
                    self.publish(free, |_| now, net);
                }
            }
            Pace::Rate(rate) => {
                let now = net.now();
                let began = *self.began.get_or_insert(now);
                // A publication's time is the one it was due at, so that a server which makes the
                // publisher wait is not spared the wait.
                let interval = 1e9 / f64::from(rate);
                let due_at = move |number: u64| began + nanoseconds(number as f64 * interval);
                let free = (MAX_IN_FLIGHT as u64).saturating_sub(in_flight);
                let mut count = 0;
                while count < free && due_at(published + count) <= now {
                    count += 1;
                }
                if count > 0 {
                    self.publish(count, due_at, net);
                }
                if count < free {
                    let next = due_at(published + count);
                    net.wake_after(next.saturating_sub(net.now()));
                }
            }
        }
    }

    /// Whether a key is one of those that are counted.
    fn is_member(&self, key: usize) -> bool {
        Some(key) != self.publisher && !self.stalled.contains(&key)
    }

    /// Deliveries that never came, once all is drained.
    fn lost(&self) -> u64 {
        let published = self.board.published();
        let behind: u64 = (self.ledgers.iter().enumerate())
            .filter(|(key, _)| self.is_member(*key))
            .map(|(_, ledger)| published - ledger.next.min(published))
            .sum();
        (self.tally.skipped + behind).saturating_sub(self.tally.late)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a run's time is positive and ends after an hour"
)]
fn nanoseconds(value: f64) -> u64 {
    value as u64
}

impl Load for Fanout {
    fn on_phase(&mut self, phase: Phase, net: &mut Net) {
        if phase == Phase::Drain {
            let closed = self.stalled.iter().filter(|key| net.is_hung_up(**key));
            self.stalled_closed = closed.count() as u64;
        }
        self.is_publishing = matches!(phase, Phase::Warmup | Phase::Measure);
        self.is_measuring = phase == Phase::Measure;
    }

    fn on_open(&mut self, key: usize, net: &mut Net) {
        if self.ledgers.len() <= key {
            self.ledgers.resize(key + 1, Ledger::default());
        }
        if self.thread == 0 && self.publisher.is_none() {
            self.publisher = Some(key);
            net.shared.add_ready();
            return;
        }
        if self.wants_stalled > 0 {
            self.wants_stalled -= 1;
            self.stalled.push(key);
        }
        if self.protocol == Protocol::Roomwire {
            let join = std::mem::take(&mut self.join);
            net.send(key, &join);
            self.join = join;
        } else {
            self.joined += 1;
        }
    }

    fn on_message(&mut self, key: usize, payload: &[u8], now: u64) {
        match number_in(payload, self.mark_from_end) {
            // A server that broadcasts to all sends the publisher's messages back to it, and a stalled
            // member may be sent some before it stops reading.
            Some(_) if !self.is_member(key) => {}
            Some(number) => self.deliver(key, number, now),
            None if self.protocol == Protocol::Roomwire => self.answer(payload),
            None => {}
        }
    }

    fn on_read(&mut self, key: usize, net: &mut Net) {
        for _ in 0..std::mem::take(&mut self.joined) {
            net.shared.add_ready();
            if self.stalled.contains(&key) {
                net.ignore(key);
            }
        }
        if let Some(complaint) = self.complaint.take() {
            net.shared.fail(complaint);
        }
    }

    fn on_end(&mut self, _key: usize, end: End, net: &mut Net) {
        if let End::Lost(why) = end {
            net.shared.fail(why);
        }
    }

    fn on_turn(&mut self, net: &mut Net) {
        if self.told != self.arrived {
            self.told = self.arrived;
            if let Some(arrived) = self.board.arrived.get(self.thread) {
                arrived.store(self.arrived, Ordering::Relaxed);
            }
            if self.thread != 0 {
                net.shared.wake(0);
            }
        }
        if self.is_publishing && self.publisher.is_some() {
            self.keep_pace(net);
        }
    }

    fn is_drained(&self, _net: &Net) -> bool {
        self.arrived == self.board.published()
    }

    fn merge(&mut self, other: Self) {
        self.published += other.published;
        self.deliveries.merge(&other.deliveries);
        self.tally.received += other.tally.received;
        // What another thread's members lack is kept as skipped; this one's ledgers stay its own.
        self.tally.skipped += other.lost();
        self.tally.duplicates += other.tally.duplicates;
        self.tally.late += other.tally.late;
        self.tally.skipped += other.tally.late;
    }

    fn outcome(&self, plan: &Plan, window: &Window) -> Outcome {
        let deliveries = self.deliveries.count();
        let (lost, tally) = (self.lost(), self.tally);
        let mut outcome = Outcome::new("delivery", deliveries);
        outcome.rate("publishes", self.published, window);
        outcome.rate("deliveries", deliveries, window);
        outcome.field("publish_to_delivery_us", self.deliveries.json());
        outcome.field(
            "whole_run",
            json!({
                "published": self.board.published(),
                "received": tally.received + tally.late,
                "lost": lost,
                "duplicated": tally.duplicates,
                "out_of_order": tally.late,
            }),
        );
        outcome.line("delivery", self.deliveries.text());
        outcome.line(
            "checked",
            format!(
                "{lost} lost, {} duplicated, {} out of order",
                tally.duplicates, tally.late
            ),
        );
        if plan.stalled > 0 {
            let closed = self.stalled_closed;
            let all = self.stalled.len();
            outcome.field("stalled", json!({ "members": all, "closed": closed }));
            outcome.line(
                "stalled",
                format!("{all} members that never read; {closed} saw the server close"),
            );
        }
        if lost + tally.duplicates + tally.late > 0 {
            outcome.problem("deliveries are not what was published, once and in order".to_owned());
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::content::Content;

    fn check(numbers: &[u64], expected: &[Entry]) {
        let mut ledger = Ledger::default();
        let entries: Vec<Entry> = numbers.iter().map(|it| ledger.enter(*it)).collect();
        assert_eq!(entries, expected, "{numbers:?}");
    }

    #[test]
    fn a_ledger_tells_lost_from_late_and_duplicated() {
        use Entry::{Duplicate, Late, New};
        let new = New { skipped: 0 };
        check(&[0, 1, 2], &[new, new, new]);
        check(&[0, 2, 1], &[new, New { skipped: 1 }, Late]);
        check(&[0, 2, 1, 1], &[new, New { skipped: 1 }, Late, Duplicate]);
        check(&[0, 0], &[new, Duplicate]);
        check(&[200, 0], &[New { skipped: 200 }, Late]);
        check(&[63, 0], &[New { skipped: 63 }, Late]);
        check(&[0, 63, 0], &[new, New { skipped: 62 }, Duplicate]);
        check(&[0, 64, 64], &[new, New { skipped: 63 }, Duplicate]);
    }

    #[test]
    fn a_number_is_found_where_it_usually_is_and_elsewhere() {
        let raw = b"rwb:0000000000000042xxxx";
        assert_eq!(number_in(raw, raw.len()), Some(42));
        let json = br#"{"type":"message","data":"rwb:0000000000000007x"}"#;
        assert_eq!(number_in(json, 23), Some(7));
        assert_eq!(number_in(json, 24), Some(7), "it is looked for");
        assert_eq!(number_in(b"rwb:00000000000000", 18), None);
        assert_eq!(number_in(b"rwb:000000000000000x", 20), None);
        assert_eq!(number_in(b"hello, what is this? hello", 24), None);
    }

    #[test]
    fn a_template_carries_its_number_and_has_the_size_that_was_asked_for() {
        let mask = [1, 2, 3, 4];
        for protocol in [Protocol::Raw, Protocol::Roomwire, Protocol::Socketio] {
            for (content, size) in [(Content::Filler, 64), (Content::Json, 300)] {
                let mut plan = Plan::example();
                (plan.protocol, plan.content, plan.size) = (protocol, content, size);
                plan.room = "r".to_owned();
                let template = Template::new(&plan, mask);
                let mut out = Vec::new();
                template.append(&mut out, 1_234_567_890_123_456);
                let header = if out[1] & 0x7F == 126 { 8 } else { 6 };
                let masked = out.iter().skip(header).zip(mask.iter().cycle());
                let text: Vec<u8> = masked.map(|(byte, key)| byte ^ key).collect();
                let from_end = Template::mark_from_end(&plan);
                let at = text.len() - from_end;
                assert!(text[at..].starts_with(MARK), "{protocol:?} {content:?}");
                assert_eq!(number_in(&text, from_end), Some(1_234_567_890_123_456));
                let (before, after) = around(&plan);
                let payload = &text[before.len()..text.len() - after.len()];
                assert_eq!(payload.len(), size);
                if protocol != Protocol::Raw || content == Content::Json {
                    let parse = serde_json::from_slice::<serde_json::Value>;
                    assert!(parse(payload).is_ok());
                }
            }
        }
    }
}
