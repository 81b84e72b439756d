//! Requests: each rule by a fixture.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tollgate_core::base::{JsonStr, Limits, RawJson};
use tollgate_core::dialect::openai_chat::{models, request};
use tollgate_core::dialect::{
    ModelEntry, ReasoningField, Target, ThinkingStyle, TokenLimitField, Traits,
};
use tollgate_core::ir::*;
use tollgate_core::wire::json::Tape;

use super::support::*;

#[allow(clippy::needless_pass_by_value)]
fn with(messages: Json) -> Json {
    json!({"model": "m", "messages": messages})
}

#[allow(clippy::needless_pass_by_value)]
fn read(body: Json) -> Request {
    decode_request(&body.to_string()).unwrap()
}

fn written(request: &Request) -> Json {
    encode_request(request, &Traits::default()).unwrap().0
}

#[allow(clippy::needless_pass_by_value)]
fn fault(body: Json) -> String {
    let failure = decode_request(&body.to_string()).unwrap_err();
    assert_eq!(failure.class, Class::InvalidRequest);
    failure.message.to_string()
}

fn user(parts: Vec<Part>) -> Request {
    let message = Message {
        role: Role::User,
        parts,
        name: None,
    };
    Request {
        messages: vec![message],
        ..Request::default()
    }
}

fn expect_fault(body: Json, begin: &str) {
    let said = fault(body);
    assert!(said.starts_with(begin), "{said}");
}

#[test]
fn faults_of_messages_are_named_with_their_path() {
    let one = |message: Json, begin: &str| expect_fault(with(json!([message])), begin);
    one(json!({"content": "x"}), "messages[0].role: is required");
    one(
        json!({"role": "bot", "content": "x"}),
        "messages[0].role: must be one of",
    );
    one(json!({"role": "user"}), "messages[0].content: is required");
    one(
        json!({"role": "user", "content": 5}),
        "messages[0].content: must be a string",
    );
    let part = |part: Json, begin: &str| {
        one(json!({"role": "user", "content": [part]}), begin);
    };
    part(
        json!({"type": "imge"}),
        "messages[0].content[0].type: must be one of",
    );
    part(
        json!({"type": "text"}),
        "messages[0].content[0].text: is required",
    );
    part(
        json!({"type": "image_url", "image_url": {"url": "data:image/png,xx"}}),
        "messages[0].content[0].image_url.url: must be base64",
    );
    one(
        json!({"role": "tool", "content": "x"}),
        "messages[0].tool_call_id: is required",
    );
    one(
        json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}),
        "messages[0].tool_calls[0].function.name: is required",
    );
}

#[test]
fn faults_around_the_messages_are_named_with_their_path() {
    let hello = json!([{"role": "user", "content": "hi"}]);
    expect_fault(json!([]), "the body must be a JSON object");
    expect_fault(json!({"messages": hello}), "model: is required");
    expect_fault(
        json!({"model": 1, "messages": hello}),
        "model: must be a string, not a number",
    );
    expect_fault(json!({"model": "m"}), "messages: is required");
    expect_fault(
        json!({"model": "m", "messages": null}),
        "messages: is required",
    );
    expect_fault(with(json!([])), "messages: must not be empty");
    expect_fault(with(json!({})), "messages: must be an array");
    for (key, value, begin) in [
        (
            "tools",
            json!([{"type": "function"}]),
            "tools[0].function: is required",
        ),
        ("stop", json!(1), "stop: must be"),
        ("n", json!(0), "n: must be from 1 to 128"),
        ("stream", json!("yes"), "stream: must be a boolean"),
        ("max_tokens", json!(-1), "max_tokens: must be"),
        ("temperature", json!("1"), "temperature: must be"),
        ("tool_choice", json!("some"), "tool_choice: must be one of"),
        (
            "response_format",
            json!({"type": "xml"}),
            "response_format.type: must be one of",
        ),
    ] {
        let mut body = with(hello.clone());
        body[key] = value;
        expect_fault(body, begin);
    }
}

#[test]
fn instructions_before_the_first_turn_are_the_system_prompt() {
    let request = read(with(json!([
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "d"},
    ])));
    assert_eq!(request.system.len(), 2);
    assert_eq!(request.messages[1].role, Role::System);
    let body = written(&request);
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "a\n\nb"})
    );
    assert_eq!(
        body["messages"][2],
        json!({"role": "system", "content": "d"})
    );
    let traits = Traits {
        developer_role: true,
        ..Traits::default()
    };
    let (body, _) = encode_request(&request, &traits).unwrap();
    assert_eq!(body["messages"][0]["role"], "developer");
}

