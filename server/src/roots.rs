//! Which certificates are trusted: the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name. Where the system has none (an empty container), core has a list of its own.

use std::env;

/// What was found.
#[derive(Debug)]
pub(crate) struct Roots {
    /// The certificates, in DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// What to tell about it.
    pub(crate) warnings: Vec<String>,
    /// Why TLS must not be spoken: whoever names the certificates to trust wants no others, and the
    /// list of core would be others.
    pub(crate) fault: Option<String>,
}

/// Looks for certificates.
pub(crate) fn load() -> Roots {
    let found = rustls_native_certs::load_native_certs();
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let named = variables
        .into_iter()
        .find(|name| env::var_os(name).is_some());
    let mut roots = Roots {
        certificates: found
            .certs
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
        warnings: Vec::new(),
        fault: None,
    };
    if let Some(name) = named {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if roots.certificates.is_empty() {
            let reason = errors
                .first()
                .map_or(String::new(), |error| format!(": {error}"));
            roots.fault = Some(format!("{name} leads to no certificate{reason}"));
        } else {
            let warnings = errors
                .iter()
                .map(|error| format!("certificates of {name}: {error}"));
            roots.warnings = warnings.collect();
        }
    }
    roots
}
