//! [`Claim`]: whose a request is, and what that one may.

use core::net::IpAddr;

use crate::base::Peer;
use crate::config::{Caller, Snapshot};
use crate::policy::balance;
use crate::policy::queue::Standing;

/// Whose a request is, and what that one may.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Claim {
    /// The caller; where there are none, the address.
    pub(in crate::gateway) standing: Standing,
    /// Requests at the same time, in all shards.
    pub(in crate::gateway) concurrent: Option<u32>,
    /// Whether it shares answers.
    pub(in crate::gateway) coalesce: bool,
}

impl Claim {
    pub(in crate::gateway) fn new(
        snapshot: &Snapshot,
        caller: Option<&Caller>,
        peer: Peer,
    ) -> Claim {
        let any = snapshot.queue.concurrent_per_client;
        match caller {
            None => Claim {
                standing: Standing::of(number(peer)),
                concurrent: any,
                coalesce: false,
            },
            Some(caller) => Claim {
                standing: Standing {
                    client: balance::hash(caller.name.as_bytes()),
                    weight: caller.terms.weight,
                    priority: caller.terms.priority,
                },
                concurrent: caller.terms.concurrent.or(any),
                coalesce: caller.terms.coalesce,
            },
        }
    }
}

/// A number of the client's own. Of IPv6 it is the network's: within that a client has as many
/// addresses as it likes.
fn number(peer: Peer) -> u64 {
    match peer {
        Peer::Unix => u64::MAX,
        Peer::Tcp(address) => match address.ip().to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> u64 {
        number(Peer::Tcp(address.parse().unwrap()))
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        assert_eq!(of("10.0.0.1:1"), of("10.0.0.1:2"));
        assert_eq!(of("10.0.0.1:1"), of("[::ffff:10.0.0.1]:1"));
        assert_ne!(of("10.0.0.1:1"), of("10.0.0.2:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
    }
}
