//! Random input: whatever legal deltas come, the stream obeys the grammar and loses nothing;
//! whatever events come, nothing panics and the deltas keep their order.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tollgate_core::base::{Limits, Rng, Seed};
use tollgate_core::dialect::anthropic::stream::Decoder;
use tollgate_core::ir::{
    BlockId, BlockKind, Class, Delta, Failure, Finish, FinishReason, Origin, Piece, Start, Usage,
};

use super::grammar;
use super::support::{decode, encode, encode_stream, js};

struct Block {
    id: u32,
    choice: u32,
    open: bool,
    kind: &'static str,
    text: String,
    signed: bool,
}

fn pick(rng: &mut Rng, below: u64) -> u64 {
    rng.below(below)
}

fn start(id: u32, choice: u32, kind: &'static str) -> Delta {
    Delta::BlockStart {
        block: BlockId(id),
        choice,
        kind: match kind {
            "text" => BlockKind::Text,
            "thinking" => BlockKind::Thinking,
            _ => BlockKind::ToolCall {
                id: js(&format!("c{id}")),
                name: js("f"),
                free: false,
            },
        },
    }
}

fn append(rng: &mut Rng, block: &mut Block) -> Delta {
    let pieces = [
        "",
        "a",
        "\"",
        "\\",
        "é\n",
        "{}",
        "\u{2028}",
        "long and longer",
    ];
    let piece = pieces[pick(rng, pieces.len() as u64) as usize];
    let piece = if block.kind == "thinking" && pick(rng, 6) == 0 && !block.signed {
        block.signed = true;
        Piece::Signature(js("c2ln"), Origin::Anthropic)
    } else {
        let piece = if block.signed { "" } else { piece };
        block.text.push_str(piece);
        Piece::Text(js(piece))
    };
    Delta::Append {
        block: BlockId(block.id),
        piece,
    }
}

/// A legal answer, and its blocks.
fn answer(rng: &mut Rng) -> (Vec<Delta>, Vec<Block>) {
    let mut deltas = vec![Delta::Start(Start::default())];
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..pick(rng, 60) {
        let open: Vec<usize> = (0..blocks.len()).filter(|&at| blocks[at].open).collect();
        let some = (!open.is_empty()).then(|| open[pick(rng, open.len().max(1) as u64) as usize]);
        match (pick(rng, 8), some) {
            (0, _) => deltas.push(Delta::Ping),
            (1, _) => deltas.push(Delta::Usage(Usage {
                output: Some(pick(rng, 99)),
                ..Usage::default()
            })),
            (2, Some(at)) => {
                blocks[at].open = false;
                let block = BlockId(blocks[at].id);
                deltas.push(Delta::BlockStop { block });
            }
            (3.., Some(at)) if pick(rng, 4) > 0 => deltas.push(append(rng, &mut blocks[at])),
            _ => {
                let (id, choice) = (blocks.len() as u32, u32::from(pick(rng, 5) == 0));
                let kind = ["text", "thinking", "tool_use"][pick(rng, 3) as usize];
                deltas.push(start(id, choice, kind));
                blocks.push(Block {
                    id,
                    choice,
                    open: true,
                    kind,
                    text: String::new(),
                    signed: false,
                });
            }
        }
    }
    (deltas, blocks)
}

#[test]
fn any_legal_answer_becomes_a_legal_stream() {
    let mut rng = Rng::new(Seed(7));
    for _ in 0..3000 {
        let (mut deltas, blocks) = answer(&mut rng);
        let failed = pick(&mut rng, 4) == 0;
        if failed {
            let failure = Failure::new(Class::BadGateway, "cut");
            deltas.push(Delta::Failure(Box::new(failure)));
        } else {
            if pick(&mut rng, 5) > 0 {
                let finish = Finish {
                    reason: [FinishReason::Stop, FinishReason::Length][pick(&mut rng, 2) as usize]
                        .clone(),
                    ..Finish::default()
                };
                deltas.push(Delta::Finish { choice: 0, finish });
            }
            deltas.push(Delta::End);
        }
        let outcome = grammar::check(&encode_stream(&deltas));
        assert_eq!(outcome.error.is_some(), failed);
        let shown = |block: &&Block| {
            let said = !block.text.is_empty() || block.signed || block.kind == "tool_use";
            block.choice == 0 && said
        };
        let expected: Vec<(&str, &str)> = blocks
            .iter()
            .filter(shown)
            .map(|block| (block.kind, block.text.as_str()))
            .collect();
        let told: Vec<(&str, &str)> = outcome
            .blocks
            .iter()
            .map(|(block, text)| (block["type"].as_str().unwrap(), text.as_str()))
            .collect();
        if !failed {
            assert_eq!(told, expected);
        }
    }
}