#[test]
fn data_urls_are_sliced_whatever_their_escapes() {
    let text = r#"{"model":"m","messages":[{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"data:image\/png;base64,QUJD\/w==","detail":"low"}},
        {"type":"input_audio","input_audio":{"data":"UklG","format":"mp3"}},
        {"type":"file","file":{"file_data":"data:application/pdf;base64,JVBE","filename":"a.pdf"}},
        {"type":"document_url","document_url":"https://a.example/x.pdf"}]}]}"#;
    let request = decode_request(text).unwrap();
    let parts = &request.messages[0].parts;
    let PartKind::Image(Media { source, detail }) = &parts[0].kind else {
        panic!("{parts:?}");
    };
    let Source::Base64 { media_type, data } = source else {
        panic!("{source:?}");
    };
    assert!(media_type.is("image/png") && data.is("QUJD/w=="));
    assert!(detail.as_ref().unwrap().is("low"));
    assert!(
        matches!(&parts[1].kind, PartKind::Audio(Media { source: Source::Base64 { media_type,
            .. }, .. })
        if media_type.is("audio/mpeg"))
    );
    assert!(
        matches!(&parts[2].kind, PartKind::Document(Document { title: Some(title), .. })
        if title.is("a.pdf"))
    );
    assert!(matches!(
        &parts[3].kind,
        PartKind::Document(Document {
            source: Source::Url { .. },
            ..
        })
    ));
}

#[test]
fn tool_results_join_and_split_again() {
    let turns = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "free"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "on"},
    ]);
    let request = read(with(turns));
    assert_eq!(request.messages.len(), 4);
    assert_eq!(request.messages[2].parts.len(), 2);
    let body = written(&request);
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[1]["content"], Json::Null);
    assert_eq!(messages[1]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(messages[1]["tool_calls"][1]["custom"]["input"], "free");
    assert_eq!(
        messages[3],
        json!({"role": "tool", "tool_call_id": "b", "content": "2"})
    );
    assert_eq!(messages[4], json!({"role": "user", "content": "on"}));
}

