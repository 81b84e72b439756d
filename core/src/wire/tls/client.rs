//! [`ClientConfig`] and [`Session`]: rustls 0.23, its streams replaced by buffers of the caller.
//!
//! rustls keeps three buffers per session. Plaintext received and records to send leave before a
//! call returns or with the next `flush`; the third, for incomplete records, grows to 32 KiB (while
//! a large certificate chain arrives, further) and is 4 KiB after `shrink`.

use core::fmt;
use core::time::Duration;
use std::io::{self, BufRead, IoSlice, Write};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConnection, Error, HandshakeKind, RootCertStore};
use smallvec::SmallVec;

use super::{CertificateFault, TlsError};
use crate::base::{OutBuf, UnixMillis};

/// Servers whose tickets are remembered; rustls counts tickets and takes eight for each server.
const RESUMPTION_SERVERS_MAX: usize = 64;
const TICKETS_PER_SERVER: usize = 8;
/// Plaintext encrypted before the records move on: four full records.
const SEND_STEP_BYTES: usize = 64 * 1024;
const SEND_STEP_SLICES: usize = 64;

/// What TLS sessions share: trusted roots, and the tickets of earlier sessions so that later ones
/// skip half of the handshake. Clones share both. It offers TLS 1.2 and 1.3, and HTTP/1.1 by ALPN.
///
/// The tickets lie behind rustls's own lock, which is held for the moments of storing and taking
/// one.
#[derive(Clone)]
pub struct ClientConfig {
    shared: Arc<rustls::ClientConfig>,
    roots: usize,
    skipped: usize,
}

impl ClientConfig {
    /// Trusts `roots` (DER), the ones of the operating system, or those of Mozilla that are
    /// compiled in where none of `roots` is usable; and `authorities` (DER) besides. Unusable roots
    /// are skipped and [counted](ClientConfig::roots_skipped): every system has a few oddities
    /// among its own.
    ///
    /// # Errors
    /// [`TlsError::Authority`] if one of `authorities`, which somebody named, is unusable.
    pub fn new(
        roots: &[impl AsRef<[u8]>],
        authorities: &[impl AsRef<[u8]>],
    ) -> Result<ClientConfig, TlsError> {
        let mut store = RootCertStore::empty();
        let ders = roots.iter().map(|der| CertificateDer::from(der.as_ref()));
        let (_, skipped) = store.add_parsable_certificates(ders);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for (index, der) in authorities.iter().enumerate() {
            let der = CertificateDer::from(der.as_ref().to_vec());
            store.add(der).map_err(|error| TlsError::Authority {
                index,
                reason: error.to_string().into(),
            })?;
        }
        let roots = store.len();
        Ok(ClientConfig {
            shared: Arc::new(rustls_config(store)?),
            roots,
            skipped,
        })
    }

    /// Certificates that are trusted.
    pub const fn roots(&self) -> usize {
        self.roots
    }

