//! Requests, rule by rule.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tollgate_core::base::Limits;
use tollgate_core::dialect::anthropic::request;
use tollgate_core::dialect::{Target, ThinkingStyle, Traits};
use tollgate_core::ir::{
    Arguments, CacheHint, Document, Effort, Extension, FunctionTool, Loss, Media, Message, Number,
    Origin, OutputFormat, Part, PartKind, Reasoning, ReasoningMode, Request, Role, Signature,
    Source, Thinking, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use tollgate_core::wire::json::Tape;

use super::support::{decode, encode, encode_with, js, raw, text_of};

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message {
        role,
        parts,
        name: None,
    }
}

fn user(text: &str) -> Message {
    message(Role::User, vec![Part::text(js(text))])
}

fn assistant(text: &str) -> Message {
    message(Role::Assistant, vec![Part::text(js(text))])
}

fn call(id: &str, arguments: &str) -> Part {
    Part::new(PartKind::ToolCall(ToolCall {
        id: js(id),
        name: js("f"),
        arguments: Arguments::Text(js(arguments)),
        signature: None,
    }))
}

fn result(id: &str, text: &str) -> Message {
    let parts = if text.is_empty() {
        Vec::new()
    } else {
        vec![Part::text(js(text))]
    };
    message(
        Role::User,
        vec![Part::new(PartKind::ToolResult(ToolResult {
            call_id: js(id),
            name: None,
            parts,
            is_error: false,
        }))],
    )
}

fn asking(messages: Vec<Message>) -> Request {
    Request {
        messages,
        ..Request::default()
    }
}

fn function(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function(FunctionTool {
            name: js(name),
            description: None,
            parameters: None,
            strict: None,
        }),
        cache: None,
    }
}

fn reasoning(effort: Option<Effort>) -> Option<Reasoning> {
    Some(Reasoning {
        mode: ReasoningMode::Adaptive,
        effort,
        budget_tokens: None,
        visible: None,
    })
}

fn refusal(request: &Request) -> String {
    let failure = encode(request).unwrap_err();
    failure.message.unescape().into_owned()
}

#[test]
fn faults_are_named_with_their_path() {
    for (body, message) in [
        ("[]", "the body must be a JSON object, not an array"),
        ("{}", "model: field required"),
        (r#"{"model":null}"#, "model: must be a string, not null"),
        (
            r#"{"model":"m","messages":[]}"#,
            "messages: at least one message is required",
        ),
        (
            r#"{"model":"m","max_tokens":null}"#,
            "max_tokens: must be an integer that is not negative, not null",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
            "max_tokens: field required",
        ),
        (
            r#"{"messages":[{"role":"tool","content":"a"}]}"#,
            "messages[0].role: must be one of assistant, system, user",
        ),
        (
            r#"{"messages":[{"role":"user"}]}"#,
            "messages[0].content: field required",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":7}]}]}"#,
            "messages[0].content[0].text: must be a string, not a number",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"x"}}]}]}"#,
            "messages[0].content[0].source.type: must be one of base64, content, file, text, url",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":
            {"type":"base64","media_type":"a,image/png","data":"AA=="}}]}]}"#,
            "messages[0].content[0].source.media_type: must be a media type, such as image/png",
        ),
        (
            r#"{"tools":[{"description":"d"}]}"#,
            "tools[0].name: field required",
        ),
        (
            r#"{"temperature":"hot"}"#,
            "temperature: must be a number, not a string",
        ),
        (r#"{"stream":1}"#, "stream: must be a boolean, not a number"),
        (
            r#"{"thinking":{"budget_tokens":1}}"#,
            "thinking.type: field required",
        ),
    ] {
        let failure = decode(body).unwrap_err();
        assert_eq!(failure.message.unescape(), message, "{body}");
    }
}

