//! `roomwire certs`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use httpdate::fmt_http_date;
use roomwire_certs::{DevelopmentCertificates, inspect, trust_instructions};

use super::{serve, terminal};
use crate::running::data_dir;

/// Makes and shows certificates.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roomwire certs create          make the development CA and certificate, if they are not there
  roomwire certs show            what they say
  roomwire certs show cert.pem   what another certificate says
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
    /// Say how to trust the development CA
    Trust,
    /// Print the path of the development CA's certificate
    Path,
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
