//! The commands that do not serve: check, init, translate.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Folder, run, text};

#[test]
fn the_version_is_data() {
    let output = run(&["--version"], "");
    assert_eq!(
        text(&output.stdout),
        format!("tollgate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn check_sums_up_a_sound_config() {
    let folder = Folder::new();
    let config = folder.write(
        "t.toml",
        "[providers.local]\ndialect = \"openai-chat\"\ncredentials = \"none\"\n\
         base_url = \"http://127.0.0.1:9/v1\"\n[models]\n\"fast\" = \"local/x\"\n",
    );
    let output = run(&["check", &config], "");
    assert!(output.status.success());
    assert_eq!(
        text(&output.stdout),
        "ok: 1 provider (local), 2 listed models, callers need no key, listens on 127.0.0.1:4180\n"
    );
}

#[test]
fn check_tells_all_faults_at_once() {
    let folder = Folder::new();
    let config = folder.write(
        "t.toml",
        "runtme = \"auto\"\n[models]\n\"a\" = \"nobody/x\"\n",
    );
    let output = run(&["check", &config], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr);
    assert!(said.contains("help: did you mean `runtime`?"), "{said}");
    assert!(said.contains("t.toml:3:7"), "{said}");
    assert!(
        said.ends_with(&format!("2 problems in {config}\n")),
        "{said}"
    );
    // The same file does not serve.
    let output = run(&["--config", &config], "");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), said)
    );
}

#[test]
fn init_writes_a_config_that_is_sound_and_never_overwrites() {
    let folder = Folder::new();
    let path = folder.path().join("new.toml");
    let name = path.to_str().unwrap();
    assert!(run(&["init", name], "").status.success());
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("[[listeners]]"));
    assert!(run(&["check", name], "").status.success());
    fs::write(&path, "mine").unwrap();
    let output = run(&["init", name], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exists already"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(text(&run(&["init", "-"], "").stdout), written);
}

const TO_CHAT: [&str; 5] = ["translate", "--from", "anthropic", "--to", "openai-chat"];
const TO_MESSAGES: [&str; 5] = ["translate", "--from", "openai-chat", "--to", "anthropic"];

#[test]
fn a_request_is_translated_and_losses_are_told() {
    let request = json!({
        "model": "claude-x", "max_tokens": 10, "system": "Be brief.", "top_k": 5,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let output = run(&TO_CHAT, &request.to_string());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let translated: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(translated["model"], "claude-x");
    assert_eq!(translated["messages"][1]["content"], "Hello");
    assert_eq!(text(&output.stderr), "dropped: top_k\n");
    let output = run(
        &[&TO_CHAT[..], &["--model", "gpt-x"]].concat(),
        &request.to_string(),
    );
    let translated: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(translated["model"], "gpt-x");
}

#[test]
fn a_response_is_translated() {
    let response = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hi"},
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    let output = run(
        &[&TO_MESSAGES[..], &["--response"]].concat(),
        &response.to_string(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let translated: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        translated["content"][0],
        json!({"type": "text", "text": "Hi"})
    );
    assert_eq!(translated["stop_reason"], "end_turn");
    assert_eq!(translated["usage"]["output_tokens"], 2);
}

#[test]
fn a_stream_is_translated() {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        format!("data: {chunk}\n\n")
    };
    let stream = [
        chunk(json!({"role": "assistant", "content": "Hel"}), Value::Null),
        chunk(json!({"content": "lo"}), Value::Null),
        chunk(json!({}), json!("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let arguments = [&TO_MESSAGES[..], &["--stream", "--model", "m"]].concat();
    let output = run(&arguments, &stream.concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let translated = text(&output.stdout);
    assert!(
        translated.starts_with("event: message_start\n"),
        "{translated}"
    );
    assert!(translated.contains("\"model\":\"m\""), "{translated}");
    assert!(translated.contains("\"text\":\"Hel\"") && translated.contains("\"text\":\"lo\""));
    assert!(
        translated.ends_with("data: {\"type\":\"message_stop\"}\n\n"),
        "{translated}"
    );
}

#[test]
fn what_cannot_be_translated_is_an_error() {
    let no_tokens = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    for (input, arguments, message) in [
        ("{", &TO_CHAT[..], "error: the input is not valid JSON: "),
        (no_tokens, &TO_CHAT, "error: max_tokens: "),
        (
            "",
            &["translate", "--from", "anthropic", "--to", "anthropic"],
            "error: both sides speak",
        ),
    ] {
        let output = run(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{input}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(said.starts_with(message), "{said}");
    }
}
