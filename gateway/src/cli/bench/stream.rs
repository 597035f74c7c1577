//! A socket that never blocks, with or without TLS.
//!
//! The difference that matters above: on a plain socket a read that does not fill the buffer has
//! taken all there was (epoll(7)), which saves a system call for each event; TLS must be asked until
//! it has no more.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// This many bytes; `drained` when there is surely nothing behind them.
    Bytes { count: usize, drained: bool },
    /// The peer has closed.
    End,
    /// Nothing for now.
    Nothing,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(super) struct Tls {
    socket: TcpStream,
    session: ClientConnection,
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }

    pub(super) fn tls(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let mut session = ClientConnection::new(config, name)?;
        // What a load keeps in flight bounds what is written.
        session.set_buffer_limit(None);
        Ok(Self::Tls(Box::new(Tls { socket, session })))
    }

    /// What became of a connect that was begun.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Plain(socket) => socket.take_error(),
            Self::Tls(tls) => tls.socket.take_error(),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            Self::Plain(socket) => match retry(|| socket.read(buffer)) {
                Ok(0) => Ok(Got::End),
                Ok(count) => Ok(Got::Bytes {
                    count,
                    drained: count < buffer.len(),
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Nothing),
                Err(error) => Err(error),
            },
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes as much as is taken and tells how much that was. TLS takes all of it and keeps what
    /// the socket does not.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => {
                let mut done = 0;
                while let Some(rest @ [_, ..]) = bytes.get(done..) {
                    match retry(|| socket.write(rest)) {
                        Ok(count) => done += count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            }
            Self::Tls(tls) => {
                tls.session.writer().write_all(bytes)?;
                tls.flush()?;
                Ok(bytes.len())
            }
        }
    }

    /// Whether the TLS handshake is over; there may be none.
    pub(super) fn is_shaken(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => !tls.session.is_handshaking(),
        }
    }

    /// Says that nothing more is sent.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                tls.session.send_close_notify();
                tls.flush()?;
                tls.socket.shutdown(Shutdown::Write)
            }
        }
    }

    /// Goes on with what TLS has kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(tls) => tls.socket.as_fd(),
        }
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        loop {
            match self.session.reader().read(buffer) {
                Ok(0) => return Ok(Got::End),
                Ok(count) => {
                    let drained = false;
                    return Ok(Got::Bytes { count, drained });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A server that closes without close_notify; frames tell where messages end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Got::End),
                Err(error) => return Err(error),
            }
            match retry(|| self.session.read_tls(&mut self.socket)) {
                Ok(0) => return Ok(Got::End),
                Ok(_) => {
                    self.session
                        .process_new_packets()
                        .map_err(io::Error::other)?;
                    self.flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Got::Nothing),
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match retry(|| self.session.write_tls(&mut self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
