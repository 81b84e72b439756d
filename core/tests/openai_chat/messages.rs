//! What comes of the recordings of the other API: Messages in, Chat out. Chat's grammar and Chat's
//! forms hold whatever the other side says.

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::Limits;
use tollgate_core::dialect::{Traits, anthropic};
use tollgate_core::ir::{Collector, Delta, PartKind};
use tollgate_core::wire::json::Tape;

use super::grammar::{self, End};
use super::support::*;

#[test]
fn requests_become_chat_requests() {
    let Some(all) = recordings_of("anthropic.messages") else {
        return;
    };
    let (mut passed, mut refused) = (0, Vec::new());
    for Recording { id, json } in &all {
        let body = &json["request"]["body"];
        let text = Bytes::from(body.to_string());
        let mut tape = Tape::new();
        let root = tape.parse(&text, &Limits::default().json).unwrap();
        let Ok(request) = anthropic::request::decode(root) else {
            continue;
        };
        match encode_request(&request, &Traits::default()) {
            Ok((encoded, _)) => {
                passed += 1;
                check_turns(id, &encoded);
                decode_request(&encoded.to_string()).unwrap_or_else(|failure| {
                    panic!("{id}: what was written is not read: {failure}\n{encoded}")
                });
            }
            Err(failure) => {
                assert!(failure.param.is_some(), "{id}: {failure}");
                refused.push(format!("{id}: {failure}"));
            }
        }
    }
    println!(
        "{passed} requests became Chat requests, {} were refused",
        refused.len()
    );
    for line in &refused {
        println!("      {line}");
    }
    assert!(passed > refused.len());
}

/// Each call is answered by `tool` messages directly behind it, and these answer nothing else.
fn check_turns(id: &str, body: &Json) {
    let mut open: Vec<&str> = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        if message["role"] == "tool" {
            let of = message["tool_call_id"].as_str().unwrap();
            assert!(open.contains(&of), "{id}: {of} answers nothing");
            open.retain(|other| *other != of);
            assert!(message["content"].is_string(), "{id}");
            continue;
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open = calls.map(|call| call["id"].as_str().unwrap()).collect();
        let silent = message["content"].is_null() && open.is_empty();
        assert!(!silent, "{id}: {message}");
    }
}

#[test]
fn streams_become_chat_streams() {
    let Some(all) = recordings_of("anthropic.messages") else {
        return;
    };
    let mut passed = 0;
    for Recording { id, json } in &all {
        let Some(text) = json["response"]["body"].as_str() else {
            continue;
        };
        let mut decoder = anthropic::stream::Decoder::new(&Limits::default());
        let mut deltas = Vec::new();
        for data in events(text) {
            let _ = decoder.event(b"", &data, &mut deltas);
        }
        decoder.end_of_body(&mut deltas);
        let written = events(&encode_stream(&deltas, true));
        let failed = deltas
            .iter()
            .any(|delta| matches!(delta, Delta::Failure(_)));
        let expected = if failed { End::Failed } else { End::Done };
        assert_eq!(grammar::check(&written, true), Ok(expected), "{id}");
        if failed {
            continue;
        }
        let mut collector = Collector::new(1 << 26);
        deltas
            .into_iter()
            .for_each(|delta| collector.push(delta).unwrap());
        let own = collector.finish().unwrap();
        let (back, broken) = decode_stream(&written);
        assert_eq!(broken, 0, "{id}");
        let back = collect(&back).unwrap();
        assert_eq!(said(&back), said(&own), "{id}");
        assert_eq!(
            back.usage.unwrap().output,
            own.usage.unwrap().output,
            "{id}"
        );
        passed += 1;
    }
    println!("{passed} streams became Chat streams");
    assert!(passed > 50);
}

/// Text, reasoning, signatures and calls, each joined: Chat has one of each.
fn said(response: &tollgate_core::ir::Response) -> [String; 4] {
    let mut said = <[String; 4]>::default();
    let parts = response.choices.iter().flat_map(|choice| &choice.parts);
    for part in parts {
        match &part.kind {
            PartKind::Text { text, .. } => said[0] += &text.unescape(),
            PartKind::Thinking(thinking) => {
                said[1] += &thinking.text.unescape();
                if let Some(signature) = &thinking.signature {
                    said[2] += &signature.value.unescape();
                }
            }
            PartKind::RedactedThinking { data, .. } => said[2] += &data.unescape(),
            PartKind::ToolCall(call) => said[3] += &format!("{:?}", (&call.id, &call.name)),
            _ => {}
        }
    }
    said
}