    /// Certificates among the roots handed in that could not be used.
    pub const fn roots_skipped(&self) -> usize {
        self.skipped
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("roots", &self.roots)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// The client's end of one TLS connection. See the [module](super) for how its calls fit together.
pub struct Session {
    // Boxed: rustls's state is over a kilobyte, and sessions lie beside plain connections in
    // tables.
    tls: Box<ClientConnection>,
    host: Box<str>,
    failed: Option<TlsError>,
    /// The server said `close_notify`.
    peer_closed: bool,
    /// We did.
    closed: bool,
}

impl Session {
    /// Begins a session with `server_name`, a DNS name or an IP address (IPv6 without brackets), at
    /// the wall time `wall`, by which certificates and tickets are judged. The first bytes to write
    /// are in [`flush`](Session::flush).
    ///
    /// # Errors
    /// [`TlsError::ServerName`], or [`TlsError::Provider`] if there is no randomness.
    pub fn connect(
        config: &ClientConfig,
        server_name: &str,
        wall: UnixMillis,
    ) -> Result<Session, TlsError> {
        let name =
            ServerName::try_from(server_name.to_owned()).map_err(|_| TlsError::ServerName {
                host: server_name.into(),
            })?;
        // The clone shares roots, verifier and tickets; only the clock is this session's own.
        let mut own = rustls::ClientConfig::clone(&config.shared);
        own.time_provider = Arc::new(HandedIn(wall));
        let mut tls = ClientConnection::new(Arc::new(own), name)
            .map_err(|error| translate(&error, server_name))?;
        // `send` bounds each step itself, so a limit here could only split its records.
        tls.set_buffer_limit(None);
        Ok(Session {
            tls: Box::new(tls),
            host: server_name.into(),
            failed: None,
            peer_closed: false,
            closed: false,
        })
    }

    /// Takes received bytes from the front of `ciphertext` and appends what they decrypt to. Takes
    /// all of them, unless `plaintext_max` bytes of plaintext came out first (over by one record,
    /// 16 KiB, at most): the rest is for a later call. Bytes after `close_notify` are dropped (RFC
    /// 8446 §6.1).
    ///
    /// # Errors
    /// What the server did wrong; plaintext that came before it has been appended, and the alert
    /// that tells the server is in [`flush`](Session::flush). Every later call fails in the same
    /// way.
    pub fn receive(
        &mut self,
        ciphertext: &mut BytesMut,
        plaintext: &mut BytesMut,
        plaintext_max: usize,
    ) -> Result<(), TlsError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let end = plaintext.len().saturating_add(plaintext_max);
        while !ciphertext.is_empty() && plaintext.len() < end {
            if self.peer_closed {
                ciphertext.clear();
                break;
            }
            let mut rest: &[u8] = ciphertext;
            let taken = match self.tls.read_tls(&mut rest) {
                // It always has room for more; this keeps the loop finite should it not.
                Ok(0) => return Err(self.fail(self.protocol(&"its records never end"))),
                Ok(taken) => taken,
                Err(error) => return Err(self.fail(self.protocol(&error))),
            };
            ciphertext.advance(taken);
            let processed = self.tls.process_new_packets();
            self.take_plaintext(plaintext);
            match processed {
                Ok(state) => self.peer_closed = state.peer_has_closed(),
                Err(error) => return Err(self.fail(translate(&error, &self.host))),
            }
        }
        if ciphertext.is_empty() {
            // Keeps the caller's buffer from creeping through its allocation.
            ciphertext.clear();
        }
        Ok(())
    }

    /// Takes note that the connection delivers no more bytes.
    ///
    /// # Errors
    /// [`TlsError::Truncated`] without `close_notify`: a body that ends with the connection may be
    /// cut short, one with a length of its own is as whole as it says. Or the failure from before.
    pub fn receive_end(&mut self) -> Result<(), TlsError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.peer_closed {
            return Ok(());
        }
        Err(self.fail(TlsError::Truncated {
            host: self.host.clone(),
            handshaking: self.is_handshaking(),
        }))
    }

    /// Encrypts all of `plaintext` onto the end of `ciphertext`, after anything that
    /// [`flush`](Session::flush) would give. Takes nothing while the handshake lasts.
    ///
    /// # Errors
    /// The failure from before, or [`TlsError::Protocol`] after
    /// [`close_notify`](Session::close_notify) or when the keys are used up (some 2^24 records in
    /// TLS 1.2).
    pub fn send(
        &mut self,
        plaintext: &mut OutBuf,
        ciphertext: &mut OutBuf,
    ) -> Result<(), TlsError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.flush(ciphertext);
        if self.closed {
            return Err(self.protocol(&"nothing may be sent after close_notify"));
        }
        if self.is_handshaking() {
            return Ok(());
        }
        while !plaintext.is_empty() {
            let mut batch = plaintext.take_batch(SEND_STEP_BYTES, SEND_STEP_SLICES);
            while !batch.is_empty() {
                let slices: SmallVec<[IoSlice<'_>; 8]> =
                    batch.slices().iter().map(|s| IoSlice::new(s)).collect();
                let written = self.tls.writer().write_vectored(&slices);
                drop(slices);
                let written = match written {
                    Ok(0) => return Err(self.fail(self.protocol(&"nothing more may be sent"))),
                    Ok(written) => written,
                    Err(error) => return Err(self.fail(self.protocol(&error))),
                };
                batch.advance(written);
                self.flush(ciphertext);
            }
            plaintext.recycle(batch);
        }
        Ok(())
    }

