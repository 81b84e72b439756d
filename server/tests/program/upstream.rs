//! Through the gateway to an upstream: what the host does for it (names, long work) is done.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Client, Folder, Program};

/// Answers one Chat request after the other, each on its connection; the text is the length of what
/// was asked.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let asked = body["messages"][0]["content"].as_str().unwrap();
                    let answer = answer(&format!("{} letters", asked.len())).to_string();
                    let length = answer.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                         connection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
                    );
                    stream.get_mut().write_all(head.as_bytes()).unwrap();
                    break;
                }
            }
        }
    });
    port
}

fn answer(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "big",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    })
}

#[test]
fn a_name_is_resolved_and_a_large_request_is_translated() {
    let port = upstream();
    let folder = Folder::new();
    let config = folder.write(
        "t.toml",
        &format!(
            "[providers.local]\ndialect = \"openai-chat\"\ncredentials = \"none\"\n\
             base_url = \"http://localhost:{port}/v1\"\nproxy = \"none\"\n"
        ),
    );
    for runtime in ["monoio", "smol"] {
        let mut program = Program::start(&["--config", &config, "--runtime", runtime]);
        let mut client = Client::new(program.address());
        // The second is longer than a shard works on in one turn.
        for letters in [5, 1_000_000] {
            let body = json!({
                "model": "local/big", "max_tokens": 9,
                "messages": [{"role": "user", "content": "x".repeat(letters)}],
            });
            let answer = client.post("/v1/messages", "", &body.to_string());
            assert_eq!(answer.status, 200, "{}", answer.body);
            let answer = answer.json();
            assert_eq!(answer["content"][0]["text"], format!("{letters} letters"));
            assert_eq!(answer["usage"]["output_tokens"], 2);
            program.line(" local/big -> local/big 3+2 tokens stop ");
        }
    }
}

#[test]
fn a_name_that_nobody_has_is_a_clear_error() {
    let folder = Folder::new();
    let config = folder.write(
        "t.toml",
        "[providers.local]\ndialect = \"openai-chat\"\ncredentials = \"none\"\n\
         base_url = \"http://nobody.invalid/v1\"\nproxy = \"none\"\n",
    );
    let mut program = Program::start(&["--config", &config]);
    let body = json!({"model": "local/x", "messages": [{"role": "user", "content": "x"}]});
    let mut client = Client::new(program.address());
    let answer = client.post("/v1/chat/completions", "", &body.to_string());
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body.contains("nobody.invalid"), "{}", answer.body);
    program.line(" (upstream): ");
}
