//! What can go wrong with TLS, told so that the reader knows which host and what to do.

use core::fmt;

/// Why a session or a config cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate authority of the config is no DER certificate; which one, from 0, and why.
    Authority {
        /// Its place among those handed in.
        index: usize,
        /// What the parser found.
        reason: Box<str>,
    },
    /// The server's certificate is refused.
    Certificate {
        /// The server that was asked for.
        host: Box<str>,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The server ended the session with a fatal alert (RFC 8446 §6.2).
    Alert {
        /// The server that was asked for.
        host: Box<str>,
        /// The alert's number.
        code: u8,
        /// The alert's name in the standard, in rustls's spelling.
        name: Box<str>,
    },
    /// The two ends share no version, cipher suite or other parameter.
    Incompatible {
        /// The server that was asked for.
        host: Box<str>,
        /// What is missing.
        reason: Box<str>,
    },
    /// What came is not TLS, breaks its rules, or fails to decrypt.
    Protocol {
        /// The server that was asked for.
        host: Box<str>,
        /// Which rule.
        reason: Box<str>,
    },
    /// The connection ended without `close_notify`: whatever has no length of its own may be cut
    /// short (RFC 8446 §6.1).
    Truncated {
        /// The server that was asked for.
        host: Box<str>,
        /// Whether it ended before the handshake did.
        handshaking: bool,
    },
    /// The name to connect to is neither a DNS name nor an IP address.
    ServerName {
        /// The name.
        host: Box<str>,
    },
    /// The cryptography provider failed (no randomness, a broken build).
    Provider {
        /// What it said.
        reason: Box<str>,
    },
}

/// What is wrong with a server's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Its chain ends at no trusted authority.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// Its time is over.
    Expired,
    /// Its time has not come; a wrong clock does this too.
    NotYetValid,
    /// It was revoked.
    Revoked,
    /// A signature in the chain does not match.
    BadSignature,
    /// Something else.
    Other(Box<str>),
}

impl TlsError {
    /// Whether another attempt at the same server may end differently: it closed the connection or
    /// stumbled, as opposed to a certificate or a config that will be the same next time.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            TlsError::Alert { .. } | TlsError::Protocol { .. } | TlsError::Truncated { .. }
        )
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Authority { index, reason } => {
                write!(
                    f,
                    "certificate authority number {} is unusable: {reason}",
                    index + 1
                )
            }
            TlsError::Certificate { host, fault } => {
                write!(f, "the certificate of {host} is refused: {fault}")
            }
            TlsError::Alert { host, code, name } => {
                write!(f, "{host} refused the TLS session: {name} (alert {code})")
            }
            TlsError::Incompatible { host, reason } => {
                write!(f, "{host} shares no TLS parameters with us: {reason}")
            }
            TlsError::Protocol { host, reason } => write!(f, "{host} broke TLS: {reason}"),
            TlsError::Truncated {
                host,
                handshaking: true,
            } => write!(f, "{host} closed the connection during the TLS handshake"),
            TlsError::Truncated {
                host,
                handshaking: false,
            } => write!(f, "{host} closed the connection without ending TLS"),
            TlsError::ServerName { host } => {
                write!(f, "{host:?} is neither a DNS name nor an IP address")
            }
            TlsError::Provider { reason } => write!(f, "cryptography failed: {reason}"),
        }
    }
}

impl core::error::Error for TlsError {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateFault::UnknownIssuer => "no trusted authority issued it",
            CertificateFault::WrongName => "it is for other names",
            CertificateFault::Expired => "it has expired",
            CertificateFault::NotYetValid => "it is not valid yet",
            CertificateFault::Revoked => "it was revoked",
            CertificateFault::BadSignature => "a signature in its chain does not match",
            CertificateFault::Other(reason) => reason,
        })
    }
}
