"""A scripted upstream on loopback: Anthropic Messages and OpenAI Chat Completions.

    python3 upstream.py          # prints its port, serves until its standard input ends

The request's model says what happens: `msg-SCENARIO.TAG` on /v1/messages, `chat-SCENARIO.TAG` on
/v1/chat/completions; the tag only tells requests apart. Requests are checked as strictly as the
vendors do where it matters here (keys, required fields, tool results that answer calls).

What arrived can be read: `GET /_log?model=M` lists the requests with that model,
`&state=closed` first waits (bounded) until one of them is in that state: `received`, `answered`,
`closed` by the other side before the answer was complete, or `unclosed` though it should have been.
`POST /_release?model=M` lets a stream that is held (scenario `held`) go on.
"""

import gzip
import json
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import shapes
from shapes import FACTS, Call, Turn, dump

sys.path.append(str(Path(__file__).resolve().parents[1]))
import scripted  # noqa: E402: beside this folder

WAIT_SECONDS_MAX = 15.0
# A stream's bytes are cut at these lengths in turn, not where its events end.
CHUNK_SIZES = [700, 64, 1, 333, 5, 2000]
HOLD, AWAIT_CLOSE, CUT = "hold", "await close", "cut"


class Log:
    """What arrived, shared by the threads of all connections."""

    def __init__(self):
        self.changed = threading.Condition()
        self.entries = []
        self.released = set()

    def add(self, entry):
        with self.changed:
            self.entries.append(entry)
            self.changed.notify_all()

    def set_state(self, entry, state):
        with self.changed:
            entry["state"] = state
            self.changed.notify_all()

    def release(self, model):
        with self.changed:
            self.released.add(model)
            self.changed.notify_all()

    def await_release(self, model):
        with self.changed:
            return self.changed.wait_for(lambda: model in self.released, WAIT_SECONDS_MAX)

    def read(self, model, state):
        def found():
            return [entry for entry in self.entries if model in (None, entry["model"])]

        with self.changed:
            if state:
                self.changed.wait_for(
                    lambda: any(entry["state"] == state for entry in found()), WAIT_SECONDS_MAX
                )
            return found()


LOG = Log()


