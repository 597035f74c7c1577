//! Rules of the configuration as a whole: what is read, what is refused and in which words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const EXAMPLE: &str = include_str!("../../../roomwire.example.toml");

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml("roomwire.toml", text, [])
}

fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_toml("roomwire.toml", text, environment(variables))
}

/// The messages of a refused file, without the places.
fn messages(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let error = read_with(text, variables).unwrap_err();
    error.messages().map(str::to_owned).collect()
}

fn check(text: &str, expected: &str) {
    assert_eq!(messages(text, &[]), [expected], "for:\n{text}");
}

fn check_variable(name: &str, value: &str, expected: &str) {
    let found = messages("", &[(name, value)]);
    assert_eq!(found, [expected], "for {name}={value}");
}

const LISTENER: &str = "[[listener]]\nname = 'a'\nprotocol = 'tcp'\nbind = '127.0.0.1:1'\n";

#[test]
fn an_empty_file_says_the_defaults() {
    assert_eq!(read(""), Ok(Config::default()));
    assert_eq!(Config::from_environment([]), Ok(Config::default()));
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn the_example_says_the_defaults_and_names_every_key() {
    assert_eq!(read(EXAMPLE), Ok(Config::default()));
    let schema: Value = serde_json::from_str(&Config::schema()).unwrap();
    let keys = schema_keys(&schema);
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        let is_named = EXAMPLE.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} = ")) || line.contains(&format!("{key} = "))
        });
        let is_table =
            EXAMPLE.contains(&format!("[{key}]")) || EXAMPLE.contains(&format!(".{key}]"));
        assert!(
            is_named || is_table,
            "`{key}` is missing in roomwire.example.toml"
        );
    }
}

/// Every property name in the schema, of all tables.
fn schema_keys(schema: &Value) -> BTreeSet<String> {
    let tables = schema["$defs"]
        .as_object()
        .unwrap()
        .values()
        .chain([schema]);
    let properties = tables.filter_map(|table| table.get("properties")?.as_object());
    properties
        .flat_map(|properties| properties.keys().cloned())
        .collect()
}

