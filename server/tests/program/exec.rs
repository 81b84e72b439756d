//! `tollgate exec`: a gateway around one command.

use std::io::{BufRead, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Client, Folder, Program, run, text, tollgate};

const BODY: &str =
    "{\"model\":\"demo\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";

/// Runs a shell script under it, with pipes.
fn exec(more: &[&str], script: &str) -> Program {
    let mut command = tollgate();
    command
        .arg("exec")
        .args(more)
        .args(["--", "sh", "-c", script]);
    Program::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
}

#[test]
fn the_command_finds_the_gateway_and_nobody_else_gets_in() {
    let script = "echo $ANTHROPIC_BASE_URL; echo $OPENAI_BASE_URL; echo $ANTHROPIC_AUTH_TOKEN; \
                  echo $ANTHROPIC_API_KEY; echo $OPENAI_API_KEY; read line; exit 7";
    let mut program = exec(&[], script);
    let lines: Vec<String> = program
        .stdout()
        .lines()
        .take(5)
        .map(Result::unwrap)
        .collect();
    let address = lines[0].strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(lines[1], format!("{}/v1", lines[0]));
    let key = &lines[2];
    assert!(key.len() > 40 && lines[3] == *key && lines[4] == *key);
    let bearer = format!("authorization: Bearer {key}\r\n");
    let answer = Client::new(address).post("/v1/chat/completions", &bearer, BODY);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let field = format!("x-api-key: {key}\r\n");
    assert_eq!(
        Client::new(address)
            .post("/v1/messages", &field, BODY)
            .status,
        200
    );
    assert_eq!(
        Client::new(address).post("/v1/messages", "", BODY).status,
        401
    );
    program.stdin().write_all(b"\n").unwrap();
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(7));
    assert!(said.is_empty(), "the terminal is the command's: {said:#?}");
}

#[test]
fn signals_go_to_the_command_and_its_end_comes_back() {
    let mut program = exec(&[], "echo ready; exec cat");
    assert_eq!(program.stdout().lines().next().unwrap().unwrap(), "ready");
    program.signal(Signal::TERM);
    assert_eq!(program.end().0.code(), Some(128 + 15));
}

#[test]
fn exit_codes_are_those_of_shells() {
    let code = |command: &[&str]| {
        let arguments = [&["exec", "--"], command].concat();
        run(&arguments, "").status.code()
    };
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["false"]), Some(1));
    assert_eq!(code(&["/nonexistent/command"]), Some(127));
    assert_eq!(code(&["/"]), Some(126));
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(128 + 9));
}

#[test]
fn clients_keep_their_own_credentials_where_a_provider_wants_them() {
    let folder = Folder::new();
    let config = folder.write(
        "t.toml",
        "[providers.claude]\npreset = \"anthropic\"\ncredentials = \"client\"\n",
    );
    let script =
        "echo ${ANTHROPIC_API_KEY-none} ${ANTHROPIC_AUTH_TOKEN-none}; env | grep -c _BASE_URL";
    let output = run(&["exec", "--config", &config, "--", "sh", "-c", script], "");
    assert_eq!(
        text(&output.stdout),
        "none none\n2\n",
        "{}",
        text(&output.stderr)
    );
}