/// What Claude Code sends, in small.
pub(crate) const AGENT: &str = r#"{"model":"claude-x","max_tokens":32000,"stream":true,
        "system":[{"type":"text","text":"x-anthropic-billing-header: a"},
            {"type":"text","text":"You are…","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},
            {"role":"system","content":"A reminder."},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},
                {"type":"tool_use","id":"toolu_1","name":"Read","input":{"a":1},"caller":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","is_error":true,
                "content":[{"type":"text","text":"no","cache_control":{"type":"ephemeral"}}]}]}],
        "tools":[{"name":"Read","description":"d","input_schema":{"type":"object"},"new":1},
            {"type":"web_search_20250305","name":"web_search","max_uses":3}],
        "thinking":{"type":"adaptive","display":"omitted"},
        "output_config":{"effort":"high","task_budget":{"total":9}},
        "context_management":{"edits":[]},"metadata":{"user_id":"u"},"speed":"fast",
        "inference_geo":"eu","future_field":{"a":[1]},"container":null,"mcp_servers":[]}"#;

#[test]
fn what_claude_code_sends_is_understood() {
    let request = decode(AGENT).unwrap();
    assert_eq!(request.system.len(), 2);
    assert_eq!(request.messages[1].role, Role::System);
    let reasoning = request.reasoning.as_ref().unwrap();
    assert_eq!(reasoning.effort, Some(Effort::High));
    assert_eq!(reasoning.visible, Some(false));
    assert_eq!(request.user, Some(js("u")));
    assert!(matches!(&request.tools[1].kind, ToolKind::Provider { .. }));
    assert!(
        request
            .extensions
            .iter()
            .all(|it| it.loss == Loss::Harmless)
    );
    let paths: Vec<&str> = request
        .extensions
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "tools[0].new",
            "output_config.task_budget",
            "context_management",
            "speed",
            "inference_geo",
            "future_field",
            "mcp_servers",
        ]
    );
    let PartKind::ToolResult(result) = &request.messages[3].parts[0].kind else {
        panic!("no result");
    };
    assert!(result.is_error);
    assert_eq!(result.parts[0].cache, Some(CacheHint { ttl: None }));
}

#[test]
fn fields_that_only_anthropic_honours_are_marked() {
    let head = r#""model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]"#;
    for field in [r#""container":"c_1""#, r#""mcp_servers":[{"name":"x"}]"#] {
        let request = decode(&format!("{{{head},{field}}}")).unwrap();
        let loss = &request.extensions[0].loss;
        assert!(matches!(loss, Loss::Meaningful(_)), "{field}");
    }
}

#[test]
fn unknown_fields_are_noted_up_to_a_number() {
    let many: Vec<String> = (0..5000).map(|at| format!("\"x{at}\":0")).collect();
    let head = r#""model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]"#;
    let request = decode(&format!("{{{head},{}}}", many.join(","))).unwrap();
    assert_eq!(request.extensions.len(), 32);
}

#[test]
fn turns_alternate_and_results_come_first() {
    let request = asking(vec![
        user("one"),
        user("two"),
        message(
            Role::Assistant,
            vec![call("a", "{}"), call("functions.f:1", "")],
        ),
        user("meanwhile"),
        result("functions.f:1", "1"),
        result("a", ""),
        message(Role::System, vec![Part::text(js("mind \"this\""))]),
        assistant(""),
        user(" \n"),
        user("three"),
    ]);
    let (body, _) = encode(&request).unwrap();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["content"].as_array().unwrap().len(), 2);
    let calls = &messages[1]["content"];
    assert_eq!(calls[0]["input"], json!({}));
    assert_eq!(calls[1]["input"], json!({}));
    let id = calls[1]["id"].as_str().unwrap();
    assert!(id.starts_with("functions_f_1_"), "{id}");
    assert_eq!(
        messages[2],
        json!({"role":"user","content":[
            {"type":"tool_result","tool_use_id":id,"content":[{"type":"text","text":"1"}]},
            {"type":"tool_result","tool_use_id":"a"},
            {"type":"text","text":"meanwhile"},
            {"type":"text","text":"<system>\nmind \"this\"\n</system>"},
            {"type":"text","text":"three"},
        ]})
    );
}

