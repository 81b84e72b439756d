//! Any bytes as a stream or a request of one API: nothing panics, the deltas keep their order, and
//! what is written in either API can be read again.

use bytes::Bytes;
use tollgate_core::base::limits::{JsonLimits, SseLimits};
use tollgate_core::base::{JsonStr, Limits, OutBuf, RawJson, UnixMillis};
use tollgate_core::dialect::{
    Dialect, ReasoningField, ReplyMeta, StreamDecoder, StreamEncoder, Target, ThinkingStyle,
    TokenLimitField, Traits, Watch,
};
use tollgate_core::ir::{BlockId, BlockKind, Delta, Piece};
use tollgate_core::wire::json::Tape;
use tollgate_core::wire::sse;

// The automata of core's own tests; only their judgement is wanted here.
#[allow(dead_code, unreachable_pub)]
#[path = "../../core/tests/openai_chat/grammar.rs"]
mod chat_grammar;
#[allow(dead_code, unreachable_pub)]
#[path = "../../core/tests/anthropic/grammar.rs"]
mod messages_grammar;

/// Both APIs.
pub const DIALECTS: [Dialect; 2] = [Dialect::Anthropic, Dialect::OpenAiChat];

/// Reads a stream of `from`, whole and in pieces, and writes it in both APIs. The first byte of
/// `data` holds switches, the second is the number of cuts, each of the next the length of one
/// piece; the rest is the stream.
pub fn stream(from: Dialect, data: &[u8]) {
    let [switches, count, rest @ ..] = data else {
        return;
    };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = deltas(from, [stream].into_iter());
    check_order(&whole);
    assert_eq!(deltas(from, stream.chunks(1)), whole);
    let mut left = stream;
    let pieces = cuts.iter().map(|&cut| {
        let (piece, rest) = left.split_at(left.len().min(usize::from(cut)));
        left = rest;
        piece
    });
    let pieces: Vec<&[u8]> = pieces.collect();
    assert_eq!(deltas(from, pieces.into_iter().chain([left])), whole);
    let stream_usage = switches & 1 == 1;
    let held_bytes_max = if switches & 2 == 2 { 64 } else { 1 << 20 };
    for to in DIALECTS {
        let meta = ReplyMeta {
            id: JsonStr::escape("0123"),
            model: JsonStr::escape("asked-for"),
            created: UnixMillis(1_000),
            stream_usage,
            input_tokens_estimate: 11,
            held_bytes_max,
        };
        let mut encoder = StreamEncoder::new(to, meta);
        let mut out = OutBuf::new();
        for delta in &whole {
            encoder.delta(delta.clone(), &mut out);
        }
        check_grammar(to, stream_usage, &out.take_all());
    }
}

/// Reads a request of `from` and writes it for both APIs, for endpoints of many kinds; `data` are
/// two bytes that tell which, and the request.
pub fn request(from: Dialect, data: &[u8]) {
    let [switches, more, text @ ..] = data else {
        return;
    };
    let text = Bytes::copy_from_slice(text);
    let limits = JsonLimits {
        depth_max: 64,
        values_max: 1 << 16,
    };
    let mut tape = Tape::new();
    let Ok(root) = tape.parse(&text, &limits) else {
        return;
    };
    let traits = traits(*switches, *more);
    let extra = [(JsonStr::escape("extra"), RawJson::EMPTY_OBJECT)];
    let model = JsonStr::escape("a-\"model\"");
    let target = Target {
        model: &model,
        traits: &traits,
        extra: &extra,
    };
    let named = |body: &Bytes| {
        // Escaping may nest deeper than what was read, but not without end.
        let mut again = Tape::new();
        let body = again.parse(body, &JsonLimits::default());
        let body = body.expect("what was written is JSON");
        assert!(body.get("model").is_some_and(|it| it.is("a-\"model\"")));
        assert!(body.get("extra").is_some());
    };
    match from.decode_request(root) {
        Err(failure) => assert!(!failure.message.is_empty()),
        Ok(request) => {
            for to in DIALECTS {
                match to.encode_request(&request, &target) {
                    Err(failure) => assert!(!failure.message.is_empty()),
                    Ok(mut encoded) => {
                        let body = encoded.body.take_all();
                        named(&body);
                        read_again(to, &body);
                    }
                }
            }
            named(&from.edit_request(&text, root, &target).take_all());
        }
    }
}

/// What was written for an API is a request of that API.
fn read_again(dialect: Dialect, body: &Bytes) {
    let mut tape = Tape::new();
    let body = tape.parse(body, &JsonLimits::default());
    let request = dialect.decode_request(body.expect("what was written is JSON"));
    if let Err(failure) = request {
        panic!("{}: {failure:?}", dialect.name());
    }
}

fn traits(switches: u8, more: u8) -> Traits {
    let is = |bit: u8| switches & (1 << bit) != 0;
    Traits {
        output_tokens_default: if is(0) { 8192 } else { 1 },
        thinking: match more % 3 {
            0 => ThinkingStyle::Adaptive,
            1 => ThinkingStyle::Budget,
            _ => ThinkingStyle::None,
        },
        token_limit_field: if is(1) {
            TokenLimitField::MaxTokens
        } else {
            TokenLimitField::MaxCompletionTokens
        },
        cache_control: is(2),
        reasoning_field: match (more >> 2) % 4 {
            0 => ReasoningField::None,
            1 => ReasoningField::Reasoning,
            2 => ReasoningField::ReasoningContent,
            _ => ReasoningField::ReasoningDetails,
        },
        stream_options: is(3),
        developer_role: is(4),
        sampling: is(5),
        // What a request is passed over for changes nothing in how it is written.
        ..Traits::default()
    }
}

