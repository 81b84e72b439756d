//! Addresses of providers and proxies: the little of URLs (RFC 3986) that they need.

use std::sync::Arc;

use super::snapshot::{BaseUrl, Proxy, Secret};
use super::value::Fault;
use crate::dialect::Dialect;

/// The parts of `scheme://user:password@host:port/path`.
#[derive(Debug)]
struct Parts<'a> {
    https: bool,
    user: Option<&'a str>,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

/// A provider's base URL.
pub(super) fn base_url(text: &str, dialect: Dialect) -> Result<BaseUrl, Fault> {
    let parts = parse(text, None)?;
    if parts.user.is_some() {
        return Err(Fault::help(
            "a base URL holds no user and password",
            "write the key as `key_env`, `key_file` or `key`",
        ));
    }
    let prefix = parts.path.trim_end_matches('/');
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte);
    if !prefix.bytes().all(allowed) {
        return Err(Fault::new("a base URL has no query, fragment or blanks"));
    }
    let prefix = api_prefix(prefix, dialect)?;
    let host = parts.host.to_ascii_lowercase();
    let default = if parts.https { 443 } else { 80 };
    let port = parts.port.unwrap_or(default);
    let shown = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.clone(),
    };
    Ok(BaseUrl {
        https: parts.https,
        authority: match port == default {
            true => shown.into(),
            false => format!("{shown}:{port}").into(),
        },
        host: host.into(),
        port,
        prefix: prefix.into(),
    })
}

/// What goes before the API's own path. A whole endpoint is refused, for its requests would go to
/// `…/chat/completions/chat/completions`.
fn api_prefix(path: &str, dialect: Dialect) -> Result<&str, Fault> {
    for endpoint in [
        "/chat/completions",
        "/messages",
        "/responses",
        "/completions",
    ] {
        if let Some(base) = path.strip_suffix(endpoint) {
            return Err(Fault::help(
                format!("the base URL goes without `{endpoint}`"),
                format!("end it in `{}`", if base.is_empty() { "/" } else { base }),
            ));
        }
    }
    Ok(match dialect {
        // Its own path begins with `/v1`; some SDKs want that in their base URL, others do not.
        Dialect::Anthropic => path.strip_suffix("/v1").unwrap_or(path),
        Dialect::OpenAiChat => path,
    })
}

/// A proxy's URL; the scheme may be missing, as curl allows.
pub(super) fn proxy(text: &str) -> Result<Proxy, Fault> {
    let parts = parse(text, Some("http"))?;
    if parts.https {
        return Err(Fault::help(
            "a proxy is spoken to without TLS",
            "write `http://…`; the connection to the provider is encrypted through it",
        ));
    }
    if !parts.path.trim_end_matches('/').is_empty() {
        return Err(Fault::new("a proxy's URL has no path"));
    }
    let authorization = parts.user.map(|user| {
        let user = percent_decode(user);
        let user = match user.contains(&b':') {
            true => user,
            false => [user.as_slice(), b":"].concat(),
        };
        Secret::new(&format!("Basic {}", base64(&user)))
    });
    Ok(Proxy {
        host: parts.host.to_ascii_lowercase().into(),
        port: parts.port.unwrap_or(80),
        authorization,
    })
}

fn parse<'a>(text: &'a str, scheme: Option<&'a str>) -> Result<Parts<'a>, Fault> {
    let found = text
        .split_once("://")
        .or(scheme.map(|scheme| (scheme, text)));
    let Some((scheme, rest)) = found else {
        return Err(Fault::help(
            "the URL has no scheme",
            "begin with `https://` or `http://`",
        ));
    };
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => {
            return Err(Fault::help(
                format!("unknown scheme `{scheme}`"),
                "only `https://` and `http://` are spoken",
            ));
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = host_and_port(host)?;
    Ok(Parts {
        https,
        user,
        host,
        port,
        path,
    })
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>), Fault> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or_else(|| Fault::new("the IPv6 address has no closing `]`"))?;
        if host.parse::<core::net::Ipv6Addr>().is_err() {
            return Err(Fault::new(format!("`[{host}]` is not an IPv6 address")));
        }
        (host, after)
    } else {
        let colon = text.find(':').unwrap_or(text.len());
        let (host, after) = text.split_at(colon);
        if after.matches(':').count() > 1 {
            return Err(Fault::new("write an IPv6 address in brackets: `[::1]`"));
        }
        check_name(host)?;
        (host, after)
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').unwrap_or("");
    let number = digits.parse::<u16>().ok().filter(|&port| port != 0);
    match number {
        Some(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((host, Some(number)))
        }
        _ => Err(Fault::new(format!(
            "`{port}` is not a port from 1 to 65535"
        ))),
    }
}

