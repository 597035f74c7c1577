//! Why a TLS handshake failed, as a counter: who has to look into it differs.

use std::io;

use roomwire_metrics::Id;
use rustls::{AlertDescription, Error};

/// The counter of a failed handshake, besides the one of all of them.
pub(crate) fn failure_counter(error: &io::Error) -> Id {
    match error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>())
    {
        // The connection broke, or ended before the handshake did.
        None => Id::TlsErrorsGone,
        Some(Error::NoApplicationProtocol) => Id::TlsErrorsAlpn,
        Some(Error::PeerIncompatible(_)) => Id::TlsErrorsIncompatible,
        Some(
            Error::NoCertificatesPresented
            | Error::InvalidCertificate(_)
            | Error::InvalidCertRevocationList(_),
        ) => Id::TlsErrorsClientCertificate,
        Some(Error::AlertReceived(alert)) => refused_by_client(*alert),
        Some(
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError,
        ) => Id::TlsErrorsMalformed,
        Some(_) => Id::TlsErrorsOther,
    }
}

/// RFC 8446 §6.2: what a client says that ends a handshake.
fn refused_by_client(alert: AlertDescription) -> Id {
    use AlertDescription as Alert;
    match alert {
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => Id::TlsErrorsCertificate,
        Alert::HandshakeFailure
        | Alert::ProtocolVersion
        | Alert::InsufficientSecurity
        | Alert::InappropriateFallback => Id::TlsErrorsIncompatible,
        Alert::CloseNotify | Alert::UserCanceled => Id::TlsErrorsGone,
        _ => Id::TlsErrorsOther,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_counter() {
        let tls = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let check = |error: io::Error, expected: Id| {
            assert_eq!(failure_counter(&error), expected, "{error:?}");
        };
        check(io::ErrorKind::UnexpectedEof.into(), Id::TlsErrorsGone);
        check(tls(Error::NoApplicationProtocol), Id::TlsErrorsAlpn);
        check(
            tls(Error::NoCertificatesPresented),
            Id::TlsErrorsClientCertificate,
        );
        check(
            tls(Error::AlertReceived(AlertDescription::UnknownCA)),
            Id::TlsErrorsCertificate,
        );
        check(
            tls(Error::AlertReceived(AlertDescription::ProtocolVersion)),
            Id::TlsErrorsIncompatible,
        );
        check(tls(Error::DecryptError), Id::TlsErrorsMalformed);
        check(tls(Error::General(String::new())), Id::TlsErrorsOther);
    }
}