/// All that `pieces` say; the watch for passing streams looks on.
fn deltas<'d>(from: Dialect, pieces: impl Iterator<Item = &'d [u8]>) -> Vec<Delta> {
    let limits = Limits {
        sse: SseLimits {
            event_bytes_max: 1 << 16,
        },
        ..Limits::default()
    };
    let mut frames = sse::Decoder::new(&limits.sse);
    let mut decoder = StreamDecoder::new(from, &limits);
    let mut watch = Watch::new(from, false);
    let mut tape = Tape::new();
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let mut is_broken = false;
    for piece in pieces.map(Some).chain([None]) {
        input.extend_from_slice(piece.unwrap_or_default());
        let shared = Bytes::copy_from_slice(&input);
        while !is_broken {
            let frame = match piece {
                Some(_) => frames.next(&shared),
                None => frames.finish(&shared),
            };
            match frame {
                Ok(None) => break,
                Err(_) => is_broken = true,
                Ok(Some(frame)) => {
                    let name = frame.name.to_vec();
                    let data = frame.data.into_bytes(&shared);
                    let root = tape.parse(&data, &limits.json).ok();
                    watch.look(&name, &data, root);
                    // The stream goes on behind a broken event.
                    let _ = decoder.event(&name, &data, &mut out);
                }
            }
        }
        input.drain(..frames.rebase());
    }
    decoder.end_of_body(&mut out);
    let _ = (watch.end_of_body(), watch.watched());
    out
}

/// The order that `ir::Delta` promises.
fn check_order(told: &[Delta]) {
    let mut open: Vec<(BlockId, u32, &BlockKind, bool)> = Vec::new();
    let (mut blocks, mut finished) = (Vec::new(), Vec::new());
    for (at, delta) in told.iter().enumerate() {
        let is_first = || told[..at].iter().all(|it| *it == Delta::Ping);
        let is_last = at + 1 == told.len();
        match delta {
            Delta::Ping | Delta::Failure(_) => {}
            Delta::Start(_) => assert!(is_first(), "a start behind others"),
            _ => assert!(!is_first(), "no start before {delta:?}"),
        }
        match delta {
            Delta::BlockStart {
                block,
                choice,
                kind,
            } => {
                assert!(
                    !finished.contains(choice),
                    "a block behind its choice's end"
                );
                assert!(!blocks.contains(block), "a number is used twice");
                blocks.push(*block);
                open.push((*block, *choice, kind, false));
            }
            Delta::Append { block, piece } => {
                let found = open.iter_mut().find(|(open, ..)| open == block);
                let (_, _, kind, is_signed) = found.expect("an append to an open block");
                check_piece(kind, piece, is_signed);
            }
            Delta::BlockStop { block } => {
                let at = open.iter().position(|(open, ..)| open == block);
                open.remove(at.expect("the end of an open block"));
            }
            Delta::Finish { choice, .. } => {
                assert!(!finished.contains(choice), "a choice ends twice");
                assert!(
                    open.iter().all(|(_, of, ..)| of != choice),
                    "a block is open"
                );
                finished.push(*choice);
            }
            Delta::End => assert!(is_last && open.is_empty(), "a bad end"),
            Delta::Failure(_) => assert!(is_last, "more behind a failure"),
            Delta::Start(_) | Delta::Usage(_) | Delta::Ping | Delta::Logprobs { .. } => {}
        }
    }
    assert!(matches!(told.last(), Some(Delta::End | Delta::Failure(_))));
}

fn check_piece(kind: &BlockKind, piece: &Piece, is_signed: &mut bool) {
    assert!(!*is_signed, "{piece:?} behind the signature");
    match (kind, piece) {
        (BlockKind::Whole(_), _) => panic!("{piece:?} of a block that is whole"),
        (BlockKind::Text, Piece::Citation(..)) | (_, Piece::Text(_)) => {}
        (BlockKind::Thinking | BlockKind::ToolCall { .. }, Piece::Signature(..)) => {
            *is_signed = true;
        }
        _ => panic!("{piece:?} in {kind:?}"),
    }
}

fn check_grammar(dialect: Dialect, stream_usage: bool, stream: &Bytes) {
    match dialect {
        Dialect::Anthropic => {
            let text = std::str::from_utf8(stream).expect("a stream is UTF-8");
            messages_grammar::check(text);
        }
        Dialect::OpenAiChat => {
            let mut frames = sse::Decoder::new(&SseLimits::default());
            let mut events = Vec::new();
            while let Some(frame) = frames.next(stream).expect("small events") {
                events.push(frame.data.into_bytes(stream));
            }
            if let Err(fault) = chat_grammar::check(&events, stream_usage) {
                panic!("{fault} in {}", String::from_utf8_lossy(stream));
            }
        }
    }
}
