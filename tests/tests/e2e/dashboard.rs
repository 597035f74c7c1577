//! The admin page as a browser shows it: figures that are those of the clients, charts that move,
//! search, closing, publishing and the drain, and nothing in the console.

use roomwire_tests::{Browser, TestGateway};

/// The cell beside a counter's name.
fn counter(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#counters-table tr')]\
         .find(row => row.cells[0].textContent === '{name}')?.cells[1].textContent"
    )
}

/// Types into a field.
fn typed(id: &str, text: &str) -> String {
    format!(
        "(() => {{ const field = document.getElementById('{id}'); field.value = '{text}'; \
         field.dispatchEvent(new Event('input', {{ bubbles: true }})); return true; }})()"
    )
}

fn rows(table: &str) -> String {
    format!("[...document.querySelectorAll('#{table} tbody tr')].map(row => row.innerText)")
}

const LINE: &str = "document.querySelector('.chart path.stroke-1').getAttribute('d')";

#[tokio::test]
async fn the_admin_page_shows_what_clients_did_and_acts() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let gateway = TestGateway::start();
    let mut clients = Vec::new();
    for n in 0..3 {
        let mut client = gateway.lines().await;
        client.hello(&format!("client-{n}")).await;
        client.join("tea").await;
        clients.push(client);
    }
    for n in 0..40 {
        clients[0].publish("tea", &n.to_string()).await;
    }
    let page = gateway.admin_page().expect("there is an HTTP listener");
    browser.open(&page.link()).await;
    browser
        .until("document.getElementById('state-text')?.textContent === 'running'")
        .await;
    for (name, value) in [
        ("hub_publishes_total", "40"),
        ("hub_deliveries_total", "120"),
    ] {
        browser
            .until(&format!("{} === '{value}'", counter(name)))
            .await;
    }
    let drawn = browser.evaluate(LINE).await;
    clients[1].publish("tea", "\"again\"").await;
    browser.until(&format!("{LINE} !== {drawn}")).await;
    browser.evaluate(&typed("rooms-filter", "TE")).await;
    let rooms = rows("rooms-table");
    browser
        .until(&format!(
            "{rooms}.length === 1 && {rooms}[0].startsWith('tea\\t3')"
        ))
        .await;
    browser
        .evaluate(&typed("connections-filter", "client-2"))
        .await;
    let found = rows("connections-table");
    browser
        .until(&format!(
            "{found}.length === 1 && {found}[0].includes('client-2')"
        ))
        .await;
    let close = "document.querySelector('#connections-table button:not(th *)').click()";
    browser.evaluate(close).await;
    browser.evaluate(close).await;
    let (_, _) = clients[2].rest().await;
    browser.until(&format!("{found}.length === 0")).await;
    browser.evaluate(&typed("publish-room", "tea")).await;
    browser.evaluate(&typed("publish-data", "[1, 2]")).await;
    browser
        .evaluate("document.getElementById('publish-form').requestSubmit()")
        .await;
    loop {
        let event = clients[1].next().await;
        if event.kind() == "message" && event["data"] == serde_json::json!([1, 2]) {
            break;
        }
    }
    browser
        .until("document.getElementById('publish-result').textContent.includes('offset 42')")
        .await;
    let wide = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(browser.evaluate(wide).await, false, "it does not fit");
    assert!(browser.problems.is_empty(), "{:#?}", browser.problems);
    browser
        .evaluate("document.getElementById('drain').click()")
        .await;
    browser
        .evaluate("document.getElementById('drain-confirm').click()")
        .await;
    clients[0].rest().await;
    browser
        .until("document.getElementById('state-text').textContent === 'stopped'")
        .await;
    assert!(browser.problems.is_empty(), "{:#?}", browser.problems);
    gateway.drain().await;
}
