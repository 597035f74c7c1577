//! A room with a host: a bot that greets who comes and answers who asks.
//!
//! The bot is no client. It is two listeners in the program that embeds the gateway: one of `join`,
//! one of `publish`. Whoever is in the room hears it in the words of their own wire; here two people
//! on TCP do, in plain lines.
//!
//! `cargo run -p roomwire-examples --example chat_room -- --serve` keeps it up: then `nc` to the
//! address it prints, and type `/join lobby`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::{Arc, Weak};

use roomwire::Gateway;
use roomwire::config::{Handler, Protocol};
use roomwire::emitter::{Guard, RegisterError};
use roomwire::event::{Membership, Publication};
use roomwire_examples::{ANY_PORT, LineClient, Result, asked_to_serve, stay_up};

const ROOM: &str = "lobby";
const HOST: &str = "host";

fn main() -> Result {
    let gateway = Gateway::builder()
        .workers(1)
        .listen("chat", Protocol::Tcp, ANY_PORT, Handler::Rooms)
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        .room(ROOM, |said| {
            println!(
                "{:>3} {}: {}",
                said.offset,
                said.message.from(),
                text_of(said)
            );
        })
        .start()?;
    let gateway = Arc::new(gateway);
    // Dropping a guard removes its listener, so the host is there as long as these are.
    let _host = [greet(&gateway)?, answer(&gateway)?];
    if asked_to_serve() {
        stay_up(gateway.addresses());
    }
    converse(&gateway)?;
    gateway.shutdown();
    Ok(())
}

/// Greets everybody who enters the room.
fn greet(gateway: &Arc<Gateway>) -> std::result::Result<Guard, RegisterError> {
    // Weak, because the gateway owns its listeners: a listener that owned the gateway in turn would
    // keep both alive for ever.
    let host = Arc::downgrade(gateway);
    gateway
        .emitter()
        .on_payload("join", move |joined: &Membership| {
            if &*joined.room != ROOM {
                return Ok(());
            }
            let who = joined.connection.name().unwrap_or("stranger");
            say(&host, &format!("welcome, {who}; ask me for !help"))
        })
}

/// Answers questions that are asked in the room.
fn answer(gateway: &Arc<Gateway>) -> std::result::Result<Guard, RegisterError> {
    let host = Arc::downgrade(gateway);
    gateway
        .emitter()
        .on_payload("publish", move |said: &Publication| {
            // What the host itself says is published too, and comes by here.
            if &*said.room != ROOM || said.message.from() == HOST {
                return Ok(());
            }
            match text_of(said).as_str() {
                "!help" => say(&host, "I know !help and !count"),
                "!count" => say(&host, &format!("message {} was yours", said.offset)),
                _ => Ok(()),
            }
        })
}

/// Says something in the room. An error becomes the gateway's `error` event and disturbs nobody.
fn say(gateway: &Weak<Gateway>, text: &str) -> std::result::Result<(), String> {
    let Some(gateway) = gateway.upgrade() else {
        return Ok(());
    };
    let data = serde_json::to_vec(text).map_err(|error| error.to_string())?;
    gateway
        .publish(ROOM, HOST, &data)
        .map(|_offset| ())
        .map_err(|error| error.to_string())
}

/// What was said, if it is text; members may publish any JSON.
fn text_of(said: &Publication) -> String {
    serde_json::from_slice(said.message.data()).unwrap_or_default()
}

/// Two people come, talk and go.
fn converse(gateway: &Gateway) -> Result {
    let chat = gateway
        .address("chat")
        .ok_or("the listener has an address")?;

    let mut ada = LineClient::connect(chat)?;
    ada.say("/nick ada")?;
    assert_eq!(ada.hear()?, "* you are ada now");
    ada.say("/join lobby")?;
    assert_eq!(ada.hear()?, "* you are in lobby; nobody else is here yet");
    assert_eq!(ada.hear()?, "host: welcome, ada; ask me for !help");

    let mut ben = LineClient::connect(chat)?;
    ben.say("/nick ben\n/join lobby")?;
    assert_eq!(ben.hear()?, "* you are ben now");
    assert_eq!(ben.hear()?, "* you are in lobby; one other is here");
    assert_eq!(ben.hear()?, "host: welcome, ben; ask me for !help");
    assert_eq!(ada.hear()?, "* ben joined lobby");
    assert_eq!(ada.hear()?, "host: welcome, ben; ask me for !help");

    ben.say("hello, ada")?;
    assert_eq!(ada.hear()?, "ben: hello, ada");
    ada.say("!count")?;
    assert_eq!(ada.hear()?, "host: message 4 was yours");
    assert_eq!(ben.hear()?, "ada: !count");
    assert_eq!(ben.hear()?, "host: message 4 was yours");

    ben.say("/quit")?;
    assert_eq!(ben.hear()?, "* goodbye");
    assert_eq!(ada.hear()?, "* ben left lobby");
    Ok(())
}
