"""What upstreams with a script are made of: connections that are answered in parts, on threads."""

import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Closed(Exception):
    """The other side closed the connection, and does not want the answer."""


class Unclosed(Exception):
    """It should have closed the connection and did not."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def log_message(self, *_):
        pass

    def state_after(self, script):
        """Answers as `script` does, and tells how that ended: as it says, or `answered`, or
        `closed` by the other side before that, or `unclosed` though it should have been."""
        try:
            state = script() or "answered"
        except (Closed, ConnectionError):
            state = "closed"
        except Unclosed:
            state = "unclosed"
        if state != "answered":
            self.close_connection = True
        return state

    def start(self, status, kind, **fields):
        """The head alone."""
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def respond(self, status, body, kind="application/json", **fields):
        self.start(status, kind, content_length=str(len(body)), **fields)
        self.wfile.write(body)

    def start_chunks(self, kind, **fields):
        """The head of an answer that comes in chunks."""
        self.start(200, kind, transfer_encoding="chunked", **fields)

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self):
        self.wfile.write(b"0\r\n\r\n")

    def is_closed(self, seconds):
        """Whether the other side closes within so long."""
        # Not select(): there may be more files open than it can tell of.
        waiting = select.poll()
        waiting.register(self.connection, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True


class Server(ThreadingHTTPServer):
    """Serves on a free port of loopback until the program ends."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A connection that breaks between two requests is no news."""
