//! An echo on every wire: TCP, UDP, WebSocket and HTTP, from one gateway.
//!
//! The first three are handlers that the gateway has; the HTTP one is a route of this program. The
//! `message` event sees what sessions send, here over TCP and WebSocket: the UDP echo keeps no
//! session for a datagram, and HTTP requests are `request` events.
//!
//! `cargo run -p roomwire-examples --example echo_everywhere -- --serve` keeps it up: then `nc`,
//! `nc -u` or `curl --json '"hello"'` to the addresses it prints.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::net::{SocketAddr, UdpSocket};

use roomwire::config::{Handler, Protocol};
use roomwire::event::Inbound;
use roomwire::{Gateway, Reply};
use roomwire_examples::{ANY_PORT, LineClient, PATIENCE, Result, asked_to_serve, post, serve};
use tokio_tungstenite::tungstenite;

fn main() -> Result {
    let gateway = Gateway::builder()
        .workers(1)
        .listen("tcp", Protocol::Tcp, ANY_PORT, Handler::Echo)
        .listen("udp", Protocol::Udp, ANY_PORT, Handler::Echo)
        // An HTTP listener takes WebSockets on /echo of itself.
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        .post("/repeat", |request| async move {
            Reply::bytes("application/octet-stream", request.body().clone())
        })
        .on_payload("message", |message: &Inbound| {
            let peer = message.connection.peer();
            println!("{} bytes from {peer}", message.data.len());
        })
        .start()?;
    if asked_to_serve() {
        return serve(&gateway);
    }
    let address = |name| gateway.address(name).ok_or("the listener has an address");
    over_tcp(address("tcp")?)?;
    over_udp(address("udp")?)?;
    over_websocket(address("web")?)?;
    over_http(address("web")?)?;

    // Every figure that an operator sees is there for the program as well.
    let counted = gateway.snapshot();
    assert_eq!(counted.value("ws_messages_in_total"), Some(2));
    assert_eq!(counted.value("udp_datagrams_out_total"), Some(1));
    gateway.shutdown();
    Ok(())
}

fn over_tcp(address: SocketAddr) -> Result {
    let mut client = LineClient::connect(address)?;
    client.say("hello, TCP")?;
    assert_eq!(client.hear()?, "hello, TCP");
    Ok(())
}

fn over_udp(address: SocketAddr) -> Result {
    let socket = UdpSocket::bind(ANY_PORT)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"hello, UDP", address)?;
    let mut datagram = [0; 64];
    let (length, from) = socket.recv_from(&mut datagram)?;
    assert_eq!((&datagram[..length], from), (&b"hello, UDP"[..], address));
    Ok(())
}

fn over_websocket(address: SocketAddr) -> Result {
    use tungstenite::Message;
    let (mut socket, _answer) = tungstenite::connect(format!("ws://{address}/echo"))?;
    for message in [
        Message::text("hello, WebSocket"),
        Message::binary(vec![0, 159, 146, 150]),
    ] {
        socket.send(message.clone())?;
        assert_eq!(
            socket.read()?,
            message,
            "text stays text, and binary binary"
        );
    }
    socket.close(None)?;
    Ok(())
}

fn over_http(address: SocketAddr) -> Result {
    let answer = post(address, "/repeat", r#""hello, HTTP""#)?;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#""hello, HTTP""#)
    );
    Ok(())
}
