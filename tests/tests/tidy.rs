//! Rules of the repository that no compiler knows.
//!
//! Arrows between crates, headers of modules, what may not stand in product code, pages and documents
//! that must agree with what is served. Every rule also asserts that it saw something: a rule that
//! looks in the wrong place would otherwise hold for ever.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use roomwire_tests::TestGateway;
use serde_json::Value;

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are a part of it")
}

/// Every file below `directory`, without what is built or fetched.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["target", ".git", "node_modules", "corpus", "artifacts"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The repository's files with these endings, by their path below the root, and their text.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    walk(root(), &mut all);
    let mut found = Vec::new();
    for path in all {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            found.push((name, text));
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The workspace's packages as cargo sees them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Who may depend on whom, dev-dependencies and build-dependencies included: DESIGN.md §2.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "roomwire",
        &[
            "roomwire-certs",
            "roomwire-hub",
            "roomwire-metrics",
            "roomwire-protocols",
        ],
    ),
    ("roomwire-certs", &[]),
    ("roomwire-examples", EVERYTHING),
    ("roomwire-hub", &["roomwire-metrics"]),
    ("roomwire-metrics", &[]),
    ("roomwire-protocols", &[]),
    ("roomwire-tests", EVERYTHING),
];

const EVERYTHING: &[&str] = &[
    "roomwire",
    "roomwire-certs",
    "roomwire-hub",
    "roomwire-metrics",
    "roomwire-protocols",
];

#[test]
fn crates_depend_only_along_the_arrows() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut edges = 0;
    let mut seen = BTreeSet::new();
    for package in packages() {
        let name = text(&package, "name");
        let Some(allowed) = allowed.get(name) else {
            panic!("{name} has no place among the layers: add it to DESIGN.md §2 and here")
        };
        seen.insert(name.to_owned());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = text(dependency, "name");
            if !dependency["path"].is_string() {
                continue;
            }
            edges += 1;
            assert!(allowed.contains(&to), "{name} may not depend on {to}");
        }
    }
    assert!(edges >= 10, "only {edges} arrows were seen");
    let expected: BTreeSet<String> = allowed.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(seen, expected, "every layer was looked at");
}

#[test]
fn what_is_pure_knows_no_sockets_clocks_tasks_or_logs() {
    const IMPURE: &[&str] = &[
        "tokio",
        "tracing",
        "hyper",
        "h2",
        "socket2",
        "quinn-udp",
        "rustix",
        "rustls",
    ];
    let mut looked = 0;
    for package in packages() {
        let name = text(&package, "name");
        if !["roomwire-hub", "roomwire-protocols"].contains(&name) {
            continue;
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            looked += 1;
            let to = text(dependency, "name");
            // Tests may use what they like.
            let dev = dependency["kind"] == "dev";
            assert!(
                dev || !IMPURE.contains(&to),
                "{name} may not depend on {to}"
            );
        }
    }
    assert!(looked > 0);
    for layer in ["gateway/hub/src/lib.rs", "protocols/src/lib.rs"] {
        assert!(read(layer).contains("#![forbid(unsafe_code)]"), "{layer}");
    }
}

#[test]
fn a_packages_lint_settings_repeat_the_roots_which_they_replace() {
    let common = read("clippy.toml");
    let bans: Vec<&str> = common
        .lines()
        .filter(|line| line.contains("{ path =") || line.starts_with("allow-"))
        .collect();
    assert!(bans.len() > 5);
    let mut replaced = 0;
    for (name, text) in files(&["/clippy.toml"]) {
        replaced += 1;
        for ban in &bans {
            let path = ban.split('"').nth(1).unwrap_or(ban);
            assert!(text.contains(path), "{name} lacks {path}");
        }
    }
    assert!(replaced >= 2, "{replaced}");
}

