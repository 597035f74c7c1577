//! Whose request it is, and whether that client may ask now.
//!
//! A connection's peer is its client, unless that is a proxy which the listener trusts
//! (`trusted_proxies`): then the request says whose it is, and another one on the same connection may be
//! somebody else's. What counts and what is written down is the client. Next: `crate::rate`.

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Extensions, Request, StatusCode};
use roomwire_metrics::Id;
use roomwire_protocols::forwarded::{self, Field};

use super::connection::Connection;
use super::problem::Problem;
use crate::config::ForwardedField;
use crate::rate::{Quota, Quotas, Standing};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How the quotas are called in answers.
const REQUESTS: &str = "requests";
const TOKEN_REQUESTS: &str = "token-requests";
pub(super) const CONNECTIONS: &str = "connections";

/// The client of a request that a proxy passed on.
#[derive(Clone, Copy)]
struct Forwarded(SocketAddr);

/// Notes whose request it is, where its peer is a proxy that may tell.
pub(super) fn identify<B>(connection: &Connection, request: &mut Request<B>) {
    let listeners = &connection.worker.shared.config.listeners;
    let Some(listener) = listeners.get(usize::from(connection.listener)) else {
        return;
    };
    let accept = &listener.accept;
    if !accept.is_trusted(connection.peer.ip()) {
        return;
    }
    let field = match accept.forwarded {
        ForwardedField::Forwarded => Field::Forwarded,
        ForwardedField::XForwardedFor => Field::XForwardedFor,
    };
    let lines = request.headers().get_all(field.name()).iter();
    // The walk is from the last line.
    let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    let trusted = |ip| accept.is_trusted(ip);
    let client = forwarded::client(field, connection.peer, lines.into_iter(), trusted);
    request.extensions_mut().insert(Forwarded(client));
}

/// The client's address; port 0 where a proxy did not tell the port.
pub(super) fn client(connection: &Connection, extensions: &Extensions) -> SocketAddr {
    let forwarded = extensions.get::<Forwarded>();
    forwarded.map_or(connection.peer, |client| client.0)
}

/// The fields that tell a client how it stands, after draft-ietf-httpapi-ratelimit-headers-11.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Fields>);

#[derive(Debug)]
struct Fields {
    policy: HeaderValue,
    standing: HeaderValue,
}

impl Told {
    /// Puts them into an answer.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        if let Some(fields) = self.0 {
            headers.insert(RATELIMIT_POLICY, fields.policy);
            headers.insert(RATELIMIT, fields.standing);
        }
    }
}

/// What is told of each quota, in the policy's list and in the standing's.
#[derive(Default)]
struct Lists {
    policy: String,
    standing: String,
}

impl Lists {
    fn add(&mut self, name: &str, quota: &Quota, standing: Standing) {
        let separator = if self.policy.is_empty() { "" } else { ", " };
        self.policy.push_str(separator);
        self.policy.push_str(&policy(name, quota));
        self.standing.push_str(separator);
        let remaining = remaining(name, standing.left, standing.reset_s);
        self.standing.push_str(&remaining);
    }

    fn told(self) -> Told {
        let value = |text: String| HeaderValue::try_from(text).ok();
        let fields = value(self.policy).zip(value(self.standing));
        Told(fields.map(|(policy, standing)| Fields { policy, standing }))
    }
}

/// One item of `RateLimit-Policy`.
pub(super) fn policy(name: &str, quota: &Quota) -> String {
    let rate = quota.rate();
    let window = rate.period().get().as_secs();
    format!("\"{name}\";q={};w={window}", rate.count())
}

/// One item of `RateLimit`.
pub(super) fn remaining(name: &str, left: u64, reset_s: u64) -> String {
    format!("\"{name}\";r={left};t={reset_s}")
}

/// Counts a request of its client's and of its token's; an error where one of them asks too often.
pub(super) fn count<B>(
    connection: &Connection,
    request: &Request<B>,
) -> (Told, Result<(), Problem>) {
    let worker = &connection.worker;
    let quotas = &worker.shared.quotas;
    if quotas.requests.is_none() && quotas.tokens.is_none() {
        return (Told::default(), Ok(()));
    }
    let ip = client(connection, request.extensions()).ip();
    if quotas.exempts(ip) {
        return (Told::default(), Ok(()));
    }
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.map(|token| quotas.token(token.as_bytes()));
    let address = Some(Quotas::address(ip));
    let mut lists = Lists::default();
    let counted = [
        (REQUESTS, &quotas.requests, address, Id::HttpLimitedAddress),
        (TOKEN_REQUESTS, &quotas.tokens, token, Id::HttpLimitedToken),
    ];
    for (name, quota, key, refused) in counted {
        let (Some(quota), Some(key)) = (quota, key) else {
            continue;
        };
        let standing = quota.count(key, worker.shared.clock.now_us());
        if standing.evicted {
            worker.count(Id::RateEvicted);
        }
        lists.add(name, quota, standing);
        if !standing.allowed {
            worker.count(refused);
            return (lists.told(), Err(too_often(quota, standing)));
        }
    }
    (lists.told(), Ok(()))
}

fn too_often(quota: &Quota, standing: Standing) -> Problem {
    let rate = quota.rate();
    let detail = format!(
        "there may be {} requests in {}; come back in {} s",
        rate.count(),
        rate.period(),
        standing.reset_s
    );
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
    problem.with_header(RETRY_AFTER, standing.reset_s.into())
}