class Refused(Exception):
    """The request is answered with an error status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


# --- reading requests ---


def require(condition, message):
    if not condition:
        raise Refused(400, message)


def blocks_of(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content):
    return "".join(block.get("text", "") for block in blocks_of(content or ""))


def messages_results(body):
    """Texts of the tool results in the last message, by call."""
    require(isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
    require(body.get("messages"), "messages: at least one message is required")
    calls = []
    results = {}
    for message in body["messages"]:
        require(message["role"] in ("user", "assistant"), "messages: Unexpected role")
        blocks = blocks_of(message["content"])
        results = {
            block["tool_use_id"]: text_of(block.get("content"))
            for block in blocks
            if block["type"] == "tool_result"
        }
        require(sorted(results) == sorted(calls), "`tool_use` ids without `tool_result`, or other")
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    require(not calls, "`tool_use` ids were found without `tool_result` blocks")
    return results


def chat_results(body):
    require(body.get("messages"), "'messages' is too short")
    calls = []
    results = {}
    for message in body["messages"]:
        if message["role"] == "tool":
            require(message["tool_call_id"] in calls, "'tool_call_id' not found in 'tool_calls'")
            calls.remove(message["tool_call_id"])
            results[message["tool_call_id"]] = text_of(message["content"])
            continue
        require(not calls, "'tool_calls' must be followed by tool messages")
        results = {}
        calls = [call["id"] for call in message.get("tool_calls") or []]
    require(not calls, "'tool_calls' must be followed by tool messages")
    return results


# --- the scripted model ---


def calls_of(is_chat, count):
    ids = ["call_00_YB7ndmEKi1rYb", "call_01_cclGbjTQkZDEn"]
    if not is_chat:
        ids = ["toolu_01CzN6riCPqw4p", "toolu_02BnVamfF7ccY9"]
    tools = FACTS["tools"][:count]
    return [Call(id, tool["name"], tool["pieces"]) for id, tool in zip(ids, tools)]


def turn_with_tools(is_chat, count, results, thinking):
    calls = calls_of(is_chat, count)
    if not results:
        preface = FACTS["preface"] if count > 1 else []
        return Turn(text=preface, thinking=thinking, calls=calls, stop="tools")
    expected = {call.id: FACTS["tools"][at]["result"] for at, call in enumerate(calls)}
    require(results == expected, f"these are not the results: {dump(results)}")
    return Turn(text=FACTS["final"])


def turn_of(scenario, is_chat, results):
    thinking = FACTS["thinking"]
    match scenario:
        case "tool":
            return turn_with_tools(is_chat, 1, results, [])
        case "parallel":
            return turn_with_tools(is_chat, 2, results, [])
        case "thinktool":
            return turn_with_tools(is_chat, 1, results, thinking)
        case "thinking":
            return Turn(text=FACTS["text"], thinking=thinking, redacted=not is_chat)
        case "max":
            return Turn(text=FACTS["text"][:2], stop="max")
        case "refusal":
            return Turn(text=FACTS["text"][:2], stop="refusal")
        case "sequence":
            return Turn(text=FACTS["text"], stop="sequence")
    return Turn(text=FACTS["text"])


def script_of(scenario, is_chat, events, error_event):
    """The stream's events with what happens between them."""
    # Up to the second delta of text; on Chat a comment and the role come before.
    begun = 4 if is_chat else 5
    match scenario:
        case "held":
            return events[:begun] + [HOLD] + events[begun:]
        case "endless":
            return events[:begun] + [AWAIT_CLOSE]
        case "early":
            return [error_event]
        case "broken":
            return events[:begun] + [error_event]
        case "truncated":
            return events[:begun]
        case "cut":
            return events[:begun] + [CUT]
        case "nodone" if is_chat:
            return events[:-1]
    return events


# --- serving ---


