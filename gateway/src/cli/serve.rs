//! `roomwire serve`

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::terminal;
use crate::config::Config;
use crate::running::{AdminPage, Gateway};

/// Runs the gateway until SIGTERM or SIGINT; a second signal ends at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roomwire serve
  roomwire serve --config roomwire.toml
  ROOMWIRE_LISTENER_HTTP_BIND=127.0.0.1:9000 roomwire serve

ROOMWIRE_LOG sets what is logged, as in ROOMWIRE_LOG=debug; info is the default. SIGUSR1 adds
debug while it runs, and takes it off again. Lines are for people on a terminal and JSON
otherwise; ROOMWIRE_LOG_FORMAT=human or json chooses.")]
pub(super) struct ServeArgs {
    /// The configuration, in TOML; without it the defaults, which listen on loopback only
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's name on this host, by which `stats` finds it
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Write the bound addresses to stdout, as one line of JSON
    #[arg(long)]
    print_addresses: bool,
}

/// Reads a configuration, from a file or the environment alone.
pub(super) fn read_config(file: Option<&Path>) -> anyhow::Result<Config> {
    let environment = std::env::vars_os();
    Ok(match file {
        Some(file) => Config::read(file, environment)?,
        None => Config::from_environment(environment)?,
    })
}

pub(super) fn run(arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut config = read_config(arguments.config.as_deref())?;
    if let Some(instance) = &arguments.instance {
        config.gateway.instance.clone_from(instance);
    }
    log()?;
    let gateway = Gateway::builder().config(config).start()?;
    if arguments.print_addresses {
        terminal::print(addresses(&gateway)?.as_bytes())?;
    }
    let greeting = greeting(&gateway, std::io::stderr().is_terminal());
    terminal::tell(&greeting);
    let drained = gateway.wait()?;
    if drained.cut > 0 {
        let plural = if drained.cut == 1 { " was" } else { "s were" };
        terminal::tell(&format!("stopped; {} session{plural} cut\n", drained.cut));
    } else {
        terminal::tell("stopped\n");
    }
    Ok(ExitCode::SUCCESS)
}

/// h2 warns of what a peer does, as often as it does it.
const USUALLY_LOGGED: &str = "info,h2=error";

fn log() -> anyhow::Result<()> {
    let wanted = std::env::var("ROOMWIRE_LOG").unwrap_or_else(|_| USUALLY_LOGGED.to_owned());
    let format = std::env::var("ROOMWIRE_LOG_FORMAT").ok();
    let format = crate::log::Format::choose(format.as_deref())
        .context("ROOMWIRE_LOG_FORMAT is human, json or auto")?;
    crate::log::install(&wanted, format).context("ROOMWIRE_LOG")
}

fn addresses(gateway: &Gateway) -> anyhow::Result<String> {
    let addresses: Vec<_> = gateway
        .addresses()
        .iter()
        .map(|bound| {
            serde_json::json!({
                "name": &*bound.name,
                "protocol": bound.protocol,
                "handler": bound.handler,
                "address": bound.address.to_string(),
                "port": bound.address.port(),
            })
        })
        .collect();
    Ok(serde_json::to_string(&addresses)? + "\n")
}

/// One line per listener, and what to try first.
fn greeting(gateway: &Gateway, to_person: bool) -> String {
    let mut text = String::new();
    for bound in gateway.addresses() {
        let (protocol, name, handler) = (bound.protocol, &bound.name, bound.handler);
        let address = bound.address;
        // Writing to a String cannot fail.
        writeln!(
            text,
            "listening  {protocol:<5} {address:<21} {handler:<7} ({name})"
        )
        .unwrap_or(());
    }
    if let Some(ca) = gateway.development_ca() {
        let ca = ca.display();
        writeln!(
            text,
            "TLS uses a development certificate: `roomwire certs trust` says how to trust it"
        )
        .unwrap_or(());
        writeln!(
            text,
            "           or try: curl --cacert {ca} https://localhost:{}/",
            port(gateway, "https").unwrap_or(8443)
        )
        .unwrap_or(());
    }
    let web = port(gateway, "http").map(|port| format!("open http://localhost:{port}/"));
    let tcp = port(gateway, "rooms")
        .map(|port| format!("run `nc localhost {port}` and type /join lobby"));
    let first: Vec<String> = web.into_iter().chain(tcp).collect();
    if !first.is_empty() {
        writeln!(text, "try first: {}", first.join(", or ")).unwrap_or(());
    }
    if let Some(page) = gateway.admin_page() {
        writeln!(text, "live figures: {}", admin_link(&page, to_person)).unwrap_or(());
    }
    text
}

/// The link with its token is for people and for the first start: logs are read by many.
fn admin_link(page: &AdminPage, to_person: bool) -> String {
    match &page.token_file {
        Some(file) if page.token.is_some() && !page.is_new && !to_person => {
            let file = file.display();
            format!("{} (its token is in {file})", page.url)
        }
        _ => page.link(),
    }
}

/// The port of the first listener of this name or protocol.
fn port(gateway: &Gateway, wanted: &str) -> Option<u16> {
    let mut listeners = gateway.addresses().iter();
    let found = listeners.find(|bound| {
        bound.protocol == wanted || (bound.protocol == "tcp" && bound.handler == wanted)
    });
    found.map(|bound| bound.address.port())
}