#[test]
fn calls_without_ids_get_some_and_their_results_find_them() {
    let request = read(with(json!([
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "tool_calls": [{"id": "", "function": {"name": "f",
            "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "", "content": "2"},
    ])));
    for pair in request.messages.chunks(2) {
        let [call, result] = pair else { panic!() };
        let PartKind::ToolCall(call) = &call.parts[0].kind else {
            panic!()
        };
        let PartKind::ToolResult(result) = &result.parts[0].kind else {
            panic!()
        };
        assert_eq!(call.id, result.call_id);
        assert!(!call.id.is_empty());
    }
}

#[test]
fn pictures_of_tool_results_follow_in_a_users_message() {
    let image = PartKind::Image(Media {
        source: Source::Base64 {
            media_type: "image/png".into(),
            data: "QUJD".into(),
        },
        detail: None,
    });
    let result = |id: &str, parts, is_error| {
        Part::new(PartKind::ToolResult(ToolResult {
            call_id: id.into(),
            name: None,
            parts,
            is_error,
        }))
    };
    let mut request = user(vec![
        result("a", vec![Part::new(image)], false),
        result("b", vec![Part::text("boom".into())], true),
        Part::text("and?".into()),
    ]);
    request.messages.push(Message {
        role: Role::User,
        parts: vec![result("c", vec![], true)],
        name: None,
    });
    let call = |id: &str| {
        Part::new(PartKind::ToolCall(ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: Arguments::Text("{}".into()),
            signature: None,
        }))
    };
    let calls = Message {
        role: Role::Assistant,
        parts: vec![call("a"), call("b"), call("c")],
        name: None,
    };
    request.messages.insert(0, calls);
    let body = written(&request);
    let messages = &body["messages"].as_array().unwrap()[1..];
    let roles: Vec<&str> = messages
        .iter()
        .map(|it| it["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["tool", "tool", "user", "tool"]);
    assert_eq!(messages[0]["content"], "(see the next user message)");
    assert_eq!(messages[1]["content"], "Error: boom");
    assert_eq!(
        messages[2]["content"][1]["image_url"]["url"],
        "data:image/png;base64,QUJD"
    );
    assert_eq!(messages[2]["content"][2]["text"], "and?");
    assert_eq!(messages[3]["content"], "Error: ");
    // A turn of results alone holds the pictures back until the last result is told.
    let images = request.messages[1].parts.pop();
    let body = written(&request);
    let roles: Vec<_> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["role"].clone())
        .collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "tool", "user"]);
    assert!(images.is_some());
}

#[test]
fn reasoning_is_read_in_every_form() {
    let thinking = |message: Json| {
        let request = read(with(json!([message])));
        let parts = request.messages[0].parts.iter();
        let told = parts.map(|part| match &part.kind {
            PartKind::Thinking(thinking) => {
                let signature = thinking.signature.as_ref();
                let signature = signature.map(|it| (it.value.to_string(), it.origin));
                (thinking.text.to_string(), signature)
            }
            PartKind::RedactedThinking { data, origin } => {
                (format!("<{data}>"), Some(("".into(), *origin)))
            }
            other => (format!("{other:?}"), None),
        });
        told.collect::<Vec<_>>()
    };
    let signed = |text: &str| vec![(text.to_owned(), Some(("sig".to_owned(), Origin::Anthropic)))];
    assert_eq!(
        thinking(json!({"role": "assistant", "reasoning": "a"})),
        [("a".to_owned(), None)]
    );
    assert_eq!(
        thinking(json!({"role": "assistant", "reasoning_content": "a", "reasoning": "a"})),
        [("a".to_owned(), None)]
    );
    let format = "anthropic-claude-v1";
    assert_eq!(
        thinking(
            json!({"role": "assistant", "reasoning_content": "ab", "reasoning_details": [
            {"type": "reasoning.text", "signature": "sig", "format": format, "index": 0}]})
        ),
        signed("ab")
    );
    assert_eq!(
        thinking(
            json!({"role": "assistant", "reasoning": "ab", "reasoning_details": [
            {"type": "reasoning.text", "text": "a", "format": format, "index": 0},
            {"type": "reasoning.text", "text": "b", "format": format, "index": 0},
            {"type": "reasoning.text", "signature": "sig", "format": format, "index": 0}]})
        ),
        signed("ab")
    );
    // Two signatures over one text: neither can be right.
    assert_eq!(
        thinking(
            json!({"role": "assistant", "reasoning_content": "ab", "reasoning_details": [
            {"type": "reasoning.text", "signature": "s1", "format": format, "index": 0},
            {"type": "reasoning.text", "signature": "s2", "format": format, "index": 1}]})
        ),
        [("ab".to_owned(), None)]
    );
    assert_eq!(
        thinking(json!({"role": "assistant", "reasoning_details": [
            {"type": "reasoning.encrypted", "data": "xyz", "format": "openai-responses-v1"}]})),
        [(
            "<xyz>".to_owned(),
            Some((String::new(), Origin::OpenAiResponses))
        )]
    );
    assert_eq!(
        thinking(json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})),
        [("hm".to_owned(), None)]
    );
}

#[test]
fn reasoning_goes_back_in_the_field_that_the_endpoint_wants() {
    let request = read(with(json!([
        {"role": "assistant", "content": "t", "reasoning_details": [
            {"type": "reasoning.text", "text": "a", "signature": "s",
                "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"}]}])));
    let message = |reasoning_field| {
        let traits = Traits {
            reasoning_field,
            ..Traits::default()
        };
        let (body, dropped) = encode_request(&request, &traits).unwrap();
        (body["messages"][0].clone(), dropped)
    };
    let (none, dropped) = message(ReasoningField::None);
    assert_eq!(none, json!({"role": "assistant", "content": "t"}));
    assert_eq!(dropped, ["messages[].content[].thinking"]);
    let (words, dropped) = message(ReasoningField::ReasoningContent);
    assert_eq!(words["reasoning_content"], "a");
    assert_eq!(dropped, ["messages[].content[].redacted_thinking"]);
    assert_eq!(message(ReasoningField::Reasoning).0["reasoning"], "a");
    let (details, dropped) = message(ReasoningField::ReasoningDetails);
    assert_eq!(details["reasoning_details"][0]["signature"], "s");
    assert_eq!(details["reasoning_details"][1]["data"], "d");
    assert!(dropped.is_empty());
}

