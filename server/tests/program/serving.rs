//! Serving: start lines, the built-in model in both APIs on both runtimes, listeners, the access
//! log.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Folder, JSON, Program, run, text, tollgate};

/// Every runtime and driver that there may be: arguments, a variable to set, what the start line
/// says.
const RUNTIMES: [(&str, &str, &str); 3] = [
    ("smol", "X", "smol (epoll)"),
    ("monoio", "X", "monoio ("),
    ("auto", "MONOIO_FORCE_LEGACY_DRIVER", "monoio (epoll)"),
];

#[test]
fn the_demo_model_answers_in_both_apis_on_every_runtime() {
    for (runtime, variable, driver) in RUNTIMES {
        let mut command = tollgate();
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--runtime",
            runtime,
        ]);
        let mut program = Program::spawn(command.env(variable, "1"));
        let start = program.line(" serves ");
        assert!(
            start.contains(driver) && start.ends_with(", 2 workers"),
            "{start}"
        );
        let address = start
            .split("http://")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let mut client = Client::new(address.parse().unwrap());
        for stream in [false, true] {
            messages(&client_answer(&mut client, "/v1/messages", stream), stream);
            chat(
                &client_answer(&mut client, "/v1/chat/completions", stream),
                stream,
            );
        }
        program.signal(Signal::TERM);
        let (status, said) = program.end();
        assert!(status.success(), "{runtime}: {status} {said:#?}");
    }
}

fn client_answer(client: &mut Client, path: &str, stream: bool) -> Answer {
    let body = json!({
        "model": "demo", "max_tokens": 20, "stream": stream,
        "messages": [{"role": "user", "content": "Good morning"}],
    });
    let answer = client.post(path, "", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

fn messages(answer: &Answer, stream: bool) {
    if !stream {
        let answer = answer.json();
        assert_eq!(answer["type"], "message");
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("Good morning"), "{text}");
        return;
    }
    assert!(
        answer.head.contains("content-type: text/event-stream"),
        "{}",
        answer.head
    );
    let events = events(&answer.body);
    let pieces = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str());
    assert!(pieces.collect::<String>().contains("Good morning"));
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

fn chat(answer: &Answer, stream: bool) {
    if !stream {
        let answer = answer.json();
        assert_eq!(answer["object"], "chat.completion");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("Good morning"), "{text}");
        return;
    }
    let body = answer
        .body
        .strip_suffix("data: [DONE]\n\n")
        .expect("it is whole");
    let events = events(body);
    let pieces = events
        .iter()
        .filter_map(|it| it["choices"][0]["delta"]["content"].as_str());
    assert!(pieces.collect::<String>().contains("Good morning"));
}

fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn the_printed_curl_lines_work_as_they_are() {
    let mut program = Program::start(&[]);
    let address = program.address();
    for _ in 0..2 {
        let line = program.line("  curl -N ");
        let url = line.split_whitespace().nth(2).unwrap();
        let path = url.strip_prefix(&format!("http://{address}")).expect(url);
        let quoted: Vec<&str> = line.split('\'').collect();
        assert_eq!(
            (quoted[1], quoted[2], quoted.len()),
            (JSON.trim(), " -d ", 5)
        );
        let answer = Client::new(address).post(path, "", quoted[3]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.ends_with("\n\n") && answer.body.contains("Hello"));
    }
    let claude = program.line("Claude Code");
    assert!(
        claude.contains(&format!("ANTHROPIC_BASE_URL=http://{address} ")),
        "{claude}"
    );
    assert!(claude.contains(" ANTHROPIC_MODEL=demo "), "{claude}");
    let anthropic = program.line("Anthropic SDK");
    assert!(
        anthropic.contains(&format!(
            "ANTHROPIC_BASE_URL=http://{address} ANTHROPIC_API_KEY="
        )),
        "{anthropic}"
    );
    let openai = program.line("OpenAI SDK");
    assert!(
        openai.contains(&format!(
            "OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY="
        )),
        "{openai}"
    );
}

#[test]
fn keys_in_the_environment_are_providers() {
    let mut command = tollgate();
    command.args(["--listen", "127.0.0.1:0"]);
    command
        .env("ANTHROPIC_API_KEY", "not-a-key")
        .env("OPENROUTER_API_KEY", "not-a-key");
    let mut program = Program::spawn(&mut command);
    let address = program.address();
    assert!(program.line("  anthropic ").contains("claude-*"));
    assert!(program.line("  openrouter ").contains("*/*"));
    assert!(!program.line("Claude Code").contains("ANTHROPIC_MODEL"));
    let models = Client::new(address).get("/v1/models").json();
    let owners = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["owned_by"]);
    assert!(owners.clone().any(|owner| owner == "anthropic"));
    assert!(owners.clone().any(|owner| owner == "openrouter"));
}

#[test]
fn requests_are_logged_one_line_each() {
    let mut program = Program::start(&["--log", "json"]);
    let address = program.address();
    client_answer(&mut Client::new(address), "/v1/messages", false);
    let line: Value = serde_json::from_str(&program.line("{\"time\"")).unwrap();
    assert_eq!(line["path"], "/v1/messages");
    assert_eq!(line["api"], "anthropic");
    assert_eq!(line["outcome"], "complete");
    assert_eq!(line["usage"]["output"], 20);
    assert!(line["duration_ms"].is_number());
    Client::new(address).post("/v1/messages", "", "{");
    let line: Value = serde_json::from_str(&program.line("{\"time\"")).unwrap();
    assert_eq!(
        (&line["status"], &line["blame"]),
        (&json!(400), &json!("client"))
    );
    assert_eq!(line["class"], "invalid_request");

    let mut program = Program::start(&[]);
    client_answer(&mut Client::new(program.address()), "/v1/messages", false);
    let line = program.line(" POST /v1/messages demo -> demo ");
    assert!(
        line.contains(" 200 ") && line.contains("+20 tokens"),
        "{line}"
    );
}

