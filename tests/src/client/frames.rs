//! HTTP/2 frame by frame, for what no proper client sends.

use super::{Raw, Socket};

/// A frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RFC 9113 §6.
    pub kind: u8,
    /// What they mean depends on the type.
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame to send.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("it fits");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == 7 { 4 } else { 0 };
        let code = self.payload.get(at..at + 4).expect("a code");
        u32::from_be_bytes(code.try_into().expect("four bytes"))
    }
}

/// A connection of HTTP/2 of which the test writes every frame.
#[derive(Debug)]
pub struct Frames {
    raw: Raw,
}

impl Frames {
    /// Says the preface and SETTINGS with `settings` in it, takes the gateway's and acknowledges them.
    pub async fn open(socket: Socket, settings: &[u8]) -> Self {
        let mut raw = Raw::new(socket);
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.write(&Frame::new(4, 0, 0, settings).bytes()).await;
        let mut frames = Self { raw };
        let first = frames.next().await.expect("SETTINGS");
        assert_eq!((first.kind, first.flags), (4, 0), "the gateway's preface");
        frames.write(&Frame::new(4, 1, 0, &[]).bytes()).await;
        while frames.next().await.expect("an answer").flags != 1 {}
        frames
    }

    /// Writes bytes to a peer that may have hung up.
    pub async fn write(&mut self, bytes: &[u8]) {
        drop(self.raw.try_write(bytes).await);
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let header = self.raw.try_read(9).await?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let length = usize::try_from(length).expect("it fits");
        let stream: [u8; 4] = header[5..9].try_into().expect("four bytes");
        Some(Frame {
            kind: header[3],
            flags: header[4],
            stream: u32::from_be_bytes(stream),
            payload: self.raw.try_read(length).await?,
        })
    }
}

/// A header field as HPACK writes it without tables or Huffman's code (RFC 7541 §6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("a short text");
    assert!(name.len() < 127 && value.len() < 127, "one byte of length");
    let mut field = vec![0, length(name)];
    field.extend(name.as_bytes());
    field.push(length(value));
    field.extend(value.as_bytes());
    field
}
