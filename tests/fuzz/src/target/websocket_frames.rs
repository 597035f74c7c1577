//! The frame decoder: the pieces in which bytes come change nothing, and tungstenite agrees.
//!
//! Input: form (bit 0: frames are made from what follows, else it is the stream), limits, cut.
//!
//! Where the two differ on purpose: ours refuses at the first byte that shows a violation, theirs
//! when the frame is whole (so the frame is completed for them); ours refuses lengths that are not
//! minimal and too many fragments, theirs does not; theirs checks a frame's size before everything
//! else, and a close reason before its code; theirs takes 1014 for reserved, which IANA assigned.

use std::io::{self, Read, Write};

use arbitrary::Unstructured;
use roomwire_protocols::websocket::{
    Decoder, Item, Limits, MAX_CONTROL_PAYLOAD, Opcode, Violation, close, close_frame, frame,
};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::{byte, pieces};

/// An [`Item`] that outlives its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Item<'_>> for Owned {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Item::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Item::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Item::Close(close) => Self::Close(close.map(|(code, it)| (code, it.to_owned()))),
        }
    }
}

/// What came of a stream.
pub type Outcome = (Vec<Owned>, Option<Violation>);

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let form = byte(&mut input);
    const MAX_MESSAGES: [usize; 8] = [0, 1, 5, 125, 126, 300, 4096, 70_000];
    let limits = Limits {
        max_message: MAX_MESSAGES[usize::from(byte(&mut input) % 8)],
        max_fragments: 1 + usize::from(byte(&mut input) % 8),
    };
    let cut = byte(&mut input);
    let stream = match form & 1 {
        0 => input.take_rest().to_vec(),
        _ => frames(&mut input),
    };

    let (ours, _) = decode(&stream, 0, &limits);
    let (bytewise, at) = decode(&stream, 1, &limits);
    assert_eq!(bytewise, ours, "byte by byte");
    assert_eq!(decode(&stream, cut, &limits).0, ours, "cut by {cut}");
    match ours.1 {
        None => they_accept(&stream, &ours.0, &limits),
        Some(violation) => they_refuse(&stream, &ours.0, violation, at, &limits),
    }
    encoded_items_are_decoded(&ours.0, cut);
    close_frames_are_decoded(&stream);
}

/// Frames like a client's, most of them valid.
fn frames(input: &mut Unstructured<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let (shape, length) = (byte(input), byte(input));
        // Bit 7 gives away a frame that could be anything.
        let first = match shape >> 7 {
            0 => [0x01, 0x81, 0x80, 0x00, 0x89, 0x8a, 0x82, 0x88][usize::from(shape % 8)],
            _ => byte(input),
        };
        let mut payload = match length {
            0..=0xfe => Vec::with_capacity(usize::from(length)),
            _ => Vec::with_capacity(usize::from(input.arbitrary::<u16>().unwrap_or_default())),
        };
        let wanted = payload.capacity();
        let there = input.bytes(wanted.min(input.len())).unwrap_or_default();
        payload.extend_from_slice(there);
        payload.resize(wanted, b'a');
        match (shape >> 3) % 8 {
            0 => long_form(&mut stream, first, 126, &payload),
            1 => long_form(&mut stream, first, 127, &payload),
            2 if shape >> 7 == 1 => unmasked(&mut stream, first, &payload),
            _ => masked(&mut stream, first, &payload),
        }
    }
    stream
}

/// Any key does; this one has a zero in it, and bytes with and without the high bit.
const KEY: [u8; 4] = [0x37, 0x00, 0xa1, 0xff];

/// Appends a frame with its length in the shortest form.
pub fn masked(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let length = payload.len() as u64;
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        stream.extend_from_slice(&[first, 0x80 | short]);
        mask(stream, payload);
    } else {
        let form = if length <= u64::from(u16::MAX) {
            126
        } else {
            127
        };
        long_form(stream, first, form, payload);
    }
}

fn long_form(stream: &mut Vec<u8>, first: u8, form: u8, payload: &[u8]) {
    stream.extend_from_slice(&[first, 0x80 | form]);
    let length = (payload.len() as u64).to_be_bytes();
    stream.extend_from_slice(
        length
            .get(if form == 126 { 6.. } else { 0.. })
            .unwrap_or_default(),
    );
    mask(stream, payload);
}