#[test]
fn what_is_logged_is_written_before_the_end() {
    let mut program = Program::start(&["--log", "text"]);
    let address = program.address();
    client_answer(&mut Client::new(address), "/v1/messages", false);
    program.signal(Signal::INT);
    let (status, said) = program.end();
    assert!(status.success());
    assert!(
        said.iter().any(|line| line.contains(" POST /v1/messages ")),
        "{said:#?}"
    );
}

#[test]
fn an_address_in_use_is_named() {
    let mut first = Program::start(&[]);
    let address = first.address().to_string();
    for runtime in ["monoio", "smol"] {
        let second = run(&["--listen", &address, "--runtime", runtime], "");
        assert_eq!(second.status.code(), Some(1));
        let said = text(&second.stderr);
        assert!(
            said.starts_with(&format!("error: cannot listen on {address}: ")),
            "{said}"
        );
        assert!(
            said.contains("= help: another program listens there"),
            "{said}"
        );
        assert!(second.stdout.is_empty());
    }
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    for (arguments, message) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            "error: 0.0.0.0:0 can be reached from elsewhere",
        ),
        (
            &["--require-io-uring", "--runtime", "smol"],
            "error: smol knows no io_uring",
        ),
        (
            &["--config", "/nonexistent.toml"],
            "error: cannot read the config /nonexistent.toml: no ",
        ),
    ] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).starts_with(message),
            "{}",
            text(&output.stderr)
        );
    }
    let output = run(&["--listen", "localhost:80"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("write \"127.0.0.1:80\""),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_unix_socket_serves_beside_tcp_and_is_removed() {
    let folder = Folder::new();
    let path = folder.file("t.sock");
    let mut program = Program::start(&["--listen", &format!("unix:{}", path.display())]);
    let address = program.address();
    assert_eq!(Client::new(address).get("/health").status, 200);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(stream);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert!(!path.exists());
}

#[test]
fn callers_need_their_keys() {
    let folder = Folder::new();
    let config = folder.write("t.toml", "[[callers]]\nname = \"ci\"\nkey_file = \"key\"\n");
    folder.write("key", "open-sesame\n");
    let mut program = Program::start(&["--config", &config]);
    let address = program.address();
    let messages = json!([{"role": "user", "content": "x"}]);
    let body = &json!({"model": "demo", "max_tokens": 1, "messages": messages}).to_string();
    assert_eq!(
        Client::new(address).post("/v1/messages", "", body).status,
        401
    );
    let key = "x-api-key: open-sesame\r\n";
    assert_eq!(
        Client::new(address).post("/v1/messages", key, body).status,
        200
    );
    assert!(program.line(" 200 ").contains(" by ci "));
}

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() {
    let mut command = tollgate();
    command
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let address = address.parse().unwrap();
    drop(stderr);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).unwrap();
        client_answer(&mut Client::new(address), "/v1/messages", false);
    }
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn named_certificates_are_the_only_ones() {
    let mut command = tollgate();
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("SSL_CERT_FILE", "/nonexistent.pem");
    // Without a provider that speaks TLS they do not matter.
    Program::spawn(&mut command).address();
    let output = command
        .env("ANTHROPIC_API_KEY", "not-a-key")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("error: SSL_CERT_FILE leads to no certificate: "),
        "{said}"
    );
}

#[test]
fn ipv6_serves_beside_ipv4_on_every_runtime() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    for runtime in ["monoio", "smol"] {
        let arguments = ["--listen", "[::1]:0", "--runtime", runtime];
        let mut program = Program::start(&arguments);
        let start = program.line(" serves http://");
        let addresses: Vec<std::net::SocketAddr> = start
            .split("http://")
            .skip(1)
            .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(
            addresses.len() == 2 && addresses[1].is_ipv6(),
            "{addresses:?}"
        );
        for address in addresses {
            let answer = client_answer(&mut Client::new(address), "/v1/messages", true);
            messages(&answer, true);
        }
    }
}

#[test]
fn each_worker_stays_on_a_processor_of_its_own() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("skipped: one processor");
        return;
    }
    for runtime in ["monoio", "smol"] {
        let mut program = Program::start(&["--workers", "2", "--runtime", runtime]);
        // Once it has answered, its workers run.
        let address = program.address();
        assert_eq!(Client::new(address).get("/health").status, 200);
        let threads = std::fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
        let statuses = threads.map(|thread| {
            let status = thread.unwrap().path().join("status");
            std::fs::read_to_string(status).unwrap_or_default()
        });
        let mut pinned: Vec<String> = statuses
            .filter_map(|status| {
                let list = status.split("Cpus_allowed_list:").nth(1)?;
                let list = list.lines().next()?.trim();
                list.parse::<u32>().is_ok().then(|| list.to_owned())
            })
            .collect();
        pinned.sort();
        pinned.dedup();
        assert_eq!(pinned.len(), 2, "{runtime}: {pinned:?}");
    }
}
