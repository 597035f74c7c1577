//! Binding: one socket per worker and listener, with errors that name the listener.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use roomwire_certs::TlsHandle;
use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::{Handler, ListenerConfig, Protocol};
use crate::event::BoundAddress;
use crate::udp::KernelBuffers;

/// Questions that the kernel asks a silent peer before it gives up. Chosen: a path that loses every
/// second packet still answers one of so many with 98 %.
const KEEPALIVE_QUESTIONS: u32 = 6;

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program, or another gateway, listens there.
    #[error(
        "{address} is in use: listener `{listener}` ({protocol}) cannot be bound there; \
         stop what listens on port {port}, or set ROOMWIRE_LISTENER_{variable}_BIND",
        port = address.port(),
        variable = listener.to_ascii_uppercase().replace('-', "_")
    )]
    InUse {
        /// The listener's name.
        listener: String,
        /// `tcp`, `udp`, `http` or `https`.
        protocol: &'static str,
        /// Where it should listen.
        address: SocketAddr,
    },
    /// Anything else, such as an address that is not this host's or a port below 1024.
    #[error("listener `{listener}` ({protocol}) cannot be bound to {address}")]
    Io {
        /// The listener's name.
        listener: String,
        /// `tcp`, `udp`, `http` or `https`.
        protocol: &'static str,
        /// Where it should listen.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// One worker's sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) endpoints: Vec<DatagramSocket>,
    pub(crate) streams: Vec<StreamSocket>,
}

/// A UDP socket and what it is for.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) socket: UdpSocket,
    pub(crate) handler: Handler,
    pub(crate) listener: u16,
}

/// A listening TCP socket and what it is for.
#[derive(Debug)]
pub(crate) struct StreamSocket {
    pub(crate) socket: TcpListener,
    pub(crate) handler: Handler,
    pub(crate) listener: u16,
    pub(crate) tls: Option<TlsHandle>,
}

/// Every listener, bound for every worker.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) per_worker: Vec<Sockets>,
    pub(crate) addresses: Vec<BoundAddress>,
}

/// Binds all listeners for `workers` workers. `tls` gives the TLS settings of an https listener.
///
/// # Errors
///
/// The first listener that cannot be bound.
pub(crate) fn bind_all(
    listeners: &[ListenerConfig],
    workers: u16,
    tls: impl Fn(&ListenerConfig) -> Option<TlsHandle>,
) -> Result<Bound, BindError> {
    let mut per_worker: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
    let mut addresses = Vec::new();
    for (index, config) in listeners.iter().enumerate() {
        let listener = u16::try_from(index).expect("a configuration has few listeners");
        let failed = |source: io::Error| failure(config, source);
        let mut address = config.bind;
        if address.port() != 0 && workers > 1 {
            // Workers share the port by SO_REUSEPORT, which would also let a second gateway of the
            // same user take half of our connections. A socket without it finds that out.
            drop(open(address, config, Sharing::Alone).map_err(failed)?);
        }
        let sharing = if workers > 1 {
            Sharing::WithWorkers
        } else {
            Sharing::Alone
        };
        for (worker, sockets) in per_worker.iter_mut().enumerate() {
            let socket = open(address, config, sharing).map_err(failed)?;
            if config.protocol == Protocol::Udp {
                let given = KernelBuffers::set(SockRef::from(&socket), &config.udp);
                let given = given.map_err(failed)?;
                if worker == 0 {
                    tracing::info!(listener = config.name, buffers = %given, "udp sockets");
                }
            }
            // With port 0 the first worker's socket decides which port it is.
            address = socket
                .local_addr()
                .and_then(|bound| {
                    bound
                        .as_socket()
                        .ok_or_else(|| io::ErrorKind::Unsupported.into())
                })
                .map_err(failed)?;
            let handler = config.handler;
            if config.protocol == Protocol::Udp {
                let socket = socket.into();
                sockets.endpoints.push(DatagramSocket {
                    socket,
                    handler,
                    listener,
                });
            } else {
                let (socket, tls) = (socket.into(), tls(config));
                sockets.streams.push(StreamSocket {
                    socket,
                    handler,
                    listener,
                    tls,
                });
            }
        }
        addresses.push(BoundAddress {
            name: Arc::from(config.name.as_str()),
            protocol: config.protocol.as_str(),
            handler: config.handler.as_str(),
            address,
        });
    }
    Ok(Bound {
        per_worker,
        addresses,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithWorkers,
}

fn open(address: SocketAddr, config: &ListenerConfig, sharing: Sharing) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let datagrams = config.protocol == Protocol::Udp;
    let accept = &config.accept;
    let (kind, wire) = if datagrams {
        (Type::DGRAM, SocketProtocol::UDP)
    } else {
        (Type::STREAM, SocketProtocol::TCP)
    };
    let socket = Socket::new(domain, kind, Some(wire))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    if !datagrams {
        // Lets a restart bind while old connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit both, which saves two system calls for each. Small frames
        // need not wait for acknowledgements (Nagle, RFC 1122 §4.2.3.4), and a peer whose host
        // vanished must be found out although nothing is sent to it (§4.2.3.6).
        socket.set_tcp_nodelay(accept.nodelay)?;
        if let Some(keepalive) = keepalive(accept.keepalive.get()) {
            socket.set_tcp_keepalive(&keepalive)?;
        }
    }
    if sharing == Sharing::WithWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if !datagrams {
        socket.listen(i32::try_from(accept.backlog).unwrap_or(i32::MAX))?;
    }
    Ok(socket)
}

/// How the kernel asks after a peer that has been silent for so long; `None` where it shall not. It
/// gives up after as long again: its own nine questions of 75 s each would take eleven minutes.
pub(crate) fn keepalive(silence: Duration) -> Option<TcpKeepalive> {
    let asking = TcpKeepalive::new()
        .with_time(silence)
        .with_interval((silence / KEEPALIVE_QUESTIONS).max(Duration::from_secs(1)))
        .with_retries(KEEPALIVE_QUESTIONS);
    (!silence.is_zero()).then_some(asking)
}

fn failure(config: &ListenerConfig, source: io::Error) -> BindError {
    let (listener, protocol, address) =
        (config.name.clone(), config.protocol.as_str(), config.bind);
    if source.kind() == io::ErrorKind::AddrInUse {
        BindError::InUse {
            listener,
            protocol,
            address,
        }
    } else {
        BindError::Io {
            listener,
            protocol,
            address,
            source,
        }
    }
}
