//! What an operator configures: a TOML file, environment variables, and defaults for the rest.
//!
//! This module owns the names, forms, bounds and defaults of all settings. It reads no environment
//! and opens no socket; it does not know what any setting does. The one idea: each section walks
//! over its keys in one place (`setting.rs`), and reading, checking and printing are visitors of
//! that walk. Nothing starts with a configuration that has a key or value which is not understood.
//!
//! Read `limits.rs` for the bounds and `load.rs` for how a file becomes a [`Config`].

mod accept;
mod acme;
mod admin;
mod check;
mod describe;
mod error;
mod exec;
mod framing;
mod gateway;
mod host;
mod http;
mod http2;
mod limits;
mod listener;
mod load;
mod proxy;
mod rate;
mod rooms;
mod route;
mod schema;
mod setting;
mod tls;
mod udp;
mod unit;
mod uploads;
mod websocket;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub use accept::{AcceptConfig, ForwardedField, InvalidNetwork, Network, WhenFull};
pub use acme::{AcmeConfig, Challenge};
pub use admin::{AdminConfig, TokenPolicy};
pub use error::ConfigError;
use error::{Place, Problem};
pub use exec::ExecConfig;
pub use framing::Framing;
pub use gateway::{CountersPolicy, GatewayConfig};
pub use host::{HostConfig, UnknownHost};
pub use http::HttpConfig;
pub use http2::Http2Config;
pub use limits::Limits;
pub use listener::{Handler, ListenerConfig, Protocol, default_routes};
pub use proxy::{Balance, InvalidUpstream, ProxyConfig, SendHeader, Upstream};
pub use rate::{InvalidRate, Rate, RateConfig};
pub use rooms::{HistoryConfig, RoomPattern, RoomsConfig, SlowPolicy};
pub use route::{Route, StaticRoute};
use setting::Visitor;
pub use tls::{CertificateConfig, ClientCertificates, TlsConfig, TlsVersion};
pub use udp::UdpConfig;
pub use unit::{ByteSize, InvalidUnit, Span};
pub use uploads::UploadsConfig;
pub use websocket::WebSocketConfig;

/// The largest configuration file that is read, in bytes. Chosen: the example with all its
/// comments takes 10 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The most listeners. Chosen: each takes a socket for every worker.
const MAX_LISTENERS: usize = 64;

/// The most hosts of one listener. Chosen: as many as it may have certificates.
const MAX_HOSTS: usize = 1000;

/// The most certificates of one listener besides the first. Chosen: all are read at each reload.
const MAX_CERTIFICATES: usize = 1000;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What concerns the program as a whole.
    pub gateway: GatewayConfig,
    /// Where is listened; the default ones are replaced as a whole.
    #[serde(rename = "listener")]
    pub listeners: Vec<ListenerConfig>,
    /// What applies to rooms.
    pub rooms: RoomsConfig,
    /// Compression on WebSocket sessions.
    pub websocket: WebSocketConfig,
    /// What every HTTP answer goes through.
    pub http: HttpConfig,
    /// What a peer may ask of one HTTP/2 connection, and what it gets unasked.
    pub http2: Http2Config,
    /// How often clients may connect and ask.
    pub rate: RateConfig,
    /// Files that clients may leave here.
    pub uploads: UploadsConfig,
    /// Who issues certificates, and how names are proved.
    pub acme: AcmeConfig,
    /// Who may use the admin page and the part of the API that is for operators.
    pub admin: AdminConfig,
    /// Every bound of the gateway.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gateway: GatewayConfig::default(),
            listeners: ListenerConfig::defaults(),
            rooms: RoomsConfig::default(),
            websocket: WebSocketConfig::default(),
            http: HttpConfig::default(),
            http2: Http2Config::default(),
            rate: RateConfig::default(),
            uploads: UploadsConfig::default(),
            acme: AcmeConfig::default(),
            admin: AdminConfig::default(),
            limits: Limits::DEFAULT,
        }
    }
}

impl Config {
    /// Reads a configuration file, and the variables that override keys of it.
    ///
    /// `environment` is usually `std::env::vars_os()`. A variable `ROOMWIRE_LIMITS_MAX_MESSAGE`
    /// sets `max_message` in `[limits]`, `ROOMWIRE_LISTENER_HTTP_BIND` sets `bind` of the listener
    /// named `http`; lists are separated by commas. Variables that name no section are ignored.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and all that is wrong with it.
    pub fn read(
        path: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => load::load(&name, &text, environment),
            Err(reason) => Err(ConfigError {
                text: String::new(),
                problems: vec![Problem {
                    place: Place::Nowhere,
                    message: format!("cannot read the configuration file {name}: {reason}"),
                }],
                file: name,
            }),
        }
    }

    /// As [`read`](Self::read), with the file's text at hand; `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn from_toml(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        load::load(name, text, environment)
    }

    /// The defaults, and what variables override.
    ///
    /// # Errors
    ///
    /// All that is wrong with the variables.
    pub fn from_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        load::load("roomwire.toml", "", environment)
    }

    /// Checks the values, for a configuration that was made or changed in code or by flags.
    ///
    /// What was loaded has been checked.
    ///
    /// # Errors
    ///
    /// All rules that the configuration breaks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems: Vec<_> = check::violations(self)
            .into_iter()
            .map(|violation| Problem {
                place: Place::Nowhere,
                message: violation.message,
            })
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError {
            file: String::new(),
            text: String::new(),
            problems,
        })
    }

    /// A configuration file that says the same as this value.
    pub fn to_toml(&self) -> String {
        describe::to_toml(self)
    }

    /// What would run, for people: listeners, what differs from the defaults, memory at worst.
    pub fn describe(&self) -> String {
        describe::describe(self)
    }

    /// The JSON schema of a configuration file.
    pub fn schema() -> String {
        schema::schema()
    }

    /// Walks over every key that is not a listener's.
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.table("gateway", |visitor| self.gateway.visit(visitor));
        visitor.table("rooms", |visitor| self.rooms.visit(visitor));
        visitor.table("websocket", |visitor| self.websocket.visit(visitor));
        visitor.table("http", |visitor| self.http.visit(visitor));
        visitor.table("http2", |visitor| self.http2.visit(visitor));
        visitor.table("rate", |visitor| self.rate.visit(visitor));
        visitor.table("uploads", |visitor| self.uploads.visit(visitor));
        visitor.table("acme", |visitor| self.acme.visit(visitor));
        visitor.table("admin", |visitor| self.admin.visit(visitor));
        visitor.table("limits", |visitor| self.limits.visit(visitor));
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_FILE_BYTES + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "it is larger than {}",
            ByteSize::bytes(MAX_FILE_BYTES)
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "byte {} of it is not UTF-8",
            error.utf8_error().valid_up_to()
        )
    })
}

#[cfg(test)]
mod tests;
