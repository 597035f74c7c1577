//! The pages: plain files of our own, embedded in the binary.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue};

use super::problem::{Answer, Problem, with_type};

/// What the pages may load and do: what comes from here, and WebSockets.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self' ws: wss:; form-action 'none'; \
    frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files below `/assets/`: name, type, content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("admin.css", CSS, include_bytes!("../../pages/admin.css")),
    ("admin.js", SCRIPT, include_bytes!("../../pages/admin.js")),
    ("base.css", CSS, include_bytes!("../../pages/base.css")),
    ("chart.js", SCRIPT, include_bytes!("../../pages/chart.js")),
    ("chat.css", CSS, include_bytes!("../../pages/chat.css")),
    ("chat.js", SCRIPT, include_bytes!("../../pages/chat.js")),
    (
        "conversation.js",
        SCRIPT,
        include_bytes!("../../pages/conversation.js"),
    ),
    (
        "data_view.js",
        SCRIPT,
        include_bytes!("../../pages/data_view.js"),
    ),
    ("dom.js", SCRIPT, include_bytes!("../../pages/dom.js")),
    ("feed.js", SCRIPT, include_bytes!("../../pages/feed.js")),
    (
        "figures.js",
        SCRIPT,
        include_bytes!("../../pages/figures.js"),
    ),
    ("guide.js", SCRIPT, include_bytes!("../../pages/guide.js")),
    ("icon.svg", SVG, include_bytes!("../../pages/icon.svg")),
    ("name.js", SCRIPT, include_bytes!("../../pages/name.js")),
    ("panel.js", SCRIPT, include_bytes!("../../pages/panel.js")),
    (
        "roomwire.js",
        SCRIPT,
        include_bytes!("../../../clients/js/roomwire.js"),
    ),
    ("table.js", SCRIPT, include_bytes!("../../pages/table.js")),
    (
        "timeline.js",
        SCRIPT,
        include_bytes!("../../pages/timeline.js"),
    ),
];

static HOME: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../../pages/index.html")));
static ADMIN: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../../pages/admin.html")));
static TOKEN: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../../pages/token.html")));

/// A page, and what a client needs besides it. Answers carry it among their extensions.
#[derive(Debug)]
pub(super) struct Page {
    html: &'static str,
    /// Files of ours that it loads at once, in its order.
    pub(super) assets: Vec<&'static str>,
    /// The same as a `Link` field's value (RFC 8297).
    pub(super) links: HeaderValue,
}

impl Page {
    fn new(html: &'static str) -> Self {
        let pieces = html.split("\"/assets/").skip(1);
        let mut assets: Vec<&str> = Vec::new();
        for name in pieces.filter_map(|piece| piece.split('"').next()) {
            if !assets.contains(&name) {
                assets.push(name);
            }
        }
        let links: Vec<String> = assets.iter().filter_map(|name| link(name)).collect();
        let links = HeaderValue::try_from(links.join(", "));
        Self {
            html,
            assets,
            links: links.expect("names of files are printable"),
        }
    }
}

/// How a file is to be loaded beforehand.
fn link(name: &str) -> Option<String> {
    let (_, content_type, _) = ASSETS.iter().find(|(known, _, _)| *known == name)?;
    let how = match *content_type {
        CSS => "preload; as=style",
        SCRIPT => "modulepreload",
        SVG => "preload; as=image",
        _ => return None,
    };
    Some(format!("</assets/{name}>; rel={how}"))
}

/// `GET /`
pub(super) fn home() -> Answer {
    html(&HOME)
}

/// `GET /admin`
pub(super) fn admin() -> Answer {
    html(&ADMIN)
}

/// `GET /admin` for who has not shown the token: a form that asks for it.
pub(super) fn token() -> Answer {
    let mut answer = html(&TOKEN);
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
        frame-ancestors 'none'; base-uri 'none'";
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn html(page: &'static Page) -> Answer {
    let bytes = Bytes::from_static(page.html.as_bytes());
    let mut answer = with_type(StatusCode::OK, HTML, bytes);
    answer.extensions_mut().insert(page);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let referrer = HeaderName::from_static("referrer-policy");
    headers.insert(referrer, HeaderValue::from_static("no-referrer"));
    answer
}

/// `GET /assets/{file}`
pub(super) fn asset(name: &str) -> Result<Answer, Problem> {
    let found = ASSETS.iter().find(|(known, _, _)| *known == name);
    let (_, content_type, content) = found.ok_or_else(Problem::not_found)?;
    let mut answer = with_type(StatusCode::OK, content_type, Bytes::from_static(content));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(answer)
}

/// `GET /openapi.json`
pub(super) fn openapi() -> Answer {
    let description = include_bytes!("openapi.json");
    with_type(
        StatusCode::OK,
        "application/json",
        Bytes::from_static(description),
    )
}

#[cfg(test)]
mod tests {
    use super::super::body::ResponseBody;
    use super::*;

    /// The words of `text` that follow `before`, up to the next quote.
    fn words_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let rest = text.split(before).skip(1);
        rest.filter_map(|rest| rest.split(['"', '\'']).next())
            .collect()
    }

    #[test]
    fn everything_that_the_pages_load_is_served() {
        let pages = [home(), admin(), token()].map(|page| match page.into_body() {
            ResponseBody::Whole(bytes) => bytes,
            _ => panic!("a page is whole"),
        });
        let scripts = ASSETS
            .iter()
            .map(|(_, _, content)| Bytes::from_static(content));
        let mut seen = 0;
        for text in pages.into_iter().chain(scripts) {
            let text = std::str::from_utf8(&text).unwrap();
            for name in words_after(text, "/assets/")
                .into_iter()
                .chain(words_after(text, "from \"./"))
            {
                assert!(asset(name).is_ok(), "{name} is loaded and not served");
                seen += 1;
            }
        }
        assert!(seen > 10, "the pages load {seen} files");
    }

    #[test]
    fn what_a_page_names_is_told_beforehand() {
        for page in [&*HOME, &*ADMIN] {
            assert!(page.assets.len() > 3, "{:?}", page.assets);
            let links = page.links.to_str().unwrap();
            assert_eq!(links.matches("rel=").count(), page.assets.len(), "{links}");
            let style = "</assets/base.css>; rel=preload; as=style";
            assert!(links.contains(style), "{links}");
        }
    }
}
