//! Why a handshake was refused.
//!
//! The refusing side knows its [`Gate`]: [`Gate::of`] reads it from rustls's error,
//! and [`crate::Refusal`] keeps it where only an alert survives. The refused side
//! hears one alert, which may stand for several: [`Gate::from_alert`] gives these
//! [`Gates`], and [`Gates::narrow`] leaves those that its own clock allows.
//! The names are stable: logs, metrics and `peer inspect` carry them.

use std::fmt;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerMisbehaved};

use crate::leaf::Validity;

/// The gate at which a handshake was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// No certificate was shown.
    NoCertificate,
    /// The chain does not lead to a CA we trust.
    UnknownCa,
    /// The certificate's last second has passed.
    Expired,
    /// The certificate's first second is still to come.
    NotYetValid,
    /// The certificate names another node than expected, or none of our trust domain.
    WrongNode,
    /// The certificate was revoked by its CA.
    Revoked,
    /// A signature does not hold, or the certificate is malformed or for another use.
    BadSignature,
    /// The peer speaks another protocol than ours.
    Alpn,
}

impl Gate {
    /// Every gate, in the order of `certificates.md`.
    pub const ALL: [Self; 8] = [
        Self::NoCertificate,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongNode,
        Self::Revoked,
        Self::BadSignature,
        Self::Alpn,
    ];

    /// The stable name, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongNode => "wrong_node",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad_signature",
            Self::Alpn => "alpn",
        }
    }

    /// The gate at which *we* refused, from the error our handshake ended with.
    /// `None` where it ended otherwise: a broken message, or the peer's alert.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's enum is open, and most of it is about bytes"
    )]
    pub fn of(error: &Error) -> Option<Self> {
        if let Error::InvalidCertificate(error) = error {
            return Some(Self::of_certificate(error));
        }
        match error {
            Error::NoCertificatesPresented => Some(Self::NoCertificate),
            Error::NoApplicationProtocol
            | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
                Some(Self::Alpn)
            }
            _ => None,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's enum is open, and what it adds must refuse too"
    )]
    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError::*;
        match error {
            Expired | ExpiredContext { .. } => Self::Expired,
            NotValidYet | NotValidYetContext { .. } => Self::NotYetValid,
            Revoked => Self::Revoked,
            NotValidForName | NotValidForNameContext { .. } | ApplicationVerificationFailure => {
                Self::WrongNode
            }
            BadSignature
            | BadEncoding
            | UnhandledCriticalExtension
            | UnsupportedSignatureAlgorithmContext { .. }
            | UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            | InvalidPurpose
            | InvalidPurposeContext { .. } => Self::BadSignature,
            // `UnknownIssuer`, and all the ways in which a path is not admissible
            // (`Other`): the chain does not lead to a CA we trust.
            _ => Self::UnknownCa,
        }
    }

    /// The gates that a received TLS alert may stand for; `None` for an alert that is
    /// about no gate. The table is rustls's own, from certificate error to alert.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other alerts are about bytes"
    )]
    pub fn from_alert(alert: u8) -> Option<Gates> {
        use AlertDescription as Alert;
        let gates: &[Self] = match Alert::from(alert) {
            Alert::BadCertificate => &[Self::WrongNode, Self::BadSignature],
            Alert::UnsupportedCertificate | Alert::DecryptError => &[Self::BadSignature],
            Alert::CertificateRevoked => &[Self::Revoked],
            Alert::CertificateExpired => &[Self::Expired, Self::NotYetValid],
            Alert::CertificateUnknown | Alert::UnknownCA => &[Self::UnknownCa],
            Alert::AccessDenied => &[Self::WrongNode],
            Alert::CertificateRequired => &[Self::NoCertificate],
            Alert::NoApplicationProtocol => &[Self::Alpn],
            _ => return None,
        };
        Some(Gates(gates))
    }

    /// As [`Gate::from_alert`], from the error code of a closed QUIC connection:
    /// `0x100` + alert (RFC 9001 section 4.8). `None` for all other codes.
    pub fn from_quic_code(code: u64) -> Option<Gates> {
        let alert = code.checked_sub(QUIC_CRYPTO_ERRORS)?;
        Self::from_alert(u8::try_from(alert).ok()?)
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The gates that a refused side must reckon with; never empty. Prints as
/// `expired or not_yet_valid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gates(&'static [Gate]);

impl Gates {
    /// The gates, most likely first.
    pub fn as_slice(&self) -> &'static [Gate] {
        self.0
    }

    /// Leaves what our own clock allows: a certificate of ours that has ended by our
    /// clock was not refused for being too young, and the other way round. Where it
    /// holds by our clock one of the two clocks is wrong, and both gates remain.
    #[must_use]
    pub fn narrow(self, ours: Validity, now: UnixTime) -> Self {
        if !self.0.contains(&Gate::Expired) || !self.0.contains(&Gate::NotYetValid) {
            return self;
        }
        match ours.refuses(now) {
            Some(Gate::Expired) => Self(&[Gate::Expired]),
            Some(Gate::NotYetValid) => Self(&[Gate::NotYetValid]),
            Some(_) | None => self,
        }
    }
}

