//! The ways to an upstream: through TLS, through an HTTP proxy, through both.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tollgate_core::config::{BaseUrl, Proxy, Secret, Snapshot};
use tollgate_core::dialect::Dialect;
use tollgate_core::wire::tls::ClientConfig;

use super::fixtures::{fault, request_bytes, stream, whole};
use super::support::http::Message;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, World};
use super::support::{config, http, pairs};

const HOST: &str = "provider.example";

/// An authority, and a server whose certificate it signed.
struct Pki {
    authority: Vec<u8>,
    server: Arc<rustls::ServerConfig>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Pki {
            authority: authority.der().to_vec(),
            server: Arc::new(server),
        }
    }

    /// A provider behind TLS that trusts this authority.
    fn snapshot(&self, dialect: Dialect) -> Snapshot {
        let mut snapshot = config::one(dialect);
        let provider = &mut snapshot.providers[0];
        provider.base = BaseUrl {
            https: true,
            host: HOST.into(),
            port: 443,
            authority: HOST.into(),
            prefix: provider.base.prefix.clone(),
        };
        const NONE: &[Vec<u8>] = &[];
        let trust = ClientConfig::new(NONE, std::slice::from_ref(&self.authority)).unwrap();
        provider.tls = Some(trust);
        snapshot
    }
}

/// The upstream's end of a TLS connection, behind `taken` bytes of something else.
struct Server {
    tls: ServerConnection,
    conn: Conn,
    taken: usize,
    /// What the gateway said, decrypted.
    asked: Vec<u8>,
}

impl Server {
    fn new(pki: &Pki, conn: Conn, taken: usize) -> Server {
        let tls = ServerConnection::new(Arc::clone(&pki.server)).unwrap();
        Server {
            tls,
            conn,
            taken,
            asked: Vec::new(),
        }
    }

    /// Takes what was sent, and answers as TLS wants, until nothing more comes.
    fn serve(&mut self, world: &mut World) {
        loop {
            let sent = world.written(self.conn)[self.taken..].to_vec();
            let mut part = sent.as_slice();
            while !part.is_empty() && self.tls.read_tls(&mut part).unwrap() > 0 {
                // The gateway may have refused; that shows on its side.
                let _ = self.tls.process_new_packets();
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = self.tls.reader().read(&mut buffer) {
                    self.asked.extend_from_slice(&buffer[..read]);
                }
            }
            self.taken += sent.len();
            let answer = self.ciphertext();
            if sent.is_empty() && answer.is_empty() {
                return;
            }
            world.send(self.conn, answer);
        }
    }

    fn ciphertext(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes.into()
    }

    /// Says `bytes`, in reads of `step` bytes.
    fn answer(&mut self, world: &mut World, bytes: &[u8], step: usize) {
        self.tls.writer().write_all(bytes).unwrap();
        for part in self.ciphertext().chunks(step) {
            world.send(self.conn, part.to_vec());
        }
        self.serve(world);
    }
}

/// A client has asked.
fn asking(snapshot: Snapshot, client: Dialect, stream: bool) -> (World, Conn) {
    let mut world = World::new(snapshot);
    let conn = world.client();
    ask(&mut world, conn, client, stream);
    (world, conn)
}

fn ask(world: &mut World, conn: Conn, client: Dialect, stream: bool) {
    world.send(conn, request_bytes(client, stream));
}

fn last(world: &World, conn: Conn) -> Message {
    http::read(world.written(conn)).pop().expect("an answer")
}

/// What [`check_said`] looks for.
fn told(upstream: Dialect) -> Reply {
    Reply::json(200, whole(upstream, "Hello there").to_string())
}

fn check_said(client: Dialect, answer: &Message) {
    assert!(answer.is_complete);
    let said = talk::read(client, answer, false);
    assert_eq!(said.said().text, "Hello there");
}

