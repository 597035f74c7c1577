//! A room with a host: a bot that greets who comes and answers who asks.
//!
//! The bot is no client. It is two functions of the program that embeds the gateway: one listens to
//! `join`, one to `publish`. Whoever is in the room hears it in the words of their own wire; here
//! two people on TCP do, in plain lines.
//!
//! `cargo run -p roomwire-examples --example chat_room -- --serve` keeps it up: then `nc` to the
//! address it prints, and type `/join lobby`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use roomwire::config::{Handler, Protocol};
use roomwire::event::{Membership, Publication};
use roomwire::{Gateway, Rooms};
use roomwire_examples::{ANY_PORT, LineClient, Result, asked_to_serve, serve};

const ROOM: &str = "lobby";
const HOST: &str = "host";

fn main() -> Result {
    let gateway = Gateway::builder()
        .workers(1)
        .listen("chat", Protocol::Tcp, ANY_PORT, Handler::Rooms)
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        .on_payload("join", greet)
        .on_payload("publish", answer)
        .start()?;
    if asked_to_serve() {
        return serve(&gateway);
    }
    converse(&gateway)?;
    gateway.shutdown();
    Ok(())
}

/// Greets everybody who enters the room.
fn greet(joined: &Membership) -> std::result::Result<(), String> {
    if &*joined.room != ROOM {
        return Ok(());
    }
    let who = joined.connection.name().unwrap_or("stranger");
    let text = format!("welcome, {who}; ask me for !help");
    say(&joined.connection.rooms(), &text)
}

/// Answers questions that are asked in the room.
fn answer(said: &Publication) -> std::result::Result<(), String> {
    if &*said.room != ROOM {
        return Ok(());
    }
    let text = text_of(said);
    println!("{:>3} {}: {text}", said.offset, said.message.from());
    // What the host itself says is published too, and comes by here.
    if said.message.from() == HOST {
        return Ok(());
    }
    match text.as_str() {
        "!help" => say(said.rooms(), "I know !help and !count"),
        "!count" => say(said.rooms(), &format!("message {} was yours", said.offset)),
        _ => Ok(()),
    }
}

/// Says something in the room. An error becomes the gateway's `error` event and disturbs nobody.
fn say(rooms: &Rooms, text: &str) -> std::result::Result<(), String> {
    let data = serde_json::to_vec(text).map_err(|error| error.to_string())?;
    rooms
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
