//! One request's head: where it ends, whether every byte of it is as RFC 9112 writes it, and how its
//! body is framed. A head is judged when it is whole; before that only what cannot become one.

use super::violation::Violation;
use super::{is_host, is_token_byte};

/// What a head may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head, with its last empty line.
    pub max_head: usize,
    /// Bytes of a target.
    pub max_target: usize,
    /// Bytes of one field's line.
    pub max_field: usize,
    /// Fields.
    pub max_fields: usize,
}

/// The longest method, in bytes. Chosen: `UPDATEREDIRECTREF`, the longest that is registered, has 17.
const MAX_METHOD: usize = 32;

/// Empty lines before a request line that are passed over, in bytes (RFC 9112 §2.2).
const MAX_LEADING: usize = 8;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A head that is whole and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Where what follows begins.
    pub(super) end: usize,
    pub(super) framing: Framing,
    /// The peer wants to speak WebSocket behind it.
    pub(super) websocket: bool,
    /// Where its request line begins: behind empty lines.
    start: usize,
    line: Line,
    /// It asks for nothing of its connection: no upgrade, no end, no interim answer.
    ordinary: bool,
}

/// What a request line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    /// Their lengths.
    method: usize,
    target: usize,
    version11: bool,
}

/// A request that is all there: a head of HTTP/1.1 that is whole, with nothing behind it, in the form
/// that clients use for servers, and asking nothing of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The target, which begins with a slash.
    pub target: &'a [u8],
    /// Where what follows begins.
    pub end: usize,
    fields: &'a [u8],
}

impl<'a> Plain<'a> {
    /// The request at the beginning of `bytes`. `None` is no judgement: the head may be unfinished,
    /// have a body, or be one to refuse; an [`Inspector`](super::Inspector) says which.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Option<Self> {
        let head = inspect(bytes, 0, limits).ok().flatten()?;
        let plain = head.ordinary
            && head.line.version11
            && head.framing == Framing::Length(0)
            && head.start == 0;
        if !plain {
            return None;
        }
        let (method, rest) = bytes.get(..head.end)?.split_at_checked(head.line.method)?;
        let (target, rest) = rest.get(1..)?.split_at_checked(head.line.target)?;
        Some(Self {
            method,
            target: Some(target).filter(|target| target.starts_with(b"/"))?,
            end: head.end,
            fields: rest.strip_prefix(b" HTTP/1.1\r\n")?,
        })
    }

    /// Names and values, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let lines = self.fields.split(|byte| *byte == b'\n').map(without_cr);
        lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| field(line).ok())
    }
}

/// Looks for a head at the beginning of `bytes`, of which the first `searched` hold no end of one;
/// `None` where it is not whole.
pub(super) fn inspect(
    bytes: &[u8],
    searched: usize,
    limits: &Limits,
) -> Result<Option<Head>, Violation> {
    let start = leading(bytes)?;
    let bytes = bytes.get(start..).unwrap_or_default();
    let from = searched.saturating_sub(start);
    let Some(end) = find_end(bytes, from)? else {
        unfinished(bytes, limits)?;
        return Ok(None);
    };
    if end > limits.max_head {
        // Of a long target it is said which part was too long.
        unfinished(bytes, limits)?;
    }
    let head = bytes.get(..end).unwrap_or_default();
    let mut lines = head.split(|byte| *byte == b'\n').map(without_cr);
    let line = request_line(lines.next().unwrap_or_default(), limits)?;
    let mut fields = Fields::default();
    for (count, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if count >= limits.max_fields {
            return Err(Violation::TooManyFields);
        }
        if line.len() > limits.max_field {
            return Err(Violation::FieldTooLarge);
        }
        fields.add(line)?;
    }
    Ok(Some(Head {
        end: start + end,
        framing: fields.framing(line.version11)?,
        websocket: fields.websocket,
        start,
        line,
        ordinary: !fields.asks_of_connection,
    }))
}

/// The length of the empty lines before a request line.
fn leading(bytes: &[u8]) -> Result<usize, Violation> {
    let mut at = 0;
    while bytes
        .get(at..)
        .is_some_and(|rest| rest.starts_with(b"\r\n"))
    {
        at += 2;
        if at > MAX_LEADING {
            return Err(Violation::RequestLine);
        }
    }
    Ok(at)
}

/// Where the head's empty line ends; the bytes before `from` were searched before.
fn find_end(bytes: &[u8], from: usize) -> Result<Option<usize>, Violation> {
    let mut line = bytes
        .get(..from)
        .and_then(|searched| searched.iter().rposition(|byte| *byte == b'\n'))
        .map_or(0, |at| at + 1);
    let mut at = from;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
    {
        let feed = at + found;
        match bytes.get(line..feed) {
            Some([.., b'\r']) => {}
            _ => return Err(Violation::LineEnd),
        }
        if feed - line == 1 && line > 0 {
            return Ok(Some(feed + 1));
        }
        at = feed + 1;
        line = at;
    }
    Ok(None)
}

/// Refuses what can no more become a head within the limits.
fn unfinished(bytes: &[u8], limits: &Limits) -> Result<(), Violation> {
    // A lone CR is where an empty line may begin.
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    method(bytes)?;
    let line = bytes.iter().position(|byte| *byte == b'\n');
    let line = bytes.get(..line.unwrap_or(bytes.len())).unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1);
    if target.is_some_and(|target| target.len() > limits.max_target) {
        return Err(Violation::TargetTooLong);
    }
    if bytes.len() > limits.max_head {
        return Err(Violation::HeadTooLarge);
    }
    Ok(())
}

