"""The official Python SDK of OpenAI (Chat Completions) against the gateway or the upstream."""

import asyncio
import json

import openai
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
from openai import AsyncOpenAI, Omit, OpenAI

CLIENT = OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=30)
USER = [{"role": "user", "content": "How is the weather?"}]
WITH_USAGE = {"include_usage": True}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": tool["name"],
            "description": tool["description"],
            "parameters": tool["schema"],
        },
    }
    for tool in FACTS["tools"]
]
# What a Chat client sees of each status: the class of the SDK.
ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}


def open_async():
    return AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=30)


def send(client, **more):
    return client.chat.completions.create(**{"messages": USER, **more})


def create(test, name, **more):
    return send(CLIENT, model=test.model(name), **more)


class Answer:
    """What an answer says, whole or streamed."""

    def __init__(self):
        self.text = ""
        self.thinking = ""
        self.calls = []
        self.finish = None
        self.usage = None

    def message(self):
        """As a message of the next request's history."""
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}


def whole(test, name, **more):
    completion = create(test, name, **more)
    same((completion.object, len(completion.choices)), ("chat.completion", 1), "completion")
    choice = completion.choices[0]
    same(choice.message.role, "assistant", "role")
    answer = Answer()
    answer.text = choice.message.content or ""
    answer.thinking = (choice.message.model_extra or {}).get("reasoning_content") or ""
    for call in choice.message.tool_calls or []:
        function = call.function
        same(call.type, "function", "type of the call")
        fields = {"id": call.id, "name": function.name, "arguments": function.arguments}
        answer.calls.append(fields)
    answer.finish = choice.finish_reason
    answer.usage = completion.usage
    return answer


def streamed(test, name, **more):
    more = {"stream_options": WITH_USAGE, **more}
    answer = Answer()
    finishes = []
    for chunk in create(test, name, stream=True, **more):
        same(chunk.object, "chat.completion.chunk", "object")
        answer.usage = chunk.usage or answer.usage
        for choice in chunk.choices:
            add_delta(answer, choice.delta)
            finishes += [choice.finish_reason] if choice.finish_reason else []
    same(len(finishes), 1, "finish reasons in the stream")
    answer.finish = finishes[0]
    return answer


def add_delta(answer, delta):
    answer.text += delta.content or ""
    answer.thinking += (delta.model_extra or {}).get("reasoning_content") or ""
    for call in delta.tool_calls or []:
        if call.index == len(answer.calls):
            answer.calls.append({"id": call.id, "name": call.function.name, "arguments": ""})
        answer.calls[call.index]["arguments"] += call.function.arguments or ""


def either(streams):
    """Both ways of asking with one face."""
    return streamed if streams else whole


def check_usage(usage):
    facts = FACTS["usage"]
    prompt = facts["fresh"] + facts["cached"]
    same(usage.prompt_tokens, prompt, "prompt_tokens")
    same(usage.prompt_tokens_details.cached_tokens, facts["cached"], "cached_tokens")
    same(usage.completion_tokens, facts["output"], "completion_tokens")
    same(usage.total_tokens, prompt + facts["output"], "total_tokens")


def check_text(answer):
    same((answer.text, answer.calls, answer.finish), (TEXT, [], "stop"), "answer")
    check_usage(answer.usage)


@scenario("text")
def _(test):
    check_text(whole(test, "text"))


@scenario("request id", gateway_only=True)
def _(test):
    same(bool(create(test, "text")._request_id), True, "request id")


@scenario("text, compressed upstream")
def _(test):
    check_text(whole(test, "gzip"))


@scenario("stream")
def _(test):
    check_text(streamed(test, "text"))


@scenario("stream, by the helper")
def _(test):
    with CLIENT.chat.completions.stream(
        model=test.model("text"), messages=USER, stream_options=WITH_USAGE
    ) as events:
        text = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion()
    same((text, final.choices[0].message.content), (TEXT, TEXT), "text")
    check_usage(final.usage)


@scenario("stream without usage")
def _(test):
    chunks = list(create(test, "text", stream=True))
    same([chunk for chunk in chunks if chunk.usage or not chunk.choices], [], "usage chunks")
    if test.way == "chat" and not DIRECT:
        # The gateway wants to know it all the same.
        same(test.sent()["stream_options"]["include_usage"], True, "include_usage")


@scenario("stream flows")
def _(test):
    text = ""
    for chunk in create(test, "held", stream=True):
        for choice in chunk.choices:
            if choice.delta.content and not text:
                test.release()
            text += choice.delta.content or ""
    same(text, TEXT, "text")


@scenario("stream without [DONE]")
def _(test):
    check_text(streamed(test, "nodone"))


@scenario("parameters")
def _(test):
    fields = {"temperature": 0.25, "top_p": 0.5, "stop": ["END", "STOP"]}
    whole(test, "text", max_completion_tokens=2000, **fields)
    sent = test.sent()
    same(sent["temperature"], 0.25, "temperature")
    if test.way == "chat":
        same(sent["top_p"], 0.5, "top_p")
    test.check_parameters()


