//! The kernel's buffers of a UDP socket: asked for by the configuration, bounded by the system.

use std::fmt;
use std::io;

use rustix::net::sockopt;
use socket2::{Domain, SockRef, Socket, Type};

use crate::config::UdpConfig;

/// What the kernel gave, in bytes as it counts them: bookkeeping included, twice what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelBuffers {
    receive: usize,
    send: usize,
    /// It is less than what was asked for.
    short: bool,
}

impl KernelBuffers {
    /// Sets the buffers of `socket` as near to what is configured as the kernel allows.
    ///
    /// # Errors
    ///
    /// When the socket does not say what it has.
    pub(crate) fn set(socket: SockRef<'_>, config: &UdpConfig) -> io::Result<Self> {
        let (receive, send) = (config.receive_buffer, config.send_buffer);
        let (receive, send) = (receive.as_usize(), send.as_usize());
        // Only root may exceed `net.core.rmem_max`, and everybody else's wish is cut to it silently.
        if sockopt::set_socket_recv_buffer_size_force(&*socket, receive).is_err() {
            socket.set_recv_buffer_size(receive)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&*socket, send).is_err() {
            socket.set_send_buffer_size(send)?;
        }
        let given = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
        Ok(Self {
            receive: given.0,
            send: given.1,
            short: given.0 < 2 * receive || given.1 < 2 * send,
        })
    }

    /// What a socket with this configuration would get here.
    ///
    /// # Errors
    ///
    /// When no socket can be made.
    pub(crate) fn tried(config: &UdpConfig) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        Self::set(SockRef::from(&socket), config)
    }
}

impl fmt::Display for KernelBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receive, send, .. } = self;
        write!(f, "receive {receive} B, send {send} B")?;
        if self.short {
            f.write_str(" (less than asked for: net.core.rmem_max and net.core.wmem_max)")?;
        }
        Ok(())
    }
}
