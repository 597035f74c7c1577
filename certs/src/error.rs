//! What can be wrong with a certificate, a key or the place where they are kept.
//!
//! Every message names the file and what to do about it, because the reader is an operator whose
//! gateway did not start. None of these reach a peer.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use x509_parser::prelude::ASN1Time;

/// Why certificates could not be read, made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Key files could not be kept from other users in this directory.
    #[error(
        "other users may change the files in {path} (mode {mode:03o}): \
         run `chmod 700 {path}`, or name another data directory",
        path = path.display()
    )]
    DirectoryExposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user, who could replace the keys in it.
    #[error(
        "{path} belongs to user id {owner}, who could replace the keys in it: \
         run `chown {user} {path}`, or name another data directory",
        path = path.display()
    )]
    DirectoryForeign {
        /// The directory.
        path: PathBuf,
        /// User id of the directory's owner.
        owner: u32,
        /// User id of this process.
        user: u32,
    },
    /// A certificate is no longer valid.
    #[error(
        "the certificate {subject} in {path} expired on {since}: renew it",
        path = path.display(),
        since = day(*since)
    )]
    Expired {
        /// The certificate file.
        path: PathBuf,
        /// Whom the certificate names.
        subject: String,
        /// The last second at which it was valid.
        since: SystemTime,
    },
    /// A key or a certificate could not be made.
    #[error("cannot make a development certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A private key may be read or changed by users it does not belong to.
    #[error(
        "the private key {path} is open to other users (mode {mode:03o}): run `chmod 600 {path}`",
        path = path.display()
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Certificate and key are not a pair.
    #[error(
        "the private key {key} does not belong to the first certificate in {certificate}: \
         name the key that the certificate was issued for, \
         and put the server's own certificate before those of its issuers",
        key = key.display(),
        certificate = certificate.display()
    )]
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{path} cannot be used: {reason}; {remedy}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A certificate file holds no certificate.
    #[error(
        "{path} holds no certificate: it must be PEM with `-----BEGIN CERTIFICATE-----` blocks, \
         the server's own certificate first",
        path = path.display()
    )]
    NoCertificate {
        /// The certificate file.
        path: PathBuf,
    },
    /// Client certificates are asked for, and nobody who could have issued them is named.
    #[error("{path} holds no authority that could have issued client certificates: \
             it must be PEM with `-----BEGIN CERTIFICATE-----` blocks",
        path = path.display()
    )]
    NoAuthority {
        /// The file of authorities.
        path: PathBuf,
    },
    /// A key file holds no key that can be used without a passphrase.
    #[error(
        "{path} holds no usable private key: it must be PEM with an unencrypted \
         `-----BEGIN PRIVATE KEY-----` (PKCS #8), RSA or EC key",
        path = path.display()
    )]
    NoKey {
        /// The key file.
        path: PathBuf,
    },
    /// A certificate is not valid yet.
    #[error(
        "the certificate {subject} in {path} is valid only from {until} on: \
         wait, or set this machine's clock",
        path = path.display(),
        until = day(*until)
    )]
    NotYetValid {
        /// The certificate file.
        path: PathBuf,
        /// Whom the certificate names.
        subject: String,
        /// When it begins to be valid.
        until: SystemTime,
    },
    /// rustls refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A setting names something that TLS here does not have.
    #[error("there is no {what} \"{name}\"; there are {known}")]
    Unknown {
        /// `cipher suite` or `key exchange`.
        what: &'static str,
        /// What was named.
        name: String,
        /// What could have been.
        known: String,
    },
    /// A file is larger than any certificate or key.
    #[error(
        "{path} is larger than {limit} bytes, so it is no certificate or key: name another file",
        path = path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
}

impl Error {
    /// Turns what the operating system answered into an error that names `path`.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A time as operators read it, such as `Jan  1 00:00:00 2027 +00:00`.
fn day(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .map_or_else(|| "an unknown day".to_owned(), |time| time.to_string())
}
