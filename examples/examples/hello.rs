//! The smallest program with routes of its own, beside all that the gateway answers anyway.
//!
//! `cargo run -p roomwire-examples --example hello -- roomwire.toml` keeps it up, with listeners and all
//! else as that file says.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::path::Path;

use roomwire::config::{Config, Handler, Protocol};
use roomwire::{Builder, Gateway, Reply};
use roomwire_examples::{ANY_PORT, Result, get};

const SMALL: &[u8] = b"Hello, World!";
static LARGE: [u8; 10 * 1024] = [b'x'; 10 * 1024];

fn main() -> Result {
    if let Some(path) = std::env::args().nth(1) {
        let config = Config::read(Path::new(&path), std::env::vars_os())?;
        hello().config(config).run()?;
        return Ok(());
    }
    let listener = hello().listen("web", Protocol::Http, ANY_PORT, Handler::Http);
    let gateway = listener.workers(1).start()?;
    let web = gateway
        .address("web")
        .ok_or("the listener has an address")?;
    let small = get(web, "/route/small.txt")?;
    println!("{} {}", small.status, small.body);
    assert_eq!(small.body.as_bytes(), SMALL);
    assert_eq!(get(web, "/route/large.txt")?.body.as_bytes(), LARGE);
    gateway.shutdown();
    Ok(())
}

fn hello() -> Builder {
    Gateway::builder()
        .get("/route/small.txt", |_request| async {
            Reply::bytes("text/plain", SMALL)
        })
        .get("/route/large.txt", |_request| async {
            Reply::bytes("text/plain", &LARGE[..])
        })
}
