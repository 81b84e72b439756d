"""What the Python clients share: scenarios, the list of them, the log of the upstream, the report.

The surroundings come from the environment: `BASE` (what the SDK talks to), `UPSTREAM` (where the
log is), `WAYS` (which upstreams: `messages,chat`), `DIRECT` (`1` without a gateway), `KEY`, `ONLY`
(part of a scenario's name). Each result goes to standard output as a line of JSON.
"""

import asyncio
import functools
import itertools
import json
import os
import traceback
import urllib.request
from pathlib import Path

FACTS = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
BASE = os.environ["BASE"]
UPSTREAM = os.environ["UPSTREAM"]
DIRECT = os.environ.get("DIRECT") == "1"
KEY = os.environ["KEY"]
ONLY = os.environ.get("ONLY", "")
STATUSES = [400, 401, 403, 404, 413, 429, 500, 503, 529]

TEXT = "".join(FACTS["text"])
THINKING = "".join(FACTS["thinking"])
PREFACE = "".join(FACTS["preface"])
FINAL = "".join(FACTS["final"])
MESSAGE = FACTS["error_message"]

_scenarios = []
_tags = itertools.count(1)
# An opener without proxies: everything is on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def same(got, want, what="value"):
    """Fails unless both are equal."""
    if got != want:
        raise AssertionError(f"{what}: expected {want!r}, got {got!r}")


def is_in(part, whole, what="value"):
    """Fails unless `part` is in `whole`."""
    if part not in whole:
        raise AssertionError(f"{what}: expected {part!r} in {whole!r}")


def raises(kind, action):
    """The exception of that kind which `action` ends with."""
    try:
        result = action()
    except kind as error:
        return error
    except Exception as error:
        raise AssertionError(f"expected {kind.__name__}, got {error!r}") from error
    raise AssertionError(f"expected {kind.__name__}, got a result: {result!r}")


def arguments(at):
    """The arguments of a scripted tool call, parsed."""
    return json.loads("".join(FACTS["tools"][at]["pieces"]))


class Test:
    """One scenario against one upstream (`way`: `messages` or `chat`)."""

    def __init__(self, client, way):
        self.client = client
        self.way = way
        self.models = []

    def model(self, scenario):
        """The model that makes the upstream play `scenario`, for this test alone."""
        prefix = "chat" if self.way == "chat" else "msg"
        name = f"{prefix}-{scenario}.{self.client}-{os.getpid()}-{next(_tags)}"
        self.models.append(name)
        return name

    def log(self, state=None, at=-1):
        """What the upstream received under one of this test's models."""
        url = f"{UPSTREAM}/_log?model={self.models[at]}" + (f"&state={state}" if state else "")
        with _opener.open(url, timeout=30) as reply:
            return json.load(reply)

    def sent(self):
        """The body of the last request that the upstream received."""
        return self.log()[-1]["body"]

    def sent_schema(self):
        """The schema of the first tool that the upstream received."""
        tool = self.sent()["tools"][0]
        return tool["function"]["parameters"] if self.way == "chat" else tool["input_schema"]

    def check_tool_turn(self, parsed):
        """Fails unless a turn of calls and results came to the upstream with ids of its own, each
        call with its arguments."""
        sent = self.sent()["messages"]
        roles = [one["role"] for one in sent]
        if self.way == "chat":
            same(roles, ["user", "assistant", *("tool" for _ in parsed)], "roles")
            calls = sent[1]["tool_calls"]
            answered = [one["tool_call_id"] for one in sent[2:]]
            inputs = [json.loads(call["function"]["arguments"]) for call in calls]
        else:
            same(roles, ["user", "assistant", "user"], "roles")
            calls = [one for one in sent[1]["content"] if one["type"] == "tool_use"]
            answered = [one["tool_use_id"] for one in sent[2]["content"]]
            inputs = [call["input"] for call in calls]
        same(answered, [call["id"] for call in calls], "ids of the results")
        same(inputs, parsed, "arguments in the history")

    def check_parameters(self):
        """Fails unless the parameters that every client sends came, and the gateway's key not."""
        sent = self.sent()
        stop = sent["stop" if self.way == "chat" else "stop_sequences"]
        same(stop, ["END", "STOP"], "stop sequences")
        is_in(2000, [sent.get("max_tokens"), sent.get("max_completion_tokens")], "max tokens")
        headers = self.log()[-1]["headers"]
        if not DIRECT:
            same([name for name, value in headers.items() if KEY in value], [], "leaked key")

    def closed(self):
        """Fails unless the upstream saw its connection close; waits for that."""
        same([entry["state"] for entry in self.log("closed")], ["closed"], "the upstream's side")

    def release(self):
        """Lets a held stream go on."""
        url = f"{UPSTREAM}/_release?model={self.models[-1]}"
        with _opener.open(urllib.request.Request(url, method="POST"), timeout=30):
            pass


