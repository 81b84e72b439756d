"""The faults: what the upstreams do, and what must hold.

`play(up, n)` is the upstream's side of request number n. `look(result)` yields what is wrong beyond
the client's verdict: how often and when the upstreams were asked. The first sixteen are those of
FailoverBench's public methodology, each against a target with one fallback, two retries and times
of 30 s; those behind them are the same kind of harm in other clothes.
"""

import time

import wire

PASS, SAFE = "pass", "safe"
OVERFLOW = "prompt is too long: 205000 tokens > 200000 maximum"
CHAT_OVERFLOW = (
    "This model's maximum context length is 200000 tokens. However, your messages resulted in "
    "205000 tokens. Please reduce the length of the messages."
)
FILTERED = "Output blocked by content filtering policy"


class Fault:
    """The second answers well, and the first as `first` says."""

    number = 0
    name = ""
    # How streamed and whole answers are asked for.
    modes = (True, False)
    # The verdicts that are good enough for a stream, without the hold.
    stream_verdicts = (PASS,)
    has_fallback = True
    # Whether it is played only where client and first upstream speak Chat.
    is_heavy = False
    # Whether most of its time is silence.
    is_long = False
    # What the config says of the first beyond its address.
    settings = ""

    def label(self):
        """Its number, with a letter behind the first of that number."""
        same = [fault for fault in ALL if fault.number == self.number]
        return f"{self.number}{' bcd'[same.index(self)]}".strip()

    def play(self, up, n):
        if up.who == "second":
            return self.second(up)
        return self.first(up, n)

    def second(self, up):
        return up.well()

    def verdicts(self, streams, is_held):
        return self.stream_verdicts if streams and not is_held else (PASS,)

    def look(self, result):
        return ()


def asked(result, first=None, second=None):
    """Complaints if the upstreams got another number of requests."""
    for who, count in (("first", first), ("second", second)):
        got = len(result.log.of(who))
        if count is not None and got != count:
            yield f"{who} was asked {got} times, not {count}"


class RateLimitOnce(Fault):
    number, name = 1, "429 with retry-after 2, then well"
    wait = 2.0

    def first(self, up, n):
        if n == 0:
            return up.refuse(429, "slow down", retry_after=f"{self.wait:.0f}")
        return up.well()

    def look(self, result):
        first = result.log.of("first")
        for entry in first[1:]:
            waited = entry.at - first[0].at
            if waited < self.wait:
                yield f"asked again after {waited:.3f} s, before retry-after"


class RateLimitAlone(RateLimitOnce):
    name = "the same without a fallback"
    has_fallback = False

    def look(self, result):
        yield from super().look(result)
        yield from asked(result, first=2)
        entries = result.log.of("first")
        if len(entries) == 2:
            # From the last byte of the refusal to the request, and from the last byte of the answer
            # to the client's end of it.
            waited = entries[1].at - entries[0].ended_at - self.wait
            handed = result.seen.began + result.seen.ended_at - entries[1].ended_at
            result.figure("beyond retry-after", waited + handed)


class RateLimitAlways(Fault):
    number, name = 2, "429 always"

    def first(self, up, n):
        return up.refuse(429, "slow down", retry_after="30")

    def look(self, result):
        yield from asked(result, first=1, second=1)


class OneInternal(Fault):
    number, name = 3, "one 500"

    def first(self, up, n):
        return up.refuse(500, "oops") if n == 0 else up.well()

    def look(self, result):
        yield from asked(result, first=2, second=0)


class Overloaded(Fault):
    number, name = 4, "503 always"

    def first(self, up, n):
        return up.refuse(503, "busy")

    def look(self, result):
        yield from asked(result, first=3, second=1)


class OneReset(Fault):
    number, name = 5, "one reset before the head"

    def first(self, up, n):
        return up.reset() if n == 0 else up.well()

    def look(self, result):
        yield from asked(result, first=2, second=0)


class NoHead(Fault):
    number, name = 6, "headers never come"
    is_long = True

    def first(self, up, n):
        up.keep_silent()

    def look(self, result):
        yield from asked(result, first=1, second=1)