#[test]
fn each_call_has_one_result_or_the_request_is_refused() {
    let calls = || message(Role::Assistant, vec![call("a", "{}"), call("b", "{}")]);
    for (after, expected) in [
        (vec![], "\"a\" has no result"),
        (vec![result("a", "1")], "\"b\" has no result"),
        (
            vec![result("a", "1"), result("b", "1"), result("a", "2")],
            "\"a\" has more than one result",
        ),
        (vec![result("c", "1")], "no such tool call"),
    ] {
        let mut messages = vec![user("x"), calls()];
        messages.extend(after);
        let told = refusal(&asking(messages));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_longer_conversation_begins_with_the_same_bytes() {
    let thought = Part::new(PartKind::Thinking(Thinking {
        text: js("hm"),
        signature: Some(Signature {
            value: js("c2ln"),
            origin: Origin::Anthropic,
        }),
    }));
    let all = vec![
        user("one"),
        message(
            Role::Assistant,
            vec![thought, call("c.1", "{\"b\":1.10,\"a\": 2}")],
        ),
        result("c.1", "r"),
        user("more"),
        assistant("yes  "),
        message(Role::System, vec![Part::text(js("s"))]),
        message(Role::Assistant, vec![call("c.1", "")]),
        result("c.1", ""),
        user("end"),
    ];
    let mut request = asking(Vec::new());
    request.system = vec![Part::text(js("be good"))];
    request.tools = vec![function("f")];
    let mut before = String::new();
    for turn in all {
        request.messages.push(turn);
        let waits = matches!(
            request
                .messages
                .last()
                .and_then(|it| it.parts.last())
                .map(|it| &it.kind),
            Some(PartKind::ToolCall(_))
        );
        if waits || request.messages.last().unwrap().role == Role::Assistant {
            continue;
        }
        let mut encoded = encode_with(&request, &Traits::default()).unwrap();
        let text = text_of(&mut encoded.body);
        let turns = text.strip_suffix("]}]}").unwrap();
        assert!(turns.starts_with(&before), "{before}\n{turns}");
        before = turns.to_owned();
    }
    assert!(before.contains("1.10"));
}

#[test]
fn arguments_become_objects() {
    for (arguments, input) in [
        ("", json!({})),
        (" ", json!({})),
        ("null", json!({})),
        ("{\"a\":[1]}", json!({"a":[1]})),
        ("{\"a\":", json!({"_raw":"{\"a\":"})),
        ("[1]", json!({"_raw":"[1]"})),
    ] {
        let request = asking(vec![
            user("x"),
            message(Role::Assistant, vec![call("a", arguments)]),
            result("a", "r"),
        ]);
        let (body, _) = encode(&request).unwrap();
        assert_eq!(body["messages"][1]["content"][0]["input"], input);
    }
}

#[test]
fn a_begun_answer_ends_without_white_space() {
    let (body, _) = encode(&asking(vec![user("x"), assistant("So \n")])).unwrap();
    assert_eq!(body["messages"][1]["content"][0]["text"], "So");
    let (body, _) = encode(&asking(vec![user("x"), assistant(" \n")])).unwrap();
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn instructions_alone_are_a_turn() {
    let mut request = asking(Vec::new());
    request.system = vec![Part::text(js("do it"))];
    let (body, _) = encode(&request).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["text"], "do it");
    assert!(body["system"].is_null());
    request.system.clear();
    assert!(refusal(&request).contains("at least one message"));
}

#[test]
fn foreign_and_unsigned_thoughts_are_dropped() {
    let thought = |signature: Option<(&str, Origin)>| {
        Part::new(PartKind::Thinking(Thinking {
            text: js("t"),
            signature: signature.map(|(value, origin)| Signature {
                value: js(value),
                origin,
            }),
        }))
    };
    let request = asking(vec![
        user("x"),
        message(
            Role::Assistant,
            vec![
                thought(None),
                thought(Some(("g", Origin::Gemini))),
                thought(Some(("a", Origin::Anthropic))),
                Part::text(js("y")),
            ],
        ),
        user("z"),
    ]);
    let (body, dropped) = encode(&request).unwrap();
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"type":"thinking","thinking":"t","signature":"a"},{"type":"text","text":"y"}])
    );
    assert_eq!(dropped, ["messages[].reasoning"]);
}

fn thinking_of(request: &Request, style: ThinkingStyle) -> (Json, Vec<String>) {
    let traits = Traits {
        thinking: style,
        ..Traits::default()
    };
    let mut encoded = encode_with(request, &traits).unwrap();
    let body = text_of(&mut encoded.body);
    (serde_json::from_str(&body).unwrap(), encoded.dropped)
}

