"""The official Python SDK of Anthropic against the gateway, or against the upstream itself."""

import asyncio
import json

import anthropic
from anthropic import Anthropic, AsyncAnthropic, Omit
from harness import (
    BASE,
    DIRECT,
    FACTS,
    FINAL,
    KEY,
    MESSAGE,
    PREFACE,
    TEXT,
    THINKING,
    arguments,
    both,
    common,
    is_in,
    raises,
    run,
    same,
    scenario,
)

CLIENT = Anthropic(base_url=BASE, api_key=KEY, max_retries=0, timeout=30)
USER = [{"role": "user", "content": "How is the weather?"}]
THINK = {"type": "enabled", "budget_tokens": 1024}
TOOLS = [
    {"name": tool["name"], "description": tool["description"], "input_schema": tool["schema"]}
    for tool in FACTS["tools"]
]
# What a Messages client sees of each status: the class of the SDK.
ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.ContentTooLargeError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
    529: anthropic.OverloadedError,
}


def open_async():
    return AsyncAnthropic(base_url=BASE, api_key=KEY, max_retries=0, timeout=30)


def send(client, **more):
    return client.messages.create(**{"max_tokens": 2000, "messages": USER, **more})


def create(test, name, **more):
    return send(CLIENT, model=test.model(name), **more)


def stream(test, name, **more):
    """The final message, and the text that came in deltas."""
    fields = {"max_tokens": 2000, "messages": USER, **more}
    with CLIENT.messages.stream(model=test.model(name), **fields) as events:
        text = "".join(events.text_stream)
        return events.get_final_message(), text


def either(streams):
    """`create` and `stream` with one face."""
    if streams:
        return lambda *args, **more: stream(*args, **more)[0]
    return create


def texts(message):
    return "".join(block.text for block in message.content if block.type == "text")


def check_usage(usage):
    same(usage.input_tokens, FACTS["usage"]["fresh"], "input_tokens")
    same(usage.cache_read_input_tokens, FACTS["usage"]["cached"], "cache_read_input_tokens")
    same(usage.output_tokens, FACTS["usage"]["output"], "output_tokens")


def check_text(message):
    same((message.type, message.role), ("message", "assistant"), "type and role")
    same([block.type for block in message.content], ["text"], "blocks")
    same(texts(message), TEXT, "text")
    same(message.stop_reason, "end_turn", "stop_reason")
    check_usage(message.usage)


@scenario("text")
def _(test):
    message = create(test, "text")
    check_text(message)
    if not DIRECT:
        same(bool(message._request_id), True, "request id")


@scenario("text, compressed upstream")
def _(test):
    check_text(create(test, "gzip"))


@scenario("stream")
def _(test):
    message, text = stream(test, "text")
    check_text(message)
    same(text, TEXT, "text of the deltas")


@scenario("stream, raw events")
def _(test):
    events = list(create(test, "text", stream=True))
    kinds = [event.type for event in events]
    same(kinds[0], "message_start", "first event")
    same(kinds[-2:], ["message_delta", "message_stop"], "last events")
    same(kinds.count("message_start"), 1, "starts")
    inner = [kind for kind in kinds[1:-2] if kind != "ping"]
    same(inner[0], "content_block_start", "second event")
    same(set(inner[1:-1]), {"content_block_delta"}, "deltas")
    same(events[0].message.usage.input_tokens > 0, True, "input tokens at the start")
    check_usage(events[-2].usage)


@scenario("stream flows")
def _(test):
    with CLIENT.messages.stream(
        model=test.model("held"), max_tokens=100, messages=USER
    ) as events:
        pieces = []
        for piece in events.text_stream:
            if not pieces:
                test.release()
            pieces.append(piece)
        check_text(events.get_final_message())
    same("".join(pieces), TEXT, "text")


@scenario("stream without [DONE]")
def _(test):
    check_text(stream(test, "nodone")[0])