/// The method of what may be cut off anywhere.
fn method(bytes: &[u8]) -> Result<&[u8], Violation> {
    let end = bytes.iter().position(|byte| !is_token_byte(*byte));
    let method = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let followed = end.and_then(|end| bytes.get(end));
    match followed {
        Some(b' ') if !method.is_empty() && method.len() <= MAX_METHOD => Ok(method),
        None if method.len() <= MAX_METHOD => Ok(method),
        Some(b' ') | None if !method.is_empty() => Err(Violation::MethodTooLong),
        _ => Err(Violation::RequestLine),
    }
}

fn request_line(line: &[u8], limits: &Limits) -> Result<Line, Violation> {
    let method = method(line)?;
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let (Some(target), Some(version), None) = (words.next(), words.next(), words.next()) else {
        return Err(Violation::RequestLine);
    };
    if target.len() > limits.max_target {
        return Err(Violation::TargetTooLong);
    }
    if !is_target(method, target) {
        let http = version.starts_with(b"HTTP/");
        return Err(if http {
            Violation::Target
        } else {
            Violation::NotHttp
        });
    }
    let read = |version11| Line {
        method: method.len(),
        target: target.len(),
        version11,
    };
    match version {
        b"HTTP/1.1" => Ok(read(true)),
        b"HTTP/1.0" => Ok(read(false)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Violation::Version)
        }
        _ => Err(Violation::RequestLine),
    }
}

/// RFC 9112 §3.2: which form a method's target may have.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if method == b"CONNECT" {
        // The port is needed (§3.2.3), and there is no other form.
        let port = target.iter().rposition(|byte| *byte == b':');
        let digit = port.and_then(|at| target.get(at + 1));
        return is_host(target) && digit.is_some_and(u8::is_ascii_digit);
    }
    match target {
        b"*" => method == b"OPTIONS",
        [b'/', ..] => target.iter().all(|byte| is_uri_byte(*byte)),
        _ => {
            let Some(rest) = after_scheme(target) else {
                return false;
            };
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
            let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
            is_host(authority) && path.iter().all(|byte| is_uri_byte(*byte))
        }
    }
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = target.split_at(colon);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    rest.strip_prefix(b"://").filter(|_| known)
}

/// What a path or a query is made of: what RFC 3986 has, and those that browsers send as they are
/// although it has them encoded (`[]\^{|}`, by the WHATWG's URL standard).
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`')
}

/// What was read of a head's fields.
#[derive(Debug, Default)]
struct Fields {
    length: Option<u64>,
    coding: Option<Coding>,
    websocket: bool,
    asks_of_connection: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Others, and at last `chunked`.
    Unknown,
    Malformed,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Violation> {
        let (name, value) = field(line)?;
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_length(value).filter(|_| self.length.is_none());
                self.length = Some(length.ok_or(Violation::ContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let coding = match self.coding {
                    None => coding(value),
                    Some(_) => Coding::Malformed,
                };
                self.coding = Some(coding);
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= wants_websocket(value);
                self.asks_of_connection = true;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.asks_of_connection = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.asks_of_connection |= !value.eq_ignore_ascii_case(b"keep-alive");
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 §6.3.
    fn framing(&self, version11: bool) -> Result<Framing, Violation> {
        let Some(coding) = self.coding else {
            return Ok(Framing::Length(self.length.unwrap_or(0)));
        };
        if self.length.is_some() {
            return Err(Violation::TwoLengths);
        }
        match coding {
            Coding::Chunked if version11 => Ok(Framing::Chunked),
            Coding::Unknown if version11 => Err(Violation::UnknownCoding),
            Coding::Chunked | Coding::Unknown | Coding::Malformed => Err(Violation::TransferCoding),
        }
    }
}

/// A field's name and its value without the whitespace around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Violation::Folded);
    }
    let name = line.iter().position(|byte| !is_token_byte(*byte));
    let (name, rest) = line.split_at(name.unwrap_or(line.len()));
    let value = rest.strip_prefix(b":").filter(|_| !name.is_empty());
    let value = value.ok_or(Violation::FieldName)?;
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    match value.iter().find(|byte| control(byte)) {
        None => Ok((name, value.trim_ascii())),
        Some(b'\r') => Err(Violation::LineEnd),
        Some(_) => Err(Violation::FieldValue),
    }
}

/// `1*DIGIT`, of which no more is taken than a file can have.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse::<u64>().ok().filter(|it| *it <= i64::MAX as u64)
}

fn coding(value: &[u8]) -> Coding {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let is_chunked = |item: &[u8]| item.eq_ignore_ascii_case(b"chunked");
    let chunked = items(value).filter(|it| is_chunked(it)).count();
    if chunked == 1 && items(value).last().is_some_and(is_chunked) {
        Coding::Unknown
    } else {
        Coding::Malformed
    }
}

/// Whether an `Upgrade` field asks for WebSocket: then what follows the head may be no HTTP.
pub fn wants_websocket(value: &[u8]) -> bool {
    items(value).any(|item| item.eq_ignore_ascii_case(b"websocket"))
}

fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    items.filter(|item| !item.is_empty())
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