fn unmasked(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let short = u8::try_from(payload.len().min(125)).unwrap_or(125);
    stream.extend_from_slice(&[first, short]);
    stream.extend_from_slice(payload.get(..usize::from(short)).unwrap_or_default());
}

fn mask(stream: &mut Vec<u8>, payload: &[u8]) {
    stream.extend_from_slice(&KEY);
    let keys = KEY.iter().cycle();
    stream.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
}

/// Decodes as a session does: call until there is no item, then the next piece. Tells also how
/// many pieces were taken before a violation.
fn decode(stream: &[u8], cut: u8, limits: &Limits) -> (Outcome, usize) {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    let mut taken = 0;
    for piece in pieces(&mut stream.to_vec(), cut) {
        let mut rest = piece;
        loop {
            let (consumed, item) = match decoder.next(rest, limits) {
                Ok((consumed, item)) => (consumed, item.map(Owned::from)),
                Err(violation) => {
                    assert!(decoder.is_idle(), "a violation gives all memory back");
                    let mut more = [0x81, 0x80, 0, 0, 0, 0];
                    let after = decoder.next(&mut more, limits);
                    assert_eq!(after, Ok((6, None)), "what follows is discarded");
                    return ((items, Some(violation)), taken);
                }
            };
            assert!(consumed <= rest.len());
            assert!(item.is_none() || consumed > 0, "an item ends with a byte");
            rest = &mut rest[consumed..];
            match item {
                Some(Owned::Text(text)) if text.len() > limits.max_message => panic!("{text}"),
                Some(Owned::Binary(it)) if it.len() > limits.max_message => panic!("{it:?}"),
                Some(item) => items.push(item),
                None => break,
            }
        }
        assert!(rest.is_empty(), "without an item all input is used up");
        taken += 1;
    }
    ((items, None), taken)
}

/// How tungstenite left a stream.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Failed(u16),
}

/// A socket that has no more to read than `input`, and takes all that is written.
struct Wire<'i> {
    input: &'i [u8],
    written: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Control frames count, too, for them.
fn max_frame(limits: &Limits) -> usize {
    limits.max_message.max(MAX_CONTROL_PAYLOAD)
}