#[test]
fn no_events_make_the_decoder_panic_or_break_the_order() {
    let events = [
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}"#,
        r#"{"type":"message_start"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#,
        r#"{"type":"content_block_start","index":1,
            "content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"compaction"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"y"}}"#,
        r#"{"type":"content_block_delta","index":1,
            "delta":{"type":"input_json_delta","partial_json":"{"}}"#,
        r#"{"type":"content_block_delta","index":1,
            "delta":{"type":"thinking_delta","thinking":"z"}}"#,
        r#"{"type":"content_block_delta","index":2,
            "delta":{"type":"compaction_delta","content":"c"}}"#,
        r#"{"type":"content_block_delta","index":2,
            "delta":{"type":"signature_delta","signature":"s"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},
            "usage":{"output_tokens":2}}"#,
        r#"{"type":"message_delta","delta":{},"usage":null}"#,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"error","error":{"type":"api_error","message":"e"}}"#,
        r#"{"type":5}"#,
        r#"[]"#,
        r#"{"#,
    ];
    let mut rng = Rng::new(Seed(9));
    for _ in 0..3000 {
        let mut decoder = Decoder::new(&Limits::default());
        let mut out = Vec::new();
        for _ in 0..pick(&mut rng, 40) {
            // The ends are rare, so that streams grow long.
            let at = match pick(&mut rng, events.len() as u64) as usize {
                15..=19 if pick(&mut rng, 6) > 0 => 7,
                at => at,
            };
            let data = Bytes::from_static(events[at].as_bytes());
            let _ = decoder.event(b"", &data, &mut out);
        }
        decoder.end_of_body(&mut out);
        super::recordings::check_order(&out);
        grammar::check(&encode_stream(&out));
    }
}

/// Every value of `json`, by its place, replaced by each of `others`.
fn with_each_replaced(json: &Json, others: &[Json], each: &mut dyn FnMut(Json)) {
    each(others[0].clone());
    others[1..].iter().for_each(|other| each(other.clone()));
    match json {
        Json::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                with_each_replaced(element, others, &mut |new| {
                    let mut whole = elements.clone();
                    whole[at] = new;
                    each(Json::Array(whole));
                });
            }
        }
        Json::Object(members) => {
            for (name, member) in members {
                with_each_replaced(member, others, &mut |new| {
                    let mut whole = members.clone();
                    whole.insert(name.clone(), new);
                    each(Json::Object(whole));
                });
                let mut without = members.clone();
                without.remove(name);
                each(Json::Object(without));
            }
        }
        _ => {}
    }
}

#[test]
fn any_value_may_be_wrong() {
    let body: Json = serde_json::from_str(super::requests::AGENT).unwrap();
    let others = [
        json!(null),
        json!(-1.5),
        json!("x"),
        json!([{}]),
        json!({"type":"text"}),
    ];
    let (mut read, mut refused) = (0, 0);
    with_each_replaced(
        &body,
        &others,
        &mut |body| match decode(&body.to_string()) {
            Ok(request) => {
                read += 1;
                let _ = encode(&request);
            }
            Err(failure) => {
                refused += 1;
                let path = failure.param.is_some() || !body.is_object();
                assert!(path, "{}", failure.message);
            }
        },
    );
    assert!(
        read > 100 && refused > 100,
        "{read} read, {refused} refused"
    );
}