class LateContent(Fault):
    number, name = 7, "first token after 20 s, pings until then"
    is_long = True
    latest = 15.0

    def first(self, up, n):
        if up.streams:
            up.send(up.events.start)
        else:
            up.head()
        up.keep_silent(20, up.events.noise if up.streams else b"")
        if up.streams:
            up.send(b"".join(up.events.tokens) + up.events.finish + up.events.end)
        else:
            up.begin(wire.TOKENS)
        up.end()

    def look(self, result):
        yield from asked(result, first=1)
        content_at = result.seen.content_at
        if result.case.streams and (content_at is None or content_at > self.latest):
            yield f"first content after {content_at or 0:.1f} s, not within {self.latest:.0f} s"


class Cut(Fault):
    number, name = 8, "cut after 40 of 60 tokens"
    stream_verdicts = (PASS, SAFE)

    def first(self, up, n):
        up.begin(40)
        return up.reset()

    def look(self, result):
        # Whose text the client has begun to see, nobody else continues.
        if result.case.streams and not result.case.is_held:
            yield from asked(result, first=1, second=0)


class Short(Cut):
    name = "a clean end after 40 of 60 tokens"

    def first(self, up, n):
        up.begin(40)
        up.end()


class ErrorInside(Cut):
    name = "a 429 as an event after 40 of 60 tokens"
    modes = (True,)

    def first(self, up, n):
        up.begin(40)
        up.send(wire.error_event(up.api, "slow down", 429))
        up.end()


class Silence(Cut):
    number, name = 9, "silence after 20 tokens, but for pings"
    is_long = True

    def first(self, up, n):
        up.begin(20)
        up.keep_silent(None, up.events.noise if up.streams else b"")

    def look(self, result):
        yield from super().look(result)
        if result.seen.ended_at > 35:
            yield f"took {result.seen.ended_at:.1f} s"


class BrokenEvent(Fault):
    number, name = 10, "one broken event in mid-stream"
    modes = (True,)

    def first(self, up, n):
        up.begin(30)
        up.send(up.events.broken)
        up.send(b"".join(up.events.tokens[30:]) + up.events.finish + up.events.end)
        up.end()

    def look(self, result):
        yield from asked(result, first=1, second=0)


class NoEnd(Fault):
    number, name = 11, "no [DONE] after the finish"
    modes = (True,)
    latest = 1.0

    def first(self, up, n):
        self.begin(up)
        up.end()

    def begin(self, up):
        up.begin(wire.TOKENS)
        up.send(up.events.finish)
        up.entry.sent_at = time.monotonic()

    def look(self, result):
        yield from asked(result, first=1, second=0)
        ended_at = result.seen.began + result.seen.ended_at
        took = ended_at - result.log.entries[0].sent_at
        if took > self.latest:
            yield f"complete {took:.1f} s after the finish only"


class NoEndOpen(NoEnd):
    name = "the same, and the connection stays open"
    is_long = True
    # What may still come is waited for, but not for long.
    latest = 6.0

    def first(self, up, n):
        self.begin(up)
        up.keep_silent()


class Overflow(Fault):
    number, name = 12, "400, the context is too long"

    def first(self, up, n):
        if up.api == "messages":
            return up.refuse(400, OVERFLOW)
        return up.refuse(400, CHAT_OVERFLOW, code="context_length_exceeded")

    def look(self, result):
        yield from asked(result, first=1, second=1)


class OverflowAlone(Overflow):
    name = "the same without a fallback"
    has_fallback = False

    def verdicts(self, streams, is_held):
        return (SAFE,)

    def look(self, result):
        yield from asked(result, first=1)
        if result.seen.status != 400 or "200000" not in (result.seen.error or ""):
            yield f"status {result.seen.status}, {result.seen.error!r}"


class Filtered(Fault):
    number, name = 13, "400, content filter"

    def first(self, up, n):
        return up.refuse(400, FILTERED, code="content_policy_violation")

    def verdicts(self, streams, is_held):
        return (SAFE,)

    def look(self, result):
        yield from asked(result, first=1, second=0)
        if result.seen.status != 400 or result.seen.error != FILTERED:
            yield f"status {result.seen.status}, {result.seen.error!r}"