#[test]
fn effort_becomes_a_budget_or_an_effort() {
    let mut request = asking(vec![user("x")]);
    request.reasoning = reasoning(Some(Effort::High));
    request.sampling.temperature = Some(Number(raw("0.5")));
    let (body, dropped) = thinking_of(&request, ThinkingStyle::Budget);
    assert_eq!(
        body["thinking"],
        json!({"type":"enabled","budget_tokens":16384})
    );
    assert_eq!(body["max_tokens"], 16384 + 4096);
    assert!(body["temperature"].is_null());
    assert_eq!(dropped, ["temperature"]);
    let (body, _) = thinking_of(&request, ThinkingStyle::Adaptive);
    assert_eq!(body["thinking"], json!({"type":"adaptive"}));
    assert_eq!(body["output_config"], json!({"effort":"high"}));
    let (body, dropped) = thinking_of(&request, ThinkingStyle::None);
    assert!(body["thinking"].is_null());
    assert_eq!(body["temperature"], json!(0.5));
    assert_eq!(dropped, ["reasoning"]);

    request.output_tokens_max = Some(Number::from(4000));
    let (body, _) = thinking_of(&request, ThinkingStyle::Budget);
    assert_eq!(body["thinking"]["budget_tokens"], 3000);
    assert_eq!(body["max_tokens"], 4000);
    request.output_tokens_max = Some(Number::from(1000));
    let (body, dropped) = thinking_of(&request, ThinkingStyle::Budget);
    assert!(body["thinking"].is_null());
    assert_eq!(dropped, ["reasoning"]);

    request.reasoning = reasoning(Some(Effort::None));
    let (body, _) = thinking_of(&request, ThinkingStyle::Budget);
    assert_eq!(body["thinking"], json!({"type":"disabled"}));
}

#[test]
fn thinking_gives_way_where_the_api_forbids_it() {
    let mut request = asking(vec![user("x")]);
    request.reasoning = reasoning(Some(Effort::Low));
    request.tools = vec![function("f")];
    request.tool_choice = Some(ToolChoice::Required);
    let (body, dropped) = thinking_of(&request, ThinkingStyle::Adaptive);
    assert!(body["thinking"].is_null() && dropped == ["reasoning"]);
    assert_eq!(body["tool_choice"], json!({"type":"any"}));

    request.tool_choice = None;
    request
        .messages
        .push(message(Role::Assistant, vec![call("a", "{}")]));
    request.messages.push(result("a", "r"));
    let (body, dropped) = thinking_of(&request, ThinkingStyle::Budget);
    assert!(body["thinking"].is_null() && dropped == ["reasoning"]);
    let (body, _) = thinking_of(&request, ThinkingStyle::Adaptive);
    assert_eq!(body["thinking"]["type"], "adaptive");
    request.messages.push(assistant("done"));
    request.messages.push(user("next"));
    let (body, _) = thinking_of(&request, ThinkingStyle::Budget);
    assert_eq!(body["thinking"]["type"], "enabled");
}

#[test]
fn sampling_is_carried_dropped_or_refused() {
    let mut request = asking(vec![user("x")]);
    request.sampling.temperature = Some(Number(raw("0.20")));
    request.sampling.top_p = Some(Number(raw("0.9")));
    request.sampling.top_k = Some(Number(raw("5")));
    request.sampling.seed = Some(Number(raw("1")));
    request.sampling.presence_penalty = Some(Number(raw("1")));
    request.sampling.logit_bias = Some(raw("{}"));
    let mut encoded = encode_with(&request, &Traits::default()).unwrap();
    let text = text_of(&mut encoded.body);
    assert!(text.contains("\"temperature\":0.20,\"top_k\":5"), "{text}");
    assert_eq!(encoded.dropped, ["presence_penalty", "seed", "top_p"]);
    let traits = Traits {
        sampling: false,
        ..Traits::default()
    };
    let encoded = encode_with(&request, &traits).unwrap();
    let all = ["presence_penalty", "seed", "temperature", "top_p", "top_k"];
    assert_eq!(encoded.dropped, all);
    request.sampling.temperature = Some(Number(raw("1.5")));
    assert_eq!(
        refusal(&request),
        "temperature: a Messages model takes 0 to 1"
    );
}