/// What tungstenite makes of a stream, and what it writes.
fn theirs(stream: &[u8], role: Role, limits: &Limits) -> (Vec<Owned>, End, Vec<u8>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(max_frame(limits)));
    let mut socket = WebSocketContext::new(role, Some(config));
    let mut wire = Wire {
        input: stream,
        written: Vec::new(),
    };
    let mut items = Vec::new();
    let end = loop {
        match socket.read(&mut wire) {
            Ok(message) => items.push(owned(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break End::Open,
            Err(Error::ConnectionClosed) => break End::Closed,
            Err(Error::Protocol(_)) => break End::Failed(close::PROTOCOL_ERROR),
            Err(Error::Utf8(_)) => break End::Failed(close::INVALID_DATA),
            Err(Error::Capacity(_)) => break End::Failed(close::TOO_BIG),
            Err(error) => panic!("{error}"),
        }
    };
    (items, end, wire.written)
}

fn owned(message: Message) -> Owned {
    match message {
        Message::Text(text) => Owned::Text(text.to_string()),
        Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
        Message::Close(close) => {
            let parts = |it: CloseFrame| (it.code.into(), it.reason.to_string());
            Owned::Close(close.map(parts))
        }
        Message::Frame(frame) => panic!("{frame} was asked for by nobody"),
    }
}

/// What tungstenite yields for a code that it does not take.
fn bad_close() -> Owned {
    Owned::Close(Some((1002, "Protocol violation".to_owned())))
}

/// Whether `item` is a close with the one code that tungstenite does not know yet.
fn is_bad_gateway(item: &Owned) -> bool {
    matches!(item, Owned::Close(Some((1014, _))))
}

fn they_accept(stream: &[u8], items: &[Owned], limits: &Limits) {
    let (found, end, written) = theirs(stream, Role::Server, limits);
    let closed = matches!(items.last(), Some(Owned::Close(_)));
    assert_eq!(end, if closed { End::Closed } else { End::Open });
    let mut expected = items.to_vec();
    match expected.last_mut() {
        Some(last) if is_bad_gateway(last) => *last = bad_close(),
        _ => assert_eq!(written, replies(items), "frames that both encoders wrote"),
    }
    assert_eq!(found, expected);
    our_own_rules_hold(stream, limits);
}

/// What tungstenite does not ask for, and only we can miss, in a stream that was accepted.
fn our_own_rules_hold(stream: &[u8], limits: &Limits) {
    let (mut start, mut data_frames) = (0, 0);
    while let Some(raw) = Raw::at(stream, start) {
        assert!(raw.is_minimal(), "a length in too long a form");
        if raw.first & 0x08 == 0 {
            data_frames = if raw.first & 0x0f == 0 {
                data_frames + 1
            } else {
                1
            };
            // An empty frame that ends a message is not counted.
            let counts = raw.first & 0x80 == 0 || raw.length != Some(0);
            assert!(!counts || raw.end.is_none() || data_frames <= limits.max_fragments);
        }
        match raw.end {
            Some(end) if end <= stream.len() && raw.first & 0x0f != 0x08 => start = end,
            _ => return,
        }
    }
}

/// What answers `items`, from our encoder.
fn replies(items: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Owned::Ping(payload) => frame(&mut out, Opcode::Pong, payload),
            Owned::Close(None) => close_frame(&mut out, close::reply_to(None), ""),
            Owned::Close(Some((code, reason))) => {
                close_frame(&mut out, close::reply_to(Some(*code)), reason);
            }
            Owned::Text(_) | Owned::Binary(_) | Owned::Pong(_) => {}
        }
    }
    out
}

/// `at`: the byte that shows the violation.
fn they_refuse(stream: &[u8], items: &[Owned], violation: Violation, at: usize, limits: &Limits) {
    let (bad, data_frames) = Raw::containing(stream, at);
    let before = theirs(
        stream.get(..bad.start).unwrap_or_default(),
        Role::Server,
        limits,
    );
    assert_eq!(
        (&before.0[..], before.1),
        (items, End::Open),
        "{violation:?}"
    );

    let completed = bad.complete(stream, max_frame(limits));
    let length = Raw::at(&completed, bad.start)
        .and_then(|it| it.length)
        .unwrap_or_default();
    let second = bad.second.unwrap_or_default();
    match violation {
        Violation::LengthNotMinimal => return assert!(!bad.is_minimal()),
        Violation::TooManyFragments => return assert_eq!(data_frames, limits.max_fragments + 1),
        // The second byte said that it is longer, the length after it says that it is not.
        Violation::ControlTooLong
            if extended(second) > 0 && length <= MAX_CONTROL_PAYLOAD as u64 =>
        {
            return;
        }
        _ => {}
    }
    let (mut found, end, _) = theirs(&completed, Role::Server, limits);
    let code = match end {
        End::Failed(code) => code,
        End::Closed if found.pop() == Some(bad_close()) => close::PROTOCOL_ERROR,
        End::Open | End::Closed => panic!("{violation:?} is none to them: {found:?}"),
    };
    assert_eq!(found, items, "{violation:?}");
    let excused = (code == close::TOO_BIG && length > max_frame(limits) as u64)
        || (code == close::INVALID_DATA && violation == Violation::CloseCodeInvalid);
    assert!(
        code == violation.close_code() || excused,
        "{violation:?}, and they say {code}"
    );
}

/// A frame as the figure of RFC 6455 §5.2 has it, read without any rule.
struct Raw {
    start: usize,
    first: u8,
    second: Option<u8>,
    length: Option<u64>,
    /// Where it ends, when its header is whole.
    end: Option<usize>,
}

