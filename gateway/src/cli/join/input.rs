//! Lines from standard input, and what they ask for.
//!
//! Reading blocks and happens on a thread of its own; a bounded channel carries the lines to the
//! session, so a fast pipe waits for the gateway rather than filling memory.

use std::io::{self, BufRead};

use roomwire_protocols::{
    chat::{self, ChatLine},
    line::LineDecoder,
};
use tokio::sync::mpsc::Sender;

/// The longest line, in bytes. A gateway accepts far less by default and says so.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
const DEFAULT_HISTORY: u32 = 20;

/// What the input thread has to say. The end of the input is the end of the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Failed(String),
    Line(Vec<u8>),
    TooLong,
}

/// What one line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Help,
    History(u32),
    Nick(&'a str),
    Nothing,
    /// The line makes no sense; why.
    Problem(String),
    Publish(&'a str),
    Quit,
    Who,
}

/// Reads to the end of the input, or until nobody wants lines any more.
pub(super) fn read_lines(mut input: impl BufRead, lines: &Sender<Input>) {
    let mut decoder = LineDecoder::new();
    loop {
        let buffer = match input.fill_buf() {
            Ok([]) => break,
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                lines.blocking_send(Input::Failed(error.to_string())).ok();
                return;
            }
        };
        let length = buffer.len();
        if !pass_on(&mut decoder, buffer, lines) {
            return;
        }
        input.consume(length);
    }
    if !decoder.is_idle() {
        // The last line may lack its end.
        pass_on(&mut decoder, b"\n", lines);
    }
}

/// False: nobody wants lines any more.
fn pass_on(decoder: &mut LineDecoder, mut bytes: &[u8], lines: &Sender<Input>) -> bool {
    loop {
        let (used, line) = decoder.next(bytes, MAX_LINE_BYTES);
        let input = match line {
            None => return true,
            Some(Ok(line)) => Input::Line(line.to_vec()),
            Some(Err(_too_long)) => Input::TooLong,
        };
        bytes = bytes.get(used..).unwrap_or_default();
        if lines.blocking_send(input).is_err() {
            return false;
        }
    }
}

/// Takes a line apart.
pub(super) fn understand(line: &[u8]) -> Request<'_> {
    match chat::parse(line) {
        Err(_not_utf8) => Request::Problem("a line that is not UTF-8 was not sent".to_owned()),
        Ok(ChatLine::Empty) => Request::Nothing,
        Ok(ChatLine::Help) => Request::Help,
        Ok(ChatLine::Join(_) | ChatLine::Leave) => Request::Problem(
            "this client is in one room until it quits; start another one for another room"
                .to_owned(),
        ),
        Ok(ChatLine::Nick(name)) => Request::Nick(name),
        Ok(ChatLine::Quit) => Request::Quit,
        Ok(ChatLine::Text(text)) => Request::Publish(text),
        Ok(ChatLine::Unknown("/history")) => history(line),
        Ok(ChatLine::Unknown(word)) => {
            Request::Problem(format!("{word} is not a command; /help lists them"))
        }
        Ok(ChatLine::Who) => Request::Who,
    }
}

fn history(line: &[u8]) -> Request<'static> {
    let line = String::from_utf8_lossy(line);
    match line.split_whitespace().nth(1).map(str::parse) {
        None => Request::History(DEFAULT_HISTORY),
        Some(Ok(limit)) if limit > 0 => Request::History(limit),
        Some(_) => Request::Problem("/history takes a number of messages above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn lines(input: impl BufRead) -> Vec<Input> {
        let (sender, mut receiver) = mpsc::channel(16);
        read_lines(input, &sender);
        drop(sender);
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    fn line(text: &str) -> Input {
        Input::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn every_line_arrives_also_one_without_an_end() {
        let expected = [line("a"), line(""), line("b c"), line("d")];
        assert_eq!(lines(&b"a\r\n\nb c\nd"[..]), expected);
        let small = io::BufReader::with_capacity(1, &b"a\r\n\nb c\nd"[..]);
        assert_eq!(lines(small), expected);
        assert_eq!(lines(&b""[..]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_and_the_next_one_is_whole() {
        let mut input = vec![b'x'; MAX_LINE_BYTES + 1];
        input.extend_from_slice(b"\nnext\n");
        assert_eq!(lines(&input[..]), [Input::TooLong, line("next")]);
    }

    #[test]
    fn a_session_that_has_ended_ends_the_reading() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        read_lines(io::BufReader::new(io::repeat(b'\n')), &sender);
    }

    #[test]
    fn commands_are_told_from_text() {
        let check = |text: &str, expected: Request<'_>| {
            assert_eq!(understand(text.as_bytes()), expected, "{text}");
        };
        check("hello /who", Request::Publish("hello /who"));
        check("  ", Request::Nothing);
        check("/who", Request::Who);
        check("/nick  ann ", Request::Nick("ann"));
        check("/history", Request::History(20));
        check("/history 5", Request::History(5));
        check("/quit", Request::Quit);
        for wrong in ["/history x", "/history 0", "/dance", "/join b", "/leave"] {
            let understood = understand(wrong.as_bytes());
            assert!(matches!(understood, Request::Problem(_)), "{wrong}");
        }
        assert!(matches!(understand(b"\xff"), Request::Problem(_)));
    }
}