@scenario("parameters")
def _(test):
    # The SDK no longer knows the sampling parameters; the API does.
    sampling = {"temperature": 0.25, "top_p": 0.5}
    create(test, "text", stop_sequences=["END", "STOP"], extra_body=sampling)
    sent = test.sent()
    same((sent["temperature"], sent["top_p"]), (0.25, 0.5), "sampling")
    test.check_parameters()


@scenario("system")
def _(test):
    block = {"type": "text", "text": FACTS["system"], "cache_control": {"type": "ephemeral"}}
    create(test, "text", system=[block])
    sent = test.sent()
    if test.way == "messages":
        return same(sent["system"], [block], "system")
    first = sent["messages"][0]
    is_in(first["role"], ("system", "developer"), "role")
    content = first["content"]
    content = content if isinstance(content, str) else content[0]["text"]
    same(content, FACTS["system"], "system")
    same(len(sent["messages"]), 2, "messages")


def tool_rounds(test, name, count, streams):
    """Both rounds of a conversation with tools; the first answer."""
    ask = either(streams)
    fields = {"tools": TOOLS[:count], "tool_choice": {"type": "auto"}}
    first = ask(test, name, **fields)
    uses = [block for block in first.content if block.type == "tool_use"]
    same([use.name for use in uses], [tool["name"] for tool in TOOLS[:count]], "tools")
    same([use.input for use in uses], [arguments(at) for at in range(count)], "inputs")
    same(first.stop_reason, "tool_use", "stop_reason")
    check_usage(first.usage)
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": tool["result"]}
        for use, tool in zip(uses, FACTS["tools"])
    ]
    history = [
        *USER,
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": results},
    ]
    second = ask(test, name, messages=history, **fields)
    same(texts(second), FINAL, "final text")
    same(second.stop_reason, "end_turn", "stop_reason")
    test.check_tool_turn([use.input for use in uses])
    return first


@both("tool round trip", requests=2)
def _(test, streams):
    first = tool_rounds(test, "tool", 1, streams)
    same(first.content[0].type, "tool_use", "first block")
    same(test.sent_schema(), TOOLS[0]["input_schema"], "schema")


@both("parallel tools", requests=2)
def _(test, streams):
    first = tool_rounds(test, "parallel", 2, streams)
    kinds = [block.type for block in first.content]
    same(kinds, ["text", "tool_use", "tool_use"], "blocks")
    same(texts(first), PREFACE, "text before the calls")


@both("thinking")
def _(test, streams):
    message = either(streams)(test, "thinking", thinking=THINK)
    block = message.content[0]
    same((block.type, block.thinking), ("thinking", THINKING), "thinking")
    same(texts(message), TEXT, "text")
    sent = test.sent()
    if test.way == "chat":
        is_in("reasoning_effort", sent, "the request")
        return
    same(sent["thinking"], THINK, "the request")
    same(block.signature, FACTS["signature"], "signature")
    kinds = [block.type for block in message.content]
    same(kinds, ["thinking", "redacted_thinking", "text"], "blocks")
    same(message.content[1].data, FACTS["redacted"], "redacted thinking")


@both("thinking with tools", requests=2)
def _(test, streams):
    first = tool_rounds(test, "thinktool", 1, streams)
    kinds = [block.type for block in first.content]
    same(kinds, ["thinking", "tool_use"], "blocks")
    if test.way == "messages":
        block = test.sent()["messages"][1]["content"][0]
        want = {"type": "thinking", "thinking": THINKING, "signature": FACTS["signature"]}
        same(block, want, "thinking in the history")


@both("max tokens")
def _(test, streams):
    message = either(streams)(test, "max", max_tokens=17)
    same(message.stop_reason, "max_tokens", "stop_reason")
    same(texts(message), "".join(FACTS["text"][:2]), "text")


@both("broken off")
def _(test, streams):
    kind = Exception if DIRECT else anthropic.APIStatusError
    raises(kind, lambda: either(streams)(test, "cut"))


@scenario("stop sequence")
def _(test):
    message = create(test, "sequence", stop_sequences=["END"])
    if test.way == "messages":
        same((message.stop_reason, message.stop_sequence), ("stop_sequence", "END"), "stop")


