//! Bytes as they are, for what no proper client sends.

use std::fmt;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Socket;
use crate::patience::within;

/// A connection of which the test writes every byte.
pub struct Raw {
    socket: Socket,
    buffer: BytesMut,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

impl Raw {
    /// On a connection of the test's own making.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
        }
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("the gateway reads");
    }

    /// Writes bytes to a peer that may have hung up.
    ///
    /// # Errors
    ///
    /// When it has.
    pub async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within("a write", async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        })
        .await
    }

    /// The connection itself; nothing may have been read that was not asked for.
    pub fn into_socket(self) -> Socket {
        assert!(self.buffer.is_empty(), "{:?} would be lost", self.buffer);
        self.socket
    }

    /// Closes the writing side.
    pub async fn shutdown(&mut self) {
        within("a shutdown", self.socket.shutdown())
            .await
            .expect("it is open");
    }

    /// Reads exactly so many bytes.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        within("bytes", async {
            while self.buffer.len() < count {
                let read = self.socket.read_buf(&mut self.buffer).await;
                let read = read.expect("the connection is open");
                assert!(read > 0, "closed after {:?}", self.buffer);
            }
        })
        .await;
        self.buffer.split_to(count).to_vec()
    }

    /// Reads so many bytes; `None` where the connection ends before, however it does.
    pub async fn try_read(&mut self, count: usize) -> Option<Vec<u8>> {
        let whole = within("bytes, or the connection's end", async {
            while self.buffer.len() < count {
                if !matches!(self.socket.read_buf(&mut self.buffer).await, Ok(1..)) {
                    return false;
                }
            }
            true
        })
        .await;
        whole.then(|| self.buffer.split_to(count).to_vec())
    }

    /// Reads up to the connection's end, however it comes.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        within("the connection's end", async {
            while matches!(self.socket.read_buf(&mut self.buffer).await, Ok(1..)) {}
        })
        .await;
        self.buffer.split().to_vec()
    }

    /// Reads a head of HTTP/1.1, up to its empty line.
    pub async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1).await);
        }
        String::from_utf8(head).expect("UTF-8")
    }

    /// Turns the connection into a WebSocket without extensions.
    pub async fn upgrade(&mut self, path: &str) {
        assert_eq!(self.upgrade_offering(path, &[]).await, None);
    }

    /// Turns the connection into a WebSocket that offers extensions, in a header each; gives what was
    /// agreed.
    pub async fn upgrade_offering(&mut self, path: &str, extensions: &[&str]) -> Option<String> {
        let offers: String = extensions
            .iter()
            .map(|offer| format!("sec-websocket-extensions: {offer}\r\n"))
            .collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\nsec-websocket-version: 13\r\n{offers}\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.write(request.as_bytes()).await;
        let head = self.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // RFC 6455 §1.3's own example.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let agreed = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        agreed.map(str::to_owned)
    }

    /// Reads one frame that is neither fragmented nor compressed: its opcode and payload.
    pub async fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let (first, payload) = self.read_any_frame().await;
        assert_eq!(first & 0xf0, 0x80, "final, no reserved bit");
        (first & 0x0f, payload)
    }

    /// Reads one frame, whatever it is: its first byte and payload.
    pub async fn read_any_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2).await;
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        let length = match head[1] & 0x7f {
            126 => {
                let length = self.read(2).await;
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            127 => {
                let length: [u8; 8] = self.read(8).await.try_into().expect("eight");
                usize::try_from(u64::from_be_bytes(length)).expect("it fits")
            }
            length => usize::from(length),
        };
        (head[0], self.read(length).await)
    }

    /// Reads frames up to a close frame and gives its code and reason; nothing but the connection's
    /// end may follow it once `answer` was sent.
    pub async fn read_close(&mut self) -> (u16, String) {
        loop {
            let (opcode, payload) = self.read_frame().await;
            if opcode == 8 {
                let code = payload.get(..2).expect("a code");
                let code = u16::from_be_bytes([code[0], code[1]]);
                let reason = String::from_utf8(payload[2..].to_vec()).expect("UTF-8");
                // The peer may be gone by now, which is its right.
                drop(self.try_write(&frame(0x88, &code.to_be_bytes())).await);
                assert_eq!(self.read_to_end().await, b"", "after the close frame");
                return (code, reason);
            }
        }
    }
}

/// A frame as a client sends it, masked. `first` is the first byte: final bit, reserved bits, opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("it fits")),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("it fits").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}