#[test]
fn an_upstream_behind_tls_is_asked_and_its_connection_kept() {
    let pki = Pki::new();
    for (client, upstream) in pairs() {
        for step in [1, 7, usize::MAX] {
            let (mut world, conn) = asking(pki.snapshot(upstream), client, false);
            let mut server = Server::new(&pki, world.upstream(), 0);
            server.serve(&mut world);
            let asked = http::only(&server.asked);
            assert_eq!(asked.field("host"), Some(HOST));
            let plain = world.written(server.conn);
            let leaks = plain.windows(8).any(|it| it == b"messages");
            assert!(!leaks, "{client:?} {upstream:?}: in clear text");
            let reply = told(upstream);
            server.answer(&mut world, &reply.bytes(0), step);
            check_said(client, &last(&world, conn));
            // The second answer comes streamed, on the same connection.
            ask(&mut world, conn, client, true);
            server.serve(&mut world);
            assert_eq!(http::read(&server.asked).len(), 2);
            let reply = Reply::stream(stream(upstream, "Hello there"));
            server.answer(&mut world, &reply.bytes(50), step);
            check_said(client, &last(&world, conn));
            assert_eq!(world.upstreams().len(), 1);
            world.finish();
        }
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_told_anything() {
    let (pki, other) = (Pki::new(), Pki::new());
    for (client, upstream) in pairs() {
        let (mut world, conn) = asking(pki.snapshot(upstream), client, false);
        let mut server = Server::new(&other, world.upstream(), 0);
        server.serve(&mut world);
        assert!(server.asked.is_empty());
        let answer = last(&world, conn);
        assert_eq!(answer.status(), 502);
        let message = fault(client, &answer).message;
        assert!(message.contains("TLS"), "{message}");
        assert!(world.is_closed(server.conn));
        world.finish();
    }
}

#[test]
fn an_answer_that_tls_does_not_end_is_cut_off() {
    let pki = Pki::new();
    for (client, upstream) in pairs() {
        let (mut world, conn) = asking(pki.snapshot(upstream), client, false);
        let mut server = Server::new(&pki, world.upstream(), 0);
        server.serve(&mut world);
        let body = whole(upstream, "Hello there").to_string();
        let framing = http::Framing::Close;
        let reply = Reply::new(200, "application/json", body, framing).bytes(0);
        server.answer(&mut world, &reply, usize::MAX);
        // Anybody on the way could have sent this FIN.
        world.hang_up(server.conn, End::Fin);
        let answer = last(&world, conn);
        assert_eq!(answer.status(), 502, "{client:?} {upstream:?}");
        fault(client, &answer);
        world.finish();
    }
}

fn proxy(authorization: Option<&str>) -> Proxy {
    Proxy {
        host: "10.0.0.9".into(),
        port: 3128,
        authorization: authorization.map(Secret::new),
    }
}

#[test]
fn a_proxy_is_asked_for_a_tunnel_and_sees_no_more() {
    let pki = Pki::new();
    for (client, upstream) in pairs() {
        let mut snapshot = pki.snapshot(upstream);
        snapshot.providers[0].proxy = Some(proxy(Some("Basic dTpw")));
        let (mut world, conn) = asking(snapshot, client, false);
        let way = world.upstream();
        assert_eq!(world.address(way), "10.0.0.9:3128".parse().ok());
        let tunnel = http::only(world.written(way));
        assert_eq!(
            tunnel.start,
            format!("CONNECT {HOST}:443 HTTP/1.1").as_str()
        );
        assert_eq!(tunnel.field("proxy-authorization"), Some("Basic dTpw"));
        let taken = world.written(way).len();
        world.send(way, &b"HTTP/1.1 200 Connection established\r\n\r\n"[..]);
        let mut server = Server::new(&pki, way, taken);
        server.serve(&mut world);
        let asked = http::only(&server.asked);
        assert_eq!(asked.field("proxy-authorization"), None);
        let reply = told(upstream);
        server.answer(&mut world, &reply.bytes(0), usize::MAX);
        check_said(client, &last(&world, conn));
        world.finish();
    }
}

#[test]
fn a_proxy_that_refuses_is_a_502() {
    let pki = Pki::new();
    for (client, upstream) in pairs() {
        let mut snapshot = pki.snapshot(upstream);
        snapshot.providers[0].proxy = Some(proxy(None));
        let (mut world, conn) = asking(snapshot, client, true);
        let way = world.upstream();
        assert_eq!(http::only(world.written(way)).fields.len(), 1);
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        world.send(way, refusal.as_bytes());
        let answer = last(&world, conn);
        assert_eq!(answer.status(), 502);
        let message = fault(client, &answer).message;
        assert!(
            message.contains("proxy") && message.contains("407"),
            "{message}"
        );
        world.finish();
    }
}

#[test]
fn a_proxy_for_plain_text_gets_the_absolute_form() {
    for (client, upstream) in pairs() {
        let mut snapshot = config::one(upstream);
        snapshot.providers[0].proxy = Some(proxy(Some("Basic dTpw")));
        let (mut world, conn) = asking(snapshot, client, false);
        let way = world.upstream();
        assert_eq!(world.address(way), "10.0.0.9:3128".parse().ok());
        let asked = http::only(world.written(way));
        let path = talk::path(upstream);
        assert_eq!(
            asked.start,
            format!("POST http://127.0.0.1:9000{path} HTTP/1.1")
        );
        assert_eq!(asked.field("host"), Some("127.0.0.1:9000"));
        assert_eq!(asked.field("proxy-authorization"), Some("Basic dTpw"));
        let reply = told(upstream);
        world.send(way, reply.bytes(0));
        check_said(client, &last(&world, conn));
        world.finish();
    }
}