class Handler(scripted.Handler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/_log":
            self.send_json(200, LOG.read(query.get("model"), query.get("state")))
        elif url.path.startswith("/v1/models"):
            self.send_models(url.path.removeprefix("/v1/models").strip("/"))
        else:
            self.send_json(404, {"error": {"message": "unknown path"}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if "chunked" in (self.headers.get("transfer-encoding") or ""):
            body = self.read_chunked()
        url = urlsplit(self.path)
        if url.path == "/_release":
            LOG.release(parse_qs(url.query)["model"][0])
            return self.send_json(200, {})
        if url.path not in ("/v1/messages", "/v1/chat/completions"):
            return self.send_json(404, {"error": {"message": "unknown path"}})
        self.is_chat = url.path == "/v1/chat/completions"
        request = json.loads(body)
        entry = {
            "path": self.path,
            "model": request.get("model"),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": request,
            "state": "received",
        }
        LOG.add(entry)
        LOG.set_state(entry, self.state_after(lambda: self.answer_or_refuse(request)))

    def read_chunked(self):
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def check(self, model):
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if not self.is_chat:
            # The vendor takes both; its SDKs send the one or the other, depending on their age.
            key = self.headers.get("x-api-key") or key
        if not key.startswith(FACTS["keys"]["upstream"]):
            raise Refused(401, "invalid key")
        has_version = self.is_chat or self.headers.get("anthropic-version")
        require(has_version, "anthropic-version: header is required")
        prefix = "chat-" if self.is_chat else "msg-"
        if not model.startswith(prefix):
            raise Refused(404, f"The model `{model}` does not exist")
        return model.removeprefix(prefix).split(".")[0]

    def answer_or_refuse(self, request):
        try:
            self.answer(request)
        except Refused as refused:
            self.send_error_status(refused.status, str(refused))

    def answer(self, request):
        model = request["model"]
        scenario = self.check(model)
        results = chat_results(request) if self.is_chat else messages_results(request)
        if scenario.startswith("error"):
            return self.send_error_status(int(scenario[5:]), FACTS["error_message"])
        if scenario == "silent":
            return self.await_close()
        if scenario == "html":
            page = b"<html><head><title>502 Bad Gateway</title></head></html>\r\n"
            return self.send_whole(502, page, "text/html")
        turn = turn_of(scenario, self.is_chat, results)
        if not request.get("stream"):
            whole = shapes.chat_whole if self.is_chat else shapes.messages_whole
            return self.send_json(200, whole(model, turn), scenario)
        if self.is_chat:
            asked = bool((request.get("stream_options") or {}).get("include_usage"))
            events = shapes.chat_stream(model, turn, asked)
            error = shapes.chat_error(529, FACTS["error_message"])
            error_event = f"data: {dump(error)}\n\n".encode()
        else:
            events = shapes.messages_stream(model, turn)
            error = shapes.messages_error(529, FACTS["error_message"])
            error_event = shapes.messages_event(error)
        self.send_stream(model, script_of(scenario, self.is_chat, events, error_event))

    def send_stream(self, model, script):
        """The head goes out with the first bytes."""
        self.head_is_sent = False
        waiting = b""
        for step in script:
            if isinstance(step, bytes):
                waiting += step
                continue
            self.send_chunks(waiting)
            waiting = b""
            if step == HOLD and not LOG.await_release(model):
                raise ConnectionAbortedError("never released: the stream does not flow")
            if step == AWAIT_CLOSE:
                self.await_close()
            if step == CUT:
                self.close_connection = True
                return
        self.send_chunks(waiting)
        self.end()

    def send_chunks(self, data):
        if not self.head_is_sent:
            self.head_is_sent = True
            self.start_chunks("text/event-stream; charset=utf-8", cache_control="no-cache")
        at = 0
        turn = 0
        while at < len(data):
            part = data[at : at + CHUNK_SIZES[turn % len(CHUNK_SIZES)]]
            self.chunk(part)
            at += len(part)
            turn += 1

    def await_close(self):
        """Returns by an exception when the other side closes; bounded."""
        raise scripted.Closed if self.is_closed(WAIT_SECONDS_MAX) else scripted.Unclosed

    def send_error_status(self, status, message):
        if self.is_chat:
            body = shapes.chat_error(status, message)
        else:
            body = shapes.messages_error(status, message)
        self.send_json(status, body)

    def send_json(self, status, body, scenario=""):
        data = dump(body).encode()
        if scenario == "cut":
            self.start(200, "application/json", content_length=str(len(data)))
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        # Whatever is accepted: the gateway asks for no coding, and some compress all the same.
        self.send_whole(status, data, "application/json", scenario == "gzip")

    def send_whole(self, status, data, content_type, is_gzip=False):
        fields = {}
        if status == 429:
            fields["retry_after"] = FACTS["retry_after"]
        if is_gzip:
            fields["content_encoding"] = "gzip"
            data = gzip.compress(data)
        self.respond(status, data, content_type, **fields)

    def send_models(self, name):
        """Both shapes, as the gateway's own list; for runs without a gateway."""
        is_chat = not self.headers.get("anthropic-version")
        names = list(FACTS["listed"].values())
        if name and name not in names:
            error = shapes.chat_error if is_chat else shapes.messages_error
            return self.send_json(404, error(404, "no such model"))
        rows = [{"id": id, "object": "model", "created": 0, "owned_by": "x"} for id in names]
        if not is_chat:
            created = "2026-01-01T00:00:00Z"
            rows = [
                {"type": "model", "id": id, "display_name": id, "created_at": created}
                for id in names
            ]
        listing = {"object": "list", "data": rows}
        if not is_chat:
            listing = {"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]}
        self.send_json(200, rows[names.index(name)] if name else listing)


def main():
    print(scripted.Server(Handler).port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
