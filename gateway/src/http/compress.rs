//! Answers in a coding that their client takes.
//!
//! A compressor works on the worker's own thread, a piece at a time, so that a large answer lets others
//! have their turn; its memory is why so many may be at work at once and no more. What is over that is
//! sent as it is, which is always right.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::Body;
use roomwire_metrics::Id;
use roomwire_protocols::content::{Coding, choose, is_compressible};

use super::body::ResponseBody;
use super::connection::Connection;
use super::problem::Answer;

/// Those first that are meant to cost the server least, where the client wants none more than another.
const PREFERRED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// Bytes compressed in one go. Chosen: small enough that the worker's other tasks have their turn.
const PIECE: usize = 16 * 1024;

/// Compressors at work on one worker. Chosen: some 64 MiB, taking each for a megabyte.
const MAX_AT_WORK: usize = 64;

/// Low levels, because answers are compressed as they are sent. Brotli's window is 2^18 bytes.
const ZSTD_LEVEL: i32 = 1;
const BROTLI_LEVEL: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const GZIP_LEVEL: u32 = 5;

thread_local! {
    static AT_WORK: Cell<usize> = const { Cell::new(0) };
}

/// Compresses an answer where it is worth it and its client takes it. `accepted` is the request's
/// `Accept-Encoding`.
pub(super) fn compress(
    connection: &Connection,
    answer: &mut Answer,
    accepted: Option<&HeaderValue>,
) {
    let config = &connection.worker.shared.config.http;
    let trailed = matches!(answer.body(), ResponseBody::Trailed(_));
    if trailed || !config.compression || !may_be_compressed(answer) {
        return;
    }
    // Whether it was compressed or not, it depends on what the client takes.
    vary(answer.headers_mut(), "accept-encoding");
    let coding = accepted.and_then(|accepted| choose(accepted.as_bytes(), &PREFERRED));
    let Some(coding) = coding else {
        return;
    };
    let length = answer.body().size_hint().exact();
    if length.is_some_and(|length| length < config.compress_from.get().max(1)) {
        return;
    }
    let body = std::mem::replace(answer.body_mut(), ResponseBody::Unsaid);
    let (body, compressed) = match body {
        ResponseBody::Whole(whole) if whole.len() <= PIECE => at_once(whole, coding),
        body => match Compressed::begin(body, coding) {
            Ok(compressed) => (ResponseBody::Compressed(Box::new(compressed)), true),
            Err(body) => {
                connection.worker.count(Id::CompressionsSkipped);
                (body, false)
            }
        },
    };
    *answer.body_mut() = body;
    if compressed {
        connection.worker.count(Id::Compressions);
        let headers = answer.headers_mut();
        let coding = HeaderValue::from_static(coding.as_str());
        headers.insert(header::CONTENT_ENCODING, coding);
        // Ranges are of what is sent, and nobody could ask for one of these again.
        headers.remove(header::ACCEPT_RANGES);
        headers.remove(header::CONTENT_LENGTH);
        weaken(headers);
    }
}

fn may_be_compressed(answer: &Answer) -> bool {
    let headers = answer.headers();
    let media_type = headers.get(header::CONTENT_TYPE);
    let cache = headers.get(header::CACHE_CONTROL);
    let fixed = cache.is_some_and(|it| it.as_bytes().windows(12).any(|it| it == b"no-transform"));
    let partial = matches!(
        answer.status(),
        StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
    );
    !fixed
        && !partial
        && !headers.contains_key(header::CONTENT_ENCODING)
        && media_type.is_some_and(|it| is_compressible(it.as_bytes()))
}

/// Adds a word to `Vary`, which other parts of an answer may have set.
pub(super) fn vary(headers: &mut HeaderMap, word: &'static str) {
    let known = headers.get_all(header::VARY).iter();
    let mut known = known.flat_map(|it| it.as_bytes().split(|byte| *byte == b','));
    if !known.any(|it| it.trim_ascii().eq_ignore_ascii_case(word.as_bytes())) {
        headers.append(header::VARY, HeaderValue::from_static(word));
    }
}

