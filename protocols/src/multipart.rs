//! Forms with files: `multipart/form-data` (RFC 7578, RFC 2046 §5.1), taken apart as it comes.
//!
//! The caller keeps what has come and has not been used; [`Parser::next`] says what stands at its
//! beginning and how many bytes that takes. What a part carries is never kept here, so that a file of
//! any size passes through a small buffer: what stays in it is at most a part's head or the length of a
//! boundary.

/// The longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The longest head of a part, in bytes. Chosen: names and types take some hundred.
pub const MAX_HEAD: usize = 8 * 1024;

/// Spaces that may follow a boundary (RFC 2046 §5.1.1, transport padding). Chosen: nobody sends any.
const MAX_PADDING: usize = 64;

/// What a form breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// What follows a boundary is neither the end nor a part.
    Boundary,
    /// A part's head is longer than [`MAX_HEAD`].
    HeadTooLong,
    /// A part's head has no readable `Content-Disposition: form-data`.
    Disposition,
}

impl Malformed {
    /// What is wrong, for whoever sent it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Boundary => "a boundary is followed by neither a part nor the form's end",
            Self::HeadTooLong => "the head of a part is longer than 8 KiB",
            Self::Disposition => "a part has no readable Content-Disposition of a form",
        }
    }
}

/// What a part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name, as its sender calls it; a field that is no file has none.
    pub filename: Option<String>,
}

/// What stands at the beginning of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Too little to tell. At the end of the input: the form is incomplete.
    More,
    /// Nothing that matters.
    Skip,
    /// A part begins.
    Begin(Part),
    /// All of the bytes that it takes belong to the present part.
    Data,
    /// The present part ends.
    End,
    /// The form ends. What follows is of no meaning.
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary, at the very beginning or not.
    Start,
    Preamble,
    /// Behind a boundary.
    Boundary,
    Head,
    Body,
    Over,
}

/// Takes one form apart.
#[derive(Debug)]
pub struct Parser {
    /// Line break, two dashes and the boundary.
    delimiter: Vec<u8>,
    state: State,
}

impl Parser {
    /// For a form whose `Content-Type` is this one; `None` where it is no form with a boundary.
    pub fn new(content_type: &[u8]) -> Option<Self> {
        let (essence, parameters) = match content_type.iter().position(|byte| *byte == b';') {
            Some(at) => content_type.split_at(at),
            None => (content_type, &[][..]),
        };
        if !essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"multipart/form-data")
        {
            return None;
        }
        let boundary = parameter(parameters, b"boundary").ok()??;
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
        let fits = (1..=MAX_BOUNDARY).contains(&boundary.len())
            && boundary.iter().all(allowed)
            && !boundary.ends_with(b" ");
        fits.then(|| Self {
            delimiter: [b"\r\n--", &*boundary].concat(),
            state: State::Start,
        })
    }

    /// What `input` begins with, and how many bytes of it that takes. What it takes must not be given
    /// again, and what it leaves must.
    ///
    /// # Errors
    ///
    /// What the form breaks. Nothing can be told after that.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Event), Malformed> {
        match self.state {
            State::Start => Ok(self.start(input)),
            State::Preamble => Ok(self.preamble(input)),
            State::Boundary => self.behind_boundary(input),
            State::Head => self.head(input),
            State::Body => Ok(self.body(input)),
            State::Over => Ok((input.len(), Event::Finish)),
        }
    }

    /// The first boundary has no line break before it, unless something else has.
    fn start(&mut self, input: &[u8]) -> (usize, Event) {
        let dashes = self.delimiter.get(2..).unwrap_or_default();
        let common = input.len().min(dashes.len());
        if input.get(..common) != dashes.get(..common) {
            self.state = State::Preamble;
            return (0, Event::Skip);
        }
        if common < dashes.len() {
            return (0, Event::More);
        }
        self.state = State::Boundary;
        (common, Event::Skip)
    }

    fn preamble(&mut self, input: &[u8]) -> (usize, Event) {
        match self.look(input) {
            Ok(at) => {
                self.state = State::Boundary;
                (at + self.delimiter.len(), Event::Skip)
            }
            Err(0) => (0, Event::More),
            Err(clear) => (clear, Event::Skip),
        }
    }

    fn behind_boundary(&mut self, input: &[u8]) -> Result<(usize, Event), Malformed> {
        if input.starts_with(b"--") {
            self.state = State::Over;
            return Ok((2, Event::Finish));
        }
        let padding = input.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        let padding = padding.count();
        let rest = input.get(padding..).unwrap_or_default();
        if padding > MAX_PADDING {
            return Err(Malformed::Boundary);
        }
        match rest {
            [b'\r', b'\n', ..] => {
                self.state = State::Head;
                Ok((padding + 2, Event::Skip))
            }
            [] | [b'\r'] => Ok((0, Event::More)),
            [b'-'] if padding == 0 => Ok((0, Event::More)),
            _ => Err(Malformed::Boundary),
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<(usize, Event), Malformed> {
        let looked = input.get(..MAX_HEAD + 4).unwrap_or(input);
        let Some(length) = looked.windows(4).position(|four| four == b"\r\n\r\n") else {
            if input.len() > MAX_HEAD || input.starts_with(b"\r\n") {
                let empty = input.starts_with(b"\r\n");
                return Err(if empty {
                    Malformed::Disposition
                } else {
                    Malformed::HeadTooLong
                });
            }
            return Ok((0, Event::More));
        };
        let part = part(input.get(..length).unwrap_or_default())?;
        self.state = State::Body;
        Ok((length + 4, Event::Begin(part)))
    }

    fn body(&mut self, input: &[u8]) -> (usize, Event) {
        match self.look(input) {
            Ok(0) => {
                self.state = State::Boundary;
                (self.delimiter.len(), Event::End)
            }
            Ok(at) => (at, Event::Data),
            Err(0) => (0, Event::More),
            Err(clear) => (clear, Event::Data),
        }
    }

    /// Where a delimiter begins, else how many bytes certainly stand before one.
    fn look(&self, input: &[u8]) -> Result<usize, usize> {
        let mut from = 0;
        while let Some(rest) = input.get(from..) {
            let Some(at) = rest.iter().position(|byte| *byte == b'\r') else {
                return Err(input.len());
            };
            let candidate = rest.get(at..).unwrap_or_default();
            let common = candidate.len().min(self.delimiter.len());
            if candidate.get(..common) == self.delimiter.get(..common) {
                let found = from + at;
                return if common == self.delimiter.len() {
                    Ok(found)
                } else {
                    Err(found)
                };
            }
            from += at + 1;
        }
        Err(input.len())
    }
}

/// Reads a part's head, without the empty line.
fn part(head: &[u8]) -> Result<Part, Malformed> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let disposition = lines.find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let wanted = name
            .trim_ascii()
            .eq_ignore_ascii_case(b"content-disposition");
        wanted.then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    let disposition = disposition.ok_or(Malformed::Disposition)?;
    let (kind, parameters) = match disposition.iter().position(|byte| *byte == b';') {
        Some(at) => disposition.split_at(at),
        None => (disposition, &[][..]),
    };
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err(Malformed::Disposition);
    }
    let text = |name: &[u8]| match parameter(parameters, name)? {
        // RFC 7578 §4.2 and HTML: a quote in a name is written %22.
        Some(value) => String::from_utf8(value)
            .map(|text| Some(text.replace("%22", "\"")))
            .map_err(|_| Malformed::Disposition),
        None => Ok(None),
    };
    Ok(Part {
        name: text(b"name")?.unwrap_or_default(),
        filename: text(b"filename")?,
    })
}

