"""tollgate as a program that is tested from outside: from its start to its drained end."""

import http.client
import os
import signal
import socket
import subprocess
import threading
import time

START_SECONDS_MAX = 30
DRAIN_SECONDS_MAX = 20

# By the name of the run: `--runtime`, more environment.
RUNTIMES = {
    "smol": ("smol", {}),
    "monoio": ("monoio", {}),
    "monoio-epoll": ("monoio", {"MONOIO_FORCE_LEGACY_DRIVER": "1"}),
}


def environment(home, **more):
    """Nothing of the caller's but the path: no keys, no proxies."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Gateway:
    """tollgate with the config in the file `config`, by which it listens on `port`."""

    def __init__(self, program, config, port, run):
        runtime, more = RUNTIMES[run]
        self.port = port
        self.panic = None
        # Something was heard.
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [program, "--config", config, "--runtime", runtime],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment(config.parent, **more),
        )
        self.reader = threading.Thread(target=self.read_log)
        self.reader.start()

    def hear(self, line):
        """Takes a line of the log, with `changed` held."""
        raise NotImplementedError

    def read_log(self):
        for line in self.process.stderr:
            with self.changed:
                if b"panicked at" in line:
                    self.panic = line.decode(errors="replace").rstrip()
                self.hear(line)
                self.changed.notify_all()

    def is_ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def wait_ready(self):
        """Asks whenever the gateway has said something, and now and then besides."""
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            if self.is_ready():
                return True
            with self.changed:
                self.changed.wait(0.1)
        return False

    def stop(self):
        """Why it did not end well, if it did not."""
        status = self.process.poll()
        if status is not None:
            self.reader.join()
            return f"ended before its time with status {status}"
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DRAIN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"does not end within {DRAIN_SECONDS_MAX} s of SIGTERM"
        finally:
            self.reader.join()
        return self.panic or (f"ended with status {status}" if status else None)
