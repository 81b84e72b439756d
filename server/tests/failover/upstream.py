"""The two upstreams of every case, on one port: `/CASE/first/…` and `/CASE/second/…`.

A case's fault says what the first does with its request number n; the second answers well, but for
what the fault says of it. All that arrived is kept: when, where, and how it ended.
"""

import json
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import wire

sys.path.append(str(Path(__file__).resolve().parents[1]))
import scripted  # noqa: E402: beside this folder

# What should be closed by the other side and is not, is let go after this.
SILENCE_SECONDS_MAX = 75
# Between two signs of life that say nothing.
NOISE_SECONDS = 1.0


@dataclass
class Asked:
    """A request that an upstream got."""

    who: str
    number: int
    at: float
    body: dict
    # `open`, then `answered`, `cut` by the script, `closed` by the other side, or `unclosed`.
    state: str = "open"
    ended_at: float = None
    # When all was sent that counts, if the play says so.
    sent_at: float = None


class Log:
    """What one case's upstreams got."""

    def __init__(self):
        self.changed = threading.Condition()
        self.entries = []

    def add(self, who, body):
        with self.changed:
            number = sum(entry.who == who for entry in self.entries)
            entry = Asked(who, number, time.monotonic(), body)
            self.entries.append(entry)
            return entry

    def end(self, entry, state):
        with self.changed:
            entry.state = state
            entry.ended_at = time.monotonic()
            self.changed.notify_all()

    def of(self, who):
        with self.changed:
            return [entry for entry in self.entries if entry.who == who]

    def wait_for(self, count):
        """Waits until so many requests have been answered."""
        with self.changed:
            self.changed.wait_for(
                lambda: sum(entry.state != "open" for entry in self.entries) >= count,
                SILENCE_SECONDS_MAX,
            )

    def wait_ended(self, seconds):
        """Whether no request is open any more, within so long."""
        with self.changed:
            return self.changed.wait_for(
                lambda: all(entry.state != "open" for entry in self.entries), seconds
            )


class Handler(scripted.Handler):
    """One connection. What `play` of a fault may do is public."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        _, case, self.who, path = self.path.split("/", 3)
        self.case = self.server.cases[case]
        self.api = next(api for api in wire.APIS if wire.PATHS[api] == f"/{path}")
        self.streams = bool(body.get("stream"))
        asks_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self.events = wire.events(self.api, self.who, asks_usage)
        self.has_head = False
        self.entry = self.case.log.add(self.who, body)
        state = self.state_after(lambda: self.case.fault.play(self, self.entry.number))
        self.case.log.end(self.entry, state)

    # --- whole messages ---

    def refuse(self, status, message, code=None, **fields):
        body = wire.dump(wire.error(self.api, status, message, code)).encode()
        self.respond(status, body, **fields)

    def well(self):
        """The whole answer, as it was asked for."""
        if not self.streams:
            return self.respond(200, wire.dump(wire.whole(self.api, self.who)).encode())
        self.send(self.events.start)
        for event in self.events.tokens:
            self.send(event)
        self.send(self.events.finish + self.events.end)
        return self.end()

    # --- parts ---

    def head(self):
        self.has_head = True
        self.start_chunks("text/event-stream" if self.streams else "application/json")

    def send(self, data):
        if not self.has_head:
            self.head()
        self.chunk(data)

    def begin(self, tokens):
        """The first so many tokens; of a whole answer as large a share of its bytes."""
        if self.streams:
            return self.send(self.events.start + b"".join(self.events.tokens[:tokens]))
        body = wire.dump(wire.whole(self.api, self.who)).encode()
        return self.send(body[: len(body) * tokens // wire.TOKENS])

    def reset(self):
        """Ends the connection with a RST."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return "cut"

    def keep_silent(self, seconds=None, noise=b""):
        """Sends nothing that counts for so long; without a time the other side has to close."""
        end = time.monotonic() + (seconds or SILENCE_SECONDS_MAX)
        while (left := end - time.monotonic()) > 0:
            if self.is_closed(min(left, NOISE_SECONDS) if noise else left):
                raise scripted.Closed
            if noise and end > time.monotonic():
                self.send(noise)
        if seconds is None:
            raise scripted.Unclosed


class Server(scripted.Server):
    """Serves the cases by their names."""

    def __init__(self, cases):
        self.cases = {case.name: case for case in cases}
        super().__init__(Handler)
