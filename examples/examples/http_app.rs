//! A small web application: pages, parameters, a JSON API, and what happens when something is wrong.
//!
//! A route is an async function from a request to a reply. Bodies arrive whole and bounded
//! (`limits.max_body`); what no route answers is a 404 with a problem document (RFC 9457), a route
//! that panics a 500, and neither disturbs anybody else.
//!
//! `cargo run -p roomwire-examples --example http_app -- --serve` keeps it up.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::{Arc, Mutex, PoisonError};

use roomwire::config::{Handler, Protocol};
use roomwire::header::LOCATION;
use roomwire::{Builder, Gateway, HeaderValue, Reply, Request, StatusCode};
use roomwire_examples::{ANY_PORT, Result, asked_to_serve, get, post, serve};
use serde::{Deserialize, Serialize};

/// Users that are kept. What grows by what strangers send has a bound.
const MAX_USERS: usize = 1000;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct User {
    name: String,
}

/// The users by their number, which counts from zero.
#[derive(Debug, Default)]
struct Users(Mutex<Vec<User>>);

impl Users {
    fn find(&self, id: usize) -> Option<User> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Keeps a user; `None` when there is no place for one more.
    fn add(&self, user: User) -> Option<usize> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() == MAX_USERS {
            return None;
        }
        users.push(user);
        Some(users.len() - 1)
    }
}

fn main() -> Result {
    let gateway = app().start()?;
    if asked_to_serve() {
        return serve(&gateway);
    }
    let web = gateway
        .address("web")
        .ok_or("the listener has an address")?;
    let check = |what: std::io::Result<roomwire_examples::Answer>, status: u16, body: &str| {
        let answer = what?;
        println!(
            "{} {}",
            answer.status,
            answer.body.lines().next().unwrap_or_default()
        );
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(body), "{:?} has {body:?}", answer.body);
        Result::Ok(())
    };
    check(get(web, "/"), 200, "<h1>Users</h1>")?;
    check(get(web, "/hello"), 200, "hello, stranger")?;
    check(get(web, "/hello?name=Ada%20L."), 200, "hello, Ada L.")?;
    check(get(web, "/users/0"), 404, "there is no user 0")?;
    check(
        post(web, "/users", r#"{"name": "ada"}"#),
        201,
        r#"{"name":"ada"}"#,
    )?;
    check(get(web, "/users/0"), 200, r#"{"name":"ada"}"#)?;

    // What goes wrong, and what the client is told.
    check(post(web, "/users", r#"{"name": 7}"#), 400, "invalid type")?;
    check(get(web, "/users/zero"), 400, "zero is not a number")?;
    check(get(web, "/nothing"), 404, r#""code":"not_found""#)?;
    check(
        post(web, "/hello", "{}"),
        405,
        r#""code":"method_not_allowed""#,
    )?;
    check(get(web, "/broken"), 500, r#""code":"internal""#)?;

    // The gateway's own pages and API are there as well, beside the application's.
    check(get(web, "/healthz"), 200, "ok")?;
    gateway.shutdown();
    Ok(())
}

fn app() -> Builder {
    let users = Arc::new(Users::default());
    let known = Arc::clone(&users);
    Gateway::builder()
        .workers(1)
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        // In place of the chat page that is there otherwise.
        .get("/", |_request| async {
            Reply::html("<!doctype html><title>Users</title><h1>Users</h1>")
        })
        .get("/hello", |request| async move {
            let name = request
                .query("name")
                .unwrap_or_else(|| "stranger".to_owned());
            Reply::text(format!("hello, {name}"))
        })
        .get("/users/{id}", move |request| {
            let reply = show_user(&known, &request);
            async { reply }
        })
        .post("/users", move |request| {
            let reply = add_user(&users, &request);
            async { reply }
        })
        .get("/broken", |_request| async {
            unreachable!("this route has a bug")
        })
}

fn show_user(users: &Users, request: &Request) -> Reply {
    let id = request.parameter("id").unwrap_or_default();
    let Ok(number) = id.parse() else {
        return refusal(StatusCode::BAD_REQUEST, &format!("{id} is not a number"));
    };
    match users.find(number) {
        Some(user) => Reply::json(&user),
        None => refusal(StatusCode::NOT_FOUND, &format!("there is no user {id}")),
    }
}

fn add_user(users: &Users, request: &Request) -> Reply {
    let user: User = match request.json() {
        Ok(user) => user,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(id) = users.add(user.clone()) else {
        return refusal(
            StatusCode::INSUFFICIENT_STORAGE,
            "there is no place for another user",
        );
    };
    let reply = Reply::json(&user).with_status(StatusCode::CREATED);
    match HeaderValue::from_str(&format!("/users/{id}")) {
        Ok(location) => reply.with_header(LOCATION, location),
        Err(_) => reply,
    }
}

fn refusal(status: StatusCode, why: &str) -> Reply {
    Reply::text(why).with_status(status)
}