@scenario("system")
def _(test):
    messages = [{"role": "system", "content": FACTS["system"]}, *USER]
    whole(test, "text", messages=messages)
    sent = test.sent()
    if test.way == "chat":
        return same(sent["messages"], messages, "messages")
    system = sent["system"]
    system = system if isinstance(system, str) else system[0]["text"]
    same(system, FACTS["system"], "system")
    same([one["role"] for one in sent["messages"]], ["user"], "messages")


def tool_rounds(test, name, count, streams):
    """Both rounds of a conversation with tools; the first answer."""
    ask = either(streams)
    fields = {"tools": TOOLS[:count], "tool_choice": "auto"}
    first = ask(test, name, **fields)
    names = [tool["function"]["name"] for tool in TOOLS[:count]]
    same([call["name"] for call in first.calls], names, "tools")
    parsed = [json.loads(call["arguments"]) for call in first.calls]
    same(parsed, [arguments(at) for at in range(count)], "arguments")
    same(first.finish, "tool_calls", "finish reason")
    check_usage(first.usage)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": tool["result"]}
        for call, tool in zip(first.calls, FACTS["tools"])
    ]
    second = ask(test, name, messages=[*USER, first.message(), *results], **fields)
    same((second.text, second.finish), (FINAL, "stop"), "final answer")
    test.check_tool_turn(parsed)
    return first


@both("tool round trip", requests=2)
def _(test, streams):
    same(tool_rounds(test, "tool", 1, streams).text, "", "text before the call")
    same(test.sent_schema(), TOOLS[0]["function"]["parameters"], "schema")


@both("parallel tools", requests=2)
def _(test, streams):
    same(tool_rounds(test, "parallel", 2, streams).text, PREFACE, "text before the calls")


@both("thinking")
def _(test, streams):
    answer = either(streams)(test, "thinking", reasoning_effort="high")
    same((answer.thinking, answer.text), (THINKING, TEXT), "answer")
    sent = test.sent()
    if test.way == "messages":
        same(sent["thinking"]["type"], "enabled", "the request")
        return
    same(sent["reasoning_effort"], "high", "the request")
    details = answer.usage.completion_tokens_details
    same(details.reasoning_tokens, FACTS["usage"]["reasoning"], "reasoning tokens")


@both("thinking with tools", requests=2)
def _(test, streams):
    same(tool_rounds(test, "thinktool", 1, streams).thinking, THINKING, "reasoning")


@both("max tokens")
def _(test, streams):
    answer = either(streams)(test, "max", max_completion_tokens=17)
    same(answer.finish, "length", "finish reason")
    same(answer.text, "".join(FACTS["text"][:2]), "text")


@both("broken off")
def _(test, streams):
    def ask():
        either(streams)(test, "cut")

    error = raises(Exception if DIRECT else openai.APIError, ask)
    if not DIRECT:
        # The gateway tells it; nothing breaks toward the client.
        same(isinstance(error, openai.APIConnectionError), False, "a connection error")


@scenario("stop sequence")
def _(test):
    same(whole(test, "sequence", stop=["END"]).finish, "stop", "finish reason")


@scenario("image")
def _(test):
    image = FACTS["image"]
    data = f"data:{image['media_type']};base64,{image['data']}"
    content = [{"type": "image_url", "image_url": {"url": url}} for url in (data, image["url"])]
    content.append({"type": "text", "text": "What is this?"})
    whole(test, "text", messages=[{"role": "user", "content": content}])
    sent = test.sent()["messages"][0]["content"]
    if test.way == "chat":
        return same(sent, content, "content")
    base64 = {"type": "base64", "media_type": image["media_type"], "data": image["data"]}
    url = {"type": "url", "url": image["url"]}
    same([block["type"] for block in sent], ["image", "image", "text"], "blocks")
    same([block["source"] for block in sent[:2]], [base64, url], "images")


@scenario("dropped parameters are listed", gateway_only=True)
def _(test):
    raw = CLIENT.chat.completions.with_raw_response
    fields = {"temperature": 0.25, "top_p": 0.5, "seed": 7}
    reply = raw.create(model=test.model("text"), messages=USER, **fields)
    listed = reply.headers.get("x-tollgate-dropped", "")
    sent = test.sent()
    for name in fields:
        same(name in sent, name not in listed, f"{name} sent, for dropped is {listed!r}")


@scenario("refused parameters are named", requests=0, gateway_only=True, upstream="messages")
def _(test):
    error = raises(
        openai.BadRequestError, lambda: whole(test, "text", logit_bias={"50256": -100})
    )
    is_in("logit_bias", error.body["message"], "message")


@scenario("refusal", requests=2)
def _(test):
    for ask in (whole, streamed):
        same(ask(test, "refusal").finish, "content_filter", "finish reason")