#[test]
fn cache_hints_are_carried_where_the_endpoint_takes_them() {
    let hint = json!({"type": "ephemeral", "ttl": "1h"});
    let request = read(json!({"model": "m", "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": hint}]},
        {"role": "user", "content": "u", "cache_control": hint}],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": hint}]}));
    let traits = Traits {
        cache_control: true,
        ..Traits::default()
    };
    let (body, dropped) = encode_request(&request, &traits).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], hint);
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], hint);
    assert_eq!(body["tools"][0]["cache_control"], hint);
    assert!(dropped.is_empty());
    let (body, dropped) = encode_request(&request, &Traits::default()).unwrap();
    assert!(!body.to_string().contains("cache_control"));
    assert_eq!(
        dropped,
        ["tools[].cache_control", "messages[].cache_control"]
    );
}

#[test]
fn fields_around_the_conversation() {
    let request = read(json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
        "max_tokens": 5, "max_completion_tokens": 7, "stop": "x", "temperature": 1.10, "top_k": 3,
        "logprobs": true, "top_logprobs": 2, "reasoning_effort": "high", "user": "u",
        "safety_identifier": "s", "stream_options": {"include_usage": true},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {},
            "strict": true}},
        "tools": [{"type": "function", "function": {"name": "f", "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": false,
        "store": true, "web_search_options": {}, "modalities": ["text"], "vendor_field": [1]}));
    assert!(request.stream && request.stream_usage);
    assert_eq!(request.output_tokens_max, Some(Number::from(7)));
    assert_eq!(request.logprobs, Some(2));
    assert!(request.user.as_ref().unwrap().is("s"));
    let meaningful = request
        .extensions
        .iter()
        .filter(|it| it.loss != Loss::Harmless);
    let paths: Vec<_> = meaningful.map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["web_search_options"]);
    let (body, dropped) = encode_request(&request, &Traits::default()).unwrap();
    assert_eq!(dropped, ["top_k"]);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert_eq!(body["max_completion_tokens"], 7);
    assert_eq!(body["reasoning_effort"], "high");
    assert_eq!(body["tool_choice"]["function"]["name"], "f");
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(body["vendor_field"], json!([1]));
    assert_eq!(
        body["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {}})
    );
    let traits = Traits {
        token_limit_field: TokenLimitField::MaxTokens,
        stream_options: false,
        thinking: ThinkingStyle::None,
        ..Traits::default()
    };
    let (body, dropped) = encode_request(&request, &traits).unwrap();
    assert_eq!(body["max_tokens"], 7);
    assert!(body.get("stream_options").is_none() && body.get("reasoning_effort").is_none());
    assert_eq!(
        dropped,
        ["thinking", "top_k"]
            .map(String::from)
            .iter()
            .rev()
            .cloned()
            .collect::<Vec<_>>()
    );
}

#[test]
fn tool_choices_of_all_forms_come_back() {
    for choice in [
        json!("auto"),
        json!("none"),
        json!("required"),
        json!({"type": "function", "function": {"name": "f"}}),
        json!({"type": "custom", "custom": {"name": "g"}}),
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "f"}}]}}),
    ] {
        let request = read(
            json!({"model": "m", "messages": [{"role": "user", "content": ""}],
            "tool_choice": choice, "tools": [
                {"type": "function", "function": {"name": "f"}},
                {"type": "custom", "custom": {"name": "g"}}]}),
        );
        assert_eq!(written(&request)["tool_choice"], choice);
    }
}

#[test]
fn what_chat_cannot_say_is_refused_by_name() {
    let refused = |request: &Request| {
        let failure = encode_request(request, &Traits::default()).unwrap_err();
        assert_eq!(failure.class, Class::InvalidRequest);
        failure.param.unwrap().to_string()
    };
    let mut request = user(vec![Part::text("x".into())]);
    request.stop = vec!["a".into(); 5];
    assert_eq!(refused(&request), "stop");
    let mut request = user(vec![Part::text("x".into())]);
    request.tools.push(Tool {
        kind: ToolKind::Provider {
            origin: Origin::Anthropic,
            name: "web_search_20250305".into(),
            json: RawJson::EMPTY_OBJECT,
        },
        cache: None,
    });
    assert_eq!(refused(&request), "tools[0]");
    let document = |source, citations| {
        user(vec![Part::new(PartKind::Document(Document {
            source,
            title: Some("t".into()),
            context: None,
            citations,
        }))])
    };
    let url = Source::Url {
        url: "https://a.example".into(),
        media_type: None,
    };
    assert_eq!(refused(&document(url, false)), "messages[0].content");
    let text = || Source::Text { text: "x".into() };
    assert_eq!(refused(&document(text(), true)), "messages[0].content");
    let body = written(&document(text(), false));
    assert_eq!(body["messages"][0]["content"][0]["text"], "t\nx");
}

