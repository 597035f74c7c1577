//! What the examples share: small clients made of the standard library alone.
//!
//! Each example builds a gateway on free ports of this machine, talks to it as its peers would and
//! checks what it hears; with `--serve` it stays up instead, for you to talk to. The clients here
//! know nothing of Roomwire: whatever `nc` and `curl` can do is all that they do. Every wait has an
//! end, so an example that went wrong fails instead of hanging.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use roomwire::Gateway;

/// What an example's functions return.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A free port of this machine.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The longest that a client here waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the example was asked to stay up.
pub fn asked_to_serve() -> bool {
    std::env::args()
        .skip(1)
        .any(|argument| argument == "--serve")
}

/// Keeps the gateway up until SIGTERM or Ctrl-C, and says where it listens.
///
/// # Errors
///
/// When signals cannot be waited for.
#[allow(
    clippy::print_stdout,
    reason = "this is what the person who serves needs to know"
)]
pub fn serve(gateway: &Gateway) -> Result {
    for bound in gateway.addresses() {
        println!("{:<5} {} ({})", bound.protocol, bound.address, bound.name);
    }
    println!("Ctrl-C ends it");
    gateway.wait()?;
    Ok(())
}

/// A TCP client that says and hears lines, as `nc` does.
#[derive(Debug)]
pub struct LineClient {
    stream: BufReader<TcpStream>,
}

impl LineClient {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one line.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
    }

    /// The next line, without its end; empty once the peer has closed the connection.
    ///
    /// # Errors
    ///
    /// When none comes in [`PATIENCE`].
    pub fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields as they came, one a line.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Asks for `path` with GET.
///
/// # Errors
///
/// When no answer comes, or something that is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    ask(address, "GET", path, "")
}

/// Sends JSON to `path` with POST.
///
/// # Errors
///
/// When no answer comes, or something that is not HTTP.
pub fn post(address: SocketAddr, path: &str, json: &str) -> io::Result<Answer> {
    ask(address, "POST", path, json)
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        head: head.to_owned(),
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        body: body.to_owned(),
    })
}

/// Has the code in README.md compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
