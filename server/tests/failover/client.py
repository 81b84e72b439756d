"""One request through the gateway, and what the client makes of the answer."""

import http.client
import time

import wire

# Nothing at all for so long, not even a sign of life, and the client gives up.
SILENCE_SECONDS_MAX = 45


def ask(port, api, model, streams, request_id):
    """Sends a request and reads the answer to its end."""
    seen = wire.Seen()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE_SECONDS_MAX)
    began = seen.began = time.monotonic()
    try:
        body = wire.dump(wire.request_body(api, model, streams)).encode()
        fields = {"content-type": "application/json", "x-request-id": request_id}
        fields["anthropic-version"] = "2023-06-01"
        connection.request("POST", wire.PATHS[api], body, fields)
        response = connection.getresponse()
        seen.status = response.status
        seen.headers = {name.lower(): value for name, value in response.getheaders()}
        is_stream = seen.headers.get("content-type", "").startswith("text/event-stream")
        if is_stream != (streams and seen.status == 200):
            seen.wrong.append(f"status {seen.status}, type {seen.headers.get('content-type')}")
        if is_stream:
            read_stream(response, api, seen, began)
        else:
            seen.read_whole(api, response.read())
            seen.is_ended = True
    except TimeoutError:
        seen.wrong.append(f"silence for {SILENCE_SECONDS_MAX} s")
    except (OSError, http.client.HTTPException) as broken:
        seen.wrong.append(f"a bare break: {broken!r}")
    except (KeyError, IndexError, TypeError, ValueError) as odd:
        seen.wrong.append(f"cannot be read: {odd!r}")
    finally:
        connection.close()
    seen.ended_at = time.monotonic() - began
    if seen.content_at is None and seen.text:
        seen.content_at = seen.ended_at
    return seen


def read_stream(response, api, seen, began):
    reader = wire.READERS[api](seen)
    waiting = b""
    while part := response.read1(65536):
        waiting += part
        while (end := waiting.find(b"\n\n")) >= 0:
            read_event(reader, waiting[:end].decode())
            waiting = waiting[end + 2 :]
        if seen.content_at is None and seen.text:
            seen.content_at = time.monotonic() - began
    if waiting:
        seen.wrong.append(f"ends within an event: {waiting[:100]!r}")


def read_event(reader, text):
    event = None
    data = []
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name == "event":
            event = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
    if data:
        reader.read(event, "\n".join(data))


def speaker(text):
    """Whose text this is the beginning of; `None` if nobody's alone."""
    for who in wire.USAGE:
        if wire.text_of(who).startswith(text):
            return who
    return None


def verdict(seen):
    """`pass`: the whole answer of one upstream. `safe`: a clear error, behind nothing or behind
    the beginning of one answer. Else why it is neither."""
    if seen.wrong:
        return "; ".join(seen.wrong)
    who = speaker(seen.text)
    if who is None:
        return f"text of nobody: {seen.text[:200]!r}"
    if seen.error is not None:
        if seen.is_finished or seen.is_ended != (seen.status != 200):
            return f"an error and an end: {seen.error!r}"
        return "safe"
    if seen.status != 200 or not (seen.is_finished and seen.is_ended):
        return f"neither an error nor an end: {seen.text[-30:]!r}"
    if seen.text != wire.text_of(who):
        return f"ends as if complete after {seen.text[-30:]!r}"
    if seen.models != {f"{who}-model"}:
        return f"the text of {who}, the model {seen.models}"
    if seen.usage != wire.USAGE[who]:
        return f"the text of {who}, the usage {seen.usage}"
    return "pass"
