//! Building a gateway inside a program: listeners, event listeners, routes; then start.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use roomwire_hub::emitter::{Emitter, Event, IntoOutcome, RegisterError};

use crate::config::{Config, Handler, ListenerConfig, Protocol};
use crate::event::Publication;
use crate::http::{Reply, Request, Router, Target, route_event};
use crate::running::{Gateway, StartError};

/// Settings of a gateway that has not started.
///
/// Without a listener it has none: an embedded gateway listens where it is told to, and nowhere
/// else. A mistake in one of the calls is kept and told by [`start`](Self::start).
#[must_use = "a gateway runs only once it is started"]
pub struct Builder {
    config: Config,
    emitter: Emitter,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    mistake: Option<StartError>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut config = Config::default();
        config.listeners.clear();
        // A file that other programs read is for a gateway that was asked to have one.
        config.gateway.page = false;
        Self {
            config,
            emitter: Emitter::new(),
            router: Router::built_in(),
            tls: None,
            mistake: None,
        }
    }

    /// Takes all settings from a configuration, its listeners included.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes settings in place.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Worker threads; 0, the default, is one per core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.gateway.workers = workers;
        self
    }

    /// Adds a listener. Names must differ; port 0 takes a free port, which
    /// [`Gateway::address`] tells.
    pub fn listen(
        self,
        name: &str,
        protocol: Protocol,
        bind: SocketAddr,
        handler: Handler,
    ) -> Self {
        let listener = ListenerConfig::new(name, protocol, bind).with_handler(handler);
        self.configure(|config| config.listeners.push(listener))
    }

    /// TLS settings of https listeners, in place of certificates from files.
    pub fn tls(mut self, tls: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Adds a listener of an event for the gateway's life. Events that the gateway emits are listed
    /// at [`crate::event`].
    pub fn on<F, R>(self, event: &str, listener: F) -> Self
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        let registered = self.emitter.on(event, listener).map(|guard| guard.detach());
        self.note(registered.map(|_| ()))
    }

    /// Adds a listener that wants the event's payload as a `T`.
    pub fn on_payload<T, F, R>(self, event: &str, listener: F) -> Self
    where
        T: Any,
        F: Fn(&T) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        let registered = self
            .emitter
            .on_payload(event, listener)
            .map(|guard| guard.detach());
        self.note(registered.map(|_| ()))
    }

    /// Adds a listener of what is published to one room, on any wire.
    pub fn room<F>(self, name: &str, listener: F) -> Self
    where
        F: Fn(&Publication) + Send + Sync + 'static,
    {
        let name: Arc<str> = Arc::from(name);
        self.on_payload("publish", move |publication: &Publication| {
            if publication.room == name {
                listener(publication);
            }
        })
    }

    /// Answers GET (and HEAD) on a path such as `/hello` or `/users/{id}`.
    pub fn get<F, A>(self, path: &str, answer: F) -> Self
    where
        F: Fn(Arc<Request>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        self.route(Method::GET, path, answer)
    }

    /// Answers POST on a path.
    pub fn post<F, A>(self, path: &str, answer: F) -> Self
    where
        F: Fn(Arc<Request>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        self.route(Method::POST, path, answer)
    }

    /// Answers one method on a path. The route is the event `METHOD /path`.
    pub fn route<F, A>(mut self, method: Method, path: &str, answer: F) -> Self
    where
        F: Fn(Arc<Request>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let event = route_event(&method, path);
        if self.router.has_custom(&method, path) {
            let (path, reason) = (path.to_owned(), "it was given twice".to_owned());
            self.mistake
                .get_or_insert(StartError::Route { path, reason });
            return self;
        }
        let target = Target::Custom(Arc::from(event.as_str()));
        if let Err(error) = self.router.add(method, path, target) {
            let path = path.to_owned();
            self.mistake.get_or_insert(StartError::Route {
                path,
                reason: error.to_string(),
            });
            return self;
        }
        let answerer = move |request: Arc<Request>| {
            let reply = answer(request);
            async move { Ok::<_, std::convert::Infallible>(reply.await) }
        };
        let registered = self
            .emitter
            .answer_payload(&event, answerer)
            .map(|guard| guard.detach());
        self.note(registered.map(|_| ()))
    }

    /// The emitter that the gateway will use, to register listeners with guards of their own.
    pub fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn note(mut self, registered: Result<(), RegisterError>) -> Self {
        if let Err(error) = registered {
            self.mistake.get_or_insert(StartError::Listener(error));
        }
        self
    }

    /// Binds the listeners and starts the workers. Once this returns the gateway serves.
    ///
    /// # Errors
    ///
    /// [`StartError`], also for a mistake in an earlier call.
    pub fn start(self) -> Result<Gateway, StartError> {
        let Self {
            config,
            emitter,
            router,
            tls,
            mistake,
        } = self;
        match mistake {
            Some(mistake) => Err(mistake),
            None => crate::running::start(config, emitter, router, tls),
        }
    }

    /// Starts, serves until SIGTERM or SIGINT, drains and returns.
    ///
    /// # Errors
    ///
    /// [`StartError`]; once the gateway serves, none.
    pub fn run(self) -> Result<(), StartError> {
        let gateway = self.start()?;
        gateway.wait()?;
        Ok(())
    }
}
