"""What the two APIs look like on the wire, from an upstream's side.

A `Turn` is what the scripted model says; `messages_*` and `chat_*` write it as Anthropic Messages
and as OpenAI Chat Completions, whole or as a list of stream events. The shapes follow the vendors'
OpenAPI documents and recorded answers: events named and unnamed, padding, pings, comments, a usage
chunk with no choices. Nothing here opens a socket.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

FACTS = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
USAGE = FACTS["usage"]
CREATED = 1_780_000_000


@dataclass
class Call:
    """A tool call; `pieces` joined are its arguments."""

    id: str
    name: str
    pieces: list


@dataclass
class Turn:
    """What the model says. `stop`: a key of `CHAT_STOPS`."""

    text: list = field(default_factory=list)
    thinking: list = field(default_factory=list)
    redacted: bool = False
    calls: list = field(default_factory=list)
    stop: str = "end"


def dump(value):
    """JSON as the vendors print it: raw UTF-8, no spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- Anthropic Messages ---

MESSAGES_STOPS = {
    "end": "end_turn",
    "max": "max_tokens",
    "tools": "tool_use",
    "sequence": "stop_sequence",
    "refusal": "refusal",
}


def messages_usage():
    return {
        "input_tokens": USAGE["fresh"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": USAGE["cached"],
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": USAGE["output"],
        "service_tier": "standard",
    }


def messages_blocks(turn):
    """Pairs of a whole content block and its deltas; a block without deltas starts whole."""
    blocks = []
    if turn.thinking:
        whole = {
            "type": "thinking",
            "thinking": "".join(turn.thinking),
            "signature": FACTS["signature"],
        }
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in turn.thinking]
        deltas.append({"type": "signature_delta", "signature": FACTS["signature"]})
        blocks.append((whole, deltas))
    if turn.redacted:
        blocks.append(({"type": "redacted_thinking", "data": FACTS["redacted"]}, []))
    if turn.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in turn.text]
        blocks.append(({"type": "text", "text": "".join(turn.text)}, deltas))
    for call in turn.calls:
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces]
        arguments = json.loads("".join(call.pieces))
        whole = {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}
        blocks.append((whole, deltas))
    return blocks


def messages_stop(turn):
    sequence = "END" if turn.stop == "sequence" else None
    return {"stop_reason": MESSAGES_STOPS[turn.stop], "stop_sequence": sequence}


def messages_whole(model, turn):
    return {
        "model": model,
        "id": "msg_01Eg56TYRnKCEgWtZu2yjR1t",
        "type": "message",
        "role": "assistant",
        "content": [whole for whole, _ in messages_blocks(turn)],
        **messages_stop(turn),
        "usage": messages_usage(),
    }


def messages_event(data, padding=0):
    """An event; the real API pads the JSON with spaces before its last brace."""
    text = dump(data)
    text = text[:-1] + " " * padding + "}"
    return f"event: {data['type']}\ndata: {text}\n\n".encode()


def messages_stream(model, turn):
    message = {
        "model": model,
        "id": "msg_01Eg56TYRnKCEgWtZu2yjR1t",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**messages_usage(), "output_tokens": 1},
    }
    events = [messages_event({"type": "message_start", "message": message}, 3)]
    for index, (whole, deltas) in enumerate(messages_blocks(turn)):
        start = {**whole}
        if deltas:
            empty = {"thinking": "", "signature": "", "text": "", "input": {}}
            start.update({key: value for key, value in empty.items() if key in whole})
        start = {"type": "content_block_start", "index": index, "content_block": start}
        events.append(messages_event(start, 6))
        if index == 0:
            events.append(b'event: ping\ndata: {"type": "ping"}\n\n')
        for delta in deltas:
            delta = {"type": "content_block_delta", "index": index, "delta": delta}
            events.append(messages_event(delta, index * 7 % 5))
        events.append(messages_event({"type": "content_block_stop", "index": index}, 9))
    usage = messages_usage()
    del usage["cache_creation"], usage["service_tier"]
    delta = {"type": "message_delta", "delta": messages_stop(turn), "usage": usage}
    events.append(messages_event(delta, 12))
    events.append(messages_event({"type": "message_stop"}, 13))
    return events


def messages_error(status, message):
    kind = FACTS["errors"][str(status)][0]
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": "req_011CWdMEehrhsdujMyQ9pChP"}


# --- OpenAI Chat Completions ---

CHAT_STOPS = {
    "end": "stop",
    "max": "length",
    "tools": "tool_calls",
    "sequence": "stop",
    "refusal": "content_filter",
}


def chat_usage(turn):
    prompt = USAGE["fresh"] + USAGE["cached"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": USAGE["output"],
        "total_tokens": prompt + USAGE["output"],
        "prompt_tokens_details": {"cached_tokens": USAGE["cached"], "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": USAGE["reasoning"] if turn.thinking else 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_whole(model, turn):
    message = {"role": "assistant", "content": "".join(turn.text) or None, "refusal": None}
    if turn.thinking:
        message["reasoning_content"] = "".join(turn.thinking)
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.pieces)},
            }
            for call in turn.calls
        ]
    message["annotations"] = []
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": CHAT_STOPS[turn.stop],
    }
    return {
        "id": "chatcmpl-C2OI7Ey3XvNe02fb41d1D6h1j6H1M",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [choice],
        "usage": chat_usage(turn),
        "service_tier": "default",
        "system_fingerprint": "fp_07871e2ad8",
    }


def chat_event(model, choices, usage, asked):
    chunk = {
        "id": "chatcmpl-DuLdYWgDBTb4Am3saOR9aPajzKbJy",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_59e007eafa",
        "choices": choices,
    }
    if asked:
        chunk["usage"] = usage
    chunk["obfuscation"] = "niwJPCCCC"
    return f"data: {dump(chunk)}\n\n".encode()


def chat_call_deltas(calls):
    """Deltas of the calls, interleaved: both begin, then a piece of each in turn."""
    deltas = []
    for index, call in enumerate(calls):
        function = {"name": call.name, "arguments": ""}
        deltas.append({"index": index, "id": call.id, "type": "function", "function": function})
    for piece in range(max((len(call.pieces) for call in calls), default=0)):
        for index, call in enumerate(calls):
            if piece < len(call.pieces):
                function = {"arguments": call.pieces[piece]}
                deltas.append({"index": index, "function": function})
    return [{"tool_calls": [delta]} for delta in deltas]


def chat_stream(model, turn, asked):
    """`asked`: whether the request wants usage. The first event is a comment."""
    deltas = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"reasoning_content": piece} for piece in turn.thinking]
    deltas += [{"content": piece} for piece in turn.text]
    deltas += chat_call_deltas(turn.calls)
    events = [b": processing\n\n"]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        events.append(chat_event(model, [choice], None, asked))
    finish = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": CHAT_STOPS[turn.stop]}
    events.append(chat_event(model, [finish], None, asked))
    if asked:
        events.append(chat_event(model, [], chat_usage(turn), asked))
    events.append(b"data: [DONE]\n\n")
    return events


def chat_error(status, message):
    _, kind, code = FACTS["errors"][str(status)]
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
