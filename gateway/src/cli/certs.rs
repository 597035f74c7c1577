//! `roomwire certs`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use httpdate::fmt_http_date;
use roomwire_certs::{
    DevelopmentCertificates, LEAF_FILE, LEAF_KEY_FILE, Pair, Report, check, inspect,
    trust_instructions,
};

use super::{serve, terminal};
use crate::config::ListenerConfig;
use crate::running::data_dir;
use crate::tls::own_pairs;

/// Makes and shows certificates.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roomwire certs create          make the development CA and certificate, if they are not there
  roomwire certs show            what they say
  roomwire certs show cert.pem   what another certificate says
  roomwire certs check --config roomwire.toml   whether those in use will do; exit code 1 if not
  roomwire certs check cert.pem key.pem         whether a pair will do
  roomwire certs trust           how to have programs trust the development CA")]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make the development CA and the certificate for localhost, if they are not there
    Create,
    /// Print what certificates say
    Show {
        /// PEM files; without any, the development certificates
        files: Vec<PathBuf>,
    },
    /// Say whether certificates will do: names, chain, days left, key
    Check(CheckArgs),
    /// Say how to trust the development CA
    Trust,
    /// Print the path of the development CA's certificate
    Path,
}

/// Exit code 1 means that one of them will not do; what is wrong is in the output.
#[derive(Debug, Args)]
struct CheckArgs {
    /// PEM file with a chain; without it the certificates of the configuration's https listeners
    #[arg(requires = "key", conflicts_with = "config")]
    certificate: Option<PathBuf>,
    /// PEM file with its key
    key: Option<PathBuf>,
    /// The configuration; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many days a certificate must still be valid
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    days: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CertsArgs) -> anyhow::Result<ExitCode> {
    let text = match &arguments.command {
        CertsCommand::Create => {
            let made = development()?;
            let what = if made.created {
                "made"
            } else {
                "already there:"
            };
            format!("{what} {}\n", made.ca_path.display())
        }
        CertsCommand::Show { files } if files.is_empty() => {
            let made = development()?;
            show(&[made.ca_path, made.leaf_path])?
        }
        CertsCommand::Show { files } => show(files)?,
        CertsCommand::Check(arguments) => return check_all(arguments),
        CertsCommand::Trust => trust_instructions(&development()?.ca_path),
        CertsCommand::Path => format!("{}\n", development()?.ca_path.display()),
    };
    terminal::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn development() -> anyhow::Result<DevelopmentCertificates> {
    let config = serve::read_config(None)?;
    let directory = data_dir(&config).context("there is no data directory: set HOME")?;
    Ok(DevelopmentCertificates::ensure(
        &directory.join("certs"),
        SystemTime::now(),
    )?)
}

fn check_all(arguments: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut pairs = Vec::new();
    if let Some((certificate, key)) = arguments.certificate.as_ref().zip(arguments.key.as_ref()) {
        pairs.push(Pair::new(certificate, key));
    } else {
        let config = serve::read_config(arguments.config.as_deref())?;
        let with_tls = |listener: &&ListenerConfig| listener.speaks_tls();
        for listener in config.listeners.iter().filter(with_tls) {
            pairs.extend(own_pairs(listener));
        }
        if pairs.is_empty() && config.listeners.iter().any(ListenerConfig::speaks_tls) {
            let directory = data_dir(&config).context("there is no data directory: set HOME")?;
            let directory = directory.join("certs");
            pairs.push(Pair::new(
                directory.join(LEAF_FILE),
                directory.join(LEAF_KEY_FILE),
            ));
        }
    }
    let now = SystemTime::now();
    let reports: Vec<Report> = pairs
        .iter()
        .map(|pair| check(pair, now, arguments.days))
        .collect();
    let text = if arguments.json {
        let reports: Vec<_> = reports.iter().map(report_json).collect();
        serde_json::to_string_pretty(&reports)? + "\n"
    } else {
        report_text(&reports)?
    };
    terminal::print(text.as_bytes())?;
    Ok(if reports.iter().all(|report| report.problems.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report_text(reports: &[Report]) -> anyhow::Result<String> {
    let mut text = String::new();
    for report in reports {
        let verdict = if report.problems.is_empty() {
            "good"
        } else {
            "bad"
        };
        writeln!(text, "{verdict}  {}", report.pair.certificate.display())?;
        if let Some(own) = report.chain.first() {
            writeln!(text, "  names      {}", own.names.join(", "))?;
            writeln!(text, "  days left  {}", report.days_left)?;
        }
        for (nth, certificate) in report.chain.iter().enumerate() {
            let word = if nth == 0 { "chain" } else { "" };
            let end = fmt_http_date(certificate.not_after);
            let (subject, issuer) = (&certificate.subject, &certificate.issuer);
            writeln!(text, "  {word:<9}  {subject}, by {issuer}, until {end}")?;
        }
        let key = match report.key_matches {
            Some(true) => "belongs to it",
            Some(false) => "cannot be used",
            None => "not looked at",
        };
        writeln!(text, "  key        {}: {key}", report.pair.key.display())?;
        for problem in &report.problems {
            writeln!(text, "  problem    {problem}")?;
        }
        for note in &report.notes {
            writeln!(text, "  note       {note}")?;
        }
        writeln!(text)?;
    }
    if reports.is_empty() {
        writeln!(text, "no https listener, no certificate")?;
    }
    Ok(text)
}

fn report_json(report: &Report) -> serde_json::Value {
    let chain = report.chain.iter().map(|certificate| {
        serde_json::json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "names": certificate.names,
            "not_before": fmt_http_date(certificate.not_before),
            "not_after": fmt_http_date(certificate.not_after),
            "authority": certificate.is_ca,
        })
    });
    serde_json::json!({
        "certificate": report.pair.certificate,
        "key": report.pair.key,
        "good": report.problems.is_empty(),
        "key_matches": report.key_matches,
        "days_left": report.days_left,
        "chain": chain.collect::<Vec<_>>(),
        "problems": report.problems,
        "notes": report.notes,
    })
}

fn show(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = String::new();
    for file in files {
        writeln!(text, "{}", file.display())?;
        for certificate in inspect(file)? {
            writeln!(text, "  subject     {}", certificate.subject)?;
            writeln!(text, "  issuer      {}", certificate.issuer)?;
            if !certificate.names.is_empty() {
                writeln!(text, "  names       {}", certificate.names.join(", "))?;
            }
            writeln!(
                text,
                "  not before  {}",
                fmt_http_date(certificate.not_before)
            )?;
            writeln!(
                text,
                "  not after   {}",
                fmt_http_date(certificate.not_after)
            )?;
            if certificate.is_ca {
                writeln!(text, "  authority   yes")?;
            }
            writeln!(text)?;
        }
    }
    Ok(text)
}