@scenario("tool choice", requests=4)
def _(test):
    named = {"type": "function", "function": {"name": "get_time"}}
    choices = [
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any"}),
        (named, {"type": "tool", "name": "get_time"}),
        ("none", {"type": "none"}),
    ]
    for choice, on_messages in choices:
        more = {"parallel_tool_calls": False} if choice == "auto" else {}
        whole(test, "text", tools=TOOLS, tool_choice=choice, **more)
        sent = test.sent()["tool_choice"]
        same(sent, choice if test.way == "chat" else on_messages, "tool_choice")


@scenario("structured output")
def _(test):
    form = {
        "type": "json_schema",
        "json_schema": {"name": "weather", "schema": FACTS["schema"], "strict": True},
    }
    whole(test, "text", response_format=form)
    sent = test.sent()
    if test.way == "chat":
        return same(sent["response_format"], form, "response_format")
    want = {"type": "json_schema", "schema": FACTS["schema"]}
    same(sent["output_config"]["format"], want, "output_config")


@scenario("document")
def _(test):
    data = f"data:application/pdf;base64,{FACTS['pdf']}"
    content = [
        {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}},
        {"type": "text", "text": "Sum it up."},
    ]
    whole(test, "text", messages=[{"role": "user", "content": content}])
    sent = test.sent()["messages"][0]["content"]
    if test.way == "chat":
        return same(sent, content, "content")
    source = {"type": "base64", "media_type": "application/pdf", "data": FACTS["pdf"]}
    same([block["type"] for block in sent], ["document", "text"], "blocks")
    same(sent[0]["source"], source, "document")


@scenario("large image")
def _(test):
    data = FACTS["image"]["data"] * 50_000
    url = f"data:image/png;base64,{data}"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    whole(test, "text", messages=[{"role": "user", "content": content}])
    part = test.sent()["messages"][0]["content"][0]
    sent = part["image_url"]["url"] if test.way == "chat" else part["source"]["data"]
    same(sent.endswith(data), True, "the whole image")


@scenario("provider known by its dialect", requests=0, gateway_only=True)
def _(test):
    completion = CLIENT.chat.completions.create(model="plain", messages=USER)
    same(completion.choices[0].message.content, TEXT, "text")


def check_error(error, status):
    same(type(error), ERRORS[status], "exception")
    same(error.status_code, status, "status")
    is_in(MESSAGE, error.body["message"], "message")
    same({"type", "code", "param"} - set(error.body), set(), "missing members")


def told_status(test, status, _error):
    # OpenAI has no status of its own for a model that is too busy.
    return 503 if test.way == "messages" and status == 529 else status


common(openai, CLIENT, open_async, send, either, told_status, check_error)


@scenario("error page")
def _(test):
    error = raises(openai.InternalServerError, lambda: whole(test, "html"))
    if not DIRECT:
        is_in("message", error.body, "body")


@scenario("error before the first event")
def _(test):
    error = raises(openai.APIError, lambda: streamed(test, "early"))
    is_in(MESSAGE, str(error), "message")
    if not DIRECT:
        check_error(error, 503)


@scenario("error in the stream")
def _(test):
    got = []

    def read():
        for chunk in create(test, "broken", stream=True):
            got.extend(choice.delta.content or "" for choice in chunk.choices)

    error = raises(openai.APIError, read)
    is_in(MESSAGE, str(error), "message")
    same("".join(got), "".join(FACTS["text"][:2]), "text before the error")


@scenario("truncated stream", gateway_only=True)
def _(test):
    error = raises(openai.APIError, lambda: streamed(test, "truncated"))
    same(isinstance(error, openai.APIConnectionError), False, "a connection error")


@scenario("cancel in the stream")
def _(test):
    with create(test, "endless", stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    test.closed()


@scenario("many at once", requests=8)
def _(test):
    async def ask():
        async with open_async() as client:
            calls = [send(client, model=test.model("text")) for _ in range(8)]
            for completion in await asyncio.gather(*calls):
                same(completion.choices[0].message.content, TEXT, "text")

    asyncio.run(ask())


@scenario("unknown model", requests=0)
def _(test):
    def ask():
        CLIENT.chat.completions.create(model="nowhere", messages=USER)

    error = raises(openai.NotFoundError, ask)
    is_in("nowhere", error.body["message"], "message")


@scenario("keys", gateway_only=True, requests=0)
def _(test):
    def ask(headers):
        with OpenAI(base_url=BASE, max_retries=0, timeout=30, api_key="wrong") as client:
            fields = {"model": model, "messages": USER}
            client.chat.completions.create(**fields, extra_headers=headers)

    model = test.model("text")
    for headers in ({}, {"Authorization": Omit()}):
        error = raises(openai.AuthenticationError, lambda: ask(headers))
        same(bool(error.body["message"]), True, "message")


if __name__ == "__main__":
    run("openai-python")