impl Raw {
    fn at(stream: &[u8], start: usize) -> Option<Self> {
        let bytes = stream.get(start..)?;
        let mut raw = Self {
            start,
            first: *bytes.first()?,
            second: bytes.get(1).copied(),
            length: None,
            end: None,
        };
        let Some(second) = raw.second else {
            return Some(raw);
        };
        let extended = extended(second);
        raw.length = match extended {
            0 => Some(u64::from(second & 0x7f)),
            _ => bytes.get(2..2 + extended).map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | u64::from(*byte))
            }),
        };
        let header = 2 + extended + if second & 0x80 == 0 { 0 } else { 4 };
        let length = raw.length.and_then(|length| usize::try_from(length).ok());
        if bytes.len() >= header {
            raw.end = length.and_then(|length| (start + header).checked_add(length));
        }
        Some(raw)
    }

    /// Whether its length, as far as it came, has the shortest form.
    fn is_minimal(&self) -> bool {
        let longest_of_shorter = match extended(self.second.unwrap_or_default()) {
            0 => return true,
            2 => 125,
            _ => u64::from(u16::MAX),
        };
        self.length.is_none_or(|length| length > longest_of_shorter)
    }

    /// The frame that the byte `at` belongs to, and how many data frames its message has up to it.
    fn containing(stream: &[u8], at: usize) -> (Self, usize) {
        let (mut start, mut data_frames) = (0, 0);
        loop {
            let raw = Self::at(stream, start).expect("the byte is in the stream");
            if raw.first & 0x08 == 0 {
                data_frames = if raw.first & 0x0f == 0 {
                    data_frames + 1
                } else {
                    1
                };
            }
            match raw.end {
                Some(end) if end <= at => start = end,
                _ => return (raw, data_frames),
            }
        }
    }

    /// The stream up to the end of this frame; what is missing of it is made up. Nothing is made
    /// up for a frame that is longer than `max`.
    fn complete(&self, stream: &[u8], max: usize) -> Vec<u8> {
        let end = self.end.unwrap_or(stream.len()).min(stream.len());
        let mut stream = stream.get(..end).unwrap_or_default().to_vec();
        let second = self.second.unwrap_or(0x80);
        if self.second.is_none() {
            stream.push(second);
        }
        let lengths = self.start + 2 + extended(second);
        if stream.len() < lengths {
            stream.resize(lengths, 0);
            // Long enough to need the form.
            if let Some(last) = stream.last_mut() {
                *last = 126;
            }
        }
        let header = lengths + if second & 0x80 == 0 { 0 } else { 4 };
        stream.resize(stream.len().max(header), 0);
        match Self::at(&stream, self.start).and_then(|it| it.end) {
            Some(end) if end <= header + max => stream.resize(end, 0),
            _ => {}
        }
        stream
    }
}

