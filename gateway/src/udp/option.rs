//! Options of a socket that cost time for each datagram and tell us nothing: switched off.
//!
//! quinn-udp asks for the time at which a datagram came and the address that it came to; both are
//! messages that the kernel writes beside every datagram.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has the kernel not say when datagrams came and, where only one address is listened on, not to
/// which.
pub(super) fn say_less(socket: impl AsFd, is_ipv4: bool, bound_to_one: bool) -> io::Result<()> {
    switch_off(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    if !bound_to_one {
        return Ok(());
    }
    if is_ipv4 {
        switch_off(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        switch_off(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    }
}

#[allow(
    unsafe_code,
    reason = "the C library's own call: no wrapper that we have knows these options"
)]
fn switch_off(socket: &impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of_val(&off)).unwrap_or_default();
    let socket = socket.as_fd();
    // SAFETY: the descriptor is open for as long as it is borrowed; `off` is an `int`, as all of these
    // options take, lives during the call and is `length` bytes long; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const off).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