def scenario(name, requests=1, gateway_only=False, upstream=None):
    """Registers a scenario: how many requests the upstream is to see in it, and where it runs."""

    def register(function):
        _scenarios.append((name, requests, gateway_only, upstream, function))
        return function

    return register


def both(name, **options):
    """Registers a scenario twice: for whole answers, and for streamed ones."""

    def register(function):
        for streams in (False, True):
            kind = " streamed" if streams else ""
            scenario(name + kind, **options)(functools.partial(function, streams=streams))
        return function

    return register


def common(sdk, client, open_async, send, ask, told_status, check_error):
    """Registers the scenarios that are the same with every SDK.

    `send(client, **fields)` sends one request, `ask(streams)(test, scenario)` reads an answer to
    its end, `told_status` is the status that a client sees, `check_error` looks at an exception.
    """

    @both("cancel before the answer")
    def _(test, streams):
        async def cancel():
            async with open_async() as patient:
                task = asyncio.create_task(
                    send(patient, model=test.model("silent"), stream=streams)
                )
                await asyncio.to_thread(test.log, "received")
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancel())
        test.closed()

    @scenario("own request id", gateway_only=True)
    def _(test):
        ids = {"x-request-id": f"mine-{test.way}"}
        answer = send(client, model=test.model("text"), extra_headers=ids)
        same(answer._request_id, f"mine-{test.way}", "request id")

    @scenario("models", requests=0)
    def _(test):
        listed = FACTS["listed"].values()
        ids = [model.id for model in client.models.list(extra_query={"limit": 1000})]
        same([id for id in listed if id not in ids], [], "models that are missing")
        for id in listed:
            same(client.models.retrieve(id).id, id, "model")
        raises(sdk.NotFoundError, lambda: client.models.retrieve("nowhere"))

    for status in STATUSES:

        @both(f"error {status}")
        def _(test, streams, status=status):
            error = raises(sdk.APIStatusError, lambda: ask(streams)(test, f"error{status}"))
            check_error(error, told_status(test, status, error))
            if status == 429:
                same(error.response.headers.get("retry-after"), FACTS["retry_after"], "retry")


def run(client):
    """Runs all scenarios."""
    for way in os.environ["WAYS"].split(","):
        for name, requests, gateway_only, upstream, function in _scenarios:
            if (gateway_only and DIRECT) or upstream not in (None, way) or ONLY not in name:
                continue
            test = Test(client, way)
            why = None
            try:
                function(test)
                seen = sum(len(test.log(at=at)) for at in range(len(test.models)))
                same(seen, requests, "requests the upstream saw")
            except Exception as error:
                trace = traceback.extract_tb(error.__traceback__)
                here = [frame.lineno for frame in trace if frame.filename.endswith("_sdk.py")]
                why = f"line {here[-1] if here else '?'}: {type(error).__name__}: {error}"
            row = {"client": client, "upstream": way, "scenario": name, "why": why}
            print(json.dumps(row), flush=True)
