//! Which browsers may act: the `Origin` of a request must be absent, our own, or listed.
//!
//! Any page that a user visits can make the browser connect to a gateway on that user's own machine.
//! The browser says truthfully which page it was; this is where that is looked at.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

/// Whether a request may do more than read. `local` says that only loopback's names are ours.
pub(crate) fn is_allowed(
    headers: &HeaderMap,
    authority: Option<&Authority>,
    local: bool,
    listed: &[String],
) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Browsers say this about requests for which they leave the origin out.
        return headers
            .get("sec-fetch-site")
            .is_none_or(|site| site != "cross-site");
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    if listed
        .iter()
        .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    {
        return true;
    }
    let Ok(uri) = origin.parse::<Uri>() else {
        return false;
    };
    let Some(theirs) = uri.authority() else {
        return false;
    };
    let Some(ours) = authority else {
        return false;
    };
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let same = theirs.host().eq_ignore_ascii_case(ours.host())
        && theirs.port_u16().unwrap_or(default) == ours.port_u16().unwrap_or(default);
    // Without this, a name that an attacker points at 127.0.0.1 would be "our own" (DNS rebinding).
    same && (!local || is_loopback(theirs.host()))
}

/// Whether a request for this host is meant for a listener bound there. Without this, a page whose
/// name an attacker points at 127.0.0.1 could read what is on loopback: a browser sends no `Origin`
/// when it reads from what it takes for the page's own server (DNS rebinding).
pub(crate) fn is_ours(host: &Authority, bound: SocketAddr, listed: &[String]) -> bool {
    let listed = || {
        let mut origins = listed
            .iter()
            .filter_map(|origin| origin.parse::<Uri>().ok());
        origins.any(|origin| {
            origin
                .host()
                .is_some_and(|it| it.eq_ignore_ascii_case(host.host()))
        })
    };
    !bound.ip().is_loopback() || is_loopback(host.host()) || listed()
}

/// Whether a browser says that a page of another site had it ask, or a link there.
pub(crate) fn is_cross_site(headers: &HeaderMap, authority: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "cross-site";
    }
    let Some(referrer) = headers.get(header::REFERER) else {
        return false;
    };
    let referrer = referrer.to_str().ok();
    let referrer = referrer.and_then(|text| text.parse::<Uri>().ok());
    let ours = authority.and_then(|text| text.parse::<Authority>().ok());
    match (referrer.as_ref().and_then(Uri::host), &ours) {
        (Some(theirs), Some(ours)) => !theirs.eq_ignore_ascii_case(ours.host()),
        _ => true,
    }
}

/// Whether a host's name, or address, is this machine's own.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || host.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, host: &str, bound: &str, listed: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let listed: Vec<String> = listed.iter().map(|&origin| origin.to_owned()).collect();
        let bound: SocketAddr = bound.parse().unwrap();
        let (host, local) = (host.parse().unwrap(), bound.ip().is_loopback());
        let allowed = is_allowed(&headers, Some(&host), local, &listed);
        assert_eq!(allowed, expected, "{origin:?} to {host} on {bound}");
    }

    #[test]
    fn a_browser_tells_whose_page_had_it_ask() {
        let asked = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            is_cross_site(&headers, Some("app.example:8443"))
        };
        assert!(!is_cross_site(&HeaderMap::new(), Some("app.example")));
        assert!(asked("sec-fetch-site", "cross-site"));
        assert!(!asked("sec-fetch-site", "same-origin"));
        assert!(!asked("sec-fetch-site", "none"));
        assert!(asked("referer", "https://other.example/page"));
        assert!(asked("referer", "not a reference at all"));
        assert!(!asked("referer", "https://app.example:8443/chat"));
    }

    #[test]
    fn a_browser_acts_only_from_our_own_pages_or_listed_ones() {
        let (local, public) = ("127.0.0.1:8080", "192.0.2.1:8080");
        check(None, "localhost:8080", local, &[], true);
        check(
            Some("http://localhost:8080"),
            "localhost:8080",
            local,
            &[],
            true,
        );
        check(
            Some("http://127.0.0.1:8080"),
            "127.0.0.1:8080",
            local,
            &[],
            true,
        );
        check(
            Some("http://[::1]:8080"),
            "[::1]:8080",
            "[::1]:8080",
            &[],
            true,
        );
        check(
            Some("http://evil.example"),
            "localhost:8080",
            local,
            &[],
            false,
        );
        check(
            Some("http://localhost:3000"),
            "localhost:8080",
            local,
            &[],
            false,
        );
        check(Some("null"), "localhost:8080", local, &[], false);
        check(
            Some("https://chat.example"),
            "chat.example",
            public,
            &[],
            true,
        );
        check(
            Some("https://chat.example"),
            "chat.example:8443",
            public,
            &[],
            false,
        );
        check(
            Some("https://app.example"),
            "localhost:8080",
            local,
            &["https://app.example"],
            true,
        );
    }

    #[test]
    fn a_listener_on_loopback_answers_to_loopbacks_names() {
        let check = |host: &str, bound: &str, expected| {
            let listed = ["https://chat.example".to_owned()];
            let ours = is_ours(&host.parse().unwrap(), bound.parse().unwrap(), &listed);
            assert_eq!(ours, expected, "{host} on {bound}");
        };
        check("localhost:8080", "127.0.0.1:8080", true);
        check("127.0.0.1", "127.0.0.1:8080", true);
        check("[::1]:8080", "[::1]:8080", true);
        check("chat.example", "127.0.0.1:8080", true);
        check("evil.example:8080", "127.0.0.1:8080", false);
        check("evil.example:8080", "192.0.2.1:8080", true);
    }

    #[test]
    fn a_name_pointed_at_loopback_is_not_our_own() {
        check(
            Some("http://evil.example:8080"),
            "evil.example:8080",
            "127.0.0.1:8080",
            &[],
            false,
        );
    }
}
