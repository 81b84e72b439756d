//! TLS as bytes in, bytes out: both runtimes and the simulator run the same code and never know it.

use std::sync::Arc;

/// The settings of TLS to one provider.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// rustls's own settings; the clock is filled in per session.
    pub(crate) inner: Arc<rustls::ClientConfig>,
}