#[test]
fn what_changes_the_answer_is_refused() {
    let plain = || asking(vec![user("x")]);
    let mut cases: Vec<(Request, &str)> = Vec::new();
    let mut push = |path, change: &dyn Fn(&mut Request)| {
        let mut request = plain();
        change(&mut request);
        cases.push((request, path));
    };
    push("n: ", &|it| it.choices = Some(2));
    push("logprobs: ", &|it| it.logprobs = Some(0));
    push("logit_bias: ", &|it| {
        it.sampling.logit_bias = Some(raw("{\"7\":1}"));
    });
    push("stop: ", &|it| it.stop = vec![js("\n\n")]);
    push("tool_choice: ", &|it| {
        it.tool_choice = Some(ToolChoice::Required);
    });
    push("tool_choice: ", &|it| {
        it.tool_choice = Some(ToolChoice::Allowed {
            required: true,
            names: vec![js("f")],
        });
    });
    push("audio: none", &|it| {
        it.extensions.push(Extension {
            path: "audio".to_owned(),
            origin: Origin::OpenAiChat,
            value: raw("{}"),
            loss: Loss::Meaningful("none"),
        });
    });
    push("tools[0]: ", &|it| {
        it.tools = vec![Tool {
            kind: ToolKind::Custom {
                name: js("f"),
                description: None,
                format: None,
            },
            cache: None,
        }];
    });
    push("messages: sound", &|it| {
        let sound = PartKind::Audio(Media {
            source: Source::Base64 {
                media_type: js("audio/wav"),
                data: js("AA=="),
            },
            detail: None,
        });
        it.messages[0].parts.push(Part::new(sound));
    });
    for (request, path) in cases {
        let told = refusal(&request);
        assert!(told.starts_with(path), "{told}");
    }
    let mut harmless = plain();
    harmless.choices = Some(1);
    harmless.extensions.push(Extension {
        path: "store".to_owned(),
        origin: Origin::OpenAiChat,
        value: raw("true"),
        loss: Loss::Harmless,
    });
    assert_eq!(encode(&harmless).unwrap().1, ["store"]);
}

#[test]
fn tools_and_their_choice() {
    let mut request = asking(vec![user("x")]);
    request.tools = vec![function("f"), function("g")];
    let ToolKind::Function(second) = &mut request.tools[1].kind else {
        panic!("a function");
    };
    second.parameters = Some(raw("{\"properties\":{\"a\":{}}}"));
    second.strict = Some(true);
    request.parallel_tool_calls = Some(false);
    let (body, _) = encode(&request).unwrap();
    assert_eq!(
        body["tools"],
        json!([
            {"name":"f","input_schema":{"type":"object","properties":{}}},
            {"name":"g","input_schema":{"type":"object","properties":{"a":{}}},"strict":true},
        ])
    );
    let single = json!({"type":"auto","disable_parallel_tool_use":true});
    assert_eq!(body["tool_choice"], single);
    request.parallel_tool_calls = None;
    for (choice, expected) in [
        (ToolChoice::Auto, json!({"type":"auto"})),
        (ToolChoice::None, json!({"type":"none"})),
        (
            ToolChoice::Named(js("g")),
            json!({"type":"tool","name":"g"}),
        ),
        (
            ToolChoice::Allowed {
                required: true,
                names: vec![js("g")],
            },
            json!({"type":"any"}),
        ),
    ] {
        request.tool_choice = Some(choice);
        assert_eq!(encode(&request).unwrap().0["tool_choice"], expected);
    }
    assert_eq!(
        encode(&request).unwrap().0["tools"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn the_last_four_cache_marks_stay() {
    let hint = Some(CacheHint {
        ttl: Some(js("1h")),
    });
    let mut request = asking(vec![user("a"), assistant("b"), user("c")]);
    for message in &mut request.messages {
        message.parts[0].cache.clone_from(&hint);
    }
    request.system = vec![Part::text(js("s"))];
    request.system[0].cache.clone_from(&hint);
    request.tools = vec![function("f")];
    let (body, dropped) = encode(&request).unwrap();
    assert!(dropped.is_empty());
    assert_eq!(
        body["system"][0]["cache_control"],
        json!({"type":"ephemeral","ttl":"1h"})
    );
    request.tools[0].cache.clone_from(&hint);
    let (body, dropped) = encode(&request).unwrap();
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    assert!(body["tools"][0]["cache_control"].is_null());
    assert_eq!(dropped, ["cache_control"]);
    request.cache = Some(CacheHint::default());
    let (body, _) = encode(&request).unwrap();
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    assert!(body["system"][0]["cache_control"].is_null());
}

#[test]
fn formats() {
    let mut request = asking(vec![user("x")]);
    request.format = OutputFormat::JsonSchema {
        name: Some(js("n")),
        description: None,
        schema: raw("{\"type\":\"object\"}"),
        strict: Some(true),
    };
    let (body, _) = encode(&request).unwrap();
    assert_eq!(
        body["output_config"],
        json!({"format":{"type":"json_schema","schema":{"type":"object"}}})
    );
    request.format = OutputFormat::JsonObject;
    let (body, _) = encode(&request).unwrap();
    let said = body["system"][0]["text"].as_str().unwrap();
    assert!(said.contains("JSON object"));
}

#[test]
fn media() {
    let image = |url: &str| {
        let mut request = asking(vec![user("x")]);
        let media = Media {
            source: Source::Url {
                url: js(url),
                media_type: None,
            },
            detail: Some(js("high")),
        };
        request.messages[0]
            .parts
            .push(Part::new(PartKind::Image(media)));
        encode(&request).unwrap()
    };
    let (body, dropped) = image("data:image/png;base64,AAAA");
    assert_eq!(
        body["messages"][0]["content"][1],
        json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}})
    );
    assert_eq!(dropped, ["messages[].image_url.detail"]);
    let (body, _) = image("https://a.example/b.png");
    assert_eq!(body["messages"][0]["content"][1]["source"]["type"], "url");
    let (body, _) = image("data:image/jpg;base64,AAAA");
    let source = &body["messages"][0]["content"][1]["source"];
    assert_eq!(source["media_type"], "image/jpeg");
}

