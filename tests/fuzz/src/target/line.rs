//! Lines and chat: the pieces in which bytes come change nothing, limits hold, and whatever is
//! shown to a person is one line without control characters.
//!
//! Input: the limit, the cut, and the stream.

use arbitrary::Unstructured;
use roomwire_protocols::chat::{self, ChatLine};
use roomwire_protocols::json;
use roomwire_protocols::line::{LineDecoder, LineTooLong};

use super::{byte, pieces};

/// The lines, and what is left when no more comes.
type Outcome = (Vec<Result<Vec<u8>, LineTooLong>>, Option<Vec<u8>>);

/// Checks one input.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let max = usize::from(byte(&mut input));
    let cut = byte(&mut input);
    let stream = input.take_rest();

    let expected = naive(stream, max);
    for cut in [0, 1, cut] {
        assert_eq!(decode(stream, max, cut), expected, "cut by {cut}");
    }
    for line in expected.0.iter().flatten() {
        talk(line);
    }
    show(stream);
}

fn decode(stream: &[u8], max: usize, cut: u8) -> Outcome {
    let mut decoder = LineDecoder::new();
    let mut lines = Vec::new();
    for piece in pieces(&mut stream.to_vec(), cut) {
        let mut rest = &*piece;
        loop {
            let (consumed, line) = decoder.next(rest, max);
            rest = &rest[consumed..];
            match line {
                Some(line) => lines.push(line.map(<[u8]>::to_vec)),
                None => break,
            }
        }
        assert!(rest.is_empty(), "without a line all input is used up");
    }
    let left = decoder.finish();
    assert!(decoder.is_idle() && decoder.finish().is_none());
    (lines, left)
}

fn naive(stream: &[u8], max: usize) -> Outcome {
    let judge = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > max {
            Err(LineTooLong)
        } else {
            Ok(line.to_vec())
        }
    };
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let last = pieces.pop().unwrap_or_default();
    let mut lines: Vec<_> = pieces.into_iter().map(judge).collect();
    if judge(last).is_err() {
        lines.push(Err(LineTooLong));
        return (lines, None);
    }
    (lines, (!last.is_empty()).then(|| last.to_vec()))
}

/// A line of chat means one thing, and what it means is a part of it.
fn talk(line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else {
        return assert!(chat::parse(line).is_err());
    };
    let within = |part: &str| assert!(text.contains(part) && part.trim() == part);
    match chat::parse(line).expect("it is UTF-8") {
        ChatLine::Empty => assert!(text.trim().is_empty()),
        ChatLine::Text(said) => {
            assert!(said == text && !text.starts_with('/'));
            let mut string = Vec::new();
            chat::json_string(&mut string, said);
            assert_eq!(json::unescape(&string).as_deref(), Some(said));
        }
        ChatLine::Join(argument) | ChatLine::Nick(argument) => within(argument),
        ChatLine::Unknown(word) => assert!(text.starts_with(word) && word.starts_with('/')),
        ChatLine::Help | ChatLine::Leave | ChatLine::Quit | ChatLine::Who => {
            assert!(text.starts_with('/'));
        }
    }
}

/// Whatever members send, a terminal gets one line of visible text.
fn show(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut string = Vec::new();
    json::push_string(&mut string, &text);
    let (mut raw, mut quoted, mut notice) = (Vec::new(), Vec::new(), Vec::new());
    chat::render(&mut raw, &text, data);
    chat::render(&mut quoted, "ada", &string);
    chat::notice(&mut notice, &text);
    for shown in [raw, quoted, notice] {
        let shown = String::from_utf8(shown).expect("a terminal gets UTF-8");
        let line = shown.strip_suffix('\n').expect("a line has an end");
        let is_unsafe = |it: char| it.is_control() || ('\u{2028}'..='\u{202e}').contains(&it);
        assert!(!line.contains(is_unsafe), "{line:?}");
    }
}

/// Lines with every kind of end, commands, and what a terminal must not get.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |max: u8, text: &str| [&[max, 3], text.as_bytes()].concat();
    vec![
        seed(3, "abc\nabc\r\nabcd\nabc\r\r\nabc\rd\nx\n\n"),
        seed(3, "abc\r"),
        seed(0, "\r\n\n\r"),
        seed(
            80,
            "hello\n/nick Ada L.\n/join  lobby \n/who\n/leave\n/help\n/quit\n/foo\n \n",
        ),
        seed(
            200,
            "{\"type\":\"ping\"}\r\n{\"type\":\"join\",\"room\":\"r\"}\n",
        ),
        seed(80, "\u{1b}[31m\u{9b}\u{202e}\u{2028}\u{2066}\r\ngrüße 🎉"),
        seed(80, "\"a\\u001b[31m\\n\\u2028\""),
        seed(80, "{\"a\":\n\t1}"),
    ]
}
