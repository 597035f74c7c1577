//! What `join` and `publish` write, and how they take words apart that a person typed.
//!
//! Results go to stdout, everything about the session to stderr. A reader that has gone away (`| head`)
//! is a reason to stop, never an error message; and what other people wrote reaches a terminal only
//! with its control characters escaped.

use std::io::{self, Write};

use roomwire_protocols::{
    chat, name,
    room::{self, Subject},
};

/// Whether there is still a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// There is.
    Listening,
    /// It has closed its end.
    Gone,
}

/// Writes whole lines to stdout and flushes them.
pub(super) fn print(lines: &[u8]) -> io::Result<Reader> {
    write_to(&mut io::stdout().lock(), lines)
}

fn write_to(stream: &mut impl Write, lines: &[u8]) -> io::Result<Reader> {
    match stream.write_all(lines).and_then(|()| stream.flush()) {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Writes ready-made text for people to stderr. Nobody can be told that this failed.
pub(super) fn tell(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Tells the person something, on stderr. Nobody can be told that this failed.
pub(super) fn notice(text: &str) {
    let mut line = Vec::with_capacity(text.len() + 3);
    chat::notice(&mut line, text);
    io::stderr().lock().write_all(&line).ok();
}

/// A command-line argument that must name one room.
pub(super) fn room_argument(text: &str) -> Result<String, String> {
    match room::check(text) {
        Ok(Subject::Room) => Ok(text.to_owned()),
        Ok(Subject::Pattern) => Err("a pattern can be joined, but a message needs one room".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A command-line argument that names a room or a pattern.
pub(super) fn subject_argument(text: &str) -> Result<String, String> {
    room::check(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// A command-line argument that is someone's name.
pub(super) fn name_argument(text: &str) -> Result<String, String> {
    name::check(text)
        .map(|()| text.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let gone = write_to(&mut Closed(io::ErrorKind::BrokenPipe), b"x").expect("no error");
        assert_eq!(gone, Reader::Gone);
        assert!(write_to(&mut Closed(io::ErrorKind::StorageFull), b"x").is_err());
        let there = write_to(&mut Vec::new(), b"x").expect("no error");
        assert_eq!(there, Reader::Listening);
    }

    #[test]
    fn a_message_needs_one_room_but_a_pattern_can_be_joined() {
        assert!(room_argument("news.*").is_err());
        assert_eq!(subject_argument("news.*").as_deref(), Ok("news.*"));
        assert_eq!(room_argument("news").as_deref(), Ok("news"));
        assert!(subject_argument("").is_err());
        assert!(name_argument("a\u{1b}[2J").is_err());
    }
}