/// The value of a parameter in `; name=value; name="value"`. One that is there twice is an error.
fn parameter(parameters: &[u8], wanted: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut found = None;
    let mut rest = parameters;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Ok(found),
            [b';', after @ ..] => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let equals = rest.iter().position(|byte| matches!(byte, b'=' | b';'));
        let (name, after) = rest.split_at(equals.unwrap_or(rest.len()));
        let [b'=', after @ ..] = after else {
            rest = after;
            continue;
        };
        let (value, after) = match after.trim_ascii_start() {
            [b'"', quoted @ ..] => unquote(quoted).ok_or(Malformed::Disposition)?,
            plain => {
                let end = plain.iter().position(|byte| *byte == b';');
                let (value, after) = plain.split_at(end.unwrap_or(plain.len()));
                (value.trim_ascii_end().to_vec(), after)
            }
        };
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(wanted) && found.replace(value).is_some() {
            return Err(Malformed::Disposition);
        }
        rest = after;
    }
}

/// What stands before the closing quote, and what follows it. A backslash is one, unless a quote or
/// another one follows it: some senders write paths so.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', byte @ (b'"' | b'\\'), after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=--x";

    /// Everything that a form says, with its input cut into pieces of `size`.
    fn parse(form: &[u8], size: usize) -> Result<Vec<(Part, Vec<u8>)>, Option<Malformed>> {
        let mut parser = Parser::new(TYPE).unwrap();
        let (mut parts, mut held) = (Vec::new(), Vec::new());
        let mut pieces = form.chunks(size);
        loop {
            let (taken, event) = parser.next(&held).map_err(Some)?;
            let data: Vec<u8> = held.drain(..taken).collect();
            match event {
                Event::More => {
                    assert!(
                        held.len() <= MAX_HEAD + size,
                        "{} bytes are held",
                        held.len()
                    );
                    held.extend_from_slice(pieces.next().ok_or(None)?);
                }
                Event::Skip | Event::End => {}
                Event::Begin(part) => parts.push((part, Vec::new())),
                Event::Data => {
                    assert!(!data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::Finish => return Ok(parts),
            }
        }
    }

    /// A field's name, its file's name and what it carries.
    type Field<'a> = (&'a str, Option<&'a str>, &'a str);

    fn check(form: &str, expected: Result<&[Field<'_>], Option<Malformed>>) {
        let expected: Result<Vec<_>, _> = expected.map(|parts| {
            let parts = parts.iter().map(|(name, filename, data)| {
                let name = (*name).to_owned();
                let filename = filename.map(str::to_owned);
                (Part { name, filename }, data.as_bytes().to_vec())
            });
            parts.collect()
        });
        for size in 1..=form.len().max(1) {
            assert_eq!(parse(form.as_bytes(), size), expected, "{form:?} in {size}");
        }
    }

    #[test]
    fn parts_are_told_apart_however_the_input_is_cut() {
        let head = "content-disposition: form-data; name=\"a\"; filename=\"f.txt\"\r\n\r\n";
        let one = format!("----x\r\n{head}data\r\n----x--\r\n");
        check(&one, Ok(&[("a", Some("f.txt"), "data")]));
        let two = format!(
            "----x\r\nContent-Type: a/b\r\nContent-Disposition: FORM-DATA;name=b\r\n\r\n\r\n----x \t\r\n\
             {head}\r\n----\r\n\r\r\n--x\r\n----x--and so on"
        );
        check(
            &two,
            Ok(&[
                ("b", None, ""),
                ("a", Some("f.txt"), "\r\n----\r\n\r\r\n--x"),
            ]),
        );
        let preamble = format!("some words\r\n----x\r\n{head}1\r\n----x--");
        check(&preamble, Ok(&[("a", Some("f.txt"), "1")]));
        check("----x--", Ok(&[]));
        check("\r\n----x--", Ok(&[]));
    }

    #[test]
    fn what_is_cut_short_is_incomplete() {
        let form = "----x\r\ncontent-disposition: form-data; name=a\r\n\r\ndata\r\n----x--";
        for length in 0..form.len() {
            check(&form[..length], Err(None));
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let malformed = |form: &str, why| check(form, Err(Some(why)));
        malformed("----xy\r\n", Malformed::Boundary);
        malformed("----x-y", Malformed::Boundary);
        malformed("----x\r\n\r\ndata", Malformed::Disposition);
        malformed("----x\r\na: b\r\n\r\n", Malformed::Disposition);
        malformed(
            "----x\r\ncontent-disposition: attachment\r\n\r\n",
            Malformed::Disposition,
        );
        for parameters in ["name=\"a", "filename=a; filename=b", "name=a; NAME=b"] {
            let form = format!("----x\r\ncontent-disposition: form-data; {parameters}\r\n\r\n");
            malformed(&form, Malformed::Disposition);
        }
        let long = format!("----x\r\na: {}", "b".repeat(MAX_HEAD));
        assert_eq!(
            parse(long.as_bytes(), 1000),
            Err(Some(Malformed::HeadTooLong))
        );
    }

    #[test]
    fn names_are_taken_as_their_senders_write_them() {
        let name = |parameters: &str| {
            let form =
                format!("----x\r\ncontent-disposition: form-data{parameters}\r\n\r\n\r\n----x--");
            let parts = parse(form.as_bytes(), 7).unwrap();
            parts[0]
                .0
                .filename
                .clone()
                .unwrap_or_else(|| "none".to_owned())
        };
        assert_eq!(name("; filename=a.txt"), "a.txt");
        assert_eq!(name("; filename=\"a; b=c.txt\"; name=x"), "a; b=c.txt");
        assert_eq!(name("; filename=\"a\\\"b\""), "a\"b");
        assert_eq!(name("; filename=\"a%22b\""), "a\"b");
        assert_eq!(name("; filename=\"C:\\dir\\a\""), "C:\\dir\\a");
        assert_eq!(name("; filename=\"\u{e4}\""), "\u{e4}");
        assert_eq!(name("; filename*=utf-8''a"), "none");
        assert_eq!(name("; ; name ; x=y"), "none");
    }

    #[test]
    fn the_boundary_is_the_one_that_the_type_names() {
        let fits = |content_type: &str| Parser::new(content_type.as_bytes()).is_some();
        for form in [
            "multipart/form-data; boundary=a",
            "Multipart/Form-Data;charset=x; Boundary=\"a b\"",
        ] {
            assert!(fits(form), "{form}");
        }
        for other in [
            "",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "text/plain; boundary=a",
            "multipart/mixed; boundary=a",
            "multipart/form-data; boundary=\"a\r\nb\"",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=a; boundary=b",
        ] {
            assert!(!fits(other), "{other}");
        }
        assert!(fits(&format!(
            "multipart/form-data; boundary={}",
            "a".repeat(70)
        )));
        assert!(!fits(&format!(
            "multipart/form-data; boundary={}",
            "a".repeat(71)
        )));
    }
}