#[test]
fn every_module_says_what_it_is() {
    let mut looked = 0;
    let mut faults = Vec::new();
    for (name, text) in files(&[".rs"]) {
        looked += 1;
        let header: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        if header.is_empty() {
            faults.push(format!("{name} has no header"));
        }
        // Tables and drawings are as long as they are; the crate's front page is a document.
        let mut fenced = false;
        let is_prose = |line: &&&str| {
            let fence = line.starts_with("//! ```");
            fenced ^= fence;
            !fence && !fenced && !line.starts_with("//! |")
        };
        let prose = header.iter().filter(is_prose).count();
        let is_front_page = name.ends_with("/lib.rs");
        if !is_front_page && prose > 14 {
            faults.push(format!("{name}: a header of {prose} lines"));
        }
    }
    assert!(looked > 100, "{looked} files");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn product_code_does_not_unwrap() {
    let mut looked = 0;
    for (name, text) in files(&[".rs"]) {
        let is_test = name.starts_with("tests/")
            || name.starts_with("examples/")
            || name
                .split('/')
                .any(|part| ["tests", "tests.rs", "benches"].contains(&part));
        if is_test || !name.contains("src/") {
            continue;
        }
        looked += 1;
        let product = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for (line, number) in product.lines().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains(".unwrap()"), "{name}:{number}: {line}");
        }
    }
    assert!(looked > 80, "{looked} files");
}

