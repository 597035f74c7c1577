//! From path and method to what answers: the built-in API, the pages, and routes of the program
//! that embeds the gateway.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// What an ACME authority asks for.
    AcmeChallenge,
    Admin,
    AdminFigures,
    Asset,
    CloseConnection,
    Connections,
    /// Listeners of this event answer.
    Custom(Arc<str>),
    Drain,
    Echo,
    Emit,
    Events,
    Health,
    Home,
    LogLevels,
    Members,
    Messages,
    Metrics,
    OpenApi,
    Publish,
    Ready,
    Rooms,
    SetLogLevels,
    /// Files below a directory; the route's path has so many bytes.
    Static(usize),
    Stats,
    Upload,
    UploadForm,
    WebSocket,
    /// A static route, asked for without the slash that its path ends in.
    WithoutSlash,
}

/// Names and decoded values of a path's parameters.
pub(crate) type Parameters = Vec<(String, String)>;

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Match {
    Found(Target, Parameters),
    /// The path exists, for these methods.
    WrongMethod(String),
    /// A parameter is not percent-encoded UTF-8.
    BadPath,
    None,
}

/// The table of routes; built at the start, then only read.
#[derive(Debug, Default)]
pub(crate) struct Router {
    paths: matchit::Router<usize>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    methods: Vec<(Method, Target)>,
}

/// The routes of DESIGN's HTTP API and pages.
const BUILT_IN: &[(Method, &str, Target)] = &[
    (Method::GET, "/", Target::Home),
    (
        Method::GET,
        "/.well-known/acme-challenge/{token}",
        Target::AcmeChallenge,
    ),
    (Method::GET, "/admin", Target::Admin),
    (Method::GET, "/assets/{file}", Target::Asset),
    (Method::GET, "/echo", Target::Echo),
    (Method::GET, "/healthz", Target::Health),
    (Method::GET, "/metrics", Target::Metrics),
    (Method::GET, "/openapi.json", Target::OpenApi),
    (Method::GET, "/readyz", Target::Ready),
    (Method::GET, "/v1/connections", Target::Connections),
    (
        Method::DELETE,
        "/v1/connections/{id}",
        Target::CloseConnection,
    ),
    (Method::POST, "/v1/drain", Target::Drain),
    (Method::POST, "/v1/emit/{event}", Target::Emit),
    (Method::POST, "/v1/files", Target::UploadForm),
    (Method::PUT, "/v1/files/{name}", Target::Upload),
    (Method::GET, "/v1/log", Target::LogLevels),
    (Method::PUT, "/v1/log", Target::SetLogLevels),
    (Method::GET, "/v1/rooms", Target::Rooms),
    (Method::GET, "/v1/rooms/{room}/events", Target::Events),
    (Method::GET, "/v1/rooms/{room}/members", Target::Members),
    (Method::GET, "/v1/rooms/{room}/messages", Target::Messages),
    (Method::POST, "/v1/rooms/{room}/messages", Target::Publish),
    (Method::GET, "/v1/stats", Target::Stats),
    (Method::GET, "/v1/stats/events", Target::AdminFigures),
    (Method::GET, "/ws", Target::WebSocket),
];

impl Router {
    /// The built-in routes.
    pub(crate) fn built_in() -> Self {
        let mut router = Self::default();
        for (method, path, target) in BUILT_IN {
            router
                .add(method.clone(), path, target.clone())
                .expect("the built-in routes are valid and distinct; a test builds them");
        }
        router
    }

    /// Adds a route, or replaces what answers an existing one.
    ///
    /// # Errors
    ///
    /// When the path is not valid, or clashes with another one, as `/a/{x}` with `/a/{y}/`.
    pub(crate) fn add(
        &mut self,
        method: Method,
        path: &str,
        target: Target,
    ) -> Result<(), matchit::InsertError> {
        let known = self.entries.iter().position(|entry| entry.path == path);
        let index = match known {
            Some(index) => index,
            None => {
                self.paths.insert(path, self.entries.len())?;
                self.entries.push(Entry {
                    path: path.to_owned(),
                    methods: Vec::new(),
                });
                self.entries.len() - 1
            }
        };
        let methods = &mut self.entries[index].methods;
        methods.retain(|(known, _)| *known != method);
        methods.push((method, target));
        Ok(())
    }

