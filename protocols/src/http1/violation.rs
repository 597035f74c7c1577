//! What can be wrong with a request's bytes, and what the peer is told.

/// A rule of HTTP/1.1, or a limit, that a request breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A request line that is not method, target and version with one space between (RFC 9112 §3).
    RequestLine,
    /// A first line of three words of which none could be HTTP/1.1's: perhaps another protocol's.
    NotHttp,
    /// A line that does not end in CR LF, or a CR elsewhere (RFC 9112 §2.2).
    LineEnd,
    /// A method longer than any that is known here.
    MethodTooLong,
    /// A target in no form that its method may have, or with bytes that no URI has (§3.2).
    Target,
    /// A target over the limit.
    TargetTooLong,
    /// Another version of HTTP.
    Version,
    /// A field's name is no token, or there is a space behind it (§5.1).
    FieldName,
    /// A field's value has a control character (RFC 9110 §5.5).
    FieldValue,
    /// A field that goes on in the next line (§5.2).
    Folded,
    /// A field over the limit.
    FieldTooLarge,
    /// More fields than there may be.
    TooManyFields,
    /// A head over the limit.
    HeadTooLarge,
    /// A content length that is not one number (§6.3).
    ContentLength,
    /// A content length and a transfer coding (§6.3).
    TwoLengths,
    /// A transfer coding that does not end in `chunked`, or over HTTP/1.0 (§6.1).
    TransferCoding,
    /// A transfer coding besides `chunked`.
    UnknownCoding,
    /// A chunk's size or extensions (§7.1).
    Chunk,
    /// A trailer section that is malformed or over the limit of a head.
    Trailer,
}

impl Violation {
    /// The status that answers it.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields => 431,
            Self::MethodTooLong | Self::UnknownCoding => 501,
            Self::Version => 505,
            Self::RequestLine
            | Self::NotHttp
            | Self::LineEnd
            | Self::Target
            | Self::FieldName
            | Self::FieldValue
            | Self::Folded
            | Self::ContentLength
            | Self::TwoLengths
            | Self::TransferCoding
            | Self::Chunk
            | Self::Trailer => 400,
        }
    }

    /// For the peer: what is wrong.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is not method, target and version",
            Self::NotHttp => "the first line is not one of HTTP",
            Self::LineEnd => "a line does not end in CR LF",
            Self::MethodTooLong => "the method is too long",
            Self::Target => "the target is not a valid one for the method",
            Self::TargetTooLong => "the target is too long",
            Self::Version => "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here",
            Self::FieldName => "a field's name is not a token that a colon follows",
            Self::FieldValue => "a field's value has a control character",
            Self::Folded => "a field goes on in the next line",
            Self::FieldTooLarge => "a field is too large",
            Self::TooManyFields => "there are too many fields",
            Self::HeadTooLarge => "the head is too large",
            Self::ContentLength => "the content length is not one number",
            Self::TwoLengths => "there are both a content length and a transfer coding",
            Self::TransferCoding => "the transfer coding is not just \"chunked\" over HTTP/1.1",
            Self::UnknownCoding => "no transfer coding is known besides \"chunked\"",
            Self::Chunk => "a chunk is malformed",
            Self::Trailer => "the trailer section is malformed or too large",
        }
    }
}