#[test]
fn the_list_of_counters_is_the_catalogue() {
    let made = roomwire_metrics::catalogue::markdown();
    let file = root().join("docs/counters.md");
    if std::env::var_os("ROOMWIRE_BLESS").is_some() {
        fs::write(&file, &made).expect("docs can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == made,
        "docs/counters.md is not the catalogue: make it again with\n\
         ROOMWIRE_BLESS=1 cargo test -p roomwire-tests --test tidy"
    );
    assert!(made.lines().count() > 100);
}

#[test]
fn the_dashboard_and_the_alerts_are_made_from_the_catalogue() {
    for (name, made) in [
        ("docs/grafana.json", roomwire_metrics::grafana::dashboard()),
        ("docs/alerts.yml", roomwire_metrics::grafana::alerts()),
    ] {
        let file = root().join(name);
        if std::env::var_os("ROOMWIRE_BLESS").is_some() {
            fs::write(&file, &made).expect("docs can be written");
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == made,
            "{name} is not what the catalogue makes: make it again with\n\
             ROOMWIRE_BLESS=1 cargo test -p roomwire-tests --test tidy"
        );
        assert!(made.lines().count() > 50);
    }
}

#[test]
fn the_changelog_keeps_its_shape() {
    const SECTIONS: &[&str] = &[
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let text = read("CHANGELOG.md");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# Changelog"));
    let (mut releases, mut entries, mut section) = (0, 0, false);
    for line in lines {
        if let Some(release) = line.strip_prefix("## ") {
            let (version, date) = release.split_once(" - ").unwrap_or((release, ""));
            let digits = |text: &str| {
                text.split(['.', '-'])
                    .all(|part| part.parse::<u32>().is_ok())
            };
            let dated = digits(version) && date.len() == 10 && digits(date);
            assert!(release == "Unreleased" && releases == 0 || dated, "{line}");
            releases += 1;
            section = false;
        } else if let Some(name) = line.strip_prefix("### ") {
            assert!(SECTIONS.contains(&name), "{line}");
            section = true;
        } else if line.starts_with("- ") {
            assert!(section, "an entry outside of a section: {line}");
            entries += 1;
        }
    }
    assert!(releases > 0 && entries > 0);
}

/// Names below `/assets/` that a page's file refers to, in full or as a module beside it.
fn references(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["/assets/", "\"./", "'./"] {
        for rest in text.split(prefix).skip(1) {
            let is_name = |it: &char| it.is_ascii_alphanumeric() || "._-".contains(*it);
            let name: String = rest.chars().take_while(is_name).collect();
            if name.contains('.') {
                found.insert(name);
            }
        }
    }
    found
}

#[tokio::test]
async fn the_pages_are_served_whole_and_nothing_else_is() {
    let gateway = TestGateway::start();
    let mut http = gateway.http1().await;
    let pages: Vec<_> = files(&[".html", ".js", ".css", ".svg"])
        .into_iter()
        .filter_map(|(name, text)| {
            let name = name.strip_prefix("gateway/pages/")?.to_owned();
            (!name.contains('/')).then_some((name, text))
        })
        .collect();
    let mut referred = BTreeSet::new();
    for (name, text) in &pages {
        let of_it = references(text);
        assert!(
            !name.ends_with(".html") || !of_it.is_empty(),
            "{name} refers to nothing"
        );
        referred.extend(of_it);
    }
    assert!(referred.len() > 5, "{referred:?}");
    for name in &referred {
        let answer = http.get(&format!("/assets/{name}")).await;
        assert_eq!(answer.status, 200, "{name} is referred to and not served");
    }
    for (name, text) in &pages {
        if name.ends_with(".html") {
            continue;
        }
        assert!(referred.contains(name), "no page refers to {name}");
        let answer = http.get(&format!("/assets/{name}")).await;
        assert!(answer.body == text.as_bytes(), "{name} is served as it is");
    }
}

#[test]
fn the_description_of_the_api_lists_the_routers_paths() {
    // Pages for people and WebSocket endpoints are not what an API's description is about.
    const NOT_API: &[&str] = &[
        "/",
        "/.well-known/acme-challenge/{token}",
        "/admin",
        "/assets/{file}",
        "/echo",
        "/openapi.json",
        "/ws",
    ];
    let router = read("gateway/src/http/router.rs");
    let table = router
        .split("const BUILT_IN")
        .nth(1)
        .and_then(|rest| rest.split("];").next());
    let table = table.expect("the table of routes");
    let mut routes = BTreeSet::new();
    for entry in table.split("Method::").skip(2) {
        let method = entry.split(',').next().expect("a method").to_lowercase();
        let path = entry.split('"').nth(1).expect("a path");
        if !NOT_API.contains(&path) {
            routes.insert((path.to_owned(), method));
        }
    }
    assert!(routes.len() >= 12, "{routes:?}");
    let description: Value = serde_json::from_str(&read("gateway/src/http/openapi.json")).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let methods = item.as_object().expect("an item").keys();
        for method in methods.filter(|method| *method != "parameters") {
            described.insert((path.clone(), method.clone()));
        }
    }
    assert_eq!(described, routes);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    // Put together, so that this file does not hold what it forbids.
    let places: Vec<String> = ["work", "root", "home/runner"]
        .iter()
        .map(|place| format!("/{place}/"))
        .collect();
    let mut looked = 0;
    for (name, text) in files(&[
        ".rs", ".md", ".toml", ".js", ".json", ".html", ".css", "run", ".yml",
    ]) {
        looked += 1;
        for place in &places {
            for (line, number) in text.lines().zip(1..) {
                assert!(!line.contains(place), "{name}:{number}: {line}");
            }
        }
    }
    assert!(looked > 150, "{looked} files");
}

/// Whether a test of this path, as `crate::module::name`, stands in the source.
fn is_test(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split("::").collect();
    let name = parts.pop().unwrap_or_default();
    let Some(crate_) = parts.first_mut() else {
        return false;
    };
    *crate_ = match *crate_ {
        "e2e" => "tests/tests/e2e",
        "roomwire" => "gateway/src",
        "roomwire_protocols" => "protocols/src",
        _ => return false,
    };
    let in_file = parts.join("/");
    // `mod tests` stands in its parent's file or in one of its own.
    let in_parent = in_file.strip_suffix("/tests").unwrap_or(&in_file);
    let files = [in_file.as_str(), in_parent]
        .into_iter()
        .flat_map(|path| [format!("{path}.rs"), format!("{path}/mod.rs")]);
    files.into_iter().any(|file| {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let mut attributed = false;
        text.lines().map(str::trim).any(|line| {
            let function = line.strip_prefix("async ").unwrap_or(line);
            let named = function
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            let found = attributed && named == Some(name);
            // Other attributes and comments may stand between.
            attributed = line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || attributed && (line.starts_with("#[") || line.starts_with("//"));
            found
        })
    })
}

#[test]
fn every_rule_of_the_rfcs_names_tests_that_exist() {
    assert!(is_test("e2e::websocket::binary_may_hold_any_byte"));
    assert!(!is_test("e2e::websocket::echo"), "a helper is no test");
    let text = read("docs/rfc6455.md");
    let mut rules = 0;
    for (line, number) in text.lines().zip(1..) {
        let Some(row) = line.strip_prefix("| ") else {
            continue;
        };
        if row.starts_with('§') {
            continue;
        }
        rules += 1;
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next();
        let tests: Vec<&str> = held_by
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        assert!(!tests.is_empty(), "docs/rfc6455.md:{number} names no test");
        for test in tests {
            assert!(is_test(test), "docs/rfc6455.md:{number}: {test} is no test");
        }
    }
    assert!(rules > 60, "{rules} rules");
}