    /// The same where nothing is uploaded.
    pub(crate) fn without_uploads(mut self) -> Self {
        for entry in &mut self.entries {
            let uploads = |target: &Target| matches!(target, Target::Upload | Target::UploadForm);
            entry.methods.retain(|(_, target)| !uploads(target));
            if entry.methods.is_empty() {
                self.paths.remove(entry.path.as_str());
            }
        }
        self
    }

    /// Whether the embedding program has this route already.
    pub(crate) fn has_custom(&self, method: &Method, path: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.path == path);
        let mut methods = entry.into_iter().flat_map(|entry| &entry.methods);
        methods.any(|(known, target)| known == method && matches!(target, Target::Custom(_)))
    }

    /// Finds what answers `method` on `path`. HEAD is answered by what answers GET.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Match {
        let Ok(matched) = self.paths.at(path) else {
            return Match::None;
        };
        let Some(entry) = self.entries.get(*matched.value) else {
            return Match::None;
        };
        let wanted = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let Some((_, target)) = entry.methods.iter().find(|(known, _)| known == wanted) else {
            return Match::WrongMethod(entry.allow());
        };
        let mut parameters = Parameters::new();
        for (name, value) in matched.params.iter() {
            let decoded = percent_decode_str(value).decode_utf8();
            let Some(value) = decoded.ok().filter(|_| is_encoded(value)) else {
                return Match::BadPath;
            };
            parameters.push((name.to_owned(), value.into_owned()));
        }
        Match::Found(target.clone(), parameters)
    }
}

/// Whether every `%` begins an encoded byte (RFC 3986 §2.1).
pub(super) fn is_encoded(text: &str) -> bool {
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).all(digits)
}

impl Entry {
    /// The value of `Allow` (RFC 9110 §10.2.1).
    fn allow(&self) -> String {
        let mut methods: Vec<&str> = self
            .methods
            .iter()
            .map(|(method, _)| method.as_str())
            .collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_parameter_is_decoded_once() {
        let found = Router::built_in().find(&Method::GET, "/v1/rooms/a%2Fb%2525/members");
        let Match::Found(target, parameters) = found else {
            panic!("{found:?}")
        };
        assert_eq!(target, Target::Members);
        assert_eq!(parameters, [("room".to_owned(), "a/b%25".to_owned())]);
    }

    #[test]
    fn a_path_without_the_method_names_those_it_has() {
        let found = Router::built_in().find(&Method::PUT, "/v1/rooms/a/messages");
        let Match::WrongMethod(allow) = found else {
            panic!("{found:?}")
        };
        assert_eq!(allow, "GET, POST, HEAD, OPTIONS");
    }

    #[test]
    fn head_is_answered_by_get() {
        let found = Router::built_in().find(&Method::HEAD, "/healthz");
        assert!(matches!(found, Match::Found(Target::Health, _)));
    }

    #[test]
    fn an_embedding_program_may_replace_a_page() {
        let mut router = Router::built_in();
        let target = Target::Custom(Arc::from("GET /"));
        router.add(Method::GET, "/", target.clone()).unwrap();
        let Match::Found(found, _) = router.find(&Method::GET, "/") else {
            panic!()
        };
        assert_eq!(found, target);
    }

    #[test]
    fn where_nothing_is_uploaded_there_is_no_path_for_it() {
        let custom = Target::Custom(Arc::from("GET /v1/files"));
        let mut router = Router::built_in();
        router.add(Method::GET, "/v1/files", custom).unwrap();
        let router = router.without_uploads();
        let found = router.find(&Method::PUT, "/v1/files/a");
        assert!(matches!(found, Match::None), "{found:?}");
        let found = router.find(&Method::GET, "/v1/files");
        assert!(
            matches!(found, Match::Found(Target::Custom(_), _)),
            "{found:?}"
        );
        let found = router.find(&Method::POST, "/v1/files");
        assert!(matches!(found, Match::WrongMethod(_)), "{found:?}");
    }

    #[test]
    fn a_room_that_is_not_encoded_utf8_is_a_bad_path() {
        for path in [
            "/v1/rooms/%ff/members",
            "/v1/rooms/a%zz/members",
            "/v1/rooms/a%2/members",
        ] {
            let found = Router::built_in().find(&Method::GET, path);
            assert!(matches!(found, Match::BadPath), "{path}: {found:?}");
        }
    }
}
