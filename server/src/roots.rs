//! Which certificates are trusted: the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
//! A machine without any (an empty container) gets Mozilla's list, which is built in.

use std::env;

/// What was found.
#[derive(Debug)]
pub(crate) struct Roots {
    /// The certificates, in DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// What to tell about it.
    pub(crate) warnings: Vec<String>,
}

/// Looks for the system's certificates.
pub(crate) fn load() -> Roots {
    let found = rustls_native_certs::load_native_certs();
    let mut certificates: Vec<Vec<u8>> = found.certs.iter().map(|it| it.to_vec()).collect();
    let mut warnings: Vec<String> = Vec::new();
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .find(|name| env::var_os(name).is_some());
    match named {
        // Whoever names the certificates wants no others.
        Some(name) => {
            let errors = found.errors.iter();
            warnings.extend(errors.map(|error| format!("certificates of {name}: {error}")));
            if certificates.is_empty() {
                warnings.push(format!("{name} holds no certificates: no provider is trusted"));
            }
        }
        None if certificates.is_empty() => {
            let builtin = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            certificates = builtin.iter().map(|it| it.to_vec()).collect();
        }
        None => {}
    }
    Roots { certificates, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_somebody_to_trust() {
        assert!(!load().certificates.is_empty());
    }
}