#[test]
fn files_are_pdf_or_text() {
    let file = |media_type: &str| {
        let mut request = asking(vec![user("x")]);
        let document = Document {
            source: Source::Base64 {
                media_type: js(media_type),
                data: js("aGkK"),
            },
            title: Some(js("a.b")),
            context: None,
            citations: false,
        };
        let part = Part::new(PartKind::Document(document));
        request.messages[0].parts.push(part);
        encode(&request).map(|(body, _)| body["messages"][0]["content"][1].clone())
    };
    let pdf = json!({"type":"base64","media_type":"application/pdf","data":"aGkK"});
    assert_eq!(file("application/pdf").unwrap()["source"], pdf);
    let text = json!({"type":"text","media_type":"text/plain","data":"hi\n"});
    assert_eq!(file("text/markdown").unwrap()["source"], text);
    assert!(file("application/zip").is_err());
}

#[test]
fn an_edit_changes_the_model_and_the_extras_alone() {
    let text = Bytes::from_static(b"{ \"model\" : \"a\",\n \"x\":1.10, \"top_k\": 3 }");
    let mut tape = Tape::new();
    let root = tape.parse(&text, &Limits::default().json).unwrap();
    let traits = Traits::default();
    let (same, other) = (js("a"), js("b\"c"));
    let extra = [(js("top_k"), raw("9"))];
    let mut target = Target {
        model: &same,
        traits: &traits,
        extra: &[],
    };
    assert_eq!(request::edit(&text, root, &target).take_all(), text);
    target.model = &other;
    target.extra = &extra;
    assert_eq!(
        text_of(&mut request::edit(&text, root, &target)),
        "{ \"model\" : \"b\\\"c\",\n \"x\":1.10, \"top_k\": 9 }"
    );
}

#[test]
fn the_configs_parameters_win() {
    let mut request = asking(vec![user("x")]);
    request.system = vec![Part::text(js("s"))];
    request.sampling.top_k = Some(Number(raw("5")));
    let model = js("claude-x");
    let extra = [
        (js("top_k"), raw("7")),
        (js("max_tokens"), raw("9")),
        (js("system"), raw("\"mine\"")),
        (js("speed"), raw("\"fast\"")),
    ];
    let target = Target {
        model: &model,
        traits: &Traits::default(),
        extra: &extra,
    };
    let mut encoded = request::encode(&request, &target).unwrap();
    assert_eq!(
        text_of(&mut encoded.body),
        concat!(
            r#"{"model":"claude-x","top_k":7,"max_tokens":9,"system":"mine","speed":"fast","#,
            r#""messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#
        )
    );
}
