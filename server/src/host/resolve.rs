//! Names to addresses, by the system's resolver (`getaddrinfo`), which blocks: so on threads of its
//! own, enough that one name server that does not answer holds up few others.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tollgate_core::gateway::io::{ResolveFailure, ResolveReply};

use super::pool::Pool;

const THREADS: usize = 8;

/// Resolves names.
#[derive(Debug)]
pub(super) struct Resolver(Pool);

impl Resolver {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) fn start() -> Result<Resolver, String> {
        Pool::start("resolve", THREADS).map(Resolver)
    }

    /// Looks up `host`, and calls `reply` from another thread.
    pub(super) fn resolve(&self, host: Arc<str>, port: u16, reply: ResolveReply) {
        self.0.submit(Box::new(move || reply(look_up(&host, port))));
    }
}

/// The addresses in the order of preference (RFC 6724), which the system decides.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveFailure> {
    let mut addresses: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(failure(&error)),
    };
    addresses.dedup();
    if addresses.is_empty() {
        return Err(ResolveFailure::NotFound);
    }
    Ok(addresses)
}

/// The standard library keeps the code of `getaddrinfo` to itself; only its text (`gai_strerror`)
/// comes through. First glibc's for EAI_NONAME and EAI_NODATA, then musl's.
fn failure(error: &io::Error) -> ResolveFailure {
    const NOT_FOUND: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let text = error.to_string();
    let is_certain = error.kind() == io::ErrorKind::InvalidInput
        || NOT_FOUND.iter().any(|known| text.contains(known));
    if is_certain {
        ResolveFailure::NotFound
    } else {
        ResolveFailure::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn ask(host: &str) -> Result<Vec<SocketAddr>, ResolveFailure> {
        let (sender, receiver) = mpsc::channel();
        let reply = move |result| sender.send(result).unwrap_or_default();
        let resolver = Resolver::start();
        let Ok(resolver) = resolver else {
            panic!("no threads")
        };
        resolver.resolve(host.into(), 443, Box::new(reply));
        receiver.recv().unwrap_or(Err(ResolveFailure::Unavailable))
    }

    #[test]
    fn addresses_are_their_own_names() {
        assert_eq!(ask("127.0.0.1"), Ok(vec![([127, 0, 0, 1], 443).into()]));
        assert_eq!(ask("::1"), Ok(vec![([0, 0, 0, 0, 0, 0, 0, 1], 443).into()]));
    }

    #[test]
    fn this_machine_has_a_name() {
        let addresses = ask("localhost").unwrap_or_default();
        assert!(addresses.iter().any(|address| address.ip().is_loopback()));
    }

    #[test]
    fn a_name_with_a_nul_is_nobodys() {
        assert_eq!(ask("a\0b"), Err(ResolveFailure::NotFound));
    }
}