/// Wire case 22: a clear refusal before anything is sent.
#[test]
fn calls_and_results_belong_together() {
    let call = json!({"role": "assistant", "tool_calls": [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
    let hello = json!({"role": "user", "content": "hi"});
    let sent = |messages: Json| {
        let request = read(with(messages));
        encode_request(&request, &Traits::default()).map_err(|failure| failure.message.to_string())
    };
    assert!(sent(json!([hello, call, result, hello])).is_ok());
    // The last word may be a call: the model is to go on.
    assert!(sent(json!([hello, call])).is_ok());
    let unanswered = "messages[1]: the tool call `a` is not answered by a result";
    assert_eq!(sent(json!([call, hello])).unwrap_err(), unanswered);
    let answers_nothing = "messages[1]: the result of `a` answers no open tool call";
    assert_eq!(sent(json!([hello, result])).unwrap_err(), answers_nothing);
}

#[test]
fn budgets_become_efforts() {
    for (budget, effort) in [
        (1024, "low"),
        (4096, "medium"),
        (16384, "high"),
        (32000, "high"),
    ] {
        let mut request = user(vec![Part::text("x".into())]);
        request.reasoning = Some(Reasoning {
            mode: ReasoningMode::On,
            effort: None,
            budget_tokens: Some(Number::from(budget)),
            visible: None,
        });
        assert_eq!(written(&request)["reasoning_effort"], effort);
    }
}

/// Wire case 10.
#[test]
fn a_conversation_that_grows_only_appends() {
    let turns = [
        json!({"role": "system", "content": "s"}),
        json!({"role": "user", "content": "a"}),
        json!({"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f",
                "arguments": "{\"a\": 1}"}}]}),
        json!({"role": "tool", "tool_call_id": "1", "content": "r"}),
        json!({"role": "assistant", "content": "done", "reasoning_content": "hm"}),
        json!({"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text",
            "text": "c"}]}),
    ];
    let bytes = |count: usize| {
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"b": 1,
            "a": 2}}}]);
        let body =
            json!({"model": "m", "temperature": 0.5, "tools": tools, "messages": turns[..count]});
        let request = read(body);
        let name = JsonStr::from_static("t");
        let extra = [("service_tier".into(), RawJson::NULL)];
        let traits = Traits::default();
        let target = Target {
            model: &name,
            traits: &traits,
            extra: &extra,
        };
        request::encode(&request, &target).unwrap().body.take_all()
    };
    for count in 2..turns.len() {
        let (before, after) = (bytes(count), bytes(count + 1));
        let old = before.strip_suffix(b"]}").unwrap();
        assert!(after.starts_with(old), "{count}");
    }
}

#[test]
fn the_same_api_is_edited_in_place() {
    let begin = r#"{ "model" : "a", "x": 1.10, "stream":true, "#;
    let end = r#""stream_options": {"y":0},  "messages":[] }"#;
    let text = Bytes::from(format!("{begin}{end}"));
    let mut tape = Tape::new();
    let body = tape.parse(&text, &Limits::default().json).unwrap();
    let name = JsonStr::from_static("b");
    let extra = [("z".into(), RawJson::NULL)];
    let target = Target {
        model: &name,
        traits: &Traits::default(),
        extra: &extra,
    };
    let edited = request::edit(&text, body, &target).take_all();
    let begin = r#"{ "model" : "b", "x": 1.10, "stream":true, "#;
    let end = r#""stream_options": {"y":0,"include_usage":true},  "messages":[],"z":null }"#;
    assert_eq!(
        core::str::from_utf8(&edited).unwrap(),
        format!("{begin}{end}")
    );
}

#[test]
fn unknown_fields_are_bounded() {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for number in 0..300 {
        body[format!("field{number}")] = json!(1);
    }
    assert!(fault(body).contains("one unknown field too many"));
}

#[test]
fn the_models_list() {
    let entry = ModelEntry {
        id: "m".into(),
        created: 5,
        display_name: "M".into(),
        owner: "o".into(),
    };
    let mut out = tollgate_core::base::OutBuf::new();
    models::list(core::slice::from_ref(&entry), &mut out);
    let json: Json = serde_json::from_slice(&out.take_all()).unwrap();
    let one = json!({"id": "m", "object": "model", "created": 5, "owned_by": "o"});
    assert_eq!(json, json!({"object": "list", "data": [one]}));
    models::one(&entry, &mut out);
    assert_eq!(
        serde_json::from_slice::<Json>(&out.take_all()).unwrap(),
        one
    );
}