#[test]
fn what_is_printed_reads_back() {
    let text = "
        [gateway]
        origins = [\"https://a.example\", 'http://localhost:3000']
        data_dir = 'C:\\odd \"dir\"'
        [rooms.history]
        messages = 0
        [limits]
        max_message = 100_000
        ping_interval = '1500ms'
        [[listener]]
        name = 'secure'
        protocol = 'https'
        bind = '[::1]:443'
        certificate = 'c.pem'
        key = 'k.pem'
        routes = { '/chat' = 'rooms', '/' = { static = 'site', max_age = '1h', fallback = 'a/b.html' } }
        backlog = 7
        max_lifetime = '1h'
        proxy_protocol = ['10.0.0.0/8', '::1']
        trusted_proxies = ['192.0.2.0/24']
        forwarded = 'forwarded'
        unknown_host = 'refuse'
        [listener.tls]
        min_version = '1.3'
        cipher_suites = ['TLS_AES_128_GCM_SHA256']
        client_certificates = 'optional'
        client_ca = 'clients.pem'
        [[listener.certificates]]
        certificate = 'd.pem'
        key = 'l.pem'
        [[listener.hosts]]
        names = ['example.com', '*.example.com']
        routes = { '/' = { static = 'example' } }
        [[listener]]
        name = 'plain'
        protocol = 'http'
        bind = '[::1]:80'
        redirect = 'secure'
        redirect_port = 8443
        [[listener]]
        name = 'away'
        protocol = 'tcp'
        bind = '[::1]:444'
        handler = 'proxy'
        proxy = { upstreams = ['127.0.0.1:1', 'a.example:2'], fall = 1 }
        [[listener]]
        name = 'framed'
        protocol = 'tcp'
        bind = '[::1]:445'
        handler = 'echo'
        framing = 'delimiter:--'
        [[listener]]
        name = 'program'
        protocol = 'tcp'
        bind = '[::1]:446'
        handler = 'exec'
        exec = { command = ['/bin/cat', '-'], max_output = '1MiB' }
    ";
    let config = read(text).unwrap();
    assert_eq!(config.listeners[0].certificates.len(), 1);
    assert_eq!(config.listeners[0].tls.min_version, TlsVersion::V13);
    assert_eq!(config.limits.max_message, ByteSize::bytes(100_000));
    assert_eq!(config.listeners.len(), 5);
    assert_eq!(config.listeners[0].routes.len(), 4);
    assert_eq!(config.listeners[0].hosts[0].routes.len(), 3);
    assert_eq!(config.listeners[2].proxy.fall, 1);
    assert_eq!(read(&config.to_toml()), Ok(config));
}

#[test]
fn keys_of_a_listener_are_checked_as_all_are() {
    let with = |line: &str| format!("{LISTENER}{line}\n");
    check(
        &with("backlog = 0"),
        "`backlog` must be from 1 to 65535, not 0",
    );
    check(
        &with("bcklog = 1"),
        "unknown key `bcklog` in [[listener]]; did you mean `backlog`?",
    );
    check(
        &with("proxy_protocol = ['10.0.0.0/33']"),
        "`proxy_protocol` must be a list of networks such as [\"10.0.0.0/8\", \"::1\"], not a list",
    );
    check(
        &with("nodelay = false").replace("tcp", "udp"),
        "`nodelay` is for connections, and this listener is for udp",
    );
    check(
        &with("idle_timeout = '1s'").replace("tcp", "http"),
        "`idle_timeout` is for tcp, and this listener is for http: there are `idle_http` and \
         `ping_interval` in [limits]",
    );
    check(
        &with("handler = 'proxy'"),
        "the handler \"proxy\" needs upstreams, as `proxy.upstreams = [\"127.0.0.1:9000\"]`",
    );
    check(
        &with("proxy.upstreams = ['127.0.0.1:2']"),
        "`proxy.upstreams` is for the handler \"proxy\", and this listener's is \"rooms\"",
    );
    check(
        &with("handler = 'proxy'\nproxy.upstreams = ['127.0.0.1:1']"),
        "the upstream 127.0.0.1:1 is this listener itself",
    );
    check(
        &with("handler = 'exec'"),
        "the handler \"exec\" needs a program, as `exec.command = [\"/usr/bin/bc\"]`",
    );
    check(
        &with("exec.grace = '1s'"),
        "`exec.grace` is for the handler \"exec\", and this listener's is \"rooms\"",
    );
    check(
        &with("framing = 'lines'"),
        "`framing` is for the handlers \"echo\" and \"discard\" over tcp, and this listener's is \
         \"rooms\" over tcp",
    );
    check(
        &with("handler = 'echo'\nframing = 'line'"),
        "`framing` must be \"lines\", \"u16\", \"u16-le\", \"u32\", \"u32-le\", \"fixed:BYTES\" or \
         \"delimiter:TEXT\", not \"line\"",
    );
    check(
        &with("handler = 'proxy'\nproxy.upstreams = ['x:1']\nproxy.fal = 1"),
        "unknown key `fal` in [listener.proxy]; did you mean `fall`?",
    );
    let config = read_with(
        LISTENER,
        &[
            ("ROOMWIRE_LISTENER_A_HANDLER", "proxy"),
            (
                "ROOMWIRE_LISTENER_A_PROXY_UPSTREAMS",
                "a.example:1, [::1]:2",
            ),
            ("ROOMWIRE_LISTENER_A_MAX_CONNECTIONS", "5"),
            ("ROOMWIRE_LISTENER_A_PROXY_PROTOCOL", "10.0.0.0/8, ::1"),
        ],
    );
    let listener = &config.unwrap().listeners[0];
    assert_eq!(listener.proxy.upstreams.len(), 2);
    let accept = &listener.accept;
    assert_eq!(accept.max_connections, 5);
    assert!(accept.is_proxy("10.1.2.3".parse().unwrap()));
}

#[test]
fn variables_reach_the_tables_of_a_listener() {
    let variables = [("ROOMWIRE_LISTENER_HTTPS_TLS_MIN_VERSION", "1.3")];
    let config = read_with("", &variables).unwrap();
    let https = config
        .listeners
        .iter()
        .find(|listener| listener.name == "https");
    assert_eq!(https.unwrap().tls.min_version, TlsVersion::V13);
}

#[test]
fn a_listener_takes_the_defaults_of_its_protocol() {
    for (protocol, handler, routes) in [
        ("tcp", Handler::Rooms, 0),
        ("udp", Handler::Rooms, 0),
        ("http", Handler::Http, 2),
        ("https", Handler::Http, 2),
    ] {
        let text = LISTENER.replace("tcp", protocol);
        let config = read(&text).unwrap();
        assert_eq!(config.listeners[0].handler, handler, "{protocol}");
        assert_eq!(config.listeners[0].routes.len(), routes, "{protocol}");
    }
}

#[test]
fn variables_override_the_file_and_the_defaults() {
    let text = "[limits]\nmax_message = '1MiB'\n[rooms]\nhistory.messages = 7";
    let config = read_with(
        text,
        &[
            ("ROOMWIRE_LIMITS_MAX_MESSAGE", "16MiB"),
            ("ROOMWIRE_GATEWAY_WORKERS", "2"),
            ("ROOMWIRE_GATEWAY_OPEN", "true"),
            (
                "ROOMWIRE_GATEWAY_ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("ROOMWIRE_ROOMS_HISTORY_AGE", "10s"),
            ("ROOMWIRE_ROOMS_SLOW", "keep-latest"),
            ("ROOMWIRE_LISTENER_HTTP_BIND", "0.0.0.0:9000"),
            ("ROOMWIRE_LISTENER_ROOMS_UDP_HANDLER", "discard"),
            ("ROOMWIRE_LOG", "debug"),
            ("ROOMWIRE_CONFIG", "/elsewhere"),
            ("HOME", "/home/ada"),
        ],
    )
    .unwrap();
    assert_eq!(config.limits.max_message, ByteSize::mib(16));
    assert_eq!(config.gateway.workers, 2);
    assert_eq!(
        config.gateway.origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(config.rooms.history.messages, 7);
    assert_eq!(config.rooms.history.age, Span::seconds(10));
    assert_eq!(config.rooms.slow, SlowPolicy::KeepLatest);
    let bound: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.bind.to_string())
        .collect();
    assert_eq!(bound[4], "0.0.0.0:9000");
    assert_eq!(config.listeners[1].handler, Handler::Discard);
}

#[test]
fn a_variable_reaches_a_listener_of_the_file_by_its_name() {
    let text = LISTENER.replace("'a'", "'my-chat'");
    let config = read_with(&text, &[("ROOMWIRE_LISTENER_MY_CHAT_BIND", "127.0.0.1:9")]).unwrap();
    assert_eq!(config.listeners[0].bind.port(), 9);
}

#[test]
fn a_variable_with_another_protocol_brings_the_handler_of_that_protocol() {
    let config = read_with("", &[("ROOMWIRE_LISTENER_ROOMS_PROTOCOL", "http")]).unwrap();
    assert_eq!(config.listeners[0].handler, Handler::Http);
    assert_eq!(config.listeners[0].routes, default_routes());
}

#[test]
fn limits_that_nobody_wrote_follow_those_that_somebody_did() {
    let limits = read(
        "[limits]\nmax_message = '16MiB'\nping_interval = '5s'\nmax_rooms = 9\n\
         max_request_timeout = '2s'",
    )
    .unwrap()
    .limits;
    assert_eq!(limits.max_outbox_bytes, ByteSize::mib(32));
    assert_eq!(limits.max_body, ByteSize::mib(16));
    assert_eq!(limits.pong_timeout, Span::seconds(5));
    assert_eq!(limits.max_rooms_per_session, 9);
    assert_eq!(limits.request_timeout, Span::seconds(2));
    let limits = read("[limits]\nmax_message = '32KiB'\nmax_outbox_bytes = '64KiB'")
        .unwrap()
        .limits;
    assert_eq!(limits.max_outbox_bytes, ByteSize::kib(64));
    assert_eq!(limits.max_body, Limits::DEFAULT.max_body);
}

#[test]
fn a_key_that_is_not_known_is_refused_with_the_nearest() {
    check(
        "[limits]\nmax_mesage = '1MiB'",
        "unknown key `max_mesage` in [limits]; did you mean `max_message`?",
    );
    check(
        "[gatway]",
        "unknown key `gatway` in the configuration; did you mean `gateway`?",
    );
    check(
        "[listeners]",
        "unknown key `listeners` in the configuration; did you mean `listener`?",
    );
    check(
        "[limits]\nmessages = 1",
        "unknown key `messages` in [limits]; it belongs in [rooms.history]",
    );
    check(
        "drain = '1s'",
        "unknown key `drain` in the configuration; it belongs in [gateway]",
    );
    check(
        "[rooms]\nhistory.agee = 1",
        "unknown key `agee` in [rooms.history]; did you mean `age`?",
    );
    check(
        "[rooms]\ncolour = 'blue'",
        "unknown key `colour` in [rooms]; known are `slow`, `history`, `pattern`",
    );
    let found = messages(&format!("{LISTENER}port = 7"), &[]);
    let expected = "unknown key `port` in [[listener]]; known are `name`, `protocol`, `bind`, ";
    assert!(found[0].starts_with(expected), "{found:?}");
    check(
        "[auth]\ntokens = []",
        "[auth] is not available in this version: remove it, and bind loopback addresses only, \
         or say `open = true` in [gateway] if anyone may use the gateway",
    );
}

#[test]
fn a_value_of_another_type_is_refused_with_what_it_must_be() {
    check(
        "[gateway]\nopen = 'yes'",
        "`open` must be true or false, not \"yes\"",
    );
    check(
        "[gateway]\nworkers = -1",
        "`workers` must be a whole number from 0, not -1",
    );
    check(
        "[gateway]\nworkers = 1.5",
        "`workers` must be a whole number from 0, not 1.5",
    );
    check(
        "[gateway]\norigins = 'a'",
        "`origins` must be a list of strings, not \"a\"",
    );
    check(
        "[gateway]\norigins = [1]",
        "`origins` must be a list of strings, not a list",
    );
    check(
        "[gateway]\ndata_dir = ''",
        "`data_dir` must be a path, not \"\"",
    );
    check(
        "gateway = 1",
        "`gateway` must be a table, as [gateway] begins one, not 1",
    );
    check(
        "[gateway]\ndrain = 30",
        "`drain` must be a duration such as \"30s\": a whole number with ms, s, m or h, not 30",
    );
    check(
        "[gateway]\ndrain = '30 sec'",
        "`drain` must be a duration such as \"30s\": a whole number with ms, s, m or h, \
         not \"30 sec\"; write \"30s\"",
    );
    check(
        "[limits]\nmax_message = '64kb'",
        "`max_message` must be a size such as \"64KiB\": a whole number with B, KiB, MiB or GiB, \
         or a number of bytes, not \"64kb\"; write \"64KiB\"",
    );
    check(
        "[rooms]\nslow = 'disconect'",
        "`slow` must be \"disconnect\", \"drop-oldest\" or \"keep-latest\", not \"disconect\"; \
         did you mean \"disconnect\"?",
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    check(
        "[limits]\nmax_message = '1GiB'",
        "`max_message` must be from 1KiB to 64MiB, not 1GiB",
    );
    check(
        "[limits]\nmax_fragments = 0",
        "`max_fragments` must be from 1 to 1000000, not 0",
    );
    check(
        "[limits]\nping_interval = '0s'",
        "`ping_interval` must be from 1s to 1h, not 0s",
    );
    check(
        "[rooms]\nhistory = { age = '500ms' }",
        "`age` must be from 1s to 168h, not 500ms",
    );
    check(
        "[gateway]\ninstance = 'My Gateway'",
        "`instance` must be 1 to 64 of `a-z`, `0-9`, `-` and `_`, not \"My Gateway\"",
    );
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    check(
        "[limits]\nmax_message = '1MiB'\nmax_outbox_bytes = '1MiB'",
        "`max_outbox_bytes` must be at least twice `max_message`, or the largest message could not \
         be sent",
    );
    check(
        "[limits]\npong_timeout = '30s'",
        "`pong_timeout` must not be longer than `ping_interval`, or pings would overlap",
    );
    check(
        "[limits]\nrequest_timeout = '2m'",
        "`request_timeout` must not be longer than `max_request_timeout`",
    );
}

#[test]
fn a_listener_that_is_incomplete_or_impossible_is_refused() {
    check(
        "listener = []",
        "there must be 1 to 64 listeners, not 0; without the key there are the default ones",
    );
    check(
        "[listener]\nname = 'a'",
        "`listener` must be tables that begin with [[listener]], not a table",
    );
    check(
        "[[listener]]\nbind = '127.0.0.1:1'",
        "this listener has no `name` and no `protocol`",
    );
    check(
        &format!("{LISTENER}handler = 'http'"),
        "a listener for tcp can have the handler \"rooms\", \"echo\", \"discard\", \"proxy\" or \
         \"exec\", not \"http\"",
    );
    check(
        &format!("{}handler = 'http'", LISTENER.replace("tcp", "udp")),
        "a listener for udp can have the handler \"rooms\", \"echo\", \"discard\" or \"proxy\", not \
         \"http\"",
    );
    check(
        &format!("{}handler = 'rooms'", LISTENER.replace("tcp", "http")),
        "a listener for http can have the handler \"http\", not \"rooms\"",
    );
    check(
        &LISTENER.replace("127.0.0.1:1", "localhost:7000"),
        "`bind` must be an address and a port such as \"127.0.0.1:7000\" or \"[::1]:7000\", \
         not \"localhost:7000\"; write \"127.0.0.1:7000\"",
    );
    check(
        &LISTENER.replace("127.0.0.1:1", "127.0.0.1"),
        "`bind` must be an address and a port such as \"127.0.0.1:7000\" or \"[::1]:7000\", \
         not \"127.0.0.1\"; the port is missing",
    );
    check(
        &LISTENER.replace("'a'", "'A'"),
        "`name` must be 1 to 64 of `a-z`, `0-9`, `-` and `_`, not \"A\"",
    );
}

#[test]
fn what_a_udp_listener_has_of_the_others_keys() {
    let udp = LISTENER.replace("tcp", "udp");
    let proxy = format!("{udp}handler = 'proxy'\nproxy.upstreams = ['x:1']\n");
    let all = "max_connections = 1\nmax_per_address = 1\nidle_timeout = '1s'\nmax_lifetime = '1h'\n\
               proxy.amplification = 0\nudp.rate = 5\nudp.burst = 9\nudp.send_buffer = '1MiB'\n";
    let config = read(&format!("{proxy}{all}")).expect("valid");
    assert_eq!(config.listeners[0].udp.burst, 9);
    check(
        &format!("{proxy}backlog = 1\n"),
        "`backlog` is for connections, and this listener is for udp",
    );
    check(
        &format!("{udp}max_connections = 1\n"),
        "`max_connections` is for connections, and this listener is for udp",
    );
    check(
        &format!("{proxy}proxy.check_interval = '1s'\n"),
        "`proxy.check_interval` is for tcp and tls, and this listener is for udp",
    );
    check(
        &format!("{}proxy.amplification = 1\n", proxy.replace("udp", "tcp")),
        "`proxy.amplification` is for udp, and this listener is for tcp",
    );
    check(
        &format!("{LISTENER}udp.rate = 1\n"),
        "`udp.rate` is for udp, and this listener is for tcp",
    );
    check(
        &format!("{udp}udp.send_buffer = '1KiB'\n"),
        "`send_buffer` must be from 4KiB to 1GiB, not 1KiB",
    );
}

#[test]
fn listeners_that_are_in_each_others_way_are_refused() {
    check(
        &format!("{LISTENER}{}", LISTENER.replace(":1", ":2")),
        "there are two listeners named `a`: give each its own name",
    );
    check(
        &format!(
            "{}{}",
            LISTENER.replace("'a'", "'a-b'"),
            LISTENER.replace("'a'", "'a_b'").replace(":1", ":2")
        ),
        "the listener names `a-b` and `a_b` differ in `-` and `_` only",
    );
    check(
        &format!(
            "{LISTENER}{}",
            LISTENER.replace("'a'", "'b'").replace("tcp", "http")
        ),
        "the listeners `a` and `b` both bind TCP 127.0.0.1:1: give each its own port",
    );
    let udp = LISTENER.replace("'a'", "'b'").replace("tcp", "udp");
    assert!(read(&format!("{LISTENER}{udp}")).is_ok());
    let free = LISTENER.replace(":1", ":0");
    assert!(read(&format!("{free}{}", free.replace("'a'", "'b'"))).is_ok());
    let many: String = (0..65)
        .map(|n| {
            LISTENER
                .replace("'a'", &format!("'l{n}'"))
                .replace(":1", ":0")
        })
        .collect();
    check(
        &many,
        "there must be 1 to 64 listeners, not 65; without the key there are the default ones",
    );
}

#[test]
fn tls_and_routes_are_for_the_protocols_that_have_them() {
    let https = LISTENER.replace("tcp", "https");
    check(
        &format!("{LISTENER}certificate = 'c'\nkey = 'k'"),
        "`certificate` is for https and tls, and this listener is for tcp",
    );
    check(
        &format!("{https}certificate = 'c'"),
        "`certificate` needs a `key` beside it",
    );
    let tls = LISTENER.replace("tcp", "tls");
    check(
        &format!("{tls}certificate = 'c'"),
        "`certificate` needs a `key` beside it",
    );
    check(
        &format!("{https}detect = true"),
        "`detect` is for tcp and tls, and this listener is for https",
    );
    check(
        &format!("{https}key = 'k'"),
        "`key` needs a `certificate` beside it",
    );
    check(
        &format!("{LISTENER}tls.min_version = '1.3'"),
        "`tls` is for https and tls, and this listener is for tcp",
    );
    check(
        &format!("{https}tls.min_version = '1.1'"),
        "`min_version` must be \"1.2\" or \"1.3\", not \"1.1\"",
    );
    check(
        &format!("{https}tls.min_versio = '1.3'"),
        "unknown key `min_versio` in [listener.tls]; did you mean `min_version`?",
    );
    check(
        &format!("{https}tls.key_exchanges = ['kyber']"),
        "`key_exchanges` can have \"X25519MLKEM768\", \"X25519\", \"secp256r1\" or \
         \"secp384r1\", not \"kyber\"",
    );
    check(
        &format!("{https}tls.client_certificates = 'required'"),
        "`client_certificates` needs a `client_ca` beside it: who issues the certificates",
    );
    check(
        &format!("{https}tls.client_ca = 'ca.pem'"),
        "`client_ca` needs `client_certificates` to be \"optional\" or \"required\"",
    );
    check(
        &format!("{https}[[listener.certificates]]\ncertificate = 'c'"),
        "a certificate has a `certificate` and a `key`",
    );
    let asked = "[acme]\nagree_to_terms = true\n";
    check(
        &format!("{asked}{https}tls.acme = ['*.example.com']"),
        "`acme` names hosts such as \"chat.example.com\", in lower case and without `*`, which \
         neither challenge can prove; not \"*.example.com\"",
    );
    check(
        &format!("{https}tls.acme = ['example.com']"),
        "set `agree_to_terms` to true in [acme] if you agree to the terms of the authority: \
         without it no certificate is ordered",
    );
    check(
        "[acme]\ndirectory = 'http://localhost/dir'",
        "`directory` is the https:// address of an authority's directory",
    );
    check(
        &format!("{https}certificates = 'c'"),
        "`certificates` must be tables that begin with [[listener.certificates]], not \"c\"",
    );
    check(
        &format!("{LISTENER}routes = {{ '/x' = 'rooms' }}"),
        "`routes` are for http and https, and with `detect` for tcp and tls; this listener is for \
         tcp",
    );
    let host = format!("{https}[[listener.hosts]]\n");
    check(&host, "this host has no `names`");
    check(
        &format!("{host}names = ['a.example:80']"),
        "`names` has names such as \"example.com\" or \"*.example.com\" and addresses, without a \
         port, not \"a.example:80\"",
    );
    check(
        &format!("{host}names = ['a.example', 'A.example']"),
        "the name \"A.example\" is another host's already",
    );
    check(
        &format!("{host}names = ['a.example']\nroutes = {{ '/metrics' = 'rooms' }}"),
        "the gateway answers `/metrics` itself: choose another path",
    );
    check(
        &format!("{host}name = 'a.example'"),
        "unknown key `name` in [[listener.hosts]]; did you mean `names`?",
    );
    check(
        &format!("{https}unknown_host = 'refuse'"),
        "`unknown_host` refuses all names where there are no `hosts`",
    );
    check(
        &format!("{https}redirect = 'web'"),
        "`redirect` is for http, and this listener is for https",
    );
    check(
        &format!("{https}redirect_port = 1"),
        "`redirect_port` needs a `redirect` beside it",
    );
    check(
        "[[listener]]\nname = 'a'\nprotocol = 'http'\nbind = '[::1]:1'\nredirect = 'b'",
        "`redirect` is the name of a listener for https, which \"b\" is not",
    );
    check(
        &format!("{https}routes = {{ '/metrics' = 'rooms' }}"),
        "the gateway answers `/metrics` itself: choose another path",
    );
    check(
        &format!("{https}routes = {{ '/v1/x' = 'rooms' }}"),
        "the gateway answers `/v1/x` itself: choose another path",
    );
    check(
        &format!("{https}routes = {{ '/a?b' = 'rooms' }}"),
        "a route is a path that begins with `/`, of letters, digits and `/-._~`, not \"/a?b\"",
    );
    check(
        &format!("{https}routes = {{ '/files' = {{ static = 'public' }} }}"),
        "a path with `static` ends in `/`: write \"/files/\"",
    );
    check(
        &format!("{https}routes = {{ '/files/' = {{ static = '' }} }}"),
        "`static` must be a path, not \"\"",
    );
    check(
        &format!("{https}routes = {{ '/files/' = {{ static = 'a', listin = true }} }}"),
        "unknown key `listin` in the route `/files/`; did you mean `listing`?",
    );
    check(
        &format!("{https}routes = {{ '/files/' = {{ static = 'a', index = ['../a'] }} }}"),
        "`index` has names of files, not \"../a\"",
    );
    check(
        &format!("{https}routes = {{ '/files/' = {{ static = 'a', fallback = '../a' }} }}"),
        "`fallback` is a file below the directory, not \"../a\"",
    );
    check(
        &format!("{https}routes = {{ '/files/' = {{ statik = 'a' }} }}"),
        "`/files/` must be \"rooms\" or \"echo\", or a table such as { static = \"public\" }, not a table",
    );
    check(
        &format!("{https}routes = {{ '/x' = 'room' }}"),
        "`/x` must be \"rooms\" or \"echo\", or a table such as { static = \"public\" }, not \"room\"; did you mean \"rooms\"?",
    );
    check(
        &format!("{https}routes = ['/x']"),
        "`routes` must be a table from path to handler, such as { \"/ws\" = \"rooms\" }, not a list",
    );
}

#[test]
fn only_loopback_is_bound_unless_the_gateway_is_open() {
    let refusal = |bind: &str| {
        format!(
            "listener `a` binds {bind}, which other machines may reach: bind a loopback address \
             (127.0.0.1 or [::1]), or say `open = true` in [gateway] if anyone may use the gateway"
        )
    };
    for bind in [
        "0.0.0.0:80",
        "[::]:80",
        "192.168.1.2:80",
        "[::ffff:10.0.0.1]:80",
    ] {
        let text = LISTENER.replace("127.0.0.1:1", bind);
        check(&text, &refusal(bind));
        assert!(
            read(&format!("gateway.open = true\n{text}")).is_ok(),
            "{bind}"
        );
    }
    for bind in [
        "127.0.0.1:80",
        "127.8.8.8:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert!(
            read(&LISTENER.replace("127.0.0.1:1", bind)).is_ok(),
            "{bind}"
        );
    }
}

#[test]
fn an_origin_is_what_browsers_send() {
    let refusal = |origin: &str| {
        format!(
            "an origin is scheme, host and port, such as \"https://app.example.com\" or \
             \"http://localhost:3000\", in lower case and without a path, not \"{origin}\""
        )
    };
    for origin in [
        "*",
        "app.example.com",
        "https://app.example.com/",
        "https://App.example.com",
    ] {
        check(&format!("gateway.origins = ['{origin}']"), &refusal(origin));
    }
    assert!(read("gateway.origins = ['http://[::1]:3000', 'capacitor://localhost']").is_ok());
}

#[test]
fn a_variable_that_sets_nothing_is_refused_with_the_nearest() {
    check_variable(
        "ROOMWIRE_LIMITS_MAX_MESAGE",
        "16MiB",
        "ROOMWIRE_LIMITS_MAX_MESAGE is no key of the configuration; \
         did you mean ROOMWIRE_LIMITS_MAX_MESSAGE?",
    );
    check_variable(
        "ROOMWIRE_GATEWAY",
        "1",
        "ROOMWIRE_GATEWAY is no key of the configuration; \
         it must be ROOMWIRE_SECTION_KEY, or ROOMWIRE_LISTENER_NAME_KEY",
    );
    check_variable(
        "ROOMWIRE_GATEWAY_WORKERS",
        "two",
        "ROOMWIRE_GATEWAY_WORKERS must be a whole number from 0, not \"two\"",
    );
    check_variable(
        "ROOMWIRE_GATEWAY_WORKERS",
        "999",
        "`workers` must be from 0 to 256, not 999",
    );
}

#[test]
fn all_problems_are_told_each_at_its_place() {
    let text = "\
[gateway]
\tdrain = 30          # seconds, surely

[limits]
max_mesage = \"64KiB\"  # größer?
max_rooms = \"ten\"
";
    let error = read_with(text, &[("ROOMWIRE_ROOMS_SLOW", "wait\nforever")]).unwrap_err();
    let expected = "\
error: `drain` must be a duration such as \"30s\": a whole number with ms, s, m or h, not 30
 --> roomwire.toml:2:10
  |
2 |  drain = 30          # seconds, surely
  |          ^^

error: unknown key `max_mesage` in [limits]; did you mean `max_message`?
 --> roomwire.toml:5:1
  |
5 | max_mesage = \"64KiB\"  # größer?
  | ^^^^^^^^^^

error: `max_rooms` must be a whole number from 0, not \"ten\"
 --> roomwire.toml:6:13
  |
6 | max_rooms = \"ten\"
  |             ^^^^^

error: ROOMWIRE_ROOMS_SLOW must be \"disconnect\", \"drop-oldest\" or \"keep-latest\", \
not \"wait\u{fffd}forever\"
  --> environment: ROOMWIRE_ROOMS_SLOW=wait\u{fffd}forever";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_rule_that_a_variable_breaks_names_the_variable() {
    let error = read_with("", &[("ROOMWIRE_LISTENER_HTTP_BIND", "0.0.0.0:80")]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("\n  --> environment: ROOMWIRE_LISTENER_HTTP_BIND=0.0.0.0:80"),
        "{text}"
    );
}

#[test]
fn what_is_no_toml_is_shown_where_it_breaks() {
    let text = read("[gateway]\nworkers = \n").unwrap_err().to_string();
    assert!(text.starts_with("error: this is not TOML: "), "{text}");
    assert!(text.contains(" --> roomwire.toml:2:"), "{text}");
    let text = read("[gateway]\nworkers = 1\nworkers = 2")
        .unwrap_err()
        .to_string();
    assert!(text.contains(" --> roomwire.toml:3:1\n"), "{text}");
}

#[test]
fn a_flood_of_problems_is_cut_and_so_is_a_long_line() {
    let text: String = (0..30).map(|n| format!("key{n:02} = 1\n")).collect();
    let shown = read(&text).unwrap_err().to_string();
    assert_eq!(shown.matches("error: ").count(), 20);
    assert!(shown.ends_with("\n\nand 10 more"), "{shown}");

    let shown = read(&format!("x = '{}'", "y".repeat(10_000)))
        .unwrap_err()
        .to_string();
    let quoted: Vec<&str> = shown.lines().filter(|it| it.contains("yyy")).collect();
    assert_eq!(quoted.len(), 1, "{shown}");
    assert!(quoted[0].chars().count() < 130, "{shown}");
}

#[test]
fn any_text_is_read_or_refused_without_a_panic() {
    // Every prefix of the example, and the example with one byte changed: cuts inside of strings,
    // tables and comments, and places at the very end of the text.
    for end in (0..EXAMPLE.len()).step_by(7) {
        if let Err(error) = read(&EXAMPLE[..end]) {
            assert!(!error.to_string().is_empty());
        }
    }
    for index in (0..EXAMPLE.len()).step_by(11) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[index] = b"\"[]=.\n#x"[index % 8];
        if let Err(error) = read(std::str::from_utf8(&bytes).unwrap()) {
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.toml");
    let message = Config::read(&path, []).unwrap_err().to_string();
    let start = format!(
        "error: cannot read the configuration file {}: ",
        path.display()
    );
    assert!(message.starts_with(&start), "{message}");

    let path = directory.path().join("binary.toml");
    std::fs::write(&path, b"# \xff").unwrap();
    let message = Config::read(&path, []).unwrap_err().to_string();
    assert!(message.ends_with("byte 2 of it is not UTF-8"), "{message}");

    std::fs::write(&path, EXAMPLE).unwrap();
    assert_eq!(Config::read(&path, []), Ok(Config::default()));
}

#[test]
fn what_flags_change_is_checked_again() {
    let mut config = Config::default();
    config.gateway.instance = "a/b".to_owned();
    config.limits.max_message = ByteSize::gib(1);
    let error = config.validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: `max_message` must be from 1KiB to 64MiB, not 1GiB\n\n\
         error: `instance` must be 1 to 64 of `a-z`, `0-9`, `-` and `_`, not \"a/b\""
    );
}

#[test]
fn the_description_tells_listeners_differences_and_memory() {
    let text = Config::default().describe();
    assert!(
        text.contains("  rooms-udp  udp    127.0.0.1:7000  rooms\n"),
        "{text}"
    );
    assert!(text.contains("\nnot as by default\n  nothing\n"), "{text}");

    let config = read("[limits]\nmax_connections = 1000\n[gateway]\ndrain = '5s'").unwrap();
    let text = config.describe();
    assert!(
        text.contains("  limits.max_connections = 1000 (default 0)\n"),
        "{text}"
    );
    assert!(
        text.contains("  gateway.drain = \"5s\" (default \"30s\")\n"),
        "{text}"
    );
    assert!(text.contains("1000 sessions, 1.0 GiB together"), "{text}");
}

#[test]
fn a_pattern_of_rooms_begins_with_what_applies_to_every_room() {
    let text = "
        [rooms]
        slow = 'drop-oldest'
        history = { messages = 7, age = '1h' }
        [[rooms.pattern]]
        match = 'state.>'
        slow = 'keep-latest'
        [rooms.pattern.history]
        messages = 1
        [[rooms.pattern]]
        match = 'lobby'
    ";
    let config = read(text).unwrap();
    let [state, lobby] = &config.rooms.patterns[..] else {
        panic!("{:?}", config.rooms.patterns);
    };
    assert_eq!(state.matches, "state.>");
    assert_eq!(state.slow, SlowPolicy::KeepLatest);
    assert_eq!(state.history.messages, 1);
    assert_eq!(state.history.age, Span::hours(1));
    assert_eq!(lobby.slow, SlowPolicy::DropOldest);
    assert_eq!(lobby.history, config.rooms.history);
    assert_eq!(read(&config.to_toml()), Ok(config.clone()));
    let description = config.describe();
    let line = "  rooms.pattern.0.slow = \"keep-latest\"\n";
    assert!(description.contains(line), "{description}");
}

#[test]
fn a_pattern_of_rooms_is_checked() {
    check(
        "[[rooms.pattern]]\nslow = 'disconnect'",
        "this pattern has no `match`",
    );
    check(
        "[[rooms.pattern]]\nmatch = 'a.>.b'",
        "`match` \"a.>.b\": the token `>` stands for the rest of a room name; it is allowed only at \
         the end",
    );
    check(
        "[[rooms.pattern]]\nmatch = 'a'\nhistory.age = '1ms'",
        "`age` must be from 1s to 168h, not 1ms",
    );
    check(
        "[[rooms.pattern]]\nmatch = 'a'\nslo = 1",
        "unknown key `slo` in [[rooms.pattern]]; did you mean `slow`?",
    );
    check(
        "[rooms]\npattern = 'a'",
        "`pattern` must be tables that begin with [[rooms.pattern]], not \"a\"",
    );
}

#[test]
fn the_schema_knows_the_keys_and_bounds_that_the_loader_knows() {
    let schema: Value = serde_json::from_str(&Config::schema()).unwrap();
    let limits = &schema["$defs"]["Limits"];
    assert_eq!(limits["additionalProperties"], false);
    assert_eq!(limits["properties"]["max_fragments"]["maximum"], 1_000_000);
    assert_eq!(
        schema["$defs"]["HistoryConfig"]["properties"]["messages"]["maximum"],
        1_000_000
    );
    let required = schema["$defs"]["ListenerConfig"]["required"]
        .as_array()
        .unwrap();
    assert_eq!(required, &["name", "protocol", "bind"]);

    let keys = schema_keys(&schema);
    let printed = Config::default().to_toml();
    for line in printed.lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        assert!(keys.contains(key), "{key}");
    }
}

#[test]
fn every_limit_documents_its_default_range_and_cost() {
    /// Compares each bounded key with what its documentation says.
    struct Documentation(Value);

    impl Visitor for Documentation {
        fn setting<T: setting::Setting>(&mut self, _key: &'static str, _value: &mut T) {}

        fn bounded<T: setting::Setting + std::fmt::Display + PartialOrd>(
            &mut self,
            key: &'static str,
            value: &mut T,
            min: T,
            max: T,
        ) {
            let text = self.0["$defs"]["Limits"]["properties"][key]["description"]
                .as_str()
                .unwrap();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&format!("Default {value}")), "{key}: {text}");
            assert!(
                text.contains(&format!("from {min} to {max}")),
                "{key}: {text}"
            );
            assert!(text.contains("Worst case: "), "{key}: {text}");
            let range = format!("({min} to {max}");
            assert!(
                EXAMPLE.replace("\n# ", " ").contains(&range),
                "{key}: {range}"
            );
            assert!(min <= *value && *value <= max, "{key}");
        }

        fn table(&mut self, _key: &'static str, _visit: impl FnOnce(&mut Self)) {}

        fn tables<T: Clone>(
            &mut self,
            _key: &'static str,
            _items: &mut Vec<T>,
            _new: &T,
            _visit: impl Fn(&mut T, &mut Self),
        ) {
        }
    }

    let schema = serde_json::from_str(&Config::schema()).unwrap();
    Limits::default().visit(&mut Documentation(schema));
}
