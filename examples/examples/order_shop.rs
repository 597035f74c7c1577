//! One event, `orderPlaced`, and three departments that do not know each other.
//!
//! Stock, mail and analytics each listen; whoever places an order knows none of them, and a fourth
//! could be added without touching the other three. An order comes from inside the program, with
//! `emit`, or from outside, with `POST /v1/emit/orderPlaced`. Mail fails for one customer: the
//! others still do their part, and the failure comes out as an `error` event.
//!
//! Questions are asked with `gather`: both warehouses are asked at once how many of an item they
//! have, and the answers are added up.
//!
//! `cargo run -p roomwire-examples --example order_shop -- --serve` keeps it up.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roomwire::config::{Handler, Protocol};
use roomwire::emitter::{Emitter, Event, ListenerError, Mode, RegisterError};
use roomwire::{Builder, Gateway, Json, Reply, Request, StatusCode};
use roomwire_examples::{ANY_PORT, Result, asked_to_serve, get, post, serve};
use serde::Deserialize;

/// What the event carries.
#[derive(Clone, Debug, Deserialize)]
struct Order {
    item: String,
    count: u32,
    email: String,
}

impl Order {
    /// Reads the payload: an `Order` where this program emitted it, JSON where it came over HTTP.
    fn of(event: &Event<'_>) -> std::result::Result<Self, String> {
        match (event.payload::<Self>(), event.payload::<Json>()) {
            (Some(order), _) => Ok(order.clone()),
            (None, Some(Json(bytes))) => {
                serde_json::from_slice(bytes).map_err(|error| error.to_string())
            }
            (None, None) => Err("this payload is no order".to_owned()),
        }
    }
}

/// What the departments did, for the end of this example to look at.
#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    fn note(&self, entry: String) {
        println!("{entry}");
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn main() -> Result {
    let ledger = Ledger::default();
    let gateway = shop(&ledger)?.start()?;
    if asked_to_serve() {
        return serve(&gateway);
    }

    let order = Order {
        item: "teapot".to_owned(),
        count: 2,
        email: "ada@example.com".to_owned(),
    };
    assert!(
        gateway.emitter().emit("orderPlaced", &order),
        "somebody listens"
    );
    let done = [
        "stock: 2 teapot reserved",
        "mail: thank you, ada@example.com",
        "analytics: order 1",
    ];
    assert_eq!(ledger.take(), done);

    // From outside, and with an address that mail cannot use.
    let web = gateway
        .address("web")
        .ok_or("the listener has an address")?;
    let order = r#"{"item": "cup", "count": 6, "email": "nobody"}"#;
    let answer = post(web, "/v1/emit/orderPlaced", order)?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"event":"orderPlaced","listened":true}"#);
    let done = [
        "stock: 6 cup reserved",
        "error: a listener of `orderPlaced` failed: `nobody` is no address",
        "analytics: order 2",
    ];
    assert_eq!(ledger.take(), done);

    let answer = get(web, "/stock/teapot")?;
    assert_eq!((answer.status, answer.body.as_str()), (200, "12"));
    let answer = get(web, "/stock/unicorn")?;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "no warehouse knows unicorn")
    );
    gateway.shutdown();
    Ok(())
}

/// The shop: departments on one side, the web on the other, and events between them.
fn shop(ledger: &Ledger) -> Result<Builder> {
    let errors = ledger.clone();
    let builder = Gateway::builder()
        .workers(1)
        .listen("web", Protocol::Http, ANY_PORT, Handler::Http)
        .on_payload("error", move |error: &ListenerError| {
            errors.note(format!("error: {error}"));
        })
        .get("/stock/{item}", in_stock);
    open_warehouses(builder.emitter())?;
    let builder = stock(builder, ledger.clone());
    let builder = mail(builder, ledger.clone());
    Ok(analytics(builder, ledger.clone()))
}

fn stock(builder: Builder, ledger: Ledger) -> Builder {
    builder.on("orderPlaced", move |event| {
        let order = Order::of(event)?;
        ledger.note(format!("stock: {} {} reserved", order.count, order.item));
        Ok::<_, String>(())
    })
}

fn mail(builder: Builder, ledger: Ledger) -> Builder {
    builder.on("orderPlaced", move |event| {
        let Order { email, .. } = Order::of(event)?;
        if !email.contains('@') {
            return Err(format!("`{email}` is no address"));
        }
        ledger.note(format!("mail: thank you, {email}"));
        Ok(())
    })
}

fn analytics(builder: Builder, ledger: Ledger) -> Builder {
    let orders = Mutex::new(0_u32);
    builder.on("orderPlaced", move |_event| {
        let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
        *orders += 1;
        ledger.note(format!("analytics: order {orders}"));
    })
}

/// Two warehouses that answer `stockOf` as long as the shop is there.
fn open_warehouses(emitter: &Emitter) -> std::result::Result<(), RegisterError> {
    let shelves = [vec![("teapot", 5_u32), ("cup", 80)], vec![("teapot", 7)]];
    for shelf in shelves {
        let answer = move |item: Arc<String>| {
            let found = shelf.iter().find(|(name, _)| *name == *item);
            let found = found.map(|(_, count)| *count).ok_or("not on the shelf");
            async move { found }
        };
        // The guard would remove the listener at the end of this function.
        emitter.answer_payload("stockOf", answer)?.detach();
    }
    Ok(())
}

/// Asks all warehouses and adds up what those say that have the item.
async fn in_stock(request: Arc<Request>) -> Reply {
    let item = request.parameter("item").unwrap_or_default().to_owned();
    let question = Arc::new(item.clone());
    let patience = Duration::from_secs(1);
    let answers = request
        .emitter()
        .gather("stockOf", question, Mode::AllSettled, patience)
        .await
        .map(|gathered| gathered.answers_as::<u32>());
    match answers {
        Ok(counts) if counts.is_empty() => {
            Reply::text(format!("no warehouse knows {item}")).with_status(StatusCode::NOT_FOUND)
        }
        Ok(counts) => Reply::json(&counts.iter().sum::<u32>()),
        Err(_) => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
    }
}
