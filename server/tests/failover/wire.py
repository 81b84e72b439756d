"""The two APIs as an upstream writes them and as a client reads them, strictly.

An answer is sixty tokens, each with the name of who says it (`first00 first01 …`), so that a reader
can tell whose text it got, and whether it is all of it. Nothing here opens a socket.
"""

import json
from dataclasses import dataclass, field

TOKENS = 60
# Tokens that the two upstreams tell they took: whose they are can be seen in the record.
USAGE = {"first": (901, 902), "second": (71, 72)}
APIS = ("messages", "chat")
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}


def other(api):
    return "chat" if api == "messages" else "messages"


def dump(value):
    return json.dumps(value, separators=(",", ":"))


def token(who, at):
    return f"{who}{at:02} "


def text_of(who, count=TOKENS):
    return "".join(token(who, at) for at in range(count))


# --- what an upstream writes ---


def request_body(api, model, streams):
    """A request of the client."""
    body = {"model": model, "messages": [{"role": "user", "content": "Count to sixty."}]}
    if api == "messages":
        body["max_tokens"] = 4096
    if streams:
        body["stream"] = True
        if api == "chat":
            body["stream_options"] = {"include_usage": True}
    return body


def whole(api, who):
    """The answer of `who` that is not streamed."""
    prompt, output = USAGE[who]
    if api == "messages":
        return {
            "id": f"msg_{who}",
            "type": "message",
            "role": "assistant",
            "model": f"{who}-model",
            "content": [{"type": "text", "text": text_of(who)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": output},
        }
    message = {"role": "assistant", "content": text_of(who), "refusal": None}
    return {
        "id": f"chatcmpl-{who}",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": f"{who}-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": chat_usage(who),
    }


def chat_usage(who):
    prompt, output = USAGE[who]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }


@dataclass
class Events:
    """A stream in parts: what comes before the tokens, these, the finish, the end."""

    start: bytes
    tokens: list
    finish: bytes
    end: bytes
    # What says nothing, and what cannot be read.
    noise: bytes
    broken: bytes


def events(api, who, asks_usage):
    """The streamed answer of `who`."""
    return messages_events(who) if api == "messages" else chat_events(who, asks_usage)


def named(data):
    return f"event: {data['type']}\ndata: {dump(data)}\n\n".encode()


def messages_events(who):
    prompt, output = USAGE[who]
    message = {**whole("messages", who), "content": [], "stop_reason": None}
    message["usage"] = {"input_tokens": prompt, "output_tokens": 1}
    block = {"type": "text", "text": ""}

    def delta(at):
        said = {"type": "text_delta", "text": token(who, at)}
        return named({"type": "content_block_delta", "index": 0, "delta": said})

    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return Events(
        start=named({"type": "message_start", "message": message})
        + named({"type": "content_block_start", "index": 0, "content_block": block}),
        tokens=[delta(at) for at in range(TOKENS)],
        finish=named({"type": "content_block_stop", "index": 0})
        + named({"type": "message_delta", "delta": stop, "usage": {"output_tokens": output}}),
        end=named({"type": "message_stop"}),
        noise=b'event: ping\ndata: {"type": "ping"}\n\n',
        broken=b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n',
    )


def chat_events(who, asks_usage):
    def chunk(choices, **more):
        data = {
            "id": f"chatcmpl-{who}",
            "object": "chat.completion.chunk",
            "created": 1_780_000_000,
            "model": f"{who}-model",
            "choices": choices,
            **more,
        }
        return f"data: {dump(data)}\n\n".encode()

    def choice(delta, finish=None):
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    usage = chunk([], usage=chat_usage(who)) if asks_usage else b""
    return Events(
        start=chunk(choice({"role": "assistant", "content": ""})),
        tokens=[chunk(choice({"content": token(who, at)})) for at in range(TOKENS)],
        finish=chunk(choice({}, "stop")) + usage,
        end=b"data: [DONE]\n\n",
        noise=b": still here\n\n",
        broken=b'data: {"id":"chatcmpl-first","object":"chat.completion.chunk","cho\n\n',
    )


# By status: Messages' type of error, Chat's type and code.
ERRORS = {
    400: ("invalid_request_error", "invalid_request_error", None),
    429: ("rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    500: ("api_error", "server_error", None),
    503: ("overloaded_error", "server_error", None),
}


def error(api, status, message, code=None):
    kind, chat_kind, chat_code = ERRORS[status]
    if api == "messages":
        return {"type": "error", "error": {"type": kind, "message": message}}
    told = {"message": message, "type": chat_kind, "param": None, "code": code or chat_code}
    return {"error": told}


def error_event(api, message, status=503):
    data = error(api, status, message)
    return named(data) if api == "messages" else f"data: {dump(data)}\n\n".encode()


# --- what a client reads ---


@dataclass
class Seen:
    """What a client saw of an answer. `wrong`: what no answer may look like."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    text: str = ""
    models: set = field(default_factory=set)
    usage: tuple = None
    error: str = None
    is_finished: bool = False
    is_ended: bool = False
    wrong: list = field(default_factory=list)
    began: float = 0.0
    # Seconds after that.
    content_at: float = None
    ended_at: float = None

    def read_error(self, api, data):
        told = data.get("error")
        is_shaped = isinstance(told, dict) and isinstance(told.get("message"), str)
        if not is_shaped or (api == "messages") != (data.get("type") == "error"):
            self.wrong.append(f"not an error of the client's API: {dump(data)[:200]}")
        if self.error is not None:
            self.wrong.append("a second error")
        self.error = told.get("message", "") if isinstance(told, dict) else ""

    def read_whole(self, api, body):
        try:
            data = json.loads(body)
        except ValueError:
            self.wrong.append(f"no JSON: {body[:200]!r}")
            return
        if self.status != 200:
            self.read_error(api, data)
            return
        self.models.add(data["model"])
        if api == "messages":
            self.text = "".join(block["text"] for block in data["content"])
            self.is_finished = data["stop_reason"] == "end_turn"
            usage = data["usage"]
            self.usage = (usage["input_tokens"], usage["output_tokens"])
        else:
            choice = data["choices"][0]
            self.text = choice["message"]["content"]
            self.is_finished = choice["finish_reason"] == "stop"
            usage = data["usage"]
            self.usage = (usage["prompt_tokens"], usage["completion_tokens"])


class MessagesReader:
    """Messages' order of events, from `message_start` to `message_stop` or an error."""

    def __init__(self, seen):
        self.seen = seen
        self.state = "before"
        self.index = 0
        self.prompt = None

    def read(self, event, text):
        data = json.loads(text)
        kind = data["type"]
        if kind != event:
            self.seen.wrong.append(f"event {event} of type {kind}")
        if kind == "ping":
            return
        if self.state == "over":
            self.seen.wrong.append(f"{kind} after the end")
        if kind == "error":
            self.state = "over"
            self.seen.read_error("messages", data)
            return
        expected = {
            "message_start": "before",
            "content_block_start": "between",
            "content_block_delta": "block",
            "content_block_stop": "block",
            "message_delta": "between",
            "message_stop": "finished",
        }
        if expected.get(kind) != self.state:
            self.seen.wrong.append(f"{kind} while {self.state}")
        if kind.startswith("content_block") and data["index"] != self.index:
            self.seen.wrong.append(f"{kind} of block {data['index']}, not {self.index}")
        self.step(kind, data)

    def step(self, kind, data):
        if kind == "message_start":
            self.state = "between"
            self.seen.models.add(data["message"]["model"])
            self.prompt = data["message"]["usage"]["input_tokens"]
        elif kind == "content_block_start":
            self.state = "block"
        elif kind == "content_block_delta":
            self.seen.text += data["delta"]["text"]
        elif kind == "content_block_stop":
            self.state = "between"
            self.index += 1
        elif kind == "message_delta":
            self.state = "finished"
            self.seen.is_finished = data["delta"]["stop_reason"] == "end_turn"
            usage = data["usage"]
            self.seen.usage = (usage.get("input_tokens", self.prompt), usage["output_tokens"])
        elif kind == "message_stop":
            self.state = "over"
            self.seen.is_ended = True


class ChatReader:
    """Chat's chunks, from the role to `[DONE]` or an error."""

    def __init__(self, seen):
        self.seen = seen
        self.is_over = False

    def read(self, event, text):
        if event is not None:
            self.seen.wrong.append(f"an event with a name: {event}")
        if self.is_over:
            self.seen.wrong.append(f"after the end: {text[:100]}")
        if text == "[DONE]":
            self.is_over = True
            self.seen.is_ended = True
            return
        data = json.loads(text)
        if "error" in data:
            self.is_over = True
            self.seen.read_error("chat", data)
            return
        self.seen.models.add(data["model"])
        for choice in data["choices"]:
            self.seen.text += choice["delta"].get("content") or ""
            if choice.get("finish_reason"):
                if self.seen.is_finished:
                    self.seen.wrong.append("a second finish")
                self.seen.is_finished = choice["finish_reason"] == "stop"
        if usage := data.get("usage"):
            self.seen.usage = (usage["prompt_tokens"], usage["completion_tokens"])


READERS = {"messages": MessagesReader, "chat": ChatReader}