/// Bytes of length after the second byte.
fn extended(second: u8) -> usize {
    match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// Big enough for whatever was decoded.
const WIDE: Limits = Limits {
    max_message: 1 << 20,
    max_fragments: 1,
};

fn encoded_items_are_decoded(items: &[Owned], cut: u8) {
    let (mut server, mut client) = (Vec::new(), Vec::new());
    for item in items {
        let mut encoded = Vec::new();
        match item {
            Owned::Text(text) => frame(&mut encoded, Opcode::Text, text.as_bytes()),
            Owned::Binary(bytes) => frame(&mut encoded, Opcode::Binary, bytes),
            Owned::Ping(bytes) => frame(&mut encoded, Opcode::Ping, bytes),
            Owned::Pong(bytes) => frame(&mut encoded, Opcode::Pong, bytes),
            Owned::Close(None) => close_frame(&mut encoded, None, "left out"),
            Owned::Close(Some((code, reason))) => close_frame(&mut encoded, Some(*code), reason),
        }
        let raw = Raw::at(&encoded, 0).expect("a frame has a first byte");
        assert_eq!(raw.end, Some(encoded.len()), "the length is the payload's");
        let payload = 2 + extended(raw.second.expect("a frame has a second byte"));
        let (header, payload) = encoded.split_at(payload);
        client.extend_from_slice(header);
        let second = client.len() - header.len() + 1;
        client[second] |= 0x80;
        mask(&mut client, payload);
        server.extend_from_slice(&encoded);
    }
    assert_eq!(decode(&client, cut, &WIDE).0, (items.to_vec(), None));
    if !items.iter().any(is_bad_gateway) {
        assert_eq!(theirs(&server, Role::Client, &WIDE).0, items);
    }
}

fn close_frames_are_decoded(text: &[u8]) {
    let reason = String::from_utf8_lossy(text);
    let mut encoded = Vec::new();
    close_frame(&mut encoded, Some(close::SLOW), &reason);
    let (found, end, _) = theirs(&encoded, Role::Client, &WIDE);
    let [Owned::Close(Some((close::SLOW, sent)))] = &found[..] else {
        panic!("{found:?}, {end:?}");
    };
    assert!(reason.starts_with(&**sent));
    assert!(sent.len() <= MAX_CONTROL_PAYLOAD - 2);
    assert!(
        *sent == reason || sent.len() > MAX_CONTROL_PAYLOAD - 2 - 4,
        "cut too short"
    );
}

/// The examples of RFC 6455 §5.7, each kind of frame, and a few faults.
pub fn seeds() -> Vec<Vec<u8>> {
    let stream = |frames: &[(u8, &[u8])]| {
        let mut stream = vec![0, 7, 3, 3];
        for (first, payload) in frames {
            masked(&mut stream, *first, payload);
        }
        stream
    };
    let codes = [
        0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4999, 5000,
    ];
    let closes = codes.map(|code: u16| stream(&[(0x88, &code.to_be_bytes())]));
    let party = "grüße, 世界 🎉".as_bytes();
    let (before, after) = party.split_at(4);
    let mut seeds = vec![
        b"\x00\x07\x00\x00\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec(),
        stream(&[(0x01, b"Hel"), (0x89, b"Hello"), (0x80, b"lo")]),
        stream(&[(0x82, &[0xff; 126]), (0x82, &[7; 256]), (0x8a, b"")]),
        stream(&[(0x82, &[1; 65_536])]),
        stream(&[
            (0x01, before),
            (0x00, b""),
            (0x80, after),
            (0x81, b"\xf0\x90"),
        ]),
        stream(&[(0x81, b"{}"), (0x88, b"\x03\xe8bye"), (0x81, b"late")]),
        stream(&[(0x88, b"")]),
        stream(&[(0x88, b"\x03\xf6")]),
        stream(&[(0x88, b"\x03\xed\xff")]),
        stream(&[(0x88, b"\x03")]),
        stream(&[(0xc1, b"compressed"), (0x83, b"")]),
        stream(&[(0x01, b"a"), (0x81, b"b")]),
        stream(&[(0x00, b"a")]),
        stream(&[(0x09, b"a")]),
        stream(&[(0x89, &[0; 126])]),
        b"\x01\x05\x03\x02\x20\x03abc\x24\x00\x22\x05defgh\x27\x02\x03\xe8".to_vec(),
        b"\x01\x06\x07\x04\x26\xf5\x10\x00payload that is filled up".to_vec(),
        b"\x00\x07\x00\x00\x82\xfe\x00\x7d\x00\x00\x00\x00".to_vec(),
        b"\x00\x07\x00\x00\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00".to_vec(),
        b"\x00\x07\x00\x00\x82\x00".to_vec(),
        // Lengths of 125, 126, 65,535 and 65,536 in each form.
        stream(&[(0x89, &[0; 125]), (0x82, &[0; 125]), (0x82, &[0; 126])]),
        stream(&[(0x82, &[0; 65_535])]),
        b"\x01\x07\x07\x00\x06\x7d\x06\x7e".to_vec(),
        b"\x01\x07\x07\x00\x0e\xff\xff\xff".to_vec(),
        // As many fragments as there may be, an empty last one more, and one too many.
        stream(&[(0x02, b"a"), (0x00, b"b"), (0x00, b"c"), (0x80, b"d")]),
        stream(&[
            (0x02, b"a"),
            (0x00, b"b"),
            (0x00, b"c"),
            (0x00, b"d"),
            (0x80, b""),
        ]),
        stream(&[
            (0x02, b"a"),
            (0x00, b"b"),
            (0x00, b"c"),
            (0x00, b"d"),
            (0x80, b"e"),
        ]),
    ];
    seeds.extend(closes);
    seeds
}
