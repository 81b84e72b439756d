//! What is left out of a translated request is listed in `x-tollgate-dropped`, and in a table in
//! the crate's docs. Here the table is held against the code, and the header against the table.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value as Json, json};
use tollgate_core::base::JsonStr;
use tollgate_core::dialect::{Dialect, ReasoningField, Traits};

use super::fixtures::{hi, request, request_with};
use super::support::config;
use super::support::events::Cuts;
use super::support::talk;

/// The APIs as the table names them, and where requests for them are written.
const TARGETS: [(Dialect, &str, &str); 2] = [
    (Dialect::Anthropic, "Messages", "anthropic"),
    (Dialect::OpenAiChat, "Chat", "openai_chat"),
];

/// The paths in the table of the crate's docs for this upstream.
fn table(upstream: &str) -> BTreeSet<String> {
    let docs = include_str!("../../src/lib.rs");
    let (_, rest) = docs
        .split_once("//! # What is left out\n")
        .expect("a section");
    let rows = rest
        .lines()
        .take_while(|line| !line.starts_with("//! # "))
        .filter_map(|line| line.strip_prefix("//! | "));
    let mut paths = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        if cells[1] == upstream {
            let names = cells[0].split('`').skip(1).step_by(2);
            paths.extend(names.map(str::to_owned));
        }
    }
    paths
}

/// The paths that the code which writes requests may list.
fn listed(folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect");
    let mut paths = BTreeSet::new();
    for file in std::fs::read_dir(root.join(folder).join("request")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for part in code.split("dropped.add(").skip(1) {
            let argument = part.trim_start_matches("&format!(").trim_start();
            if let Some((path, _)) = argument
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
            {
                paths.insert(path.to_owned());
            }
        }
        // Names that stand in a list, and a part's that is put together.
        let names = code.split("for (name, there) in [").nth(1);
        let list = names.and_then(|rest| rest.split("] {").next());
        let quoted = list.into_iter().flat_map(|list| list.split('"'));
        paths.extend(quoted.skip(1).step_by(2).map(str::to_owned));
        if code.contains("\"messages[].content[].{}\"") {
            paths.insert("messages[].content[].{name}".to_owned());
        }
    }
    paths
}

#[test]
fn the_table_in_the_docs_is_what_the_code_lists() {
    for (_, name, folder) in TARGETS {
        let (table, code) = (table(name), listed(folder));
        assert!(code.len() >= 10, "{code:?}");
        assert_eq!(
            table, code,
            "left out toward {name}: in the docs, in the code"
        );
    }
}

/// Asks the other API; what the header lists.
fn dropped(client: Dialect, traits: Traits, body: &Json) -> Vec<String> {
    let upstream = match client {
        Dialect::Anthropic => Dialect::OpenAiChat,
        Dialect::OpenAiChat => Dialect::Anthropic,
    };
    let mut snapshot = config::one(upstream);
    let route = config::target(&mut snapshot);
    (route.traits, route.model) = (traits, Some(JsonStr::from_static("m")));
    let request = talk::request(client, &[], body);
    let talk = talk::send(snapshot, request, &hi(upstream), Cuts::Whole);
    assert_eq!(talk.answer.status(), 200, "{body}: {}", talk.answer.text());
    let list = talk.answer.field("x-tollgate-dropped").unwrap_or_default();
    let list: Vec<String> = list.split(", ").map(str::to_owned).collect();
    assert_eq!(talk.record.dropped.join(", "), list.join(", "), "{body}");
    list.into_iter().filter(|path| !path.is_empty()).collect()
}

fn user(content: Json) -> Json {
    json!([{"role": "user", "content": content}])
}

#[test]
fn what_a_messages_model_has_no_place_for_is_listed_by_name() {
    let mark = json!({"type": "ephemeral"});
    let text = json!({"type": "text", "text": "t", "cache_control": mark});
    let image = json!({"type": "image_url",
        "image_url": {"url": "https://h/i.png", "detail": "high"}});
    let reasoned = json!([{"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "c"},
        {"role": "user", "content": "d"}]);
    let named = json!([{"role": "user", "name": "Ann", "content": "a"}]);
    let cases: [(&str, Json); 15] = [
        ("frequency_penalty", json!({"frequency_penalty": 1})),
        ("presence_penalty", json!({"presence_penalty": 1})),
        ("seed", json!({"seed": 7})),
        ("verbosity", json!({"verbosity": "low"})),
        ("prompt_cache_key", json!({"prompt_cache_key": "k"})),
        ("user", json!({"user": "u".repeat(600)})),
        ("service_tier", json!({"service_tier": "flex"})),
        ("top_p", json!({"temperature": 0.5, "top_p": 0.5})),
        (
            "temperature",
            json!({"temperature": 0.5, "reasoning_effort": "high"}),
        ),
        ("top_k", json!({"top_k": 5, "reasoning_effort": "high"})),
        ("messages[].reasoning", json!({"messages": reasoned})),
        ("messages[].name", json!({"messages": named})),
        (
            "messages[].image_url.detail",
            json!({"messages": user(json!([image]))}),
        ),
        (
            "cache_control",
            json!({"messages": user(json!([text, text, text, text, text]))}),
        ),
        ("store", json!({"store": true})),
    ];
    check(Dialect::OpenAiChat, &config::traits(), &cases);
}

#[test]
fn what_a_chat_model_has_no_place_for_is_listed_by_name() {
    let mark = json!({"type": "ephemeral"});
    let text = json!({"type": "text", "text": "t", "cache_control": mark});
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "cache_control": mark});
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let hidden = json!({"type": "redacted_thinking", "data": "x"});
    let turn = |blocks: Json| {
        json!({"messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": blocks}, {"role": "user", "content": "d"}]})
    };
    let said = json!({"type": "text", "text": "b"});
    let cases: [(&str, Json); 6] = [
        ("top_k", json!({"top_k": 5})),
        ("thinking", json!({"thinking": {"type": "disabled"}})),
        ("cache_control", json!({"cache_control": mark})),
        ("tools[].cache_control", json!({"tools": [tool]})),
        (
            "messages[].cache_control",
            json!({"messages": user(json!([text]))}),
        ),
        (
            "context_management",
            json!({"context_management": {"edits": []}}),
        ),
    ];
    let plain = Traits::default();
    check(Dialect::Anthropic, &plain, &cases);
    let cases = [(
        "messages[].content[].thinking",
        turn(json!([thought, said])),
    )];
    check(Dialect::Anthropic, &plain, &cases);
    let words = Traits {
        reasoning_field: ReasoningField::ReasoningContent,
        ..Traits::default()
    };
    let cases = [(
        "messages[].content[].redacted_thinking",
        turn(json!([thought, hidden, said])),
    )];
    check(Dialect::Anthropic, &words, &cases);
}

/// Each of `cases` loses the field it is named after, and nothing without it.
fn check(client: Dialect, traits: &Traits, cases: &[(&str, Json)]) {
    let plain = request(client, false);
    assert!(dropped(client, traits.clone(), &plain).is_empty());
    for (path, more) in cases {
        let body = request_with(client, false, more);
        let list = dropped(client, traits.clone(), &body);
        assert_eq!(list, [*path], "{client:?}: {body}");
    }
}