impl fmt::Display for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, gate) in self.0.iter().enumerate() {
            let or = if place == 0 { "" } else { " or " };
            write!(f, "{or}{gate}")?;
        }
        Ok(())
    }
}

/// Where QUIC keeps TLS alerts among its error codes.
const QUIC_CRYPTO_ERRORS: u64 = 0x100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::OtherError;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn validity() -> Validity {
        Validity {
            not_before: at(100),
            not_after: at(200),
        }
    }

    #[test]
    fn names_are_the_ones_in_the_design() {
        let names = Gate::ALL.map(|gate| gate.to_string()).join(" ");

        assert_eq!(
            names,
            "no_certificate unknown_ca expired not_yet_valid wrong_node revoked bad_signature alpn"
        );
    }

    #[test]
    fn the_alert_for_each_error_stands_for_its_gate() {
        use CertificateError::*;
        let other = OtherError(std::sync::Arc::new(std::io::Error::other("path")));
        for error in [
            BadEncoding,
            Expired,
            NotValidYet,
            Revoked,
            UnhandledCriticalExtension,
            UnknownIssuer,
            UnknownRevocationStatus,
            ExpiredRevocationList,
            BadSignature,
            NotValidForName,
            InvalidPurpose,
            ApplicationVerificationFailure,
            Other(other),
        ] {
            let gate = Gate::of(&error.clone().into()).expect("a certificate has a gate");
            let alert = u8::from(AlertDescription::from(error.clone()));

            let heard = Gate::from_alert(alert).expect("its alert has gates");

            assert!(heard.as_slice().contains(&gate), "{error:?}: {heard}");
        }
    }

    #[test]
    fn every_gate_but_none_other_can_be_heard() {
        let heard: Vec<Gate> = (0..=u8::MAX)
            .filter_map(Gate::from_alert)
            .flat_map(|gates| gates.as_slice())
            .copied()
            .collect();

        for gate in Gate::ALL {
            assert!(heard.contains(&gate), "{gate}");
        }
    }

    #[test]
    fn a_quic_code_is_an_alert_and_256() {
        assert_eq!(Gate::from_quic_code(0x100 + 45), Gate::from_alert(45));
        assert_eq!(Gate::from_quic_code(45), None);
        assert_eq!(Gate::from_quic_code(0x200), None);
        assert_eq!(Gate::from_quic_code(u64::MAX), None);
    }

    #[test]
    fn our_own_clock_narrows_what_an_alert_may_mean() {
        let gates = Gate::from_alert(45).expect("certificate_expired");
        assert_eq!(gates.to_string(), "expired or not_yet_valid");

        assert_eq!(gates.narrow(validity(), at(201)).to_string(), "expired");
        assert_eq!(
            gates.narrow(validity(), at(99)).to_string(),
            "not_yet_valid"
        );
        assert_eq!(gates.narrow(validity(), at(150)), gates);

        let alpn = Gate::from_alert(120).expect("no_application_protocol");
        assert_eq!(alpn.narrow(validity(), at(201)), alpn);
    }

    #[test]
    fn an_error_that_is_no_refusal_of_ours_has_no_gate() {
        assert_eq!(Gate::of(&Error::DecryptError), None);
        assert_eq!(
            Gate::of(&Error::AlertReceived(AlertDescription::UnknownCA)),
            None
        );
    }
}