fn check_name(host: &str) -> Result<(), Fault> {
    if host.is_empty() {
        return Err(Fault::new("the URL has no host"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.len() > 253 || !host.bytes().all(allowed) {
        return Err(Fault::new("the URL's host is not a host name"));
    }
    Ok(())
}

/// Undoes `%41`; what is no such escape stays.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match (byte, after) {
            (b'%', [high, low, after @ ..]) => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = decoded.unwrap_or((byte, after));
        out.push(byte);
        rest = after;
    }
    out
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Base64 with padding (RFC 4648 §4), for `Basic` (RFC 7617).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > group.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    out
}

/// The proxies that the environment names, as curl and Go read them.
#[derive(Debug, Default)]
pub(super) struct EnvironmentProxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    /// `NO_PROXY`: hosts to reach directly.
    direct: Vec<String>,
}

impl EnvironmentProxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or small letters.
    pub(super) fn read(
        env: &dyn Fn(&str) -> Option<String>,
        warnings: &mut Vec<String>,
    ) -> EnvironmentProxies {
        let variable = |name: &str| {
            let small = name.to_ascii_lowercase();
            let value = env(&small).or_else(|| env(name));
            value.filter(|value| !value.trim().is_empty())
        };
        let mut proxy_of = |name: &str| {
            let value = variable(name).or_else(|| variable("ALL_PROXY"))?;
            proxy(value.trim())
                .map_err(|fault| {
                    warnings.push(format!("{name} is left aside: {}", fault.message));
                })
                .ok()
        };
        EnvironmentProxies {
            https: proxy_of("HTTPS_PROXY"),
            http: proxy_of("HTTP_PROXY"),
            direct: variable("NO_PROXY")
                .unwrap_or_default()
                .split([',', ' '])
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// The proxy on the way to `base`. This machine itself is always reached directly.
    pub(super) fn for_base(&self, base: &BaseUrl) -> Option<Proxy> {
        if is_loopback(&base.host) || self.is_direct(&base.host, base.port) {
            return None;
        }
        let proxy = if base.https { &self.https } else { &self.http };
        proxy.clone()
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        self.direct.iter().any(|entry| {
            let (name, only) = match entry.rsplit_once(':') {
                Some((name, digits)) if !name.contains(':') => (name, digits.parse().ok()),
                _ => (entry.as_str(), None::<u16>),
            };
            let name = name.trim_start_matches("*.").trim_start_matches('.');
            let inside = host
                .strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let matched = name == "*" || (!name.is_empty() && inside) || in_network(host, entry);
            matched && only.is_none_or(|only| only == port)
        })
    }
}

/// Whether `host` is an address inside `network` (`10.0.0.0/8`).
fn in_network(host: &str, network: &str) -> bool {
    let bits_of = |text: &str| -> Option<(u128, u32)> {
        Some(match text.trim_matches(['[', ']']).parse().ok()? {
            core::net::IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            core::net::IpAddr::V6(v6) => (v6.to_bits(), 128),
        })
    };
    let (address, length) = network.split_once('/').unwrap_or((network, "128"));
    let (Some(host), Some(address), Ok(length)) =
        (bits_of(host), bits_of(address), length.parse::<u32>())
    else {
        return false;
    };
    let length = length.min(address.1);
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    host.1 == address.1 && host.0 & mask == address.0 & mask
}

/// Whether `host` means this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<core::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The address that `OLLAMA_HOST` stands for: `host`, `host:port` or a URL.
pub(super) fn ollama_url(value: &str) -> String {
    let value = value.trim().trim_end_matches('/');
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let host: Arc<str> = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match host {
            "" | "0.0.0.0" => format!("127.0.0.1:{port}").into(),
            _ => rest.into(),
        },
        _ if matches!(rest, "" | "0.0.0.0") => "127.0.0.1:11434".into(),
        _ if value.contains("://") => rest.into(),
        _ => format!("{rest}:11434").into(),
    };
    format!("{scheme}://{host}/v1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_taken_apart() {
        for (text, host, port, authority, prefix) in [
            ("https://api.x.ai/v1", "api.x.ai", 443, "api.x.ai", "/v1"),
            ("HTTPS://Api.X.ai/v1/", "api.x.ai", 443, "api.x.ai", "/v1"),
            ("http://127.0.0.1:80", "127.0.0.1", 80, "127.0.0.1", ""),
            ("http://[::1]:8080/a/b", "::1", 8080, "[::1]:8080", "/a/b"),
            ("https://h:8443", "h", 8443, "h:8443", ""),
        ] {
            let base = base_url(text, Dialect::OpenAiChat).expect(text);
            assert_eq!(base.host.as_ref(), host);
            assert_eq!(base.port, port);
            assert_eq!(base.authority.as_ref(), authority);
            assert_eq!(base.prefix.as_ref(), prefix);
        }
        let base = base_url("https://h/x/v1", Dialect::Anthropic).unwrap();
        assert_eq!(base.prefix.as_ref(), "/x");
    }

    #[test]
    fn bad_urls_are_refused() {
        for text in [
            "",
            "api.x.ai",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h:0",
            "https://h:65536",
            "https://h:+80",
            "https://h:",
            "https://::1",
            "https://[::1",
            "https://[::1]x",
            "https://[1.2.3.4]",
            "https://h/a?b",
            "https://h#f",
            "https://h/a b",
            "https://hö.de",
            "https://h\r\nx",
            "https://h/v1/chat/completions",
            "https://h/v1/messages/",
        ] {
            assert!(base_url(text, Dialect::OpenAiChat).is_err(), "{text}");
        }
    }

    #[test]
    fn proxies_are_read_with_their_credentials() {
        let found = proxy("http://us%40er:p%3Ass@Proxy:3128/").unwrap();
        assert_eq!((found.host.as_ref(), found.port), ("proxy", 3128));
        let authorization = found.authorization.unwrap();
        assert_eq!(authorization.expose(), "Basic dXNAZXI6cDpzcw==");
        assert_eq!(proxy("cache:8080").unwrap().port, 8080);
        let lone = proxy("http://user@h").unwrap().authorization.unwrap();
        assert_eq!(lone.expose(), "Basic dXNlcjo=");
        for text in ["https://p:1", "http://p/path", "socks5://p:1", ""] {
            assert!(proxy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_environment_says_which_hosts_are_reached_directly() {
        let env = |name: &str| {
            Some(match name {
                "https_proxy" => "http://p:1".to_owned(),
                "HTTP_PROXY" => "what ever".to_owned(),
                "NO_PROXY" => ".corp.example, 10.0.0.0/8,only.example:444,[fd00::1]".to_owned(),
                _ => return None,
            })
        };
        let mut warnings = Vec::new();
        let proxies = EnvironmentProxies::read(&env, &mut warnings);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for (url, proxied) in [
            ("https://api.example", true),
            ("http://api.example", false),
            ("https://a.corp.example", false),
            ("https://corp.example", false),
            ("https://acorp.example", true),
            ("https://10.1.2.3", false),
            ("https://11.1.2.3", true),
            ("https://only.example", true),
            ("https://only.example:444", false),
            ("https://[fd00::1]", false),
            ("https://localhost", false),
            ("https://127.0.0.1", false),
        ] {
            let base = base_url(url, Dialect::OpenAiChat).unwrap();
            assert_eq!(proxies.for_base(&base).is_some(), proxied, "{url}");
        }
    }

    #[test]
    fn ollama_hosts_become_urls() {
        for (value, url) in [
            ("", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0:99", "http://127.0.0.1:99/v1"),
            ("box", "http://box:11434/v1"),
            ("box:99", "http://box:99/v1"),
            ("https://box/", "https://box/v1"),
        ] {
            assert_eq!(ollama_url(value), url, "{value}");
        }
    }
}
