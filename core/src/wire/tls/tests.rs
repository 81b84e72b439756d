//! Sessions against a server of rustls in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::base::{OutBuf, UnixMillis};

/// 2026-06-01, within the certificates of [`Authority::issue`].
const WALL: UnixMillis = UnixMillis(1_780_272_000_000);
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NONE: &[&[u8]] = &[];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server's settings, with a certificate for `names`, valid through 2026.
    fn issue(
        &self,
        names: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<rustls::ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn config(&self) -> ClientConfig {
        ClientConfig::new(NONE, &[self.der()]).unwrap()
    }
}

/// Both ends, and what each received.
struct Pair {
    session: Session,
    server: ServerConnection,
    received: BytesMut,
    served: Vec<u8>,
    /// Most bytes that either end is given at once.
    step: usize,
}

impl Pair {
    fn new(config: &ClientConfig, server: &Arc<rustls::ServerConfig>, name: &str) -> Pair {
        Pair {
            session: Session::connect(config, name, WALL).unwrap(),
            server: ServerConnection::new(Arc::clone(server)).unwrap(),
            received: BytesMut::new(),
            served: Vec::new(),
            step: usize::MAX,
        }
    }

    fn step(mut self, step: usize) -> Pair {
        self.step = step;
        self
    }

    /// Carries bytes both ways until neither end has any.
    fn drive(&mut self) -> Result<(), TlsError> {
        loop {
            let mut out = OutBuf::new();
            self.session.flush(&mut out);
            let sent = out.take_all();
            self.serve(&sent);
            let mut answer = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut answer).unwrap();
            }
            if sent.is_empty() && answer.is_empty() {
                return Ok(());
            }
            self.receive(&answer)?;
        }
    }

    fn serve(&mut self, ciphertext: &[u8]) {
        for mut part in ciphertext.chunks(self.step) {
            while !part.is_empty() {
                if self.server.read_tls(&mut part).unwrap() == 0 {
                    break;
                }
                // The server's own view of a failure is not what is tested.
                let _ = self.server.process_new_packets();
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = self.server.reader().read(&mut buffer) {
                    self.served.extend_from_slice(&buffer[..read]);
                }
            }
        }
    }

    fn receive(&mut self, ciphertext: &[u8]) -> Result<(), TlsError> {
        for part in ciphertext.chunks(self.step) {
            let mut part = BytesMut::from(part);
            self.session
                .receive(&mut part, &mut self.received, usize::MAX)?;
            assert!(part.is_empty());
        }
        Ok(())
    }

    fn send(&mut self, text: &[u8]) {
        let (mut plaintext, mut ciphertext) = (OutBuf::new(), OutBuf::new());
        plaintext.put(text);
        self.session.send(&mut plaintext, &mut ciphertext).unwrap();
        assert!(plaintext.is_empty());
        self.serve(&ciphertext.take_all());
    }

    /// What the server writes for `text`, not yet carried.
    fn answer(&mut self, text: &[u8]) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        for part in text.chunks(16 * 1024) {
            self.server.writer().write_all(part).unwrap();
            while self.server.wants_write() {
                self.server.write_tls(&mut ciphertext).unwrap();
            }
        }
        ciphertext
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn fault_of(result: Result<(), TlsError>) -> CertificateFault {
    match result {
        Err(TlsError::Certificate { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_flows_both_ways_at_any_split() {
    let authority = Authority::new("Test");
    let config = authority.config();
    for versions in [&[&TLS13] as &[_], &[&TLS12]] {
        let server = authority.issue(&["api.test"], versions);
        for step in [1, 2, 7, 1460, usize::MAX] {
            let mut pair = Pair::new(&config, &server, "api.test").step(step);
            assert!(pair.session.is_handshaking());
            pair.drive().unwrap();
            assert!(!pair.session.is_handshaking());
            assert_eq!(pair.server.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(pair.session.version(), versions[0].version.as_str());
            pair.send(b"request");
            pair.send(&pattern(40_000));
            assert_eq!(&pair.served[..7], b"request");
            assert!(pair.served[7..] == pattern(40_000));
            let answer = pair.answer(&pattern(20_000));
            pair.receive(&answer).unwrap();
            assert!(pair.received == pattern(20_000));
            // Also with half a record received.
            let answer = pair.answer(b"more");
            pair.session.shrink();
            pair.receive(&answer[..9]).unwrap();
            pair.session.shrink();
            pair.receive(&answer[9..]).unwrap();
            assert_eq!(&pair.received[20_000..], b"more");
            pair.drive().unwrap();
        }
    }
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done() {
    let authority = Authority::new("Test");
    let server = authority.issue(&["api.test"], BOTH);
    let mut pair = Pair::new(&authority.config(), &server, "api.test");
    let (mut plaintext, mut ciphertext) = (OutBuf::new(), OutBuf::new());
    plaintext.put(b"early");
    pair.session.send(&mut plaintext, &mut ciphertext).unwrap();
    assert_eq!(plaintext.len(), 5);
    pair.serve(&ciphertext.take_all());
    pair.drive().unwrap();
    pair.session.send(&mut plaintext, &mut ciphertext).unwrap();
    assert!(plaintext.is_empty());
    pair.serve(&ciphertext.take_all());
    assert_eq!(pair.served, b"early");
}

#[test]
fn large_transfers_are_whole_and_bounded_by_the_plaintext_asked_for() {
    let authority = Authority::new("Test");
    let server = authority.issue(&["api.test"], BOTH);
    let mut pair = Pair::new(&authority.config(), &server, "api.test");
    pair.drive().unwrap();
    let mega = pattern(1024 * 1024);
    pair.send(&mega);
    assert!(pair.served == mega);
    let mut ciphertext = BytesMut::from(&pair.answer(&mega)[..]);
    let mut whole = Vec::new();
    while !ciphertext.is_empty() {
        let mut plaintext = BytesMut::new();
        pair.session
            .receive(&mut ciphertext, &mut plaintext, 10_000)
            .unwrap();
        assert!(plaintext.len() < 10_000 + 16 * 1024);
        whole.extend_from_slice(&plaintext);
    }
    assert!(whole == mega);
}

#[test]
fn addresses_and_names_are_checked() {
    let authority = Authority::new("Test");
    let config = authority.config();
    let server = authority.issue(&["api.test", "127.0.0.1", "::1"], BOTH);
    for name in ["api.test", "API.test", "127.0.0.1", "::1"] {
        Pair::new(&config, &server, name).drive().unwrap();
    }
    for name in ["other.test", "x.api.test", "127.0.0.2"] {
        let mut pair = Pair::new(&config, &server, name);
        let error = pair.drive().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fault_of(Err(error)), CertificateFault::WrongName);
    }
    for name in ["", "a b", "[::1]", "api.test:443", "é.test"] {
        let error = Session::connect(&config, name, WALL).unwrap_err();
        assert!(matches!(error, TlsError::ServerName { .. }), "{name}");
    }
}

#[test]
fn time_is_the_one_handed_in() {
    let authority = Authority::new("Test");
    let config = authority.config();
    let server = authority.issue(&["api.test"], BOTH);
    let year = 365 * 24 * 3600 * 1000;
    let late = UnixMillis(WALL.0 + year);
    let early = UnixMillis(WALL.0 - year);
    for (wall, fault) in [
        (late, CertificateFault::Expired),
        (early, CertificateFault::NotYetValid),
    ] {
        let mut pair = Pair::new(&config, &server, "api.test");
        pair.session = Session::connect(&config, "api.test", wall).unwrap();
        assert_eq!(fault_of(pair.drive()), fault);
    }
}

#[test]
fn an_unknown_authority_is_refused_and_the_server_told() {
    let (known, unknown) = (Authority::new("Known"), Authority::new("Unknown"));
    let server = unknown.issue(&["api.test"], BOTH);
    for config in [known.config(), ClientConfig::new(NONE, NONE).unwrap()] {
        let mut pair = Pair::new(&config, &server, "api.test");
        let error = pair.drive().unwrap_err();
        assert_eq!(
            fault_of(Err(error.clone())),
            CertificateFault::UnknownIssuer
        );
        assert!(!error.is_transient());
        let mut alert = OutBuf::new();
        pair.session.flush(&mut alert);
        let mut alert = &alert.take_all()[..];
        assert!(!alert.is_empty());
        pair.server.read_tls(&mut alert).unwrap();
        let told = pair.server.process_new_packets().unwrap_err();
        assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told:?}");
        // The error latches.
        let mut more = BytesMut::from(&b"more"[..]);
        assert_eq!(
            pair.session.receive(&mut more, &mut BytesMut::new(), 1),
            Err(error.clone())
        );
        let (mut plaintext, mut ciphertext) = (OutBuf::new(), OutBuf::new());
        plaintext.put(b"x");
        assert_eq!(
            pair.session.send(&mut plaintext, &mut ciphertext),
            Err(error.clone())
        );
        assert_eq!(pair.session.receive_end(), Err(error));
    }
}

#[test]
fn unusable_roots_are_counted_and_unusable_authorities_named() {
    let authority = Authority::new("Test");
    let good = authority.der();
    let mozilla = ClientConfig::new(NONE, NONE).unwrap();
    assert!(mozilla.roots() > 100);
    let mixed = ClientConfig::new(&[&b"junk"[..], &good, &good[..50]], NONE).unwrap();
    assert_eq!((mixed.roots(), mixed.roots_skipped()), (1, 2));
    let junk = ClientConfig::new(&[b"junk"], NONE).unwrap();
    assert_eq!((junk.roots(), junk.roots_skipped()), (mozilla.roots(), 1));
    let error = ClientConfig::new(NONE, &[&good[..], b"junk"]).unwrap_err();
    assert!(
        matches!(error, TlsError::Authority { index: 1, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("certificate authority number 2")
    );
}

#[test]
fn close_notify_is_told_from_truncation() {
    let authority = Authority::new("Test");
    let server = authority.issue(&["api.test"], BOTH);
    for clean in [true, false] {
        let mut pair = Pair::new(&authority.config(), &server, "api.test");
        pair.drive().unwrap();
        let answer = pair.answer(b"until the end");
        pair.receive(&answer).unwrap();
        if clean {
            pair.server.send_close_notify();
            pair.drive().unwrap();
            // RFC 8446 §6.1: what follows is ignored.
            pair.receive(b"junk").unwrap();
        }
        assert_eq!(&pair.received[..], b"until the end");
        assert_eq!(pair.session.peer_closed(), clean);
        let truncated = TlsError::Truncated {
            host: "api.test".into(),
            handshaking: false,
        };
        let end = pair.session.receive_end();
        assert_eq!(end, if clean { Ok(()) } else { Err(truncated) });
    }
}

#[test]
fn our_side_closes_once_and_then_sends_nothing() {
    let authority = Authority::new("Test");
    let server = authority.issue(&["api.test"], BOTH);
    let mut pair = Pair::new(&authority.config(), &server, "api.test");
    pair.drive().unwrap();
    let mut out = OutBuf::new();
    pair.session.close_notify(&mut out);
    let alert = out.take_all();
    pair.serve(&alert);
    assert_eq!(pair.server.reader().read(&mut [0]).unwrap(), 0);
    pair.session.close_notify(&mut out);
    assert!(out.is_empty());
    let mut plaintext = OutBuf::new();
    plaintext.put(b"late");
    assert!(pair.session.send(&mut plaintext, &mut out).is_err());
    assert!(out.is_empty());
    // The server may still finish its answer.
    let answer = pair.answer(b"rest");
    pair.receive(&answer).unwrap();
    assert_eq!(&pair.received[..], b"rest");
}

#[test]
fn a_server_that_dies_midway_leaves_what_was_whole() {
    let authority = Authority::new("Test");
    let server = authority.issue(&["api.test"], BOTH);
    let mut pair = Pair::new(&authority.config(), &server, "api.test");
    pair.drive().unwrap();
    let answer = pair.answer(&pattern(100_000));
    pair.receive(&answer[..answer.len() / 2]).unwrap();
    assert!(pair.received.len() > 32 * 1024);
    assert!(pair.received == pattern(100_000)[..pair.received.len()]);
    assert!(pair.session.receive_end().is_err());

    let mut pair = Pair::new(&authority.config(), &server, "api.test");
    let end = pair.session.receive_end();
    assert_eq!(
        end.unwrap_err().to_string(),
        "api.test closed the connection during the TLS handshake"
    );
}

#[test]
fn changed_ciphertext_is_never_given_out() {
    let authority = Authority::new("Test");
    for versions in [&[&TLS13] as &[_], &[&TLS12]] {
        let server = authority.issue(&["api.test"], versions);
        let mut pair = Pair::new(&authority.config(), &server, "api.test");
        pair.drive().unwrap();
        let mut answer = pair.answer(b"whole");
        let whole = answer.len();
        answer.extend(pair.answer(b"changed"));
        answer[whole + 9] ^= 1;
        let error = pair.receive(&answer).unwrap_err();
        assert!(matches!(error, TlsError::Protocol { .. }), "{error}");
        assert_eq!(&pair.received[..], b"whole");
    }
}

#[test]
fn something_else_than_tls_is_an_error_at_once_and_bounded() {
    let authority = Authority::new("Test");
    let config = authority.config();
    let inputs: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n<html>",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0; 64],
        &[0xff; 64],
        // A fatal alert: handshake_failure.
        &[21, 3, 3, 0, 2, 2, 40],
    ];
    for input in inputs {
        let mut session = Session::connect(&config, "api.test", WALL).unwrap();
        let mut ciphertext = BytesMut::from(input);
        let error = session
            .receive(&mut ciphertext, &mut BytesMut::new(), usize::MAX)
            .unwrap_err();
        assert!(error.to_string().contains("api.test"), "{error}");
    }
    // A server hello without end: 16 MiB announced, then record after record.
    let mut session = Session::connect(&config, "api.test", WALL).unwrap();
    let mut ciphertext = BytesMut::from(&[22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff][..]);
    for _ in 0..1000 {
        ciphertext.extend_from_slice(&[22, 3, 3, 0x04, 0]);
        ciphertext.extend_from_slice(&[0; 1024]);
    }
    assert!(
        session
            .receive(&mut ciphertext, &mut BytesMut::new(), usize::MAX)
            .is_err()
    );
    assert!(ciphertext.len() > 900_000);
}

#[test]
fn second_sessions_resume_and_clones_share_the_tickets() {
    let authority = Authority::new("Test");
    for versions in [&[&TLS13] as &[_], &[&TLS12]] {
        let config = authority.config();
        let server = authority.issue(&["api.test", "b.test"], versions);
        for (name, config, resumed) in [
            ("api.test", &config, false),
            ("api.test", &config.clone(), true),
            ("b.test", &config, false),
            ("api.test", &authority.config(), false),
        ] {
            let mut pair = Pair::new(config, &server, name);
            pair.drive().unwrap();
            assert_eq!(pair.session.is_resumed(), resumed, "{name}");
            pair.send(b"request");
            assert_eq!(pair.served, b"request");
        }
    }
}

#[test]
fn debug_output_is_short_and_holds_no_keys() {
    let config = ClientConfig::new(NONE, NONE).unwrap();
    let session = Session::connect(&config, "api.test", WALL).unwrap();
    assert!(format!("{config:?}").len() < 100);
    assert!(format!("{session:?}").len() < 100);
}