@scenario("image")
def _(test):
    image = FACTS["image"]
    base64 = {"type": "base64", "media_type": image["media_type"], "data": image["data"]}
    url = {"type": "url", "url": image["url"]}
    content = [{"type": "image", "source": source} for source in (base64, url)]
    content.append({"type": "text", "text": "What is this?"})
    create(test, "text", messages=[{"role": "user", "content": content}])
    sent = test.sent()["messages"][0]["content"]
    if test.way == "messages":
        return same(sent, content, "content")
    data = f"data:{image['media_type']};base64,{image['data']}"
    same([block["type"] for block in sent], ["image_url", "image_url", "text"], "blocks")
    same([block["image_url"]["url"] for block in sent[:2]], [data, image["url"]], "images")


@scenario("unknown headers and fields", upstream="messages")
def _(test):
    headers = {
        "anthropic-beta": "one-2026-01-01,two-2026-02-02",
        "anthropic-new-thing": "a b",
        "anthropic-version": "2031-01-01",
    }
    fields = {"new_thing": {"z": [1, None], "a": 1.50}}
    create(test, "text", extra_headers=headers, extra_body=fields)
    seen = test.log()[-1]
    same({name: seen["headers"].get(name) for name in headers}, headers, "headers")
    same(seen["body"].get("new_thing"), fields["new_thing"], "body")


@scenario("refusal", requests=2)
def _(test):
    same(create(test, "refusal").stop_reason, "refusal", "stop_reason")
    same(stream(test, "refusal")[0].stop_reason, "refusal", "stop_reason of the stream")


@scenario("tool choice", requests=4)
def _(test):
    named = {"type": "function", "function": {"name": "get_time"}}
    choices = [
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "get_time"}, named),
        ({"type": "none"}, "none"),
    ]
    for choice, on_chat in choices:
        create(test, "text", tools=TOOLS, tool_choice=choice)
        sent = test.sent()
        same(sent["tool_choice"], on_chat if test.way == "chat" else choice, "tool_choice")
        if test.way == "chat" and choice["type"] == "auto":
            same(sent["parallel_tool_calls"], False, "parallel_tool_calls")


@scenario("tool results with errors and images")
def _(test):
    image = FACTS["image"]
    source = {"type": "base64", "media_type": image["media_type"], "data": image["data"]}
    uses = [
        {"type": "tool_use", "id": f"toolu_{at}", "name": "get_time", "input": {"zone": "UTC"}}
        for at in range(2)
    ]
    content = [{"type": "text", "text": "see"}, {"type": "image", "source": source}]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_0", "content": "boom", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": content},
    ]
    turns = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    create(test, "text", tools=TOOLS, messages=[*USER, *turns])
    sent = test.sent()["messages"]
    if test.way == "messages":
        return same(sent[1:], turns, "history")
    tools = [one for one in sent if one["role"] == "tool"]
    same([one["tool_call_id"] for one in tools], ["toolu_0", "toolu_1"], "ids")
    is_in("boom", json.dumps(tools[0]["content"]), "the error")
    url = {"url": f"data:{image['media_type']};base64,{image['data']}"}
    parts = [part for one in sent for part in one["content"] or [] if isinstance(part, dict)]
    same([part["image_url"] for part in parts if "image_url" in part], [url], "images")


@scenario("structured output")
def _(test):
    output = {"format": {"type": "json_schema", "schema": FACTS["schema"]}}
    create(test, "text", output_config=output)
    sent = test.sent()
    if test.way == "messages":
        return same(sent["output_config"], output, "output_config")
    same(sent["response_format"]["type"], "json_schema", "response_format")
    same(sent["response_format"]["json_schema"]["schema"], FACTS["schema"], "schema")


