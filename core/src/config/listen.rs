//! `[[listeners]]`: where clients connect.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnose::Findings;
use super::section::{At, Section};
use super::value::Fault;

/// The longest path of a Unix socket that all systems take (`sun_path` of macOS, without its NUL).
const UNIX_PATH_MAX: usize = 103;

/// Where clients connect.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ListenerConfig {
    /// The address to bind.
    pub address: ListenAddress,
}

/// An address to bind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ListenAddress {
    /// TCP; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket at this path.
    Unix(Arc<str>),
}

impl Default for ListenerConfig {
    /// `127.0.0.1:4180`.
    fn default() -> ListenerConfig {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        ListenerConfig {
            address: ListenAddress::Tcp(SocketAddr::new(loopback, 4180)),
        }
    }
}

impl ListenAddress {
    /// Reads `127.0.0.1:4180`, `[::1]:4180` or `unix:/run/tollgate.sock`, as in the config and on
    /// the command line.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<ListenAddress, String> {
        parse(text).map_err(|fault| match fault.help {
            Some(help) => format!("{}; {help}", fault.message),
            None => fault.message,
        })
    }

    /// Whether only processes of this machine reach it, so that it may be open to all who do. A
    /// listener elsewhere must not start without callers.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Reads `[[listeners]]`; without any, the default one.
pub(super) fn listeners(
    top: &mut Section<'_, '_>,
    has_callers: bool,
    findings: &mut Findings<'_>,
) -> Vec<ListenerConfig> {
    let mut listeners = Vec::new();
    let mut seen = BTreeSet::new();
    for mut section in top.tables("listeners", findings) {
        let text = section.text("address", findings);
        if section.take("address").is_none() {
            findings.problem_help(
                section.span.clone(),
                "a listener needs an `address`",
                "write `address = \"127.0.0.1:4180\"`",
            );
        }
        section.finish(findings);
        let Some(text) = text else { continue };
        match parse(text.get_ref()) {
            Ok(address) => {
                check(&text, &address, has_callers, findings);
                let any_port = matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
                if !seen.insert(address.clone()) && !any_port {
                    let message = format!("a second listener has the address {address}");
                    findings.problem(text.span(), message);
                }
                listeners.push(ListenerConfig { address });
            }
            Err(fault) => findings.add(text.span(), fault.message, fault.help),
        }
    }
    if listeners.is_empty() {
        listeners.push(ListenerConfig::default());
    }
    listeners
}

fn check(text: &At<&str>, address: &ListenAddress, has_callers: bool, findings: &mut Findings<'_>) {
    if !has_callers && !address.is_local() {
        findings.problem_help(
            text.span(),
            format!("{address} can be reached from elsewhere, and there are no callers"),
            "add `[[callers]]` with a `name` and a `key_env`, or listen on 127.0.0.1",
        );
    }
}

fn parse(text: &str) -> Result<ListenAddress, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        let bad = path.is_empty() || path.len() > UNIX_PATH_MAX || path.contains('\0');
        return match bad {
            true => Err(Fault::new(format!(
                "the path of a Unix socket has from 1 to {UNIX_PATH_MAX} bytes"
            ))),
            false => Ok(ListenAddress::Unix(path.into())),
        };
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_| {
        let message = format!("{text:?} is not an address to listen on");
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let port = if port.parse::<u16>().is_ok() {
            port
        } else {
            "4180"
        };
        let help = match host {
            "localhost" => format!("write \"127.0.0.1:{port}\""),
            "" | "*" => format!("write \"0.0.0.0:{port}\" for all addresses of this machine"),
            _ if host.parse::<IpAddr>().is_ok() => match host.contains(':') {
                true => format!("write \"[{host}]:{port}\""),
                false => format!("write \"{host}:{port}\""),
            },
            _ if text.starts_with('/') => format!("write \"unix:{text}\""),
            _ => "write \"127.0.0.1:4180\", \"[::1]:4180\" or \"unix:/path\"".to_owned(),
        };
        Fault::help(message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_alike() {
        for (text, local) in [
            ("127.0.0.1:4180", true),
            ("127.8.9.1:0", true),
            ("[::1]:4180", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("unix:/run/tollgate.sock", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("10.0.0.1:80", false),
        ] {
            let address = ListenAddress::parse(text).expect(text);
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_local(), local, "{text}");
        }
    }

    #[test]
    fn what_is_meant_is_guessed() {
        for (text, help) in [
            ("localhost:80", "write \"127.0.0.1:80\""),
            (":99", "write \"0.0.0.0:99\" for all"),
            ("::1", "write \"127"),
            ("127.0.0.1", "write \"127.0.0.1:4180\""),
            ("/run/x.sock", "write \"unix:/run/x.sock\""),
            ("example.org:80", "write \"127"),
            ("", "write \"0.0.0.0:4180\""),
            ("unix:", "from 1 to 103 bytes"),
        ] {
            let error = ListenAddress::parse(text).expect_err(text);
            assert!(error.contains(help), "{text}: {error}");
        }
    }
}