    /// Moves what must be written (handshake, alerts, answers to key updates) to the end of
    /// `ciphertext`.
    pub fn flush(&mut self, ciphertext: &mut OutBuf) {
        while self.tls.wants_write() {
            // Only the sink could fail, and it does not; nothing written would mean nothing wanted.
            if !matches!(self.tls.write_tls(&mut Sink(ciphertext)), Ok(1..)) {
                break;
            }
        }
    }

    /// Ends our side: `close_notify` goes to the end of `ciphertext`, once; nothing can be sent
    /// after it. The server's side stays open until [`peer_closed`](Session::peer_closed).
    pub fn close_notify(&mut self, ciphertext: &mut OutBuf) {
        self.closed = true;
        self.tls.send_close_notify();
        self.flush(ciphertext);
    }

    /// Gives back what large records made the receiving buffer grow by; for connections that now
    /// only wait. An idle session then holds some 8 KiB and the server's certificates.
    pub fn shrink(&mut self) {
        // rustls fits its buffer before it reads, so reading nothing is enough. That it takes the
        // end of the stream as seen changes only an error that `take_plaintext` does not look at.
        let _ = self.tls.read_tls(&mut io::empty());
    }

    /// Whether the handshake is not done yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the server said `close_notify`: the end of the connection is then a clean one.
    pub const fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether tickets of an earlier session saved half of this handshake.
    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The version agreed on, for logs: `TLSv1_2` or `TLSv1_3`.
    pub fn version(&self) -> Option<&'static str> {
        self.tls
            .protocol_version()
            .and_then(|version| version.as_str())
    }

    fn take_plaintext(&mut self, plaintext: &mut BytesMut) {
        let mut reader = self.tls.reader();
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                break;
            }
            let taken = chunk.len();
            plaintext.extend_from_slice(chunk);
            reader.consume(taken);
        }
    }

    fn fail(&mut self, error: TlsError) -> TlsError {
        self.failed = Some(error.clone());
        error
    }

    fn protocol(&self, reason: &dyn fmt::Display) -> TlsError {
        TlsError::Protocol {
            host: self.host.clone(),
            reason: reason.to_string().into(),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("host", &self.host)
            .field("handshaking", &self.is_handshaking())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The wall time of one session's beginning.
#[derive(Debug)]
struct HandedIn(UnixMillis);

impl TimeProvider for HandedIn {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.0)))
    }
}

/// Records leave rustls as slices; many of them join in few pieces.
struct Sink<'a>(&'a mut OutBuf);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        self.0.reserve(total);
        for slice in slices {
            self.0.put(slice);
        }
        Ok(total)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn rustls_config(store: RootCertStore) -> Result<rustls::ClientConfig, TlsError> {
    let failed = |reason: String| TlsError::Provider {
        reason: reason.into(),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
            .build()
            .map_err(|error| failed(error.to_string()))?;
    // This clock is replaced in each session.
    let clock = Arc::new(HandedIn(UnixMillis(0)));
    let mut config = rustls::ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| failed(error.to_string()))?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(RESUMPTION_SERVERS_MAX * TICKETS_PER_SERVER);
    Ok(config)
}

/// rustls's errors in our terms: whose fault, and about which host.
fn translate(error: &Error, host: &str) -> TlsError {
    let host = Box::from(host);
    match error {
        Error::InvalidCertificate(error) => TlsError::Certificate {
            host,
            fault: certificate_fault(error),
        },
        Error::NoCertificatesPresented => TlsError::Certificate {
            host,
            fault: CertificateFault::Other("none was presented".into()),
        },
        Error::AlertReceived(alert) => TlsError::Alert {
            host,
            code: u8::from(*alert),
            name: alert.as_str().unwrap_or("unknown").into(),
        },
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsError::Incompatible {
            host,
            reason: error.to_string().into(),
        },
        Error::FailedToGetRandomBytes | Error::FailedToGetCurrentTime => TlsError::Provider {
            reason: error.to_string().into(),
        },
        _ => TlsError::Protocol {
            host,
            reason: error.to_string().into(),
        },
    }
}

fn certificate_fault(error: &CertificateError) -> CertificateFault {
    match error {
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::Revoked => CertificateFault::Revoked,
        CertificateError::BadSignature => CertificateFault::BadSignature,
        other => CertificateFault::Other(other.to_string().into()),
    }
}
