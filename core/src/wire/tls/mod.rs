//! TLS as bytes in, bytes out: both runtimes and the simulator run the same code and never know it.

use std::sync::Arc;

/// The settings of TLS to one provider.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// rustls's own settings; the clock is filled in per session.
    #[allow(dead_code, reason = "for sessions, which are made elsewhere")]
    pub(crate) inner: Arc<rustls::ClientConfig>,
}

impl ClientConfig {
    /// Trusts `roots` (DER), of which unusable ones are skipped, and `authorities` (DER) besides.
    ///
    /// # Errors
    /// If one of `authorities` is unusable.
    pub fn new(
        roots: &[impl AsRef<[u8]>],
        authorities: &[impl AsRef<[u8]>],
    ) -> Result<ClientConfig, String> {
        use rustls::pki_types::CertificateDer;
        let mut store = rustls::RootCertStore::empty();
        let ders = roots.iter().map(|der| CertificateDer::from(der.as_ref()));
        store.add_parsable_certificates(ders);
        for der in authorities {
            let der = CertificateDer::from(der.as_ref().to_vec());
            store.add(der).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(ClientConfig {
            inner: Arc::new(inner),
        })
    }
}
