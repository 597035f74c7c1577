//! Work that takes the processor: `POST /hash` with `{"password": …}` answers with its argon2id hash.
//!
//! Hashing a password takes tens of milliseconds by design. On a worker it would hold up everybody whose
//! connection is there, so it goes to the gateway's threads for such work. Those are few, and so is what
//! may wait for them (`limits.work_threads`, `limits.max_work_queue`): who comes beyond that gets
//! 503 with `Retry-After`, and everybody else goes on as before.
//!
//! `cargo run --release -p roomwire-examples --example password_hash -- --serve` keeps it up.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::mpsc::sync_channel;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use roomwire::config::{Handler, Protocol};
use roomwire::{Builder, Gateway, Reply, Request, StatusCode};
use roomwire_examples::{ANY_PORT, Result, asked_to_serve, get, post, serve};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Asked {
    password: String,
}

#[derive(Deserialize, Serialize)]
struct Hashed {
    hash: String,
}

fn main() -> Result {
    if asked_to_serve() {
        return serve(&app().start()?);
    }
    // One thread, and one place in front of it, so that it is soon full.
    let small = |config: &mut roomwire::config::Config| {
        config.limits.work_threads = 1;
        config.limits.max_work_queue = 1;
    };
    let gateway = app().configure(small).start()?;
    let web = gateway
        .address("web")
        .ok_or("the listener has an address")?;

    let answer = post(web, "/hash", r#"{"password": "correct horse"}"#)?;
    println!("{} {}", answer.status, answer.body);
    assert_eq!(answer.status, 200);
    let hashed: Hashed = serde_json::from_str(&answer.body)?;
    let hash = PasswordHash::new(&hashed.hash).map_err(|error| error.to_string())?;
    let verified = Argon2::default().verify_password(b"correct horse", &hash);
    assert!(verified.is_ok(), "it is the password's hash");

    for wrong in ["", "{}", r#"{"password": 7}"#, r#"{"password": ""}"#] {
        let answer = post(web, "/hash", wrong)?;
        println!("{} {}", answer.status, answer.body);
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("\"code\":\"no_password\""));
    }

    // Somebody takes the thread and the place in front of it.
    let (begun, has_begun) = sync_channel(0);
    let (release, released) = sync_channel::<()>(0);
    let busy = gateway.work().run(move || {
        begun.send(()).unwrap_or_default();
        released.recv().unwrap_or_default();
    })?;
    has_begun.recv()?;
    let waiting = gateway.work().run(|| ())?;
    let answer = post(web, "/hash", r#"{"password": "correct horse"}"#)?;
    println!("{} {}", answer.status, answer.body);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    // Everybody else is served meanwhile.
    assert_eq!(get(web, "/healthz")?.status, 200);
    assert_eq!(get(web, "/v1/rooms")?.status, 200);
    release.send(())?;
    drop((busy, waiting));
    gateway.shutdown();
    Ok(())
}

fn app() -> Builder {
    Gateway::builder()
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        .post("/hash", |request| async move { hash(&request).await })
}

async fn hash(request: &Request) -> Reply {
    let asked = request.json::<Asked>().ok();
    let Some(asked) = asked.filter(|asked| !asked.password.is_empty()) else {
        let detail = "send {\"password\": \"…\"}";
        return Reply::problem(StatusCode::BAD_REQUEST, "no_password", detail);
    };
    let hashing = request.work().run(move || {
        let salt = SaltString::generate(&mut OsRng);
        let hashed = Argon2::default().hash_password(asked.password.as_bytes(), &salt);
        hashed.map(|hash| hash.to_string())
    });
    let hashing = match hashing {
        Ok(hashing) => hashing,
        // 503, and when to come back.
        Err(full) => return full.into(),
    };
    match hashing.await {
        Ok(Ok(hash)) => Reply::json(&Hashed { hash }),
        Ok(Err(_)) | Err(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Reply::problem(status, "internal", "the password could not be hashed")
        }
    }
}