@scenario("document")
def _(test):
    source = {"type": "base64", "media_type": "application/pdf", "data": FACTS["pdf"]}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "Sum it up."}]
    create(test, "text", messages=[{"role": "user", "content": content}])
    sent = test.sent()["messages"][0]["content"]
    if test.way == "messages":
        return same(sent, content, "content")
    same([part["type"] for part in sent], ["file", "text"], "parts")
    data = f"data:application/pdf;base64,{FACTS['pdf']}"
    same(sent[0]["file"]["file_data"], data, "file")


@scenario("large image")
def _(test):
    data = FACTS["image"]["data"] * 50_000
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    create(test, "text", messages=[{"role": "user", "content": content}])
    part = test.sent()["messages"][0]["content"][0]
    sent = part["image_url"]["url"] if test.way == "chat" else part["source"]["data"]
    same(sent.endswith(data), True, "the whole image")


@scenario("provider known by its dialect", requests=0, gateway_only=True)
def _(test):
    check_text(CLIENT.messages.create(model="plain", max_tokens=100, messages=USER))


def check_error(error, status):
    same(type(error), ERRORS[status], "exception")
    same(error.status_code, status, "status")
    is_in("error", error.body, "body")
    same(error.body["type"], "error", "body")
    is_in(MESSAGE, error.body["error"]["message"], "message")


def told_status(test, status, error):
    # Chat has one status for both: out of service and too busy.
    is_busy = test.way == "chat" and status == 503 and error.status_code == 529
    return 529 if is_busy else status


common(anthropic, CLIENT, open_async, send, either, told_status, check_error)


@scenario("error page")
def _(test):
    error = raises(anthropic.InternalServerError, lambda: create(test, "html"))
    if not DIRECT:
        same(error.body["type"], "error", "body")


@scenario("error before the first event")
def _(test):
    error = raises(anthropic.APIStatusError, lambda: stream(test, "early"))
    is_in(MESSAGE, str(error), "message")
    if not DIRECT:
        check_error(error, 529)


@scenario("error in the stream")
def _(test):
    got = []

    def read():
        with CLIENT.messages.stream(
            model=test.model("broken"), max_tokens=100, messages=USER
        ) as events:
            got.extend(events.text_stream)

    error = raises(anthropic.APIStatusError, read)
    is_in(MESSAGE, str(error), "message")
    same("".join(got), "".join(FACTS["text"][:2]), "text before the error")


@scenario("truncated stream", gateway_only=True)
def _(test):
    raises(anthropic.APIStatusError, lambda: stream(test, "truncated"))


@scenario("cancel in the stream")
def _(test):
    with CLIENT.messages.stream(
        model=test.model("endless"), max_tokens=100, messages=USER
    ) as events:
        next(iter(events.text_stream))
    test.closed()


@scenario("many at once", requests=8)
def _(test):
    async def ask():
        async with open_async() as client:
            calls = [send(client, model=test.model("text")) for _ in range(8)]
            for message in await asyncio.gather(*calls):
                check_text(message)

    asyncio.run(ask())


@scenario("unknown model", requests=0)
def _(test):
    def ask():
        return CLIENT.messages.create(model="nowhere", max_tokens=9, messages=USER)

    error = raises(anthropic.NotFoundError, ask)
    is_in("nowhere", error.body["error"]["message"], "message")
    same(error.body["error"]["type"], "not_found_error", "type")


@scenario("keys", requests=2)
def _(test):
    def ask(**credentials):
        client = Anthropic(base_url=BASE, max_retries=0, timeout=30, **credentials)
        with client:
            fields = {"max_tokens": 9, "messages": USER}
            return client.messages.create(model=model, **fields)

    def headers(**values):
        return {"default_headers": {"authorization": Omit(), **values}}

    model = test.model("text")
    ask(auth_token=KEY)
    ask(**headers(**{"x-api-key": KEY}))
    if DIRECT:
        return
    wrong = headers(**{"x-api-key": "wrong"})
    for credentials in ({"api_key": "wrong"}, {"auth_token": "wrong"}, wrong, headers()):
        error = raises(anthropic.AuthenticationError, lambda: ask(**credentials))
        same(error.body["error"]["type"], "authentication_error", "type")


if __name__ == "__main__":
    run("anthropic-python")
