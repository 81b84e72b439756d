//! What is said at the start: what serves where, what to try, and how to point a client at it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tollgate_core::config::{DEMO, ListenAddress, RouteTarget, RuntimeChoice, Snapshot};

use crate::gateway::Gateway;
use crate::settings::Settings;

/// Says it, on stderr. With a config file its author knows what is there, and only the first line
/// and what may surprise is said.
pub(crate) fn print(gateway: &Gateway, settings: &Settings, snapshot: &Snapshot) {
    let mut text = start_line(gateway.addresses(), gateway.driver(), settings.workers);
    if settings.runtime != RuntimeChoice::Smol && gateway.driver().contains("epoll") {
        text += "note: the kernel refuses io_uring here (a container's seccomp profile, or the \
                 sysctl kernel.io_uring_disabled)\n";
    }
    for warning in &settings.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if settings.file.is_none() {
        text += &providers(snapshot, &settings.notes);
        if let Some(address) = gateway.addresses().first() {
            text += &what_to_try(address);
        }
        if let Some(base) = gateway.addresses().iter().find_map(base_url) {
            text += &clients(&base, snapshot);
        }
    }
    gateway.say(text.trim_end().to_owned());
}

/// How a client of this machine reaches `address`; `None` for a Unix socket, which has no URL.
pub(crate) fn base_url(address: &ListenAddress) -> Option<String> {
    let ListenAddress::Tcp(address) = address else {
        return None;
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Some(format!("http://{}", SocketAddr::new(ip, address.port())))
}

fn start_line(addresses: &[ListenAddress], driver: &str, workers: usize) -> String {
    let places: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            ListenAddress::Tcp(address) => format!("http://{address}"),
            ListenAddress::Unix(_) => address.to_string(),
        })
        .collect();
    let plural = if workers == 1 { "" } else { "s" };
    format!(
        "tollgate {} serves {} with {driver}, {workers} worker{plural}\n",
        env!("CARGO_PKG_VERSION"),
        places.join(" and ")
    )
}

fn providers(snapshot: &Snapshot, notes: &[String]) -> String {
    if snapshot.providers.is_empty() {
        return format!(
            "\nNo provider's key is in the environment (ANTHROPIC_API_KEY, OPENAI_API_KEY, …): \
             there is the built-in model `{DEMO}`.\n"
        );
    }
    let mut text = "\nProviders (`provider/model` leads to any model of theirs):\n".to_owned();
    for (index, provider) in snapshot.providers.iter().enumerate() {
        let name = &provider.name;
        let prefix = format!("{name}/");
        let routes = snapshot.routes.iter().filter(|route| match &route.target {
            RouteTarget::Chain(chain) => {
                let mut upstreams = chain.upstreams();
                upstreams.any(|upstream| upstream.provider == index)
            }
            RouteTarget::Demo => false,
        });
        let mut patterns: Vec<&str> = routes
            .map(|route| route.pattern.0.as_ref())
            .filter(|pattern| !pattern.starts_with(&prefix))
            .collect();
        let any = format!("{prefix}*");
        if patterns.is_empty() {
            patterns.push(&any);
        }
        let told = format!("provider {name}: ");
        let note = notes.iter().find_map(|note| note.strip_prefix(&told));
        let note = note.map_or(String::new(), |note| format!(" ({note})"));
        let _ = writeln!(text, "  {name:<12} {}{note}", patterns.join(" "));
    }
    text
}

fn what_to_try(address: &ListenAddress) -> String {
    let (socket, base) = match (address, base_url(address)) {
        (_, Some(base)) => (String::new(), base),
        (ListenAddress::Unix(path), None) => (
            format!("--unix-socket '{path}' "),
            "http://localhost".to_owned(),
        ),
        (ListenAddress::Tcp(_), None) => return String::new(),
    };
    let curl = |path: &str, more: &str| {
        format!(
            "  curl -N {socket}{base}{path} -H 'content-type: application/json' -d '{{\"model\":\
             \"{DEMO}\",{more}\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\
             \"Hello\"}}]}}'\n"
        )
    };
    format!(
        "\nTry:\n{}{}",
        curl("/v1/messages", "\"max_tokens\":256,"),
        curl("/v1/chat/completions", "")
    )
}

fn clients(base: &str, snapshot: &Snapshot) -> String {
    // Claude Code asks for Claude models unless told otherwise.
    let model = match snapshot.resolve("claude-sonnet-5") {
        Some(_) => String::new(),
        None => {
            let model = snapshot.listed.first().map_or(DEMO, |model| &model.id);
            format!(" ANTHROPIC_MODEL={model} ANTHROPIC_DEFAULT_HAIKU_MODEL={model}")
        }
    };
    format!(
        "\nPoint a client here (the key may be any text):\n  \
         Claude Code    export ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN=tollgate{model} \
         CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1\n  \
         Anthropic SDK  export ANTHROPIC_BASE_URL={base} ANTHROPIC_API_KEY=tollgate\n  \
         OpenAI SDK     export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY=tollgate\n\n\
         `tollgate init` writes a config to start from, `tollgate exec -- COMMAND` does all of \
         this for one command.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_a_client_can_use() {
        for (address, url) in [
            ("127.0.0.1:80", Some("http://127.0.0.1:80")),
            ("0.0.0.0:80", Some("http://127.0.0.1:80")),
            ("[::]:80", Some("http://[::1]:80")),
            ("10.0.0.1:80", Some("http://10.0.0.1:80")),
            ("unix:/x", None),
        ] {
            let Ok(address) = ListenAddress::parse(address) else {
                panic!("{address}")
            };
            assert_eq!(base_url(&address).as_deref(), url);
        }
    }
}
