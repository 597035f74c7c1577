//! Work that takes the processor, off the workers: bounded, and nobody else waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use http::Method;
use roomwire::work::{Full, GivenUp};
use roomwire::{Builder, Reply, Request, StatusCode};
use roomwire_tests::{Answer, GatewayOptions, PATIENCE, Task, TestGateway, eventually, within};

/// Work that begins when it likes and ends when it is told to.
#[derive(Clone)]
struct Gate {
    tell: SyncSender<()>,
    told: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    fn new() -> Self {
        let (tell, told) = sync_channel(100);
        let told = Arc::new(Mutex::new(told));
        Self { tell, told }
    }

    fn open(&self, times: usize) {
        for _ in 0..times {
            self.tell.send(()).unwrap();
        }
    }

    fn pass(&self) {
        self.told.lock().unwrap().recv().unwrap();
    }
}

fn with_work(threads: usize, queue: usize, gate: &Gate) -> TestGateway {
    let gate = gate.clone();
    GatewayOptions::new()
        .config(|config| {
            config.limits.work_threads = threads;
            config.limits.max_work_queue = queue;
        })
        .build(move |builder: Builder| {
            builder.post("/work", move |request: Arc<Request>| {
                let gate = gate.clone();
                async move {
                    match request.work().run(move || gate.pass()) {
                        Ok(working) => match working.await {
                            Ok(()) => Reply::text("done"),
                            Err(GivenUp) => Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
                        },
                        Err(full) => full.into(),
                    }
                }
            })
        })
        .start()
}

async fn work(gateway: &TestGateway) -> Answer {
    gateway
        .http1()
        .await
        .request(Method::POST, "/work", &[], b"")
        .await
}

#[tokio::test]
async fn while_the_queue_is_full_everybody_else_is_served() {
    let gate = Gate::new();
    let gateway = Arc::new(with_work(2, 3, &gate));
    let counters = gateway.counters();
    let workers = (0..5).map(|_| {
        let gateway = Arc::clone(&gateway);
        Task::spawn(async move { work(&gateway).await.status })
    });
    let workers: Vec<_> = workers.collect();
    counters.moved(&[("work_total", 5)]).await;
    let mut websocket = gateway.websocket().await;
    websocket.join("a").await;
    for nth in 1..=3 {
        let refused = work(&gateway).await;
        assert_eq!((refused.status, &*refused.problem()), (503, "overloaded"));
        assert_eq!(refused.header("retry-after"), "1");
        // Nobody who wants none of it waits: neither on this worker nor on the others.
        for mut http in [
            gateway.http1().await,
            gateway.http2().await,
            gateway.https2().await,
        ] {
            assert_eq!(http.get("/healthz").await.status, 200);
            assert_eq!(http.publish("a", "1", "").await.status, 201);
        }
        for _ in 0..3 {
            websocket.message().await;
        }
        counters.moved(&[("work_refused_total", nth)]).await;
    }
    gateway.reaches("work_waiting", 3).await;
    gate.open(5);
    for worker in workers {
        assert_eq!(within("an answer", worker.join()).await, 200);
    }
    gateway.reaches("work_waiting", 0).await;
    gate.open(1);
    assert_eq!(work(&gateway).await.text(), "done");
}

#[tokio::test]
async fn work_that_panics_is_given_up_and_its_thread_goes_on() {
    let gateway = with_work(1, 0, &Gate::new());
    let failed = gateway.work().run(|| panic!("on purpose")).unwrap();
    assert_eq!(within("the end", failed).await, Err(GivenUp));
    eventually(PATIENCE, || gateway.work().run(|| 7).map(drop)).await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_begun() {
    let gate = Gate::new();
    let gateway = with_work(1, 1, &gate);
    let (tell, told) = sync_channel::<()>(1);
    let busy = gate.clone();
    let first = gateway.work().run(move || busy.pass()).unwrap();
    gateway.reaches("work_waiting", 0).await;
    let second = gateway.work().run(move || tell.send(())).unwrap();
    assert_eq!(gateway.work().run(|| ()).err(), Some(Full));
    drop(second);
    gate.open(1);
    within("the first", first).await.unwrap();
    // Its sender was dropped with it, and said nothing.
    assert!(told.recv().is_err());
}