class NoPrefill(Cut):
    number, name = 14, "cut after 40, and the fallback refuses a prefill"
    refusal = "does not support assistant message prefill"

    def second(self, up):
        if up.entry.body["messages"][-1]["role"] == "assistant":
            return up.refuse(400, self.refusal)
        return up.well()

    def look(self, result):
        yield from super().look(result)
        if self.refusal in (result.seen.error or ""):
            yield "the refusal of the prefill surfaces"


class Outage(Fault):
    """Asked again and again; `run` does so for `seconds` of outage and until the first is back."""

    number, name = 15, "503 for a while, request after request"
    is_long = True
    seconds = 24.0
    # The most between a breaker's probes: the times double.
    probes = (5.0, 10.0, 20.0, 40.0)

    def first(self, up, n):
        if up.entry.at < up.case.began + self.seconds:
            return up.refuse(503, "busy")
        return up.well()


class OutageAlone(Outage):
    name = "the same without a fallback"
    has_fallback = False
    # What the gateway says of it.
    told = "has failed repeatedly"

    def verdicts(self, streams, is_held):
        return (PASS, SAFE)


class Named(Fault):
    number, name = 16, "begins and fails: model, usage, record are the second's"

    def first(self, up, n):
        if not up.streams:
            body = {**wire.error(up.api, 500, "oops"), "model": "first-model"}
            return up.respond(500, wire.dump(body).encode())
        up.send(up.events.start)
        up.send(wire.error_event(up.api, "overloaded at once"))
        return up.end()

    def look(self, result):
        yield from asked(result, second=1)
        target = result.seen.headers.get("x-tollgate-target")
        if target != f"{result.case.provider('second')}/second-model":
            yield f"x-tollgate-target: {target}"


class Page(Fault):
    number, name = 17, "a 200 with an HTML page"

    def first(self, up, n):
        return up.respond(200, b"<html><h1>Welcome</h1></html>", "text/html")

    def look(self, result):
        yield from asked(result, second=1)


class Empty(Fault):
    number, name = 18, "a 200 with nothing in it"

    def first(self, up, n):
        up.head()
        return up.end()

    def look(self, result):
        yield from asked(result, second=1)


class FinishAlone(Fault):
    number, name = 19, "a stream that begins and ends"
    modes = (True,)

    def first(self, up, n):
        up.send(up.events.start)
        return up.end()

    def look(self, result):
        yield from asked(result, second=1)


class Storm(Fault):
    """The first request meets a limit; many more come while the key cools. `run` sends them."""

    number, name = 20, "the only key cools, and 200 requests come at once"
    modes = (False,)
    is_long = True
    has_fallback = False
    # Of the ways through the gateway one is enough: many requests are a burden to this test, too.
    is_heavy = True
    requests = 200
    wait = 4.0
    probe_seconds = 0.5

    def first(self, up, n):
        if n == 0:
            return up.refuse(429, "slow down", retry_after=f"{self.wait:.0f}")
        if up.entry.at < up.case.probed_until():
            up.keep_silent(self.probe_seconds)
        return up.well()


class Crowd(Fault):
    """Many requests come at once, on connections to all workers, and few may be asked. `run` sends
    them."""

    number, name = 21, "the only key takes 3 requests at a time, and 60 come at once"
    modes = (False,)
    has_fallback = False
    is_heavy = True
    settings = "key_limits = { concurrent = 3 }"
    limit = 3
    requests = 60
    seconds = 0.1

    def first(self, up, n):
        up.keep_silent(self.seconds)
        return up.well()


ALL = [
    RateLimitOnce(),
    RateLimitAlone(),
    RateLimitAlways(),
    OneInternal(),
    Overloaded(),
    OneReset(),
    NoHead(),
    LateContent(),
    Cut(),
    Short(),
    ErrorInside(),
    Silence(),
    BrokenEvent(),
    NoEnd(),
    NoEndOpen(),
    Overflow(),
    OverflowAlone(),
    Filtered(),
    NoPrefill(),
    Outage(),
    OutageAlone(),
    Named(),
    Page(),
    Empty(),
    FinishAlone(),
    Storm(),
    Crowd(),
]