/// RFC 9110 §8.8.3: what is not the same byte for byte has no strong tag in common.
fn weaken(headers: &mut HeaderMap) {
    let strong = headers
        .get(header::ETAG)
        .filter(|it| it.as_bytes().starts_with(b"\""));
    let weak = strong.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

/// A short answer, whose length is told then.
fn at_once(whole: Bytes, coding: Coding) -> (ResponseBody, bool) {
    let compressed = Encoder::new(coding).and_then(|mut encoder| {
        encoder.write(&whole)?;
        encoder.finish()
    });
    match compressed {
        Ok(smaller) if smaller.len() < whole.len() => (ResponseBody::Whole(smaller), true),
        _ => (ResponseBody::Whole(whole), false),
    }
}

/// A body on its way through a compressor.
pub(crate) struct Compressed {
    inner: ResponseBody,
    encoder: Option<Encoder>,
    /// Taken from the inner body, and not given to the compressor yet.
    input: Bytes,
    _place: Place,
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Compressed");
        shown.field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// One of the compressors that may be at work.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        AT_WORK.with(|at_work| at_work.set(at_work.get().saturating_sub(1)));
    }
}

impl Compressed {
    /// The body, where there is a place; else as it was.
    fn begin(body: ResponseBody, coding: Coding) -> Result<Self, ResponseBody> {
        if AT_WORK.get() >= MAX_AT_WORK {
            return Err(body);
        }
        let Ok(encoder) = Encoder::new(coding) else {
            return Err(body);
        };
        AT_WORK.set(AT_WORK.get() + 1);
        Ok(Self {
            inner: body,
            encoder: Some(encoder),
            input: Bytes::new(),
            _place: Place,
        })
    }

    /// Whether all was given out.
    pub(crate) fn is_over(&self) -> bool {
        self.encoder.is_none()
    }

    /// The next piece, once a compressor gives one out.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(encoder) = &mut self.encoder else {
            return Poll::Ready(None);
        };
        let mut ended = false;
        if self.input.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => self.input = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => ended = true,
            }
        }
        let output = if ended {
            let finished = self.encoder.take().map(Encoder::finish);
            finished.unwrap_or_else(|| Ok(Bytes::new()))
        } else {
            let piece = self.input.split_to(self.input.len().min(PIECE));
            encoder.write(&piece).map(|()| encoder.take())
        };
        match output {
            // Others have their turn before the next piece.
            Ok(output) if output.is_empty() && !ended => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            output => Poll::Ready(Some(output)),
        }
    }
}

/// A compressor that writes into memory.
enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                4096,
                BROTLI_LEVEL,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                Self::Zstd(Box::new(encoder))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(Box::new(GzEncoder::new(Vec::new(), level)))
            }
        })
    }

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.write_all(input),
            Self::Zstd(encoder) => encoder.write_all(input),
            Self::Gzip(encoder) => encoder.write_all(input),
        }
    }

    /// What came out so far.
    fn take(&mut self) -> Bytes {
        let output = match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        std::mem::take(output).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn plain(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut plain),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        }
        .unwrap();
        plain
    }

    #[tokio::test]
    async fn what_comes_out_is_what_went_in() {
        let text = "all of this is said again and again. ".repeat(10_000);
        for coding in Coding::ALL {
            let body = ResponseBody::Whole(text.clone().into());
            let compressed = Compressed::begin(body, coding).unwrap();
            let body = ResponseBody::Compressed(Box::new(compressed));
            let whole = body.collect().await.unwrap().to_bytes();
            assert!(whole.len() < text.len() / 50, "{coding:?}: {}", whole.len());
            assert!(plain(coding, &whole) == text.as_bytes(), "{coding:?}");
        }
    }

    #[test]
    fn what_would_not_become_smaller_stays_as_it_is() {
        for coding in Coding::ALL {
            let (body, compressed) = at_once(Bytes::from_static(b"x"), coding);
            assert!(!compressed);
            assert!(matches!(body, ResponseBody::Whole(whole) if whole == "x"));
        }
    }

    #[test]
    fn only_so_many_compressors_are_at_work() {
        let begin = || Compressed::begin(ResponseBody::empty(), Coding::Gzip);
        let mut at_work: Vec<_> = (0..MAX_AT_WORK).map(|_| begin().unwrap()).collect();
        assert!(begin().is_err());
        at_work.pop();
        assert!(begin().is_ok());
    }
}
